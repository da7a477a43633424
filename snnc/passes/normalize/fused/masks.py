"""Attention masks of the fused operators, as terms that are added to the scores.

Axes as in heads.py: B batch, S queries, T keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snnc.ir.node import Dim
from snnc.passes.normalize.spelling import Spelling, shape_of

MASKED = -10000.0
"""What the fused operators add to the scores of masked keys where no attribute says it."""


@dataclass(frozen=True)
class Scores:
    """What a mask has to fit. query, key: tensors [B, N, S, H] and [B, N, T, H]; keys: T, if known.

    masked: what is added to the scores of masked keys.
    """

    query: str
    key: str
    keys: Dim
    masked: float


def mask_term(
    s: Spelling, scores: Scores, mask: str, added: str, *, causal: bool, starts: bool
) -> str | None:
    """All that is added to the scores: of padding, of later keys, and `added` ('' for nothing).

    mask, starts: see padding_mask. None for an unknown form.
    """
    term = padding_mask(s, scores, mask, starts=starts) if mask else ""
    if term is None:
        return None
    if causal:
        term = causal_mask(s, scores, term)
    return s.op("Add", added, term) if added and term else added or term


def padding_mask(s: Spelling, scores: Scores, mask: str, *, starts: bool) -> str | None:
    """The term for an int32 mask, '' where it masks nothing; None for an unknown form.

    mask: [B, T] or [B, S, T], above 0 where keys are real; or [B], the number of real keys. starts:
    it may also be [2 B], the ends followed by the starts of the real keys; else the first B count.
    """
    shape = shape_of(s.graph, mask)
    if shape is None or not 1 <= len(shape) <= 3:
        return None
    if len(shape) == 1:
        real = _between(s, scores, mask, starts)
    elif len(shape) == 2 and shape[1] == 1:
        return ""  # one column, however many keys: no mask
    else:
        real = s.op("Greater", mask, s.const(0, "int32"))
        if len(shape) == 2 and not (
            isinstance(shape[1], int) or (shape[1] is not None and shape[1] == scores.keys)
        ):
            real = s.op("Or", real, s.op("Equal", s.size(mask, 1), s.ints(1)))
    real = s.op("Unsqueeze", real, s.ints(*((1, 2) if len(shape) < 3 else (1,))))
    dtype = s.dtype(scores.query)
    return s.op("Where", real, s.const(0, dtype), s.const(scores.masked, dtype))


def causal_mask(s: Spelling, scores: Scores, padding: str) -> str:
    """The padding term (if any) for earlier keys, the lowest number for later ones."""
    dtype = s.dtype(scores.query)
    lowest = s.const(np.finfo(np.dtype(dtype)).min, dtype)
    return s.op("Where", earlier(s, scores), padding or s.const(0, dtype), lowest)


def earlier(s: Spelling, scores: Scores) -> str:
    """bool [S, T]: whether a key is no later than a query; the last query is at the last key."""
    keys, queries = (s.op("Squeeze", s.size(v, 2)) for v in (scores.key, scores.query))
    one = s.const(1, "int64")
    rows = s.op("Range", s.op("Sub", keys, queries), keys, one)
    columns = s.op("Range", s.const(0, "int64"), keys, one)
    return s.op("LessOrEqual", columns, s.op("Unsqueeze", rows, s.ints(1)))


def _between(s: Spelling, scores: Scores, mask: str, starts: bool) -> str:
    """bool [B, T]: whether a key lies before the end, and not before the start, of its row."""
    batch, keys = s.size(scores.query, 0), s.op("Squeeze", s.size(scores.key, 2))
    places = s.op("Range", s.const(0, "int32"), s.cast(keys, "int32"), s.const(1, "int32"))
    ends = s.op("Slice", mask, s.ints(0), batch)
    real = s.op("Less", places, s.op("Unsqueeze", ends, s.ints(1)))
    if not starts:
        return real
    zeros = s.op("Expand", s.const(0, "int32"), batch)  # in place of starts that are not there
    both = s.op("Concat", mask, zeros, axis=0)
    first = s.op("Slice", both, batch, s.op("Add", batch, batch))
    return s.op("And", real, s.op("GreaterOrEqual", places, s.op("Unsqueeze", first, s.ints(1))))
