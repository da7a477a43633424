"""Quantisers side by side: QuantizeLinear and DequantizeLinear without layout in between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Op, real
from snnc.ir.ops import SHAPE_ONLY, SYNAPTIC
from snnc.ir.quantizer import INTEGERS, constant_scale

_MOVING = SHAPE_ONLY - {"Split"} | {"MaxPool", "Concat"}
"""Operations that scaling all entries by one positive number can move in front of."""

_STANDARD = {
    f"com.microsoft.{op_type}": op_type for op_type in ("QuantizeLinear", "DequantizeLinear")
}
"""onnxruntime's own quantisers: ONNX's for types that these took in only later."""

_TYPES = frozenset({*INTEGERS, "int32"})


def join_quantizers(graph: Graph) -> Graph:
    """Brings quantisers to one form.

    onnxruntime's own become ONNX's. Integers are scaled before they are moved, selected by MaxPool
    or joined, weights after they are transposed. Equal quantisers of a value become one. Weights
    get a zero point, if they have none, since those of integer synapses do not.
    """
    for rule in (_standard, _scaled_early, _transposed_weights, _with_zero_point):
        graph = graph.rewrite(lambda node, rule=rule, graph=graph: rule(graph, node))  # type: ignore[misc]
    return _without_twins(graph)


def _standard(graph: Graph, node: Node) -> Replacement | None:
    if not isinstance(node, Op) or node.op_type not in _STANDARD:
        return None
    ends = (node.inputs[0], node.outputs[0])
    types = {
        str(graph.consts[v].dtype) if v in graph.consts else graph.types[v].dtype for v in ends
    }
    if types - {"float32"} <= _TYPES and len(types) == 2:
        return Replacement((replace(node, op_type=_STANDARD[node.op_type]),))
    return None


def _scaled_early(graph: Graph, node: Node) -> Replacement | None:
    """DequantizeLinear behind layout of integers that depend on the data."""
    if not isinstance(node, Op) or node.op_type != "DequantizeLinear":
        return None
    moving = graph.op(node.inputs[0], *_MOVING)
    if moving is None or len(moving.outputs) > 1 or not _one_scale(graph, node):
        return None
    moved = moving.inputs if moving.op_type == "Concat" else moving.inputs[:1]
    if any(v in graph.consts for v in moved):
        return None
    new: list[Op] = []
    types, names = {}, {}
    for value in dict.fromkeys(moved):
        names[value] = graph.fresh(f"{node.outputs[0]}/{value}")
        new.append(replace(node, outputs=(names[value],), inputs=(value, *node.inputs[1:])))
        types[names[value]] = real("float32", graph.types[value].shape)
    inputs = tuple(names[v] if i < len(moved) else v for i, v in enumerate(moving.inputs))
    return Replacement((*new, replace(moving, inputs=inputs, outputs=node.outputs)), types)


def _one_scale(graph: Graph, op: Op) -> bool:
    """Whether a DequantizeLinear has one constant scale > 0 and one zero point, for float32."""
    scale = constant_scale(graph, op)
    zeros = [graph.consts.get(v) for v in op.inputs[2:] if v]
    return (
        scale is not None
        and not scale.ndim
        and bool(scale > 0)
        and all(zero is not None and zero.size == 1 for zero in zeros)
    )


def _transposed_weights(graph: Graph, node: Node) -> Replacement | None:
    """Transpose of weights: of their integers."""
    if not isinstance(node, Op) or node.op_type != "Transpose":
        return None
    op = graph.op(node.inputs[0], "DequantizeLinear")
    integers = None if op is None else graph.consts.get(op.inputs[0])
    scale = None if op is None else constant_scale(graph, op)
    if op is None or integers is None or scale is None:
        return None
    order = node.ints("perm", tuple(reversed(range(integers.ndim))))
    axis = op.integer("axis", 1)
    attrs = dict(op.attrs)
    if scale.ndim:
        attrs["axis"] = order.index(axis % integers.ndim)
    name = graph.fresh(f"{node.outputs[0]}.integers")
    turned = np.ascontiguousarray(integers.transpose(order))
    made = replace(
        op, outputs=node.outputs, inputs=(name, *op.inputs[1:]), attrs=attrs, loc=op.loc | node.loc
    )
    return Replacement((made,), {}, {name: turned})


def holds_weights(graph: Graph, node: Node) -> bool:
    """Whether a node scales integers for a layer, which may transpose them."""
    if not isinstance(node, Op) or node.op_type != "DequantizeLinear":
        return False
    readers = list(graph.readers.get(node.outputs[0], ()))
    for reader in tuple(readers):
        if isinstance(reader, Op) and reader.op_type == "Transpose":
            readers += graph.readers.get(reader.outputs[0], ())
    return constant_scale(graph, node) is not None and any(
        isinstance(reader, Op) and reader.op_type in SYNAPTIC for reader in readers
    )


def _with_zero_point(graph: Graph, node: Node) -> Replacement | None:
    if not isinstance(node, Op) or not holds_weights(graph, node) or any(node.inputs[2:]):
        return None
    integers = graph.consts.get(node.inputs[0])
    if integers is None:
        return None
    name = graph.fresh(f"{node.outputs[0]}.zero_point")
    zero: Array = np.zeros(graph.consts[node.inputs[1]].shape, integers.dtype)
    return Replacement((replace(node, inputs=(*node.inputs[:2], name)),), {}, {name: zero})


def _without_twins(graph: Graph) -> Graph:
    """Quantisers that read the same as an earlier one give way to it."""
    alias: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(alias.get(v, v) for v in node.inputs))
        quantising = isinstance(node, Op) and node.op_type in _STANDARD.values()
        if isinstance(node, Op) and quantising and node.outputs[0] not in graph.outputs:
            key = (
                node.op_type,
                *(_same(graph, v) for v in node.inputs),
                *sorted(node.attrs.items()),
            )
            twin = first.setdefault(key, node.outputs[0])
            if twin != node.outputs[0]:
                alias[node.outputs[0]] = twin
                continue
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes)).pruned() if alias else graph


def _same(graph: Graph, value: str) -> object:
    """Equal for the same value and for equal constants of few elements."""
    array = graph.consts.get(value)
    if array is None or array.size > 1:
        return value
    return str(array.dtype), array.shape, array.tobytes()
