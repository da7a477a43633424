"""snnc.pareto: metric against energy for every recipe, with integers of few bits beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np

from snnc.calibrated import CalibratedNetwork, require_calibrated
from snnc.compiler import compile
from snnc.coverage import coverage_of
from snnc.data import Source, samples_of
from snnc.energy import PJ_AC, PJ_MAC
from snnc.errors import CompileError, unknown_name
from snnc.evaluation import evaluate_each
from snnc.fidelity import primary_output
from snnc.fits import ProgressOf, unwatched
from snnc.integer_energy import PJ_ADD
from snnc.ir.graph import Graph
from snnc.ir.numbers import plain, real_number
from snnc.pareto_front import Count, IntegerPoint, Pareto, RecipePoint
from snnc.quantized_ann import quantized_ann, require_bits

BITS = (8, 6, 4)
"""Of the integer networks that are drawn beside the spiking ones."""

SPIKES = tuple(float(r) for r in np.geomspace(0.05, 0.4, 6))
EVENTS = tuple(float(r) for r in np.geomspace(0.04, 0.15, 6))
"""Default budgets: what spikes may take of the energy that their layers take in the ANN. Networks
at lambda = 1 take about .05 of it. By events none can take more than .9 / 4.6 = .196."""

RECIPES = ("paper", "balanced", "best")

_Value = TypeVar("_Value")


def pareto(
    network: CalibratedNetwork,
    data: Source,
    *,
    recipes: Iterable[str] = RECIPES,
    budgets: Iterable[float] | None = None,
    count: Count = "spikes",
    bits: Iterable[int] = BITS,
    output: str | None = None,
    pj_ac: float = PJ_AC,
    pj_mac: float = PJ_MAC,
    pj_integer_add: float = PJ_ADD,
    progress: ProgressOf = unwatched,
) -> Pareto:
    """Each recipe at each energy budget, and the trained network in integers of so many bits, in
    one pass over `data`, which are not the calibration samples.

    budgets: energy over the ANN's (eq. 43, at 0.9 and 4.6 pJ, on the calibration samples) in
    (0, 1]; None for six that suit the network. count: whether spikes or events are counted. bits:
    of activations and weights, () for none. pj_ac, pj_mac: by which the energies of the result are
    counted; pj_integer_add: see Pareto. A budget that a recipe cannot meet becomes a point without
    a result, as do integers for a network that has its own. CompileError if there is no point.
    """
    require_calibrated(network)
    names, widths = require_recipes(recipes), require_widths(bits)
    asked = None if budgets is None else require_budgets(budgets)
    require_count(count)
    primary_output(network.ann, output)
    if isinstance(data, str | Path):
        require_data_apart(data, *network.sources)
    samples = samples_of(data, network.ann)
    asked = asked or budgets_for(network, count)
    made: list[RecipePoint | IntegerPoint] = []
    graphs: list[Graph] = []

    def attempt(point: RecipePoint | IntegerPoint, make: Callable[[], Graph]) -> None:
        """Notes the network of a point, or why there is none."""
        try:
            graphs.append(make())
        except CompileError as refusal:
            point = replace(point, refusal=refusal)
        made.append(point)

    for name in names:
        for budget in asked:
            told = partial(_told, progress, f"{name} at {budget:g}")
            make = partial(_compiled, network, name, budget, count, output, told)
            attempt(RecipePoint(name, budget), make)
    for width in widths:
        told = partial(progress, f"rounding weights to {width} bits")
        attempt(IntegerPoint(width), partial(quantized_ann, network, width, told))
    if not graphs:
        raise _none(made)
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
    found = [p if p.refusal is not None else replace(p, result=next(results)) for p in made]
    return Pareto(
        tuple(point for point in found if isinstance(point, RecipePoint)),
        tuple(point for point in found if isinstance(point, IntegerPoint)),
        count,
        pj_integer_add,
    )


def require_recipes(recipes: Iterable[str]) -> tuple[str, ...]:
    """Each recipe once; CompileError for an unknown one, or none."""
    found = _listed(recipes, "recipe")
    for name in found:
        if name not in RECIPES:
            raise unknown_name("recipe", str(name), RECIPES)
    return found


def require_budgets(budgets: Iterable[float]) -> tuple[float, ...]:
    """Each budget once; CompileError for one out of range, or none."""
    found = _listed(budgets, "energy budget")
    for budget in found:
        if not 0 < real_number(budget, "energy budget") <= 1:
            raise CompileError(
                f"energy budget {budget} is out of range",
                help="choose 0 < budget <= 1, a share of the energy of the trained network",
            )
    return found


def require_widths(bits: Iterable[int]) -> tuple[int, ...]:
    """Each number of bits once; CompileError for one that no integers have."""
    found = tuple(dict.fromkeys(map(plain, bits)))
    for width in found:
        require_bits(width)
    return found


def require_count(count: str) -> None:
    """Raises CompileError for what is no way to count accumulates."""
    if count not in get_args(Count):
        raise unknown_name("count", str(count), get_args(Count))


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


def _none(made: list[RecipePoint | IntegerPoint]) -> CompileError:
    first = next(point.refusal for point in made if point.refusal is not None)
    return CompileError(f"there is no point to draw: {first.message}", at=first.at, help=first.help)


def _told(progress: ProgressOf, name: str, phase: str, done: int, total: int | None) -> None:
    progress(f"{name}: {phase}", done, total)


def _compiled(
    network: CalibratedNetwork,
    recipe: str,
    budget: float,
    count: Count,
    output: str | None,
    told: Callable[[str, int, int | None], None],
) -> Graph:
    """STAND-IN until compile takes recipes."""
    from snnc.evaluation import measure

    neuron = "sfn:levels=sformer:rule=eq11" if recipe == "paper" else "sfn"
    polarity = "shared" if recipe == "best" else "separate"
    samples = network.calibration.reservoir.samples(64)
    low, high, found = 0.01, 1.0, None
    for i in range(8):
        scale = 1.0 if i == 0 else (low * high) ** 0.5
        graph = compile(network, neuron=neuron, polarity=polarity, scale=scale).graph
        energy = measure(graph, samples).energy()
        ratio = energy.ratio_spikes if count == "spikes" else energy.ratio_events
        told("choosing lambda", i + 1, 8)
        if ratio <= budget:
            high, found = scale, graph
        elif i == 0:
            raise CompileError(f"the energy budget {budget:g} cannot be met")
        else:
            low = scale
    assert found is not None
    return found
