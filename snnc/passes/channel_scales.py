"""Scales of channels moved through a network: out of what computes a value, into what reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Node, Op

Inputs = Mapping[tuple[str, int], Array]
"""New constants, by first result of the node that reads one and the place among its inputs."""

_HOMOGENEOUS = ("Relu", "Identity")
_POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")


def divided(graph: Graph, value: str, axis: int, by: Array) -> Inputs | None:
    """Constants with which `value` comes out divided by `by` > 0, one number for each channel.

    axis: of the channels, counted from the last. None where that is not certain, or where anybody
    else would notice.
    """
    op = graph.op(value)
    if op is None or graph.only_reader(value) is None:
        return None
    rank = len(graph.types[value].shape or ())
    passed = op.op_type in _HOMOGENEOUS or (op.op_type in _POOLS and axis == 1 - rank)
    if passed and len(op.outputs) == 1:
        return divided(graph, op.inputs[0], axis, by)
    if op.op_type == "LayerNormalization":
        last = op.integer("axis", -1) in (-1, rank - 1) and axis == -1 and not any(op.outputs[1:])
        return _vectors(graph, op, (1, 2), axis, by) if last else None
    if op.op_type == "Mul":
        return _vectors(graph, op, (0,), axis, by) or _vectors(graph, op, (1,), axis, by)
    if op.op_type == "Add":
        return _sum(graph, op, axis, by)
    return _layer(graph, op, axis, by, rank)


def _sum(graph: Graph, op: Op, axis: int, by: Array) -> Inputs | None:
    for place in (0, 1):
        bias = _vectors(graph, op, (place,), axis, by)
        rest = divided(graph, op.inputs[1 - place], axis, by) if bias is not None else None
        if bias is not None and rest is not None:
            return {**bias, **rest}
    return None


def _vectors(
    graph: Graph, op: Op, places: tuple[int, ...], axis: int, by: Array
) -> dict[tuple[str, int], Array] | None:
    """Constant inputs of one number a channel, or one for all of them."""
    found: dict[tuple[str, int], Array] = {}
    along = by.reshape(-1, *[1] * (-axis - 1))
    for place in places:
        name = op.inputs[place] if place < len(op.inputs) else ""
        array = graph.consts.get(name)
        if name and (array is None or array.size not in (1, by.size)):
            return None
        if array is None:
            continue
        if array.size > 1 and (array.ndim < -axis or array.shape[axis] != by.size):
            return None
        found[op.outputs[0], place] = np.asarray(array / along, array.dtype)
    return found or None


def _layer(graph: Graph, op: Op, axis: int, by: Array, rank: int) -> Inputs | None:
    weights = graph.consts.get(op.inputs[1]) if len(op.inputs) > 1 else None
    if weights is None or weights.ndim < 2 or op.op_type not in ("Conv", "Gemm", "MatMul"):
        return None
    if axis != (1 - rank if op.op_type == "Conv" else -1):
        return None
    first = op.op_type == "Conv" or (op.op_type == "Gemm" and op.integer("transB", 0) == 1)
    along = by.reshape(-1, *[1] * (weights.ndim - 1)) if first else by
    found = {(op.outputs[0], 1): np.asarray(weights / along, weights.dtype)}
    if len(op.inputs) < 3 or not op.inputs[2]:
        return found
    bias = _vectors(graph, op, (2,), -1, by)
    return None if bias is None else {**found, **bias}


def multiplied_weights(graph: Graph, op: Op, by: Array) -> Inputs | None:
    """Constants with which a layer reads its channels multiplied by `by`; None for another
    operation, or weights that are no constants."""
    weights = graph.consts.get(op.inputs[1]) if len(op.inputs) > 1 else None
    if weights is None or weights.ndim < 2:
        return None
    if op.op_type == "MatMul" or (op.op_type == "Gemm" and not op.integer("transB", 0)):
        along = by[:, None]
    elif op.op_type == "Gemm":
        along = by
    elif op.op_type == "ConvTranspose":
        along = by.reshape(-1, *[1] * (weights.ndim - 1))
    elif op.op_type == "Conv":
        group = op.integer("group", 1)
        rows = by.reshape(group, 1, -1).repeat(len(weights) // group, 1)
        along = rows.reshape(*weights.shape[:2], *[1] * (weights.ndim - 2))
    else:
        return None
    return {(op.outputs[0], 1): np.asarray(weights * along, weights.dtype)}


def with_inputs(graph: Graph, new: Inputs) -> Graph:
    """The graph whose nodes read these constants, each under a name of its own."""
    consts, nodes = dict(graph.consts), {node.outputs[0]: node for node in graph.nodes}
    taken: set[str] = set()
    for (output, place), array in new.items():
        node = nodes[output]
        name = graph.fresh(f"{node.inputs[place]}.scaled", taken)
        taken.add(name)
        consts[name] = array
        inputs = tuple(name if i == place else v for i, v in enumerate(node.inputs))
        changed: Node = replace(node, inputs=inputs)
        nodes[output] = changed
    return replace(graph, nodes=tuple(nodes.values()), consts=consts).pruned()
