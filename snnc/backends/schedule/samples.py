"""Values of a batch, taken apart into timesteps, samples and the entries of one of them."""

from __future__ import annotations

import math

import numpy as np

from snnc.errors import CompileError
from snnc.ir.node import Array


def by_sample(array: Array, once: tuple[int, ...], timesteps: int, samples: int) -> Array:
    """A value of a batch as [timesteps, samples, entries].

    once: its shape for one sample at one timestep. A value that no sample changes is repeated.
    """
    entries = math.prod(once)
    alike = array.shape[1:] == once[1:]
    if alike and array.size == entries * timesteps:
        return np.broadcast_to(array.reshape(timesteps, 1, entries), (timesteps, samples, entries))
    if alike and timesteps > 1 and array.size == entries * timesteps * samples:
        return array.reshape(timesteps, samples, entries)
    grown = [(*once[:i], size * samples, *once[i + 1 :]) for i, size in enumerate(once)]
    if timesteps > 1 or array.shape not in grown:
        raise CompileError(
            f"a value of shape {list(array.shape)} does not hold {samples} samples of {list(once)}",
            help="samples of one schedule have one size; schedule the network for this one",
        )
    axis = grown.index(array.shape)
    apart = array.reshape(*once[:axis], samples, once[axis], *once[axis + 1 :])
    return np.moveaxis(apart, axis, 0).reshape(1, samples, entries)
