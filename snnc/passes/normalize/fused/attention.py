"""Self-attention that onnxruntime fuses with the projection to queries, keys and values."""

from __future__ import annotations

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op
from snnc.passes.normalize.fused.heads import attend, key_count, scale_of, split_heads, with_past
from snnc.passes.normalize.fused.masks import MASKED, Scores, mask_term
from snnc.passes.normalize.spelling import Spelling, dim_of, shape_of


def spell_attention(graph: Graph, op: Op) -> Replacement | None:
    """Attention: one product with the weights of Q, K and V side by side, split, then attention.

    past and present: keys and values [2, B, N, T, H]. Left alone: a buffer shared by past and
    present, rotary embedding, masks of four axes (onnxruntime has no kernel for these).
    """
    x, weight, bias, mask, past, added, shared = (*op.inputs, *[""] * 5)[:7]
    heads, sizes = op.integer("num_heads", 0), _sizes(graph, op)
    if shared or op.attrs.get("do_rotary", 0) or op.attrs.get("past_present_share_buffer", 0):
        return None
    if sizes is None or heads < 1 or any(size % heads for size in sizes) or sizes[0] != sizes[1]:
        return None
    s = Spelling(graph, op)
    projected = s.op("MatMul", x, weight)
    if bias:
        projected = s.op("Add", projected, bias)
    parts = zip(s.split(projected, sizes, axis=-1), sizes, strict=True)
    query, key, value = (split_heads(s, part, heads, size // heads) for part, size in parts)
    if past:
        earlier = (s.op("Gather", past, s.const(i, "int64"), axis=0) for i in (0, 1))
        key, value = with_past(s, next(earlier), key), with_past(s, next(earlier), value)
    if len(op.outputs) > 1 and op.outputs[1]:
        both = (s.op("Unsqueeze", part, s.ints(0)) for part in (key, value))
        s.op("Concat", *both, into=op.outputs[1], axis=0)
    masked = float(op.attrs.get("mask_filter_value", MASKED))  # type: ignore[arg-type]
    scores = Scores(query, key, key_count(s, x, 1, past, 3), masked)
    causal = bool(op.attrs.get("unidirectional", 0))
    term = mask_term(s, scores, mask, added, causal=causal, starts=True)
    if term is None:
        return None
    scale = scale_of(op, sizes[0] // heads)
    attend(s, query, key, value, scale=scale, mask=term, width=sizes[2], into=op.outputs[0])
    return s.done()


def _sizes(graph: Graph, op: Op) -> tuple[int, ...] | None:
    """Widths of Q, K and V; None where they are not known, or the input has not three axes."""
    shape = shape_of(graph, op.inputs[0])
    if shape is None or len(shape) != 3:
        return None
    given = op.ints("qkv_hidden_sizes", ())
    if given:
        return given if len(given) == 3 else None
    width = dim_of(graph, op.inputs[1], 1)
    return None if width is None or width % 3 else (width // 3,) * 3
