"""snnc.pareto: metric against energy for every recipe, with integers of few bits beside them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar, get_args

import numpy as np

from snnc.calibrated import CalibratedNetwork, require_calibrated
from snnc.calibrating import Watch
from snnc.compiler import compile
from snnc.coverage import coverage_of
from snnc.data import Source, samples_of
from snnc.energy import PJ_AC, PJ_MAC
from snnc.errors import CompileError
from snnc.evaluation import evaluate_each
from snnc.fidelity import primary_output
from snnc.files import require_writable
from snnc.fits import ProgressOf, unwatched
from snnc.integer_energy import PJ_ADD
from snnc.ir.graph import Graph
from snnc.ir.numbers import plain
from snnc.pareto_front import IntegerPoint, Pareto, RecipePoint
from snnc.quantized_ann import quantized_ann, require_bits
from snnc.recipes.budget import UnmetBudgetError, require_budget
from snnc.recipes.costs import Count, require_count
from snnc.recipes.report import RecipeName, require_recipe

READ = 64
"""Samples that are read at a time to see whether they can be run."""

BITS = (8, 6, 4)
"""Of the integer networks that are drawn beside the spiking ones."""

SPIKES = tuple(float(r) for r in np.geomspace(0.05, 0.4, 6))
EVENTS = tuple(float(r) for r in np.geomspace(0.04, 0.15, 6))
"""Default budgets: what spikes may take of the energy that their layers take in the ANN. Networks
at lambda = 1 take about .05 of it. By events none can take more than .9 / 4.6 = .196."""

RECIPES: tuple[RecipeName, ...] = get_args(RecipeName)

Point: TypeAlias = RecipePoint | IntegerPoint
_Value = TypeVar("_Value")


def pareto(
    network: CalibratedNetwork,
    data: Source,
    *,
    recipes: str | Iterable[str] = RECIPES,
    budgets: Iterable[float] | None = None,
    count: Count = "spikes",
    bits: Iterable[int] = BITS,
    sensitivities: str | Path | None = None,
    output: str | None = None,
    pj_ac: float = PJ_AC,
    pj_mac: float = PJ_MAC,
    pj_integer_add: float = PJ_ADD,
    progress: ProgressOf = unwatched,
) -> Pareto:
    """Each recipe at each energy budget, and the trained network in integers of so many bits, in
    one pass over `data`, which are not the calibration samples.

    budgets: energy over the ANN's (eq. 43, at 0.9 and 4.6 pJ, on the calibration samples); None for
    six that suit the network. count: whether spikes or events are counted. bits: of activations and
    weights, () for none. sensitivities: file that keeps what the recipe best measures, which an
    interrupted run continues. pj_ac, pj_mac: by which the energies of the result are counted;
    pj_integer_add: see Pareto. A budget that a recipe cannot meet becomes a point without a result,
    as do integers for a network that has its own. CompileError if there is no point at all.
    """
    require_calibrated(network)
    names, widths = require_recipes(recipes), require_widths(bits)
    asked = None if budgets is None else require_budgets(budgets)
    require_count(count)
    primary_output(network.ann, output)
    if isinstance(data, str | Path):
        require_data_apart(data, *network.sources)
    if sensitivities is not None:
        require_writable(Path(sensitivities), *network.sources)
    if sensitivities is not None and "best" not in names:
        message = f"{' and '.join(names)} measure no sensitivities"
        raise CompileError(message, help="take the recipe best, or leave the file out")
    samples = samples_of(data, network.ann)
    if isinstance(data, str | Path):  # refuses what cannot be run before the work begins
        for _ in samples.batches(READ):
            pass
    asked = asked or budgets_for(network, count)
    points: list[Point] = [RecipePoint(name, budget) for name in names for budget in asked]
    points += [IntegerPoint(width) for width in widths]
    with tempfile.TemporaryDirectory(prefix="snnc-pareto-") as scratch:
        kept = Path(sensitivities or Path(scratch) / "curves.npz")
        making = _Making(network, count, output, kept, progress)
        made = [making.attempt(point) for point in points]
    graphs = [graph for _, graph in made if graph is not None]
    if not graphs:
        raise _none(made[0][0])
    results = iter(
        evaluate_each(
            network.ann,
            graphs,
            samples,
            output,
            pj_ac=pj_ac,
            pj_mac=pj_mac,
            progress=lambda done: progress("evaluating", done, samples.count),
        )
    )
    found = [p if graph is None else replace(p, result=next(results)) for p, graph in made]
    return Pareto(
        tuple(point for point in found if isinstance(point, RecipePoint)),
        tuple(point for point in found if isinstance(point, IntegerPoint)),
        count,
        pj_integer_add,
    )


def require_recipes(recipes: str | Iterable[str]) -> tuple[RecipeName, ...]:
    """Each recipe once, of a list or between commas; CompileError for an unknown one, or none."""
    texts = recipes.split(",") if isinstance(recipes, str) else recipes
    names = _listed((text for text in texts if text), "recipe")
    for name in names:
        require_recipe(name)
    return tuple(known for name in names for known in RECIPES if known == name)


def require_budgets(budgets: Iterable[float]) -> tuple[float, ...]:
    """Each budget once; CompileError for one out of range, or none."""
    found = _listed(budgets, "energy budget")
    for budget in found:
        require_budget(budget)
    return found


def require_widths(bits: Iterable[int]) -> tuple[int, ...]:
    """Each number of bits once; CompileError for one that no integers have."""
    found = tuple(dict.fromkeys(map(plain, bits)))
    for width in found:
        require_bits(width)
    return found


def require_data_apart(data: str | Path, *sources: Path) -> None:
    """Raises CompileError where the samples to measure on are those of the calibration."""
    path = Path(data)
    if path.exists() and any(s.exists() and s.samefile(path) for s in sources):
        raise CompileError(
            f"'{data}' is what the network was calibrated on", help="measure on other samples"
        )


def budgets_for(network: CalibratedNetwork, count: Count) -> tuple[float, ...]:
    """Six budgets: what cannot spike takes its share of each."""
    sample = next(network.calibration.reservoir.batches(1), None)
    macs = coverage_of(network.sited, sample).macs
    if not macs or not sum(macs.values()):
        raise CompileError(
            "the multiply-accumulates of this network are not known, and so no budgets for it",
            help="pass --budgets 0.1,0.2, say",
        )
    spiking = macs["spiking"] / sum(macs.values())
    shares = SPIKES if count == "spikes" else EVENTS
    return tuple(float(f"{1 - spiking + spiking * share:.2g}") for share in shares)


def _listed(values: Iterable[_Value], what: str) -> tuple[_Value, ...]:
    found = tuple(dict.fromkeys(map(plain, values)))
    if not found:
        raise CompileError(f"a picture of recipes needs at least one {what}")
    return found


def _none(first: Point) -> CompileError:
    """The error where no point has a network, with the reason of the first."""
    why = first.refusal
    assert why is not None
    return CompileError(f"there is no point to draw: {why.message}", at=why.at, help=why.help)


class _Making:
    """Makes the network of one point after the other; sensitivities are measured once."""

    def __init__(
        self,
        network: CalibratedNetwork,
        count: Count,
        output: str | None,
        sensitivities: Path,
        progress: ProgressOf,
    ) -> None:
        self._network, self._count, self._output = network, count, output
        self._sensitivities, self._progress = sensitivities, progress

    def attempt(self, point: Point) -> tuple[Point, Graph | None]:
        """The network of a point, or the point with why there is none."""
        try:
            return point, self._made(point)
        except CompileError as refusal:
            if isinstance(point, RecipePoint) and not isinstance(refusal, UnmetBudgetError):
                raise
            return replace(point, refusal=refusal), None

    def _made(self, point: Point) -> Graph:
        if isinstance(point, IntegerPoint):
            rounding = partial(self._progress, f"rounding weights to {point.bits} bits")
            return quantized_ann(self._network, point.bits, rounding)

        def told(phase: str, done: int, total: int | None) -> None:
            self._progress(f"{point.recipe} at {point.budget:g}: {phase}", done, total)

        return compile(
            self._network,
            recipe=point.recipe,
            energy_budget=point.budget,
            count=self._count,
            output=self._output,
            sensitivities=self._sensitivities if point.recipe == "best" else None,
            watch=Watch(told),
        ).graph
