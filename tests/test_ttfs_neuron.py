"""The neuron that fires at most once, in numpy: what every emission and every product obeys."""

from __future__ import annotations

from fractions import Fraction
from math import floor, nextafter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from snnc.errors import CompileError
from snnc.ir.neuron import format_neuron, make_neuron, parse_neuron
from snnc.ir.node import Array
from snnc.ir.spike_times import TOLERANCE, Products, balance
from snnc.neurons.ttfs import MOST_TICKS, TTFS

RESOLVED = 64
"""Units in the last place in a tick from which on rounding is less than TOLERANCE of it."""

RULES = st.sampled_from(TTFS.choices()["rule"])
PRODUCTS = TTFS.choices()["products"]


@st.composite
def neurons(draw: st.DrawFn) -> TTFS:
    p = draw(st.one_of(st.integers(1, 64), st.sampled_from([1024, 4095, MOST_TICKS])))
    return make_ttfs(p=p, rule=draw(RULES))


@st.composite
def ranges(draw: st.DrawFn, p: int) -> tuple[float, float]:
    """Of float32 ends, in which p ticks are far more apart than rounding."""
    low = draw(st.floats(-64, 64, width=32))
    high = float(np.float32(low + draw(st.floats(2.0**-6, 128, width=32))))
    assume(tick_of((low, high), p) >= RESOLVED * np.spacing(np.float32(max(-low, high))))
    return low, high


def make_ttfs(**parameters: Any) -> TTFS:
    made = make_neuron("ttfs", **parameters)
    assert isinstance(made, TTFS)
    return made


def tick_of(ends: tuple[float, float], p: int) -> float:
    return (ends[1] - ends[0]) / p


def numbers(draw: st.DataObject, ends: tuple[float, float], count: int = 40) -> Array:
    """float32 numbers in and around a range, its ends among them."""
    rng = np.random.default_rng(draw.draw(st.integers(0, 2**32)))
    width = ends[1] - ends[0]
    spread = rng.uniform(ends[0] - width / 4, ends[1] + width / 4, count)
    return np.concatenate([spread, ends]).astype(np.float32)


@given(st.data(), neurons())
def test_what_is_emitted(data: st.DataObject, neuron: TTFS) -> None:
    """Whole ticks, never further from x than the rule allows, monotone, and emitted again as is."""
    low, high = ends = data.draw(ranges(neuron.p))
    x = np.sort(numbers(data, ends))
    y = neuron.emit(x, low, high)
    # width, tick, multiple and sum are each rounded, by half a unit of the largest
    largest = np.float32(max(-low, high, high - low))
    tick, rounding = tick_of(ends, neuron.p), float(np.spacing(largest))
    assert y.dtype == np.float32 and y.shape == x.shape
    number = (y.astype(np.float64) - low) / tick
    assert (np.abs(number - np.rint(number)) * tick <= 2 * rounding).all()
    assert (np.rint(number) >= 0).all() and (np.rint(number) <= neuron.p).all()
    assert (y[x <= low] == low).all()
    assert np.abs(y[x >= high] - high).max() <= 2 * rounding
    inside = (x >= low) & (x <= high)
    early = (y.astype(np.float64) - x)[inside] / tick
    slack = 4 * rounding / tick
    assert early.max() <= neuron.early + slack
    assert early.min() >= neuron.early - 1 - slack
    assert (np.diff(y) >= 0).all()
    np.testing.assert_array_equal(neuron.emit(y, low, high), y)


@given(st.data(), neurons())
def test_ticks_of_what_is_emitted(data: st.DataObject, neuron: TTFS) -> None:
    """From the start of the window on, 0 for the largest number; -1 where the neuron is silent."""
    low, high = ends = data.draw(ranges(neuron.p))
    x = numbers(data, ends)
    y = neuron.emit(x, low, high)
    ticks = neuron.ticks(y, low, high)
    assert ticks.dtype == np.int32 and ticks.shape == x.shape
    assert (ticks >= -1).all() and (ticks < neuron.p).all()
    np.testing.assert_array_equal(ticks == -1, y == low)
    assert (ticks[x >= high] == 0).all()
    fired = ticks >= 0
    decoded = high - ticks[fired] * tick_of(ends, neuron.p)
    np.testing.assert_allclose(
        y[fired], decoded, rtol=0, atol=2 * np.spacing(np.float32(max(-low, high, high - low)))
    )


@given(RULES, st.integers(0, 10), st.integers(-300, 1300))
def test_exactly_as_in_rational_numbers(rule: str, power: int, thousandths: int) -> None:
    """In [-1, 1] and with 2^power ticks nothing is rounded but x and the ticks of `early`."""
    neuron = make_ttfs(p=2**power, rule=rule)
    x = np.asarray(-1 + 2 * thousandths / 1000, np.float32)
    exact = (Fraction(float(x)) + 1) * neuron.p / 2 + Fraction(neuron.early)
    assume(abs(exact - round(exact)) > Fraction(1, 1000))
    number = min(max(floor(exact), 0), neuron.p) if x > -1 else 0
    assert neuron.emit(x, -1.0, 1.0) == -1 + number * 2 / neuron.p
    assert neuron.ticks(neuron.emit(x, -1.0, 1.0), -1.0, 1.0) == (
        neuron.p - number if number else -1
    )


