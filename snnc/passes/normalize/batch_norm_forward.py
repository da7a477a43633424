"""Batch normalisation behind an activation joins the weights of the layer after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Node, Op
from snnc.ir.ops import PERMUTING
from snnc.passes.normalize.batch_norm import affine_of
from snnc.passes.normalize.padding import spatial_zero_padding
from snnc.runtime import evaluate_constants

_SEVERAL = 2
"""Samples taken for an open batch axis: what mixes them is told from what does not."""

_ROUNDING = 1e-6
"""Relative differences that summing in another order may make."""


def fold_batch_norm_forward(graph: Graph) -> Graph:
    """Moves each behind pooling, padding and layout into the next Conv, Gemm or MatMul."""
    for node in graph.nodes:
        folded = _forward_once(graph, node)
        if folded is not None:
            return fold_batch_norm_forward(folded)
    return graph


@dataclass(frozen=True)
class _Path:
    """From a batch norm to the next weights: within channels, then mere layout, then the layer."""

    within: tuple[Op, ...]
    layout: tuple[Op, ...]
    layer: Op


def _forward_once(graph: Graph, norm: Node) -> Graph | None:
    """The affine map moves behind pooling, padding and layout, into the layer that follows.

    Its scale joins the layer's weights; its shift, sent through the very same operations,
    becomes the layer's bias, position by position where padding makes it differ.
    """
    affine = affine_of(graph, norm)
    if affine is None:
        return None
    assert isinstance(norm, Op)
    path = _path(graph, norm, monotone=bool(np.all(affine.scale >= 0)))
    shape = graph.types[norm.outputs[0]].shape
    if path is None or not shape or not all(isinstance(d, int) for d in shape[1:]):
        return None
    batch = shape[0] if isinstance(shape[0], int) else _SEVERAL
    full = (batch, *(int(d) for d in shape[1:] if isinstance(d, int)))
    per_channel = (1, -1, *[1] * (len(full) - 2))
    pooled = _through(
        graph, path.within, norm, np.broadcast_to(affine.shift.reshape(per_channel), full)
    )
    entries = _through_layout(
        graph, path, norm, np.broadcast_to(affine.scale.reshape(per_channel), pooled.shape)
    )
    scaled = None if entries is None else _scale_inputs(graph, path.layer, entries)
    if scaled is None:
        return None
    last = (path.within or (norm,))[-1]
    bare = replace(path.layer, inputs=path.layer.inputs[:2])
    shift = _through(graph, (*path.layout, bare), last, pooled)[:1]
    weight = graph.consts[path.layer.inputs[1]]
    return _moved(graph, norm, path.layer, scaled.astype(weight.dtype), shift)


def _moved(graph: Graph, norm: Op, layer: Op, weight: Array, shift: Array) -> Graph:
    """The graph without `norm`, its affine map in `layer` (and an Add where a bias won't do)."""
    out = layer.outputs[0]
    w, b, product = (graph.fresh(f"{out}.{part}") for part in ("weight", "bias", "product"))
    loc = layer.loc | norm.loc
    bias = _as_bias(graph, layer, shift)
    types = dict(graph.types)
    if bias is not None:
        tail: tuple[Node, ...] = (replace(layer, inputs=(layer.inputs[0], w, b), loc=loc),)
    else:
        bias = shift
        types[product] = graph.types[out]
        moved = replace(
            layer, outputs=(product,), loc=loc, inputs=(layer.inputs[0], w, *layer.inputs[2:])
        )
        tail = (moved, Op(layer.outputs, (product, b), loc, "Add"))
    nodes: list[Node] = []
    for node in graph.nodes:
        if node is not norm:
            for new in tail if node is layer else (node,):
                inputs = (norm.inputs[0] if v == norm.outputs[0] else v for v in new.inputs)
                nodes.append(replace(new, inputs=tuple(inputs)))
    consts = {**graph.consts, w: weight, b: bias}
    return replace(graph, nodes=tuple(nodes), types=types, consts=consts).pruned()


def _as_bias(graph: Graph, layer: Op, shift: Array) -> Array | None:
    """The layer's bias plus `shift`, where that is the same at every position."""
    if layer.op_type == "MatMul" or layer.attrs.get("beta", 1.0) != 1.0:
        return None
    own = graph.consts.get(layer.inputs[2]) if len(layer.inputs) > 2 and layer.inputs[2] else 0
    at_positions = shift.reshape(shift.shape[1], -1)
    first = at_positions[:, 0]
    spread = np.abs(at_positions - first.reshape(-1, 1)).max()
    if own is None or spread > _ROUNDING * np.abs(shift).max():
        return None
    return np.asarray(own + first, shift.dtype)


def _path(graph: Graph, norm: Op, monotone: bool) -> _Path | None:
    within: list[Op] = []
    layout: list[Op] = []
    value = norm.outputs[0]
    while True:
        reader = graph.only_reader(value)
        if not isinstance(reader, Op) or reader.inputs[0] != value or value in reader.inputs[1:]:
            return None
        if reader.op_type in ("Conv", "Gemm", "MatMul"):
            plain = reader.attrs.get("transA", 0) == 0 and reader.attrs.get("alpha", 1.0) == 1.0
            if not plain or reader.inputs[1] not in graph.consts:
                return None
            return _Path(tuple(within), tuple(layout), reader)
        if not all(v in graph.consts for v in reader.inputs[1:] if v) or len(reader.outputs) > 1:
            return None
        if reader.op_type in PERMUTING:
            layout.append(reader)
        elif not layout and _commutes(graph, reader, within, monotone):
            within.append(reader)
        else:
            return None
        value = reader.outputs[0]


def _commutes(graph: Graph, op: Op, behind: list[Op], monotone: bool) -> bool:
    """Whether a per-channel affine map may move behind `op`, which itself is behind `behind`.

    The largest entry stays the largest as long as no padding came between the entries.
    """
    if op.op_type == "MaxPool":
        return monotone and all(earlier.op_type == "MaxPool" for earlier in behind)
    if op.op_type == "Pad":
        return spatial_zero_padding(graph, op) is not None
    return op.op_type in ("AveragePool", "GlobalAveragePool")


def _through(graph: Graph, chain: tuple[Op, ...], start: Node, value: Array) -> Array:
    """`value` in place of the result of `start`, sent through the operations of `chain`."""
    if not chain:
        return value
    source, out = start.outputs[0], chain[-1].outputs[0]
    part = replace(
        graph,
        inputs=(),
        outputs=(out,),
        nodes=chain,
        consts={**graph.consts, source: np.ascontiguousarray(value, graph.types[source].dtype)},
        types={v: replace(t, shape=None) for v, t in graph.types.items()},
    ).pruned()
    return evaluate_constants(part)[out]


def _through_layout(graph: Graph, path: _Path, norm: Op, value: Array) -> Array | None:
    """One sample of `value` sent through the layout operations; None if they mix samples."""
    start = (path.within or (norm,))[-1]
    samples = np.arange(len(value)).reshape(-1, *[1] * (value.ndim - 1))
    try:
        row = _through(graph, path.layout, start, np.broadcast_to(samples, value.shape))
    except CompileError:  # a fixed shape that does not hold this many samples
        return None
    if len(row) != len(value) or np.any(row != samples.reshape(-1, *[1] * (row.ndim - 1))):
        return None
    entries: Array = _through(graph, path.layout, start, value)[0]
    return entries


def _scale_inputs(graph: Graph, layer: Op, scale: Array) -> Array | None:
    """The layer's weights times the scale of each of its inputs; scale: of one sample's entries.

    None where the entries that one weight multiplies differ in scale.
    """
    weight = graph.consts[layer.inputs[1]].astype(np.float64)
    axis = 0 if layer.op_type == "Conv" else scale.ndim - 1
    by_input = np.moveaxis(scale, axis, 0).reshape(scale.shape[axis], -1)
    if np.any(by_input != by_input[:, :1]):
        return None
    each = by_input[:, 0]
    if layer.op_type != "Conv":
        if weight.ndim != 2:
            return None
        return np.asarray(weight * (each if layer.attrs.get("transB", 0) else each[:, None]))
    group, inputs = layer.integer("group", 1), weight.shape[1]
    by_output = each.reshape(group, 1, inputs).repeat(weight.shape[0] // group, axis=1)
    return np.asarray(weight * by_output.reshape(weight.shape[0], inputs, *[1] * (weight.ndim - 2)))
