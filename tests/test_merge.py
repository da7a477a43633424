"""Accumulators and reservoirs of shards merge into those of the whole."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.ir.node import Array
from snnc.passes import sketch
from snnc.passes.sketch import EXACT, Accumulator, AccumulatorState
from snnc.reservoir import RUN, Reservoir, runs
from snnc.shards import Part, Shard, batch_of, missing
from tests.test_sketch import (
    LARGE,
    PERCENTILES,
    QUANTILES,
    RANK_ERROR,
    accumulated,
    assert_plain_statistics,
    every_distribution,
    in_chunks,
    order_statistic,
    rank_error,
    sample,
)


def merged(parts: list[Accumulator]) -> Accumulator:
    whole = Accumulator()
    for part in parts:
        whole.merge(part)
    return whole


def restored(accumulator: Accumulator) -> Accumulator:
    return Accumulator.restored(accumulator.state())


numbers = st.sampled_from((0.0, -0.0)) | st.floats(-(2.0**60), 2.0**60, width=32)


# --- accumulators, exact ------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(numbers, max_size=20), min_size=1, max_size=6), st.floats(0, 1))
def test_any_parts_merge_exactly(parts: list[list[float]], q: float) -> None:
    arrays = [np.array(part, np.float32) for part in parts]
    values = np.concatenate(arrays)
    whole = merged([restored(accumulated([a] if a.size else [])) for a in arrays])
    assert whole.count == values.size
    if values.size:
        assert float(whole.quantiles([q])[0]) == order_statistic(np.sort(values), q)
        assert whole.negatives == np.count_nonzero(values < 0)
        assert_plain_statistics(whole, values)


def test_parts_that_are_exact_together_stay_so_up_to_the_limit() -> None:
    values = sample("normal", EXACT)
    whole = merged([accumulated([part]) for part in np.array_split(values, 7)])
    ordered = np.sort(values)
    assert [float(whole.quantiles([q])[0]) for q in QUANTILES] == [
        order_statistic(ordered, q) for q in QUANTILES
    ]


# --- accumulators, beyond the limit -------------------------------------------------------------


@every_distribution
def test_rank_error_of_four_shards_where_thresholds_lie(name: str) -> None:
    """The error allowed to the whole in test_sketch.py; two shards have a sketch, two do not."""
    values = sample(name, LARGE, seed=3)
    cuts = [EXACT + 200_000, EXACT + 500_000, 2 * EXACT - 100_000]
    whole = merged([accumulated(in_chunks(p, 65_536)) for p in np.split(values, cuts)])
    ordered = np.sort(values)
    for percentile in PERCENTILES:
        found = whole.statistics(percentile)
        allowed = 0.00005 if percentile <= 1 else RANK_ERROR
        share = percentile / 100
        assert rank_error(ordered, share, found.low) <= allowed, percentile
        assert rank_error(ordered, 1 - share, found.high) <= allowed, percentile
    assert_plain_statistics(whole, values)


def test_many_large_shards_in_any_order() -> None:
    rng = np.random.default_rng(4)
    parts = [rng.normal(i % 3, 1 + i, EXACT + 200_000 * i) for i in range(4)]
    ordered = np.sort(np.concatenate(parts).astype(np.float32))
    states = [accumulated(in_chunks(p, 99_999)).state() for p in parts]
    for order in list(permutations(range(4)))[::5]:
        whole = merged([Accumulator.restored(states[i]) for i in order])
        assert whole.count == ordered.size
        for q in (0.01, 0.99):
            assert rank_error(ordered, q, float(whole.quantiles([q])[0])) <= 0.0001
        assert rank_error(ordered, 0.5, float(whole.quantiles([0.5])[0])) <= RANK_ERROR


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 6000), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.randoms(use_true_random=False),
)
def test_exact_and_sketched_parts_in_any_tree(
    sizes: list[int], seed: int, q: float, random: Random
) -> None:
    """With small limits, so that parts of every kind meet: merged two by two, saved in between."""
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketch, "EXACT", 1500)
        patch.setattr(sketch, "CHUNK", 1024)
        arrays = [
            np.maximum(rng.normal(i, 2, n), 0).astype(np.float32) for i, n in enumerate(sizes)
        ]
        tree = [accumulated(in_chunks(a, 700)) for a in arrays]
        while len(tree) > 1:
            left = tree.pop(random.randrange(len(tree)))
            tree[-1].merge(restored(left))
        values = np.sort(np.concatenate(arrays))
        assert tree[0].count == values.size
        assert tree[0].zeros == np.count_nonzero(values == 0)
        if values.size:
            assert (tree[0].minimum, tree[0].maximum) == (values[0], values[-1])
            # a chunk of 1024 hands on every 16th value: 1.6 %, and up to 15 wait unseen
            allowed = 0.02 + 16 / values.size
            if np.count_nonzero(values) <= 1500:
                allowed = 0.0
            assert rank_error(values, q, float(tree[0].quantiles([q])[0])) <= allowed


def test_merging_with_nothing_changes_nothing() -> None:
    accumulator = accumulated(in_chunks(sample("normal", LARGE), 99_999))
    before = accumulator.statistics(1.0)
    accumulator.merge(Accumulator())
    assert accumulator.statistics(1.0) == before
    assert merged([accumulator]).statistics(1.0) == before


# --- stored state -------------------------------------------------------------------------------


@every_distribution
@pytest.mark.parametrize("count", [1, 5000, LARGE])
def test_a_restored_accumulator_gives_the_same_answers(name: str, count: int) -> None:
    accumulator = accumulated(in_chunks(sample(name, count), 88_888))
    again = restored(accumulator)
    assert again.quantiles(QUANTILES).tolist() == accumulator.quantiles(QUANTILES).tolist()
    assert again.statistics(1.0) == accumulator.statistics(1.0)
    first, second = accumulator.state(), again.state()
    assert (first.counts, first.numbers, first.sketch) == (
        second.counts,
        second.numbers,
        second.sketch,
    )
    np.testing.assert_array_equal(first.waiting, second.waiting)


def test_storing_changes_nothing() -> None:
    chunks = in_chunks(sample("normal", LARGE), 99_999)
    stored = Accumulator()
    for chunk in chunks:
        stored.update(chunk)
        stored.state()
    assert stored.statistics(1.0) == accumulated(chunks).statistics(1.0)


GOOD = accumulated([np.array([-2.0, 0.0, 1.0, 3.0], np.float32)]).state()
WRONG: dict[str, dict[str, Any]] = {
    "negative count": {"counts": (-4, 1, 1)},
    "more zeros than values": {"counts": (4, 5, 1)},
    "more negatives than values": {"counts": (4, 1, 4)},
    "fewer values than waiting": {"counts": (3, 1, 1)},
    "more values than waiting": {"counts": (5, 1, 1)},
    "no count": {"counts": (0, 0, 0)},
    "nan": {"numbers": (-2.0, math.nan, 2.0)},
    "infinite maximum": {"numbers": (-2.0, math.inf, 2.0)},
    "infinite sum": {"numbers": (-2.0, 3.0, math.inf)},
    "extremes exchanged": {"numbers": (3.0, -2.0, 2.0)},
    "minimum of no negative": {"numbers": (0.0, 3.0, 2.0)},
    "sum beyond the extremes": {"numbers": (-2.0, 3.0, 13.0)},
    "waiting beyond the extremes": {"waiting": np.array([-2.0, 1.0, 3.5], np.float32)},
    "waiting nan": {"waiting": np.array([-2.0, 1.0, math.nan], np.float32)},
    "waiting zero": {"waiting": np.array([-2.0, 0.0, 3.0], np.float32)},
    "waiting negatives": {"waiting": np.array([-2.0, -1.0, 3.0], np.float32)},
    "waiting doubles": {"waiting": np.array([-2.0, 1.0, 3.0])},
    "a sketch of nothing": {"sketch": b"\x01"},
}


@pytest.mark.parametrize("case", WRONG)
def test_a_state_that_no_values_lead_to_is_refused(case: str) -> None:
    fields = vars(GOOD) | WRONG[case]
    with pytest.raises(ValueError, match=r"its|it has"):
        AccumulatorState(**fields)


def test_a_sketch_that_is_not_its_own_is_refused() -> None:
    state = accumulated(in_chunks(sample("normal", LARGE), 99_999)).state()
    other = accumulated(in_chunks(1000 * sample("normal", LARGE), 99_999)).state()
    more = accumulated(in_chunks(sample("normal", 2 * LARGE), 99_999)).state()
    for wrong in (other.sketch, more.sketch, state.sketch[:-9], state.sketch[:5], b"x"):
        bad = AccumulatorState(state.counts, state.numbers, state.waiting, wrong)
        with pytest.raises(ValueError, match=r"its sketch|mismatch"):
            Accumulator.restored(bad)


# --- reservoirs ---------------------------------------------------------------------------------


def reservoir_of(values: Array, shard: Shard, **bounds: int) -> Reservoir:
    """Of the shard's batches of 10 rows."""
    reservoir = Reservoir(**bounds)  # type: ignore[arg-type]
    for number, start in enumerate(range(0, len(values), 10)):
        if number % shard.of == shard.number - 1:
            reservoir.add(batch_of({"x": values[start : start + 10]}, start, splittable=True))
    return reservoir


