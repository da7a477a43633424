"""Layers with constant weights, as rows of inputs times a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.ops import operands
from snnc.synapses import taps

Source: TypeAlias = tuple[str, tuple[object, ...]]
"""The spikes that drive a layer, and the window through which a convolution sees them."""

_WINDOW = ("strides", "pads", "dilations", "auto_pad", "group")


@dataclass(frozen=True)
class LinearLayer:
    """A MatMul, Gemm or Conv with constant weights, which spikes drive.

    weights: name of the constant; axis: that of its output channels; groups: of a convolution;
    kernel: its extent, () for a product of matrices.
    """

    op: Op
    spikes: str
    weights: str
    axis: int
    groups: int = 1
    kernel: tuple[int, ...] = ()

    @property
    def source(self) -> Source:
        """Equal for layers whose inputs have the same rows."""
        attrs = ((key, self.op.attrs[key]) for key in _WINDOW if key in self.op.attrs)
        return self.spikes, (self.kernel, *attrs) if self.kernel else ()

    def matrix(self, weights: Array) -> Array:
        """Weights as [groups, output channels of a group, K]: what a row of inputs multiplies."""
        by_channel = np.moveaxis(weights, self.axis, 0)
        return by_channel.reshape(self.groups, len(by_channel) // self.groups, -1)

    def restored(self, matrix: Array, like: Array) -> Array:
        """A matrix [groups, channels, K] in the shape that the operation takes, that of `like`."""
        by_channel = np.moveaxis(like, self.axis, 0).shape
        return np.ascontiguousarray(np.moveaxis(matrix.reshape(by_channel), 0, self.axis))

    def count(self, out: tuple[int, ...]) -> int:
        """How many rows the weights see. out: shape of the operation's result."""
        return int(np.prod(out[:1] + out[2:] if self.kernel else out[:-1]))

    def rows(self, x: Array, out: tuple[int, ...], some: Array) -> Array:
        """Rows of inputs [groups, n, K] that the weights see in spikes x. some: which of them."""
        if not self.kernel:
            return np.asarray(x.reshape(-1, x.shape[-1])[some][None])
        return self._windows(x, out, some)

    def results(self, y: Array, some: Array) -> Array:
        """What becomes of these rows, [groups, n, output channels of a group]."""
        last = np.moveaxis(y, 1, -1) if self.kernel else y
        rows = last.reshape(-1, last.shape[-1])[some]
        return np.moveaxis(rows.reshape(len(rows), self.groups, -1), 1, 0)

    def _windows(self, x: Array, out: tuple[int, ...], some: Array) -> Array:
        batch, channels = x.shape[:2]
        weight = (0, channels // self.groups, *self.kernel)
        axes = taps(self.op, x.shape, weight, out)
        extent = (batch, *(len(place) for place, _ in axes))
        sample, *steps = np.unravel_index(some, extent)
        rank = len(axes)
        index: list[Array | slice] = [sample.reshape(-1, *(1,) * rank), slice(None)]
        inside = np.ones((len(sample), *self.kernel), bool)
        for axis, ((place, real), step) in enumerate(zip(axes, steps, strict=True)):
            shape = (len(sample), *(self.kernel[a] if a == axis else 1 for a in range(rank)))
            index.append(np.where(real, place, 0)[step].reshape(shape))
            inside &= real[step].reshape(shape)
        seen = x[tuple(index)] * inside[..., None]  # [n, kernel, C]: the slice comes last
        rows = np.moveaxis(seen, -1, 1).reshape(len(sample), self.groups, -1)
        return np.ascontiguousarray(np.moveaxis(rows, 0, 1))


def scattered(size: int, limit: int) -> Array:
    """At most `limit` different indices below `size`, evenly spread and without a period."""
    if size <= limit:
        return np.arange(size)
    golden = 0.6180339887498949
    return np.unique((np.arange(limit) * golden % 1.0 * size).astype(np.int64))


def linear_layer(graph: Graph, op: Op) -> LinearLayer | str:
    """The layer that an operation on spikes is, or why it has no integer form."""
    if op.op_type not in ("MatMul", "Gemm", "Conv"):
        return f"no integer form of {op.op_type}"
    spikes, name = operands(op)
    weights = graph.consts.get(name)
    if spikes in graph.consts:
        return "its weights stand on the left"
    if weights is None:
        return "its other factor is computed"
    if str(weights.dtype) != "float32":
        return f"its numbers are {weights.dtype}"
    if not np.isfinite(weights).all():
        return "its weights are not finite"
    if op.op_type == "Conv":
        return _convolution(op, spikes, name, weights)
    if weights.ndim != 2 or op.integer("transA", 0):
        return "its weights are no plain matrix"
    return LinearLayer(op, spikes, name, 0 if op.integer("transB", 0) else 1)


def _convolution(op: Op, spikes: str, name: str, weights: Array) -> LinearLayer | str:
    groups, kernel = op.integer("group", 1), weights.shape[2:]
    if len(kernel) not in (1, 2):
        return f"a convolution over {len(kernel)} axes"
    return LinearLayer(op, spikes, name, 0, groups, kernel)
