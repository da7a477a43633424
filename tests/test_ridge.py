"""Least squares of a change of weights that stays near zero."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.ir.node import Array
from snnc.passes.ridge import STRENGTHS, Change, Rows, refit


def rows(rng: np.random.Generator, count: int, true: Array, noise: float, shift: float) -> Rows:
    """Results that lack `true` [groups, K, channels] times the inputs, and a shift."""
    inputs = rng.normal(1, 1, (len(true), count, true.shape[1])).astype(np.float32)
    chance = rng.normal(0, 1, (len(true), count, true.shape[2]))
    return Rows(inputs, (inputs @ true + shift + noise * chance).astype(np.float32))


def expected(halves: Sequence[Rows], strength: float) -> Change:
    """By numpy's least squares, one group after another: the cost as further rows."""
    x, wrong = (np.concatenate([getattr(r, n) for r in halves], 1) for n in ("inputs", "wrong"))
    weights, biases = [], []
    for inputs, lacks in zip(x.astype(np.float64), wrong.astype(np.float64), strict=True):
        middle, mean = inputs.mean(0), lacks.mean(0)
        apart, width = inputs - middle, inputs.shape[1]
        cost = np.sqrt(strength * np.square(apart).sum() / width)
        above = np.concatenate([apart, cost * np.eye(width)])
        below = np.concatenate([lacks - mean, np.zeros((width, lacks.shape[1]))])
        weights.append(np.linalg.lstsq(above, below, rcond=None)[0])
        biases.append((mean - middle @ weights[-1])[None])
    return Change(np.stack(weights), np.stack(biases))


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 99),
    groups=st.integers(1, 2),
    count=st.integers(2, 24),
    width=st.integers(1, 24),
    channels=st.integers(1, 3),
)
def test_the_change_is_that_of_least_squares(
    seed: int, groups: int, count: int, width: int, channels: int
) -> None:
    """Of more rows than inputs and of less, at the strength that was chosen."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1, (groups, width, channels))
    halves = [rows(rng, count, true, 0.5, 2.0) for _ in range(2)]
    found = refit(([halves[0]], [halves[1]]))
    if found is None:
        return
    if not found.weights.any():
        np.testing.assert_allclose(found.biases, expected(halves, 1e12).biases, atol=1e-3)
        return
    distances = [
        np.abs(found.weights - expected(halves, strength).weights).max() for strength in STRENGTHS
    ]
    assert min(distances) < 1e-3
    best = expected(halves, STRENGTHS[int(np.argmin(distances))])
    np.testing.assert_allclose(found.biases, best.biases, atol=1e-2)


@pytest.mark.parametrize(("noise", "weakest"), [(0.0, True), (3.0, False)])
def test_noise_asks_for_strength(noise: float, weakest: bool) -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 0.3, (1, 16, 2))
    halves = [rows(rng, 60, true, noise, 0.0) for _ in range(2)]
    found = refit(([halves[0]], [halves[1]]))
    assert found is not None
    distance = np.abs(found.weights - expected(halves, STRENGTHS[-1]).weights).max()
    assert (distance < 1e-4) == weakest
    unseen = rows(np.random.default_rng(1), 500, true, 0.0, 0.0)
    assert found.error(unseen) < float(np.square(unseen.wrong).sum())


def test_a_shift_alone_leaves_weights_as_they_are() -> None:
    """Where what the one half's inputs suggest beyond it is wrong for the other."""
    true = np.random.default_rng(0).normal(0, 1, (1, 8, 2))
    one, other = (rows(np.random.default_rng(1), 50, sign * true, 0.0, 0.0) for sign in (1, -1))
    for half in (one, other):
        half.wrong[:] += 2.0 - half.wrong.mean(1)
    found = refit(([one], [other]))
    assert found is not None and not found.weights.any()
    np.testing.assert_allclose(found.biases, 2.0, atol=1e-5)


def test_halves_that_ask_for_the_opposite_change_nothing() -> None:
    true = np.random.default_rng(0).normal(0, 1, (1, 8, 2))
    one, other = (rows(np.random.default_rng(1), 50, sign * true, 0.0, 0.0) for sign in (1, -1))
    assert refit(([one], [other])) is None


@pytest.mark.parametrize("case", ["no rows", "not a number", "infinity", "nothing wrong"])
def test_without_knowledge_nothing_changes(case: str) -> None:
    rng = np.random.default_rng(0)
    some = rows(rng, 20, np.ones((1, 3, 2)), 0.0, 0.0)
    if case == "no rows":
        assert refit(([some], [])) is None
        return
    if case == "nothing wrong":
        some.wrong[:] = 0
    else:
        some.wrong[0, 3, 1] = np.nan if case == "not a number" else np.inf
    assert refit(([some], [some])) is None


def test_inputs_that_never_change_keep_their_weights() -> None:
    rng = np.random.default_rng(0)
    halves = [rows(rng, 50, np.ones((2, 3, 2)), 0.0, 0.0) for _ in range(2)]
    for half in halves:
        half.inputs[0, :, 1] = 0
        half.inputs[1] = 0
    found = refit(([halves[0]], [halves[1]]))
    assert found is not None and np.isfinite(found.weights).all()
    assert found.weights[0, 0].any() and not found.weights[0, 1].any()
    assert not found.weights[1].any()
