"""Which entries of values the outputs of a graph depend on: places along one axis of each value.

A vision transformer that classifies by its first token reads nothing of the others in its last
layers; neurons there may stay silent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Dim, Node, Op
from snnc.ir.ops import BROADCASTING, POINTWISE


@dataclass(frozen=True)
class Needed:
    """The places along `axis` (from the last, -1) of a value of `size` places there that count."""

    axis: int
    places: frozenset[int]
    size: int

    @property
    def share(self) -> float:
        return len(self.places) / self.size


def needed_places(graph: Graph) -> Mapping[str, Needed]:
    """Values of which the outputs depend on some places only. What no rule is known for needs all
    it reads."""
    found: dict[str, Needed | None] = dict.fromkeys(graph.outputs)
    for node in reversed(graph.nodes):
        read = [found[v] for v in node.outputs if v in found]
        if not read:
            continue
        wanted = read[0] if len(node.outputs) == 1 else None
        for index, value in enumerate(node.inputs):
            if value in graph.types:
                new = _of_input(graph, node, index, wanted)
                found[value] = _both(found[value], new) if value in found else new
    some = {value: need for value, need in found.items() if need is not None}
    return {value: need for value, need in some.items() if len(need.places) < need.size}


def _both(one: Needed | None, other: Needed | None) -> Needed | None:
    if one is None or other is None or (one.axis, one.size) != (other.axis, other.size):
        return None
    return Needed(one.axis, one.places | other.places, one.size)


def _of_input(graph: Graph, node: Node, index: int, wanted: Needed | None) -> Needed | None:
    """What a node needs of an input, if some of its result is wanted; None for all of it."""
    if isinstance(node, Op) and node.op_type == "Gather":
        return _gathered(graph, node) if index == 0 else None
    if wanted is None:
        return None
    if not isinstance(node, Op):
        return wanted if index == 0 else None
    shape, result = _shape(graph, node.inputs[index]), _shape(graph, node.outputs[0])
    if not shape or not result:
        return None
    if node.op_type in POINTWISE:
        return wanted if index == 0 else None
    if node.op_type in ("Softmax", "LogSoftmax", "LayerNormalization"):
        first = node.integer("axis", -1)
        first = first - len(result) if first >= 0 else first
        apart = wanted.axis < first if node.op_type == "LayerNormalization" else True
        return wanted if index == 0 and apart and wanted.axis != first else None
    if node.op_type in BROADCASTING:
        same = len(shape) == len(result) and shape[wanted.axis] == wanted.size
        return wanted if same else None
    if node.op_type == "MatMul":
        matrices = min(len(_shape(graph, v)) for v in node.inputs) > 1
        rows = index == 0 and wanted.axis == -2
        same = len(shape) == len(result) and shape[wanted.axis] == wanted.size
        return wanted if matrices and same and (rows or wanted.axis < -2) else None
    return _moved(node, shape, result, wanted) if index == 0 else None


def _gathered(graph: Graph, op: Op) -> Needed | None:
    indices, shape = graph.consts.get(op.inputs[1]), _shape(graph, op.inputs[0])
    axis = op.integer("axis", 0)
    axis = axis - len(shape) if axis >= 0 else axis
    if indices is None or not shape or axis == -len(shape):  # the first axis is that of samples
        return None
    size = shape[axis]
    if not isinstance(size, int):
        return None
    places = np.asarray(indices).ravel() % size
    return Needed(axis, frozenset(int(i) for i in places), size)


def _moved(
    op: Op, shape: tuple[Dim, ...], result: tuple[Dim, ...], wanted: Needed
) -> Needed | None:
    """Where the places of a result lie in what it is a new layout of."""
    if op.op_type == "Transpose":
        perm = op.ints("perm", tuple(reversed(range(len(shape)))))
        return Needed(perm[wanted.axis] - len(shape), wanted.places, wanted.size)
    if op.op_type not in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
        return None
    front = wanted.axis % len(result)
    fixed = [[d for d in each[1:] if isinstance(d, int)] for each in (shape, result)]
    known = len(fixed[0]) == len(shape) - 1 and len(fixed[1]) == len(result) - 1
    if not known or math.prod(fixed[0]) != math.prod(fixed[1]) or not 0 < front < len(shape):
        return None
    if shape[1 : front + 1] != result[1 : front + 1]:
        return None
    return Needed(front - len(shape), wanted.places, wanted.size)


def _shape(graph: Graph, value: str) -> tuple[Dim, ...]:
    if value in graph.consts:
        return tuple(graph.consts[value].shape)
    return graph.types[value].shape or () if value in graph.types else ()
