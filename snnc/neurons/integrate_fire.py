"""Integrate-and-fire neuron: at most one spike a timestep (arXiv 2510.23383, eqs. 1-4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from snnc.ir.node import Array, Sides
from snnc.neurons.uniform import UniformNeuron


@dataclass(frozen=True)
class IF(UniformNeuron):
    """h = v + x; fires theta where h >= theta; then v = h - theta (soft reset) or 0 (hard).

    potential: v(0) in thresholds. reset: `soft` keeps what lies above the threshold, `hard` loses
    it. The membrane has no lower limit. bound: inputs above it count as it (an absorbed ReLU6).
    """

    potential: float = 0.5
    reset: Literal["soft", "hard"] = "soft"
    bound: float = float("inf")

    name: ClassVar[str] = "if"
    equation: ClassVar[str] = "h = v + x; out = theta*[h >= theta]; v = h - out"
    operation = "IntegrateFire"
    threshold_rule = "channel-mse"
    finer_levels = "raise --timesteps"
    signs = ("positive",)

    def __post_init__(self) -> None:
        self._check()

    @property
    def top(self) -> int:
        return 1

    def _limits(self) -> str:
        return "lowest = Identity (zero)\n highest = Identity (one)"

    def _name(self, sides: Sides) -> str:
        return super()._name(sides) + "Hard" * (self.reset == "hard")

    def kept(self, membrane: Array, emitted: Array, positive: float | Array) -> Array:
        if self.reset == "soft":
            return super().kept(membrane, emitted, positive)
        rest = np.float32(self.potential) * np.asarray(positive, np.float32)
        return np.where(emitted > 0, -rest, membrane).astype(np.float32)

    @property
    def kept_body(self) -> str:
        return super().kept_body if self.reset == "soft" else _HARD


_HARD = """share = Constant <value_float: float = @potential> ()
           resting = Mul (share, positive)
           below = Neg (resting)
           none = Constant <value_float = 0.0> ()
           fired = Greater (spikes, none)
           kept = Where (fired, below, membrane)"""
