"""Neurons of many levels as one threshold a level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snnc.ir.node import Array
from snnc.ir.rate_neuron import RateNeuron

_LARGEST = int(np.float32(np.finfo(np.float32).max).view(np.uint32))


class Branch(NamedTuple):
    """One level of one sign. below: the largest float32 input (of that sign, without it) that does
    not reach the level, inf where none does; gap: from the level before to this one, in spikes."""

    below: Array
    gap: int


def branches(model: RateNeuron, step: Array, sign: int, most: int) -> list[Branch] | None:
    """The levels of one sign (1, -1) in ascending order; None if there are more than `most`.

    step: of spikes of that sign, any shape; thresholds have the same. An input x of the sign has
    the count that is the sum of the gaps of all branches with |x| > below, to the bit.
    """
    steps, back = np.unique(np.asarray(step, np.float32), return_inverse=True)
    found: list[Branch] = []
    level = 0
    while True:
        reached = _first(model, steps, sign, level + 1)
        alive = np.isfinite(reached)
        if not alive.any():
            return found
        if len(found) == most:
            return None
        after = int(_counts(model, reached[alive], steps[alive], sign).max())
        below = np.nextafter(reached, np.float32(0), where=alive, out=reached.copy())
        found.append(Branch(below[back].reshape(np.shape(step)), after - level))
        level = after


def _first(model: RateNeuron, steps: Array, sign: int, level: int) -> Array:
    """The smallest input that reaches a level, for each step; inf where none does.

    Counts grow with inputs, and positive float32 numbers in the order of their bits.
    """
    low = np.zeros(steps.shape, np.uint32)
    high = np.full(steps.shape, _LARGEST, np.uint32)
    ever = _counts(model, high.view(np.float32), steps, sign) >= level
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        reached = _counts(model, middle.view(np.float32), steps, sign) >= level
        high, low = np.where(reached, middle, high), np.where(reached, low, middle)
    return np.where(ever, high.view(np.float32), np.float32(np.inf))


def _counts(model: RateNeuron, size: Array, steps: Array, sign: int) -> Array:
    """Spikes for inputs of a size and sign."""
    silent = np.zeros_like(steps)
    pair = (steps, silent) if sign > 0 else (silent, steps)
    with np.errstate(over="ignore"):
        return np.abs(model.count(sign * size, *pair))
