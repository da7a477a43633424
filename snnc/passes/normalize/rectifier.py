"""ReLU, ReLU6 and leaky ReLU in every spelling: bounds, comparisons, slopes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Op
from snnc.passes.normalize.algebra import factors, same_rank
from snnc.passes.normalize.spelling import Spelling

_LARGEST = {"float16": 65504.0, "bfloat16": 3.38e38, "float32": 3.4e38, "float64": 1.79e308}
"""A bound of at least this is none: exporters write the largest number of the type."""


def recognise_rectifiers(graph: Graph) -> Graph:
    """Replaces them by Relu, by Clip from 0, or by LeakyRelu."""
    for rule in (_bounded, _sloped):
        graph = graph.rewrite(lambda node, rule=rule, graph=graph: rule(graph, node))  # type: ignore[misc]
    return graph


_BOUNDING = ("Relu", "Clip", "Max", "Min")


@dataclass(frozen=True)
class _Bounds:
    """min(max(x, low), high); steps: operations it is written in."""

    x: str
    low: float
    high: float
    steps: int


def _bounded(graph: Graph, node: Node) -> Replacement | None:
    """Max, Min, Clip and Relu on top of each other, where 0 is the lower bound."""
    if not isinstance(node, Op) or node.op_type not in _BOUNDING:
        return None
    found = _bounds(graph, node) if graph.types[node.outputs[0]].is_float else None
    if found is None or found.low != 0 or not found.high > 0:
        return None
    known = node.op_type == ("Relu" if math.isinf(found.high) else "Clip")
    if (found.steps == 1 and known) or not same_rank(graph, found.x, node.outputs[0]):
        return None
    s = Spelling(graph, node)
    if math.isinf(found.high):
        s.op("Relu", found.x, into=node.outputs[0])
    else:
        bounds = (s.const(bound, s.dtype(found.x)) for bound in (0.0, found.high))
        s.op("Clip", found.x, *bounds, into=node.outputs[0])
    return s.done()


def _bounds(graph: Graph, op: Op) -> _Bounds | None:
    own = _own_bounds(graph, op)
    if own is None:
        return None
    inner = graph.op(own.x, *_BOUNDING)
    below = _bounds(graph, inner) if inner is not None else None
    if below is None or graph.only_reader(own.x) is None:
        return own
    low, high = (min(max(bound, own.low), own.high) for bound in (below.low, below.high))
    return _Bounds(below.x, low, high, below.steps + 1)


def _own_bounds(graph: Graph, op: Op) -> _Bounds | None:
    """The bounds that one operation sets; None where they are not constant numbers."""
    x, low, high = op.inputs[0], -math.inf, math.inf
    if op.op_type == "Relu":
        low = 0.0
    elif op.op_type == "Clip":
        low, high = _number(graph, op, 1, low), _number(graph, op, 2, high)
    elif op.op_type in ("Max", "Min") and len(op.inputs) == 2:
        x, constant = sorted(op.inputs, key=lambda value: value in graph.consts)
        bound = graph.scalar(constant)
        bound = math.nan if bound is None else bound
        low, high = (bound, high) if op.op_type == "Max" else (low, bound)
    else:
        return None
    largest = _LARGEST.get(graph.types[op.outputs[0]].dtype, math.inf)
    low, high = (math.copysign(math.inf, b) if abs(b) >= largest else b for b in (low, high))
    return _Bounds(x, low, high, 1) if low <= high else None  # NaN is not


def _number(graph: Graph, op: Op, place: int, absent: float) -> float:
    """A bound of a Clip; NaN for one that is computed."""
    value = op.inputs[place] if len(op.inputs) > place else ""
    bound = graph.scalar(value) if value else absent
    return math.nan if bound is None else bound


def _sloped(graph: Graph, node: Node) -> Replacement | None:
    """x where it is positive, elsewhere 0 or a constant times x."""
    slope_of = _SLOPES.get(node.op_type) if isinstance(node, Op) else None
    if not isinstance(node, Op) or slope_of is None:
        return None
    found = slope_of(graph, node) if graph.types[node.outputs[0]].is_float else None
    if found is None or not same_rank(graph, found[0], node.outputs[0]):
        return None
    x, slope = found
    if slope != 0 and graph.types[x].dtype != "float32":  # onnxruntime has no other LeakyRelu
        return None
    s = Spelling(graph, node)
    if slope == 0:
        s.op("Relu", x, into=node.outputs[0])
    else:
        s.op("LeakyRelu", x, into=node.outputs[0], alpha=slope)
    return s.done()


_Slope: TypeAlias = tuple[str, float]
"""x, and what it is multiplied by where it is negative."""


def _leaky(graph: Graph, op: Op) -> _Slope | None:
    return (op.inputs[0], 0.0) if op.attrs.get("alpha", 0.01) == 0 else None


def _thresholded(graph: Graph, op: Op) -> _Slope | None:
    return (op.inputs[0], 0.0) if op.attrs.get("alpha", 1.0) == 0 else None


def _parametric(graph: Graph, op: Op) -> _Slope | None:
    slope = graph.consts.get(op.inputs[1])
    if slope is None or (slope.size != 1 and slope.any()):
        return None
    return op.inputs[0], float(slope.reshape(-1)[0]) if slope.size else 0.0


def _larger(graph: Graph, op: Op) -> _Slope | None:
    """max(x, a x) with a in (0, 1)."""
    if len(op.inputs) != 2:
        return None
    for x, other in (op.inputs, op.inputs[::-1]):
        slope, leaves = factors(graph, other)
        if leaves == [x] and x not in graph.consts and 0 < slope < 1:
            return x, slope
    return None


def _chosen(graph: Graph, op: Op) -> _Slope | None:
    """Where x > 0: x; else 0 or a x. Either side of the comparison may include 0."""
    condition, left, right = op.inputs
    while (inverted := graph.op(condition, "Not")) is not None:
        condition, left, right = inverted.inputs[0], right, left
    compared = graph.op(condition, "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    if compared is None:
        return None
    x, zero = compared.inputs
    greater = compared.op_type.startswith("Greater")
    if x in graph.consts:
        x, zero, greater = zero, x, not greater
    if not greater:
        left, right = right, left
    if graph.scalar(zero) != 0 or left != x:
        return None
    if right in graph.consts:
        constant = graph.consts[right]
        return (x, 0.0) if constant.size == 1 and not constant.any() else None
    slope, leaves = factors(graph, right)
    return (x, slope) if leaves == [x] else None


_SLOPES: dict[str, Callable[[Graph, Op], _Slope | None]] = {
    "LeakyRelu": _leaky,
    "ThresholdedRelu": _thresholded,
    "PRelu": _parametric,
    "Max": _larger,
    "Where": _chosen,
}
