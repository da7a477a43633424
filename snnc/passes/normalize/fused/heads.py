"""Scaled dot-product attention in standard operations, the parts that every fused form shares.

Axes: B batch, S queries, T keys (past ones included), N heads, H size of a head.
"""

from __future__ import annotations

import math

from snnc.ir.node import Dim, Op
from snnc.passes.normalize.spelling import Spelling, shape_of


def split_heads(s: Spelling, x: str, heads: int, size: int) -> str:
    """[B, S, N H] as [B, N, S, H]."""
    return s.op("Transpose", s.op("Reshape", x, s.ints(0, 0, heads, size)), perm=(0, 2, 1, 3))


def with_past(s: Spelling, past: str, new: str, into: str = "") -> str:
    """Keys or values [B, N, P, H] of earlier calls, and those of this one behind them."""
    if past:
        return s.op("Concat", past, new, into=into, axis=2)
    return s.op("Identity", new, into=into) if into else new


def attend(
    s: Spelling,
    query: str,
    key: str,
    value: str,
    *,
    scale: float,
    mask: str,
    width: int,
    into: str,
    softcap: float = 0.0,
    keep: str = "",
) -> None:
    """softmax(scale Q K^T + mask) V, heads joined to [B, S, width].

    query, key, value: [B, N, S or T, H]; mask: a term added to the scores, or ''; softcap: bound c
    of the scores by c tanh(score / c), or 0; keep: bool, false where probabilities are 0 at last.
    """
    scores = s.op("MatMul", query, s.op("Transpose", key, perm=(0, 1, 3, 2)))
    scores = s.op("Mul", scores, s.const(scale, s.dtype(query)))
    if softcap:
        cap = s.const(softcap, s.dtype(query))
        scores = s.op("Mul", s.op("Tanh", s.op("Div", scores, cap)), cap)
    if mask:
        scores = s.op("Add", scores, mask)
    probabilities = s.op("Softmax", scores, axis=-1)
    if keep:
        probabilities = s.op("Where", keep, probabilities, s.const(0, s.dtype(query)))
    mixed = s.op("MatMul", probabilities, value)
    joined = s.op("Transpose", mixed, perm=(0, 2, 1, 3))
    s.op("Reshape", joined, s.ints(0, 0, width), into=into)


def scale_of(op: Op, size: int) -> float:
    """The attribute, or 1 / sqrt(size of a head) where it is absent or 0."""
    return float(op.attrs.get("scale", 0.0)) or 1 / math.sqrt(size)  # type: ignore[arg-type]


def key_count(s: Spelling, new: str, axis: int, past: str, past_axis: int) -> Dim:
    """T as far as it is known: the sizes of both tensors along those axes."""
    shapes = shape_of(s.graph, new), shape_of(s.graph, past) if past else ()
    if shapes[0] is None or shapes[1] is None:
        return None
    here, before = shapes[0][axis], shapes[1][past_axis] if past else 0
    if before == 0:
        return here
    return here + before if isinstance(here, int) and isinstance(before, int) else None
