"""The options of recipes, and what `snnc compile` prints of one."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from snnc.cli.options import given_or_chosen, together
from snnc.recipes.costs import Count
from snnc.recipes.report import RecipeName, RecipeReport
from snnc.report import percent

recipe_options = together(
    click.option(
        "--recipe",
        type=click.Choice(get_args(RecipeName)),
        default="balanced",
        show_default=True,
        help="paper: sfn as published. balanced: dense levels, lambda searched. best: steps by "
        "measured sensitivities (docs/recipes.md).",
    ),
    click.option(
        "--energy-budget",
        type=float,
        callback=given_or_chosen,
        metavar="R",
        help="Energy over MODEL's that is not exceeded, for the best fidelity within it.",
    ),
    click.option(
        "--count",
        type=click.Choice(get_args(Count)),
        default="spikes",
        show_default=True,
        help="Whether the budget counts every spike, or one event for all spikes of a neuron.",
    ),
    click.option(
        "--sensitivities",
        type=click.Path(path_type=Path),
        metavar="C.npz",
        help="File that --recipe best keeps what it measured in; an interrupted run continues it.",
    ),
)


def recipe_rows(report: RecipeReport | None) -> list[tuple[str, str]]:
    """What a recipe spent, and how it compares on samples held back."""
    if report is None:
        return []
    asked = "" if report.budget is None else f", {report.budget:g} allowed"
    spent = f"{percent(report.chosen.ratio)} of the trained network's by {report.count}"
    rows = [("recipe", report.recipe), ("energy", f"{spent}{asked}")]
    if report.held is None:
        if report.recipe != "best":
            return rows
        lone = "one lambda for all sites: no steps within the guards are as cheap"
        why = lone if report.kept == "global lambda" else "no samples to hold back"
        return [*rows, ("guard", why)]
    held = f"output error {report.held.error:.4g} on {report.held_back} samples held back"
    if report.plain is None:
        return [*rows, ("guard", f"{held}; no global lambda is as cheap")]
    beside = f"{report.plain.error:.4g} with one lambda"
    if report.budget is None:
        beside += f", which takes {percent(report.plain.ratio)}"
    else:
        beside += " of equal energy"
    if report.kept == "global lambda":
        return [*rows, ("guard", f"{held}, {beside}: that one was kept")]
    return [*rows, ("guard", f"{held}, {beside}")]
