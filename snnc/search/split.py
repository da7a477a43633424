"""The validation split: readable at every trial, as a whole or a random subsample; its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from snnc.data import Feeds, Samples
from snnc.errors import CompileError
from snnc.ir.node import Array

_READ = 64
"""Samples read at a time where the data must be held."""


def split_of(samples: Samples, subsample: float | None = None, seed: int = 0) -> Samples:
    """`samples`, or a uniform subsample of them: a share below 1, else a number of samples.

    Files and arrays are read anew at every trial; streams and subsamples are held in memory.
    """
    if subsample is not None and not _is_share_or_number(subsample):
        raise CompileError(
            f"subsample {subsample:g} is out of range",
            help="choose a share between 0 and 1, or a whole number of samples",
        )
    if subsample is None and samples.count is not None:
        return samples
    if subsample is not None and not (samples.splittable or samples.single):
        raise CompileError(
            "the model takes batches of a fixed size, which a subsample would cut",
            help="leave the subsample out, or export with a dynamic batch",
        )
    parts: Iterable[Feeds] = samples.batches(_READ)
    count = samples.count
    if count is None:  # a stream: it can be read once
        parts = list(parts)
        count = sum(map(samples.size_of, parts))
    labels = _labels(samples, count)
    if subsample is None:
        return _held(samples, list(parts), count, labels)
    wanted = round(subsample * count) if subsample < 1 else int(subsample)
    picked = _picked(count, min(max(wanted, 1), count), seed)
    kept = list(_rows(samples, parts, picked))
    return _held(samples, kept, len(picked), None if labels is None else labels[picked])


def _is_share_or_number(subsample: float) -> bool:
    return 0 < subsample < 1 or (subsample >= 1 and float(subsample).is_integer())


def _picked(count: int, wanted: int, seed: int) -> Array:
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))


def _labels(samples: Samples, count: int) -> Array | None:
    """The labels of a stream are known once it was read."""
    return samples.class_labels(0, count) if samples.streamed_labels else samples.labels


def _rows(samples: Samples, parts: Iterable[Feeds], picked: Array) -> Iterator[Feeds]:
    start = 0
    for part in parts:
        size = samples.size_of(part)
        rows = picked[(picked >= start) & (picked < start + size)] - start
        if len(rows):
            yield part if samples.single else {name: array[rows] for name, array in part.items()}
        start += size


def _held(samples: Samples, parts: list[Feeds], count: int, labels: Array | None) -> Samples:
    def batches(size: int) -> Iterator[Feeds]:
        for part in parts:
            if not samples.splittable:
                yield part
                continue
            for start in range(0, samples.size_of(part), size):
                yield {name: array[start : start + size] for name, array in part.items()}

    return Samples(batches, count, labels, samples.single, samples.splittable)


def digest_of(samples: Samples) -> str:
    """Identifies the samples and their labels, whatever file or array they came from."""
    digests: dict[str, Any] = {}
    for feeds in samples.batches(_READ):
        for name, array in feeds.items():
            digest = digests.setdefault(name, hashlib.sha256())
            digest.update(f"{array.dtype.kind}{array.shape}".encode())
            digest.update(_contents(array))
    whole = hashlib.sha256(_contents(np.asarray(samples.labels)))
    for name, digest in sorted(digests.items()):
        whole.update(f"{name}={digest.hexdigest()};".encode())
    return whole.hexdigest()


def _contents(array: Array) -> bytes:
    plain = array.dtype.kind not in "OU"
    return np.ascontiguousarray(array).tobytes() if plain else repr(array.tolist()).encode()
