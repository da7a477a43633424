"""Sets of spike counts of the Scale-and-Fire Neuron, and their parts of its function body."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from snnc.ir.node import Array, Sides

Levels: TypeAlias = Literal["dense", "sformer", "linear", "exponential", "fitted"]
Rule: TypeAlias = Literal["nearest", "eq11"]

MAX_M = 10
"""Largest M: every half-step count of every level set stays an exact float32 integer."""

MAX_TOP = 2 ** (2 * MAX_M - 1)
"""The largest level for which that holds."""

MAX_N = 1024
"""Most fitted levels."""

FITTED = (32, 12, 4)
"""N, K and S where none are given: about as far as sformer's levels of M = 8 reach."""

WITHOUT_GAPS: tuple[Levels, ...] = ("dense", "linear")
"""Level sets of all integers up to the largest: any of them can be the largest."""


def values_of(levels: Levels, m: int) -> Array:
    """The positive levels of a set of size M in ascending order (float32 integers)."""
    values = {
        "dense": range(1, m + 2**m),
        "sformer": [*range(1, m + 1), *(m - 1 + 2**k for k in range(1, m + 1))],
        "linear": range(1, 2 * m + 1),
        "exponential": [2**k for k in range(2 * m)],
    }
    return np.array(values[levels], np.float32)


def fitted_top(n: int, k: int, s: int) -> int:
    """The largest of N levels: K + S (2 + 4 + .. + 2^q) + r 2^(q+1), N - K = q S + r, r < S."""
    q, r = divmod(n - k, s)
    return k + s * ((2 << q) - 2) + r * (2 << q)


def fitted_values(n: int, k: int, s: int) -> Array:
    """N levels (float32 integers): 1 .. K, then gaps of 2 for S levels, of 4 for the next S ..."""
    gaps = np.concatenate([np.ones(k), 2.0 ** (1 + np.arange(n - k) // s)])
    return np.asarray(gaps.cumsum(), np.float32)


def sizes_body(levels: Levels) -> str:
    """The sizes of a set as numbers."""
    return "\n".join(
        f"{size.lower()}_int = Constant <value_int: int = @{size}> ()\n"
        f"{size.lower()} = Cast <to = 1> ({size.lower()}_int)"
        for size in ("NKS" if levels == "fitted" else "M")
    )


def top_body(levels: Levels, top: str) -> str:
    """The largest level, as the value `top`."""
    if levels == "linear":
        return f"{top} = Mul (two, m)"
    if levels == "exponential":
        return f"twice = Mul (two, m)\n bits = Sub (twice, one)\n {top} = Pow (two, bits)"
    if levels == "fitted":
        return _FITTED_TOP
    return f"power = Pow (two, m)\n below_m = Sub (m, one)\n {top} = Add (below_m, power)"


def level_body(levels: Levels, rule: Rule, sides: Sides) -> str:
    """Signed count from half steps: h/2 rounded up by a factor just above 1/2, so that no odd h
    is a tie of Round (h to 2^20, spec 0.6); with gaps, the level of |h|."""
    if levels in WITHOUT_GAPS:
        return "halved = DequantizeLinear (whole, up_to_half)\n count = Round (halved)"
    signed = "sign = Sign (signed_h)\n count = Mul (level, sign)"
    return f"""signed_h = Cast <to = 1> (whole)
               h = Abs (signed_h)
               halved = Mul (h, up_to_half)
               rounded = Round (halved)
               {_fitted(rule) if levels == "fitted" else _doubling(levels, rule)}
               contiguous = Min (rounded, offset)
               level = Add (contiguous, beyond)
               {signed if sides == "both" else "count = Identity (level)"}"""


def _doubling(levels: Levels, rule: Rule) -> str:
    """Of gaps that double from level to level: the power of two above the contiguous levels."""
    offset = "offset = Sub (m, one)" if levels == "sformer" else "offset = Identity (zero)"
    if rule == "nearest":
        above, scale = "twice_offset = Mul (two, offset)\n above = Sub (h, twice_offset)", 0.5
    else:
        above, scale = "above = Sub (rounded, offset)", 0.75
    return f"{offset}\n {above}\n {_power_of_two(scale)}\n beyond = Ceil (power_of_two)"


def _fitted(rule: Rule) -> str:
    """Of gaps that double every S levels: the multiple of the gap above the contiguous levels,
    a power of two, so that nothing but Floor rounds."""
    if rule == "nearest":
        above = "half_steps = Mul (h, half)\n above = Sub (half_steps, offset)"
        whole = "to_floor = Add (gaps, half)\n whole_gaps = Floor (to_floor)"
    else:
        above, whole = "above = Sub (rounded, offset)", "whole_gaps = Floor (gaps)"
    return f"""half = Constant <value_float = 0.5> ()
               twice_s = Mul (two, s)
               offset = Sub (k, twice_s)
               {above}
               {_power_of_two(0.75)}
               gap_or_less = Div (power_of_two, s)
               gap = Max (gap_or_less, one)
               gaps = Div (r, gap)
               {whole}
               beyond = Mul (whole_gaps, gap)"""


def _power_of_two(scale: float) -> str:
    """b is r scaled so that rounding it to the nearest power of two gives the wanted one;
    b + big*b - big*b does that rounding in float32 (Veltkamp splitting at one bit)."""
    factor = float(np.float32(scale * (1 + 2.0**-22)))
    return f"""r = Relu (above)
               factor = Constant <value_float = {factor!r}> ()
               b = Mul (r, factor)
               big = Constant <value_float = 8388609.0> ()
               g = Mul (b, big)
               rest = Sub (b, g)
               power_of_two = Add (g, rest)"""


_FITTED_TOP = """gapped = Sub (n, k)
                 octaves_and_part = Div (gapped, s)
                 octaves = Floor (octaves_and_part)
                 in_octaves = Mul (octaves, s)
                 left = Sub (gapped, in_octaves)
                 last_gap = Pow (two, octaves)
                 next_gap = Mul (last_gap, two)
                 gaps_of_octaves = Sub (next_gap, two)
                 full = Mul (gaps_of_octaves, s)
                 part = Mul (left, next_gap)
                 to_full = Add (k, full)
                 top = Add (to_full, part)"""
