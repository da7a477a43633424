"""Rounding weights to 8 bits or fewer so that the output of their layer changes little."""

from __future__ import annotations

import numpy as np

from snnc.ir.node import Array
from snnc.ir.rounding import BITS, largest_of, nearest, rounded

_DAMPING = 0.01
"""Added to the diagonal of the second moments, as a share of its mean."""

_BLOCK = 128


def sequential(weights: Array, moments: Array, bits: int = BITS) -> tuple[Array, Array]:
    """As `nearest`, but the rounding at each input makes up for that at the inputs before.

    moments: X^T X [K, K] of the inputs. The error of an input is spread over those not yet rounded
    so that the output changes least (optimal brain quantisation, column by column: Frantar et al.,
    arXiv 2210.17323), inputs of most weight first. A channel that loses by it keeps the nearest.
    """
    diagonal = np.diag(moments).astype(np.float64)
    plain, scales = nearest(weights, bits)
    order = np.argsort(-diagonal, kind="stable")
    upper = _inverse_factor(moments[np.ix_(order, order)])
    if upper is None:
        return plain, scales
    found = np.empty_like(plain)
    found[:, order] = _compensated(
        weights[:, order].astype(np.float64), scales, upper, largest_of(bits)
    )
    worse = output_error(weights, found, scales, moments) > output_error(
        weights, plain, scales, moments
    )
    return np.where(worse[:, None], plain, found), scales


def output_error(weights: Array, integers: Array, scales: Array, moments: Array) -> Array:
    """Summed squared error of every output channel [N] over the inputs of these moments."""
    error = integers * scales[:, None] - weights
    return np.asarray(np.einsum("nk,nk->n", error @ moments, error, dtype=np.float64))


def _inverse_factor(moments: Array) -> Array | None:
    """The upper triangular U with U^T U = inverse of the damped moments; None if there is none."""
    damped = moments.astype(np.float64)
    diagonal = np.diag(damped)
    damped[np.diag_indices_from(damped)] += max(_DAMPING * diagonal.mean(), 1e-30)
    try:
        return np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T)
    except np.linalg.LinAlgError:
        return None


def _compensated(weights: Array, scales: Array, upper: Array, most: int) -> Array:
    """Column by column; what a block of columns leaves to the rest is added once."""
    left, found = weights.copy(), np.empty(weights.shape, np.int8)
    width = weights.shape[1]
    for start in range(0, width, _BLOCK):
        end = min(start + _BLOCK, width)
        errors = np.empty((len(weights), end - start))
        for k in range(start, end):
            integers = rounded(left[:, k], scales, most)
            found[:, k] = integers
            errors[:, k - start] = (left[:, k] - integers * scales) / upper[k, k]
            left[:, k + 1 : end] -= errors[:, k - start, None] * upper[k, k + 1 : end]
        left[:, end:] -= errors @ upper[start:end, end:]
    return found
