"""Curves over lambda and percentile, and the ablation of fire functions, of one calibration.

Figure 3a, Table 6 and Table 5 of arXiv 2510.23383 on any network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from snnc.calibrated import CalibratedNetwork, require_calibrated, with_scale
from snnc.data import Source, samples_of
from snnc.energy import PJ_AC, PJ_MAC
from snnc.errors import CompileError
from snnc.evaluation import Evaluation, evaluate_each
from snnc.fidelity import primary_output
from snnc.ir.neuron import NeuronModel, Polarity, neuron_model
from snnc.neurons.sfn import SFN, Levels
from snnc.search.grid import GRID, Choice, choose_scale, require_fidelity

PERCENTILES = (0.0, 0.01, 0.1, 0.5, 1.0, 1.5, 2.0, 2.5)
"""p of a percentile curve, in percent: the range of Table 6."""

FIRE_FUNCTIONS: tuple[Levels, ...] = ("linear", "exponential", "sformer", "dense")
"""Level sets of the ablation: those of Table 5 (`sformer` is its SFN), and snnc's default."""

ProgressOf = Callable[[str, int, int | None], None]


def unwatched(phase: str, done: int, total: int | None) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Point:
    """One spiking network, its parameters, and how it compares with the ANN.

    reached: whether a chosen lambda keeps the fidelity asked for; None where lambda was given.
    """

    neuron: NeuronModel
    scale: float
    percentile: float
    result: Evaluation
    reached: bool | None = None

    @property
    def metric(self) -> float:
        """Top-1 with labels; otherwise agreement, or cosine where outputs decide nothing."""
        result = self.result
        return next(m for m in (result.snn_top1, result.agreement, result.cosine) if m is not None)

    @property
    def metric_name(self) -> Literal["top-1", "agreement", "cosine"]:
        if self.result.snn_top1 is not None:
            return "top-1"
        return "cosine" if self.result.agreement is None else "agreement"

    def summary(self) -> dict[str, Any]:
        result = self.result
        return {
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

    over: Literal["lambda", "percentile", "fire function"]
    points: tuple[Point, ...]

    @property
    def metric_name(self) -> str:
        return self.points[0].metric_name

    @property
    def ann_metric(self) -> float:
        """The ANN's own top-1; 1.0 for an agreement with itself."""
        top1 = self.points[0].result.ann_top1
        return top1 if self.metric_name == "top-1" and top1 is not None else 1.0

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


@dataclass(frozen=True)
class _Trial:
    neuron: NeuronModel
    scale: float
    percentile: float
    reached: bool | None = None


@dataclass(frozen=True)
class Recipe:
    """What the networks of a study have in common.

    fidelity: agreement on the calibration samples that a chosen lambda keeps (as in `compile`);
    output: the one compared; None: the float output computed last.
    """

    polarity: Polarity = "separate"
    fidelity: float = 0.98
    output: str | None = None
    pj_ac: float = PJ_AC
    pj_mac: float = PJ_MAC
    progress: ProgressOf = unwatched


DEFAULT_NEURON, DEFAULT_RECIPE = SFN(), Recipe()


def lambda_curve(
    network: CalibratedNetwork,
    data: Source,
    *,
    neuron: NeuronModel | str = DEFAULT_NEURON,
    scales: Iterable[float] = GRID,
    percentile: float = 1.0,
    recipe: Recipe = DEFAULT_RECIPE,
) -> Study:
    """Metric and energy at every scale factor, on `data` (Figure 3a)."""
    require_calibrated(network)
    neuron = neuron_model(neuron)
    trials = [_Trial(neuron, scale, percentile) for scale in _values(scales, "lambda")]
    return Study("lambda", _measured(network, data, trials, recipe))


def percentile_curve(
    network: CalibratedNetwork,
    data: Source,
    *,
    neuron: NeuronModel | str = DEFAULT_NEURON,
    percentiles: Iterable[float] = PERCENTILES,
    scale: float | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
) -> Study:
    """Metric and energy at every percentile p of the thresholds, on `data` (Table 6).

    scale: the same lambda for every p; None chooses one for each p, as `compile` would.
    """
    require_calibrated(network)
    neuron = neuron_model(neuron)
    chosen = [_Trial(neuron, 1.0, p) for p in _values(percentiles, "percentile")]
    trials = _scaled(network, chosen, scale, recipe)
    return Study("percentile", _measured(network, data, trials, recipe))


def ablation(
    network: CalibratedNetwork,
    data: Source,
    *,
    neuron: SFN = DEFAULT_NEURON,
    percentile: float = 1.0,
    recipe: Recipe = DEFAULT_RECIPE,
) -> Study:
    """Every fire function with lambda = 1, then with lambda chosen, on `data` (Table 5)."""
    require_calibrated(network)
    if not isinstance(neuron, SFN):
        raise CompileError("the fire functions are those of sfn", help="pass snnc.SFN(...)")
    plain = [_Trial(replace(neuron, levels=f), 1.0, percentile) for f in FIRE_FUNCTIONS]
    trials = [*plain, *_scaled(network, plain, None, recipe)]
    return Study("fire function", _measured(network, data, trials, recipe))


def _values(values: Iterable[float], what: str) -> list[float]:
    found = list(values)
    if not found:
        raise CompileError(f"a curve needs at least one {what}")
    return found


def _scaled(
    network: CalibratedNetwork, trials: Sequence[_Trial], scale: float | None, recipe: Recipe
) -> list[_Trial]:
    """The trials at the given lambda, or each at the one that `compile` would choose."""
    if scale is not None:
        return [replace(trial, scale=scale) for trial in trials]
    found = []
    for done, trial in enumerate(trials):
        choice = choose(network, trial.neuron, trial.percentile, recipe)
        found.append(replace(trial, scale=choice.scale, reached=choice.reached))
        recipe.progress("choosing lambda", done + 1, len(trials))
    return found


def choose(
    network: CalibratedNetwork, neuron: NeuronModel, percentile: float, recipe: Recipe
) -> Choice:
    """The lambda that `compile` would take, from the calibration samples, for this neuron."""
    require_fidelity(recipe.fidelity)
    return choose_scale(
        network.ann,
        network.graph(percentile),
        neuron,
        network.samples,
        primary_output(network.ann, recipe.output),
        recipe.fidelity,
        recipe.polarity,
    )


def _measured(
    network: CalibratedNetwork, data: Source, trials: Sequence[_Trial], recipe: Recipe
) -> tuple[Point, ...]:
    """Every trial beside the ANN, in one pass over the data."""
    by_percentile = {t.percentile: network.graph(t.percentile) for t in trials}
    graphs = [
        with_scale(by_percentile[t.percentile], t.neuron, t.scale, recipe.polarity) for t in trials
    ]
    samples = samples_of(data, network.ann)
    results = evaluate_each(
        network.ann,
        graphs,
        samples,
        recipe.output,
        pj_ac=recipe.pj_ac,
        pj_mac=recipe.pj_mac,
        progress=lambda done: recipe.progress("evaluating", done, samples.count),
    )
    return tuple(
        Point(t.neuron, t.scale, t.percentile, result, t.reached)
        for t, result in zip(trials, results, strict=True)
    )
