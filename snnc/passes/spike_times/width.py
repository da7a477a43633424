"""Networks in half or double precision: neurons compute in float32, inputs and outputs stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Attribute, Loc, Node, Op, Type
from snnc.ir.ops import ONNX_TYPE

_OTHER = ("float16", "bfloat16", "float64")
_NUMBERS = {ONNX_TYPE[kind] for kind in _OTHER}
_FLOAT32 = ONNX_TYPE["float32"]


def in_float32(graph: Graph) -> Graph:
    """The graph with every real number in float32, inputs and outputs included.

    Raises CompileError for control flow over other real numbers, whose bodies keep their types.
    """
    types = {name: _wide(kind) for name, kind in graph.types.items()}
    consts = {name: _widened(array) for name, array in graph.consts.items()}
    if types == graph.types and all(consts[name] is a for name, a in graph.consts.items()):
        return graph
    nodes = tuple(_node(graph, node) for node in graph.nodes)
    return replace(graph, nodes=nodes, types=types, consts=consts)


def with_types_of(graph: Graph, trained: Graph) -> Graph:
    """The graph in float32 between the inputs and outputs of the trained network."""
    other = {v: trained.types[v] for v in (*trained.inputs, *trained.outputs) if v in trained.types}
    other = {v: kind for v, kind in other.items() if kind != _wide(kind)}
    if not other:
        return graph
    inside = {v: graph.fresh(f"{v}.float32") for v in other}
    casts: list[Node] = [_cast(v, inside[v], _FLOAT32) for v in graph.inputs if v in other]
    nodes = [
        replace(
            node,
            inputs=tuple(inside.get(v, v) for v in node.inputs),
            outputs=tuple(inside.get(v, v) for v in node.outputs),
        )
        for node in graph.nodes
    ]
    results = [v for v in graph.outputs if v in other and v not in graph.inputs]
    back: list[Node] = [_cast(inside[v], v, ONNX_TYPE[other[v].dtype]) for v in results]
    types = {**graph.types, **other, **{inside[v]: graph.types[v] for v in other}}
    return replace(graph, nodes=(*casts, *nodes, *back), types=types)


def _cast(value: str, result: str, to: int) -> Op:
    return Op((result,), (value,), Loc((result,)), "Cast", {"to": to})


def _wide(kind: Type) -> Type:
    return replace(kind, dtype="float32") if kind.dtype in _OTHER else kind


def _widened(array: Array) -> Array:
    """The array in float32; numbers beyond it, such as those of masks, become its largest."""
    if array.dtype.name not in _OTHER:
        return array
    wide, most = array.astype(np.float64), float(np.finfo(np.float32).max)
    return np.where(np.isfinite(wide), np.clip(wide, -most, most), wide).astype(np.float32)


def _node(graph: Graph, node: Node) -> Node:
    if not isinstance(node, Op):
        return node
    inside = (kind for body in node.bodies.values() for kind in body.graph.types.values())
    if any(kind != _wide(kind) for kind in inside):
        raise graph.error(
            "neurons compute in float32, and this runs a graph in another precision",
            node,
            help="export the network in float32",
        )
    return replace(node, attrs=_attributes(node.attrs))


def _attributes(attrs: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {name: _attribute(name, value) for name, value in attrs.items()}


def _attribute(name: str, value: Attribute) -> Attribute:
    if isinstance(value, np.ndarray):
        return _widened(value)
    return _FLOAT32 if name in ("to", "dtype") and value in _NUMBERS else value
