"""Axes of values, counted from the last (-1), through operations that only lay entries out anew."""

from __future__ import annotations

from snnc.ir.graph import Graph
from snnc.ir.node import Dim, Node, Op
from snnc.ir.ops import PERMUTING, SHAPE_READING

MOVING = PERMUTING | {"Cast"}
"""Operations that keep every entry once, in a layout or type of their own."""

PRECISE = frozenset({"float32", "float64"})
"""Types in which a zero point costs no precision that matters."""


def shape_of(graph: Graph, value: str) -> tuple[Dim, ...] | None:
    """The shape of a value or constant as far as it is known."""
    if value in graph.consts:
        return tuple(graph.consts[value].shape)
    return graph.types[value].shape if value in graph.types else None


def axis_behind(graph: Graph, op: Op, axis: int) -> int | None:
    """The axis of the result that an axis of the first input becomes; None if not proven."""
    perm = _permutation(graph, op)
    if perm is not None:
        return perm.index(axis % len(perm)) - len(perm)
    return axis if _keeps(graph, op, axis) else None


def axis_before(graph: Graph, op: Op, axis: int) -> int | None:
    """The axis of the first input that an axis of the result comes from; None if not proven."""
    perm = _permutation(graph, op)
    if perm is not None:
        return perm[axis % len(perm)] - len(perm)
    return axis if _keeps(graph, op, axis) else None


def _permutation(graph: Graph, op: Op) -> tuple[int, ...] | None:
    shape = shape_of(graph, op.inputs[0])
    if op.op_type != "Transpose" or shape is None:
        return None
    return op.ints("perm", tuple(reversed(range(len(shape)))))


def _keeps(graph: Graph, op: Op, axis: int) -> bool:
    """Whether entries keep their places along `axis` and the axes behind it: laid out row by row,
    values whose last axes are equal differ only in front of these."""
    if op.op_type in ("Cast", "Identity"):
        return True
    before, after = shape_of(graph, op.inputs[0]), shape_of(graph, op.outputs[0])
    if op.op_type not in PERMUTING - {"Transpose"} or before is None or after is None:
        return False
    alike = len(before) >= -axis and len(after) >= -axis and before[axis:] == after[axis:]
    return alike and None not in before[axis:]


def varying(graph: Graph, value: str, channel: int) -> tuple[int, ...] | None:
    """The axes along which a zero point of an operand of a product may vary: that of its channels,
    and those of a fixed size in front of its matrices, heads say, but not the first, the samples'.

    None where the number of channels is not known.
    """
    shape = shape_of(graph, value)
    if shape is None or len(shape) < 2 or not isinstance(shape[channel], int):
        return None
    heads = (a - len(shape) for a in range(1, len(shape) - 2) if isinstance(shape[a], int))
    return (*heads, channel)


def consumers(graph: Graph, value: str) -> tuple[Node, ...] | None:
    """The nodes that read the entries of a value; None where it is an output of the network."""
    if value in graph.outputs:
        return None
    readers = graph.readers.get(value, ())
    return tuple(n for n in readers if not isinstance(n, Op) or n.op_type not in SHAPE_READING)
