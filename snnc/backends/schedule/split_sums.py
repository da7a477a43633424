"""Sums of more synapses than a core holds for one neuron, as sums of several cores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from snnc.backends.schedule.limits import weight_bits
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Coding, Dim, Node, Op, Type, real
from snnc.ir.weights import is_weight, quantized, weight
from snnc.targets import Target


def with_split_sums(graph: Graph, target: Target) -> Graph:
    """The graph with every MatMul, Gemm and Conv whose neurons have too many synapses for the
    target written as a sum over parts of its input, where cores may add up what others send.

    What cannot be split so (a kernel of one channel is too large, groups) stays as it is.
    """
    if not target.partial_sums or not target.real_bits:
        return graph

    def rule(node: Node) -> Replacement | None:
        found = _sum_of(graph, node) if isinstance(node, Op) else None
        if found is None:
            return None
        room = _room(graph, found, target)
        if room is None or found.inputs * found.taps <= room or room < found.taps:
            return None
        return _Writer(graph, found, room // found.taps).replacement()

    return graph.rewrite(rule)


@dataclass(frozen=True)
class _Sum:
    """op: with constant weights; axis: of its operand, and `along` of its weights, over which it
    adds up `inputs` entries of `taps` weights each."""

    op: Op
    axis: int
    along: int
    inputs: int
    taps: int


def _sum_of(graph: Graph, op: Op) -> _Sum | None:
    if op.op_type not in ("MatMul", "Gemm", "Conv") or not is_weight(graph, op.inputs[1]):
        return None
    weights, rank = weight(graph, op.inputs[1]), len(graph.types[op.inputs[0]].shape or ())
    if weights is None or op.inputs[0] not in graph.types or not rank:
        return None
    if op.op_type == "Conv":
        alone = op.integer("group", 1) == 1
        taps = math.prod(weights.shape[2:])
        return _Sum(op, 1, 1, weights.shape[1], taps) if alone else None
    if weights.ndim != 2 or op.integer("transA", 0):
        return None
    along = int(op.integer("transB", 0)) if op.op_type == "Gemm" else 0
    return _Sum(op, rank - 1, along, weights.shape[along], 1)


def _room(graph: Graph, found: _Sum, target: Target) -> int | None:
    """Synapses that one neuron of a core can have; half of them where both signs need their own."""
    limits = [] if target.fan_in is None else [target.fan_in]
    if target.synapse_bits_per_core is not None:
        limits.append(target.synapse_bits_per_core // weight_bits(target))
    if not limits:
        return None
    spikes = graph.types[found.op.inputs[0]].coding is Coding.SPIKE
    return min(limits) // (2 if spikes and not target.signed_payload else 1)


class _Writer:
    """The parts of one sum, `width` inputs each."""

    def __init__(self, graph: Graph, found: _Sum, width: int) -> None:
        self._graph, self._found, self._width = graph, found, width
        self._nodes: list[Op] = []
        self._types: dict[str, Type] = {}
        self._consts: dict[str, Array] = {}

    def replacement(self) -> Replacement:
        op = self._found.op
        results = tuple(self._part(i, *ends) for i, ends in enumerate(self._ends()))
        self._nodes.append(Op(op.outputs, results, op.loc, "Sum"))
        return Replacement(tuple(self._nodes), self._types, self._consts)

    def _ends(self) -> Iterator[tuple[int, int]]:
        """Parts as equal as can be."""
        inputs = self._found.inputs
        parts = math.ceil(inputs / self._width)
        places = [inputs * i // parts for i in range(parts + 1)]
        return pairwise(places)

    def _part(self, number: int, start: int, end: int) -> str:
        op, result = self._found.op, self._named(f"part.{number}")
        inputs = [self._slice(number, start, end), self._weights(number, start, end)]
        if number == 0:
            inputs += op.inputs[2:]
        self._types[result] = self._graph.types[op.outputs[0]]
        self._nodes.append(replace(op, outputs=(result,), inputs=tuple(inputs)))
        return result

    def _slice(self, number: int, start: int, end: int) -> str:
        value, axis = self._found.op.inputs[0], self._found.axis
        name = self._named(f"input.{number}")
        kind = self._graph.types[value]
        shape: list[Dim] = list(kind.shape or ())
        shape[axis] = end - start
        self._types[name] = replace(kind, shape=tuple(shape))
        ends = (("start", start), ("end", end), ("axis", axis))
        where = tuple(self._number(f"{part}.{number}", place) for part, place in ends)
        self._nodes.append(Op((name,), (value, *where), self._found.op.loc, "Slice"))
        return name

    def _weights(self, number: int, start: int, end: int) -> str:
        """Weights of a part; integers keep their scales, which are of outputs."""
        value = self._found.op.inputs[1]
        name, held = self._named(f"weights.{number}"), quantized(self._graph, value)
        along = (slice(None),) * self._found.along + (slice(start, end),)
        source = self._graph.op(value)
        if held is None or source is None or held.axis == self._found.along:
            whole = weight(self._graph, value)
            assert whole is not None
            self._consts[name] = np.ascontiguousarray(whole[along])
            return name
        integers = self._named(f"integers.{number}")
        self._consts[integers] = np.ascontiguousarray(held.values[along])
        self._types[name] = real("float32", self._consts[integers].shape)
        self._nodes.append(replace(source, outputs=(name,), inputs=(integers, source.inputs[1])))
        return name

    def _number(self, part: str, number: int) -> str:
        name = self._named(part)
        self._consts[name] = np.array([number], np.int64)
        return name

    def _named(self, part: str) -> str:
        base = f"{self._found.op.outputs[0]}.{part}"
        return self._graph.fresh(base, self._types | self._consts)
