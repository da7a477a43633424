"""Integer weights of a quantised network, as DequantizeLinear of constants again."""

from __future__ import annotations

from dataclasses import replace

from snnc.frontend.raising.layers import RECOMPILE
from snnc.ir.functions import INTEGER_WEIGHTS
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Op


def show_weights(graph: Graph) -> Graph:
    """The inverse of snnc.backends.lowering.imported_weights."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or node.op_type != INTEGER_WEIGHTS:
            return None
        if len(node.inputs) != 3 or not all(v in graph.consts for v in node.inputs):
            raise graph.error("the integer weights are no constants", node, RECOMPILE)
        names = tuple(graph.fresh(f"{v}.flat") for v in node.inputs[1:])
        flat = {
            name: array.reshape(() if array.size == 1 else (-1,))
            for name, array in zip(names, (graph.consts[v] for v in node.inputs[1:]), strict=True)
        }
        inputs = (node.inputs[0], *names)
        return Replacement((replace(node, inputs=inputs, op_type="DequantizeLinear"),), {}, flat)

    return graph.rewrite(rule)
