"""Scale-and-Fire Neuron: one timestep, many levels (arXiv 2510.23383, eqs. 8-16)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from snnc.errors import CompileError
from snnc.ir.neuron import Parameter
from snnc.ir.node import Array, Sides
from snnc.ir.numbers import real_number
from snnc.ir.rate_neuron import LARGEST_COUNT, ZERO_POINT, RateNeuron
from snnc.neurons.bodies import (
    CAPPED,
    CONSTANTS,
    COUNT,
    DRIVE,
    FIRE,
    SILENT,
    SILENT_COUNT,
    sides_of_steps,
)

Levels: TypeAlias = Literal["dense", "sformer", "linear", "exponential"]

MAX_M = 10
"""Largest M: every half-step count of every level set stays an exact float32 integer."""

WITHOUT_GAPS: tuple[Levels, ...] = ("dense", "linear")
"""Level sets of all integers up to the largest: any of them can be the largest."""


@dataclass(frozen=True)
class SFN(RateNeuron):
    """Emits step x y, y the level that the input reaches, with the sign of the input.

    M: size of the level set. levels: `sformer` 1..M then M-1+2^(k-M) for k = M+1..2M (eq. 12),
    `dense` every integer up to sformer's largest, `linear` 1..2M, `exponential` 1, 2, 4 .. 2^(2M-1)
    (fire functions of Table 5). rule: level k fires at y_k - 1/2 steps (`eq11`) or half-way from
    the level below (`nearest`). bound: inputs above it fire as it does (an absorbed ReLU6).
    limit: levels above it are left out, 0 for none (dense and linear levels only).

    Decided in float32 half steps (spec 0.6): h = floor(min(|x| * (2/step), 2 y_max)); level k
    fires iff h >= 2 y_k - 1 (eq11) or h >= y_k + y_(k-1) (nearest). Ties fire; NaN counts 0.
    """

    M: int = 8
    rule: Literal["nearest", "eq11"] = "nearest"
    levels: Levels = "dense"
    bound: float = float("inf")
    limit: int = 0

    name: ClassVar[str] = "sfn"
    more_levels = "raise --m"
    equation: ClassVar[str] = "y = max{y_k : h >= threshold_k}, h = floor(2|x|/step); out = step*y"

    def __post_init__(self) -> None:
        self._check_choices()
        if isinstance(self.M, bool) or not isinstance(self.M, int) or not 1 <= self.M <= MAX_M:
            raise CompileError(f"sfn: M must be an integer from 1 to {MAX_M}, not {self.M!r}")
        if not real_number(self.bound, "sfn: bound") > 0:
            raise CompileError(f"sfn: bound must be positive, not {self.bound}")
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 0:
            raise CompileError(f"sfn: limit must be an integer from 0 on, not {self.limit!r}")
        if self.limit and self.levels not in WITHOUT_GAPS:
            raise CompileError(
                f"sfn: {self.levels} levels have gaps, so none of them can be left out",
                help=f"take {' or '.join(WITHOUT_GAPS)} levels, or limit 0",
            )

    @property
    def parameters(self) -> dict[str, Parameter]:
        """A limit is one only where there is one."""
        return {k: v for k, v in super().parameters.items() if k != "limit" or v}

    @cached_property
    def level_values(self) -> Array:
        """The positive levels y_k in ascending order (float32 integers)."""
        m = self.M
        values = {
            "dense": range(1, m + 2**m),
            "sformer": [*range(1, m + 1), *(m - 1 + 2**k for k in range(1, m + 1))],
            "linear": range(1, 2 * m + 1),
            "exponential": [2**k for k in range(2 * m)],
        }
        every = np.array(values[self.levels], np.float32)
        return every[every <= self.limit] if self.limit else every

    @property
    def top(self) -> int:
        """The largest level y_max."""
        return int(self.level_values[-1])

    def levels_between(self, lowest: int, highest: int) -> int:
        y = self.level_values
        return 1 + int(np.count_nonzero(y <= highest) + np.count_nonzero(y <= -lowest))

    @cached_property
    def _thresholds(self) -> Array:
        y = self.level_values
        if self.rule == "eq11":
            return np.asarray(2 * y - 1)
        return np.asarray(y + np.concatenate([np.zeros(1, np.float32), y[:-1]]))

    def count(
        self, x: Array, positive: float | Array = 0.0, negative: float | Array = 0.0
    ) -> Array:
        x = np.minimum(np.asarray(x, np.float32), np.float32(self.bound))
        below = x < 0
        with np.errstate(all="ignore"):
            inverse = np.where(below, _inverse(negative), _inverse(positive))
            half_steps = np.abs(x) * inverse
            h = np.floor(np.minimum(half_steps, np.float32(2 * self.top)))
        levels = np.concatenate([np.zeros(1, np.float32), self.level_values])
        fired = np.where(half_steps >= 1, h, np.float32(0))
        y = levels[np.searchsorted(self._thresholds, fired, side="right")]
        return np.asarray(np.where(below, -y, y) + np.float32(0))

    def step_of(self, theta: float, scale: float) -> float:
        """lambda * theta (eq. 8)."""
        return scale * theta

    def softmax_step(self, maximum: float) -> float:
        """maximum / y_max, without lambda (eqs. 15-16)."""
        return maximum / self.top

    def smallest_step(self, seen: float) -> float:
        """seen / y_max for dense levels, which so never saturate on what calibration saw.

        Lambda alone decides with the paper's own levels (eq. 8).
        """
        return seen / self.top if self.levels == "dense" else 0.0

    def wider(self) -> SFN | None:
        wider = replace(self, M=MAX_M)
        return wider if self.levels == "dense" and wider.top > self.top else None

    def at_most(self, count: int) -> SFN:
        """Dense levels beyond M = 8 are refused: at no site would the next ones exist."""
        if self.top <= count:
            return self
        if self.levels in WITHOUT_GAPS and self.top < 2 * LARGEST_COUNT["positive"]:
            return replace(self, limit=count)
        fitting = (m for m in range(1, self.M) if replace(self, M=m).top <= count)
        other = "no M of your own" if self.levels in WITHOUT_GAPS else "dense levels"
        raise CompileError(
            f"{self.levels} levels of M = {self.M} reach {self.top}, integer synapses take spike "
            f"counts up to {count}",
            help=f"take M = {max(fitting, default=1)}, {other}, or float synapses",
        )

    def bounded(self, bound: float) -> SFN:
        return replace(self, bound=float(np.float32(bound)))

    def error_bound(self, magnitude: Array, step: float) -> Array:
        gaps = np.diff(self.level_values, prepend=0.0)
        errors = gaps / 2 if self.rule == "nearest" else np.maximum(gaps - 0.5, 0.5)
        worst = np.maximum.accumulate(errors)
        reached = np.searchsorted(self.level_values, np.asarray(magnitude) / step)
        inside = worst[np.minimum(reached, len(worst) - 1)] * step
        return np.maximum(inside, magnitude - self.top * step)

    def function(self, sides: Sides) -> tuple[str, str]:
        if sides == "silent":
            return self._name(sides), SILENT
        return self._name(sides), self._body(sides, "{sign}", "y")

    def count_function(self, sides: Sides) -> tuple[str, str]:
        name = f"{self._name(sides)}Count"
        if sides == "silent":
            return name, SILENT_COUNT
        counted = COUNT.format(zero_point=float(ZERO_POINT[sides]))
        return name, "\n".join([self._body(sides, "one", "counted"), counted])

    def fuses(self, sides: Sides) -> bool:
        return self.levels == "dense" and sides in ("both", "positive")

    def _name(self, sides: Sides) -> str:
        rule = "nearest" if self.levels in WITHOUT_GAPS else self.rule  # where both decide alike
        name = f"Sfn{self.levels.capitalize()}{rule.capitalize()}{sides.capitalize()}"
        return name + "Capped" * bool(np.isfinite(self.bound)) + "Limited" * bool(self.limit)

    def _body(self, sides: Sides, size: str, result: str) -> str:
        """size: of a spike of each {sign}, a value of the body; result: name of what is emitted."""
        constants = [CONSTANTS, _UP_TO_HALF, _SIZES]
        parts = [*constants, self._top(), self._drive(sides, size), self._level(sides)]
        return "\n".join([*parts, FIRE[sides].format(y=result)])

    def _top(self) -> str:
        top = "last" if self.limit else "top"
        if self.levels == "linear":
            lines = f"{top} = Mul (two, m)"
        elif self.levels == "exponential":
            lines = f"twice = Mul (two, m)\n bits = Sub (twice, one)\n {top} = Pow (two, bits)"
        else:
            lines = f"power = Pow (two, m)\n below_m = Sub (m, one)\n {top} = Add (below_m, power)"
        return f"{lines}\n{_LIMITED}" if self.limit else lines

    def _drive(self, sides: Sides, size: str) -> str:
        """Half steps of the input."""
        lines = [sides_of_steps(sides, "two", size)]
        capped = np.isfinite(self.bound)
        if capped:
            lines.append(CAPPED)
        return "\n".join([*lines, DRIVE[sides].format(u="u" if capped else "x"), _WHOLE])

    def _level(self, sides: Sides) -> str:
        """Signed count from half steps: n = h/2 rounded up by a factor just above 1/2, so that no
        odd h is a tie of Round (h to 2^20, spec 0.6); with gaps, the level of |h|.

        Where gaps double, the power of two comes from rounding to one bit: b is r scaled so that
        rounding it to the nearest power of two gives the wanted one; b + big*b - big*b does that
        rounding in float32 (Veltkamp splitting at one bit).
        """
        if self.levels in WITHOUT_GAPS:
            return "halved = DequantizeLinear (whole, up_to_half)\n count = Round (halved)"
        offset = "offset = Sub (m, one)" if self.levels == "sformer" else "offset = Identity (zero)"
        if self.rule == "nearest":
            above, scale = "twice_offset = Mul (two, offset)\n above = Sub (h, twice_offset)", 0.5
        else:
            above, scale = "above = Sub (n, offset)", 0.75
        factor = float(np.float32(scale * (1 + 2.0**-22)))
        signed = "sign = Sign (signed_h)\n count = Mul (level, sign)"
        return f"""signed_h = Cast <to = 1> (whole)
                   h = Abs (signed_h)
                   halved = Mul (h, up_to_half)
                   n = Round (halved)
                   {offset}
                   {above}
                   r = Relu (above)
                   factor = Constant <value_float = {factor!r}> ()
                   b = Mul (r, factor)
                   big = Constant <value_float = 8388609.0> ()
                   g = Mul (b, big)
                   rest = Sub (b, g)
                   power_of_two = Add (g, rest)
                   doubling = Ceil (power_of_two)
                   contiguous = Min (n, offset)
                   level = Add (contiguous, doubling)
                   {signed if sides == "both" else "count = Identity (level)"}"""


_SIZES = """m_int = Constant <value_int: int = @M> ()
            m = Cast <to = 1> (m_int)"""

_UP_TO_HALF = "up_to_half = Constant <value_float = 0.5000002384185791> ()"

_LIMITED = """highest_int = Constant <value_int: int = @limit> ()
              highest = Cast <to = 1> (highest_int)
              top = Min (last, highest)"""

_WHOLE = """twice_top = Mul (two, top)
            lowest = Neg (twice_top)
            limited = Clip (drive, lowest, twice_top)
            whole = Cast <to = 6> (limited)"""
"""Half steps with the sign of the input, at most 2 y_max, towards zero (int32)."""


def _inverse(step: float | Array) -> Array:
    """2/step in float32, 0 where the branch is dead (step 0) or the inverse not finite."""
    single = np.asarray(step, np.float32)
    with np.errstate(all="ignore"):
        inverse = np.float32(2) / single
    return np.where(np.isfinite(inverse), inverse, np.float32(0)).astype(np.float32)
