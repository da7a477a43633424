"""Which layer fires in which tick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snnc.backends.schedule.demands import Spikes, demands
from snnc.backends.schedule.layers import NOWHERE, Layer, Network
from snnc.backends.schedule.mapping import Slot
from snnc.backends.schedule.sending import Sent, sent
from snnc.backends.schedule.windows import windows_of
from snnc.targets import Target


@dataclass(frozen=True)
class Timeline:
    """As in a Mapping. period: the longest slot, so that a layer is done with one timestep when
    the next one comes; ticks: of all timesteps."""

    slots: tuple[Slot, ...]
    period: int
    ticks: int


def timeline_of(network: Network, target: Target) -> Timeline:
    """A layer fires as soon as all that it reads is sent, and real numbers take one tick. Over
    several timesteps layers work on different ones at a time; neurons that fire at most once fire
    in the ticks of their window."""
    windows, spikes = windows_of(network.graph), spikes_of(network)
    slots: list[Slot] = []
    for index, layer in enumerate(network.layers):
        travels = _sending(network, index, spikes.get(index), target)
        first, ticks = _first(network, layer, slots), travels.ticks
        if windows.ticks:
            first, ticks = windows.span(layer)
        slots.append(Slot(index, first, ticks, travels.sending))
    period = max((slot.ticks for slot in slots), default=1)
    end = max((slot.first + slot.ticks for slot in slots), default=0)
    return Timeline(tuple(slots), period, end + (network.graph.timesteps - 1) * period)


def earliest(network: Network, slots: Sequence[Slot]) -> tuple[int, ...]:
    """The first tick in which each layer could fire, given the slots of all."""
    windows = windows_of(network.graph)
    if windows.ticks:
        return tuple(windows.span(layer)[0] for layer in network.layers)
    return tuple(_first(network, layer, slots) for layer in network.layers)


def _first(network: Network, layer: Layer, slots: Sequence[Slot]) -> int:
    """The tick behind the last in which something is sent that a layer reads."""
    read = (slots[source] for source in sources(network, layer))
    return max((slot.first + slot.ticks for slot in read), default=0)


def sources(network: Network, layer: Layer) -> tuple[int, ...]:
    """The layers that a layer reads."""
    found: set[int] = set()
    for connection in layer.connections:
        cells = connection.cells[connection.cells != NOWHERE]
        found.update(np.unique(network.layer_of(cells)).tolist())
    own = {i for i in found if network.layers[i].start == layer.start}
    return tuple(sorted(found - own))


def spikes_of(network: Network) -> dict[int, Spikes]:
    """The counts that each layer with neurons sends, by its index."""
    return {d.index: d.spikes for d in demands(network) if d.spikes is not None}


def _sending(network: Network, layer: int, spikes: Spikes | None, target: Target) -> Sent:
    """Real numbers take one tick."""
    if spikes is None:
        return Sent("graded", 0, 1, 1)
    found = sent(spikes, target)
    if found is None:
        raise network.graph.error(
            f"spike counts up to {spikes.top} do not travel on {target.name}",
            network.layers[layer].neurons[0],
            help=f"snnc check --target {target.name} says what would",
        )
    return found
