"""What the picture of a schedule shows: spikes of one sample, loads of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snnc.backends.schedule.artifact import Schedule
from snnc.backends.schedule.counts import Counts
from snnc.backends.schedule.events import Events
from snnc.backends.schedule.execution import Fired
from snnc.backends.schedule.layers import NOWHERE
from snnc.backends.schedule.loads import Loads
from snnc.backends.schedule.packets import fired_packets
from snnc.ir.node import Array
from snnc.plots import ScheduleFigures, schedule_picture


class Raster:
    """The spikes of the first sample of a run."""

    def __init__(self, made: Schedule) -> None:
        self._events = Events(made.network, made.mapping)
        self._columns: list[tuple[Array, ...]] = []

    def watch(self, fired: Fired, first: int) -> None:
        """Of each batch; first: number of its first sample."""
        if first:
            return
        for batch in self._events.of(fired, first):
            mine = batch["sample"] == 0
            columns = ("tick", "layer", "neuron", "polarity")
            self._columns.append(tuple(batch[name][mine] for name in columns))

    @property
    def columns(self) -> tuple[Array, ...]:
        """Tick, layer, neuron, polarity of each spike."""
        empty = tuple(np.zeros(0, np.int64) for _ in range(4))
        return tuple(map(np.concatenate, zip(empty, *self._columns, strict=True)))


def draw_schedule(made: Schedule, found: Loads, counts: Counts, raster: Raster, path: Path) -> None:
    """Draws spikes, load, traffic and energy into `path` (.png, .svg, .pdf)."""
    tick, layer, neuron, polarity = raster.columns
    cores = {each.core: each.synops for each in found.cores if each.core >= 0}
    synops = np.zeros(max(cores, default=0) + 1)
    synops[list(cores)] = list(cores.values())
    layers = made.network.layers
    figures = ScheduleFigures(
        title=f"{made.graph.source or made.graph.name} on {made.target.title}",
        layers=[each.name for each in layers],
        neurons=[each.cells for each in layers],
        ticks=made.mapping.ticks,
        tick=tick,
        layer=layer,
        neuron=neuron,
        polarity=polarity,
        synops=synops,
        columns=made.target.columns or 0,
        traffic=_traffic(made, counts),
        energy=np.array([each.energy_joules for each in found.layers]),
        hot=[each.core for each in found.hot],
        used=made.mapping.used,
        idle=found.energy.get("idle", 0.0),
        between="layers",
    )
    schedule_picture(figures, path)


def _traffic(made: Schedule, counts: Counts) -> Array:
    """Packets from layer to layer, real numbers included."""
    network, packets = made.network, fired_packets(made.network, made.mapping, counts)
    found = np.zeros((len(network.layers), len(network.layers)))
    for to, layer in enumerate(network.layers):
        for each in layer.connections:
            sent = np.ones(network.cells)
            if each.neurons is not None and each.neurons in packets:
                sent[network.homes[each.neurons].reshape(-1)] = packets[each.neurons].ravel()
            cells = np.unique(each.cells[each.cells != NOWHERE])
            sources = network.layer_of(cells)
            found[:, to] += np.bincount(sources, sent[cells], len(network.layers))
    return found
