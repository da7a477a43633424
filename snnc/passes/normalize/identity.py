"""Operations that hand their input on unchanged disappear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

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
        mask_read = len(op.outputs) > 1 and op.outputs[1] in graph.readers
        return None if training or mask_read else op.inputs[0]
    source = graph.types.get(op.inputs[0]) if op.inputs else None
    if op.op_type == "Cast" and source is not None:
        return op.inputs[0] if source.dtype == graph.types[op.outputs[0]].dtype else None
    if op.op_type in ("Mul", "Div") and source is not None:
        factor = graph.consts.get(op.inputs[1])
        neutral = factor is not None and factor.size == 1 and bool(np.all(factor == 1))
        same_rank = (
            neutral
            and source.shape is not None
            and factor is not None
            and (factor.ndim <= len(source.shape))
        )
        return op.inputs[0] if same_rank else None
    if op.op_type == "Pad" and len(op.inputs) > 1:
        amounts = graph.consts.get(op.inputs[1])
        return op.inputs[0] if amounts is not None and not amounts.any() else None
    return None
