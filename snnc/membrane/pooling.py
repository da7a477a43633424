"""Pooling in all its forms: onnx's reference implementation takes each window by itself in Python,
and is wrong for GlobalMaxPool on other than four axes and where auto_pad has nothing to pad."""

from __future__ import annotations

import numpy as np

from snnc.ir.node import Array, Op
from snnc.synapses import taps


def pooled(op: Op, x: Array) -> Array | None:
    """What pooling [B, C, ...] gives, in the type of x; None for other operations and for a MaxPool
    that also says where the largest entries are."""
    if op.op_type == "GlobalMaxPool":
        return np.asarray(x.max(axis=tuple(range(2, x.ndim)), keepdims=True))
    if op.op_type not in ("MaxPool", "AveragePool") or any(op.outputs[1:]):
        return None
    kernel = op.ints("kernel_shape", ())
    out = (*x.shape[:2], *_sizes(op, x.shape[2:], kernel))
    axes = taps(op, x.shape, (1, 1, *kernel), out)
    if op.op_type == "MaxPool":
        return _largest(x, axes)
    return _mean(op, x, axes)


def _sizes(op: Op, data: tuple[int, ...], kernel: tuple[int, ...]) -> list[int]:
    """The result's size along each spatial axis; a window starts inside the padded input, but not
    in the padding behind it."""
    ones, mode = (1,) * len(data), op.attrs.get("auto_pad", "NOTSET")
    strides, dilations = op.ints("strides", ones), op.ints("dilations", ones)
    pads = op.ints("pads", (0,) * 2 * len(data)) if mode in ("NOTSET", "") else (0, 0) * len(data)
    found = []
    for axis, (size, stride) in enumerate(zip(data, strides, strict=True)):
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            found.append(-(-size // stride))
            continue
        spare = size + pads[axis] + pads[len(data) + axis]
        spare -= (kernel[axis] - 1) * dilations[axis] + 1
        steps = -(-spare // stride) if op.integer("ceil_mode", 0) else spare // stride
        found.append(steps + 1 - (steps * stride >= size + pads[axis]))
    return found


def _largest(x: Array, axes: list[tuple[Array, Array]]) -> Array:
    """Along one axis after the other."""
    least = np.finfo(x.dtype).min if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    for axis, (place, real) in enumerate(axes, 2):
        found = np.full((*x.shape[:axis], len(place), *x.shape[axis + 1 :]), least, x.dtype)
        for taken in _taken(x, axis, place, real, least):
            np.maximum(found, taken, out=found)
        x = found
    return x


def _mean(op: Op, x: Array, axes: list[tuple[Array, Array]]) -> Array:
    sums, counts = x.astype(np.float64), np.ones(())
    for axis, (place, real) in enumerate(axes, 2):
        rows = counts[..., None]
        counts = rows * _counted(op, x.shape[axis], axis - 2, place, real)
        sums = sum(_taken(sums, axis, place, real, 0.0), np.zeros(()))
    return np.asarray(sums / counts, x.dtype)


def _counted(op: Op, size: int, axis: int, place: Array, real: Array) -> Array:
    """How many entries windows have along an axis: padding counts where the operation says so."""
    if not op.integer("count_include_pad", 0):
        return np.asarray(real.sum(axis=1))
    if op.attrs.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        return np.full(len(place), place.shape[1])
    pads = op.ints("pads", (0,) * 2 * len(op.ints("kernel_shape", ())))
    return np.asarray((place < size + pads[len(pads) // 2 + axis]).sum(axis=1))


def _taken(x: Array, axis: int, place: Array, real: Array, spare: float) -> list[Array]:
    """By tap of the kernel, the entries of x that it meets; spare: in place of padding."""
    found = []
    for tap in range(place.shape[1]):
        met = real[:, tap].reshape(-1, *[1] * (x.ndim - axis - 1))
        moved = np.take(x, np.where(real[:, tap], place[:, tap], 0), axis=axis)
        found.append(np.where(met, moved, np.asarray(spare, x.dtype)))
    return found
