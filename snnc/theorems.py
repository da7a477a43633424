"""Theorems 1 and 3 of arXiv 2510.23383, as corrected (spec 1), on one layer of neurons.

Integrate-and-fire neurons over T timesteps, against the multi-threshold neurons they average to:
theta_M = theta/T, N = T levels and v_M(0) = v(0)/T, on the mean over T of the same inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snnc.ir.node import Array

_ROUNDING = 2.0**-22
"""Of a float32 membrane in one timestep, in thresholds, with room."""

_EQUAL = 1e-6
"""Thresholds that sums of the same float32 spikes may differ by in float64."""


@dataclass(frozen=True)
class Theta:
    """positive, negative: thresholds, one or one an entry, 0 for a sign that never fires;
    potential: v(0) / theta."""

    positive: float | Array
    negative: float | Array
    potential: float


@dataclass(frozen=True)
class Compared:
    """A layer over time against its counterpart; arrays of one entry a neuron and sample.

    exact: inputs for which both are equal (Theorem 1): all x(t) in [0, theta] or [-theta-, 0], or
    all where neither fires or both always do. within: all x(t) at most theta of their sign in
    size. beyond: inputs that are not, of entries that are not exact; worst: the one furthest out.
    error: |obar_IF - o_M|, of exact entries 0 where rounding explains it; ties: how often it does.
    bound: what Theorem 3 allows for what went in and came out, whatever decided that; limit: what
    it allows neurons that fire when they should, (2 theta + theta of the other sign) / T, where
    within, and infinite elsewhere.
    """

    exact: Array
    within: Array
    beyond: int
    worst: float
    error: Array
    bound: Array
    limit: Array
    ties: int

    @property
    def holds(self) -> bool:
        """Whether the error is within bound and limit, and none where the premises are met."""
        exceeds = self.error > np.minimum(self.bound, self.limit) * (1 + _EQUAL)
        return not exceeds.any() and not self.error[self.exact].any()


def compare_layer(x: Array, out: Array, theta: Theta) -> Compared:
    """Inputs and outputs over time, [T, ...] each.

    Neurons of one membrane, which have no negative threshold, and those of one for each sign.
    """
    steps = len(x)
    x = np.asarray(x, np.float64).reshape(steps, -1)
    emitted = np.asarray(out, np.float64).reshape(steps, -1).mean(axis=0)
    high, low, mean = x.max(axis=0), x.min(axis=0), x.mean(axis=0)
    exact = (low >= 0) & (high <= theta.positive) | (low >= -theta.negative) & (high <= 0)
    exact |= (low >= theta.positive) | (high <= -theta.negative)
    within = (low >= -theta.negative) & (high <= theta.positive)
    beyond = ((x > theta.positive) | (x < -theta.negative)) & ~exact
    outside = x[beyond]
    excess = np.maximum(x - theta.positive, -theta.negative - x)[beyond]
    error, ties = _error(mean, emitted, theta, steps, exact)
    thetas = np.where(mean < 0, theta.negative, theta.positive), theta.positive + theta.negative
    limit = np.where(within, (thetas[0] + thetas[1]) / steps, np.inf)
    return Compared(
        exact,
        within,
        outside.size,
        float(outside[excess.argmax()]) if outside.size else 0.0,
        error,
        _bound(mean, emitted, theta, steps),
        limit,
        ties,
    )


def _error(
    mean: Array, emitted: Array, theta: Theta, steps: int, exact: Array
) -> tuple[Array, int]:
    """|obar_IF - o_M|, and how many exact entries rounding alone tells apart."""
    size = np.where(mean < 0, theta.negative, theta.positive) / steps
    alive = size > 0
    level = np.divide(np.abs(mean), size, out=np.zeros_like(mean), where=alive) + theta.potential

    def off(shift: float) -> Array:
        count = np.where(alive, np.clip(np.floor(level + shift), 0, steps), 0)
        away = np.abs(emitted - np.where(mean < 0, -count, count) * size)
        return np.where(away > _EQUAL * size, away, 0.0)

    slack, plain = steps * _ROUNDING, off(0.0)
    error = np.where(exact, np.minimum(off(slack), off(-slack)), plain)
    return error, int(np.count_nonzero(error < plain))


def _bound(mean: Array, emitted: Array, theta: Theta, steps: int) -> Array:
    """(|v-(T) - v-(0) - v+(T)| + theta+) / T for a mean from 0 on, mirrored below (Theorem 3).

    What the membranes moved follows from what went in and came out: v-(T) - v-(0) - v+(T) + v+(0)
    = T (obar - mean x). Where the sign of the mean never fires, the counterpart is silent and the
    spikes are those of the other sign.
    """
    active = np.where(mean < 0, theta.negative, theta.positive)
    start = np.where(mean < 0, -1, 1) * theta.potential * active
    return np.asarray(np.abs(emitted - mean - start / steps) + active / steps)
