"""Which entries of an operand a block of an operation's results reads, and how often."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import numpy as np

from snnc.backends.schedule.layers import Connection, Network
from snnc.ir.node import Array, Op
from snnc.ir.ops import MULTIPLYING, multiplied
from snnc.ir.spike_times import MULTIPLIED
from snnc.synapses import macs, taps

Box: TypeAlias = tuple[Array, ...]
"""Indices along each axis; the entries at all combinations of them."""

Shape: TypeAlias = tuple[int, ...]


class Fan(NamedTuple):
    """How many synapses (or other ways in) lead from each entry of an operand into a box of
    results: `scale` times the product of the numbers at its index along each axis, float64."""

    axes: tuple[Array, ...]
    scale: float = 1.0

    @property
    def read(self) -> Box:
        """The entries that are read at all."""
        return tuple(np.flatnonzero(axis) for axis in self.axes)

    @property
    def synapses(self) -> float:
        """Of all entries together."""
        return self.scale * math.prod(float(axis.sum()) for axis in self.axes)

    def over(self, entries: Array) -> float:
        """The sum of all entries of the operand, each times its number of synapses."""
        total: Array = entries
        for axis in reversed(self.axes):
            total = total @ axis
        return float(total) * self.scale


def fan(network: Network, connection: Connection, box: Box) -> Fan:
    """For any connection but a wire; an operation of unknown kind reads everything."""
    op, operand = connection.op, connection.cells.shape
    rule = _RULES.get(op.op_type) if isinstance(op, Op) else None
    if isinstance(op, Op) and rule is not None:
        found = rule(network, op, connection.place, operand, box)
        if found is not None:
            return found
    return _everything(network, connection, box)


def _everything(network: Network, connection: Connection, box: Box) -> Fan:
    operand, op = connection.cells.shape, connection.op
    results = math.prod(map(len, box))
    scale = float(results)
    if isinstance(op, Op) and op.op_type in MULTIPLYING:
        shapes = {v: shape_of(network, v) for v in (*multiplied(op), op.outputs[0])}
        share = results / math.prod(shapes[op.outputs[0]])
        scale = macs(op, shapes) / math.prod(operand) * share
    return Fan(tuple(np.ones(size) for size in operand), scale)


def shape_of(network: Network, value: str) -> Shape:
    """At one timestep for one sample."""
    graph = network.graph
    if value in network.shapes:
        return network.shapes[value]
    if value in graph.consts:
        return tuple(graph.consts[value].shape)
    integers = graph.op(value, "DequantizeLinear")
    return () if integers is None else tuple(graph.consts[integers.inputs[0]].shape)


def _marked(size: int, indices: Array) -> Array:
    marked = np.zeros(size)
    marked[indices] = 1.0
    return marked


def _broadcast(operand: Shape, box: Box, out: Shape) -> Fan | None:
    """Each result reads the entry of its own index."""
    if len(operand) > len(box):
        return None
    spare = len(box) - len(operand)
    axes, scale = [], float(math.prod(map(len, box[:spare])))
    for size, indices, wide in zip(operand, box[spare:], out[spare:], strict=True):
        if size == wide:
            axes.append(_marked(size, indices))
        elif size == 1:
            axes.append(np.full(1, float(len(indices))))
        else:
            return None
    return Fan(tuple(axes), scale)


def _entrywise(network: Network, op: Op, place: int, operand: Shape, box: Box) -> Fan | None:
    return _broadcast(operand, box, shape_of(network, op.outputs[0]))


def _matmul(network: Network, op: Op, place: int, operand: Shape, box: Box) -> Fan | None:
    """A [..., M, K] @ B [..., K, N]; vectors stand for one row or one column."""
    if place > 1:
        return None
    left, right = (len(shape_of(network, v)) for v in op.inputs[:2])
    out = shape_of(network, op.outputs[0])
    rows = 1 if left == 1 else len(box[-1 if right == 1 else -2])
    columns = 1 if right == 1 else len(box[-1])
    batch = slice(0, len(box) - (left > 1) - (right > 1))
    outer = _broadcast(operand[:-2], box[batch], out[batch])
    if outer is None:
        return None
    if place == 0:
        inner = [np.full(operand[-1], float(columns))]
        if left > 1:
            inner.insert(0, _marked(operand[-2], box[-1 if right == 1 else -2]))
    else:
        inner = [np.full(operand[-2 if right > 1 else -1], float(rows))]
        if right > 1:
            inner.append(_marked(operand[-1], box[-1]))
    return Fan((*outer.axes, *inner), outer.scale)


def _gemm(network: Network, op: Op, place: int, operand: Shape, box: Box) -> Fan | None:
    """A [M, K] @ B [K, N] + C, either transposed as its attribute says."""
    if place > 1:
        return _broadcast(operand, box, shape_of(network, op.outputs[0]))
    mine, other = (box[0], box[1]) if place == 0 else (box[1], box[0])
    turned = bool(op.integer("transA", 0)) if place == 0 else not op.integer("transB", 0)
    inner, outer = (0, 1) if turned else (1, 0)
    axes = [np.full(operand[inner], float(len(other)))] * 2
    axes[outer] = _marked(operand[outer], mine)
    return Fan(tuple(axes))


def _conv(network: Network, op: Op, place: int, operand: Shape, box: Box) -> Fan | None:
    data, weight, out = (shape_of(network, v) for v in (*op.inputs[:2], op.outputs[0]))
    transposed, group = op.op_type == "ConvTranspose", op.integer("group", 1)
    axes = taps(op, data, weight, out)
    if place == 1 and not transposed:
        used = [real[b].sum(axis=0) for (_, real), b in zip(axes, box[2:], strict=True)]
        return Fan((_marked(weight[0], box[1]), np.ones(weight[1]), *used), float(len(box[0])))
    if place:
        return None
    per_group = np.bincount(box[1] // (out[1] // group), minlength=group).astype(np.float64)
    spatial = [
        _sliding(size, a, b, transposed) for size, a, b in zip(data[2:], axes, box[2:], strict=True)
    ]
    return Fan((_marked(data[0], box[0]), np.repeat(per_group, data[1] // group), *spatial))


def _sliding(size: int, axis: tuple[Array, Array], indices: Array, transposed: bool) -> Array:
    """How many taps lead from each place of an axis of `size` to the results at `indices`."""
    place, real = axis
    if transposed:
        return np.asarray((np.isin(place, indices) & real).sum(axis=1), np.float64)
    fallen = place[indices][real[indices]]
    return np.bincount(fallen, minlength=size).astype(np.float64)


def _pool(network: Network, op: Op, place: int, operand: Shape, box: Box) -> Fan | None:
    weight = (1, 1, *op.ints("kernel_shape", (1,) * (len(operand) - 2)))
    axes = taps(op, operand, weight, shape_of(network, op.outputs[0]))
    spatial = [
        _sliding(size, a, b, False) for size, a, b in zip(operand[2:], axes, box[2:], strict=True)
    ]
    return Fan(
        (*(_marked(size, b) for size, b in zip(operand[:2], box[:2], strict=True)), *spatial)
    )


def _whole(operand: Shape, axes: Iterable[int], box: Box, kept: bool = True) -> Fan | None:
    """Each result reads all entries along `axes`, and its own index along the others."""
    along = {axis % len(operand) for axis in axes} if operand else set()
    if len(box) != len(operand) - (0 if kept else len(along)):
        return None
    left = iter(box)
    found, scale = [], 1.0
    for axis, size in enumerate(operand):
        if axis not in along:
            found.append(_marked(size, next(left)))
            continue
        found.append(np.ones(size))
        scale *= len(next(left)) if kept else 1
    return Fan(tuple(found), scale)


def _along_axis(network: Network, op: Op, place: int, operand: Shape, box: Box) -> Fan | None:
    return None if place else _whole(operand, [op.integer("axis", -1)], box)


def _normalised(network: Network, op: Op, place: int, operand: Shape, box: Box) -> Fan | None:
    first = op.integer("axis", -1) % len(operand)
    return None if place else _whole(operand, range(first, len(operand)), box)


def _each_channel(network: Network, op: Op, place: int, operand: Shape, box: Box) -> Fan | None:
    return None if place else _whole(operand, range(2, len(operand)), box)


def _reduced(network: Network, op: Op, place: int, operand: Shape, box: Box) -> Fan | None:
    if op.op_type in ("ArgMax", "ArgMin"):
        axes: tuple[int, ...] = (op.integer("axis", 0),)
    else:
        given = network.graph.consts.get(op.inputs[1]) if any(op.inputs[1:]) else None
        if given is None and any(op.inputs[1:]):
            return None
        axes = op.ints("axes", ()) if given is None else tuple(int(a) for a in given.ravel())
        if not axes and op.integer("noop_with_empty_axes", 0):
            return _broadcast(operand, box, shape_of(network, op.outputs[0]))
        axes = axes or tuple(range(len(operand)))
    return None if place else _whole(operand, axes, box, bool(op.integer("keepdims", 1)))


def _einsum(network: Network, op: Op, place: int, operand: Shape, box: Box) -> Fan | None:
    left, arrow, result = str(op.attrs["equation"]).replace(" ", "").partition("->")
    term = left.split(",")[place]
    if not arrow or "." in left or len(set(term)) < len(term):
        return None
    at = dict(zip(result, box, strict=True))
    axes = tuple(
        _marked(size, at[label]) if label in at and size > 1 else np.ones(size)
        for label, size in zip(term, operand, strict=True)
    )
    return Fan(axes, float(math.prod(len(b) for label, b in at.items() if label not in term)))


_Rule: TypeAlias = Callable[[Network, Op, int, Shape, Box], Fan | None]
"""network, operation, place of the operand, its shape, a box of the results."""

_RULES: dict[str, _Rule] = {
    "Gemm": _gemm,
    "Einsum": _einsum,
    "LayerNormalization": _normalised,
} | {
    op_type: rule
    for rule, op_types in {
        _matmul: "MatMul MatMulInteger " + " ".join(m for m in MULTIPLIED if m.endswith("MatMul")),
        _entrywise: "Greater Less GreaterOrEqual LessOrEqual Equal And Or Xor Not IsNaN IsInf Mod "
        + " ".join(m for m in MULTIPLIED if not m.endswith("MatMul")),
        _conv: "Conv ConvTranspose ConvInteger",
        _pool: "MaxPool AveragePool LpPool",
        _each_channel: "GlobalAveragePool GlobalMaxPool GlobalLpPool InstanceNormalization",
        _along_axis: "Softmax LogSoftmax Hardmax LpNormalization TopK",
        _reduced: "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 "
        "ReduceSumSquare ReduceLogSum ReduceLogSumExp ArgMax ArgMin",
    }.items()
    for op_type in op_types.split()
}
"""Operations whose ways in are known."""
