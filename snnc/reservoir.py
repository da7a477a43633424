"""A bounded uniform sample of calibration samples, the same however they were dealt out."""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from snnc.data import Feeds, Samples, samples_in
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Type
from snnc.shards import Batch, batch_of

RUN = 16
"""Samples that stay together where samples are split, at most: neighbours may show one thing."""


@dataclass(frozen=True, order=True)
class Kept:
    """A sample (or a batch that must not be split). place: its index among all samples."""

    key: str
    place: int
    feeds: Feeds = field(compare=False)


def runs(count: int) -> Array:
    """Which run of neighbours each of so many samples belongs to: RUN in each, fewer where that
    would leave less than four runs."""
    return np.arange(count) // max(1, min(RUN, count // 4))


class Reservoir:
    """A uniform sample of bounded size: the samples with the smallest keys (bottom-k sampling).

    A key is a hash of a sample's contents and place, so that reservoirs of shards merge into the
    reservoir of all samples. single, splittable: of the samples it is offered (see Samples).
    """

    def __init__(
        self,
        single: bool = False,
        splittable: bool = True,
        *,
        limit: int = 512,
        megabytes: int = 64,
    ) -> None:
        self.single, self.splittable = single, splittable
        self._limit, self._bytes = limit, megabytes * 2**20
        self._kept: list[Kept] = []
        self.largest = 0
        self.seen = 0

    def add(self, batch: Batch) -> None:
        """Offers every sample of a batch, or the batch as a whole if it must not be split."""
        count = samples_in(batch.feeds, self.single)
        self.seen += count
        size = sum(a.nbytes for a in batch.feeds.values())
        self.largest = max(self.largest, size // (count if self.splittable else 1))
        for i, digest in enumerate(batch.digests):
            place = batch.first + i
            key = hashlib.sha256(f"{digest} {place}".encode()).hexdigest()
            if len(self._kept) < self.capacity or (key, place) < self._last:
                part = slice(i, i + 1) if self.splittable else ...
                feeds = {name: np.array(array[part]) for name, array in batch.feeds.items()}
                self._keep(Kept(key, place, feeds))
        self._trim()

    @property
    def capacity(self) -> int:
        """Samples that may be kept: a number of them, or of bytes at the largest one's size."""
        return min(self._limit, max(1, self._bytes // max(self.largest, 1)))

    @property
    def _last(self) -> tuple[str, int]:
        return self._kept[-1].key, self._kept[-1].place

    def _keep(self, kept: Kept) -> None:
        insort(self._kept, kept)
        self._trim()

    def _trim(self) -> None:
        del self._kept[self.capacity :]

    def merge(self, other: Reservoir) -> None:
        """Becomes the reservoir of the samples of both."""
        self.seen += other.seen
        self.largest = max(self.largest, other.largest)
        for kept in other._kept:
            self._keep(kept)
        self._trim()

    def kept(self, limit: int | None = None, start: int = 0) -> list[Kept]:
        """The kept samples (a uniform choice from `start` to `limit`) in the order of their
        places."""
        return sorted(self._kept[start:limit], key=lambda k: (k.place, k.key))

    @classmethod
    def restored(
        cls,
        kept: Iterable[tuple[int, Feeds]],
        *,
        single: bool,
        splittable: bool,
        seen: int,
        largest: int,
    ) -> Reservoir:
        """The reservoir that kept these samples (place, feeds) of `seen`; ValueError if it could
        not."""
        new = cls(single, splittable)
        new.largest = largest
        batches = [batch_of(feeds, place, splittable) for place, feeds in kept]
        for batch in batches:
            new.add(batch)
        if not 0 < len(batches) == len(new) or new.seen > seen or (single and splittable):
            raise ValueError("its samples are not those that were kept")
        new.seen = seen
        return new

    def fits(self, graph: Graph) -> bool:
        """Whether the kept samples are ones that `graph` takes."""
        return all(
            kept.feeds.keys() == set(graph.inputs)
            and all(_fits(array, graph.types[name]) for name, array in kept.feeds.items())
            for kept in self._kept
        )

    def samples(self, limit: int | None = None, start: int = 0) -> Samples:
        """The kept samples (a uniform choice from `start` to `limit`), as data of their own.

        Choices that do not overlap share no sample.
        """
        return Samples(
            lambda size: self.batches(size, limit, start),
            len(self._kept[start:limit]),
            single=self.single,
            splittable=self.splittable,
        )

    def parted(self, size: int) -> tuple[Reservoir, Reservoir]:
        """The reservoir without `size` samples, and these: runs of neighbours, spread evenly."""
        count, kept, number = len(self._kept), self.kept(), -(-size // RUN)
        cuts = np.arange(number + 1)
        lengths = np.diff(cuts * size // max(number, 1))
        starts = (cuts[:-1] + cuts[1:]) * count // max(2 * number, 1) - lengths // 2
        apart = {first + i for first, n in zip(starts, lengths, strict=True) for i in range(n)}
        parts = [kept[i] for i in range(count) if i not in apart], [kept[i] for i in sorted(apart)]
        return self._of(parts[0]), self._of(parts[1])

    def _of(self, kept: list[Kept]) -> Reservoir:
        new = Reservoir(self.single, self.splittable, limit=self._limit)
        new._bytes, new.largest, new.seen = self._bytes, self.largest, self.seen
        new._kept = sorted(kept)
        return new

    def batches(self, size: int, limit: int | None = None, start: int = 0) -> Iterator[Feeds]:
        """The kept samples (see `kept`), joined into batches where their shapes agree."""
        group: list[Feeds] = []
        for kept in self.kept(limit, start):
            if not self.splittable:
                yield kept.feeds
                continue
            if group and (len(group) == size or _shapes(kept.feeds) != _shapes(group[0])):
                yield _joined(group)
                group = []
            group.append(kept.feeds)
        if group:
            yield _joined(group)

    def __len__(self) -> int:
        return len(self._kept)


def _fits(array: Array, kind: Type) -> bool:
    dtype = "str" if array.dtype.kind in "OU" else str(array.dtype)
    if kind.shape is None or dtype != kind.dtype:
        return dtype == kind.dtype
    return len(array.shape) == len(kind.shape) and all(
        not isinstance(d, int) or d == n for d, n in zip(kind.shape, array.shape, strict=True)
    )


def _shapes(feeds: Feeds) -> list[tuple[int, ...]]:
    return [a.shape[1:] for a in feeds.values()]


def _joined(group: list[Feeds]) -> Feeds:
    return {name: np.concatenate([g[name] for g in group]) for name in group[0]}
