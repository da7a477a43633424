"""Pooled statistics of a stream of numbers in bounded memory."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass

import datasketches
import numpy as np

from snnc.ir.node import Array, Statistics

EXACT = 2**20
"""Up to this many values the quantiles are exact order statistics."""

SKETCH_SIZE = 8000
"""Parameter k of the t-digest: rank errors of about 0.05 % in the middle and 0.002 % at the tails,
where thresholds lie (measured in tests/test_sketch.py). Unlike KLL it needs no random numbers:
the same samples give the same thresholds."""

CHUNK, STRIDE = 2**17, 16
"""Values are sorted by the chunk and every 16th order statistic enters the sketch in the name of
its 16 neighbours: a rank error of at most 16 in 131072 (0.012 %), and 10 times faster."""


@dataclass(frozen=True)
class AccumulatorState:
    """Everything an accumulator knows, as it is stored; ValueError if no values lead to it.

    counts: of all values, of zeros, of negatives; numbers: minimum, maximum, sum; waiting: the
    nonzero values that are not in the sketch, float32, ascending (which packs well); sketch: the
    t-digest as Apache DataSketches serialises it, empty where there is none.
    """

    counts: tuple[int, int, int]
    numbers: tuple[float, float, float]
    waiting: Array
    sketch: bytes

    def __post_init__(self) -> None:
        count, zeros, negatives = self.counts
        low, high, total = self.numbers
        positives = count - zeros - negatives
        sketched = count - zeros - self.waiting.size
        if min(count, zeros, negatives, positives, sketched) < 0 or bool(sketched) != bool(
            self.sketch
        ):
            raise ValueError("its counts disagree")
        if not count:
            if self.numbers != (math.inf, -math.inf, 0.0):
                raise ValueError("it has extremes of no values")
            return
        bounds = (low < 0) == (negatives > 0) and (high > 0) == (positives > 0) and low <= high
        if not (bounds and all(map(math.isfinite, self.numbers))):
            raise ValueError("its extremes disagree with its counts")
        rounding = 1e-6 * max(-low, high)
        if not low - rounding <= total / count <= high + rounding:
            raise ValueError("its sum lies outside its extremes")
        waiting = self.waiting
        if (
            waiting.dtype != np.float32
            or waiting.ndim != 1
            or not ((low <= waiting) & (waiting <= high)).all()
        ):
            raise ValueError("its values lie outside its extremes")
        below = np.count_nonzero(waiting < 0)
        if not waiting.all() or not 0 <= negatives - below <= sketched:
            raise ValueError("its values disagree with its counts")


class Accumulator:
    """Count, zeros, extremes, mean and quantiles of every value it is given.

    Beyond EXACT values the nonzero ones go to a mergeable t-digest (Dunning and Ertl 2019; Apache
    DataSketches); zeros are counted exactly throughout.
    """

    def __init__(self) -> None:
        self.count = 0
        self.zeros = 0
        self.negatives = 0
        self.minimum = math.inf
        self.maximum = -math.inf
        self._sum = 0.0
        self._waiting: list[Array] = []
        self._waiting_count = 0
        self._sketch: datasketches.tdigest_double | None = None

    def update(self, values: Array) -> None:
        """Adds a non-empty array of finite numbers."""
        flat = np.asarray(values, np.float32).ravel()
        self.count += flat.size
        self.minimum = min(self.minimum, float(flat.min()))
        self.maximum = max(self.maximum, float(flat.max()))
        self._sum += float(flat.sum(dtype=np.float64))
        nonzero = flat[flat != 0]
        self.zeros += flat.size - nonzero.size
        self.negatives += int(np.count_nonzero(nonzero < 0))
        self._wait([nonzero])

    def merge(self, other: Accumulator) -> None:
        """Adds everything that `other` was given.

        Quantiles stay exact while both have at most EXACT nonzero values together; the rank error
        is that of the sketch beyond.
        """
        self.count += other.count
        self.zeros += other.zeros
        self.negatives += other.negatives
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self._sum += other._sum
        theirs = other._settled()
        if theirs is not None:
            mine = self._settled() or datasketches.tdigest_double(SKETCH_SIZE)
            mine.merge(theirs)
            self._sketch = mine
        self._wait(other._waiting)

    def _wait(self, values: list[Array]) -> None:
        """Keeps nonzero values, as many as may wait; the others enter the sketch."""
        self._waiting.extend(values)
        self._waiting_count += sum(v.size for v in values)
        limit = EXACT if self._sketch is None else CHUNK
        if self._waiting_count > limit:
            self._compact()

    def _settled(self) -> datasketches.tdigest_double | None:
        """A copy of the sketch as it is stored, with an empty buffer.

        All answers come from such a copy, so that a sketch read from a file gives the same ones.
        """
        if self._sketch is None:
            return None
        settled = copy.copy(self._sketch)
        settled.compress()
        return settled

    def _compact(self) -> None:
        """Moves whole chunks of the waiting values into the sketch."""
        if self._sketch is None:
            self._sketch = datasketches.tdigest_double(SKETCH_SIZE)
        waiting = np.concatenate(self._waiting)
        whole = waiting.size - waiting.size % CHUNK
        for chunk in np.sort(waiting[:whole].reshape(-1, CHUNK), axis=1):
            self._sketch.update(chunk[STRIDE // 2 :: STRIDE])
        self._waiting = [waiting[whole:].copy()]
        self._waiting_count = waiting.size - whole

    def quantiles(self, shares: Iterable[float]) -> Array:
        """Order statistics of 1-based index max(1, floor(q n)), q each share (spec 2.3)."""
        pooled, sketch = np.sort(np.concatenate(self._waiting)), self._settled()
        if sketch is not None and pooled.size >= STRIDE:
            sketch.update(pooled[STRIDE // 2 :: STRIDE])
        nonzero = self.count - self.zeros

        def ranked(share: float) -> float:
            index = max(1, math.floor(share * self.count))
            if self.negatives < index <= self.negatives + self.zeros:
                return 0.0
            position = index if index <= self.negatives else index - self.zeros
            return float(
                pooled[position - 1] if sketch is None else sketch.get_quantile(position / nonzero)
            )

        return np.array([ranked(float(share)) for share in shares], np.float32)

    def _ranked(self, index: int) -> float:
        """The value of 1-based rank `index` (at least the first)."""
        index = max(1, index)
        if self.negatives < index <= self.negatives + self.zeros:
            return 0.0
        position = index if index <= self.negatives else index - self.zeros
        pooled = np.concatenate(self._waiting)
        sketch = self._settled()
        if sketch is None:
            return float(np.partition(pooled, position - 1)[position - 1])
        if pooled.size >= STRIDE:
            sketch.update(np.sort(pooled)[STRIDE // 2 :: STRIDE])
        return float(sketch.get_quantile(position / (self.count - self.zeros)))

    def statistics(self, percentile: float) -> Statistics:
        """What a site stores; too few values for the percentile fall back to the extremes."""
        few = self.count * percentile / 100 < 1
        # 1 - p/100 is not exact, n (100 - p) / 100 is where it should be whole
        low = self.minimum if few else self._ranked(math.floor(self.count * percentile / 100))
        upper = math.floor(self.count * (100 - percentile) / 100)
        high = self.maximum if few else self._ranked(upper)
        numbers = (
            self.zeros / self.count,
            self.minimum,
            self.maximum,
            self._sum / self.count,
            low,
            high,
        )
        return Statistics(self.count, *(float(np.float32(v)) for v in numbers))

    def state(self) -> AccumulatorState:
        """What to store; `restored` makes an accumulator of it that gives the same answers."""
        sketch = self._settled()
        return AccumulatorState(
            (self.count, self.zeros, self.negatives),
            (self.minimum, self.maximum, self._sum),
            np.sort(np.concatenate([np.zeros(0, np.float32), *self._waiting])),
            b"" if sketch is None else sketch.serialize(),
        )

    @classmethod
    def restored(cls, state: AccumulatorState) -> Accumulator:
        """The accumulator of a stored state; ValueError if the sketch does not belong to it."""
        new = cls()
        new.count, new.zeros, new.negatives = state.counts
        new.minimum, new.maximum, new._sum = state.numbers
        if state.sketch:
            new._sketch = _sketch_of(state)
        new._wait([state.waiting])
        return new


def _sketch_of(state: AccumulatorState) -> datasketches.tdigest_double:
    try:
        sketch = datasketches.tdigest_double.deserialize(state.sketch)
    except (IndexError, MemoryError, RuntimeError) as error:
        raise ValueError(f"its sketch cannot be read: {error}") from None
    sketched = state.counts[0] - state.counts[1] - state.waiting.size
    if sketch.k != SKETCH_SIZE or sketch.get_total_weight() * STRIDE != sketched:
        raise ValueError("its sketch disagrees with its counts")
    ranks = np.linspace(0, 1, 65)
    quantiles = np.array([state.numbers[0], *map(sketch.get_quantile, ranks), state.numbers[1]])
    if not (np.diff(quantiles) >= -1e-6 * np.abs(quantiles[[0, -1]]).max()).all():
        raise ValueError("its sketch does not rise from minimum to maximum")
    return sketch
