"""Dual integrate-and-fire neuron: one for each sign (arXiv 2510.23383, eqs. 35-37)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from snnc.ir.rate_neuron import RateNeuron
from snnc.neurons.dual import DualNeuron
from snnc.neurons.integrate_fire import IF


@dataclass(frozen=True)
class DualIF(DualNeuron):
    """IF(max(x, 0)) - IF(max(-x, 0)) with soft reset: two membranes that never cancel.

    potential: v(0) of both in thresholds. bound: as of IF.
    """

    potential: float = 0.5
    bound: float = float("inf")

    name: ClassVar[str] = "dual-if"
    equation: ClassVar[str] = "out = IF(max(x, 0); theta+) - IF(max(-x, 0); theta-)"
    operation = "DualIntegrateFire"
    threshold_rule = "channel-mse"
    finer_levels = "raise --timesteps"

    def __post_init__(self) -> None:
        self._check()

    def _rising(self) -> RateNeuron:
        return IF(self.potential, bound=self.bound)

    @property
    def top(self) -> int:
        return 1

    def _limits(self) -> str:
        return "highest = Identity (one)"
