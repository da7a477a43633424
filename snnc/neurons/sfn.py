"""Scale-and-Fire Neuron: one timestep, many levels (arXiv 2510.23383, eqs. 8-16)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

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
from snnc.neurons.level_sets import (
    FITTED,
    MAX_M,
    MAX_N,
    MAX_TOP,
    WITHOUT_GAPS,
    Levels,
    Rule,
    fitted_top,
    fitted_values,
    level_body,
    sizes_body,
    top_body,
    values_of,
)


@dataclass(frozen=True)
class SFN(RateNeuron):
    """Emits step x y, y the level that the input reaches, with the sign of the input.

    M: size of the level set. levels: `sformer` 1..M then M-1+2^(k-M) for k = M+1..2M (eq. 12),
    `dense` every integer up to sformer's largest, `linear` 1..2M, `exponential` 1, 2, 4 .. 2^(2M-1)
    (fire functions of Table 5), `fitted` N of them: 1..K, then S at gaps of 2, S at gaps of 4 ...
    (N, K, S: of fitted levels only, in place of M; S a power of two). rule: level k fires at
    y_k - 1/2 steps (`eq11`) or half-way from the level below (`nearest`). bound: inputs above it
    fire as it does (an absorbed ReLU6). limit: levels above it are left out, 0 for none (dense and
    linear levels only).

    Decided in float32 half steps (spec 0.6): h = floor(min(|x| * (2/step), 2 y_max)); level k
    fires iff h >= 2 y_k - 1 (eq11) or h >= y_k + y_(k-1) (nearest). Ties fire; NaN counts 0.
    """

    M: int = 8
    rule: Rule = "nearest"
    levels: Levels = "dense"
    bound: float = float("inf")
    limit: int = 0
    N: int = 0
    K: int = 0
    S: int = 0

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
        self._check_sizes()

    def _check_sizes(self) -> None:
        given = (self.N, self.K, self.S)
        if self.levels != "fitted":
            if given != (0, 0, 0):
                raise CompileError(
                    f"sfn: N, K and S are sizes of fitted levels, not of {self.levels} ones",
                    help="take levels=fitted, or M",
                )
            return
        if self.M != type(self).M:
            raise CompileError(
                "sfn: fitted levels have sizes N, K and S, not M",
                help="write sfn:levels=fitted:N=32:K=12:S=4, say",
            )
        object.__setattr__(self, "more_levels", "raise N of its levels")
        if given == (0, 0, 0):
            for name, size in zip("NKS", FITTED, strict=True):
                object.__setattr__(self, name, size)
        for name, most in (("N", MAX_N), ("K", self.N), ("S", MAX_N)):
            size = getattr(self, name)
            if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= most:
                raise CompileError(f"sfn: {name} must be an integer from 1 to {most}, not {size!r}")
        if self.S & (self.S - 1):
            raise CompileError(f"sfn: S must be a power of two, not {self.S}")
        if fitted_top(self.N, self.K, self.S) > MAX_TOP:
            raise CompileError(
                f"sfn: fitted levels of N = {self.N}, K = {self.K}, S = {self.S} reach beyond "
                f"{MAX_TOP}, where half steps are no longer exact",
                help="take a smaller N, or a larger K or S",
            )

    @property
    def parameters(self) -> dict[str, Parameter]:
        """A limit is one only where there is one; fitted levels have sizes of their own."""
        absent = {"M"} if self.levels == "fitted" else {"N", "K", "S"}
        absent |= set() if self.limit else {"limit"}
        return {k: v for k, v in super().parameters.items() if k not in absent}

    @cached_property
    def level_values(self) -> Array:
        """The positive levels y_k in ascending order (float32 integers)."""
        if self.levels == "fitted":
            return fitted_values(self.N, self.K, self.S)
        every = values_of(self.levels, self.M)
        return every[every <= self.limit] if self.limit else every

    @property
    def top(self) -> int:
        """The largest level y_max."""
        return int(self.level_values[-1])

    def levels_between(self, lowest: int, highest: int) -> int:
        y = self.level_values
        return 1 + int(np.count_nonzero(y <= highest) + np.count_nonzero(y <= -lowest))

    @cached_property
    def half_steps(self) -> Array:
        """Where each level starts to fire, in half steps (float32 integers)."""
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
            drive = np.abs(x) * inverse
            h = np.floor(np.minimum(drive, np.float32(2 * self.top)))
        levels = np.concatenate([np.zeros(1, np.float32), self.level_values])
        fired = np.where(drive >= 1, h, np.float32(0))
        y = levels[np.searchsorted(self.half_steps, fired, side="right")]
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
        wider = replace(self, M=MAX_M) if self.levels == "dense" else self
        return wider if wider.top > self.top else None

    def at_most(self, count: int) -> SFN:
        """Dense levels beyond M = 8 are refused: at no site would the next ones exist. The largest
        fitted ones are left out."""
        if self.top <= count:
            return self
        if self.levels == "fitted":
            fewer = int(np.count_nonzero(self.level_values <= count))
            return replace(self, N=fewer, K=min(self.K, fewer))
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
        top = top_body(self.levels, "last" if self.limit else "top")
        constants = [CONSTANTS, _UP_TO_HALF, sizes_body(self.levels), top]
        if self.limit:
            constants.append(_LIMITED)
        level = level_body(self.levels, self.rule, sides)
        return "\n".join(
            [*constants, self._drive(sides, size), level, FIRE[sides].format(y=result)]
        )

    def _drive(self, sides: Sides, size: str) -> str:
        """Half steps of the input."""
        lines = [sides_of_steps(sides, "two", size)]
        capped = np.isfinite(self.bound)
        if capped:
            lines.append(CAPPED)
        return "\n".join([*lines, DRIVE[sides].format(u="u" if capped else "x"), _WHOLE])


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
