"""What a recipe chose, and how it compares with one global scale factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from snnc.errors import unknown_name
from snnc.ir.graph import Graph
from snnc.recipes.allocation import Allocation
from snnc.recipes.budget import Measured
from snnc.recipes.costs import Count
from snnc.recipes.curves import FINE, SiteCurve

RecipeName: TypeAlias = Literal["paper", "balanced", "best"]
"""paper: arXiv 2510.23383 as published; balanced: dense levels, nearest rule, lambda searched;
best: steps by measured sensitivities, and every pass that measures better."""


def require_recipe(name: str) -> None:
    """Raises CompileError for the name of no recipe."""
    if name not in get_args(RecipeName):
        raise unknown_name("recipe", str(name), get_args(RecipeName))


@dataclass(frozen=True)
class SiteChoice:
    """A site's share. step: over the root mean square of what it sees; error: of the output's
    error that the curves foretell; spikes: mean |spike count|."""

    site: str
    role: str
    step: float
    spikes: float
    error: float

    def summary(self) -> dict[str, Any]:
        return {
            "site": self.site,
            "role": self.role,
            "step_over_rms": self.step,
            "spikes": self.spikes,
            "error_share": self.error,
        }


def site_choices(
    sited: Graph, curves: tuple[SiteCurve, ...], allocation: Allocation
) -> tuple[SiteChoice, ...]:
    """What an allocation chose at every open site of a graph."""
    names = {site.outputs[0]: site.loc.names[0] for site in sited.open_sites}
    found = []
    for curve in curves:
        step = allocation.steps[curve.name] / curve.unit
        spikes = float(np.interp(step, FINE, curve.spikes))
        share = allocation.shares[curve.name]
        found.append(SiteChoice(names[curve.name], curve.role, step, spikes, share))
    return tuple(found)


@dataclass(frozen=True)
class RecipeReport:
    """What a recipe did, on calibration samples.

    chosen: on those that it was made with; held: on those held back; plain: the network of one
    global scale factor and equal energy there; kept: which of the two was taken. samples,
    held_back: how many; noise: the largest standard error of a site's measured error, over it.
    """

    recipe: RecipeName
    count: Count
    budget: float | None
    chosen: Measured
    held: Measured | None = None
    plain: Measured | None = None
    kept: Literal["recipe", "global lambda"] = "recipe"
    passes: tuple[str, ...] = ()
    sites: tuple[SiteChoice, ...] = ()
    samples: int = 0
    held_back: int = 0
    noise: float = 0.0

    def summary(self) -> dict[str, Any]:
        """As `snnc compile --json` prints it."""
        return {
            "name": self.recipe,
            "count": self.count,
            "energy_budget": self.budget,
            "energy": self.chosen.ratio,
            "agreement": self.chosen.agreement,
            "samples": self.samples,
            "held_back": self.held_back,
            "held_back_energy": None if self.held is None else self.held.ratio,
            "held_back_error": None if self.held is None else self.held.error,
            "held_back_agreement": None if self.held is None else self.held.agreement,
            "global_lambda_error": None if self.plain is None else self.plain.error,
            "global_lambda_agreement": None if self.plain is None else self.plain.agreement,
            "kept": self.kept,
            "passes": list(self.passes),
            "noise": self.noise,
            "sites": [site.summary() for site in self.sites],
        }
