"""Layer normalisation written out: (x - mean) / sqrt(variance + eps) * gamma + beta."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Op
from snnc.passes.normalize.algebra import same_rank
from snnc.passes.normalize.moments import Moment, inverse_spread, mean, spread
from snnc.passes.normalize.reduction import needed
from snnc.passes.normalize.spelling import Spelling, dim_of

_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Neg")
_TYPES = ("float32", "float64", "float16")

_DEPTH = 5
"""Operations between the end of the formula and its 1 / spread."""

_ROUNDING = 1e-6
"""Relative difference of two coefficients that rounding explains."""

_Terms: TypeAlias = dict[tuple[int, int, int], Array]
"""Coefficients, numbers or vectors over the last axis, by the powers of x, mean and 1 / spread."""


def recognise_layer_norm(graph: Graph) -> Graph:
    """Replaces any way of writing the formula over the last axis by LayerNormalization.

    A scale and a shift behind a LayerNormalization join it.
    """
    for rule in (_normalised, _scaled, _shifted):
        graph = graph.rewrite(lambda node, rule=rule, graph=graph: rule(graph, node))  # type: ignore[misc]
    return graph


def _normalised(graph: Graph, node: Node) -> Replacement | None:
    if not isinstance(node, Op) or node.op_type not in _ARITHMETIC:
        return None
    found = _spread_behind(graph, node, _DEPTH)
    s = Spelling(graph, node)
    if found is None or s.dtype(found.x) not in _TYPES:
        return None
    width = dim_of(graph, found.x, -1)
    formula = _Formula(graph, found)
    terms = formula.of(node) if width is not None else None
    if width is None or terms is None or not same_rank(graph, found.x, node.outputs[0]):
        return None
    parameters = _scale_and_shift(terms, width)
    shapes = needed(graph, (*found.expands, *formula.expands), found.x, -1)
    if parameters is None or shapes is None:
        return None
    out = node.outputs[0]
    given = [s.const(array, s.dtype(found.x)) for array in parameters]
    attrs = {"axis": -1, "epsilon": float(np.float32(found.epsilon))}
    into = "" if shapes else out
    value = s.op("LayerNormalization", found.x, *given, into=into, attrs=attrs)
    for i, shape in enumerate(shapes, 1):
        value = s.op("Expand", value, shape, into=out if i == len(shapes) else "")
    return s.done()


def _spread_behind(graph: Graph, op: Op, depth: int) -> Moment | None:
    """The first 1 / spread that a formula reads."""
    for place, value in enumerate(op.inputs):
        if value in graph.consts:
            continue
        divisor = op.op_type == "Div" and place == 1
        found = spread(graph, value) if divisor else inverse_spread(graph, value)
        inner = graph.op(value, *_ARITHMETIC)
        if found is None and inner is not None and depth > 1:
            found = _spread_behind(graph, inner, depth - 1)
        if found is not None:
            return found
    return None


class _Formula:
    """Reads a value as a sum of products of x, its mean and 1 / spread; notes their expansions."""

    def __init__(self, graph: Graph, found: Moment) -> None:
        self._graph, self._moment = graph, found
        self.expands: tuple[Op, ...] = ()

    def of(self, op: Op) -> _Terms | None:
        left = self._value(op.inputs[0])
        if op.op_type == "Neg" or left is None:
            return left and _times(left, {(0, 0, 0): np.array(-1.0)})
        read = self._inverse if op.op_type == "Div" else self._value
        right = read(op.inputs[1])
        if right is None:
            return None
        if op.op_type in ("Mul", "Div"):
            return _times(left, right)
        sign = 1.0 if op.op_type == "Add" else -1.0
        zero = np.array(0.0)
        return {p: left.get(p, zero) + sign * right.get(p, zero) for p in left | right}

    def _value(self, value: str) -> _Terms | None:
        graph, x = self._graph, self._moment.x
        if value == x:
            return {(1, 0, 0): np.array(1.0)}
        if value in graph.consts:
            vector = _over_last_axis(graph.consts[value])
            return None if vector is None else {(0, 0, 0): vector}
        expands = mean(graph, value, x)
        if expands is not None:
            self.expands += expands
            return {(0, 1, 0): np.array(1.0)}
        found = inverse_spread(graph, value)
        if found is not None:
            return self._spread(found)
        op = graph.op(value, *_ARITHMETIC)
        terms = self.of(op) if op is not None else None
        shared = graph.only_reader(value) is None
        # what is normalised already and read elsewhere is not computed a second time
        return None if terms is None or (shared and terms.keys() >= _NORMALISED) else terms

    def _inverse(self, divisor: str) -> _Terms | None:
        """The terms of 1 / divisor."""
        if divisor in self._graph.consts:
            vector = _over_last_axis(self._graph.consts[divisor])
            return None if vector is None or not vector.all() else {(0, 0, 0): 1 / vector}
        found = spread(self._graph, divisor)
        return self._spread(found) if found is not None else None

    def _spread(self, found: Moment) -> _Terms | None:
        if (found.x, found.epsilon) != (self._moment.x, self._moment.epsilon):
            return None
        self.expands += found.expands
        return {(0, 0, 1): np.array(1.0)}


_NORMALISED = {(1, 0, 1), (0, 1, 1)}
"""Powers of the terms x / spread and mean / spread."""


def _times(left: _Terms, right: _Terms) -> _Terms:
    product: _Terms = {}
    for (a, b, c), u in left.items():
        for (d, e, f), v in right.items():
            powers = (a + d, b + e, c + f)
            product[powers] = product.get(powers, np.array(0.0)) + u * v
    return product


def _over_last_axis(array: Array) -> Array | None:
    """A constant that is a number, or a vector over the last axis."""
    if array.dtype.kind != "f":
        return None
    if array.size == 1:
        return np.array(array.reshape(()), np.float64)
    return array.reshape(-1).astype(np.float64) if array.shape[-1] == array.size else None


def _scale_and_shift(terms: _Terms, width: int) -> list[Array] | None:
    """gamma and, unless 0, beta of x / spread gamma - mean / spread gamma + beta."""
    if not _NORMALISED <= terms.keys() <= _NORMALISED | {(0, 0, 0)}:
        return None
    scale, other = terms[(1, 0, 1)], terms[(0, 1, 1)]
    if scale.size not in (1, width) or other.size not in (1, width):
        return None
    if np.abs(scale + other).max() > _ROUNDING * np.abs(scale).max():
        return None
    shift = terms.get((0, 0, 0), np.array(0.0))
    if shift.size not in (1, width):
        return None
    parameters = [np.broadcast_to(scale, width)]
    return [*parameters, np.broadcast_to(shift, width)] if shift.any() else parameters


def _scaled(graph: Graph, node: Node) -> Replacement | None:
    found = _norm_and_vector(graph, node, "Mul", inputs=2)
    if found is None:
        return None
    norm, vector = found
    scale = graph.fresh(f"{node.outputs[0]}.scale")
    op = replace(
        norm, outputs=node.outputs, inputs=(norm.inputs[0], scale), loc=norm.loc | node.loc
    )
    return Replacement((op,), consts={scale: graph.consts[norm.inputs[1]] * vector})


def _shifted(graph: Graph, node: Node) -> Replacement | None:
    found = _norm_and_vector(graph, node, "Add", inputs=2)
    if found is None:
        return None
    norm, vector = found
    shift = graph.fresh(f"{node.outputs[0]}.shift")
    op = replace(norm, outputs=node.outputs, inputs=(*norm.inputs, shift), loc=norm.loc | node.loc)
    return Replacement((op,), consts={shift: vector})


def _norm_and_vector(
    graph: Graph, node: Node, op_type: str, inputs: int
) -> tuple[Op, Array] | None:
    """The LayerNormalization and the constant [D] that `node` combines elementwise."""
    if not isinstance(node, Op) or node.op_type != op_type:
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        norm = graph.op(value, "LayerNormalization")
        vector = graph.consts.get(other)
        if norm is None or vector is None or graph.only_reader(value) is None:
            continue
        scale = graph.consts.get(norm.inputs[1])
        if scale is None or scale.ndim != 1 or not same_rank(graph, value, node.outputs[0]):
            continue
        fits = vector.shape[-1:] == scale.shape and vector.size == scale.size
        if len(norm.inputs) == inputs and len(norm.outputs) == 1 and fits:
            return norm, vector.reshape(scale.shape)
    return None
