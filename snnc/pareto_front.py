"""Metric against energy: spiking networks by recipes, and integers of few bits beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from snnc.errors import CompileError
from snnc.evaluation import Evaluation, MetricName
from snnc.integer_energy import integer_ratio, pj_integer_mac
from snnc.recipes.costs import Count
from snnc.recipes.report import RecipeName


@dataclass(frozen=True)
class RecipePoint:
    """The spiking network that a recipe makes for an energy budget, or why there is none.

    budget: energy over the ANN's, on the calibration samples; result: on other samples.
    """

    recipe: RecipeName
    budget: float
    result: Evaluation | None = None
    refusal: CompileError | None = None


@dataclass(frozen=True)
class IntegerPoint:
    """The trained network with weights and activations of so many bits, or why there is none."""

    bits: int
    result: Evaluation | None = None
    refusal: CompileError | None = None


@dataclass(frozen=True)
class Pareto:
    """Every point on the same samples. count: what budgets and energies count.

    pj_integer_add: energy of an integer addition in 32 bits, picojoule: part of an integer
    multiply-accumulate, and all of an accumulate where spikes add integer weights up.
    """

    points: tuple[RecipePoint, ...]
    integers: tuple[IntegerPoint, ...]
    count: Count
    pj_integer_add: float

    @property
    def first(self) -> Evaluation:
        """Of a point that there is, for what all have in common."""
        points = chain[RecipePoint | IntegerPoint](self.points, self.integers)
        return next(point.result for point in points if point.result is not None)

    @property
    def metric_name(self) -> MetricName:
        return self.first.metric_name

    @property
    def ann_metric(self) -> float:
        """The ANN's own top-1; 1.0 for an agreement with itself."""
        return self.first.ann_metric

    @property
    def pj_ac(self) -> float:
        """Energy of an accumulate as it is counted by default, picojoule."""
        return self.first.energy.pj_ac

    def energy(self, result: Evaluation, pj_ac: float | None = None) -> float:
        """Energy of a spiking network over the ANN's (eq. 43); pj_ac: None for that of `result`."""
        energy = result.energy if pj_ac is None else replace(result.energy, pj_ac=pj_ac)
        return energy.ratio_spikes if self.count == "spikes" else energy.ratio_events

    def pj_mac(self, bits: int) -> float:
        """Energy of a multiply-accumulate of integers of so many bits, picojoule."""
        return pj_integer_mac(bits, self.pj_integer_add)

    def integer_energy(self, bits: int, result: Evaluation) -> float:
        """Energy of the network of so many bits over the ANN's."""
        return integer_ratio(result.energy, self.pj_mac(bits))

    def summary(self) -> dict[str, Any]:
        """As `snnc pareto --json` prints it."""
        return {
            "samples": self.first.samples,
            "output": self.first.output,
            "metric": self.metric_name,
            "ann": {"top1": self.first.ann_top1},
            "count": self.count,
            "pj": {
                "accumulate": self.pj_ac,
                "multiply_accumulate": self.first.energy.pj_mac,
                "integer_addition": self.pj_integer_add,
            },
            "points": [self._recipe(point) for point in self.points],
            "integers": [self._integer(point) for point in self.integers],
        }

    def _recipe(self, point: RecipePoint) -> dict[str, Any]:
        named = {"recipe": point.recipe, "budget": point.budget}
        if point.result is None:
            return named | _refused(point.refusal)
        integer = self.energy(point.result, self.pj_integer_add)
        return {
            **named,
            "refused": None,
            **_quality(point.result),
            "energy": point.result.energy.summary() | {"ratio_integer_additions": integer},
        }

    def _integer(self, point: IntegerPoint) -> dict[str, Any]:
        named = {"bits": point.bits, "pj_mac": self.pj_mac(point.bits)}
        if point.result is None:
            return named | _refused(point.refusal)
        energy = self.integer_energy(point.bits, point.result)
        return {**named, "refused": None, **_quality(point.result), "energy": energy}


def _refused(refusal: CompileError | None) -> dict[str, Any]:
    assert refusal is not None
    return {"refused": {"message": refusal.message, "at": refusal.at, "help": refusal.help}}


def _quality(result: Evaluation) -> dict[str, Any]:
    return {
        "metric": result.metric,
        "top1": result.snn_top1,
        "agreement": result.agreement,
        "cosine": result.cosine,
        "relative_error": result.relative_error,
    }
