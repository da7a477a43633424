"""Shards: calibration samples dealt out to several runs, and which of them a result holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from snnc.data import Feeds, Samples, samples_in
from snnc.errors import CompileError
from snnc.ir.text import digest


@dataclass(frozen=True)
class Shard:
    """One share of the samples: the `number`-th (from 1) of `of`.

    Batches are dealt out in turn, so that with whole batches for everyone a shard runs exactly the
    batches that one run over all samples would.
    """

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise CompileError(
                f"there is no shard {self}", help="shards of 4 are 1/4, 2/4, 3/4 and 4/4"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From 'I/N'."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None:
            raise CompileError(f"'{text}' is no shard", help="write the second of four as 2/4")
        return cls(int(match[1]), int(match[2]))


WHOLE = Shard()


@dataclass(frozen=True)
class Part:
    """Samples that were calibrated on. data: digest of all samples that were dealt out in shards;
    samples: how many were in this shard; random: they are random numbers."""

    data: str
    shard: Shard
    samples: int
    random: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.data, str) and type(self.samples) is int and self.samples >= 0):
            raise ValueError("a part is no number of samples of some data")


@dataclass(frozen=True)
class Batch:
    """A batch of samples. first: place of its first sample among all of the data; digests: of each
    sample's contents, or of the batch as a whole where it must not be split."""

    feeds: Feeds
    first: int
    digests: tuple[str, ...]


def batch_of(feeds: Feeds, first: int, splittable: bool) -> Batch:
    """A batch with the digests of its samples."""
    parts = split(feeds) if splittable else [feeds]
    digests = (" ".join(digest(part[name], 64) for name in sorted(part)) for part in parts)
    return Batch(feeds, first, tuple(digests))


def split(feeds: Feeds) -> Iterator[Feeds]:
    """The samples of a batch one by one."""
    for i in range(samples_in(feeds, single=False)):
        yield {name: array[i : i + 1] for name, array in feeds.items()}


class Deal:
    """Reads all samples once and yields the batches of one shard.

    size: samples in a batch, less where `of` shards would not get one each.
    """

    def __init__(self, samples: Samples, shard: Shard, size: int) -> None:
        if samples.count is not None:
            size = max(1, min(size, samples.count // shard.of))
        self._samples, self._shard, self._size = samples, shard, size
        self._data = hashlib.sha256()
        self._mine = 0
        self.read = 0

    def __iter__(self) -> Iterator[Batch]:
        number = 0
        for number, feeds in enumerate(self._samples.batches(self._size), 1):
            batch = batch_of(feeds, self.read, self._samples.splittable)
            self._data.update("\n".join((*batch.digests, "")).encode())
            count = self._samples.size_of(feeds)
            self.read += count
            if (number - self._shard.number) % self._shard.of == 0:
                self._mine += count
                yield batch
        if number < self._shard.of:
            raise CompileError(
                f"{self.read} samples in {number} batches cannot be dealt out to "
                f"{self._shard.of} shards",
                help=f"use at most {number} shards",
            )

    @property
    def part(self) -> Part:
        """What was dealt out, once all is read."""
        return Part(self._data.hexdigest(), self._shard, self._mine, self._samples.random)


def joined(parts: tuple[Part, ...], more: tuple[Part, ...], where: str) -> tuple[Part, ...]:
    """All the parts, in order; CompileError if samples would count twice. where: of `more`."""
    for new in more:
        for old in parts:
            if old.data == new.data and old.shard.of != new.shard.of:
                raise CompileError(
                    f"{where} holds shard {new.shard} of samples of which shard {old.shard} is "
                    "merged already: they overlap",
                    help="merge the shards of one division of the samples",
                )
            if old.data == new.data and old.shard == new.shard:
                what = "these samples" if new.shard == WHOLE else f"shard {new.shard}"
                raise CompileError(
                    f"{where} holds {what}, which others hold already: they would count twice",
                    help="merge every shard once",
                )
    return tuple(sorted(parts + more, key=lambda p: (p.data, p.shard.number)))


def missing(parts: Iterable[Part]) -> list[str]:
    """Shards that are needed to make the parts whole, as '2/4'."""
    held: dict[tuple[str, int], set[int]] = {}
    for part in parts:
        held.setdefault((part.data, part.shard.of), set()).add(part.shard.number)
    return [
        str(Shard(number, of))
        for (_, of), numbers in held.items()
        for number in range(1, of + 1)
        if number not in numbers
    ]
