"""Biases that can be corrected: of layers that read spikes, one for each channel of the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Op, Site
from snnc.ir.weights import is_weight
from snnc.passes.channels import WHOLE, axis_of


@dataclass(frozen=True)
class OwnBias:
    """name: of the constant, read by nobody else; value: the sum of the layer and all constants
    added to it; axis: of channels."""

    name: str
    value: str
    axis: int


def with_own_biases(graph: Graph) -> tuple[Graph, Mapping[str, OwnBias]]:
    """The graph whose layers on spikes have biases of their own, by the value they are part of.

    A layer without one gets zeros; a MatMul has the vector that its result alone is added to, if
    there is one, and an Add behind it if not.
    """
    found: dict[str, OwnBias] = {}
    added = {
        layer.outputs[0]
        for node in graph.nodes
        if isinstance(node, Op) and node.op_type == "Add" and _added(graph, node) is not None
        for layer in (graph.op(v, "MatMul") for v in node.inputs)
        if layer is not None
    }

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op):
            return None
        place, value = _place(graph, node), node.outputs[0]
        bare = place is None and value not in added and _is_bare(graph, node)
        if place is None and not bare:
            return None
        index, array, axis = place or (1, _zeros(graph, node), -1)
        name = graph.fresh(f"{value}.bias")
        found[value] = OwnBias(name, value, axis)
        if bare:
            plain = graph.fresh(f"{value}.unbiased")
            layer = replace(node, outputs=(plain,))
            add = Op((value,), (plain, name), node.loc, "Add")
            return Replacement((layer, add), {plain: graph.types[value]}, {name: array})
        inputs = list(node.inputs) + [""] * (index + 1 - len(node.inputs))
        inputs[index] = name
        return Replacement((replace(node, inputs=tuple(inputs)),), consts={name: array})

    graph = graph.rewrite(rule)
    whole = (replace(bias, value=_whole(graph, bias.value)) for bias in found.values())
    return graph, {bias.value: bias for bias in whole}


def _whole(graph: Graph, value: str) -> str:
    """What becomes of a value when all constants are added that alone read it, and neither stretch
    it nor suppress entries: zero points make such (CentreSites)."""
    reader = graph.only_reader(value)
    while isinstance(reader, Op) and reader.op_type == "Add" and _plain(graph, value, reader):
        value = reader.outputs[0]
        reader = graph.only_reader(value)
    return value


def _plain(graph: Graph, value: str, add: Op) -> bool:
    shape = graph.types[value].shape
    others = [graph.consts[name] for name in add.inputs if name in graph.consts]
    if shape is None or not others or others[0].ndim > len(shape):
        return False
    fits = zip(reversed(others[0].shape), reversed(shape), strict=False)
    return all(d in (1, of) for d, of in fits) and bool(np.isfinite(others[0]).all())


def _is_bare(graph: Graph, op: Op) -> bool:
    """Whether a layer is a MatMul on spikes with a matrix of weights."""
    if op.op_type != "MatMul" or not _on_spikes(graph, op):
        return False
    weights = graph.consts.get(op.inputs[1])
    return weights is not None and weights.ndim == 2


def _zeros(graph: Graph, op: Op) -> Array:
    weights = graph.consts[op.inputs[1]]
    return np.zeros(weights.shape[-1], weights.dtype)


def _place(graph: Graph, node: Node) -> tuple[int, Array, int] | None:
    """Which input is the bias, what it is, and the axis of channels of the result."""
    if not isinstance(node, Op):
        return None
    if node.op_type == "Add":
        return _added(graph, node)
    rank = len(graph.types[node.outputs[0]].shape or ())
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or not _on_spikes(graph, node):
        return None
    weights = graph.consts.get(node.inputs[1])
    if weights is None or rank < 2 or float(node.attrs.get("beta", 1.0)) != 1.0:  # type: ignore[arg-type]
        return None
    if node.op_type == "Gemm":
        channels = weights.shape[0 if node.integer("transB", 0) else 1]
    elif node.op_type == "Conv":
        channels = weights.shape[0]
    else:
        channels = weights.shape[1] * node.integer("group", 1)
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    axis = -1 if node.op_type == "Gemm" else 1 - rank
    if not bias:
        return 2, np.zeros(channels, weights.dtype), axis
    array = graph.consts.get(bias)
    vector = array is not None and array.shape in ((channels,), (1, channels))
    return (2, array.reshape(channels).copy(), axis) if vector and array is not None else None


def _added(graph: Graph, add: Op) -> tuple[int, Array, int] | None:
    for index, bias in enumerate(add.inputs):
        layer = graph.op(add.inputs[1 - index], "MatMul")
        array = graph.consts.get(bias)
        if layer is None or array is None or array.ndim != 1 or array.size < 2:
            continue
        alone = graph.only_reader(layer.outputs[0]) is add
        width = graph.consts[layer.inputs[1]].shape if layer.inputs[1] in graph.consts else ()
        if alone and width[-1:] == array.shape and _on_spikes(graph, layer):
            return index, array.copy(), -1
    return None


def _on_spikes(graph: Graph, op: Op) -> bool:
    """Whether a layer with constant weights reads a site that does not spike at some places only:
    where neurons are silent for good, a mean over all of the layer says nothing."""
    read = graph.producer.get(op.inputs[0])
    if not isinstance(read, Site) or not is_weight(graph, op.inputs[1]):
        return False
    return read.axis in (WHOLE, axis_of(graph, read))
