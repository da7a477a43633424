"""SpikeLinear: MatMul and Gemm with int8 weights."""

from __future__ import annotations

import numpy as np

from snnc.backends.lowering.drive import DEEPEST, Drive, rank_of, vector
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.weights import Quantized, quantized

_NAME = "SpikeLinear"


def linear(graph: Graph, op: Op) -> Drive | None:
    """The layer, with the constant that is added to its result as bias; None if `op` is none."""
    if op.op_type == "Gemm":
        return _gemm(graph, op)
    if op.op_type != "MatMul":
        return None
    weights, rank = quantized(graph, op.inputs[1]), rank_of(graph, op.inputs[0])
    if weights is None or not _suits(weights) or rank is None or rank < 2:
        return None
    outputs = weights.values.shape[1]
    add = graph.only_reader(op.outputs[0])
    if isinstance(add, Op) and add.op_type == "Add":
        other = add.inputs[1 - add.inputs.index(op.outputs[0])]
        bias = vector(graph, other, outputs, rank)
        if bias is not None:
            return Drive(_NAME, op.inputs[:1], (op, add), weights, bias)
    return Drive(_NAME, op.inputs[:1], (op,), weights, np.zeros(outputs, np.float32))


def _gemm(graph: Graph, op: Op) -> Drive | None:
    weights = quantized(graph, op.inputs[1])
    if weights is None or weights.values.ndim != 2 or op.integer("transA", 0):
        return None
    weights = weights.transposed if op.integer("transB", 0) else weights
    outputs = weights.values.shape[1]
    bias: Array | None = np.zeros(outputs, np.float32)
    if len(op.inputs) > 2 and op.inputs[2]:
        bias = vector(graph, op.inputs[2], outputs, rank_of(graph, op.outputs[0]))
    if bias is None or not _suits(weights) or rank_of(graph, op.inputs[0]) != 2:
        return None
    alpha, beta = (np.float32(op.attrs.get(key, 1.0)) for key in ("alpha", "beta"))  # type: ignore[arg-type]
    return Drive(_NAME, op.inputs[:1], (op,), weights, beta * bias, float(alpha))


def _suits(weights: Quantized) -> bool:
    """Whether weights are a matrix with one scale, or one a column, and sums fit 32 bits."""
    shape = weights.values.shape
    return (
        len(shape) == 2
        and (not weights.scale.ndim or weights.axis == 1)
        and 0 < shape[0] < DEEPEST
        and shape[1] > 0
    )
