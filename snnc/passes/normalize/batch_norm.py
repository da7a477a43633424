"""Batch normalisation joins the weights of the layer before it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Op


@dataclass(frozen=True)
class Affine:
    """y = scale x + shift, per channel (axis 1)."""

    scale: Array
    shift: Array


def affine_of(graph: Graph, node: Node) -> Affine | None:
    """What a batch normalisation at inference computes; None for anything else."""
    if not isinstance(node, Op) or node.op_type != "BatchNormalization":
        return None
    parameters = [graph.consts.get(v) for v in node.inputs[1:5]]
    if any(p is None for p in parameters) or node.attrs.get("training_mode", 0):
        return None
    gamma, beta, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    scale = gamma / np.sqrt(variance + float(node.attrs.get("epsilon", 1e-5)))  # type: ignore[arg-type]
    return Affine(scale, beta - mean * scale)


def fold_batch_norm_backward(graph: Graph) -> Graph:
    """Folds it into the Conv, ConvTranspose, Gemm or MatMul whose result it alone reads."""
    return graph.rewrite(lambda node: _fold_backward(graph, node))


def _fold_backward(graph: Graph, node: Node) -> Replacement | None:
    affine = affine_of(graph, node)
    if affine is None:
        return None
    assert isinstance(node, Op)
    layer = graph.op(node.inputs[0], *_OUTPUT_AXIS)
    if layer is None or graph.only_reader(node.inputs[0]) is not node:
        return None
    weight = graph.consts.get(layer.inputs[1])
    if weight is None or not _supports(graph, layer):
        return None
    bias = graph.consts.get(layer.inputs[2]) if len(layer.inputs) > 2 and layer.inputs[2] else 0.0
    if bias is None:
        return None
    out = node.outputs[0]
    w, b = graph.fresh(f"{out}.weight"), graph.fresh(f"{out}.bias")
    scaled = _scale_outputs(layer, weight.astype(np.float64), affine.scale)
    shifted = np.asarray(bias, np.float64) * affine.scale + affine.shift
    consts = {w: scaled.astype(weight.dtype), b: shifted.astype(weight.dtype)}
    loc = layer.loc | node.loc
    if layer.op_type == "MatMul":
        product = graph.fresh(f"{out}.product")
        matmul = replace(layer, outputs=(product,), inputs=(layer.inputs[0], w), loc=loc)
        add = Op(node.outputs, (product, b), loc, "Add")
        return Replacement((matmul, add), {product: graph.types[out]}, consts)
    folded = replace(layer, outputs=node.outputs, inputs=(layer.inputs[0], w, b), loc=loc)
    return Replacement((folded,), consts=consts)


_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}


def _supports(graph: Graph, layer: Op) -> bool:
    if layer.op_type == "Gemm":
        return layer.attrs.get("beta", 1.0) == 1.0
    if layer.op_type == "MatMul":  # the channel axis of BatchNormalization is axis 1
        shape = graph.types[layer.outputs[0]].shape
        return shape is not None and len(shape) == 2
    return True


def _scale_outputs(layer: Op, weight: Array, scale: Array) -> Array:
    if layer.op_type == "ConvTranspose":
        group = layer.integer("group", 1)
        parts = weight.reshape(group, -1, *weight.shape[1:])
        by_group = scale.reshape(group, 1, -1, *[1] * (weight.ndim - 2))
        return np.asarray((parts * by_group).reshape(weight.shape))
    axis = _OUTPUT_AXIS[layer.op_type]
    if layer.op_type == "Gemm" and layer.attrs.get("transB", 0):
        axis = 0
    shape = [1] * weight.ndim
    shape[axis] = -1
    return np.asarray(weight * scale.reshape(shape))
