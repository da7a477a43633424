"""Operations that hand their input on unchanged disappear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Op


def drop_identities(graph: Graph) -> Graph:
    """Drops operations whose first result is one of their inputs, bit for bit."""
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
    hands_on = _HANDED_ON.get(op.op_type)
    return hands_on(graph, op) if hands_on is not None else None


def _first(graph: Graph, op: Op) -> str:
    return op.inputs[0]


def _dropout(graph: Graph, op: Op) -> str | None:
    training = len(op.inputs) > 2 and op.inputs[2] and graph.scalar(op.inputs[2]) != 0
    mask = op.outputs[1] if len(op.outputs) > 1 else ""
    mask_read = mask in graph.readers or mask in graph.outputs
    return None if training or mask_read else op.inputs[0]


def _cast(graph: Graph, op: Op) -> str | None:
    source = graph.types.get(op.inputs[0])
    same = source is not None and source.dtype == graph.types[op.outputs[0]].dtype
    return op.inputs[0] if same else None


def _scaling(graph: Graph, op: Op) -> str | None:
    return _neutral(graph, op, 1.0)


def _selection(graph: Graph, op: Op) -> str | None:
    """A maximum or minimum of one value, or of one and an infinity."""
    if len(op.inputs) == 1 or not graph.types[op.outputs[0]].is_float:
        return _single(graph, op)
    return _neutral(graph, op, float("-inf" if op.op_type == "Max" else "inf"))


def _neutral(graph: Graph, op: Op, neutral: float) -> str | None:
    """The operand beside a constant that changes nothing, nor the rank."""
    if len(op.inputs) != 2:
        return None
    for value, other in (op.inputs, op.inputs[::-1]) if op.op_type != "Div" else (op.inputs,):
        kind, constant = graph.types.get(value), graph.consts.get(other)
        if constant is None or constant.size != 1 or constant.reshape(()) != neutral:
            continue
        if kind is not None and kind.shape is not None and constant.ndim <= len(kind.shape):
            return value
    return None


def _single(graph: Graph, op: Op) -> str | None:
    return op.inputs[0] if len(op.inputs) == 1 else None


def _pad(graph: Graph, op: Op) -> str | None:
    amounts = graph.consts.get(op.inputs[1]) if len(op.inputs) > 1 else None
    return op.inputs[0] if amounts is not None and not amounts.any() else None


def _transpose(graph: Graph, op: Op) -> str | None:
    order = op.attrs.get("perm")
    return op.inputs[0] if isinstance(order, tuple) and order == tuple(range(len(order))) else None


def _expand(graph: Graph, op: Op) -> str | None:
    return op.inputs[0] if _unequal(graph, op) == 0 else None


def _reshape(graph: Graph, op: Op) -> str | None:
    """To the same shape: one dimension may be unknown, the number of entries tells it."""
    unequal = _unequal(graph, op)
    empty = 0 in (graph.types[op.outputs[0]].shape or ())
    return op.inputs[0] if unequal == 0 or (unequal == 1 and not empty) else None


def _unequal(graph: Graph, op: Op) -> int:
    """How many dimensions of the result are not certainly those of the input; -1: the rank."""
    source = graph.types.get(op.inputs[0])
    before, after = source.shape if source else None, graph.types[op.outputs[0]].shape
    if before is None or after is None or len(before) != len(after):
        return -1
    return sum(a is None or a != b for a, b in zip(before, after, strict=True))


_END = 10**9
"""No axis is that long: a slice that ends there ends at the end."""


def _slice(graph: Graph, op: Op) -> str | None:
    """Everything, from the first entry of each axis to the last."""
    starts, ends, steps = (graph.consts.get(v) for v in (*op.inputs[1:3], *op.inputs[4:5], "")[:3])
    if len(op.inputs) > 4 and steps is None:
        return None
    if (
        _sizes_known(graph, op)
        and _unequal(graph, op) == 0
        and (steps is None or np.all(steps > 0))
    ):
        return op.inputs[0]
    if starts is None or ends is None or starts.any() or not np.all(ends >= _END):
        return None
    return op.inputs[0] if steps is None or np.all(steps == 1) else None


def _sizes_known(graph: Graph, op: Op) -> bool:
    """Whether every axis that a Slice cuts has a size: equal names alone may be a placeholder."""
    shape = graph.types[op.outputs[0]].shape or (None,)
    axes = graph.consts.get(op.inputs[3]) if len(op.inputs) > 3 else None
    cut = range(len(shape)) if axes is None else [int(axis) for axis in axes.ravel()]
    return all(isinstance(shape[axis], int) for axis in cut)


_HANDED_ON: dict[str, Callable[[Graph, Op], str | None]] = {
    "Identity": _first,
    "Dropout": _dropout,
    "Cast": _cast,
    "Mul": _scaling,
    "Div": _scaling,
    "Max": _selection,
    "Min": _selection,
    "Sum": _single,
    "Mean": _single,
    "Concat": _single,
    "Pad": _pad,
    "Transpose": _transpose,
    "Expand": _expand,
    "Reshape": _reshape,
    "Slice": _slice,
}
"""By type of operation: the input that it hands on unchanged, if it does."""
