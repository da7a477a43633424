"""`snnc pareto`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from snnc.calibrating import Watch, calibrate
from snnc.cli.options import (
    calibration_option,
    energy_options,
    require_one_of,
    samples_from,
    site_options,
    statistics_option,
)
from snnc.cli.output import Progress, json_option, print_json
from snnc.cli.studies import numbers, whole_numbers
from snnc.compile_report import RANDOM_WARNING
from snnc.data import samples_of
from snnc.evaluation import Evaluation
from snnc.files import require_writable
from snnc.frontend import external_files, load
from snnc.integer_energy import PJ_ADD
from snnc.pareto import (
    BITS,
    RECIPES,
    pareto,
    require_budgets,
    require_data_apart,
    require_recipes,
    require_widths,
)
from snnc.pareto_front import IntegerPoint, Pareto, RecipePoint
from snnc.plots import plot, require_format
from snnc.recipes.costs import Count
from snnc.report import percent, table


@click.command("pareto")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="F.npz",
    help="Samples to measure on, not those of the calibration, with 'labels' where they are known.",
)
@calibration_option
@statistics_option
@click.option(
    "--recipes",
    default=",".join(RECIPES),
    show_default=True,
    metavar="NAME,NAME,...",
    help="Recipes of snnc compile to draw.",
)
@click.option(
    "--budgets",
    callback=numbers,
    metavar="R,R,...",
    help="Energies to aim at, of the trained network's.  [default: six that suit the network]",
)
@click.option(
    "--count",
    type=click.Choice(get_args(Count)),
    default="spikes",
    show_default=True,
    help="Whether energies count every spike, or one event for all spikes of a neuron.",
)
@click.option(
    "--bits",
    callback=whole_numbers,
    default=",".join(map(str, BITS)),
    show_default=True,
    metavar="B,B,...",
    help="Integers of activations and weights to set the trained network beside in.",
)
@click.option(
    "--sensitivities",
    type=click.Path(path_type=Path),
    metavar="C.npz",
    help="File that the recipe best keeps what it measured in; an interrupted run continues it.",
)
@site_options
@click.option(
    "--output", metavar="NAME", help="Output to compare.  [default: the float output computed last]"
)
@click.option(
    "--plot",
    "picture",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="Picture to write (.png, .svg, .pdf).",
)
@energy_options
@click.option(
    "--pj-integer-add",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    default=PJ_ADD,
    show_default=True,
    help="Energy of a 32-bit integer addition, pJ: in integer multiply-accumulates, and of spikes "
    "where they add integers up.",
)
@json_option
def pareto_command(
    model: Path,
    data: Path,
    calibration: str | None,
    statistics: Path | None,
    recipes: str,
    budgets: tuple[float, ...] | None,
    count: Count,
    bits: tuple[int, ...],
    sensitivities: Path | None,
    keep: tuple[str, ...],
    encode_input: bool,
    mask_input: str | None,
    output: str | None,
    picture: Path | None,
    pj_ac: float,
    pj_mac: float,
    pj_integer_add: float,
    as_json: bool,
) -> None:
    """Metric against energy: the recipes on MODEL, and MODEL in integers of few bits.

    A recipe that cannot meet an energy is listed with the reason; exit status 1 if there is no
    point at all.

    \b
    Example:
      snnc pareto model.onnx --data test.npz --calibration samples.npz --plot pareto.svg
    """
    require_one_of(calibration, statistics)
    require_recipes(recipes)
    require_widths(bits)
    if budgets is not None:
        require_budgets(budgets)
    seen = Path(calibration or str(statistics))
    require_data_apart(data, seen)
    samples_of(data, load(model))  # refuses what cannot be read before the work begins
    if picture is not None:
        require_format(picture)
        require_writable(picture, model, data, seen, *external_files(model))
    if sensitivities is not None:
        if picture is not None and picture.resolve() == sensitivities.resolve():
            raise click.UsageError("--plot and --sensitivities name the same file")
        require_writable(sensitivities, model, data, seen, *external_files(model))
    with Progress() as progress:
        network = calibrate(
            model,
            calibration=samples_from(calibration),
            statistics=statistics,
            keep=keep,
            encode_input=encode_input,
            mask_input=mask_input,
            watch=Watch(progress),
        )
        found = pareto(
            network,
            data,
            recipes=recipes,
            budgets=budgets,
            count=count,
            bits=bits,
            sensitivities=sensitivities,
            output=output,
            pj_ac=pj_ac,
            pj_mac=pj_mac,
            pj_integer_add=pj_integer_add,
            progress=progress,
        )
    if network.calibration.random:
        click.echo(f"warning: {RANDOM_WARNING}", err=True)
    if picture is not None:
        plot(found, picture)
    if as_json:
        print_json(found.summary() | {"plot": None if picture is None else str(picture)})
        return
    click.echo(pareto_table(found))
    if picture is not None:
        click.echo(f"\nwritten to {picture}")


_QUALITY = ["top-1", "agreement", "cosine", "error"]


def pareto_table(found: Pareto) -> str:
    """The ANN, every recipe at every budget, integers of few bits; notes below."""
    first = found.first
    columns = ["network", "budget", *_QUALITY, "energy (spikes)", "eq. 44", "(events)", "(int add)"]
    ann = ["ANN", None, percent(first.ann_top1), *[None] * 3, *["100 %"] * 3, None]
    rows = [ann, *(_recipe(found, p) for p in found.points)]
    rows += [_integers(found, point) for point in found.integers]
    head = f"{first.samples} samples, output '{first.output}'"
    return "\n".join([head, table(columns, rows), *_notes(found)])


def _recipe(found: Pareto, point: RecipePoint) -> list[Any]:
    lead = [point.recipe, percent(point.budget)]
    if point.result is None:
        return [*lead, "refused", *[None] * 7]
    energy = point.result.energy
    return [
        *lead,
        *_quality(point.result),
        percent(energy.ratio_spikes),
        percent(energy.ratio_spikes_eq44),
        percent(energy.ratio_events),
        percent(found.energy(point.result, found.pj_integer_add)),
    ]


def _integers(found: Pareto, point: IntegerPoint) -> list[Any]:
    lead = [f"int{point.bits}", None]
    if point.result is None:
        return [*lead, "refused", *[None] * 7]
    energy = percent(found.integer_energy(point.bits, point.result))
    return [*lead, *_quality(point.result), *[None] * 3, energy]


def _quality(result: Evaluation) -> list[Any]:
    return [
        percent(result.snn_top1),
        percent(result.agreement),
        f"{result.cosine:.4f}",
        None if result.relative_error is None else f"{result.relative_error:.4f}",
    ]


def _notes(found: Pareto) -> list[str]:
    energy = found.first.energy
    notes = [
        f"energy: an accumulate {energy.pj_ac:g} pJ, a multiply-accumulate {energy.pj_mac:g} pJ; "
        f"(int add): {found.count}, an accumulate {found.pj_integer_add:g} pJ",
    ]
    if found.integers:
        macs = (f"int{p.bits} {found.pj_mac(p.bits):.2f} pJ" for p in found.integers)
        notes.append(
            "intB: the ANN with weights and activations of B bits where the others spike, "
            "multiply-accumulates of " + ", ".join(macs)
        )
    for recipe in found.points:
        notes += _refusal(f"{recipe.recipe} at {percent(recipe.budget)}", recipe)
    for integer in found.integers:
        notes += _refusal(f"int{integer.bits}", integer)
    return notes


def _refusal(name: str, point: RecipePoint | IntegerPoint) -> list[str]:
    return [] if point.refusal is None else [f"refused: {name}: {point.refusal.message}"]
