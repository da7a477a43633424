"""Studies: spiking networks of one ANN, from one calibration, measured in one pass over data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.data import Source, samples_of
from snnc.energy import PJ_AC, PJ_MAC
from snnc.evaluation import Evaluation, evaluate_each
from snnc.fidelity import primary_output
from snnc.fitted import fitted
from snnc.ir.graph import Graph
from snnc.ir.neuron import NeuronModel, Polarity
from snnc.ir.neuron_spec import NeuronSpec
from snnc.passes.threshold_rules import threshold_rule
from snnc.search.grid import Choice, choose_scale, require_fidelity

ProgressOf = Callable[[str, int, int | None], None]


def unwatched(phase: str, done: int, total: int | None) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Point:
    """One spiking network, its parameters, and how it compares with the ANN.

    reached: whether a chosen lambda keeps the fidelity asked for; None where lambda was given.
    timesteps: that it runs. series, at: in a curve over timesteps, its neuron as asked for, and T.
    """

    neuron: NeuronModel
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
        result = self.result
        return next(m for m in (result.snn_top1, result.agreement, result.cosine) if m is not None)

    @property
    def metric_name(self) -> Literal["top-1", "agreement", "cosine"]:
        if self.result.snn_top1 is not None:
            return "top-1"
        return "cosine" if self.result.agreement is None else "agreement"

    @property
    def ann_metric(self) -> float:
        """The ANN's own top-1; 1.0 for an agreement with itself."""
        top1 = self.result.ann_top1
        return top1 if self.metric_name == "top-1" and top1 is not None else 1.0

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


@dataclass(frozen=True)
class Setting:
    """A spiking network to measure; the fields of Point."""

    neuron: NeuronModel
    scale: float
    percentile: float
    reached: bool | None = None
    timesteps: int = 1
    series: str = ""
    at: int = 1

    @property
    def spec(self) -> NeuronSpec:
        return NeuronSpec(self.neuron, self.timesteps)


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


DEFAULT_RECIPE = Recipe()


def scaled(
    network: CalibratedNetwork, trials: Sequence[Setting], scale: float | None, recipe: Recipe
) -> list[Setting]:
    """The trials at the given lambda, or each at the one that `compile` would choose."""
    if scale is not None:
        return [replace(trial, scale=scale) for trial in trials]
    found = []
    for done, trial in enumerate(trials):
        choice = choose(network, trial.neuron, trial.percentile, recipe, trial.timesteps)
        found.append(replace(trial, scale=choice.scale, reached=choice.reached))
        recipe.progress("choosing lambda", done + 1, len(trials))
    return found


def choose(
    network: CalibratedNetwork,
    neuron: NeuronModel,
    percentile: float,
    recipe: Recipe,
    timesteps: int = 1,
) -> Choice:
    """The lambda that `compile` would take, from the calibration samples, for this neuron."""
    require_fidelity(recipe.fidelity)
    graph = fitted(
        network, neuron, percentile=percentile, polarity=recipe.polarity, timesteps=timesteps
    )
    return choose_scale(
        network.ann,
        graph,
        neuron,
        network.samples,
        primary_output(network.ann, recipe.output),
        recipe.fidelity,
        recipe.polarity,
        timesteps=timesteps,
    )


def measured(
    network: CalibratedNetwork, data: Source, trials: Sequence[Setting], recipe: Recipe
) -> tuple[Point, ...]:
    """Every trial beside the ANN, in one pass over the data."""
    graphs = _spiking_graphs(network, trials, recipe)
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
        Point(t.neuron, t.scale, t.percentile, result, t.reached, t.timesteps, t.series, t.at)
        for t, result in zip(trials, results, strict=True)
    )


def spiking_graph(network: CalibratedNetwork, trial: Setting, recipe: Recipe) -> Graph:
    """The spiking network of one setting."""
    return _spiking_graphs(network, [trial], recipe)[0]


def _spiking_graphs(
    network: CalibratedNetwork, trials: Sequence[Setting], recipe: Recipe
) -> list[Graph]:
    """Those whose thresholds are fitted alike share their constants, so that they can share a
    session."""
    fits: dict[tuple[Any, ...], Graph] = {}
    graphs = []
    for t in trials:
        scale = t.scale if t.reached is None else 1.0  # as `compile`, which fits before it chooses
        rule = threshold_rule(None, t.neuron, percentile=t.percentile)
        plain = not rule.needs_neuron and t.timesteps == 1
        key = rule, *(() if plain else (t.neuron, t.timesteps, scale))
        if key not in fits:
            fits[key] = fitted(
                network,
                t.neuron,
                percentile=t.percentile,
                polarity=recipe.polarity,
                timesteps=t.timesteps,
                scale=scale,
            )
        graph = fits[key]
        graphs.append(with_scale(graph, t.neuron, t.scale, recipe.polarity, timesteps=t.timesteps))
    return graphs
