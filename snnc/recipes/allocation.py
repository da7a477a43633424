"""Steps of least output error at an energy, site by site (spec 6.3, 6.6, 6.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snnc.ir.node import Array
from snnc.recipes.costs import Costs
from snnc.recipes.curves import FINE, MEASURED, NOISY, SiteCurve

LARGEST_OWN_ERROR = 0.25
"""Squared error of a site's own values over their squares that no allocation goes beyond: further
out the curves of sites alone say too little about all of them together (spec 6.8)."""

CLAMP = 0.5, 2.5
"""A sensitivity that is mostly noise stays within these multiples of the median of its role."""

_SWEEPS, _HALVINGS = 6, 30


@dataclass(frozen=True)
class Allocation:
    """Steps by site. ratio, error: the energy and the output's relative squared error that the
    curves foretell; shares: of that error, by site."""

    steps: dict[str, float]
    ratio: float
    error: float
    shares: dict[str, float]


class Allocator:
    """Minimises the sum of the sites' output errors plus mu times the energy.

    Errors of single sites add up, as rounding at one site is nearly independent of that at the
    next. Products couple their operands in the energy, so that sites are chosen in turn until
    none changes; mu is found by bisection.
    """

    def __init__(self, curves: Sequence[SiteCurve], costs: Costs) -> None:
        self._curves, self._costs = curves, costs
        errors = _guarded(curves)
        self._free = [i for i, error in enumerate(errors) if error is not None]
        self._errors = [np.zeros(len(FINE)) if error is None else error for error in errors]
        self._allowed = [_allowed(curve) for curve in curves]

    def at(self, ratio: float) -> Allocation:
        """The allocation of the largest energy that is at most `ratio`, or the cheapest one."""
        low, high = -30.0, 10.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            places = self._places(float(np.exp(middle)))
            if self._costs.ratio(places) > ratio:
                low = middle
            else:
                high = middle
        return self._allocation(self._places(float(np.exp(high))))

    @property
    def cheapest(self) -> float:
        """The least energy that any allocation has."""
        return self._costs.ratio([int(np.flatnonzero(ok)[-1]) for ok in self._allowed])

    def _places(self, price: float) -> list[int]:
        places = [int(np.searchsorted(FINE, 0.5))] * len(self._curves)
        for _ in range(_SWEEPS):
            before = list(places)
            for i in self._free:
                total = self._errors[i] + price * self._costs.along(i, places)
                places[i] = int(np.where(self._allowed[i], total, np.inf).argmin())
            self._follow(places)
            if places == before:
                break
        return places

    def _follow(self, places: list[int]) -> None:
        """Sites that the output compared does not depend on get the others' median step."""
        if not self._free:
            return
        middle = int(np.median([places[i] for i in self._free]))
        for i in set(range(len(places))) - set(self._free):
            allowed = np.flatnonzero(self._allowed[i])
            places[i] = int(allowed[np.abs(allowed - middle).argmin()])

    def _allocation(self, places: list[int]) -> Allocation:
        steps = {c.name: float(FINE[p] * c.unit) for c, p in zip(self._curves, places, strict=True)}
        errors = [float(e[p]) for e, p in zip(self._errors, places, strict=True)]
        total = sum(errors)
        shares = {c.name: e / (total or 1.0) for c, e in zip(self._curves, errors, strict=True)}
        return Allocation(steps, self._costs.ratio(places), total, shares)


def _guarded(curves: Sequence[SiteCurve]) -> list[Array | None]:
    """Error curves, those that are mostly noise held near the median of their role (spec 6.8)."""
    sensitivity = [_sensitivity(curve) for curve in curves]
    found: list[Array | None] = []
    for curve, mine in zip(curves, sensitivity, strict=True):
        if mine is None:
            found.append(None)
            continue
        error = curve.output_error
        if curve.noise > NOISY:
            same = [
                s
                for s, c in zip(sensitivity, curves, strict=True)
                if s is not None and c.role == curve.role
            ]
            middle = float(np.median(same))
            error = error * np.clip(mine, CLAMP[0] * middle, CLAMP[1] * middle) / mine
        found.append(error)
    return found


def _sensitivity(curve: SiteCurve) -> float | None:
    """S: output error over the site's own error, at a middle step; None for no influence."""
    if curve.errors is None:
        return None
    middle = int(np.searchsorted(FINE, MEASURED[len(MEASURED) // 2]))
    return float(curve.output_error[middle] / max(curve.own[middle], 1e-12))


def _allowed(curve: SiteCurve) -> Array:
    """Steps that neither saturate nor lose the site: the finest one where every step would."""
    best = np.flatnonzero(curve.own <= curve.own.min() * (1 + 1e-9))[-1]
    coarse = (curve.own <= LARGEST_OWN_ERROR) | (np.arange(len(FINE)) == best)
    finer_is_better = np.arange(len(FINE)) >= best
    return np.asarray(coarse & finer_is_better)
