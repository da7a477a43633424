"""Batch normalisation joins the weights before it, or those after it behind an activation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Op
from snnc.ir.ops import PERMUTING
from snnc.runtime import evaluate_constants

_LINEAR = PERMUTING | {"Pad", "AveragePool", "GlobalAveragePool"}
"""Operations between a batch norm and the next weights that commute with any affine map."""


@dataclass(frozen=True)
class _Affine:
    """y = scale x + shift, per channel (axis 1)."""

    scale: Array
    shift: Array


def fold_batch_norm(graph: Graph) -> Graph:
    """Folds backward into Conv, ConvTranspose, Gemm, MatMul; else forward into the next weights."""
    return _fold_forward(graph.rewrite(lambda node: _fold_backward(graph, node)))


def _affine(graph: Graph, node: Node) -> _Affine | None:
    if not isinstance(node, Op) or node.op_type != "BatchNormalization":
        return None
    parameters = [graph.consts.get(v) for v in node.inputs[1:5]]
    if any(p is None for p in parameters) or node.attrs.get("training_mode", 0):
        return None
    gamma, beta, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    scale = gamma / np.sqrt(variance + float(node.attrs.get("epsilon", 1e-5)))  # type: ignore[arg-type]
    return _Affine(scale, beta - mean * scale)


def _fold_backward(graph: Graph, node: Node) -> Replacement | None:
    affine = _affine(graph, node)
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


def _fold_forward(graph: Graph) -> Graph:
    for node in graph.nodes:
        folded = _forward_once(graph, node)
        if folded is not None:
            return _fold_forward(folded)
    return graph


def _forward_once(graph: Graph, norm: Node) -> Graph | None:
    """The affine map moves behind pooling, padding and layout, into the layer that follows.

    Its scale joins the layer's weights; its shift, sent through the very same operations,
    becomes the layer's bias, position by position where padding makes it differ.
    """
    affine = _affine(graph, norm)
    if affine is None or norm.outputs[0] in graph.outputs:
        return None
    assert isinstance(norm, Op)
    chain = _chain(graph, norm, monotone=bool(np.all(affine.scale > 0)))
    shape = graph.types[norm.outputs[0]].shape
    if chain is None or shape is None or not all(isinstance(d, int) for d in shape[1:]):
        return None
    layer = chain[-1]
    # the scale at each entry of the layer's input; padding does not matter, its entries are 0
    full = (1, *(int(d) for d in shape[1:] if isinstance(d, int)))
    per_channel = (1, -1, *[1] * (len(full) - 2))
    scale = _through(
        graph, chain[:-1], norm, np.broadcast_to(affine.scale.reshape(per_channel), full)
    )
    scaled = _scale_inputs(graph, layer, scale)
    if scaled is None:
        return None
    weight = graph.consts[layer.inputs[1]]
    bare = replace(layer, inputs=layer.inputs[:2])
    shift = _through(
        graph, [*chain[:-1], bare], norm, np.broadcast_to(affine.shift.reshape(per_channel), full)
    )
    return _moved(graph, norm, layer, scaled.astype(weight.dtype), shift)


def _moved(graph: Graph, norm: Op, layer: Op, weight: Array, shift: Array) -> Graph:
    """The graph without `norm`, its affine map in `layer` (and an Add where a bias won't do)."""
    out = layer.outputs[0]
    w, b, product = (graph.fresh(f"{out}.{part}") for part in ("weight", "bias", "product"))
    loc = layer.loc | norm.loc
    bias = _as_bias(graph, layer, shift)
    types = dict(graph.types)
    if bias is not None:
        tail: tuple[Node, ...] = (replace(layer, inputs=(layer.inputs[0], w, b), loc=loc),)
    else:
        bias = shift
        types[product] = graph.types[out]
        moved = replace(
            layer, outputs=(product,), loc=loc, inputs=(layer.inputs[0], w, *layer.inputs[2:])
        )
        tail = (moved, Op(layer.outputs, (product, b), loc, "Add"))
    nodes: list[Node] = []
    for node in graph.nodes:
        if node is not norm:
            for new in tail if node is layer else (node,):
                inputs = (norm.inputs[0] if v == norm.outputs[0] else v for v in new.inputs)
                nodes.append(replace(new, inputs=tuple(inputs)))
    consts = {**graph.consts, w: weight, b: bias}
    return replace(graph, nodes=tuple(nodes), types=types, consts=consts).pruned()


def _as_bias(graph: Graph, layer: Op, shift: Array) -> Array | None:
    """The layer's bias plus `shift`, where that is the same at every position."""
    if layer.op_type == "MatMul" or layer.attrs.get("beta", 1.0) != 1.0:
        return None
    own = graph.consts.get(layer.inputs[2]) if len(layer.inputs) > 2 and layer.inputs[2] else 0
    first = shift.reshape(*shift.shape[:2], -1)[0, :, 0]
    spread = shift.reshape(shift.shape[1], -1) - first.reshape(-1, 1)
    if own is None or np.any(spread):
        return None
    return np.asarray(own + first, shift.dtype)


def _chain(graph: Graph, norm: Op, monotone: bool) -> list[Op] | None:
    """The operations from the batch norm to the next weighted layer, which ends the list."""
    chain: list[Op] = []
    value = norm.outputs[0]
    while True:
        reader = graph.only_reader(value)
        if not isinstance(reader, Op) or reader.inputs[0] != value:
            return None
        chain.append(reader)
        if reader.op_type in ("Conv", "Gemm", "MatMul"):
            plain = reader.attrs.get("transA", 0) == 0 and reader.attrs.get("alpha", 1.0) == 1.0
            return chain if plain and reader.inputs[1] in graph.consts else None
        if not all(v in graph.consts for v in reader.inputs[1:] if v) or len(reader.outputs) > 1:
            return None
        if reader.op_type == "Pad" and not _pads_zero(graph, reader):
            return None
        if reader.op_type not in _LINEAR and not (reader.op_type == "MaxPool" and monotone):
            return None
        value = reader.outputs[0]


def _pads_zero(graph: Graph, pad: Op) -> bool:
    value = graph.scalar(pad.inputs[2]) if len(pad.inputs) > 2 and pad.inputs[2] else 0.0
    return pad.attrs.get("mode", "constant") == "constant" and value == 0.0


def _through(graph: Graph, chain: list[Op], norm: Op, value: Array) -> Array:
    """`value` in place of the batch norm's result, sent through the operations of `chain`."""
    if not chain:
        return value
    dtype = graph.types[norm.outputs[0]].dtype
    out = chain[-1].outputs[0]
    part = replace(
        graph,
        inputs=(),
        outputs=(out,),
        nodes=tuple(chain),
        consts={**graph.consts, norm.outputs[0]: np.ascontiguousarray(value, dtype)},
        types={**graph.types, out: replace(graph.types[out], shape=None)},
    ).pruned()
    return evaluate_constants(part)[out]


def _scale_inputs(graph: Graph, layer: Op, scale: Array) -> Array | None:
    """The layer's weights times the scale of each of its inputs."""
    weight = graph.consts[layer.inputs[1]].astype(np.float64)
    if layer.op_type == "Conv":
        per_channel = scale.max(axis=tuple(range(2, scale.ndim)))[0]
        lowest = scale.min(axis=tuple(range(2, scale.ndim)))[0]
        if np.any((lowest != per_channel) & (lowest != 0)):
            return None
        group = layer.integer("group", 1)
        inputs = weight.shape[1]
        by_output = per_channel.reshape(group, 1, inputs).repeat(weight.shape[0] // group, axis=1)
        return np.asarray(
            weight * by_output.reshape(weight.shape[0], inputs, *[1] * (weight.ndim - 2))
        )
    if scale.ndim != 2 or weight.ndim != 2:
        return None
    by_input = scale.reshape(1, -1) if layer.attrs.get("transB", 0) else scale.reshape(-1, 1)
    return np.asarray(weight * by_input)
