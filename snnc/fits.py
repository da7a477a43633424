"""Spiking networks of one calibration, their thresholds fitted once however often they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.energy import PJ_AC, PJ_MAC
from snnc.fidelity import primary_output
from snnc.fitted import fitted, rule_for
from snnc.ir.graph import Graph
from snnc.ir.neuron_spec import NeuronSpec
from snnc.ir.rate_neuron import Polarity, RateNeuron
from snnc.passes.threshold_rules import ThresholdRule, percentile_of
from snnc.search.grid import Choice, choose_scale, require_fidelity

ProgressOf = Callable[[str, int, int | None], None]


def unwatched(phase: str, done: int, total: int | None) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Setting:
    """A spiking network to measure; the fields of Point."""

    neuron: RateNeuron
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
    output: the one compared; None: the float output computed last. threshold_rule: what thresholds
    are made from; None: each neuron's own rule.
    """

    polarity: Polarity = "separate"
    fidelity: float = 0.98
    output: str | None = None
    pj_ac: float = PJ_AC
    pj_mac: float = PJ_MAC
    progress: ProgressOf = unwatched
    threshold_rule: ThresholdRule | str | None = None


DEFAULT_RECIPE = Recipe()


class Fits:
    """The networks of a study. Those with equal thresholds share constants, and so a session."""

    def __init__(self, network: CalibratedNetwork, recipe: Recipe) -> None:
        self.network = network
        self.recipe = recipe
        self._made: dict[tuple[Any, ...], Graph] = {}

    def percentile(self, asked: float | None, neurons: Iterable[RateNeuron]) -> float:
        """p for these neurons; CompileError where their rules take none and one is asked for."""
        return percentile_of(asked, map(self._rule, neurons))

    def _rule(self, neuron: RateNeuron) -> ThresholdRule:
        return rule_for(self.network, neuron, self.recipe.threshold_rule)

    def fitted(self, trial: Setting) -> Graph:
        """The graph of stage calibrated from which the trial is made."""
        rule = self._rule(trial.neuron).at(trial.percentile)
        scale = trial.scale if trial.reached is None else 1.0  # `compile` fits before it chooses
        key: tuple[Any, ...] = (rule,)
        if rule.needs_neuron or trial.timesteps > 1:
            # written, as bounds that are left to a site equal those that are not
            key = rule, str(trial.spec), scale if rule.statistic == "mse" else 1.0
        if key not in self._made:
            self._made[key] = fitted(
                self.network,
                trial.neuron,
                self.recipe.threshold_rule,
                percentile=trial.percentile,
                polarity=self.recipe.polarity,
                timesteps=trial.timesteps,
                scale=scale,
                progress=partial(self.recipe.progress, f"fitting thresholds of {trial.spec}"),
            )
        return self._made[key]

    def spiking(self, trial: Setting) -> Graph:
        """The spiking network of a trial."""
        graph, polarity = self.fitted(trial), self.recipe.polarity
        return with_scale(graph, trial.neuron, trial.scale, polarity, timesteps=trial.timesteps)

    def scaled(self, trials: Sequence[Setting], scale: float | None) -> list[Setting]:
        """The trials at the given lambda, or each at the one that `compile` would choose."""
        if scale is not None:
            return [replace(trial, scale=scale) for trial in trials]
        for trial in trials:
            self.fitted(replace(trial, scale=1.0))
        found = []
        for done, trial in enumerate(trials):
            choice = self.choose(trial)
            found.append(replace(trial, scale=choice.scale, reached=choice.reached))
            self.recipe.progress("choosing lambda", done + 1, len(trials))
        return found

    def choose(self, trial: Setting) -> Choice:
        """The lambda that `compile` would take, from the calibration samples."""
        require_fidelity(self.recipe.fidelity)
        ann, polarity = self.network.ann, self.recipe.polarity
        return choose_scale(
            ann,
            self.fitted(replace(trial, scale=1.0)),
            trial.neuron,
            self.network.samples,
            primary_output(ann, self.recipe.output),
            self.recipe.fidelity,
            polarity,
            timesteps=trial.timesteps,
        )
