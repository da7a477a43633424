"""Dual multi-threshold neuron: one for each sign (arXiv 2510.23383, eq. 38)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from snnc.ir.rate_neuron import RateNeuron
from snnc.neurons.dual import DualNeuron
from snnc.neurons.mtn import MTN


@dataclass(frozen=True)
class DualMTN(DualNeuron):
    """MTN(x) for x > 0, -MTN(-x) for x < 0, each with its own threshold and membrane.

    N: levels of each sign. potential: v(0) in thresholds. bound: as of MTN.
    """

    N: int = 32
    potential: float = 0.5
    bound: float = float("inf")

    name: ClassVar[str] = "dual-mtn"
    equation: ClassVar[str] = "out = MTN(max(x, 0); theta+) - MTN(max(-x, 0); theta-)"
    operation = "DualMultiThreshold"
    threshold_rule = "channel-mse"
    more_levels = finer_levels = "raise N (--neuron dual-mtn:N=...)"

    def __post_init__(self) -> None:
        self._check()
        self._check_size("N", self.N)

    def _rising(self) -> RateNeuron:
        return MTN(self.N, self.potential, self.bound)

    @property
    def top(self) -> int:
        return self.N
