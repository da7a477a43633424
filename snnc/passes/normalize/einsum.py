"""An Einsum of one operand that only reorders its axes is a Transpose."""

from __future__ import annotations

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Op


def einsum_to_transpose(graph: Graph) -> Graph:
    """ "bij->bji" and the like; without "->" the result has the labels in alphabetical order."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or node.op_type != "Einsum" or len(node.inputs) != 1:
            return None
        term, arrow, result = str(node.attrs["equation"]).replace(" ", "").partition("->")
        result = result if arrow else "".join(sorted(term))
        if "." in term or len(set(term)) != len(term) or sorted(term) != sorted(result):
            return None
        order = tuple(term.index(label) for label in result)
        return Replacement((Op(node.outputs, node.inputs, node.loc, "Transpose", {"perm": order}),))

    return graph.rewrite(rule)
