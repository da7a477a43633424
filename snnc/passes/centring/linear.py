"""Layers with constant weights: W x = W (x - m) + W m, whose last term is a bias (spec 6.2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.weights import weight
from snnc.runtime import evaluate_constants


def takes_zero_point(graph: Graph, op: object, value: str, fixed: bool = False) -> bool:
    """Whether what a zero point of `value` adds to a layer is known: its weights are constant, and
    it pads with no zeros, or samples always have the same shape (`fixed`)."""
    if not isinstance(op, Op) or op.inputs[0] != value or value in op.inputs[1:]:
        return False
    weights = weight(graph, op.inputs[1]) if op.op_type in ("MatMul", "Gemm", "Conv") else None
    if weights is None or weights.dtype.kind != "f":
        return False
    if op.op_type == "Conv":
        return fixed or _unpadded(op, weights)
    return weights.ndim > 1 and not op.integer("transA", 0)


def _unpadded(op: Op, weights: Array) -> bool:
    mode = op.attrs.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return set(weights.shape[2:]) == {1}
    return mode == "VALID" or not any(op.ints("pads", (0,)))


def response(graph: Graph, op: Op, shift: Array) -> Array:
    """What a layer makes of m, in a shape that broadcasts within its result, without the samples'
    axis; in float64 where m is by channel.

    shift: m, by channel (all other axes of size 1), or by every entry of a sample.
    """
    weights = weight(graph, op.inputs[1])
    assert weights is not None
    if op.op_type == "Conv" and (max(shift.shape[1:], default=1) > 1 or not _unpadded(op, weights)):
        return _convolved(graph, op, shift, weights)
    if op.op_type == "MatMul" and shift.size != shift.shape[-1]:
        return np.asarray(shift.astype(np.float64) @ weights.astype(np.float64))
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


def _convolved(graph: Graph, op: Op, shift: Array, weights: Array) -> Array:
    """A convolution of one sample that is m everywhere, padded as the layer pads."""
    shape = graph.types[op.inputs[0]].shape or ()
    sizes = tuple(d for d in shape[1:] if isinstance(d, int))
    sample = np.broadcast_to(shift, sizes)[None].astype(np.float32)
    alone = replace(op, inputs=op.inputs[:2])
    consts = {op.inputs[0]: np.array(sample), op.inputs[1]: weights.astype(np.float32)}
    single = replace(graph.types[op.outputs[0]], dtype="float32")
    part = replace(graph, inputs=(), outputs=op.outputs, nodes=(alone,), types={}, consts=consts)
    made = evaluate_constants(replace(part, types={op.outputs[0]: single}))
    return np.asarray(made[op.outputs[0]][0])
