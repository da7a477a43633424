"""Layers of neurons: what they emit, and how a run elsewhere compares with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Neuron
from snnc.simulator.values import steps_of

NEAR = 1e-5
"""Share of its potential by which a neuron may miss a threshold that a float32 sum in another order
reaches."""


@dataclass(frozen=True)
class Differing:
    """Spike counts of a layer that were given: how many there are; how many of them the potentials
    do not give; and how many of these although no threshold is near. exact: whether all sums are
    of integers, so that no order of summing changes them and nothing counts as near."""

    neurons: int
    differing: int
    far: int
    exact: bool

    @property
    def beyond(self) -> int:
        """Differences that the order of a sum does not explain."""
        return self.differing if self.exact else self.far


class Firing:
    """What a layer of neurons emits for its potentials, [T * N, ...] with time first."""

    def __init__(self, graph: Graph, neuron: Neuron) -> None:
        self._model, self._timesteps = neuron.model, neuron.timesteps
        self._positive, self._negative = steps_of(graph, neuron)

    def emitted(self, potentials: Array) -> Array:
        """Step x count."""
        if self._timesteps == 1:
            return self._step(potentials)
        return self._model.over_time(
            self._unfolded(potentials), self._positive, self._negative
        ).reshape(potentials.shape)

    def compared(self, potentials: Array, given: Array, exact: bool) -> Differing:
        """`given` beside what these potentials give; what stays in a membrane over several
        timesteps is what the given spikes leave there."""
        if self._timesteps == 1:
            found, (least, most) = self._step(potentials), self._bracket(potentials)
        elif self._model.dual:
            found, (least, most) = self.emitted(potentials), self._dual_bracket(potentials)
        else:
            found, least, most = self._over_time(potentials, given)
        half = self._smallest_step() / 2
        differs = np.abs(given - found) > half
        far = differs & ((given < least - half) | (given > most + half))
        return Differing(given.size, int(differs.sum()), int(far.sum()), exact)

    def _smallest_step(self) -> float:
        steps = [step for each in (self._positive, self._negative) for step in each.flat if step]
        return float(min(steps, default=1.0))

    def _step(self, potentials: Array) -> Array:
        return self._model.step(potentials, self._positive, self._negative)

    def _bracket(self, potentials: Array) -> tuple[Array, Array]:
        """Outputs for potentials a little smaller and a little larger."""
        margin = NEAR * np.abs(potentials)
        return self._step(potentials - margin), self._step(potentials + margin)

    def _unfolded(self, array: Array) -> Array:
        return array.reshape(self._timesteps, -1, *array.shape[1:])

    def _over_time(self, potentials: Array, given: Array) -> tuple[Array, Array, Array]:
        fired, inputs = self._unfolded(given), self._unfolded(potentials)
        found, least, most = (np.empty_like(inputs) for _ in range(3))
        kept = np.zeros_like(inputs[0])
        for t, now in enumerate(inputs):
            membrane = kept + now
            found[t] = self._step(membrane)
            least[t], most[t] = self._bracket(membrane)
            kept = self._model.kept(membrane, fired[t], self._positive)
        shape = potentials.shape
        return found.reshape(shape), least.reshape(shape), most.reshape(shape)

    def _dual_bracket(self, potentials: Array) -> tuple[Array, Array]:
        """Of two membranes the given spikes do not tell which fired: a neuron that was near once
        is near from then on."""
        least, most = (
            self._unfolded(self.emitted(potentials + side * NEAR * np.abs(potentials)))
            for side in (-1, 1)
        )
        unsure = np.logical_or.accumulate(least != most, axis=0)
        bounds = (np.where(unsure, end, array) for end, array in ((-np.inf, least), (np.inf, most)))
        low, high = (array.reshape(potentials.shape) for array in bounds)
        return low, high
