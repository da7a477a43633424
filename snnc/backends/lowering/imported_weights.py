"""Integer weights of a quantised network, out of onnxruntime's sight."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.functions import INTEGER_WEIGHTS
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Op
from snnc.ir.weights import imported_weights, scale_shape


def hide_weights(graph: Graph) -> Graph:
    """DequantizeLinear of constant weights becomes an operation that computes the same.

    Beside the original onnxruntime rounds the other operand of a MatMul to 8 bits as well.
    """
    hidden = {op.outputs[0] for op in imported_weights(graph)}

    def rule(node: Node) -> Replacement | None:
        if node.outputs[0] not in hidden or not isinstance(node, Op):
            return None
        values, scale, zero = (graph.consts[v] for v in node.inputs)
        shape = scale_shape(values.ndim, node, scale)
        if shape is None or (values.dtype.name == "int32" and zero.any()):  # no float32 difference
            return None
        names = tuple(graph.fresh(f"{node.outputs[0]}.{key}") for key in ("scale", "zero"))
        shaped = dict(zip(names, (scale.reshape(shape), zero.reshape(shape)), strict=True))
        inputs = (node.inputs[0], *names)
        return Replacement((replace(node, inputs=inputs, op_type=INTEGER_WEIGHTS),), {}, shaped)

    return graph.rewrite(rule)
