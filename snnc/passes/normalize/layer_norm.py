"""Layer normalisation written out: (x - mean) / sqrt(variance + eps) * gamma + beta."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Op
from snnc.passes.normalize.algebra import plus_constant, same_rank


def recognise_layer_norm(graph: Graph) -> Graph:
    """Replaces the chain by LayerNormalization; scale and shift join it one rule at a time."""
    for rule in (_normalised, _scaled, _shifted):
        graph = graph.rewrite(lambda node, rule=rule, graph=graph: rule(graph, node))  # type: ignore[misc]
    return graph


def _normalised(graph: Graph, node: Node) -> Replacement | None:
    """(x - mean) / sqrt(var + eps), or times the reciprocal, over the last axis."""
    if not isinstance(node, Op) or node.op_type not in ("Div", "Mul"):
        return None
    orders = (node.inputs, node.inputs[::-1]) if node.op_type == "Mul" else (node.inputs,)
    for centred, spread in orders:
        if node.op_type == "Mul":
            reciprocal = graph.op(spread, "Reciprocal")
            if reciprocal is None:
                continue
            spread = reciprocal.inputs[0]
        x, epsilon = _centred(graph, centred), _epsilon(graph, spread)
        if x is None or epsilon is None or epsilon[0] != x:
            continue
        width = _last_dim(graph, x)
        if width is None or not same_rank(graph, x, node.outputs[0]):
            continue
        ones = graph.fresh(f"{node.outputs[0]}.scale")
        op = Op(
            node.outputs,
            (x, ones),
            node.loc,
            "LayerNormalization",
            {"axis": -1, "epsilon": float(np.float32(epsilon[1]))},
        )
        dtype = graph.types[x].dtype
        return Replacement((op,), consts={ones: np.ones(width, dtype)})
    return None


def _centred(graph: Graph, value: str) -> str | None:
    """x if `value` is x - mean(x) over the last axis."""
    sub = graph.op(value, "Sub")
    if sub is None:
        return None
    mean = graph.op(sub.inputs[1], "ReduceMean")
    if mean is None or mean.inputs[0] != sub.inputs[0] or not _over_last_axis(graph, mean):
        return None
    return sub.inputs[0]


def _epsilon(graph: Graph, value: str) -> tuple[str, float] | None:
    """(x, eps) if `value` is sqrt(mean((x - mean(x))^2) + eps)."""
    root = graph.op(value, "Sqrt")
    shifted = plus_constant(graph, root.inputs[0]) if root else None
    mean = graph.op(shifted[0], "ReduceMean") if shifted else None
    if shifted is None or mean is None or not _over_last_axis(graph, mean):
        return None
    square = graph.op(mean.inputs[0], "Pow", "Mul")
    if square is None:
        return None
    base, other = square.inputs
    squared = graph.scalar(other) == 2.0 if square.op_type == "Pow" else base == other
    x = _centred(graph, base) if squared else None
    return None if x is None else (x, shifted[1])


def _over_last_axis(graph: Graph, op: Op) -> bool:
    axes = graph.consts.get(op.inputs[1]) if len(op.inputs) > 1 else None
    shape = graph.types[op.inputs[0]].shape
    if axes is None or axes.size != 1 or not op.attrs.get("keepdims", 1):
        return False
    axis = int(axes.reshape(()))
    return axis == -1 or (shape is not None and axis == len(shape) - 1)


def _last_dim(graph: Graph, value: str) -> int | None:
    shape = graph.types[value].shape
    return shape[-1] if shape and isinstance(shape[-1], int) else None


def _scaled(graph: Graph, node: Node) -> Replacement | None:
    found = _norm_and_vector(graph, node, "Mul", inputs=2)
    if found is None:
        return None
    norm, vector = found
    scale = graph.fresh(f"{node.outputs[0]}.scale")
    op = replace(
        norm, outputs=node.outputs, inputs=(norm.inputs[0], scale), loc=norm.loc | node.loc
    )
    return Replacement((op,), consts={scale: graph.consts[norm.inputs[1]] * vector})


def _shifted(graph: Graph, node: Node) -> Replacement | None:
    found = _norm_and_vector(graph, node, "Add", inputs=2)
    if found is None:
        return None
    norm, vector = found
    shift = graph.fresh(f"{node.outputs[0]}.shift")
    op = replace(norm, outputs=node.outputs, inputs=(*norm.inputs, shift), loc=norm.loc | node.loc)
    return Replacement((op,), consts={shift: vector})


def _norm_and_vector(
    graph: Graph, node: Node, op_type: str, inputs: int
) -> tuple[Op, Array] | None:
    """The LayerNormalization and the constant [D] that `node` combines elementwise."""
    if not isinstance(node, Op) or node.op_type != op_type:
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        norm = graph.op(value, "LayerNormalization")
        vector = graph.consts.get(other)
        if norm is None or vector is None or graph.only_reader(value) is None:
            continue
        scale = graph.consts.get(norm.inputs[1])
        if scale is None or scale.ndim != 1 or not same_rank(graph, value, node.outputs[0]):
            continue
        fits = vector.shape[-1:] == scale.shape and vector.size == scale.size
        if len(norm.inputs) == inputs and len(norm.outputs) == 1 and fits:
            return norm, vector.reshape(scale.shape)
    return None
