"""Constants added to values: within a bias where there is one, else by their own operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Op, Site, Type
from snnc.passes.centring.axes import consumers


def with_added(graph: Graph, value: str, array: Array) -> Graph:
    """The graph in which `value` is what it was plus `array`, which broadcasts within it.

    It becomes part of the bias that the value is computed with, of the one that is added to the
    value next, or an Add.
    """
    folded = _in_bias(graph, value, array) or _in_next(graph, value, array)
    if folded is not None:
        return folded
    node = graph.producer[value]
    plain, name = graph.fresh(f"{value}.centred"), graph.fresh(f"{value}.restoring")
    outputs = tuple(plain if v == value else v for v in node.outputs)
    kind = graph.types[value]
    add = Op((value,), (plain, name), node.loc, "Add")
    made = (replace(node, outputs=outputs), add)
    return _replaced(graph, node, made, {plain: kind}, {name: array.astype(kind.dtype)})


def with_zero_point(graph: Graph, value: str, shift: Array) -> Graph:
    """The graph whose site `value` sees what it saw minus `shift`; nobody else does."""
    site = graph.producer[value]
    assert isinstance(site, Site)
    x = site.inputs[0]
    if consumers(graph, x) == (site,):
        folded = _in_bias(graph, x, -shift)
        if folded is not None:
            return folded
    less, name = graph.fresh(f"{x}.centred"), graph.fresh(f"{site.outputs[0]}.zero_point")
    kind = graph.types[x]
    sub = Op((less,), (x, name), site.loc, "Sub")
    made = (sub, replace(site, inputs=(less, *site.inputs[1:])))
    return _replaced(graph, site, made, {less: kind}, {name: shift.astype(kind.dtype)})


def _in_next(graph: Graph, value: str, array: Array) -> Graph | None:
    readers = consumers(graph, value)
    if readers is None or len(readers) != 1 or not isinstance(readers[0], Op):
        return None
    add = readers[0]
    if add.op_type != "Add" or add.inputs[0] == add.inputs[1]:
        return None
    return _in_bias(graph, add.outputs[0], array)


def _in_bias(graph: Graph, value: str, array: Array) -> Graph | None:
    """The graph with `array` in the bias of the operation that computes `value`, if it has one."""
    op = graph.op(value, "Add", "Gemm", "Conv", "LayerNormalization")
    op = op if op is not None and op.outputs[0] == value else None
    place = None if op is None else _place(graph, op, array)
    if op is None or place is None:
        return None
    old = graph.consts.get(op.inputs[place]) if place < len(op.inputs) else None
    if op.op_type == "Conv":
        if array.shape[1:] != (1,) * (len(graph.types[value].shape or ()) - 2):
            return None
        array = array.reshape(-1)
    elif op.op_type != "Add":
        array = array.reshape(array.shape[-1:])
    bias = array if old is None else np.asarray(old.astype(np.float64) + array)
    name = graph.fresh(f"{op.inputs[place]}.centred" if old is not None else f"{value}.bias")
    inputs = (*op.inputs[:place], name, *op.inputs[place + 1 :])
    new = replace(op, inputs=inputs)
    return _replaced(graph, op, (new,), {}, {name: bias.astype(graph.types[value].dtype)})


def _place(graph: Graph, op: Op, array: Array) -> int | None:
    """Which input of an operation is a constant, or absent, that may take up `array`."""
    if op.op_type == "Add":
        return next((i for i, v in enumerate(op.inputs) if v in graph.consts), None)
    vector = array.size == array.shape[-1] if array.ndim else False
    if op.op_type == "Gemm" and not (vector and op.number("beta", 1.0) == 1.0):
        return None
    last = op.integer("axis", -1) in (-1, len(graph.types[op.outputs[0]].shape or ()) - 1)
    if op.op_type == "LayerNormalization" and not (vector and last):
        return None
    bias = op.inputs[2] if len(op.inputs) > 2 else ""
    return 2 if not bias or bias in graph.consts else None


def _replaced(
    graph: Graph,
    old: Node,
    nodes: tuple[Node, ...],
    types: Mapping[str, Type],
    consts: Mapping[str, Array],
) -> Graph:
    made = Replacement(nodes, types, consts)
    return graph.rewrite(lambda node: made if node is old else None)
