"""How many synapses an operation has: multiply-accumulates and fan-out, padding not counted."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from snnc.ir.node import Array, Op
from snnc.ir.ops import MULTIPLYING, multiplied

Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = Mapping[str, Shape]


def macs(op: Op, shapes: Shapes) -> float:
    """Multiply-accumulates of one run; shapes: of the multiplied inputs and the first output."""
    form = MULTIPLYING[op.op_type]
    operands = [shapes[v] for v in multiplied(op)]
    if not operands:  # an Einsum that only moves and sums up
        return 0.0
    if form == "Conv" or form == "ConvTranspose":
        batch, channels, *_ = operands[0]
        return float(batch * channels * _spatial_fan(op, shapes).sum())
    if form == "recurrent":
        steps, batch = operands[0][:2]
        return float(steps * batch * sum(math.prod(weights) for weights in operands[1:]))
    if form == "attention":
        (batch, length, _), (depth, width) = operands
        values = shapes[op.outputs[0]][-1]
        products = length * ((width - values) // 2 + values)  # of queries and keys, and with values
        return float(batch * length * (depth * width + products))
    if form == "Einsum":
        return float(math.prod(_label_sizes(op, operands).values()))
    depth = operands[0][0] if op.attrs.get("transA", 0) else operands[0][-1]
    return float(math.prod(shapes[op.outputs[0]]) * depth)


def fan_out(op: Op, value: str, shapes: Shapes) -> Array | float:
    """Synapses of each entry of the operand `value`: a number, or one for each position."""
    if MULTIPLYING[op.op_type] in ("Conv", "ConvTranspose"):
        return _spatial_fan(op, shapes) if value == op.inputs[0] else _tap_fan(op, shapes)
    size = math.prod(shapes[value])
    return macs(op, shapes) / float(size) if size else 0.0


def product_count(op: Op, operands: Sequence[Array], out: Shape) -> float:
    """Sum over all multiplications of a product of activations of the product of their entries.

    out: shape of the operation's result.
    """
    if op.op_type == "Einsum":
        terms, _ = _einsum_terms(op, [a.shape for a in operands])
        total = np.einsum(f"{','.join(terms)}->", *operands, dtype=np.float64, optimize=True)
        return float(total)
    a, b = operands
    if op.op_type in ("Conv", "ConvTranspose"):
        return _convolution_count(op, a, b, out)
    left = np.swapaxes(a, -1, -2) if op.attrs.get("transA", 0) else a
    right = np.swapaxes(b, -1, -2) if op.attrs.get("transB", 0) else b
    rows: Array = left.sum(axis=-2, dtype=np.float64) if left.ndim > 1 else left
    columns: Array = right.sum(axis=-1, dtype=np.float64) if right.ndim > 1 else right
    return float((rows * columns).sum())


def _convolution_count(op: Op, data: Array, weight: Array, out: Shape) -> float:
    """The same for a convolution whose weights are computed: tap by tap."""
    group, transposed = op.integer("group", 1), op.op_type == "ConvTranspose"
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    by_input = grouped.sum(axis=2 if transposed else 1, dtype=np.float64)
    by_input = by_input.reshape(data.shape[1], *weight.shape[2:])
    axes = taps(op, data.shape, weight.shape, out)
    total = 0.0
    for kernel_place in np.ndindex(*weight.shape[2:]):
        places = []
        for tap, (place, real) in zip(kernel_place, axes, strict=True):
            used = real[:, tap]
            places.append(np.flatnonzero(used) if transposed else place[used, tap])
        entries = data[np.ix_(*map(np.arange, data.shape[:2]), *places)]
        by_channel: Array = entries.sum(axis=(0, *range(2, data.ndim)), dtype=np.float64)
        total += float((by_channel * by_input[(slice(None), *kernel_place)]).sum())
    return total


def _spatial_fan(op: Op, shapes: Shapes) -> Array:
    """Synapses of an input entry at each spatial position: kernel taps that fall on real outputs,
    times the output channels of its group."""
    data, weight = (shapes[v] for v in multiplied(op)[:2])
    transposed = op.op_type == "ConvTranspose"
    channels = weight[1] if transposed else weight[0] // op.integer("group", 1)
    fan = np.full((), channels, np.float64)
    axes = taps(op, data, weight, shapes[op.outputs[0]])
    for size, (place, real) in zip(data[2:], axes, strict=True):
        along = real.sum(axis=1) if transposed else np.bincount(place[real], minlength=size)
        fan = fan[..., None] * along
    return fan


def _tap_fan(op: Op, shapes: Shapes) -> Array:
    """Synapses of a weight at each kernel tap: the steps at which it exists, times the batch."""
    data, weight = (shapes[v] for v in multiplied(op)[:2])
    fan = np.full((), data[0], np.float64)
    for _, real in taps(op, data, weight, shapes[op.outputs[0]]):
        fan = fan[..., None] * real.sum(axis=0)
    return fan


def taps(op: Op, data: Shape, weight: Shape, out: Shape) -> list[tuple[Array, Array]]:
    """Per spatial axis, for each step and kernel tap: the place it falls on, and whether it exists.

    The kernel steps over the outputs of a Conv and falls on inputs; for a ConvTranspose it is the
    other way round.
    """
    rank = len(data) - 2
    ones = (1,) * rank
    strides, dilations = op.ints("strides", ones), op.ints("dilations", ones)
    pads = op.ints("pads", (0,) * 2 * rank)
    axes = []
    for axis in range(rank):
        size, result, kernel = data[2 + axis], out[2 + axis], weight[2 + axis]
        stride, dilation = strides[axis], dilations[axis]
        small, large = (result, size) if op.op_type == "ConvTranspose" else (size, result)
        begin = _begin_pad(op, pads, axis, small, large, kernel, stride, dilation)
        steps, taps = np.arange(large)[:, None] * stride, np.arange(kernel)[None, :] * dilation
        place = steps + taps - begin
        axes.append((place, (place >= 0) & (place < small)))
    return axes


def result_shape(op: Op, data: Shape, weight: Shape) -> Shape:
    """The shape of the result of a Conv or ConvTranspose."""
    rank = len(data) - 2
    ones = (1,) * rank
    strides, dilations = op.ints("strides", ones), op.ints("dilations", ones)
    pads, mode = op.ints("pads", (0,) * 2 * rank), op.attrs.get("auto_pad", "NOTSET")
    if mode == "VALID":
        pads = (0,) * 2 * rank
    same = mode in ("SAME_UPPER", "SAME_LOWER")
    transposed = op.op_type == "ConvTranspose"
    spare = op.ints("output_padding", (0,) * rank)
    fixed = op.ints("output_shape", ()) if transposed else ()
    sizes = []
    for axis in range(rank):
        size, stride = data[2 + axis], strides[axis]
        extent = (weight[2 + axis] - 1) * dilations[axis] + 1
        padding = pads[axis] + pads[rank + axis]
        if fixed:
            sizes.append(fixed[-rank:][axis])
        elif transposed:
            whole = stride * (size - 1) + spare[axis] + extent
            sizes.append(min(whole, size * stride) if same else whole - padding)
        elif same:
            sizes.append(-(-size // stride))
        else:
            sizes.append((size + padding - extent) // stride + 1)
    channels = weight[1] * op.integer("group", 1) if transposed else weight[0]
    return (data[0], channels, *sizes)


def _begin_pad(
    op: Op, pads: Shape, axis: int, small: int, large: int, kernel: int, stride: int, dilation: int
) -> int:
    """Padding before the first entry of the side that the kernel slides over (`small`)."""
    mode = op.attrs.get("auto_pad", "NOTSET")
    fixed = op.op_type == "Conv" or "output_shape" not in op.attrs
    if mode in ("NOTSET", "") and fixed:
        return pads[axis]
    if mode == "VALID":
        return 0
    spare = op.ints("output_padding", (0,) * len(pads))[axis]
    total = max((large - 1) * stride + spare + (kernel - 1) * dilation + 1 - small, 0)
    return total // 2 if mode == "SAME_UPPER" else total - total // 2


def _einsum_terms(op: Op, operands: list[Shape]) -> tuple[list[str], dict[str, int]]:
    """The labels of each operand, '...' spelled out, and the size of every label."""
    equation = str(op.attrs["equation"]).replace(" ", "").split("->")[0]
    written = equation.split(",")
    spare = [c for c in string.ascii_uppercase + string.ascii_lowercase if c not in equation]
    terms: list[str] = []
    sizes: dict[str, int] = {}
    for term, shape in zip(written, operands, strict=True):
        if "..." in term:
            width = len(shape) - len(term.replace("...", ""))
            # broadcast dimensions align at the right
            term = term.replace("...", "".join(reversed(spare[:width])))
        for label, size in zip(term, shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), size)
        terms.append(term)
    return terms, sizes


def _label_sizes(op: Op, operands: list[Shape]) -> dict[str, int]:
    return _einsum_terms(op, operands)[1]
