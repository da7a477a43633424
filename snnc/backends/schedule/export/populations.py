"""A network as populations that integrate: weights from each to each, and what flows in besides.

Between two layers of neurons, and behind the last ones, everything affine is one matrix. It is
found by running that part of the graph in float64 on a spike of each neuron alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snnc.backends.schedule.export.refusals import before_neurons, raise_refusals, refused
from snnc.backends.schedule.layers import Network
from snnc.errors import CompileError, RefusedNode
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Neuron, Op
from snnc.ir.time import REPEAT, is_affine
from snnc.membrane.reference import Reference

MOST_SYNAPSES = 1 << 22
"""Synapses that are written one by one: a line of text each."""

_NOISE = 2.0**-44
"""Of the largest potential: what float64 leaves where there is no synapse."""


@dataclass(frozen=True, eq=False)
class Population:
    """Cells that integrate at every timestep.

    value: the result of `neuron`, or one that is read out and has none; step: of a spike; synapses:
    what one spike of each cell of another population adds to each cell, by its value, [source,
    target]; drive: what every timestep adds besides (biases, and the sample's input); depth: 1 for
    populations without sources, then one more than the sources'.
    """

    value: str
    neuron: Neuron | None
    step: Array
    synapses: Mapping[str, Array]
    drive: Array
    depth: int

    @property
    def cells(self) -> int:
        return len(self.drive)


def populations(network: Network, feeds: Mapping[str, Array]) -> tuple[Population, ...]:
    """The layers of neurons in order, then what is read out; feeds: inputs of one sample.

    Raises CompileError for what is not affine between neurons.
    """
    return _Populations(network, feeds).found


class _Populations:
    def __init__(self, network: Network, feeds: Mapping[str, Array]) -> None:
        self._graph, self._shapes = network.graph, network.shapes
        self._perform = Reference(self._graph)
        self._feeds = feeds
        self._found: dict[str, Population] = {}
        self._total = 0
        ends, refusals = _ends(self._graph)
        raise_refusals("SANA-FE", self._graph, refusals)
        for neuron in self._graph.neurons:
            self._found[neuron.outputs[0]] = self._population(neuron.inputs[0], neuron)
        for value in ends:
            self._found[f"{value} read out"] = self._population(value, None)
        self.found = tuple(self._found.values())

    def _population(self, value: str, neuron: Neuron | None) -> Population:
        nodes, sources = self._behind(value)
        drive = self._run(nodes, value, 1, {v: self._spikes(v, 0) for v in sources})[0]
        synapses = {}
        for source in sources:
            cells = self._found[source].cells
            self._require_small(cells * drive.size)
            given = {v: self._spikes(v, cells) for v in sources}
            given[source] = self._spikes(source, cells, np.diag(self._found[source].step))
            added = self._run(nodes, value, cells, given) - drive
            added[np.abs(added) <= _NOISE * max(np.abs(drive).max(), np.abs(added).max())] = 0
            synapses[source] = added
        step = np.zeros(drive.size)
        if neuron is not None and neuron.inputs[1]:
            shape = self._shapes[neuron.outputs[0]]
            step = np.broadcast_to(self._graph.consts[neuron.inputs[1]], shape).reshape(-1)
        depth = 1 + max((self._found[v].depth for v in sources), default=0)
        self._require_pipeline(value, [self._found[v] for v in sources], depth)
        result = value if neuron is None else neuron.outputs[0]
        return Population(result, neuron, step.astype(np.float64), synapses, drive, depth)

    def _require_pipeline(self, value: str, sources: list[Population], depth: int) -> None:
        early = [source.value for source in sources if source.depth != depth - 1]
        if early:
            raise self._graph.error(
                f"spikes of '{early[0]}' skip a layer, and SANA-FE hands spikes on after one tick",
                self._graph.producer[value],
                help="export a network without connections around layers",
            )

    def _require_small(self, more: int) -> None:
        self._total += more
        if self._total > 16 * MOST_SYNAPSES:
            raise CompileError(
                f"SANA-FE's network file names every synapse, and this network has over "
                f"{MOST_SYNAPSES}",
                help="export a smaller network",
            )

    def _behind(self, value: str) -> tuple[list[Op], tuple[str, ...]]:
        """What computes a value from neurons and inputs, and these neurons' results."""
        firing = {v for neuron in self._graph.neurons for v in neuron.outputs}
        needed, nodes = {value}, list[Op]()
        for node in reversed(self._graph.nodes):
            if isinstance(node, Op) and not needed.isdisjoint(node.outputs):
                nodes.append(node)
                needed.update(filter(None, node.inputs))
        return nodes[::-1], tuple(v for v in self._found if v in needed & firing)

    def _spikes(self, value: str, rows: int, spikes: Array | None = None) -> Array:
        shape = self._shapes[value]
        rows = max(rows, 1)
        array = np.zeros((rows, math.prod(shape))) if spikes is None else spikes
        return array.reshape(rows, *shape[1:])

    def _run(self, nodes: list[Op], value: str, rows: int, given: dict[str, Array]) -> Array:
        """A value for a batch that shows the sample `rows` times, [rows, cells]."""
        values: dict[str, Array] = {**self._graph.consts, **given}
        for name, array in self._feeds.items():
            wide = array.astype(np.float64) if array.dtype.kind == "f" else array
            values[name] = np.repeat(wide, rows, axis=0)
        for node in nodes:
            read = [values[v] if v else None for v in node.inputs]
            if node.op_type == REPEAT:  # the same at every timestep, one of which runs here
                values[node.outputs[0]] = values[node.inputs[0]]
            else:
                values.update(zip(node.outputs, self._perform(node, read), strict=True))
        return values[value].reshape(rows, -1).astype(np.float64)


def _ends(graph: Graph) -> tuple[tuple[str, ...], list[RefusedNode]]:
    """The values that are read out behind the last neurons, and what is not affine before them."""
    needed = before_neurons(graph)
    affine: set[str] = set()
    beyond: set[str] = set()
    ends: dict[str, None] = {}
    refusals: list[RefusedNode] = []
    for node in graph.nodes:
        read = [v for v in node.inputs if v in affine]
        if isinstance(node, Neuron):
            affine.update(node.outputs)
        elif not isinstance(node, Op) or not (read or not beyond.isdisjoint(node.inputs)):
            continue
        elif beyond.isdisjoint(node.inputs) and is_affine(graph, node, frozenset(affine)):
            affine.update(node.outputs)
        elif needed.isdisjoint(node.outputs):
            beyond.update(node.outputs)
            ends.update(dict.fromkeys(read))
        else:
            why = "between two layers of neurons it knows sums over synapses only"
            refusals.append(refused(node, why, "take a network whose neurons read layers alone"))
            affine.update(node.outputs)  # and look further
    ends.update((v, None) for v in graph.outputs if v in affine)
    return tuple(ends), refusals
