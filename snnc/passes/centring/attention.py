"""Queries, keys and values: products of activations whose zero points can be made up for.

What is constant along the axis of a softmax leaves it as it is, and the rows of a softmax sum to 1
(spec 6.2). Both are proven from the graph; what cannot be proven keeps its zero point.
"""

from __future__ import annotations

from dataclasses import dataclass

from snnc.ir.graph import Graph
from snnc.ir.node import Op, Site
from snnc.passes.centring.axes import (
    MOVING,
    PRECISE,
    axis_before,
    axis_behind,
    consumers,
    shape_of,
)

MASKED = -1e9
"""What a softmax makes 0 of: the scores that a mask sets to this number or less."""


@dataclass(frozen=True)
class Operand:
    """An operand of a product MatMul. place: among its inputs."""

    product: Op
    place: int

    @property
    def value(self) -> str:
        return self.product.inputs[self.place]

    @property
    def summed(self) -> int:
        """The axis that the product sums over, counted from the last, -1."""
        return -2 if self.place else -1

    @property
    def free(self) -> int:
        """The axis that is one of the product's, too."""
        return -3 - self.summed

    @property
    def other(self) -> Operand:
        return Operand(self.product, 1 - self.place)


def keys_of(graph: Graph, product: Op) -> Operand | None:
    """The operand of attention scores that holds the keys: along them a softmax is taken."""
    for place, axis in ((1, -1), (0, -2)):
        if _softmax_only(graph, product.outputs[0], axis):
            return Operand(product, place)
    return None


def values_of(graph: Graph, product: Op) -> Operand | None:
    """The operand that rows of a softmax weight: probabilities that sum to 1 over its positions."""
    for place in (0, 1):
        weights = Operand(product, place)
        site = graph.producer.get(weights.value)
        whole = isinstance(site, Site) and site.role == "softmax" and len(site.inputs) == 1
        if isinstance(site, Site) and whole and _sums_to_1(graph, site.inputs[0], weights.summed):
            return weights.other
    return None


def _sums_to_1(graph: Graph, value: str, axis: int) -> bool:
    """Whether a value is a softmax along `axis`, laid out anew at most."""
    while (op := graph.op(value, "Softmax", *MOVING)) is not None:
        if op.op_type == "Softmax":
            return _along(graph, op, axis)
        before = axis_before(graph, op, axis)
        if before is None:
            return False
        value, axis = op.inputs[0], before
    return False


def _along(graph: Graph, softmax: Op, axis: int) -> bool:
    shape = shape_of(graph, softmax.inputs[0])
    taken = softmax.integer("axis", -1)
    return shape is not None and taken % len(shape) == axis % len(shape)


def _softmax_only(graph: Graph, value: str, axis: int) -> bool:
    """Whether nothing but softmaxes along `axis` can tell what is constant along it."""
    readers = consumers(graph, value) if graph.types[value].dtype in PRECISE else ()
    return bool(readers) and all(
        isinstance(op, Op) and _blind(graph, op, value, axis) for op in readers or ()
    )


def _blind(graph: Graph, op: Op, value: str, axis: int) -> bool:
    """The same of one operation that reads `value`."""
    if op.op_type == "Softmax":
        return _along(graph, op, axis)
    behind: int | None = None
    if op.op_type in MOVING and op.inputs[0] == value:
        behind = axis_behind(graph, op, axis)
    elif op.op_type in ("Add", "Sub") or _scales(graph, op, value, axis):
        behind = axis
    elif op.op_type == "Where" and op.inputs[0] != value:
        rest = [v for v in op.inputs[1:] if v != value]
        behind = axis if all(_is_masked(graph, v) for v in rest) else None
    if behind is None or shape_of(graph, op.outputs[0]) is None:
        return False
    return _softmax_only(graph, op.outputs[0], behind)


def _scales(graph: Graph, op: Op, value: str, axis: int) -> bool:
    """Whether `value` is multiplied or divided by what is constant along `axis`."""
    others = [v for v in op.inputs if v != value]
    if op.op_type not in ("Mul", "Div") or len(others) != 1:
        return False
    if op.op_type == "Div" and op.inputs[0] != value:
        return False
    shape = shape_of(graph, others[0])
    return shape is not None and (len(shape) < -axis or shape[axis] == 1)


def _is_masked(graph: Graph, value: str) -> bool:
    """Whether a softmax makes 0 of every entry: a very low constant, or one that is expanded."""
    while (op := graph.op(value, "Expand", "Cast")) is not None:
        value = op.inputs[0]
    constant = graph.consts.get(value)
    return constant is not None and constant.dtype.kind == "f" and bool((constant <= MASKED).all())
