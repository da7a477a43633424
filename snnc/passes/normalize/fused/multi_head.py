"""Attention of queries, keys and values that are projected outside."""

from __future__ import annotations

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op
from snnc.passes.normalize.fused.heads import attend, key_count, scale_of, split_heads, with_past
from snnc.passes.normalize.fused.masks import MASKED, Scores, mask_term
from snnc.passes.normalize.spelling import Spelling, dim_of, shape_of


def spell_multi_head(graph: Graph, op: Op) -> Replacement | None:
    """MultiHeadAttention: query [B, S, N H]; key and value [B, T, N H] or [B, N, T, H].

    Left alone: packed queries, keys and values, shared buffers, beam search, the scores as a
    result, and a causal mask where keys and queries might differ in number.
    """
    query, key, value, bias, mask, added, past_key, past_value, *rest = (*op.inputs, *[""] * 8)
    output, new_key, new_value, scores_out = (*op.outputs, "", "", "")[:4]
    ranks = [len(shape_of(graph, v) or ()) for v in (query, key, value)]
    heads = op.integer("num_heads", 0)
    if any(rest) or scores_out or ranks not in ([3, 3, 3], [3, 4, 4]) or heads < 1:
        return None
    width, values = dim_of(graph, query, 2), dim_of(graph, value, -1)
    if width is None or values is None:
        return None
    widths = (width, width, values if ranks[2] == 3 else values * heads)
    if any(width % heads for width in widths):
        return None
    causal = bool(op.attrs.get("unidirectional", 0))
    if causal and (ranks[1] != 3 or not _as_many(graph, query, key)):
        return None
    s = Spelling(graph, op)
    inputs = [query, key, value]
    if bias:
        parts = zip(inputs, s.split(bias, widths, axis=0), strict=True)
        inputs = [s.op("Add", x, b) for x, b in parts]
    query, key, value = (
        split_heads(s, x, heads, width // heads) if rank == 3 else x
        for x, width, rank in zip(inputs, widths, ranks, strict=True)
    )
    key, value = with_past(s, past_key, key, new_key), with_past(s, past_value, value, new_value)
    masked = float(op.attrs.get("mask_filter_value", MASKED))  # type: ignore[arg-type]
    keys = key_count(s, op.inputs[1], ranks[1] - 2, past_key, 2)
    term = mask_term(s, Scores(query, key, keys, masked), mask, added, causal=causal, starts=False)
    if term is None:
        return None
    scale = scale_of(op, widths[0] // heads)
    attend(s, query, key, value, scale=scale, mask=term, width=widths[2], into=output)
    return s.done()


def _as_many(graph: Graph, query: str, key: str) -> bool:
    """Whether there are certainly as many keys as queries."""
    shapes = shape_of(graph, query), shape_of(graph, key)
    if shapes[0] is None or shapes[1] is None:
        return False
    return shapes[0][1] is not None and shapes[0][1] == shapes[1][1]
