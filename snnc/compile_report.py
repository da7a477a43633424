"""What a compilation did, and what the user should know about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snnc.coverage import Coverage
from snnc.errors import few
from snnc.integer_synapses import IntegerSynapses
from snnc.ir.graph import Graph
from snnc.ir.neuron_spec import NeuronSpec
from snnc.ir.rate_neuron import Polarity, RateNeuron
from snnc.neurons.sfn import SFN
from snnc.passes.calibration import Calibration
from snnc.passes.threshold_rules import ThresholdRule
from snnc.recipes.report import RecipeName, RecipeReport
from snnc.search.grid import GRID, Choice
from snnc.shards import missing

RANDOM_WARNING = "calibrated on random numbers: the thresholds are meaningless"

FEW_SAMPLES = 50
"""Below this many samples a fidelity of 0.98 cannot be told from 1: a warning says so."""


@dataclass(frozen=True)
class CompileReport:
    """What compilation did: coverage, the scale factor and how it was found, warnings.

    rule, percentile: what thresholds were made from. neurons: the models chosen, each with the name
    of its site, which may have parameters of its own. imported: how many sites are quantisers of
    the network, to which neuron and scale are nothing. integer: of a network with integer synapses.
    recipe: what was chosen for an energy budget, or by the recipe best.
    """

    neuron: RateNeuron
    polarity: Polarity
    sites: int
    scale: float
    choice: Choice | None
    output: str
    coverage: Coverage
    calibration_samples: int
    warnings: tuple[str, ...]
    timesteps: int
    rule: ThresholdRule
    percentile: float
    neurons: tuple[tuple[str, RateNeuron], ...]
    integer: IntegerSynapses | None = None
    imported: int = 0
    recipe: RecipeReport | None = None

    @property
    def chosen(self) -> bool:
        """Whether any neuron was chosen."""
        return self.sites > self.imported

    @property
    def allocated(self) -> bool:
        """Whether steps were chosen site by site, and no rule made them."""
        return self.recipe is not None and bool(self.recipe.sites)

    def summary(self) -> dict[str, Any]:
        """As `snnc compile --json` prints it (without the path of the file written)."""
        chosen = self.choice
        return {
            "neuron": self.neuron.name if self.chosen else None,
            "parameters": self.neuron.plain_parameters if self.chosen else None,
            "site_neurons": [
                {"site": name, "neuron": str(NeuronSpec(model))} for name, model in self.neurons
            ],
            "sites": self.sites,
            "imported_quantizers": self.imported,
            "timesteps": self.timesteps,
            "threshold_rule": self.rule.name if self.chosen and not self.allocated else None,
            "percentile": self.percentile if self.chosen and self.rule.takes_percentile else None,
            "lambda": self.scale if self.chosen else None,
            "fidelity": None
            if chosen is None
            else {
                "reached": chosen.fidelity,
                "measure": chosen.measure,
                "output": self.output,
                "samples": chosen.samples,
                "target_met": chosen.reached,
            },
            "calibration_samples": self.calibration_samples,
            **self.coverage.summary(),
            "polarity": self.polarity,
            "synapses": "float" if self.integer is None else "int8",
            "integer": None if self.integer is None else self.integer.summary(),
            "recipe": None if self.recipe is None else self.recipe.summary(),
            "warnings": list(self.warnings),
        }


def idle_options(
    neuron: RateNeuron,
    scale: float | None,
    percentile: float | None,
    rule: ThresholdRule | str | None,
    recipe: RecipeName = "balanced",
    budget: float | None = None,
) -> list[str]:
    """The warning that options for neurons apply to none, as all are quantisers of the network."""
    given = {
        "--neuron": neuron != SFN(),
        "--lambda": scale is not None,
        "--percentile": percentile is not None,
        "--threshold-rule": rule is not None,
        "--recipe": recipe != "balanced",
        "--energy-budget": budget is not None,
    }
    named = [name for name, asked in given.items() if asked]
    if not named:
        return []
    return [f"all neurons are quantisers of the network itself: {', '.join(named)} did nothing"]


def recipe_warnings(report: RecipeReport | None, fidelity: float) -> list[str]:
    """What a recipe did not reach, or reached on few samples."""
    if report is None:
        return []
    found = []
    if report.budget is None and report.chosen.agreement < fidelity:
        found.append(
            f"no steps keep {fidelity:g}: an agreement of {report.chosen.agreement:.4f} was reached"
        )
    if report.samples < FEW_SAMPLES:
        found.append(
            f"the recipe was chosen on {report.samples} samples only: energy and agreement are"
            " rough guesses"
        )
    held = report.held
    if report.budget is not None and held is not None and held.ratio > 1.02 * report.budget:
        found.append(
            f"on samples held back the energy is {held.ratio:.3g}, above the budget of"
            f" {report.budget:g}"
        )
    return found


def _widened(asked: RateNeuron, taken: RateNeuron, fidelity: float) -> str:
    few, more = asked.plain_parameters.get("M"), taken.plain_parameters.get("M")
    return (
        f"no lambda keeps {fidelity:g} with M = {few}: the neuron has M = {more}, which costs many "
        f"spikes; M = {few} (--m {few}) keeps the coarser levels"
    )


def _fine(choice: Choice, fidelity: float) -> str:
    return (
        f"no lambda from {GRID[-1]:g} on keeps {fidelity:g}: {choice.scale:.3g} was taken, which "
        "costs many spikes"
    )


def warnings_of(
    graph: Graph,
    choice: Choice | None,
    fidelity: float,
    calibration: Calibration,
    requested: RateNeuron,
    taken: RateNeuron,
    integer: IntegerSynapses | None,
) -> list[str]:
    """What the user should know about a spiking network besides its numbers."""
    found = [] if taken == requested else [_widened(requested, taken, fidelity)]
    if not found and choice is not None and choice.scale < GRID[-1]:
        found.append(_fine(choice, fidelity))
    if choice is not None and choice.samples < FEW_SAMPLES:
        found.append(
            f"lambda was chosen on {choice.samples} samples only, so the agreement is a rough guess"
        )
    if absent := missing(calibration.parts):
        found.append(f"the statistics lack shards of the samples: {few(absent)}")
    if calibration.random:
        found.append(RANDOM_WARNING)
    reached = None if integer is None else integer.agreement
    if choice is not None and choice.fidelity < fidelity:
        found.append(
            f"no lambda reaches {fidelity:g} {choice.measure} agreement; the best one "
            f"({choice.scale:.3g}) reaches {choice.fidelity:.4f}"
        )
    elif choice is not None and reached is not None and reached < fidelity:
        found.append(
            f"the integer weights bring the {choice.measure} agreement from {choice.fidelity:.4f} "
            f"to {reached:.4f}, below {fidelity:g}"
        )
    silent = [n.loc.names[0] for n in graph.neurons if n.sides == "silent"]
    if silent:
        found.append(
            "always 0 in calibration (or too small for a threshold), so these neurons never "
            "spike: " + ", ".join(silent)
        )
    return found
