"""Augmented integrate-and-fire neuron: polarity multi-spike (arXiv 2508.14520, eqs. 2-6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from snnc.errors import CompileError
from snnc.ir.node import Array, Sides
from snnc.neurons.bodies import CAPPED, CONSTANTS, FIRE, sides_of_steps
from snnc.neurons.uniform import GRAINS, HIGHEST, UniformNeuron, whole


@dataclass(frozen=True)
class AIF(UniformNeuron):
    """s = clip(floor((v + x) / theta_S), n_min, n_max), theta_S = theta / L, v(0) = theta_S / 2.

    One threshold for both signs; what a clipped spike does not carry stays in the membrane. At one
    timestep it is PQA (eq. 2). n_min, n_max: most spikes of each sign at once. L: levels up to
    theta. rounding: `half-up` as above; `half-even` divides, rounds ties to even and clips, as
    QuantizeLinear does (one timestep; spec 0.6). bound: as of IF.
    """

    L: int = 8
    n_min: int = -8
    n_max: int = 8
    rounding: Literal["half-up", "half-even"] = "half-up"
    bound: float = float("inf")

    name: ClassVar[str] = "aif"
    equation: ClassVar[str] = "s = clip(floor((v + x)/theta), n_min, n_max); out = theta*s"
    operation = "AugmentedIntegrateFire"
    one_threshold = True
    potential = 0.5

    def __post_init__(self) -> None:
        self._check()
        self._check_size("L", self.L)
        self._check_size("n_max", self.n_max, least=0)
        if isinstance(self.n_min, bool) or not -HIGHEST <= self.n_min <= 0:
            raise CompileError(
                f"aif: n_min must be an integer from {-HIGHEST} to 0, not {self.n_min!r}"
            )
        if self.n_min == self.n_max:
            raise CompileError("aif: with n_min = n_max = 0 it never fires", help="raise n_max")

    @property
    def lowest(self) -> int:
        return self.n_min

    @property
    def highest(self) -> int:
        return self.n_max

    @property
    def top(self) -> int:
        return max(self.n_max, -self.n_min)

    def step_of(self, theta: float, scale: float) -> float:
        """lambda * theta / L."""
        return scale * theta / self.L

    def softmax_step(self, maximum: float) -> float:
        """maximum / n_max, without lambda (eqs. 15-16)."""
        return maximum / max(self.n_max, 1)

    def error_bound(self, magnitude: Array, step: float) -> Array:
        least = min(self.n_max, -self.n_min)
        return np.maximum(step / 2, magnitude - least * step)

    def count(
        self, x: Array, positive: float | Array = 0.0, negative: float | Array = 0.0
    ) -> Array:
        if self.rounding == "half-up":
            return super().count(x, positive, negative)
        x = np.minimum(np.asarray(x, np.float32), np.float32(self.bound))
        step = np.where(x < 0, np.float32(negative), np.float32(positive)).astype(np.float32)
        with np.errstate(all="ignore"):
            levels = np.clip(np.rint(x / step), self.n_min, self.n_max)
        return np.where((x == x) & (step > 0), levels, 0).astype(np.float32) + np.float32(0)

    def _name(self, sides: Sides) -> str:
        return super()._name(sides) + "HalfEven" * (self.rounding == "half-even")

    @property
    def _charge(self) -> str:
        return f"charge = Constant <value_float = {GRAINS / 2}> ()"

    def _limits(self) -> str:
        return f"{whole('lowest', 'n_min')}\n{whole('highest', 'n_max')}"

    def _body(self, sides: Sides, size: str, result: str) -> str:
        if self.rounding == "half-up":
            return super()._body(sides, size, result)
        capped = np.isfinite(self.bound)
        clean = _CLEAN[sides].format(u="u" if capped else "x")
        lines = [CONSTANTS, sides_of_steps(sides, "one", size), self._limits()]
        lines += [CAPPED] if capped else []
        step = "negative" if sides == "negative" else "positive"
        level = _signed(sides, _HALF_EVEN.format(step=step))
        return "\n".join([*lines, clean, level, FIRE[sides].format(y=result)])

    def _level(self, sides: Sides) -> str:
        return _signed(sides, super()._level(sides))


def _signed(sides: Sides, level: str) -> str:
    """Text of a `count` that is not symmetric: of a negative branch alone, drive and count are
    sizes."""
    if sides != "negative":
        return level
    mirrored = re.sub(r"\bdrive\b", "signed_drive", re.sub(r"\bcount\b", "signed_count", level))
    return f"signed_drive = Neg (drive)\n{mirrored}\ncount = Neg (signed_count)"


_CLEAN: dict[Sides, str] = {
    "both": """rise = ThresholdedRelu <alpha = 0.0> ({u})
            down = Neg ({u})
            fall = ThresholdedRelu <alpha = 0.0> (down)
            drive = Sub (rise, fall)""",
    "positive": "drive = ThresholdedRelu <alpha = 0.0> ({u})",
    "negative": """down = Neg ({u})
            drive = ThresholdedRelu <alpha = 0.0> (down)""",
}
"""The input without NaN; of a negative branch alone its size."""

_HALF_EVEN = """divisor = Where ({step}_dead, one, {step})
             divided = Div (drive, divisor)
             rounded = Round (divided)
             count = Clip (rounded, lowest, highest)"""
"""QuantizeLinear's own decision: division, ties to even."""
