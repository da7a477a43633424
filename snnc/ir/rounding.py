"""Weights as integers times a scale of their output channel."""

from __future__ import annotations

import numpy as np

from snnc.ir.node import Array

LARGEST = 127
"""Integer weights of 8 bits lie in -127..127, so that the negative of each exists."""


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


def nearest(weights: Array) -> tuple[Array, Array]:
    """Integers of 8 bits [N, K] and scales [N]; weights [N, K], one row an output channel."""
    scales = scales_of(np.abs(weights).max(axis=1, initial=0.0))
    return rounded(weights, scales[:, None]).astype(np.int8), scales
