"""What a format cannot say, gathered into one error."""

from __future__ import annotations

from collections.abc import Sequence

from snnc.errors import CompileError, RefusedNode
from snnc.ir.graph import Graph
from snnc.ir.node import Neuron, Node, Op


def refused(node: Node, why: str, help: str) -> RefusedNode:
    """A node of the graph that a format has no words for."""
    kind = node.op_type if isinstance(node, Op) else "neurons"
    name = node.loc.names[0] if node.loc.names else node.outputs[0]
    return RefusedNode(name, kind, why, help)


def raise_refusals(format_name: str, graph: Graph, found: Sequence[RefusedNode]) -> None:
    """One CompileError that names every node in `found`; nothing if there is none."""
    if not found:
        return
    first = found[0]
    of = f" of {graph.source}" if graph.source else ""
    raise CompileError(
        f"{format_name} cannot say this network: {first.why}",
        at=f"node '{first.name}' ({first.op}){of}",
        help="\n".join(dict.fromkeys(node.help for node in found)),
        refused=found,
    )


def before_neurons(graph: Graph) -> frozenset[str]:
    """The values that some neuron depends on. What computes others alone reads the network out."""
    needed: set[str] = set()
    for node in reversed(graph.nodes):
        if isinstance(node, Neuron) or not needed.isdisjoint(node.outputs):
            needed.update(filter(None, node.inputs))
    return frozenset(needed)