def places(reservoir: Reservoir) -> list[int]:
    return [kept.place for kept in reservoir.kept()]


@pytest.mark.parametrize("of", [2, 5, 30])
@pytest.mark.parametrize("limit", [7, 100, 1000])
def test_reservoirs_of_shards_merge_into_the_reservoir_of_the_whole(of: int, limit: int) -> None:
    values = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    whole = reservoir_of(values, Shard(), limit=limit)
    shards = [reservoir_of(values, Shard(i + 1, of), limit=limit) for i in range(of)]
    both = Reservoir(limit=limit)
    for i in np.random.default_rng(of).permutation(of):
        both.merge(shards[i])
    assert (both.seen, len(both)) == (500, min(limit, 500))
    assert places(both) == places(whole) == sorted(places(whole))
    for mine, theirs in zip(both.batches(16), whole.batches(16), strict=True):
        np.testing.assert_array_equal(mine["x"], theirs["x"])


def test_every_sample_is_as_likely_to_be_kept() -> None:
    """Of 120 samples 30 are kept, 300 times over: chi-square with 119 degrees of freedom."""
    rng = np.random.default_rng(5)
    kept: Counter[int] = Counter()
    for _ in range(300):
        values = rng.normal(size=(120, 2)).astype(np.float32)
        shards = [reservoir_of(values, Shard(i, 3), limit=30) for i in (1, 2, 3)]
        for other in shards[1:]:
            shards[0].merge(other)
        kept.update(places(shards[0]))
    expected = 300 * 30 / 120
    spread = sum((kept[i] - expected) ** 2 for i in range(120)) / (expected * (1 - 30 / 120))
    assert sum(kept.values()) == 9000
    assert 70 < spread < 190


