"""Neurons made of two, one for each sign, whose membranes are independent (spec 1)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from snnc.ir.node import Array, Sides
from snnc.neurons.uniform import SYMMETRIC, UniformNeuron, whole


class DualNeuron(UniformNeuron):
    """Both signs fire alike, each from the inputs of its own sign."""

    dual: ClassVar[bool] = True

    @property
    def lowest(self) -> int:
        return -self.top

    def _levels(self, drive: Array) -> Array:
        return np.asarray(super()._levels(np.abs(drive)) * np.sign(drive), np.float32) + np.float32(
            0
        )

    def _limits(self) -> str:
        return whole("highest", "N")

    def _level(self, sides: Sides) -> str:
        return SYMMETRIC
