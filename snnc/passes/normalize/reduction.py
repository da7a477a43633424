"""Reductions over one axis, in whichever way that axis is kept or put back."""

from __future__ import annotations

from dataclasses import dataclass

from snnc.ir.graph import Graph
from snnc.ir.node import Dim, Op
from snnc.passes.normalize.algebra import same_rank
from snnc.passes.normalize.spelling import dim_of, shape_of

_PUT_BACK = ("Reshape", "Unsqueeze")


@dataclass(frozen=True)
class Stripped:
    """What is left of a value without scaling, expansion, and what puts a reduced axis back.

    inner: the value below; factor: the scaling; put_back: the Reshape or Unsqueeze, if there is
    one; expands: the Expand operations above it.
    """

    inner: str
    factor: float
    put_back: Op | None
    expands: tuple[Op, ...]
    through: int = 0


def strip(graph: Graph, value: str, *, scaling: bool = True, through: str = "") -> Stripped:
    """`value` without the operations that move a reduced tensor into place beside its source.

    scaling: whether it is taken apart too; through: an elementwise operation that may stand among
    them.
    """
    factor, passed, put_back, expands = 1.0, 0, None, list[Op]()
    while (op := graph.op(value, "Expand", "Mul", "Div", *_PUT_BACK, through)) is not None:
        if op.op_type == through:
            value, passed = op.inputs[0], passed + 1
        elif op.op_type in ("Mul", "Div"):
            scaled = _scaled(graph, op) if scaling and not through else None
            if scaled is None:
                break
            value, scale = scaled
            factor *= scale
        elif put_back is not None:
            break
        elif op.op_type == "Expand":
            expands.append(op)
            value = op.inputs[0]
        else:
            put_back, value = op, op.inputs[0]
    return Stripped(value, factor, put_back, tuple(expands), passed)


def _scaled(graph: Graph, op: Op) -> tuple[str, float] | None:
    """(v, c) where `op` is v times a constant c, of the same rank."""
    left, right = op.inputs
    if op.op_type == "Mul" and left in graph.consts:
        left, right = right, left
    constant = graph.scalar(right)
    if not constant or left in graph.consts or not same_rank(graph, left, op.outputs[0]):
        return None
    return left, constant if op.op_type == "Mul" else 1 / constant


@dataclass(frozen=True)
class Reduced:
    """`factor` times a reduction of `x` over `axis` (from the front where the rank is known).

    kept: whether the axis is there, with size 1; expands: what it is expanded to besides; through:
    how often the operation asked for stands between.
    """

    kind: str
    x: str
    axis: int
    factor: float
    kept: bool
    expands: tuple[Op, ...]
    through: int


def reduced(graph: Graph, value: str, through: str = "") -> Reduced | None:
    """`value` as a reduction over one axis, None if it is anything else."""
    outside = strip(graph, value, through=through)
    op = graph.op(outside.inner, "ReduceSum", "ReduceMean", "ReduceMax")
    axes = graph.consts.get(op.inputs[1]) if op is not None and len(op.inputs) > 1 else None
    if op is None or axes is None or axes.size != 1:
        return None
    axis = _from_front(graph, op.inputs[0], int(axes.reshape(())))
    kept = bool(op.attrs.get("keepdims", 1))
    if outside.put_back is not None:
        if kept or not puts_back(graph, outside.put_back, axis):
            return None
        kept = True
    factor, expands, passed = outside.factor, outside.expands, outside.through
    return Reduced(op.op_type, op.inputs[0], axis, factor, kept, expands, passed)


def puts_back(graph: Graph, op: Op, axis: int) -> bool:
    """Whether a Reshape or Unsqueeze gives its input an axis of size 1 at `axis`, and only that.

    A Reshape may have one dimension that is not known before or after: the others fix it.
    """
    before, after = shape_of(graph, op.inputs[0]), shape_of(graph, op.outputs[0])
    if before is None or after is None or len(after) != len(before) + 1 or axis < 0:
        return False
    if op.op_type == "Unsqueeze":
        axes = graph.consts.get(op.inputs[1])
        return axes is not None and axes.size == 1 and int(axes.reshape(())) % len(after) == axis
    if axis >= len(after) or after[axis] != 1 or 0 in before:
        return False
    rest = after[:axis] + after[axis + 1 :]
    differing = [(a, b) for a, b in zip(before, rest, strict=True) if not _same(a, b)]
    return len(differing) <= 1 and not any(
        isinstance(a, int) and isinstance(b, int) for a, b in differing
    )


def _same(a: Dim, b: Dim) -> bool:
    return a is not None and a == b


def needed(graph: Graph, expands: tuple[Op, ...], x: str, axis: int) -> tuple[str, ...] | None:
    """The shapes of those expansions that may enlarge what is combined with `x`, each once.

    None where one has another rank, or another size than 1 or that of `x` along `axis`.
    """
    mine = shape_of(graph, x)
    shapes: dict[str, None] = {}
    for expand in expands:
        theirs = shape_of(graph, expand.outputs[0])
        if mine is None or theirs is None or len(mine) != len(theirs):
            return None
        if theirs[axis] != 1 and not _same(theirs[axis], mine[axis]):
            return None
        if not all(b == 1 or _same(a, b) for a, b in zip(mine, theirs, strict=True)):
            shapes[expand.inputs[1]] = None
    return tuple(shapes)


def is_mean(graph: Graph, found: Reduced | None) -> bool:
    """Whether a reduction is the mean: as such, or as a sum divided by the size of the axis."""
    if found is None or found.kind not in ("ReduceMean", "ReduceSum"):
        return False
    if found.kind == "ReduceMean":
        return found.factor == 1
    size = dim_of(graph, found.x, found.axis)
    return size is not None and abs(found.factor * size - 1) < 1e-6


def _from_front(graph: Graph, value: str, axis: int) -> int:
    shape = shape_of(graph, value)
    return axis + len(shape) if shape is not None and axis < 0 else axis
