"""If with a condition that is known: the branch taken becomes part of the network."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Body, Node, Op, Type


def take_branches(graph: Graph) -> Graph:
    """Replaces every If whose condition is a constant by the nodes of its branch."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or node.op_type != "If":
            return None
        condition = graph.scalar(node.inputs[0])
        if condition is None:
            return None
        return _inlined(graph, node, node.bodies["then_branch" if condition else "else_branch"])

    return graph.rewrite(rule)


def _inlined(graph: Graph, op: Op, body: Body) -> Replacement:
    """The nodes of a branch under names of their own; its results under those of the If."""
    inner = body.graph
    renamed = dict(zip(inner.inputs, op.inputs[-body.captures or len(op.inputs) :], strict=True))
    results = dict(zip(inner.outputs, op.outputs, strict=True))
    types: dict[str, Type] = {}
    nodes: list[Node] = []
    for node in inner.nodes:
        for name in filter(None, node.outputs):
            new = results.get(name) or graph.fresh(f"{op.outputs[0]}/{name}")
            while new in types:
                new = graph.fresh(f"{new}.")
            renamed[name], types[new] = new, inner.types[name]
        nodes.append(
            replace(
                node,
                inputs=tuple(renamed.get(v, v) for v in node.inputs),
                outputs=tuple(renamed.get(v, v) for v in node.outputs),
                loc=node.loc | op.loc,
            )
        )
    for name, result in zip(inner.outputs, op.outputs, strict=True):
        if result and renamed[name] != result:  # handed through, or named twice
            nodes.append(Op((result,), (renamed[name],), op.loc, "Identity"))
    return Replacement(tuple(nodes), types)
