"""Reading a chain of elementwise operations as the formula it computes."""

from __future__ import annotations

from typing import TypeAlias

from snnc.ir.graph import Graph
from snnc.ir.node import Op
from snnc.passes.normalize.spelling import shape_of

Polynomial: TypeAlias = dict[int, float]
"""Coefficients by power."""

_HIGHEST_POWER = 8


def factors(graph: Graph, value: str) -> tuple[float, list[str]]:
    """The product that `value` is: its constant factor and its other factors, in order.

    A factor that something else reads as well is not taken apart.
    """
    op = graph.op(value, "Mul", "Div")
    if op is None:
        scalar = graph.scalar(value)
        return (1.0, [value]) if scalar is None else (scalar, [])
    left, right = op.inputs
    if op.op_type == "Div":
        divisor = graph.scalar(right)
        if not divisor:
            return 1.0, [value]
        constant, rest = _inner_factors(graph, left)
        return constant / divisor, rest
    (a, xs), (b, ys) = _inner_factors(graph, left), _inner_factors(graph, right)
    return a * b, xs + ys


def _inner_factors(graph: Graph, value: str) -> tuple[float, list[str]]:
    if value in graph.consts or graph.only_reader(value) is not None:
        return factors(graph, value)
    return 1.0, [value]


def plus_constant(graph: Graph, value: str) -> tuple[str, float] | None:
    """(v, c) where `value` is v + c with a constant scalar c, else None."""
    op = graph.op(value, "Add")
    if op is None:
        return None
    for v, other in (op.inputs, op.inputs[::-1]):
        constant = graph.scalar(other)
        if constant is not None and v not in graph.consts:
            return v, constant
    return None


def polynomial(graph: Graph, value: str, x: str) -> Polynomial | None:
    """`value` as a polynomial in `x` with constant coefficients, None if it is none."""
    if value == x:
        return {1: 1.0}
    scalar = graph.scalar(value)
    if scalar is not None:
        return {0: scalar}
    op = graph.op(value, "Add", "Sub", "Mul", "Div", "Pow")
    if op is None:
        return None
    left, right = (polynomial(graph, v, x) for v in op.inputs)
    if left is None or right is None:
        return None
    return _combine(op, left, right)


def _combine(op: Op, left: Polynomial, right: Polynomial) -> Polynomial | None:
    if op.op_type in ("Add", "Sub"):
        sign = 1.0 if op.op_type == "Add" else -1.0
        powers = left.keys() | right.keys()
        return {p: left.get(p, 0.0) + sign * right.get(p, 0.0) for p in powers}
    if op.op_type == "Mul":
        return _product(left, right)
    constant = right.get(0, 0.0)
    if right.keys() != {0} or constant == 0:
        return None
    if op.op_type == "Div":
        return {p: c / constant for p, c in left.items()}
    if constant != int(constant) or not 0 < constant <= _HIGHEST_POWER:
        return None
    result: Polynomial = {0: 1.0}
    for _ in range(int(constant)):
        result = _product(result, left)
    return result


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for p, a in left.items():
        for q, b in right.items():
            result[p + q] = result.get(p + q, 0.0) + a * b
    return result


def close(found: Polynomial | None, wanted: Polynomial, tolerance: float) -> bool:
    """Whether the coefficients of two polynomials agree to a relative error."""
    if found is None:
        return False
    powers = found.keys() | wanted.keys()
    return all(
        abs(found.get(p, 0.0) - wanted.get(p, 0.0)) <= tolerance * abs(wanted.get(p, 0.0))
        for p in powers
    )


def same_rank(graph: Graph, value: str, other: str) -> bool:
    """Whether two values have as many axes, as far as that is known."""
    shape, expected = shape_of(graph, value), shape_of(graph, other)
    return shape is None or expected is None or len(shape) == len(expected)
