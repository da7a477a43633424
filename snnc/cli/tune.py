"""`snnc tune`."""

from __future__ import annotations

from pathlib import Path

import click

from snnc.calibrating import Watch, calibrate
from snnc.cli.options import (
    calibration_option,
    neuron_of,
    neuron_options,
    require_one_of,
    samples_from,
    site_options,
    statistics_option,
    threshold_rule_option,
)
from snnc.cli.output import Progress, json_option, print_json
from snnc.compiler import compile
from snnc.files import require_writable
from snnc.frontend import external_files
from snnc.ir.rate_neuron import Polarity
from snnc.report import percent, table
from snnc.search.outcome import Trial, best_of
from snnc.tuning import RANGE, Goal, Tuned, tune


@click.command("tune")
@click.argument("model", type=click.Path(path_type=Path))
@calibration_option
@statistics_option
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="V.npz",
    help="Samples to validate every lambda on, with 'labels' where they are known.",
)
@click.option(
    "--trials", type=int, default=50, show_default=True, help="Trials of the study in all."
)
@click.option(
    "--objective",
    type=click.Choice(["metric", "pareto"]),
    default="metric",
    show_default=True,
    help="The metric alone, or metric and energy.",
)
@click.option(
    "--tolerance",
    type=float,
    default=0.0,
    show_default=True,
    help="How far below the best metric a larger lambda, of fewer spikes, may lie.",
)
@click.option(
    "--range",
    "scale_range",
    type=float,
    nargs=2,
    default=RANGE,
    show_default=True,
    metavar="LOW HIGH",
    help="Scale factors to search.",
)
@click.option(
    "--subsample", type=float, metavar="N", help="Validate on N samples, or a share below 1."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the search and of the subsample.",
)
@click.option(
    "--storage",
    metavar="URL",
    help="Where the study is kept: sqlite:///FILE, journal:FILE or postgresql://...",
)
@click.option("--study", metavar="NAME", help="Name of the study to begin, resume or share.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="OUT.onnx",
    help="Also compile with the lambda found, and write the network.",
)
@neuron_options
@threshold_rule_option
@site_options
@click.option("--output", metavar="NAME", help="Output on which the metric is measured.")
@json_option
def tune_command(
    model: Path,
    calibration: str | None,
    statistics: Path | None,
    data: Path,
    trials: int,
    objective: Goal,
    tolerance: float,
    scale_range: tuple[float, float],
    subsample: float | None,
    seed: int,
    storage: str | None,
    study: str | None,
    out: Path | None,
    neuron: str,
    percentile: float | None,
    m: int | None,
    rule: str | None,
    levels: str | None,
    polarity: Polarity | None,
    threshold_rule: str | None,
    keep: tuple[str, ...],
    encode_input: bool,
    mask_input: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Search the scale factor lambda of MODEL that is best on validation data.

    A study kept with --storage goes on after an interruption, and several processes share it.

    \b
    Example:
      snnc tune model.onnx --calibration samples.npz --data validation.npz -o model.snn.onnx
    """
    require_one_of(calibration, statistics)
    model_of_neuron = neuron_of(neuron, m, rule, levels)
    if out is not None:
        seen = Path(calibration or str(statistics))
        require_writable(out, model, seen, data, *external_files(model))
    tried: list[Trial] = []
    try:
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
            found = tune(
                network,
                data=data,
                neuron=model_of_neuron,
                objective=objective,
                trials=trials,
                scale_range=scale_range,
                tolerance=tolerance,
                subsample=subsample,
                percentile=percentile,
                polarity=polarity or "separate",
                threshold_rule=threshold_rule,
                output=output,
                storage=storage,
                study=study,
                seed=seed,
                watch=Watch(progress),
                told=tried.append,
            )
    except KeyboardInterrupt:
        click.echo(_interrupted(tried, storage is not None), err=True)
        raise
    if out is not None:
        spiking = compile(
            network,
            neuron=model_of_neuron,
            scale=found.scale,
            percentile=percentile,
            polarity=polarity,
            threshold_rule=threshold_rule,
            output=output,
        )
        spiking.save(out)
        for warning in spiking.report.warnings:
            click.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json(found.summary() | ({} if out is None else {"output": str(out)}))
        return
    click.echo(table(["tuned", str(model)], _rows(found, out)))
    if found.front:
        front = [(f"{t.scale:.4g}", f"{t.value:.4f}", percent(t.energy)) for t in found.front]
        click.echo("\n" + table(["front: lambda", found.metric, "energy"], front))


def _interrupted(tried: list[Trial], kept: bool) -> str:
    """What was found before the interruption, in one line."""
    so_far = "no trial of this run had finished"
    if tried:
        best = best_of(tried)
        of = f"the best metric of the {len(tried)} trials of this run"
        so_far = f"lambda {best.scale:.4g} (value {best.value:.4f}) has {of}"
    return f"interrupted: {so_far}" + ("; the same command resumes the study" if kept else "")


def _rows(found: Tuned, out: Path | None) -> list[tuple[str, str]]:
    kept = "" if found.study is None else f" of study '{found.study}'"
    rows = [
        ("lambda", f"{found.scale:.4g}"),
        (
            found.metric,
            f"{found.value:.4f} on {found.samples} samples (the trained network {found.ann:.4f})",
        ),
        ("trials", f"{len(found.trials)}{kept}, {found.evaluations} evaluations of the data"),
    ]
    if found.energy is not None:
        rows.append(("energy", f"{percent(found.energy)} of the trained network's (eq. 43)"))
    return rows if out is None else [*rows, ("written", str(out))]
