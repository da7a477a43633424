"""What each core computes for each layer: synaptic and real operations, neuron updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from snnc.backends.schedule.counts import Counts
from snnc.backends.schedule.emission import Emission
from snnc.backends.schedule.layers import NOWHERE, Connection, Layer, Network
from snnc.backends.schedule.mapping import Mapping
from snnc.backends.schedule.reach import Regions, Unit, parts, wired
from snnc.backends.schedule.reading import Fan
from snnc.ir.node import Array, Neuron, Node, Op
from snnc.ir.ops import AFFINE
from snnc.ir.spike_times import FIRST_SPIKE, MULTIPLIED, RELAY, fires
from snnc.synapses import product_count

_FREE = AFFINE | FIRST_SPIKE | {"Cast", "CastLike", "Identity", RELAY}
"""Operations that neurons or synapses do by themselves: constants in weights and thresholds."""


@dataclass
class Work:
    """Per sample, by layer and core (HOST: of layers that the host computes)."""

    synops: dict[Unit, float] = field(default_factory=dict)
    real: dict[Unit, float] = field(default_factory=dict)
    updates: dict[Unit, float] = field(default_factory=dict)


def work_of(
    network: Network, mapping: Mapping, counts: Counts, emission: Emission, found: Regions
) -> Work:
    """A synaptic operation for each synapse that a packet of a spike comes to; totals that were
    counted, one an event, are dealt out in proportion where each event is one packet. A product of
    two activations that spike has one for each pair of spikes. Real: a multiply-accumulate of a
    real number, an entry of real numbers that a core reads, an entry of an operation between
    neurons. An update of every neuron in each tick of its slot."""
    work = Work()
    graded = all(slot.sending == "graded" for slot in mapping.slots)
    for index, layer in enumerate(network.layers):
        for op, operands in _by_operation(layer):
            shares, real = _shares(network, mapping.cores, emission, found, index, op, operands)
            given = counts.synops.get(op.outputs[0]) if graded else None
            total = sum(shares.values())
            if given is not None and abs(given - total) > 1e-9 * max(abs(given), total):
                scale = given / total if total else 0.0
                shares = {core: share * scale for core, share in shares.items()}
            for core, share in shares.items():
                _add(work.synops, (index, core), share)
            for core, number in real.items():
                _add(work.real, (index, core), number)
        _entrywise(network, mapping, emission, index, work)
    return work


def _add(sums: dict[Unit, float], unit: Unit, number: float) -> None:
    sums[unit] = sums.get(unit, 0.0) + number


def _by_operation(layer: Layer) -> Iterator[tuple[Node, list[Connection]]]:
    for node in layer.nodes:
        operands = [c for c in layer.connections if c.op is node]
        if operands:
            yield node, operands


def _shares(
    network: Network,
    cores: Array,
    emission: Emission,
    found: Regions,
    index: int,
    op: Node,
    operands: list[Connection],
) -> tuple[dict[int, float], dict[int, float]]:
    """Synaptic and real operations of one operation, by core."""
    synops: dict[int, float] = {}
    real: dict[int, float] = {}
    if _is_product(operands) and isinstance(op, Op):
        sums = real if all(c.neurons is None for c in operands) else synops
        for core, count in _products(network, emission, found, index, op, operands):
            sums[core] = sums.get(core, 0.0) + count
        return synops, real
    for connection in operands:
        packets = emission.of(connection)
        sums = real if connection.neurons is None else synops
        if connection.kind == "wire":
            cells, readers = wired(network, connection, cores)
            inside = cells != NOWHERE
            weights = np.broadcast_to(packets, cells.shape)[inside]
            places, group = np.unique(readers[inside], return_inverse=True)
            totals = np.bincount(group.reshape(-1), weights=weights, minlength=len(places))
            for core, number in zip(places.tolist(), totals.tolist(), strict=True):
                sums[core] = sums.get(core, 0.0) + number
            continue
        whole = connection.neurons is not None or connection.kind != "gather"
        for core, fans in parts(network, connection, found, index):
            number = sum(f.over(packets) if whole else _read(f, packets) for f in fans)
            sums[core] = sums.get(core, 0.0) + number
    return synops, real


def _read(fan: Fan, packets: Array) -> float:
    """Packets of the entries that are read, each once."""
    return float(packets[np.ix_(*fan.read)].sum()) if fan.axes else float(packets)


def _is_product(operands: list[Connection]) -> bool:
    return len(operands) == 2 and all(c.kind == "product" for c in operands)


def _products(
    network: Network,
    emission: Emission,
    found: Regions,
    index: int,
    op: Op,
    operands: list[Connection],
) -> Iterator[tuple[int, float]]:
    """Pairs of packets that meet in a product, by core."""
    packets = [emission.of(connection) for connection in operands]
    both = [parts(network, connection, found, index) for connection in operands]
    shape = network.shapes[op.outputs[0]]
    for left, right in zip(*both, strict=True):
        for a, b in zip(left.fans, right.fans, strict=True):
            blocks = [p[np.ix_(*f.read)] for p, f in zip(packets, (a, b), strict=True)]
            if op.op_type in MULTIPLIED and not op.op_type.endswith("MatMul"):
                yield left.core, float((blocks[0] * blocks[1]).sum())
            elif op.op_type in ("Conv", "ConvTranspose"):
                yield left.core, a.over(packets[0])
            else:
                yield left.core, product_count(op, blocks, shape)


def _entrywise(
    network: Network, mapping: Mapping, emission: Emission, index: int, work: Work
) -> None:
    """Neurons, and real operations between them, by the cells that they are computed in."""
    layer = network.layers[index]
    for node in layer.nodes:
        if node.outputs[0] not in network.homes:
            continue
        neurons = isinstance(node, Neuron) or fires(node)
        if not neurons and (_is_free(node) or any(c.op is node for c in layer.connections)):
            continue
        cores = mapping.cores[network.homes[node.outputs[0]]]
        ticks = 1.0
        if isinstance(node, Op) and neurons:
            ticks = float(node.integer("ticks", 1))
        elif neurons:
            ticks = float(mapping.slots[index].ticks)
        times = emission.of_reals(node.outputs[0]) * ticks
        for core, cells in zip(*np.unique(cores, return_counts=True), strict=True):
            _add(work.updates if neurons else work.real, (index, int(core)), float(cells) * times)


def _is_free(node: Node) -> bool:
    return isinstance(node, Op) and node.op_type in _FREE
