"""One name for the batch size of all values that certainly share it."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.composed import composed
from snnc.ir.functions import MAX_POOL_COUNTS
from snnc.ir.graph import Graph
from snnc.ir.node import Dim, Neuron, Node, Op
from snnc.ir.ops import BROADCASTING, ELEMENTWISE

_OF_FIRST_INPUT = ELEMENTWISE | {
    "Conv",
    "DequantizeLinear",
    "MaxPool",
    MAX_POOL_COUNTS,
    "AveragePool",
    "LpPool",
    "GlobalMaxPool",
    "GlobalAveragePool",
}
"""Operations whose results have as many samples as their first input."""


def name_batches(graph: Graph) -> Graph:
    """The graph in which first axes of one size have one name.

    Exporters and ONNX's inference invent a name for each operation's result; whether two shapes
    are equal does not show then.
    """
    sizes = {value: _first(graph, value) for value in graph.inputs}
    for node in graph.nodes:
        known = _size_of_result(graph, node, sizes)
        for value in filter(None, node.outputs):
            own = _first(graph, value)
            sizes[value] = known if known is not None and isinstance(own, str) else own
    types = dict(graph.types)
    for value, size in sizes.items():
        shape = types[value].shape
        if shape and value not in graph.inputs and value not in graph.outputs:
            types[value] = replace(types[value], shape=(size, *shape[1:]))
    return replace(graph, types=types)


def _first(graph: Graph, value: str) -> Dim:
    """The size of the first axis, as the value's type has it."""
    shape = graph.types[value].shape if value in graph.types else None
    return shape[0] if shape else None


def _size_of_result(graph: Graph, node: Node, sizes: dict[str, Dim]) -> Dim:
    """The first axis of a result, if that of an input is known to be kept."""
    if isinstance(node, Neuron) or _keeps_first_axis(node):
        return sizes.get(node.inputs[0])
    if not isinstance(node, Op) or node.op_type not in BROADCASTING:
        return None
    rank = len(graph.types[node.outputs[0]].shape or ())
    found = {sizes.get(v) for v in node.inputs if not _is_one_sample(graph, v, rank)}
    equal = all(v in graph.consts or _rank(graph, v) == rank for v in node.inputs)
    return found.pop() if equal and len(found) == 1 else None


def _keeps_first_axis(node: Node) -> bool:
    if not isinstance(node, Op):
        return False
    if node.op_type == "Transpose":
        return node.ints("perm", ())[:1] == (0,)
    made = composed(node)
    if made is not None:
        return made.drive != "SpikeMatMul"
    return node.op_type in _OF_FIRST_INPUT


def _is_one_sample(graph: Graph, value: str, rank: int) -> bool:
    """Whether a constant is broadcast along the first of `rank` axes."""
    array = graph.consts.get(value)
    return array is not None and (array.ndim < rank or array.shape[:1] in ((), (1,)))


def _rank(graph: Graph, value: str) -> int | None:
    shape = graph.types[value].shape if value in graph.types else None
    return None if shape is None else len(shape)
