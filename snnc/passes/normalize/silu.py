"""SiLU (swish) written out: x * sigmoid(x)."""

from __future__ import annotations

from snnc.ir.graph import DOMAIN, Graph, Replacement
from snnc.ir.node import Node, Op


def recognise_silu(graph: Graph) -> Graph:
    """Replaces the product by one Silu operation of ai.snnc."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or node.op_type != "Mul":
            return None
        for x, gate in (node.inputs, node.inputs[::-1]):
            sigmoid = graph.op(gate, "Sigmoid")
            if sigmoid is not None and sigmoid.inputs[0] == x:
                return Replacement((Op(node.outputs, (x,), node.loc, f"{DOMAIN}.Silu"),))
        return None

    return graph.rewrite(rule)
