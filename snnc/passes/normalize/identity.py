"""Operations that hand their input on unchanged disappear."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.graph import Graph
from snnc.ir.node import Op


def drop_identities(graph: Graph) -> Graph:
    """Drops Identity, inference-time Dropout, casts to the same type, neutral scalings."""
    alias: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(alias.get(v, v) for v in node.inputs))
        source = _handed_on(graph, node) if isinstance(node, Op) else None
        if source is not None and node.outputs[0] not in graph.outputs:
            alias[node.outputs[0]] = source
        else:
            nodes.append(node)
    if not alias:
        return graph
    return replace(graph, nodes=tuple(nodes)).pruned()


def _handed_on(graph: Graph, op: Op) -> str | None:
    """The input that the first output of `op` equals bit for bit, if there is one."""
    if op.op_type == "Identity":
        return op.inputs[0]
    if op.op_type == "Dropout":
        training = len(op.inputs) > 2 and op.inputs[2] and graph.scalar(op.inputs[2]) != 0
        mask = op.outputs[1] if len(op.outputs) > 1 else ""
        mask_read = mask in graph.readers or mask in graph.outputs
        return None if training or mask_read else op.inputs[0]
    if op.op_type == "Cast":
        same = op.inputs[0] in graph.types and (
            graph.types[op.inputs[0]].dtype == graph.types[op.outputs[0]].dtype
        )
        return op.inputs[0] if same else None
    if op.op_type in ("Mul", "Div"):
        orders = (op.inputs, op.inputs[::-1]) if op.op_type == "Mul" else (op.inputs,)
        return next((v for v, factor in orders if _is_neutral(graph, v, factor)), None)
    if op.op_type == "Pad" and len(op.inputs) > 1:
        amounts = graph.consts.get(op.inputs[1])
        return op.inputs[0] if amounts is not None and not amounts.any() else None
    return None


def _is_neutral(graph: Graph, value: str, factor: str) -> bool:
    """Whether `factor` is a constant one that does not raise the rank of `value`."""
    one = graph.consts.get(factor)
    kind = graph.types.get(value)
    if one is None or one.size != 1 or one.reshape(()) != 1:
        return False
    return kind is not None and kind.shape is not None and one.ndim <= len(kind.shape)