def test_equal_samples_are_kept_like_others() -> None:
    """A stream that repeats a few samples is not sampled by the kind."""
    values = np.repeat(np.arange(10, dtype=np.float32), 200)[:, None]
    kept = np.array(places(reservoir_of(values, Shard(), limit=500))) // 200
    assert np.bincount(kept, minlength=10).min() > 25


def test_the_first_few_are_a_uniform_choice_too() -> None:
    reservoir = reservoir_of(np.arange(1000, dtype=np.float32)[:, None], Shard(), limit=400)
    few = [kept.place for kept in reservoir.kept(50)]
    assert len(few) == reservoir.samples(50).count == 50
    assert set(few) < set(places(reservoir))
    assert 350 < np.mean(few) < 650


@pytest.mark.parametrize(
    ("count", "size"), [(512, 128), (60, 15), (17, 17), (20, 5), (4, 1), (3, 0)]
)
def test_parts_of_a_reservoir_keep_neighbours_together(count: int, size: int) -> None:
    """Runs of at most RUN neighbours, none of which stands at an end unless all are apart."""
    whole = reservoir_of(np.arange(1000, dtype=np.float32)[:, None], Shard(), limit=count)
    rest, apart = map(places, whole.parted(size))
    assert sorted(rest + apart) == places(whole)
    assert len(apart) == size
    order = np.searchsorted(places(whole), apart)
    lengths = np.diff(np.flatnonzero(np.diff(order, prepend=-9, append=count + 9) > 1))
    if size < count:
        assert len(lengths) == -(-size // RUN)
        assert all(length <= RUN for length in lengths)
        assert not size or 0 < order[0] <= order[-1] < count - 1
    assert whole.parted(size)[0].samples(5).count == min(5, count - size)


@pytest.mark.parametrize(("count", "lengths"), [(40, [10] * 4), (7, [1] * 7), (70, [16] * 4 + [6])])
def test_runs_of_neighbours(count: int, lengths: list[int]) -> None:
    assert np.bincount(runs(count)).tolist() == lengths


def test_bounds_hold_after_merging_samples_of_other_sizes() -> None:
    small, large = Reservoir(megabytes=1), Reservoir(megabytes=1)
    small.add(batch_of({"x": np.ones((300, 100), np.float32)}, 0, splittable=True))
    large.add(batch_of({"x": np.ones((4, 2**17), np.float32)}, 0, splittable=True))
    assert (len(small), len(large)) == (300, 2)
    small.merge(large)
    assert len(small) == small.capacity == 2


# --- shards -------------------------------------------------------------------------------------


def test_missing_shards_are_told() -> None:
    def parts(*numbers: int, of: int = 4, data: str = "a") -> list[Part]:
        return [Part(data, Shard(n, of), 10) for n in numbers]

    assert missing(parts(1, 2, 3, 4)) == []
    assert missing(parts(2, 4)) == ["1/4", "3/4"]
    assert missing(parts(1, of=1) + parts(1, of=2, data="b")) == ["2/2"]
