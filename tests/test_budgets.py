"""An energy budget is met from below, whatever stays real, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnc
from snnc.recipes.budget import SMALLEST, TOLERANCE, Measured, within_budget


@dataclass
class Curve:
    """Energies as networks have them: what stays real, and spikes that grow as 1/lambda**power."""

    floor: float
    spikes: float
    power: float
    tried: int = 0

    def at(self, scale: float) -> float:
        return self.floor + float(self.spikes / scale**self.power)

    def measured(self, scaled: object, scale: float, count: object) -> Measured:
        self.tried += 1
        return Measured(scale, self.at(scale), 0.0, 1.0)


def met(curve: Curve, budget: float) -> Measured:
    anything: Any = curve
    return within_budget(anything, anything, budget, "spikes")


@given(st.floats(0, 0.95), st.floats(0.001, 0.3), st.floats(0.6, 1.2), st.floats(0.02, 0.98))
@settings(deadline=None, max_examples=25)
def test_a_budget_is_met_from_below(floor: float, spikes: float, power: float, at: float) -> None:
    curve = Curve(floor, spikes, power)
    budget = curve.at(at)
    found = met(curve, budget)
    assert budget * (1 - 2 * TOLERANCE) <= found.ratio <= budget
    assert found.ratio == curve.at(found.scale) and curve.tried <= 13


def test_what_no_lambda_meets_is_refused() -> None:
    for floor in (0.0, 0.6):
        curve = Curve(floor, 0.05, 1.0)
        for budget in (floor + 0.04, floor + 0.0499, 0.001):
            with pytest.raises(snnc.CompileError, match="cannot be met: with lambda = 1"):
                met(curve, budget)


def test_a_budget_that_every_lambda_meets_takes_the_smallest() -> None:
    assert met(Curve(0.1, 0.001, 1.0), 0.9).scale == SMALLEST


@pytest.mark.parametrize(("others", "alike"), [([2, 0.2, 1.9, 0.5], True), ([2, 2, 2, 3], False)])
def test_errors_within_the_standard_error_of_their_difference_are_alike(
    others: list[float], alike: bool
) -> None:
    one, other = (Measured(1.0, 0.1, 0.0, 1.0, np.array(p)) for p in ([1.0, 1, 1, 1], others))
    assert one.is_alike(one)
    assert one.is_alike(other) == other.is_alike(one) == alike