@pytest.mark.parametrize("number", range(17))
def test_a_crossing_at_a_tick_fires_in_it(number: int) -> None:
    tick = np.float32(2 / 16)
    at = np.asarray(np.float32(-1) + number * tick)
    causal, nearest = TTFS(16), TTFS(16, "nearest")
    for neuron in (causal, nearest):
        assert neuron.emit(at, -1.0, 1.0) == at
    if number > 0:
        late = np.asarray(at - np.float32(TOLERANCE / 2) * tick)
        assert causal.emit(late, -1.0, 1.0) == at  # as good as at the tick
        missed = np.asarray(at - np.float32(2 * TOLERANCE) * tick)
        assert causal.emit(missed, -1.0, 1.0) == at - tick
        tie = np.asarray(at - tick / 2)
        assert nearest.emit(tie, -1.0, 1.0) == at  # it fires at the earlier of two ticks
        further = np.asarray(at - np.float32(0.5 + 2 * TOLERANCE) * tick)
        assert nearest.emit(further, -1.0, 1.0) == at - tick


@pytest.mark.parametrize("rule", TTFS.choices()["rule"])
@pytest.mark.parametrize("ends", [(-1.0, 3.0), (0.0, 2.0), (1.0, 2.0), (-2.0, -1.0), (-3.0, 0.0)])
def test_extremes(rule: str, ends: tuple[float, float]) -> None:
    neuron, (low, high) = make_ttfs(p=8, rule=rule), ends
    x = np.array([np.nan, -np.inf, -3e38, low, np.inf, 3e38, high], np.float32)
    np.testing.assert_array_equal(neuron.emit(x, low, high), [low] * 4 + [high] * 3)
    np.testing.assert_array_equal(
        neuron.ticks(neuron.emit(x, low, high), low, high), [-1] * 4 + [0] * 3
    )
    least = np.array([nextafter(low, np.inf), low], np.float32)
    np.testing.assert_array_equal(neuron.emit(least, low, high), [low, low])


def test_zero_is_positive_zero() -> None:
    found = TTFS(8).emit(np.array([0.0, -0.0, 1e-45, -1e-45, -5.0], np.float32), 0.0, 1.0)
    np.testing.assert_array_equal(found, np.zeros(5))
    assert not np.signbit(found).any()


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 4)])
def test_shapes_stay(shape: tuple[int, ...]) -> None:
    x = np.full(shape, 0.3)
    for products in PRODUCTS:
        neuron = make_ttfs(p=4, products=products)
        assert neuron.emit(x, 0.0, 1.0).shape == shape
        assert neuron.ticks(neuron.emit(x, 0.0, 1.0), 0.0, 1.0).shape == shape
        product = neuron.product(x, x, (0.0, 1.0), (-1.0, 1.0))
        assert product.shape == shape and product.dtype == np.float32


@given(st.data(), RULES, st.sampled_from(PRODUCTS), st.sampled_from([16, 1000, MOST_TICKS]))
def test_products(data: st.DataObject, rule: str, products: Products, p: int) -> None:
    """The error of a product is at most that of the neurons in between, carried to the result."""
    neuron = make_ttfs(p=p, rule=rule, products=products)
    a_range, b_range = (
        (low, low + data.draw(st.floats(0.125, 8, width=32)))
        for low in (data.draw(st.floats(-4, 4, width=32)) for _ in range(2))
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    a, b = (rng.uniform(*ends, 50).astype(np.float32) for ends in (a_range, b_range))
    exact = a.astype(np.float64) * b
    error = np.abs(neuron.product(a, b, a_range, b_range) - exact)
    away = max(neuron.early, 1 - neuron.early)
    size = max(map(abs, (*a_range, *b_range))) ** 2
    if products == "ideal":
        bound = 0.0
    elif products == "quarter":
        c = balance(a_range, b_range)
        (a_low, a_high), (b_low, b_high) = ([e * c for e in a_range], [e / c for e in b_range])
        width = (a_high - a_low + b_high - b_low) / p * away
        most = max(map(abs, (a_low + b_low, a_high + b_high, a_low - b_high, a_high - b_low)))
        bound = (2 * most * width + width**2) / 2
    else:
        wide = [1 + high - low for low, high in (a_range, b_range)]
        bound = float(np.prod(wide)) * np.expm1(np.log(wide).sum() / p * away)
        size += 16 * float(np.prod(wide))
    assert error.max() <= bound * 1.001 + 1e-5 * (1 + size)


@given(st.floats(-8, 8, width=32), st.floats(-8, 8, width=32))
def test_quarter_squares_are_even_handed(low: float, other: float) -> None:
    """Factors in either order give one product, up to what their balance rounds."""
    neuron = TTFS(256, "nearest")
    a_range, b_range = (low, low + 2), (other, other + 2)
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(*ends, 30).astype(np.float32) for ends in (a_range, b_range))
    mine = neuron.product(a, b, a_range, b_range)
    theirs = neuron.product(b, a, b_range, a_range)
    most = max(abs(low + other), abs(low + other + 4), abs(low - other) + 2)
    assert np.abs(mine - theirs).max() <= 2 * most * 4 / 256 + 1e-3


@pytest.mark.parametrize("p", [0, -1, MOST_TICKS + 1, 2.5, "8", None, True])
def test_time_precisions_that_are_refused(p: Any) -> None:
    with pytest.raises(CompileError, match="is out of range"):
        TTFS(p=p)


def test_as_users_write_it() -> None:
    neuron = parse_neuron("ttfs:p=64:rule=nearest:products=logexp")
    assert neuron == TTFS(64, "nearest", "logexp")
    assert parse_neuron(format_neuron(neuron)) == neuron
    four: Any = np.int64(4)
    assert TTFS(p=four) == TTFS(p=4) and type(TTFS(p=four).p) is int
    for text in ("ttfs:p=1.5", "ttfs:rule=late", "ttfs:products=exact", "ttfs:ticks=4", "ttfs:p"):
        with pytest.raises(CompileError):
            parse_neuron(text)
