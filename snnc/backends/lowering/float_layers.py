"""FloatLinear: layers with float weights on one row of spikes."""

from __future__ import annotations

import math

import numpy as np

from snnc.backends.lowering.drive import parts_of, rank_of, vector
from snnc.ir.composed import PARTS
from snnc.ir.graph import DOMAIN, Graph, Replacement
from snnc.ir.node import Array, Attribute, Coding, Neuron, Node, Op
from snnc.ir.ops import SHAPE_ONLY

BUSIEST = 0.4
"""Share of neurons that fire, up to which layers on one row skip the weights of silent ones."""


def _bias(
    graph: Graph, op: Op, size: int, rank: int | None, factor: float = 1.0
) -> tuple[str, dict[str, Array]]:
    """The bias of a layer as a vector of constants, '' if it is none; zeros where there is none."""
    array: Array | None = np.zeros(size, np.float32)
    if len(op.inputs) > 2 and op.inputs[2]:
        array = vector(graph, op.inputs[2], size, rank)
        if array is not None and graph.consts[op.inputs[2]].shape == (size,) and factor == 1.0:
            return op.inputs[2], {}
    if array is None:
        return "", {}
    name = graph.fresh(f"{op.outputs[0]}.bias")
    return name, {name: np.asarray(np.float32(factor) * array)}


def skip_silent_rows(graph: Graph) -> Graph:
    """Layers on one row of spikes, most of them silent by what calibration measured."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or node.op_type not in ("MatMul", "Gemm"):
            return None
        weights = graph.consts.get(node.inputs[1])
        quiet = _is_quiet_row(graph, node.inputs[0])
        plain = not node.integer("transA", 0) and node.attrs.get("alpha", 1.0) == 1.0
        if weights is None or weights.ndim != 2 or weights.dtype != np.float32:
            return None
        if not quiet or not plain:
            return None
        transposed = bool(node.integer("transB", 0))
        matrix = weights.T if transposed else weights
        beta = float(node.attrs.get("beta", 1.0))  # type: ignore[arg-type]
        bias, consts = _bias(graph, node, matrix.shape[1], rank_of(graph, node.outputs[0]), beta)
        if not bias:
            return None
        stored = node.inputs[1]
        if transposed:
            stored = graph.fresh(f"{node.outputs[0]}.w")
            consts[stored] = np.ascontiguousarray(matrix)
        attrs: dict[str, Attribute] = {PARTS: parts_of((node,))}
        inputs = (node.inputs[0], stored, bias)
        op = Op(node.outputs, inputs, node.loc, f"{DOMAIN}.FloatLinear", attrs)
        return Replacement((op,), {}, consts)

    return graph.rewrite(rule)


def _is_quiet_row(graph: Graph, value: str) -> bool:
    """Whether a value is certainly one row of spikes, few of them not zero."""
    kind = graph.types.get(value)
    if kind is None or kind.coding is not Coding.SPIKE or not kind.shape:
        return False
    if kind.dtype != "float32" or len(kind.shape) < 2:
        return False
    rows = kind.shape[:-1]
    if any(not isinstance(d, int) for d in rows) or math.prod(map(int, rows)) != 1:  # type: ignore[arg-type]
        return False
    while (op := graph.op(value, *SHAPE_ONLY)) is not None:
        value = op.inputs[0]
    neuron = graph.producer.get(value)
    activity = neuron.activity if isinstance(neuron, Neuron) else None
    return activity is not None and activity.events <= BUSIEST
