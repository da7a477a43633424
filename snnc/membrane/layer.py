"""Layers of neurons that fire once: when and for what; what a run of a network tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from snnc.ir.node import Array, Op
from snnc.neurons.ttfs import fired, spike_ticks
from snnc.spike_time_kernels import Window

NEAR = 1e-5
"""Share of the largest number of a range within which a potential is near a tick: what the order
of a float32 sum may change."""


@dataclass(frozen=True)
class Differing:
    """Spikes of a layer that were given: how many neurons, how many of them would have fired
    otherwise, and how many of these although their potential is not near a tick."""

    neurons: int
    ticks: int
    far: int


@dataclass(frozen=True)
class Run:
    """What neurons did. ticks: of the spike of each neuron from the start of its window on, int32,
    -1 where there is none, for every layer and relay; between: the same for the neurons inside a
    product, those for sum and difference or for the logarithm; outputs: of the graph; analog:
    results of operations that no neuron performs, on the numbers that spikes stand for; differing:
    of layers whose spikes were given."""

    ticks: Mapping[str, Array]
    between: Mapping[str, tuple[Array, ...]]
    outputs: Mapping[str, Array]
    analog: tuple[str, ...] = ()
    differing: Mapping[str, Differing] = field(default_factory=dict)


@dataclass(frozen=True)
class Layer:
    """range: the numbers that spikes stand for, in a window of duration 1; ticks: of the window;
    early: ticks by which a crossing may come after the tick that counts."""

    range: Window
    ticks: int
    early: float

    def shifted(self, share: float) -> Layer:
        """The same neurons with potentials larger by this share of their range's largest number."""
        low, high = self.range.low, self.range.high
        size = max(abs(low), abs(high))
        return replace(self, early=self.early + share * size * self.ticks / (high - low))

    def emitted(self, potential: Array) -> Array:
        """The numbers that the spikes for these potentials stand for, float64."""
        low, high = self.range.low, self.range.high
        return fired(potential.astype(np.float64), low, high, self.ticks, self.early)

    def ticks_of(self, numbers: Array) -> Array:
        """The ticks of the spikes that stand for these numbers; -1 where there is none."""
        return spike_ticks(numbers, self.range.low, self.range.high, self.ticks)


def number(op: Op, name: str) -> float:
    """A real attribute, which a file holds as float32."""
    return float(np.float32(op.number(name)))


def layer_of(op: Op, low: float | None = None, high: float | None = None) -> Layer:
    """The neurons of an operation; low, high: of those inside a product."""
    ends = number(op, "low") if low is None else low, number(op, "high") if high is None else high
    return Layer(Window(*ends), op.integer("ticks", 1), number(op, "early"))
