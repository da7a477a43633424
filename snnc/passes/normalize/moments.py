"""Mean, variance and 1 / sqrt(variance + eps) over the last axis, however they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from snnc.ir.graph import Graph
from snnc.ir.node import Op
from snnc.ir.ops import rectifier_bound
from snnc.passes.normalize.algebra import plus_constant
from snnc.passes.normalize.reduction import is_mean, puts_back, reduced, strip
from snnc.passes.normalize.spelling import shape_of


@dataclass(frozen=True)
class Moment:
    """A function of the variance of `x` over its last axis.

    epsilon: what is added to the variance; kept: whether the axis is there, with size 1; expands:
    what it is expanded to besides.
    """

    x: str
    epsilon: float
    kept: bool
    expands: tuple[Op, ...]


_Match: TypeAlias = Callable[[Graph, str], Moment | None]


def inverse_spread(graph: Graph, value: str) -> Moment | None:
    """1 / sqrt(variance + epsilon), the axis kept."""
    return _kept(_moved(graph, value, _inverse))


def spread(graph: Graph, value: str) -> Moment | None:
    """sqrt(variance + epsilon), the axis kept."""
    return _kept(_moved(graph, value, _root))


def mean(graph: Graph, value: str, x: str) -> tuple[Op, ...] | None:
    """What the mean of `x` is expanded to, if `value` is that mean with the axis kept."""
    found = reduced(graph, value)
    if found is None or not (is_mean(graph, found) and found.kept and found.x == x):
        return None
    return found.expands if _is_last(graph, x, found.axis) else None


def _moved(graph: Graph, value: str, match: _Match) -> Moment | None:
    """What `match` finds below the operations that put the axis back and expand."""
    outside = strip(graph, value, scaling=False)
    found = match(graph, outside.inner)
    if found is None:
        return None
    if outside.put_back is not None:
        shape = shape_of(graph, found.x)
        if found.kept or shape is None or not puts_back(graph, outside.put_back, len(shape) - 1):
            return None
        found = replace(found, kept=True)
    return replace(found, expands=found.expands + outside.expands)


def _kept(found: Moment | None) -> Moment | None:
    return found if found is not None and found.kept else None


def _inverse(graph: Graph, value: str) -> Moment | None:
    op = graph.op(value, "Reciprocal", "Pow")
    if op is None:
        return None
    if op.op_type == "Reciprocal":
        return _moved(graph, op.inputs[0], _root)
    return _moved(graph, op.inputs[0], _shifted) if graph.scalar(op.inputs[1]) == -0.5 else None


def _root(graph: Graph, value: str) -> Moment | None:
    op = graph.op(value, "Sqrt", "Pow")
    if op is None or (op.op_type == "Pow" and graph.scalar(op.inputs[1]) != 0.5):
        return None
    return _moved(graph, op.inputs[0], _shifted)


def _shifted(graph: Graph, value: str) -> Moment | None:
    sum_ = plus_constant(graph, value)
    found = _moved(graph, sum_[0], _variance) if sum_ is not None else None
    return replace(found, epsilon=sum_[1]) if found is not None and sum_ is not None else None


def _variance(graph: Graph, value: str) -> Moment | None:
    """The variance, which rounding cannot make negative where it is bounded by 0."""
    op = graph.op(value)
    if op is not None and rectifier_bound(graph, op) == float("inf"):
        return _moved(graph, op.inputs[0], _variance)
    if op is not None and op.op_type == "Sub":
        return _mean_square_less_square(graph, op)
    found = reduced(graph, value)
    base = _squared(graph, found.x) if found is not None and is_mean(graph, found) else None
    centred = graph.op(base, "Sub") if base is not None else None
    if found is None or centred is None:
        return None
    for x, other in (centred.inputs, centred.inputs[::-1]):
        expands = mean(graph, other, x)
        if expands is not None and _is_last(graph, x, found.axis):
            return Moment(x, 0.0, found.kept, expands + found.expands)
    return None


def _mean_square_less_square(graph: Graph, op: Op) -> Moment | None:
    """mean(x^2) - mean(x)^2."""
    square, root = reduced(graph, op.inputs[0]), _squared(graph, op.inputs[1])
    middle = reduced(graph, root) if root is not None else None
    if square is None or middle is None or square.kept != middle.kept:
        return None
    if not (is_mean(graph, square) and is_mean(graph, middle)):
        return None
    x = _squared(graph, square.x)
    if x != middle.x or square.axis != middle.axis or not _is_last(graph, x, square.axis):
        return None
    return Moment(x, 0.0, square.kept, square.expands + middle.expands)


def _squared(graph: Graph, value: str) -> str | None:
    """v if `value` is v times v."""
    op = graph.op(value, "Mul", "Pow")
    if op is None:
        return None
    base, other = op.inputs
    return base if (graph.scalar(other) == 2 if op.op_type == "Pow" else base == other) else None


def _is_last(graph: Graph, x: str, axis: int) -> bool:
    shape = shape_of(graph, x)
    return axis == -1 or (shape is not None and axis == len(shape) - 1)
