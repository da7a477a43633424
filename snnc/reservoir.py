"""A bounded uniform sample of a stream of calibration samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from snnc.data import Feeds, Samples, samples_in
from snnc.ir.node import Array


class Reservoir:
    """A uniform sample of a stream, of bounded size (Vitter's algorithm R, fixed seed).

    single, splittable: of the samples it is offered (see Samples).
    """

    def __init__(
        self,
        single: bool = False,
        splittable: bool = True,
        *,
        limit: int = 512,
        megabytes: int = 64,
    ) -> None:
        self._single, self._splittable = single, splittable
        self._limit, self._bytes = limit, megabytes * 2**20
        self._kept: list[dict[str, Array]] = []
        self._offered = 0
        self.seen = 0
        self._rng = np.random.default_rng(0)

    def add(self, feeds: Feeds) -> None:
        """Offers every sample of a batch, or the batch as a whole if it must not be split."""
        count = samples_in(feeds, self._single)
        self.seen += count
        for i in range(count if self._splittable else 1):
            self._offer(feeds, i if self._splittable else None)

    def _offer(self, feeds: Feeds, i: int | None) -> None:
        self._offered += 1
        place = len(self._kept)
        if place >= self._limit:
            place = int(self._rng.integers(self._offered))
            if place >= self._limit:
                return
        kept = {n: np.array(a if i is None else a[i : i + 1]) for n, a in feeds.items()}
        if place < len(self._kept):
            self._kept[place] = kept
            return
        self._kept.append(kept)
        size = sum(a.nbytes for a in kept.values())
        self._limit = min(self._limit, max(1, self._bytes // max(size, 1)))

    def samples(self, limit: int | None = None) -> Samples:
        """The kept samples (the first `limit`), as data of their own."""
        count = len(self._kept[:limit])
        return Samples(
            lambda size: self.batches(size, limit),
            count,
            single=self._single,
            splittable=self._splittable,
        )

    def batches(self, size: int, limit: int | None = None) -> Iterator[Feeds]:
        """The kept samples (the first `limit`), joined into batches where their shapes agree."""
        group: list[dict[str, Array]] = []
        for kept in self._kept[:limit]:
            if not self._splittable:
                yield kept
                continue
            if group and (len(group) == size or _shapes(kept) != _shapes(group[0])):
                yield _joined(group)
                group = []
            group.append(kept)
        if group:
            yield _joined(group)

    def __len__(self) -> int:
        return len(self._kept)


def _shapes(feeds: Feeds) -> list[tuple[int, ...]]:
    return [a.shape[1:] for a in feeds.values()]


def _joined(group: list[dict[str, Array]]) -> Feeds:
    return {name: np.concatenate([g[name] for g in group]) for name in group[0]}
