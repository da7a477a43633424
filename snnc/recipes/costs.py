"""The energy of a network as a function of the steps of its sites (spec 2.8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from snnc.drives import classify
from snnc.energy import PJ_AC, PJ_MAC, EnergyMeter
from snnc.errors import unknown_name
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.ops import multiplied
from snnc.recipes.curves import SiteCurve
from snnc.runtime import Session, shape_name
from snnc.streams import neuron_behind
from snnc.synapses import macs

Count: TypeAlias = Literal["spikes", "events"]
"""Whether a spike count of y is y additions, or one."""


def require_count(count: str) -> None:
    """Raises CompileError for what is no way to count."""
    if count not in get_args(Count):
        raise unknown_name("count", str(count), get_args(Count))


@dataclass(frozen=True)
class _Layer:
    """A layer that spikes drive. macs: of one sample; places: of the curves of the sites that it
    reads; fixed: spikes and events of neurons that are settled."""

    macs: float
    places: tuple[int, ...]
    fixed: tuple[tuple[float, float], ...]


class Costs:
    """AC and MAC of a network whose sites have given places in FINE.

    A product of spikes costs what its cheapest operand as event stream does; spike counts of two
    operands are taken as independent. Ratios are eq. 43, of a float32 ANN.
    """

    def __init__(
        self,
        spiking: Graph,
        feeds: Mapping[str, Array],
        samples: int,
        curves: Sequence[SiteCurve],
        count: Count,
    ) -> None:
        """spiking: the network with any steps; feeds: a batch of `samples` samples."""
        self._curves, self._by_events = curves, count == "events"
        place = {curve.name: i for i, curve in enumerate(curves)}
        meter = EnergyMeter(spiking)
        values = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of).run(feeds)
        meter.update(values, samples)
        activity = meter.activity()
        self.total = self.analog = 0.0
        self._layers: list[_Layer] = []
        for op, kind in classify(spiking):
            shapes = {v: tuple(int(d) for d in values[shape_name(v)]) for v in meter.shapes_of}
            shapes |= {v: spiking.consts[v].shape for v in op.inputs if v in spiking.consts}
            size = macs(op, shapes) / samples
            self.total += size
            if kind != "spiking":
                self.analog += size
                continue
            behind = [v for v in (neuron_behind(spiking, v) for v in multiplied(op)) if v]
            named = [_site_of(v, place) for v in behind]
            settled = [activity[v] for v, name in zip(behind, named, strict=True) if name is None]
            self._layers.append(
                _Layer(
                    size,
                    tuple(place[name] for name in named if name is not None),
                    tuple((each.spikes, each.events) for each in settled),
                )
            )
        self._reading: dict[int, list[_Layer]] = {i: [] for i in range(len(curves))}
        for layer in self._layers:
            for i in dict.fromkeys(layer.places):
                self._reading[i].append(layer)

    @property
    def floor(self) -> float:
        """The ratio that layers which stay real alone cost."""
        return self.analog / self.total if self.total else 0.0

    def ratio(self, places: Sequence[int]) -> float:
        """Eq. 43 for one step at each site, by its place in FINE."""
        found = sum(float(self._additions(layer, places)) for layer in self._layers)
        return found * self._share + self.floor

    def along(self, site: int, places: Sequence[int]) -> Array:
        """What the layers that read one site cost at every step of it, the others as they are."""
        found: Array = np.zeros(len(self._curves[site].spikes))
        for layer in self._reading[site]:
            found += self._additions(layer, places, site)
        return found * self._share

    @property
    def _share(self) -> float:
        """Of the trained network's energy, what one addition takes."""
        return PJ_AC / (self.total * PJ_MAC) if self.total else 0.0

    def _additions(self, layer: _Layer, places: Sequence[int], site: int = -1) -> Array | float:
        streams: list[tuple[Array | float, Array | float]] = list(layer.fixed)
        for i in layer.places:
            curve, at = self._curves[i], slice(None) if i == site else places[i]
            streams.append((curve.spikes[at], curve.events[at]))
        events: Array | float = 1.0
        for _, share in streams:
            events = events * share
        if self._by_events or not streams:
            return layer.macs * (events if streams else 0.0)
        costs = []
        for one, (spikes, _) in enumerate(streams):
            cost = spikes
            for other, (_, share) in enumerate(streams):
                cost = cost * share if other != one else cost
            costs.append(cost)
        cheapest: Array = np.minimum.reduce(np.broadcast_arrays(*costs))
        return layer.macs * cheapest


def _site_of(neuron: str, place: Mapping[str, int]) -> str | None:
    """The curve that a layer of neurons belongs to; those between casts have names of their own."""
    plain = neuron.removesuffix(".float32.spikes")
    return plain if plain in place else None
