"""Neurons whose levels lie one threshold apart: what integrate-and-fire and its relatives share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snnc.errors import CompileError
from snnc.ir.node import Array, Sides
from snnc.ir.numbers import real_number
from snnc.ir.rate_neuron import ZERO_POINT, RateNeuron
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

GRAINS = 256
"""Parts of a threshold in which decisions are made: a power of two, so that they are exact."""

HIGHEST = 2**15
"""Largest spike count: grains of it stay exact float32 integers."""


class UniformNeuron(RateNeuron):
    """count = clip(floor((x + v(0)) / theta), lowest, highest), theta the step of the sign of x.

    Decided in float32 grains of 1/256 threshold (spec 0.6): h = floor(x * (256/theta)) and count =
    clip((h + 256 v(0)/theta) div 256). Ties fire; NaN counts 0; a dead branch (step 0) drives 0.
    Subclasses are dataclasses with the fields potential (v(0) / theta) and bound.
    """

    potential: float
    bound: float

    @property
    def lowest(self) -> int:
        """The smallest spike count."""
        return 0

    @property
    def highest(self) -> int:
        """The largest spike count."""
        return self.top

    @property
    def operation(self) -> str:
        """What the names of the model's operations start with."""
        return type(self).__name__

    def _check(self) -> None:
        """Raises CompileError for parameters out of range."""
        self._check_choices()
        for name in ("potential", "bound"):
            if name in self.parameters:  # an integer is no attribute of type float
                value = real_number(getattr(self, name), f"{self.name}: {name}")
                object.__setattr__(self, name, value)
        grains = self.potential * GRAINS
        if not (0 <= self.potential < 1 and grains == int(grains)):
            raise CompileError(
                f"{self.name}: the initial potential must be from 0 to below 1 thresholds, in "
                f"steps of 1/{GRAINS}, not {self.potential}",
                help="0.5 rounds to nearest, 0 rounds down",
            )
        if not self.bound > 0:
            raise CompileError(f"{self.name}: bound must be positive, not {self.bound}")

    def _check_size(self, key: str, size: int, least: int = 1, most: int = HIGHEST) -> None:
        whole = isinstance(size, int) and not isinstance(size, bool)
        if not whole or not least <= size <= most:
            raise CompileError(
                f"{self.name}: {key} must be an integer from {least} to {most}, not {size!r}"
            )

    def count(
        self, x: Array, positive: float | Array = 0.0, negative: float | Array = 0.0
    ) -> Array:
        return self._levels(self._drive(x, positive, negative))

    def _drive(self, x: Array, positive: float | Array, negative: float | Array) -> Array:
        """The input in grains, NaN as 0."""
        x = np.minimum(np.asarray(x, np.float32), np.float32(self.bound))
        with np.errstate(all="ignore"):
            inverse = np.where(x < 0, _inverse(negative), _inverse(positive))
            drive = x * inverse
        return np.where((drive == drive) & (inverse > 0), drive, np.float32(0))

    def _levels(self, drive: Array) -> Array:
        least, most = (
            np.float32(GRAINS * (self.lowest - 1)),
            np.float32(GRAINS * (self.highest + 1)),
        )
        grains = np.floor(np.clip(drive, least, most))
        levels = np.floor((grains + np.float32(GRAINS * self.potential)) / np.float32(GRAINS))
        return np.asarray(np.clip(levels, self.lowest, self.highest), np.float32) + np.float32(0)

    def step_of(self, theta: float, scale: float) -> float:
        """lambda * theta / highest count."""
        return scale * theta / self.top

    def softmax_step(self, maximum: float) -> float:
        """maximum / highest count, without lambda (eqs. 15-16)."""
        return maximum / self.top

    def at_most(self, count: int) -> UniformNeuron:
        if self.top <= count:
            return self
        raise CompileError(
            f"{self.name} counts up to {self.top} spikes, integer synapses take up to {count}",
            help="take fewer levels, or float synapses",
        )

    def bounded(self, bound: float) -> UniformNeuron:
        return replace(self, bound=float(np.float32(bound)))  # type: ignore[type-var]

    def error_bound(self, magnitude: Array, step: float) -> Array:
        rounding = max(self.potential, 1 - self.potential) * step
        return np.maximum(rounding, magnitude - self.top * step)

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

    def _name(self, sides: Sides) -> str:
        return f"{self.operation}{sides.capitalize()}" + "Capped" * bool(np.isfinite(self.bound))

    def _body(self, sides: Sides, size: str, result: str) -> str:
        """size: of a spike of each {sign}, a value of the body; result: name of what is emitted."""
        capped = np.isfinite(self.bound)
        drive = DRIVE[sides].format(u="u" if capped else "x")
        lines = [CONSTANTS, _GRAIN, self._charge, self._limits()]
        lines += [sides_of_steps(sides, "grains", size)]
        lines += [CAPPED] if capped else []
        return "\n".join([*lines, drive, self._level(sides), FIRE[sides].format(y=result)])

    @property
    def _charge(self) -> str:
        """Text of `charge`, the initial potential in grains."""
        return _CHARGE

    def _limits(self) -> str:
        """Text of `lowest` and `highest`, the spike counts between which a neuron fires."""
        return f"lowest = Identity (zero)\n{whole('highest', 'N')}"

    def _level(self, sides: Sides) -> str:
        """Text of `count` from `drive`; behind a negative branch alone, both are sizes."""
        return _LEVELS


def whole(name: str, attribute: str) -> str:
    """Text of an integer attribute as a number."""
    return f"""{name}_int = Constant <value_int: int = @{attribute}> ()
               {name} = Cast <to = 1> ({name}_int)"""


_GRAIN = f"""grains = Constant <value_float = {float(GRAINS)}> ()
             grain = Constant <value_float = {1.0 / GRAINS}> ()"""

_CHARGE = """potential = Constant <value_float: float = @potential> ()
             charge = Mul (potential, grains)"""

_LEVELS = """below_lowest = Sub (lowest, one)
             above_highest = Add (highest, one)
             least = Mul (below_lowest, grains)
             most = Mul (above_highest, grains)
             limited = Clip (drive, least, most)
             whole_grains = Floor (limited)
             charged = Add (whole_grains, charge)
             levels = Mul (charged, grain)
             whole_levels = Floor (levels)
             count = Clip (whole_levels, lowest, highest)"""

SYMMETRIC = """above_highest = Add (highest, one)
             most = Mul (above_highest, grains)
             sign = Sign (drive)
             driven = Abs (drive)
             limited = Min (driven, most)
             whole_grains = Floor (limited)
             charged = Add (whole_grains, charge)
             levels = Mul (charged, grain)
             whole_levels = Floor (levels)
             reached = Min (whole_levels, highest)
             signed = Mul (reached, sign)
             count = Sum (signed, zero)"""
"""Where both signs fire alike. Sum: -0.0 becomes 0.0, where onnxruntime would leave an Add out."""


def _inverse(step: float | Array) -> Array:
    """256/step in float32, 0 where the branch is dead (step 0) or the inverse not finite."""
    single = np.asarray(step, np.float32)
    with np.errstate(all="ignore"):
        inverse = np.float32(GRAINS) / single
    return np.where(np.isfinite(inverse), inverse, np.float32(0)).astype(np.float32)
