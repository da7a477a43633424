"""Outputs as rows of samples: which axis is the samples', found by running; joining batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import numpy as np

from snnc.data import Feeds, Samples
from snnc.ir.node import Array
from snnc.runtime import Session
from snnc.shards import split

Axes = Mapping[str, int | None]
"""Axis of each output along which samples lie; None: the output is one whole row."""


def batches_and_axes(
    session: Session, samples: Samples, size: int, outputs: tuple[str, ...]
) -> tuple[Iterator[Feeds], Axes]:
    """The samples in batches of at most `size`, and how to read the outputs as rows.

    An output that does not grow with the number of samples (a mean over the batch, say) would mix
    the samples of a batch: then they are run one by one.
    """
    stream = iter(samples.batches(size))
    first = next(stream)
    if not samples.splittable:
        axis = None if samples.single else 0
        return chain([first], stream), dict.fromkeys(outputs, axis)
    axes = sample_axes(session, first, outputs)
    if any(axis is None for axis in axes.values()):
        one_by_one = (part for feeds in chain([first], stream) for part in split(feeds))
        return one_by_one, axes
    return chain([first], stream), axes


def sample_axes(session: Session, feeds: Feeds, outputs: tuple[str, ...]) -> dict[str, int | None]:
    """The axis of each output that doubles with the number of samples."""
    one = {name: array[:1] for name, array in feeds.items()}
    two = {name: np.concatenate([array, array]) for name, array in one.items()}
    single, double = session.run(one), session.run(two)
    found = {}
    for name in outputs:
        pairs = enumerate(zip(single[name].shape, double[name].shape, strict=True))
        found[name] = next((axis for axis, (a, b) in pairs if b == 2 * a), None)
    return found


def rows_of(array: Array, axis: int | None) -> Array:
    """An output as one row a sample."""
    return array[None] if axis is None or array.ndim == 0 else np.moveaxis(array, axis, 0)


def join_batches(batches: Iterable[Mapping[str, Array]], axes: Axes) -> dict[str, Array]:
    """The outputs named in `axes` over all batches; whole rows are stacked, samples first."""
    parts: dict[str, list[Array]] = {name: [] for name in axes}
    for values in batches:
        for name, collected in parts.items():
            collected.append(values[name])
    return {
        name: np.stack(found)
        if axes[name] is None or not found[0].ndim
        else np.concatenate(found, axes[name])
        for name, found in parts.items()
    }
