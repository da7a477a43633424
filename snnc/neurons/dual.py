"""Neurons made of two, one for each sign, whose membranes are independent (spec 1)."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from snnc.ir.node import Array, Sides
from snnc.ir.rate_neuron import RateNeuron, Synapses
from snnc.neurons.uniform import SYMMETRIC, UniformNeuron, whole


class DualNeuron(UniformNeuron):
    """Both signs fire alike, each from the inputs of its own sign."""

    dual: ClassVar[bool] = True

    @property
    def lowest(self) -> int:
        return -self.top

    @abstractmethod
    def _rising(self) -> RateNeuron:
        """The neuron of positive inputs alone."""

    def at(self, sides: Sides, synapses: Synapses) -> RateNeuron:
        """Of positive spikes alone the neuron of one membrane: beside one that never fires, what
        inputs below zero take away over several timesteps would be lost."""
        if sides == "positive":
            return self._rising().at(sides, synapses)
        return super().at(sides, synapses)

    def _levels(self, drive: Array) -> Array:
        return np.asarray(super()._levels(np.abs(drive)) * np.sign(drive), np.float32) + np.float32(
            0
        )

    def _limits(self) -> str:
        return whole("highest", "N")

    def _level(self, sides: Sides) -> str:
        return SYMMETRIC
