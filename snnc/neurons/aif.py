"""Augmented integrate-and-fire neuron: polarity multi-spike (arXiv 2508.14520, eqs. 2-6)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from snnc.errors import CompileError
from snnc.ir.neuron import Parameter
from snnc.ir.node import Array, Sides
from snnc.neurons.bodies import CAPPED, CONSTANTS, FIRE, sides_of_steps
from snnc.neurons.entropy import best_bounds, fitted_normal
from snnc.neurons.uniform import GRAINS, HIGHEST, UniformNeuron, whole

WIDEST = 2**16
"""Largest spike count of `half-even`, which needs no grains: as far as 16 bits reach."""
OPEN = 2**31 - 1
"""A bound that is not given."""

FRACTIONS = np.arange(1, 65, dtype=np.float32) / 64
"""Of the largest activation: the thresholds that are tried where no Gaussian fits."""


@dataclass(frozen=True)
class AIF(UniformNeuron):
    """s = clip(floor((v + x) / theta_S), n_min, n_max), theta_S = theta / L, v(0) = theta_S / 2.

    One threshold for both signs; what a clipped spike does not carry stays in the membrane. At one
    timestep it is PQA (eq. 2). n_min, n_max: most spikes of each sign at once. L: levels up to
    theta. A bound that is not given is L, until a site has its own (`at_site`). rounding: `half-up`
    as above; `half-even` divides, rounds ties to even and clips, as QuantizeLinear does (one
    timestep; spec 0.6). bound: as of IF.
    """

    L: int = 8
    n_min: int = OPEN
    n_max: int = OPEN
    rounding: Literal["half-up", "half-even"] = "half-up"
    bound: float = float("inf")

    name: ClassVar[str] = "aif"
    equation: ClassVar[str] = "s = clip(floor((v + x)/theta), n_min, n_max); out = theta*s"
    operation = "AugmentedIntegrateFire"
    one_threshold = True
    threshold_rule = "pmsm2025"
    more_levels = "raise L (--neuron aif:L=...)"
    potential = 0.5

    def __post_init__(self) -> None:
        opened = tuple(key for key in ("n_min", "n_max") if getattr(self, key) == OPEN)
        object.__setattr__(self, "_open", opened)
        for key in opened:
            object.__setattr__(self, key, -self.L if key == "n_min" else self.L)
        self._check()
        most = HIGHEST if self.rounding == "half-up" else WIDEST
        self._check_size("L", self.L, most=most)
        self._check_size("n_max", self.n_max, least=0, most=most)
        if type(self.n_min) is not int or not -most <= self.n_min <= 0:
            raise CompileError(
                f"aif: n_min must be an integer from {-most} to 0, not {self.n_min!r}"
            )
        if self.n_min == self.n_max:
            raise CompileError("aif: with n_min = n_max = 0 it never fires", help="raise n_max")

    @property
    def given(self) -> dict[str, Parameter]:
        """Bounds are left to a site or they are not, whatever they are."""
        opened: tuple[str, ...] = self._open  # type: ignore[attr-defined]
        bounds = {"n_min", "n_max"}
        kept = (super().given.keys() - bounds) | (bounds - {*opened})
        return {k: v for k, v in self.parameters.items() if k in kept}

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

    def at_site(self, probabilities: Array, quantiles: Array, zeros: float) -> tuple[AIF, float]:
        """Threshold and bounds of PMSM (spec 3.3): theta = L sigma, where the entropy is the
        Gaussian's; where the input is not Gaussian, those of least squared error."""
        rectified = bool(quantiles[0] >= 0)
        normal = fitted_normal(probabilities, quantiles, zeros)
        if normal is None:
            theta, bounds = self._least_error(quantiles)
        else:
            mean, deviation = normal
            below = (0,) if rectified else tuple(range(-1, -self.L - 1, -1))
            above = tuple(range(1, self.L + 1))
            bounds = best_bounds(1.0, mean / deviation, below, above)
            theta = self.L * deviation
        opened: tuple[str, ...] = self._open  # type: ignore[attr-defined]
        lowest, highest = bounds
        return replace(
            self,
            n_min=lowest if "n_min" in opened else self.n_min,
            n_max=highest if "n_max" in opened else self.n_max,
        ), theta

    def _least_error(self, quantiles: Array) -> tuple[float, tuple[int, int]]:
        """Threshold of least squared error, and the levels that it uses."""
        largest = float(np.abs(quantiles).max())
        thetas = [float(f) * largest for f in FRACTIONS]
        x = np.asarray(quantiles, np.float32)
        outputs = [self.step(x, theta / self.L, theta / self.L) for theta in thetas]
        best = int(np.argmin([np.square(x - out).mean() for out in outputs]))
        theta = thetas[best]
        counts = self.count(x, theta / self.L, theta / self.L)
        low, high = int(counts.min()), int(counts.max())
        return theta, (low, high) if low < high else (-1, 1)

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
            alive = (step > 0) & np.isfinite(np.float32(1) / step)
        return np.where((x == x) & alive, levels, 0).astype(np.float32) + np.float32(0)

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
        drive = _DIVIDED[sides].format(u="u" if capped else "x")
        lines = [CONSTANTS, sides_of_steps(sides, "one", size), self._limits()]
        lines += [CAPPED] if capped else []
        level = _signed(sides, _HALF_EVEN)
        return "\n".join([*lines, drive, level, FIRE[sides].format(y=result)])

    def _level(self, sides: Sides) -> str:
        return _signed(sides, super()._level(sides))


def _signed(sides: Sides, level: str) -> str:
    """Text of a `count` that is not symmetric: of a negative branch alone, drive and count are
    sizes."""
    if sides != "negative":
        return level
    mirrored = re.sub(r"\bdrive\b", "signed_drive", re.sub(r"\bcount\b", "signed_count", level))
    return f"signed_drive = Neg (drive)\n{mirrored}\ncount = Neg (signed_count)"


_RISE = """rise = ThresholdedRelu <alpha = 0.0> ({u})
            positive_divisor = Where (positive_dead, one, positive)
            risen = Div (rise, positive_divisor)"""
_FALL = """down = Neg ({u})
            fall = ThresholdedRelu <alpha = 0.0> (down)
            negative_divisor = Where (negative_dead, one, negative)
            fallen = Div (fall, negative_divisor)"""
_DIVIDED: dict[Sides, str] = {
    "both": f"{_RISE}\n{_FALL}\n drive = Sub (risen, fallen)",
    "positive": f"{_RISE}\n drive = Identity (risen)",
    "negative": f"{_FALL}\n drive = Identity (fallen)",
}
"""The input in steps, NaN as 0; of a negative branch alone its size."""

_HALF_EVEN = """rounded = Round (drive)
             clipped = Clip (rounded, lowest, highest)
             count = Sum (clipped, zero)"""
"""QuantizeLinear's own decision: division, ties to even. Sum: -0.0 becomes 0.0."""
