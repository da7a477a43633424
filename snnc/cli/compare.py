"""`snnc compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from snnc.calibrating import Watch, calibrate
from snnc.cli.options import (
    calibration_option,
    energy_options,
    percentile_option,
    polarity_option,
    require_one_of,
    samples_from,
    scale_options,
    site_options,
    statistics_option,
    threshold_rule_option,
)
from snnc.cli.output import Progress, json_option, print_json
from snnc.comparison import TIMESTEP_MS, Comparison, Row, compare
from snnc.compile_report import RANDOM_WARNING
from snnc.energy import PJ_AC
from snnc.files import require_writable
from snnc.fits import Recipe
from snnc.frontend import external_files
from snnc.ir.neuron_spec import neuron_spec
from snnc.ir.rate_neuron import Polarity
from snnc.plots import plot, require_format
from snnc.report import percent, table


@click.command("compare")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="F.npz",
    help="Samples, with 'labels' where they are known.",
)
@calibration_option
@statistics_option
@click.option(
    "--neurons",
    required=True,
    metavar="SPEC,SPEC,...",
    help="Neurons to compare: NAME[:PARAMETER=VALUE]...[@TIMESTEPS], as in sfn,mtn:N=16,if@32.",
)
@scale_options
@percentile_option
@threshold_rule_option
@polarity_option
@site_options
@click.option(
    "--output", metavar="NAME", help="Output to compare.  [default: the float output computed last]"
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, max=600),
    default=0.5,
    show_default=True,
    help="About how long to time each network; 0 leaves it out.",
)
@click.option(
    "--plot",
    "picture",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="Picture to write (.png, .svg, .pdf).",
)
@energy_options
@json_option
def compare_command(
    model: Path,
    data: Path,
    calibration: str | None,
    statistics: Path | None,
    neurons: str,
    scale: float | None,
    fidelity: float,
    percentile: float | None,
    threshold_rule: str | None,
    polarity: Polarity | None,
    keep: tuple[str, ...],
    encode_input: bool,
    mask_input: str | None,
    output: str | None,
    seconds: float,
    picture: Path | None,
    pj_ac: float,
    pj_mac: float,
    as_json: bool,
) -> None:
    """Compare neuron models on MODEL: accuracy, spikes, energy and time, one row for each.

    Below each stands what as many levels cost as plain integers. A neuron that cannot take the
    network is listed with the reason; exit status 1 if none can.

    \b
    Example:
      snnc compare model.onnx --data test.npz --calibration samples.npz --neurons sfn,mtn,if@32,aif
    """
    require_one_of(calibration, statistics)
    for text in neurons.split(","):
        neuron_spec(text)  # refuses before any work
    if picture is not None:
        require_format(picture)
        seen = Path(calibration or str(statistics))
        require_writable(picture, model, data, seen, *external_files(model))
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
        found = compare(
            network,
            data,
            neurons=neurons,
            scale=scale,
            percentile=percentile,
            seconds=seconds,
            recipe=Recipe(
                polarity=polarity or "separate",
                fidelity=fidelity,
                output=output,
                pj_ac=pj_ac,
                pj_mac=pj_mac,
                progress=progress,
                threshold_rule=threshold_rule,
            ),
        )
    if network.calibration.random:
        click.echo(f"warning: {RANDOM_WARNING}", err=True)
    if picture is not None:
        plot(found, picture)
    if as_json:
        print_json(found.summary() | {"plot": None if picture is None else str(picture)})
        return
    click.echo(_table(found))
    if picture is not None:
        click.echo(f"\nwritten to {picture}")


_COLUMNS = [
    *("neuron", "T", "lambda", "top-1", "agreement", "cosine", "spikes", "events"),
    *("energy (spikes)", "(events)", "time", "eq. 11 mW"),
]


def _table(found: Comparison) -> str:
    """The ANN, then each neuron with the integers that match it; notes below."""
    first = found.points[0].result
    blank = [None] * 4
    ann = ["ANN", None, None, percent(first.ann_top1), *blank, "100 %", "100 %", "1.00", None]
    rows: list[list[Any]] = [ann]
    for row in found.rows:
        rows += _rows(row)
    return "\n".join(
        [f"{first.samples} samples, output '{first.output}'", table(_COLUMNS, rows), *_notes(found)]
    )


def _rows(row: Row) -> list[list[Any]]:
    name, _, _ = str(row.spec).partition("@")
    if row.point is None or row.integers is None:
        return [[name, row.spec.timesteps, "refused", *[None] * 9]]
    result, energy, integers = row.point.result, row.point.result.energy, row.integers
    same = percent(integers.ratio)
    return [
        [
            name,
            row.spec.timesteps,
            f"{row.point.scale:.4g}{'*' if row.point.reached is False else ''}",
            percent(result.snn_top1),
            percent(result.agreement),
            f"{result.cosine:.4f}",
            energy.fired_spikes,
            energy.fired_events,
            percent(energy.ratio_spikes),
            percent(energy.ratio_events),
            None if row.time is None else f"{row.time:.2f}",
            row.power_mw,
        ],
        [f"  {integers.levels} levels as int{integers.bits}", *[None] * 7, same, same, None, None],
    ]


def _notes(found: Comparison) -> list[str]:
    notes = [
        "int rows: the ANN with such integers (multiply-accumulates of "
        + ", ".join(f"int{bits} {pj:.2f} pJ" for bits, pj in _integers(found).items())
        + ") where the network spikes",
        f"eq. 11: spikes x {PJ_AC} pJ / (T x {TIMESTEP_MS:g} ms), no fan-out, no analog layer",
    ]
    if any(point.reached is False for point in found.points):
        notes.append(
            "* no lambda keeps --fidelity on the calibration samples: the one that agrees best"
        )
    for row in found.rows:
        if row.refusal is not None:
            at = f" ({row.refusal.at})" if row.refusal.at else ""
            notes.append(f"refused: {row.spec}: {row.refusal.message}{at}")
    return notes


def _integers(found: Comparison) -> dict[int, float]:
    used = [row.integers for row in found.rows if row.integers is not None]
    return {integers.bits: integers.pj_mac for integers in used}
