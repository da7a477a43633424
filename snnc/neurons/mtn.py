"""Multi-threshold neuron: several spikes at once (arXiv 2510.23383, eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from snnc.neurons.uniform import UniformNeuron


@dataclass(frozen=True)
class MTN(UniformNeuron):
    """out = theta_M clip(floor((x + v(0)) / theta_M), 0, N), theta_M = theta / N.

    With N = T and inputs in [0, theta] it emits at once what an integrate-and-fire neuron of
    threshold theta does in T timesteps (Theorem 1). N: levels. potential: v(0) in thresholds.
    bound: inputs above it fire as it does (an absorbed ReLU6).
    """

    N: int = 32
    potential: float = 0.5
    bound: float = float("inf")

    name: ClassVar[str] = "mtn"
    equation: ClassVar[str] = "out = theta*clip(floor((x + v(0))/theta), 0, N)"
    operation = "MultiThreshold"
    threshold_rule = "channel-mse"
    more_levels = finer_levels = "raise N (--neuron mtn:N=...)"
    signs = ("positive",)

    def __post_init__(self) -> None:
        self._check()
        self._check_size("N", self.N)

    @property
    def top(self) -> int:
        return self.N
