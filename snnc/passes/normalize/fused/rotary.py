"""Rotary position embedding (RoPE): pairs of entries of a head, turned by their position."""

from __future__ import annotations

from dataclasses import dataclass

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op
from snnc.passes.normalize.spelling import Spelling, dim_of, shape_of


def spell_rotary(graph: Graph, op: Op) -> Replacement | None:
    """RotaryEmbedding of [B, S, N H] or [B, N, S, H]; positions [B, S], or the first one, [1].

    Left alone: ragged batches and scaled angles, which onnxruntime's kernel overlooks.
    """
    x, positions, cos, sin = op.inputs
    rank, form = (len(shape_of(graph, v) or ()) for v in (x, positions))
    pairs, turned = dim_of(graph, cos, 1), op.integer("rotary_embedding_dim", 0)
    if op.attrs.get("is_packed_batching", 0) or op.attrs.get("scale", 1.0) != 1.0:
        return None
    if rank not in (3, 4) or form not in (1, 2) or pairs is None or turned not in (0, 2 * pairs):
        return None
    size = _head_size(graph, op, pairs)
    if size is None or size < 2 * pairs:
        return None
    s = Spelling(graph, op)
    at = positions
    if form == 1:
        length = s.op("Squeeze", s.size(x, 1 if rank == 3 else 2))
        at = s.op("Add", positions, s.op("Range", s.const(0, "int64"), length, s.const(1, "int64")))
    heads = x if rank == 4 else s.op("Reshape", x, s.ints(0, 0, -1, size))
    axis = 2 if rank == 3 else 1  # of the heads
    cos, sin = (
        s.op("Unsqueeze", s.op("Gather", table, at, axis=0), s.ints(axis - (form == 1)))
        for table in (cos, sin)
    )
    turn = Turn(cos, sin, pairs, size, bool(op.attrs.get("interleaved", 0)))
    heads = rotate(s, heads, turn, into=op.outputs[0] if rank == 4 else "")
    if rank == 3:
        s.op("Reshape", heads, s.op("Shape", x), into=op.outputs[0])
    return s.done()


@dataclass(frozen=True)
class Turn:
    """How heads of `size` entries (the last axis) are turned.

    cos, sin: values whose last axis has `pairs` entries, and that broadcast along the others;
    interleaved: a pair is two neighbours, else entries i and i + pairs.
    """

    cos: str
    sin: str
    pairs: int
    size: int
    interleaved: bool


def rotate(s: Spelling, x: str, turn: Turn, into: str = "") -> str:
    """`x`, of four axes, with the pairs (a, b) at its front turned: (a c - b s, b c + a s)."""
    cos, sin, pairs = turn.cos, turn.sin, turn.pairs
    rest = turn.size - 2 * pairs
    x, *tail = s.split(x, (2 * pairs, rest), axis=-1) if rest else (x,)
    if turn.interleaved:
        a, b = (
            s.op("Slice", x, s.ints(i), s.ints(2 * pairs), s.ints(3), s.ints(2)) for i in (0, 1)
        )
    else:
        a, b = s.split(x, (pairs, pairs), axis=-1)
    left = s.op("Sub", s.op("Mul", a, cos), s.op("Mul", b, sin))
    right = s.op("Add", s.op("Mul", b, cos), s.op("Mul", a, sin))
    if not turn.interleaved:
        return s.op("Concat", left, right, *tail, into=into, axis=-1)
    neighbours = (s.op("Unsqueeze", part, s.ints(4)) for part in (left, right))
    both = s.op("Concat", *neighbours, axis=4)
    turned = s.op("Reshape", both, s.ints(0, 0, 0, 2 * pairs), into="" if tail else into)
    return s.op("Concat", turned, *tail, into=into, axis=-1) if tail else turned


def _head_size(graph: Graph, op: Op, pairs: int) -> int | None:
    """Entries of a head: as turned, or where only a part is, as the number of heads says."""
    if len(shape_of(graph, op.inputs[0]) or ()) == 4:
        return dim_of(graph, op.inputs[0], 3)
    heads, width = op.integer("num_heads", 0), dim_of(graph, op.inputs[0], 2)
    if not op.integer("rotary_embedding_dim", 0):
        return 2 * pairs
    return None if width is None or heads < 1 or width % heads else width // heads
