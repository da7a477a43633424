"""Least squares for a change of weights that stays near zero, as strongly as samples ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snnc.ir.node import Array

STRENGTHS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""What squared changes of weights cost, times the mean square of an input, that are tried."""


@dataclass(frozen=True)
class Rows:
    """inputs: [groups, n, K] of a layer; wrong: by how much its results are too small there,
    [groups, n, channels]."""

    inputs: Array
    wrong: Array


@dataclass(frozen=True)
class Change:
    """Of weights [groups, K, channels] and of biases [groups, 1, channels]."""

    weights: Array
    biases: Array

    def error(self, rows: Rows) -> float:
        """The sum of squares that is left."""
        left = rows.wrong - rows.inputs @ self.weights - self.biases
        return float(np.square(left, dtype=np.float64).sum())


def refit(halves: tuple[Sequence[Rows], Sequence[Rows]]) -> Change | None:
    """The change of least error on all rows, of the strength at which each half of them foretells
    the other best; None where no change does better than none, where a half is empty, and where
    rows are not finite.

    Strengths are tried from the largest on, while the error falls. float32 rows; sums of squares in
    float64.
    """
    if not all(halves):
        return None
    one, other = map(_joined, halves)
    least = sum(float(np.square(rows.wrong, dtype=np.float64).sum()) for rows in (one, other))
    if not np.isfinite(least):
        return None
    pairs = ((_Fit(one), other), (_Fit(other), one))
    chosen: float | None = None
    for strength in (np.inf, *STRENGTHS):
        error = sum(fit.at(strength).error(unseen) for fit, unseen in pairs)
        if error < least:
            least, chosen = error, strength
        elif np.isfinite(strength):
            break
    return None if chosen is None else _Fit(_joined([one, other])).at(chosen)


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([part.inputs for part in parts], 1),
        np.concatenate([part.wrong for part in parts], 1),
    )


class _Fit:
    """argmin_(D, d) sum |wrong - x D - d|^2 + c |D|^2, c = strength sum |x - mean|^2 / K.

    Through the moments of the inputs [K, K], or of the rows [n, n] where those are fewer.
    """

    def __init__(self, rows: Rows) -> None:
        self._means = [array.mean(1, keepdims=True) for array in (rows.inputs, rows.wrong)]
        self._x = rows.inputs - self._means[0]
        wrong = rows.wrong - self._means[1]
        count, width = self._x.shape[1:]
        self._dual = count < width
        turned = np.swapaxes(self._x, 1, 2)
        self._moments = (self._x @ turned if self._dual else turned @ self._x).astype(np.float64)
        self._right = (wrong if self._dual else turned @ wrong).astype(np.float64)
        self._mean_square = np.trace(self._moments, axis1=1, axis2=2) / width

    def at(self, strength: float) -> Change:
        """inf: of the biases only."""
        inputs, wrong = self._means
        if np.isinf(strength):
            width = inputs.shape[2]
            return Change(np.zeros((len(inputs), width, wrong.shape[2]), np.float32), wrong)
        cost = np.where(self._mean_square > 0, strength * self._mean_square, 1.0)
        identity = np.eye(self._moments.shape[1])
        solved = np.linalg.solve(self._moments + cost[:, None, None] * identity, self._right)
        weights = solved.astype(np.float32)
        if self._dual:
            weights = np.swapaxes(self._x, 1, 2) @ weights
        return Change(weights, wrong - inputs @ weights)
