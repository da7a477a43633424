"""A name for every node, and the original nodes that each came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from onnx import ModelProto, NodeProto

from snnc.errors import CompileError
from snnc.export import LOC_KEY

Locs: TypeAlias = dict[str, tuple[str, ...]]
"""Names of original nodes by the name of a node."""


def name_nodes(model: ModelProto, within: str = "") -> None:
    """Every node gets a name of its own: unnamed ones 'OpType#index'.

    within: name of the node whose body this is; those of an artifact hold it already.
    """
    seen: set[str] = set()
    for index, node in enumerate(model.graph.node):
        name = node.name or f"{node.op_type}#{index}"
        if within and all(prop.key != LOC_KEY for prop in node.metadata_props):
            name = f"{within}/{name}"
        if name in seen:
            name = f"{name}#{index}"
        while name in seen:
            name += "#"
        node.name = name
        seen.add(name)


def stored_locs(model: ModelProto, source: str) -> dict[str, tuple[str, ...]]:
    """Original node names that an artifact of snnc carries, by node name."""
    try:
        return {
            node.name: tuple(prop.value.split("\n"))
            for node in model.graph.node
            for prop in node.metadata_props
            if prop.key == LOC_KEY
        }
    except UnicodeDecodeError:
        raise CompileError(
            "the names of original nodes are damaged", at=source or None, help="compile again"
        ) from None


def name_bodies(
    before: ModelProto, after: ModelProto, calls: Sequence[NodeProto], locs: Locs
) -> None:
    """Nodes that came out of a call are named 'call/node', and remember the call."""
    called = {id(call) for call in calls}
    kept = {n.output[0] for n in before.graph.node if id(n) not in called and n.output}
    results = {value for call in calls for value in call.output}
    producer = {value: node for node in after.graph.node for value in node.output if value}
    taken = {node.name for node in after.graph.node if node.output and node.output[0] in kept}
    named: set[str] = set()
    for call in calls:
        waiting = [value for value in call.output if value]
        while waiting:
            node = producer.get(waiting.pop())
            if node is None or node.output[0] in kept | named:
                continue
            named.add(node.output[0])
            label = f"{call.name}/{node.name or node.op_type}"
            node.name = label if label not in taken else f"{label}#{len(taken)}"
            taken.add(node.name)
            locs[node.name] = (node.name, call.name)
            waiting += [value for value in node.input if value not in results]
