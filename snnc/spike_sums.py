"""What neurons fired, counted where the network runs, and added up so that none need be kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Dim, Loc, Neuron, Node, Op, real
from snnc.streams import neuron_behind

_ROWS = np.zeros(1, np.int64)
_SMALLEST = np.array(np.finfo(np.float32).tiny)
"""In place of the step of a channel that never fires."""


class SpikeSums(NamedTuple):
    """Names of two values: |spike count|, and 1 for each spike that is not 0, of every entry of
    a value or of their sums over its first axis, [1, ...]."""

    spikes: str
    events: str


def with_spike_sums(
    graph: Graph, summed: Iterable[str], whole: Iterable[str] = ()
) -> tuple[Graph, Mapping[str, SpikeSums]]:
    """The graph with what fired of values that hold spikes; sums exact up to 2^24 an entry."""
    sums = _Sums(graph)
    names = {value: sums.of(value) for value in summed} | {v: sums.fired(v) for v in whole}
    return sums.graph, names


def cancels(graph: Graph, value: str) -> bool:
    """Whether neurons behind a value may fire spikes of both signs at one timestep, of which
    it holds the difference."""
    neuron = graph.producer.get(neuron_behind(graph, value) or value)
    return isinstance(neuron, Neuron) and neuron.model.dual and all(neuron.inputs[1:])


class _Sums:
    """Operations behind a graph. Constants are shared by all graphs, so that those which differ
    in their steps alone can share a session."""

    def __init__(self, graph: Graph) -> None:
        self._rows, self._smallest = graph.fresh("rows"), graph.fresh("smallest")
        consts = {**graph.consts, self._rows: _ROWS, self._smallest: _SMALLEST}
        self.graph = replace(graph, consts=consts)

    def of(self, value: str) -> SpikeSums:
        shape = self.graph.types[value].shape
        one = None if shape is None else (1, *shape[1:])
        return SpikeSums(
            *(self._add("ReduceSum", v, self._rows, shape=one) for v in self.fired(value))
        )

    def fired(self, value: str) -> SpikeSums:
        """As snnc.streams.spike_counts; of each sign by itself where both may fire at once."""
        neuron = self.graph.producer[neuron_behind(self.graph, value) or value]
        assert isinstance(neuron, Neuron)
        if not cancels(self.graph, value):
            count = self._count(value, neuron)
            return SpikeSums(count, self._add("Sign", count))
        signs = [self._of_sign(value, neuron, sign) for sign in (1, 2)]
        counts = [self._steps(self._add("Abs", v), step) for v, step in signs]
        events = (self._add("Sign", count) for count in counts)
        return SpikeSums(self._add("Add", *counts), self._add("Add", *events))

    def _of_sign(self, value: str, neuron: Neuron, sign: int) -> tuple[str, str]:
        """`value` as if the neuron had only one of its steps, and that step."""
        steps = tuple(step if place == sign else "" for place, step in enumerate(neuron.inputs))
        path: list[Node] = [replace(neuron, inputs=(neuron.inputs[0], *steps[1:]))]
        while value != neuron.outputs[0]:
            path.insert(1, self.graph.producer[value])
            value = path[1].inputs[0]
        found = neuron.inputs[0]
        for node in path:
            name = self.graph.fresh(f"{node.outputs[0]}.sign{sign}")
            types = {**self.graph.types, name: self.graph.types[node.outputs[0]]}
            one = replace(node, outputs=(name,), inputs=(found, *node.inputs[1:]))
            self.graph = replace(self.graph, nodes=(*self.graph.nodes, one), types=types)
            found = name
        return found, neuron.inputs[sign]

    def _count(self, value: str, neuron: Neuron) -> str:
        _, positive, negative = neuron.inputs
        if not (positive and negative):
            return self._steps(self._add("Abs", value), positive or negative)
        above = self._add("Relu", value)
        below = self._add("Relu", self._add("Neg", value))
        return self._add("Add", self._steps(above, positive), self._steps(below, negative))

    def _steps(self, size: str, step: str) -> str:
        """How many steps a size is; that of a layer without steps is 0."""
        if not step:
            return size
        divisor = self._add("Max", step, self._smallest)
        return self._add("Round", self._add("Div", size, divisor))

    def _add(self, kind: str, *read: str, shape: tuple[Dim, ...] | None = None) -> str:
        name = self.graph.fresh(f"{read[0]}.{kind.lower()}")
        node = Op((name,), read, Loc((name,)), kind)
        types = {**self.graph.types, name: real("float32", shape)}
        self.graph = replace(self.graph, nodes=(*self.graph.nodes, node), types=types)
        return name
