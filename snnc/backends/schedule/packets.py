"""How many packets travel from core to core, by the links that they take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from snnc.backends.schedule.counts import Counts
from snnc.backends.schedule.emission import Emission
from snnc.backends.schedule.layers import NOWHERE, Connection, Network
from snnc.backends.schedule.mapping import Mapping, Sending
from snnc.backends.schedule.mesh import mesh_of
from snnc.backends.schedule.reach import Regions, Unit, parts, wired
from snnc.backends.schedule.routes import chips_in_use
from snnc.ir.node import Array
from snnc.targets import Target


@dataclass
class Packets:
    """Per sample. sent, received: by layer that sends, and core; links: by pair of routers; hops:
    by layer that sends and core that it sends from."""

    sent: dict[Unit, float] = field(default_factory=dict)
    received: dict[Unit, float] = field(default_factory=dict)
    hops: dict[Unit, float] = field(default_factory=dict)
    links: dict[tuple[int, int], float] = field(default_factory=dict)


def fired_packets(network: Network, mapping: Mapping, counts: Counts) -> dict[str, Array]:
    """How many packets each neuron sends: one an event if it is graded, one a spike if not, one a
    bit that is set in bit planes."""
    sending = {slot.layer: slot.sending for slot in mapping.slots}
    found = {}
    for index, layer in enumerate(network.layers):
        for node in layer.neurons:
            name = node.outputs[0]
            if name in counts.events:
                found[name] = _packets(counts, name, sending[index])
    return found


def _packets(counts: Counts, name: str, sending: Sending) -> Array:
    events = np.asarray(counts.events[name], np.float64)
    if sending == "graded":
        return events
    spikes = np.asarray(counts.spikes[name], np.float64)
    if sending == "unary":
        return spikes
    if name in counts.packets:
        return np.asarray(counts.packets[name], np.float64)
    size = np.divide(spikes, events, out=np.zeros_like(spikes), where=events > 0)
    bits = np.unpackbits(np.rint(size).astype(">u4")[..., None].view(np.uint8), axis=-1)
    return np.asarray(events * bits.sum(axis=-1))


def packets_of(
    network: Network, mapping: Mapping, target: Target, emission: Emission, found: Regions
) -> Packets:
    """Each neuron's packets go to the cores that hold synapses of it, along its part of the tree
    of its layer and core."""
    mesh, result = mesh_of(target), Packets()
    chips = chips_in_use(mapping.cores, mesh)
    for source, streams in enumerate(_streams(network, mapping.cores, found, emission)):
        for core, targets, packets in streams:
            away = tuple(target for target in targets if target != core)
            if not away or not packets:
                continue
            links = mesh.tree(core, away, chips)
            _add(result.sent, (source, core), packets)
            _add(result.hops, (source, core), packets * len(links))
            for reached in away:
                _add(result.received, (source, reached), packets)
            for link in links:
                result.links[link] = result.links.get(link, 0.0) + packets
    return result


def _add(sums: dict[Unit, float], unit: Unit, packets: float) -> None:
    sums[unit] = sums.get(unit, 0.0) + packets


_Stream = tuple[int, tuple[int, ...], float]
"""Core, the cores that read, packets: of cells of one core that the same cores read."""


def _streams(
    network: Network, cores: Array, found: Regions, emission: Emission
) -> Iterator[list[_Stream]]:
    """By layer that sends."""
    readers: dict[int, list[tuple[int, Connection]]] = {}
    for index, layer in enumerate(network.layers):
        for connection in layer.connections:
            inside = connection.cells[connection.cells != NOWHERE]
            for source in np.unique(network.layer_of(inside)).tolist():
                readers.setdefault(source, []).append((index, connection))
    for source in range(len(network.layers)):
        apart: dict[str | None, list[tuple[int, Connection]]] = {}
        for index, connection in readers.get(source, []):
            apart.setdefault(connection.neurons, []).append((index, connection))
        yield [
            stream
            for group in apart.values()
            for stream in _of_one_kind(network, cores, found, emission, source, group)
        ]


def _of_one_kind(
    network: Network,
    cores: Array,
    found: Regions,
    emission: Emission,
    source: int,
    group: list[tuple[int, Connection]],
) -> Iterator[_Stream]:
    """Cells of one layer, by core and by which cores read them."""
    layer = network.layers[source]
    packets = np.zeros(layer.cells)
    read: list[tuple[Array, list[int]]] = []
    for index, connection in group:
        local = np.where(connection.cells == NOWHERE, NOWHERE, connection.cells - layer.start)
        local[(local < 0) | (local >= layer.cells)] = NOWHERE
        packets[local[local >= 0]] = emission.of(connection)[local >= 0]
        read += _read(network, cores, found, index, connection, local)
    if not read:
        return
    rng = np.random.default_rng(0)
    signature = np.zeros(layer.cells, np.uint64)
    for cells, _ in read:
        signature[cells] += rng.integers(1, 2**63, dtype=np.uint64)
    mine = cores[layer.start : layer.start + layer.cells]
    order = np.lexsort((signature, mine))
    changed = np.flatnonzero((np.diff(signature[order]) != 0) | (np.diff(mine[order]) != 0)) + 1
    firsts = order[np.append(0, changed)]
    is_first = np.zeros(layer.cells, bool)
    is_first[firsts] = True
    targets: dict[int, set[int]] = {}
    for cells, readers in read:
        for cell in cells[is_first[cells]].tolist():
            targets.setdefault(cell, set()).update(readers)
    sums = np.add.reduceat(packets[order], np.append(0, changed))
    for cell, number in zip(firsts.tolist(), sums.tolist(), strict=True):
        if cell in targets:
            yield int(mine[cell]), tuple(sorted(targets[cell])), number


def _read(
    network: Network,
    cores: Array,
    found: Regions,
    index: int,
    connection: Connection,
    local: Array,
) -> Iterator[tuple[Array, list[int]]]:
    """Sets of cells of a layer, each with the cores that read all of them; local: the cell in that
    layer behind each entry of the operand, NOWHERE for those of others."""
    if connection.kind == "wire":
        _, readers = wired(network, connection, cores)
        cells = np.broadcast_to(local, readers.shape)
        there = cells >= 0
        order = np.argsort(readers[there], kind="stable")
        cells, readers = cells[there][order], readers[there][order]
        for part in np.split(np.arange(len(cells)), np.flatnonzero(np.diff(readers)) + 1):
            if part.size:
                yield cells[part], [int(readers[part[0]])]
        return
    known: dict[tuple[bytes, ...], tuple[Array, list[int]]] = {}
    for core, fans in parts(network, connection, found, index):
        for read in (fan.read for fan in fans):
            key = tuple(axis.tobytes() for axis in read)
            if key not in known:
                block = local[np.ix_(*read)]
                known[key] = block[block >= 0], []
            known[key][1].append(core)
    yield from known.values()
