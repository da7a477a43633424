"""Spikes added up over samples and timesteps where the network runs, so that none need be kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Dim, Neuron, Op, real
from snnc.streams import neuron_behind

_ROWS = np.zeros(1, np.int64)
_SMALLEST = np.array(np.finfo(np.float32).tiny)
"""In place of the step of a channel that never fires."""


class SpikeSums(NamedTuple):
    """Names of the sums of a value over its first axis, [1, ...]: of |spike count|, and of the
    entries where it is not 0."""

    spikes: str
    events: str


def with_spike_sums(graph: Graph, values: Iterable[str]) -> tuple[Graph, Mapping[str, SpikeSums]]:
    """The graph with the sums of values that hold spikes; exact up to 2^24 for each entry."""
    sums = _Sums(graph)
    names = {value: sums.of(value) for value in values}
    return sums.graph, names


class _Sums:
    """Operations behind a graph. Constants are shared by all graphs, so that those which differ
    in their steps alone can share a session."""

    def __init__(self, graph: Graph) -> None:
        self._rows, self._smallest = graph.fresh("rows"), graph.fresh("smallest")
        consts = {**graph.consts, self._rows: _ROWS, self._smallest: _SMALLEST}
        self.graph = replace(graph, consts=consts)

    def of(self, value: str) -> SpikeSums:
        neuron = self.graph.producer[neuron_behind(self.graph, value) or value]
        assert isinstance(neuron, Neuron)
        shape = self.graph.types[value].shape
        one = None if shape is None else (1, *shape[1:])
        count = self._count(value, neuron)
        fired = self._add(neuron, "Sign", count)
        return SpikeSums(
            *(self._add(neuron, "ReduceSum", v, self._rows, shape=one) for v in (count, fired))
        )

    def _count(self, value: str, neuron: Neuron) -> str:
        """As snnc.streams.spike_counts."""
        _, positive, negative = neuron.inputs
        if not (positive and negative):
            return self._steps(neuron, self._add(neuron, "Abs", value), positive or negative)
        above = self._add(neuron, "Relu", value)
        below = self._add(neuron, "Relu", self._add(neuron, "Neg", value))
        each = self._steps(neuron, above, positive), self._steps(neuron, below, negative)
        return self._add(neuron, "Add", *each)

    def _steps(self, neuron: Neuron, size: str, step: str) -> str:
        """How many steps a size is; that of a layer without steps is 0."""
        if not step:
            return size
        divisor = self._add(neuron, "Max", step, self._smallest)
        return self._add(neuron, "Round", self._add(neuron, "Div", size, divisor))

    def _add(
        self, neuron: Neuron, kind: str, *read: str, shape: tuple[Dim, ...] | None = None
    ) -> str:
        name = self.graph.fresh(f"{read[0]}.{kind.lower()}")
        node = Op((name,), read, neuron.loc, kind)
        types = {**self.graph.types, name: real("float32", shape)}
        self.graph = replace(self.graph, nodes=(*self.graph.nodes, node), types=types)
        return name
