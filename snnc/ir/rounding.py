"""Weights as integers times a scale of their output channel."""

from __future__ import annotations

import numpy as np

from snnc.ir.node import Array

BITS = 8

LARGEST = 127
"""Integer weights of 8 bits lie in -127..127, so that the negative of each exists."""

CLIPPED = np.linspace(1.0, 0.3, 36, dtype=np.float32)
"""Shares of the largest weight that the largest integer may stand for, where bits are few."""


def scales_of(largest: Array, most: int = LARGEST) -> Array:
    """Scales, float32, with which `most` stands for each of the largest |weights|.

    Clipping the largest weights gained nothing (docs/integer.md). A channel without weights has
    scale 1; no scale is too small to be a normal number.
    """
    scales = np.maximum((largest / most).astype(np.float32), np.finfo(np.float32).tiny)
    return np.asarray(np.where(largest > 0, scales, np.float32(1)), np.float32)


def rounded(weights: Array, scales: Array, most: int = LARGEST) -> Array:
    """The nearest integers to weights / scales in -most..most, as real numbers."""
    return np.asarray(np.clip(np.rint(weights / scales), -most, most))


def nearest(weights: Array, bits: int = BITS) -> tuple[Array, Array]:
    """Integers of 2 to 8 bits [N, K] and scales [N]; weights [N, K], one row an output channel.

    Below 8 bits the largest weights of a channel are clipped where its squared error falls.
    """
    largest, most = np.abs(weights).max(axis=1, initial=0.0), largest_of(bits)
    scales = scales_of(largest, most)
    if bits < BITS:
        tried = [scales_of(largest * share, most) for share in CLIPPED]
        errors = [_squared_error(weights, each[:, None], most) for each in tried]
        scales = np.stack(tried)[np.argmin(errors, axis=0), np.arange(len(weights))]
    return rounded(weights, scales[:, None], most).astype(np.int8), scales


def largest_of(bits: int) -> int:
    """The largest integer weight of so many bits; the smallest is its negative."""
    return int(2 ** (bits - 1)) - 1


def _squared_error(weights: Array, scales: Array, most: int) -> Array:
    """Of every row, summed."""
    error = rounded(weights, scales, most) * scales - weights
    return np.asarray(np.einsum("nk,nk->n", error, error, dtype=np.float64))
