"""What a recipe is asked for, refused at once where it cannot be had."""

from __future__ import annotations

from collections.abc import Mapping

from snnc.errors import CompileError
from snnc.ir.rate_neuron import Polarity, RateNeuron, Synapses
from snnc.neurons.sfn import SFN
from snnc.passes.threshold_rules import ThresholdRule
from snnc.recipes.budget import require_budget
from snnc.recipes.costs import Count, require_count
from snnc.recipes.report import RecipeName, require_recipe

PAPER = SFN(rule="eq11", levels="sformer")
"""The neuron as published (arXiv 2510.23383, eqs. 8-12)."""

SETTLED: Mapping[RecipeName, SFN] = {"paper": PAPER, "best": SFN()}
"""The neurons of recipes that take no other."""


def neuron_of_recipe(recipe: RecipeName, neuron: RateNeuron) -> RateNeuron:
    """The neuron that a recipe compiles to; CompileError beside one asked for that it is not."""
    require_recipe(recipe)
    settled = SETTLED.get(recipe)
    if settled is None:
        return neuron
    if neuron not in (SFN(), settled):
        raise CompileError(
            f"the recipe {recipe} settles the neuron, and another one is asked for",
            help="leave the neuron and its parameters out, or take the recipe balanced",
        )
    return settled


def require_settled(
    recipe: RecipeName, m: int | None, rule: str | None, levels: str | None
) -> None:
    """Raises CompileError for parameters of a neuron that a recipe settles otherwise."""
    settled = SETTLED.get(recipe)
    if settled is None:
        return
    given = {
        "M": (m, settled.M),
        "rule": (rule, settled.rule),
        "levels": (levels, settled.levels),
    }
    if named := [f"{name} {got}" for name, (got, own) in given.items() if got not in (None, own)]:
        raise CompileError(
            f"the recipe {recipe} settles the neuron: it takes no {' and no '.join(named)}",
            help="leave that out, or take the recipe balanced",
        )


def require_goal(
    recipe: RecipeName,
    budget: float | None,
    count: Count,
    scale: float | None,
    synapses: Synapses,
    timesteps: int,
) -> None:
    """Raises CompileError for an energy budget that is none, or that goes with no search."""
    require_count(count)
    if budget is None:
        if count == "events" and recipe != "best":
            raise CompileError(
                f"the recipe {recipe} counts events for an energy budget, and none is given",
                help="pass an energy budget, or take the recipe best",
            )
        return
    require_budget(budget)
    if scale is not None:
        raise CompileError(
            "a lambda and an energy budget, which one is chosen by, are both given",
            help="leave one of them out",
        )
    if synapses == "int8" or timesteps > 1:
        raise CompileError(
            "an energy budget is met at one timestep and with float synapses",
            help="leave the budget out, or --timesteps and --synapses",
        )


def require_best(
    scale: float | None,
    percentile: float | None,
    rule: ThresholdRule | str | None,
    polarity: Polarity | None,
    synapses: Synapses,
    timesteps: int,
) -> None:
    """Raises CompileError for what the recipe `best` chooses itself, or cannot do."""
    given = {
        "lambda": scale is not None,
        "percentile": percentile is not None,
        "threshold rule": rule is not None,
        "polarity": polarity is not None,
        "integer synapses": synapses == "int8",
        "timesteps": timesteps > 1,
    }
    if named := [name for name, asked in given.items() if asked]:
        raise CompileError(
            f"the recipe best chooses every step itself: it takes no {' and no '.join(named)}",
            help="leave that out, or take the recipe balanced",
        )
