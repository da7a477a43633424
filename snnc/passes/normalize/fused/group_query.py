"""Attention whose keys and values several query heads share, with a cache of earlier ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op
from snnc.passes.normalize.fused.heads import attend, scale_of, split_heads
from snnc.passes.normalize.fused.rotary import Turn, rotate
from snnc.passes.normalize.spelling import Spelling, dim_of

_KNOWN = {
    "num_heads", "kv_num_heads", "scale", "softcap", "do_rotary", "rotary_interleaved", "causal",
    "local_window_size",
}  # fmt: skip
_WITHOUT_EFFECT: dict[str, tuple[object, ...]] = {
    "smooth_softmax": (0, -1),
    "qk_output": (0,),
    "kv_cache_bit_width": (0,),
    "sliding_window_cache": (0,),
    "k_quant_type": ("NONE",),
    "v_quant_type": ("NONE",),
}
"""Attributes and the values at which they change nothing."""


@dataclass(frozen=True)
class _Places:
    """Positions in the cache, int64.

    total: [1], keys of the longest row; ends: [B, 1], keys of each row; first: [B, 1], where its
    new keys begin; new: [B, S], where they lie.
    """

    total: str
    ends: str
    first: str
    new: str


def spell_group_query(graph: Graph, op: Op) -> Replacement | None:
    """GroupQueryAttention: query [B, S, N H], key and value [B, S, K H], or all of them packed.

    past and present: [B, K, P or T, H]. Left alone: explicit positions, sinks, normalised heads,
    quantised or sliding caches, the scores as a result.
    """
    query, key, value, past_key, past_value, lengths, total, cos, sin, positions, added, *rest = (
        *op.inputs,
        *[""] * 9,
    )
    output, new_key, new_value, scores_out = (*op.outputs, "", "", "")[:4]
    heads, shared = op.integer("num_heads", 0), op.integer("kv_num_heads", 0)
    epsilons = {"q_norm_epsilon", "k_norm_epsilon", "qk_norm_epsilon"}  # of inputs that are absent
    for name in op.attrs.keys() - _KNOWN - epsilons:
        if op.attrs[name] not in _WITHOUT_EFFECT.get(name, ()):
            return None
    turned, pairs = bool(op.attrs.get("do_rotary", 0)), dim_of(graph, cos, 1)
    size = _head_size(graph, op, bool(key))
    if any(rest) or scores_out or positions or size is None or heads % shared:
        return None
    s = Spelling(graph, op)
    if s.dtype(query) != "float32" or (turned and (pairs is None or 2 * pairs > size)):
        return None
    places = _places(s, query, lengths, total)
    if not key:
        widths = (heads * size, shared * size, shared * size)
        query, key, value = s.split(query, widths, axis=-1)
    query = split_heads(s, query, heads, size)
    key, value = (split_heads(s, x, shared, size) for x in (key, value))
    if turned and pairs is not None:
        cos, sin = (
            s.op("Unsqueeze", s.op("Gather", table, places.new, axis=0), s.ints(1))
            for table in (cos, sin)
        )
        turn = Turn(cos, sin, pairs, size, bool(op.attrs.get("rotary_interleaved", 0)))
        query, key = rotate(s, query, turn), rotate(s, key, turn)
    key = _cached(s, past_key, key, places, new_key)
    value = _cached(s, past_value, value, places, new_value)
    key, value = (_repeated(s, x, heads // shared, heads, size) for x in (key, value))
    keep = _keep(s, places, bool(op.attrs.get("causal", 1)), op.integer("local_window_size", -1))
    lowest = s.const(float(np.finfo(np.float32).min), "float32")
    attend(
        s,
        query,
        key,
        value,
        scale=scale_of(op, size),
        softcap=float(op.attrs.get("softcap", 0.0)),  # type: ignore[arg-type]
        mask=s.op("Where", keep, added or s.const(0, "float32"), lowest),
        keep=keep if op.integer("local_window_size", -1) > 0 else "",
        width=heads * size,
        into=output,
    )
    return s.done()


def _head_size(graph: Graph, op: Op, separate: bool) -> int | None:
    heads, shared = op.integer("num_heads", 0), op.integer("kv_num_heads", 0)
    width = dim_of(graph, op.inputs[0], 2)
    parts = heads if separate else heads + 2 * shared
    if width is None or heads < 1 or shared < 1 or width % parts:
        return None
    return width // parts


def _places(s: Spelling, query: str, lengths: str, total: str) -> _Places:
    """lengths: int32 [B] or [B, 1], index of the last key of each row; total: int32, one number."""
    count = s.size(query, 1)
    longest = s.op("Reshape", s.cast(total, "int64"), s.ints(1))
    last = s.op("Reshape", s.cast(lengths, "int64"), s.ints(-1, 1))
    ends = s.op("Add", last, s.ints(1))
    fresh = s.op("Equal", longest, count)  # nothing was there before
    first = s.op("Where", fresh, s.ints(0), s.op("Sub", ends, count))
    steps = s.op("Range", s.const(0, "int64"), s.op("Squeeze", count), s.const(1, "int64"))
    return _Places(longest, ends, first, s.op("Add", first, steps))


def _cached(s: Spelling, past: str, new: str, places: _Places, into: str) -> str:
    """The keys (or values) attended to: new ones put where they belong behind the earlier ones.

    into: the cache as a result, which may have room for more.
    """
    if not past:
        return s.op("Identity", new, into=into) if into else new
    room = s.size(past, 2)
    earlier = s.op(
        "Less",
        s.op("Range", s.const(0, "int64"), s.op("Squeeze", room), s.const(1, "int64")),
        places.first,
    )
    kept = s.op("Where", s.op("Unsqueeze", earlier, s.ints(1, 3)), past, s.const(0, s.dtype(past)))
    more = s.op("Sub", s.op("Max", places.total, room), room)
    grown = s.op("Pad", kept, s.op("Concat", s.ints(0, 0, 0, 0, 0, 0), more, s.ints(0), axis=0))
    rows = s.op("Expand", s.op("Unsqueeze", places.new, s.ints(1, 3)), s.op("Shape", new))
    cache = s.op("ScatterElements", grown, rows, new, into=into, axis=2)
    return s.op("Slice", cache, s.ints(0), places.total, s.ints(2))


def _repeated(s: Spelling, x: str, times: int, heads: int, size: int) -> str:
    """[B, K, T, H] as [B, N, T, H]: each head serves `times` heads of queries."""
    if times == 1:
        return x
    copies = s.op("Expand", s.op("Unsqueeze", x, s.ints(2)), s.ints(1, 1, times, 1, 1))
    return s.op("Reshape", copies, s.ints(0, heads, -1, size))


def _keep(s: Spelling, places: _Places, causal: bool, window: int) -> str:
    """bool [B, 1, S, T]: which keys a query attends to; window: how many of the latest, if > 0."""
    total = s.op("Squeeze", places.total)
    columns = s.op("Range", s.const(0, "int64"), total, s.const(1, "int64"))
    rows = s.op("Unsqueeze", places.new, s.ints(1, 3))
    keep = s.op("Less", columns, s.op("Unsqueeze", places.ends, s.ints(2, 3)))
    if causal:
        keep = s.op("And", keep, s.op("LessOrEqual", columns, rows))
    if window > 0:
        oldest = s.op("Sub", rows, s.const(window, "int64"))
        keep = s.op("And", keep, s.op("Greater", columns, oldest))
    return keep
