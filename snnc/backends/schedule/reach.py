"""Which cores the spikes and numbers of each layer's cells go to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from snnc.backends.schedule.emission import Emission
from snnc.backends.schedule.layers import NOWHERE, Connection, Network
from snnc.backends.schedule.reading import Box, Fan, fan
from snnc.backends.schedule.regions import regions
from snnc.ir.node import Array

Unit: TypeAlias = tuple[int, int]
"""Layer and core: the cells of one layer on one core."""

Regions: TypeAlias = Sequence[tuple[tuple[int, tuple[Box, ...]], ...]]
"""By layer: its cores, with the boxes of its cells there."""


class Part(NamedTuple):
    """What the cells of a layer on one core read of an operand: a fan for each of their boxes."""

    core: int
    fans: tuple[Fan, ...]


def regions_of(network: Network, cores: Array) -> Regions:
    """The boxes of all layers; cores: of every cell."""
    return [
        tuple(regions(layer, cores[layer.start : layer.start + layer.cells]))
        for layer in network.layers
    ]


def parts(network: Network, connection: Connection, found: Regions, layer: int) -> Iterator[Part]:
    """The cores that read an operand, other than one to one."""
    for core, boxes in found[layer]:
        yield Part(core, tuple(fan(network, connection, box) for box in boxes))


def wired(network: Network, connection: Connection, cores: Array) -> tuple[Array, Array]:
    """Of an operand that is read one to one: the cell that is read (NOWHERE: none), and the core
    that reads it, for each entry of the result."""
    homes = network.homes[connection.op.outputs[0]]
    return np.broadcast_to(connection.cells, homes.shape), cores[homes]


@dataclass(frozen=True)
class Reach:
    """units: all (layer, core); targets: by unit, the cores that it sends to other than its own,
    with packets per sample if each of them got those only that it needs."""

    units: tuple[Unit, ...]
    targets: tuple[dict[int, float], ...]

    @property
    def traffic(self) -> dict[tuple[int, int], float]:
        """Packets from core to core."""
        found: dict[tuple[int, int], float] = {}
        for (_, core), targets in zip(self.units, self.targets, strict=True):
            for target, packets in targets.items():
                found[core, target] = found.get((core, target), 0.0) + packets
        return found


def reach_of(network: Network, cores: Array, found: Regions, emission: Emission) -> Reach:
    """Where everything goes; cores: of every cell."""
    units = [(layer, core) for layer, there in enumerate(found) for core, _ in there]
    unit_of = np.empty(network.cells, np.int32)
    number = 0
    for layer, there in zip(network.layers, found, strict=True):
        mine = cores[layer.start : layer.start + layer.cells]
        known = np.array([core for core, _ in there], np.int64)
        unit_of[layer.start : layer.start + layer.cells] = number + np.searchsorted(known, mine)
        number += len(there)
    targets: list[dict[int, float]] = [{} for _ in units]
    for index, layer in enumerate(network.layers):
        for connection in layer.connections:
            packets = emission.of(connection)
            for core, senders, weights in _sent(
                network, connection, (index, cores, found), unit_of, packets
            ):
                for sender, weight in zip(senders, weights, strict=True):
                    if units[sender][1] != core:
                        targets[sender][core] = targets[sender].get(core, 0.0) + weight
    return Reach(tuple(units), tuple(targets))


def _sent(
    network: Network,
    connection: Connection,
    where: tuple[int, Array, Regions],
    unit_of: Array,
    packets: Array,
) -> Iterator[tuple[int, list[int], list[float]]]:
    """For each core that reads an operand: the units that send to it, and how many packets."""
    index, cores, found = where
    if connection.kind == "wire":
        cells, readers = wired(network, connection, cores)
        inside = cells != NOWHERE
        sources, weights = unit_of[cells[inside]], np.broadcast_to(packets, cells.shape)[inside]
        order = np.argsort(readers[inside], kind="stable")
        sorted_readers = readers[inside][order]
        for group in np.split(order, np.flatnonzero(np.diff(sorted_readers)) + 1):
            if group.size:
                core = int(readers[inside][group[0]])
                yield core, *_totals(sources[group], weights[group])
        return
    inside = connection.cells != NOWHERE
    sources = np.where(inside, unit_of[connection.cells], -1)
    known: dict[tuple[bytes, ...], tuple[list[int], list[float]]] = {}
    for core, fans in parts(network, connection, found, index):
        for read in (each.read for each in fans):
            key = tuple(axis.tobytes() for axis in read)
            if key not in known:
                block = np.ix_(*read)
                some, weights = sources[block].reshape(-1), packets[block].reshape(-1)
                known[key] = _totals(some[some >= 0], weights[some >= 0])
            yield core, *known[key]


def _totals(units: Array, packets: Array) -> tuple[list[int], list[float]]:
    """Each unit once, with the sum of its packets."""
    if not units.size:
        return [], []
    first = int(units.min())
    shifted = units - first
    there = np.flatnonzero(np.bincount(shifted))
    sums = np.bincount(shifted, weights=packets)[there]
    return (there + first).tolist(), sums.tolist()
