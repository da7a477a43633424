"""Layers with constant weights: W x = W (x - m) + W m, whose last term is a bias (spec 6.2)."""

from __future__ import annotations

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.weights import weight


def takes_zero_point(graph: Graph, op: object, value: str) -> bool:
    """Whether what a zero point of `value` adds to a layer is the same at every position: its
    weights are constant, and it pads with no zeros."""
    if not isinstance(op, Op) or op.inputs[0] != value or value in op.inputs[1:]:
        return False
    weights = weight(graph, op.inputs[1]) if op.op_type in ("MatMul", "Gemm", "Conv") else None
    if weights is None or weights.dtype.kind != "f":
        return False
    if op.op_type == "Conv":
        return _unpadded(op, weights)
    return weights.ndim > 1 and not op.integer("transA", 0)


def _unpadded(op: Op, weights: Array) -> bool:
    mode = op.attrs.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return set(weights.shape[2:]) == {1}
    return mode == "VALID" or not any(op.ints("pads", (0,)))


def response(graph: Graph, op: Op, shift: Array) -> Array:
    """What a layer makes of m, in float64, in a shape that broadcasts within its result.

    shift: m, one for each channel in front of as many axes of size 1 as there are behind it.
    """
    weights = weight(graph, op.inputs[1])
    assert weights is not None
    weights, m = weights.astype(np.float64), shift.astype(np.float64).reshape(-1)
    if op.op_type == "Conv":
        groups = op.integer("group", 1)
        per_group = weights.reshape(groups, -1, *weights.shape[1:])
        summed = per_group.reshape(*per_group.shape[:3], -1).sum(axis=-1)
        made = np.einsum("goi,gi->go", summed, m.reshape(groups, -1))
        return np.asarray(made.reshape(-1, *[1] * (weights.ndim - 2)))
    if op.op_type == "Gemm":
        turned = weights.T if op.integer("transB", 0) else weights
        return np.asarray(op.number("alpha", 1.0) * (m @ turned))
    return np.asarray(m @ weights if weights.ndim == 2 else m[None] @ weights)
