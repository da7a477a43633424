"""Embeddings that onnxruntime fuses with the normalisation behind them."""

from __future__ import annotations

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op
from snnc.passes.normalize.spelling import Spelling


def spell_embedding(graph: Graph, op: Op) -> Replacement | None:
    """EmbedLayerNormalization: layer norm of word + position (+ segment) embeddings.

    Results: the normalised sum, the number of ones in each row of the mask, the sum.
    """
    ids, segments, words, places, kinds, gamma, beta, mask, positions = (*op.inputs, "", "", "")[:9]
    out, count, total = (*op.outputs, "", "")[:3]
    s = Spelling(graph, op)
    if positions:
        placed = s.op("Gather", places, positions, axis=0)
    else:
        placed = s.op("Slice", places, s.ints(0), s.size(ids, 1), s.ints(0))
    embedded = s.op("Gather", words, ids, axis=0)
    if segments and kinds:
        embedded = s.op("Add", embedded, s.op("Gather", kinds, segments, axis=0))
    embedded = s.op("Add", embedded, placed, into=total)
    epsilon = op.attrs.get("epsilon", 1e-12)
    s.op("LayerNormalization", embedded, gamma, beta, into=out, axis=-1, epsilon=epsilon)
    if count and mask:
        ones = s.cast(s.op("Equal", mask, s.const(1, "int32")), "int32")
        s.op("ReduceSum", ones, s.ints(1), into=count, keepdims=0)
    elif count:
        s.op("Expand", s.const(0, "int32"), s.size(ids, 0), into=count)
    return s.done()
