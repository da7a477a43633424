"""Studies: spiking networks of one ANN, from one calibration, measured in one pass over data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from snnc.data import Source, samples_of
from snnc.evaluation import Evaluation, MetricName, evaluate_each
from snnc.fits import DEFAULT_RECIPE, Fits, Recipe, Setting
from snnc.ir.neuron_spec import NeuronSpec
from snnc.ir.rate_neuron import RateNeuron

__all__ = ["DEFAULT_RECIPE", "Recipe", "Setting"]


@dataclass(frozen=True)
class Point:
    """One spiking network, its parameters, and how it compares with the ANN.

    reached: whether a chosen lambda keeps the fidelity asked for; None where lambda was given.
    timesteps: that it runs. series, at: in a curve over timesteps, its neuron as asked for, and T.
    """

    neuron: RateNeuron
    scale: float
    percentile: float
    result: Evaluation
    reached: bool | None = None
    timesteps: int = 1
    series: str = ""
    at: int = 1

    @property
    def metric(self) -> float:
        """Top-1 with labels; otherwise agreement, or cosine where outputs decide nothing."""
        return self.result.metric

    @property
    def metric_name(self) -> MetricName:
        return self.result.metric_name

    @property
    def ann_metric(self) -> float:
        """The ANN's own top-1; 1.0 for an agreement with itself."""
        return self.result.ann_metric

    def summary(self) -> dict[str, Any]:
        result = self.result
        return {
            "neuron": str(NeuronSpec(self.neuron, self.timesteps)),
            "timesteps": self.timesteps,
            "series": self.series,
            "at": self.at,
            "parameters": self.neuron.plain_parameters,
            "lambda": self.scale,
            "fidelity_reached": self.reached,
            "percentile": self.percentile,
            "top1": result.snn_top1,
            "agreement": result.agreement,
            "cosine": result.cosine,
            "energy": result.energy.summary(),
        }


@dataclass(frozen=True)
class Study:
    """Spiking networks of one ANN on the same samples. over: what differs between them."""

    over: Literal["lambda", "percentile", "timesteps", "fire function"]
    points: tuple[Point, ...]

    @property
    def metric_name(self) -> str:
        return self.points[0].metric_name

    @property
    def ann_metric(self) -> float:
        """The ANN's own top-1; 1.0 for an agreement with itself."""
        return self.points[0].ann_metric

    def summary(self) -> dict[str, Any]:
        """As `snnc eval --json` prints a study."""
        first = self.points[0].result
        return {
            "over": self.over,
            "samples": first.samples,
            "output": first.output,
            "metric": self.metric_name,
            "ann": {"top1": first.ann_top1},
            "points": [point.summary() for point in self.points],
        }


def measured(fits: Fits, data: Source, trials: Sequence[Setting]) -> tuple[Point, ...]:
    """Every trial beside the ANN, in one pass over the data."""
    recipe, ann = fits.recipe, fits.network.ann
    graphs = [fits.spiking(trial) for trial in trials]
    samples = samples_of(data, ann)
    results = evaluate_each(
        ann,
        graphs,
        samples,
        recipe.output,
        pj_ac=recipe.pj_ac,
        pj_mac=recipe.pj_mac,
        progress=lambda done: recipe.progress("evaluating", done, samples.count),
    )
    return tuple(
        Point(t.neuron, t.scale, t.percentile, result, t.reached, t.timesteps, t.series, t.at)
        for t, result in zip(trials, results, strict=True)
    )
