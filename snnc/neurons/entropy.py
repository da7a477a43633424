"""Entropy of what a quantiser emits (arXiv 2508.14520, eqs. 12-19, 22; spec 3.3), in nats."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from snnc.ir.node import Array

GAUSSIAN = 0.5 * math.log(2 * math.pi * math.e)
"""Differential entropy of a standard normal variable."""

RECTIFIED = 0.5 * math.log(2) + 0.5 * GAUSSIAN
"""Of what a ReLU makes of it: an atom at 0 and half a Gaussian."""

_NORMAL = NormalDist()


def level_probabilities(step: float, lowest: int, highest: int, mean: float = 0.0) -> Array:
    """Probability of every level from `lowest` to `highest` for a standard normal input.

    step, mean: in standard deviations. Level k stands for (k - 1/2, k + 1/2) steps, the first and
    the last one for all that lies beyond.
    """
    edges = [(k + 0.5) * step - mean for k in range(lowest, highest)]
    below = np.array([0.0, *(_NORMAL.cdf(edge) for edge in edges), 1.0])
    return np.diff(below)


def level_entropy(step: float, lowest: int, highest: int, mean: float = 0.0) -> float:
    """Entropy of those levels."""
    p = level_probabilities(step, lowest, highest, mean)
    p = p[p > 0]
    return float(-(p * np.log(p)).sum() + 0.0)


def best_bounds(
    step: float, mean: float, lowest: tuple[int, ...], highest: tuple[int, ...]
) -> tuple[int, int]:
    """The bounds whose entropy is nearest to that of the input; of equals the fewest spikes.

    lowest, highest: the candidates; with lowest (0,) the input is rectified.
    """
    target = RECTIFIED if lowest == (0,) else GAUSSIAN
    found = []
    for least in lowest:
        for most in highest:
            p = level_probabilities(step, least, most, mean)
            distance = abs(level_entropy(step, least, most, mean) / target - 1)
            spikes = float(p @ np.abs(np.arange(least, most + 1)))
            found.append((round(distance, 3), spikes, least, most))
    return min(found)[2:]


def fitted_normal(
    probabilities: Array, quantiles: Array, zeros: float
) -> tuple[float, float] | None:
    """Mean and standard deviation of the normal variable with these quantiles; None for others.

    quantiles: ascending, at ascending probabilities; zeros: the share of exact zeros. Where nothing
    is negative, only those above zero count: the input is rectified.
    """
    rectified = quantiles[0] >= 0
    kept = (quantiles > 0) if rectified else np.ones(len(quantiles), bool)
    if np.count_nonzero(kept) < 8 or (not rectified and zeros > TOLERANCE):
        return None
    z = np.array([_NORMAL.inv_cdf(float(p)) for p in probabilities[kept]])
    x = quantiles[kept]
    deviation, mean = np.polyfit(z, x, 1)
    distance = np.abs(x - (mean + deviation * z)).max()
    fits = deviation > 0 and distance <= TOLERANCE * deviation
    return (float(mean), float(deviation)) if fits else None


TOLERANCE = 0.15
"""Largest distance of a quantile from the normal one, in standard deviations."""
