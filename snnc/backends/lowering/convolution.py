"""SpikeConv: convolutions with int8 weights."""

from __future__ import annotations

import math

import numpy as np

from snnc.backends.lowering.drive import DEEPEST, Drive, rank_of, vector
from snnc.ir.graph import Graph
from snnc.ir.node import Attribute, Op
from snnc.ir.weights import quantized

DIMENSIONS = (1, 2)
"""Spatial dimensions that kernels convolve in."""


def convolution(graph: Graph, op: Op) -> Drive | None:
    """The layer; None if `op` is none, or one that stays as it is."""
    if op.op_type != "Conv":
        return None
    weights = quantized(graph, op.inputs[1])
    if weights is None or (weights.scale.ndim and weights.axis != 0):
        return None
    channels, *kernel = weights.values.shape
    geometry = geometry_of(graph, op, tuple(kernel[1:]))
    bias = np.zeros(channels, np.float32)
    if len(op.inputs) > 2 and op.inputs[2]:
        found = vector(graph, op.inputs[2], channels, 1)
        if found is None:
            return None
        bias = found
    if geometry is None or not 0 < math.prod(kernel) < DEEPEST:
        return None
    return Drive("SpikeConv", op.inputs[:1], (op,), weights, bias, attrs=geometry)


def geometry_of(graph: Graph, op: Op, kernel: tuple[int, ...]) -> dict[str, Attribute] | None:
    """Strides, dilations, group and explicit padding of a convolution that kernels can do."""
    rank = len(kernel)
    if rank not in DIMENSIONS or rank_of(graph, op.inputs[0]) != rank + 2:
        return None
    ones = (1,) * rank
    strides, dilations = op.ints("strides", ones), op.ints("dilations", ones)
    pads: tuple[int, ...] | None = op.ints("pads", (0,) * 2 * rank)
    mode = op.attrs.get("auto_pad", "NOTSET")
    if mode == "VALID":
        pads = (0,) * 2 * rank
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(graph, op, kernel, strides, dilations, upper=mode == "SAME_UPPER")
    if pads is None or min(pads) < 0:
        return None
    group = op.integer("group", 1)
    return {"strides": strides, "pads": pads, "dilations": dilations, "group": group}


def _same(
    graph: Graph,
    op: Op,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    *,
    upper: bool,
) -> tuple[int, ...] | None:
    """Padding that keeps ceil(size / stride) entries; None where sizes are unknown."""
    sizes = (graph.types[op.inputs[0]].shape or ())[2:]
    begins, ends = [], []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        if not isinstance(size, int):
            return None
        steps = -(-size // stride)
        total = max((steps - 1) * stride + dilation * (width - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if upper else large)
        ends.append(large if upper else small)
    return (*begins, *ends)
