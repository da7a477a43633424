"""Constant folding: what does not depend on an input is computed once, by onnxruntime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Op
from snnc.ir.ops import ONNX_TYPE, RANDOM
from snnc.passes.normalize.quantizers import holds_weights
from snnc.runtime import evaluate_constants

_NO_NUMPY = ("int4", "uint4")
"""Types that onnxruntime takes and computes, but does not hand out."""

LARGEST = 2**26
"""Results with more elements than this stay computed: folding must not blow up the file."""


def fold_constants(graph: Graph) -> Graph:
    """Replaces nodes with constant inputs, and shapes that are known, by constants."""
    graph = _fold_known_shapes(graph.rewrite(lambda node: _known_cast(graph, node)))
    known = set(graph.consts)
    folded: list[Node] = []
    for node in graph.nodes:
        foldable = _is_foldable(graph, node) and not _waits(graph, node)
        if foldable and all(v in known for v in node.inputs if v):
            folded.append(node)
            known.update(node.outputs)
    inside = {id(node) for node in folded}
    inside -= {id(op) for op in folded if _stays(graph, op, inside)}
    folded = [op for op in folded if id(op) in inside or inside & _readers(graph, op)]
    if not inside:
        return graph
    produced = [v for node in folded if id(node) in inside for v in node.outputs if v]
    wanted = tuple(
        v
        for v in produced
        if v in graph.outputs or any(id(r) not in inside for r in graph.readers.get(v, ()))
    )
    part = replace(graph, inputs=(), outputs=wanted, nodes=tuple(folded)).pruned()
    values = evaluate_constants(part)
    return replace(
        graph,
        nodes=tuple(node for node in graph.nodes if id(node) not in inside),
        consts={**graph.consts, **{v: values[v] for v in wanted}},
    ).pruned()


def _stays(graph: Graph, node: Node, folded: set[int]) -> bool:
    """Whether a node scales integers for a layer: quantised weights stay integers."""
    if not holds_weights(graph, node) or folded >= _readers(graph, node):
        return False
    integers = node.inputs[0]
    return integers in graph.consts or graph.types[integers].dtype not in _NO_NUMPY


def _waits(graph: Graph, node: Node) -> bool:
    """Whether a node transposes quantised weights whose integers will be known after this."""
    if not isinstance(node, Op) or node.op_type != "Transpose":
        return False
    scaled = graph.op(node.inputs[0])
    if scaled is None or not holds_weights(graph, scaled):
        return False
    integers = scaled.inputs[0]
    return integers in graph.types and graph.types[integers].dtype not in _NO_NUMPY


def _readers(graph: Graph, node: Node) -> set[int]:
    return {id(reader) for value in node.outputs for reader in graph.readers.get(value, ())}


def _known_cast(graph: Graph, node: Node) -> Replacement | None:
    """CastLike as a Cast: what it is like is known."""
    if not isinstance(node, Op) or node.op_type != "CastLike":
        return None
    to = ONNX_TYPE.get(graph.types[node.outputs[0]].dtype)
    if to is None:
        return None
    cast = replace(node, inputs=node.inputs[:1], op_type="Cast", attrs={**node.attrs, "to": to})
    return Replacement((cast,))


def _is_foldable(graph: Graph, node: Node) -> bool:
    if not isinstance(node, Op) or node.op_type in RANDOM or not any(node.inputs):
        return False
    for value in node.outputs:
        shape = graph.types[value].shape if value else ()
        known = [d for d in shape or () if isinstance(d, int)]
        if np.prod(known, dtype=np.float64) > LARGEST:
            return False
    return True


def _fold_known_shapes(graph: Graph) -> Graph:
    """Shape of a fully static value, and single known dimensions of a partly dynamic one."""
    known: dict[str, Array] = {}
    for node in graph.nodes:
        if isinstance(node, Op) and node.op_type in ("Shape", "Gather"):
            array = _known_shape(graph, node)
            if array is not None and node.outputs[0] not in graph.outputs:
                known[node.outputs[0]] = array
    if not known:
        return graph
    nodes = tuple(node for node in graph.nodes if node.outputs[0] not in known)
    return replace(graph, nodes=nodes, consts={**graph.consts, **known}).pruned()


def _known_shape(graph: Graph, op: Op) -> Array | None:
    if op.op_type == "Gather":
        shape_of, index = graph.op(op.inputs[0], "Shape"), graph.consts.get(op.inputs[1])
        if shape_of is None or index is None or shape_of.attrs:
            return None
    else:
        shape_of, index = op, None
    type_ = graph.types.get(shape_of.inputs[0])
    if type_ is None or type_.shape is None:
        return None
    dims: list[int | str | None] = list(type_.shape)
    if index is not None:
        if index.size == 0 or not np.all((index < len(dims)) & (index >= -len(dims))):
            return None
        picked = [dims[i] for i in index.ravel()]
        if all(isinstance(d, int) for d in picked):
            return np.array(picked, np.int64).reshape(index.shape)
        return None
    start, end = op.attrs.get("start", 0), op.attrs.get("end", len(dims))
    picked = dims[int(start) : int(end)]  # type: ignore[arg-type]
    return np.array(picked, np.int64) if all(isinstance(d, int) for d in picked) else None
