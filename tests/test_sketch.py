"""Accumulator: exact order statistics while it can hold them, a bounded rank error beyond."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.ir.node import Array, Statistics
from snnc.passes.sketch import CHUNK, EXACT, STRIDE, Accumulator

Draw: TypeAlias = Callable[[np.random.Generator, int], Array]

RANK_ERROR = 0.001
QUANTILES = (0.0, 1e-6, 0.001, 0.01, 0.25, 0.5, 0.7, 0.9, 0.99, 0.999, 1.0)
PERCENTILES = (0.1, 1.0, 2.5, 10.0, 49.0)


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(-3, 1, n),
    "relu": lambda rng, n: relu(rng.normal(size=n)),
    "mostly zeros": lambda rng, n: relu(rng.normal(-2.5, 1, n)),
    "relu6": lambda rng, n: np.clip(rng.normal(3, 4, n), 0, 6),
    "gelu plateau": lambda rng, n: np.where(
        (x := rng.normal(0, 3, n)) > 0, x, np.maximum(x, -0.17)
    ),
    "integers": lambda rng, n: rng.integers(-5, 12, n),
    "cauchy": lambda rng, n: np.clip(rng.standard_cauchy(n), -1e30, 1e30),
    "lognormal": lambda rng, n: rng.lognormal(0, 4, n),
    "probabilities": lambda rng, n: rng.beta(0.05, 5, n),
    "outlier channels": lambda rng, n: rng.normal(size=n) * np.where(np.arange(n) % 100, 1, 500),
    "rising": lambda rng, n: np.arange(n) - n / 3,
    "drifting": lambda rng, n: rng.normal(np.linspace(-4, 4, n)),
}
every_distribution = pytest.mark.parametrize("name", DISTRIBUTIONS)


def sample(name: str, count: int, seed: int = 1) -> Array:
    return np.asarray(DISTRIBUTIONS[name](np.random.default_rng(seed), count), np.float32)


def accumulated(chunks: Iterable[Array]) -> Accumulator:
    accumulator = Accumulator()
    for chunk in chunks:
        accumulator.update(chunk)
    return accumulator


def in_chunks(values: Array, size: int) -> list[Array]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def order_statistic(ordered: Array, q: float) -> float:
    """The 1-based index max(1, floor(q n)) of spec 2.3."""
    return float(ordered[max(1, math.floor(q * len(ordered))) - 1])


def rank_error(ordered: Array, q: float, value: float) -> float:
    """How far the ranks that `value` could have are from the one asked for, as a share."""
    first, last = (np.searchsorted(ordered, np.float32(value), side=s) for s in ("left", "right"))
    wanted = max(1, math.floor(q * len(ordered)))
    apart = max(0, int(first) + 1 - wanted, wanted - max(int(last), int(first) + 1))
    return apart / len(ordered)


def assert_plain_statistics(accumulator: Accumulator, values: Array) -> None:
    found = accumulator.statistics(1.0)
    assert found.count == accumulator.count == values.size
    assert found.zeros == float(np.float32(np.count_nonzero(values == 0) / values.size))
    assert (found.minimum, found.maximum) == (float(values.min()), float(values.max()))
    mean = math.fsum(values.astype(np.float64)) / values.size
    rounding = 1e-9 * float(np.abs(values).max())
    assert found.mean == pytest.approx(mean, rel=1e-6, abs=1e-44 + rounding)


# --- exact --------------------------------------------------------------------------------------


@every_distribution
@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 4999])
def test_few_values_give_exact_order_statistics(name: str, count: int) -> None:
    values = sample(name, count)
    accumulator = accumulated(in_chunks(values, 37))
    ordered = np.sort(values)
    for q in QUANTILES:
        assert accumulator.quantiles([q])[0] == order_statistic(ordered, q)
    assert_plain_statistics(accumulator, values)


@pytest.mark.parametrize("name", ["normal", "relu", "integers"])
def test_exact_up_to_the_limit(name: str) -> None:
    values = sample(name, EXACT)
    accumulator = accumulated(in_chunks(values, 300_000))
    ordered = np.sort(values)
    for q in QUANTILES:
        assert accumulator.quantiles([q])[0] == order_statistic(ordered, q)


def test_zeros_do_not_count_towards_the_limit() -> None:
    values = np.zeros(3 * EXACT, np.float32)
    values[:: 3 * 2**10] = np.arange(1, 2**10 + 1)
    accumulator = accumulated(in_chunks(values, EXACT))
    ordered = np.sort(values)
    for q in (0.1, 0.9, 1 - 2.0**-13, 1.0):
        assert accumulator.quantiles([q])[0] == order_statistic(ordered, q)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.lists(
            st.sampled_from((0.0, -0.0)) | st.floats(-(2.0**60), 2.0**60, width=32),
            min_size=1,
            max_size=20,
        ),
        min_size=1,
        max_size=8,
    ),
    st.floats(0, 1),
)
def test_any_values_in_any_chunks(chunks: list[list[float]], q: float) -> None:
    arrays = [np.array(chunk, np.float32) for chunk in chunks]
    values = np.concatenate(arrays)
    accumulator = accumulated(arrays)
    assert accumulator.quantiles([q])[0] == order_statistic(np.sort(values), q)
    assert_plain_statistics(accumulator, values)


def test_shape_of_a_batch_does_not_matter() -> None:
    values = sample("normal", 840)
    batches = [values[:360].reshape(3, 4, 30), values[360:].reshape(2, 240)]
    assert accumulated(batches).statistics(5.0) == accumulated([values]).statistics(5.0)


# --- special streams ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 1000, 2 * EXACT])
def test_only_zeros(count: int) -> None:
    accumulator = accumulated([np.zeros(count, np.float32)])
    assert accumulator.statistics(1.0) == Statistics(count, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert accumulator.quantiles([0.0])[0] == accumulator.quantiles([1.0])[0] == 0.0


@pytest.mark.parametrize("value", [-2.5, 0.1, 7.0])
@pytest.mark.parametrize("count", [1, 1000, EXACT + CHUNK + 5])
def test_one_value_over_and_over(value: float, count: int) -> None:
    single = float(np.float32(value))
    found = accumulated([np.full(count, value, np.float32)]).statistics(1.0)
    assert (found.low, found.high) == (single, single)
    assert (found.minimum, found.maximum, found.zeros) == (single, single, 0.0)
    assert found.mean == pytest.approx(single)


@pytest.mark.parametrize("extreme", [-3.0, 3.0])
def test_one_value_among_zeros(extreme: float) -> None:
    values = np.zeros(1000, np.float32)
    values[17] = extreme
    found = accumulated([values]).statistics(1.0)
    assert (found.low, found.high) == (0.0, 0.0)
    assert (found.minimum, found.maximum) == (min(extreme, 0.0), max(extreme, 0.0))


@pytest.mark.parametrize(
    ("count", "percentile", "extremes"),
    [
        (99, 1.0, True),
        (100, 1.0, False),
        (999, 0.1, True),
        (1000, 0.1, False),
        (5, 0.0, True),
        (10**6, 0.0, True),
        (2 * EXACT, 0.0, True),
        (2, 49.0, True),
        (3, 49.0, False),
    ],
)
def test_too_few_values_for_the_percentile_give_the_extremes(
    count: int, percentile: float, extremes: bool
) -> None:
    """An order statistic of 1..n can be its minimum, but never its maximum."""
    values = np.arange(1, count + 1, dtype=np.float32)
    found = accumulated([values[::-1]]).statistics(percentile)
    assert found.low == (1.0 if extremes else max(1, math.floor(percentile / 100 * count)))
    highest = math.floor((1 - percentile / 100) * count)
    assert found.high == (float(count) if extremes else highest)


def test_percentiles_of_one_to_a_thousand() -> None:
    values = np.random.default_rng(3).permutation(np.arange(1, 1001, dtype=np.float32))
    pairs = {
        p: (s.low, s.high)
        for p in (0.1, 1.0, 2.5, 10.0)
        if (s := accumulated([values]).statistics(p))
    }
    assert pairs == {0.1: (1, 999), 1.0: (10, 990), 2.5: (25, 975), 10.0: (100, 900)}


# --- beyond the limit ---------------------------------------------------------------------------

LARGE = 2 * EXACT + 12_345


@every_distribution
def test_rank_error_beyond_the_limit(name: str) -> None:
    values = sample(name, LARGE)
    accumulator = accumulated(in_chunks(values, 100_003))
    ordered = np.sort(values)
    errors = {q: rank_error(ordered, q, accumulator.quantiles([q])[0]) for q in QUANTILES}
    assert max(errors.values()) <= RANK_ERROR, errors
    assert_plain_statistics(accumulator, values)


@every_distribution
def test_rank_error_where_thresholds_lie(name: str) -> None:
    """0.005 % of the ranks: a twentieth of the share that p = 0.1 cuts off."""
    values = sample(name, LARGE, seed=2)
    accumulator = accumulated(in_chunks(values, 65_536))
    ordered = np.sort(values)
    for percentile in PERCENTILES:
        found = accumulator.statistics(percentile)
        allowed = 0.00005 if percentile <= 1 else RANK_ERROR
        share = percentile / 100
        assert rank_error(ordered, share, found.low) <= allowed, percentile
        assert rank_error(ordered, 1 - share, found.high) <= allowed, percentile
        assert found.minimum <= found.low <= found.high <= found.maximum


def test_quantiles_rise(name: str = "outlier channels") -> None:
    accumulator = accumulated(in_chunks(sample(name, LARGE), 50_000))
    assert (np.diff([accumulator.quantiles([q])[0] for q in np.linspace(0, 1, 201)]) >= 0).all()


@pytest.mark.parametrize("name", ["normal", "relu6"])
def test_same_stream_gives_the_same_statistics(name: str) -> None:
    chunks = in_chunks(sample(name, LARGE), 99_999)
    first, second = (accumulated(chunks) for _ in range(2))
    assert [first.statistics(p) for p in PERCENTILES] == [second.statistics(p) for p in PERCENTILES]


def test_asking_changes_nothing() -> None:
    chunks = in_chunks(sample("normal", LARGE), 99_999)
    asked = Accumulator()
    for chunk in chunks:
        asked.update(chunk)
        asked.quantiles([0.3])[0]
    assert asked.statistics(1.0) == accumulated(chunks).statistics(1.0)


@pytest.mark.parametrize("name", ["normal", "relu", "cauchy", "drifting"])
def test_chunking_does_not_matter_beyond_the_error(name: str) -> None:
    values = sample(name, LARGE)
    ordered = np.sort(values)
    sizes = (10_007, CHUNK, EXACT, LARGE)
    for size in sizes:
        found = accumulated(in_chunks(values, size)).statistics(1.0)
        assert rank_error(ordered, 0.01, found.low) <= 0.0002, size
        assert rank_error(ordered, 0.99, found.high) <= 0.0002, size


def test_a_batch_larger_than_the_limit_in_one_piece() -> None:
    values = sample("normal", 3 * EXACT)
    ordered = np.sort(values)
    assert rank_error(ordered, 0.99, accumulated([values]).quantiles([0.99])[0]) <= 0.0002


@pytest.mark.parametrize("spare", [0, 1, STRIDE // 2, STRIDE, STRIDE + 1])
def test_values_still_waiting_are_counted(spare: int) -> None:
    values = np.concatenate([sample("normal", EXACT + CHUNK), np.full(spare, 50.0, np.float32)])
    accumulator = accumulated(in_chunks(values, CHUNK))
    assert accumulator.count == values.size
    ordered = np.sort(values)
    for q in (0.001, 0.5, 0.999):
        assert rank_error(ordered, q, accumulator.quantiles([q])[0]) <= RANK_ERROR


def test_memory_stays_bounded() -> None:
    accumulator = accumulated(in_chunks(sample("normal", LARGE), 30_000))
    waiting = sum(chunk.size for chunk in accumulator._waiting)
    assert waiting <= CHUNK + 30_000
