"""The studies of `snnc eval`: curves, the ablation of fire functions, histograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from snnc.calibrated import CalibratedNetwork
from snnc.calibrating import Watch, calibrate
from snnc.cli.options import neuron_text, samples_from
from snnc.cli.output import Progress, print_json
from snnc.compile_report import RANDOM_WARNING
from snnc.curves import PERCENTILES, ablation, lambda_curve, percentile_curve, timesteps_curve
from snnc.files import require_writable
from snnc.fits import Recipe
from snnc.frontend import external_files
from snnc.histogram import Histogram, histogram
from snnc.ir.neuron_spec import NeuronSpec, spec_at
from snnc.ir.rate_neuron import Polarity, RateNeuron, rate_neuron
from snnc.neurons.sfn import SFN
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.calibration import require_percentile
from snnc.passes.fold_time import FoldTime
from snnc.plots import plot, require_format
from snnc.precision import PrecisionCurve
from snnc.report import percent, table
from snnc.search.grid import GRID, require_fidelity
from snnc.studies import Point, Study

_N = TypeVar("_N", int, float)


def numbers(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """An option's numbers between commas (a callback of click)."""
    return _numbers(context, parameter, value, float)


def whole_numbers(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """An option's whole numbers between commas (a callback of click)."""
    return _numbers(context, parameter, value, int)


def _numbers(
    context: click.Context, parameter: click.Parameter, value: str | None, kind: Callable[[str], _N]
) -> tuple[_N, ...] | None:
    if value is None:
        return None
    try:
        return tuple(kind(number) for number in value.split(","))
    except ValueError:
        whole = "whole " if kind is int else ""
        raise click.BadParameter(
            f"'{value}' is no list of {whole}numbers between commas", context, parameter
        ) from None


def study_command(mode: str, model: Path, data: Path, options: dict[str, Any]) -> None:
    """Calibrates MODEL, runs the study and shows it: table or JSON, and a picture if asked."""
    picture = picture_of(model, data, options)
    _check_numbers(options)
    with Progress() as progress:
        network = calibrate(
            model,
            calibration=samples_from(options["calibration"]),
            statistics=options["statistics"],
            keep=options["keep"],
            encode_input=options["encode_input"],
            mask_input=options["mask_input"],
            watch=Watch(progress),
        )
        result = _study(mode, network, data, options, progress)
    if network.calibration.random:
        click.echo(f"warning: {RANDOM_WARNING}", err=True)
    text = _histogram_table(result) if isinstance(result, Histogram) else study_table(result)
    show_study(result, text, picture, options["as_json"])


def picture_of(model: Path, data: Path, options: Mapping[str, Any]) -> Path | None:
    """Where a picture is asked for; CompileError at once where it cannot be drawn."""
    picture: Path | None = options["plot"]
    if picture is not None:
        require_format(picture)
        seen = Path(options["calibration"] or options["statistics"])
        require_writable(picture, model, data, seen, *external_files(model))
    return picture


def show_study(
    result: Study | Histogram | PrecisionCurve, text: str, picture: Path | None, as_json: bool
) -> None:
    """Draws a study if asked, and prints it: as one JSON document, or as text."""
    if picture is not None:
        plot(result, picture)
    if as_json:
        print_json(result.summary() | {"plot": None if picture is None else str(picture)})
        return
    click.echo(text)
    if picture is not None:
        click.echo(f"\nwritten to {picture}")


def _check_numbers(options: dict[str, Any]) -> None:
    """Refuses numbers out of range before any long work."""
    scale = 1.0 if options["scale"] is None else options["scale"]
    for tried in (scale, *(options["lambdas"] or ())):
        for spec in _specs(options):
            AssignThresholds(spec.neuron, tried, _polarity(options))
            FoldTime(spec.timesteps)
    for p in (options["percentile"], *(options["percentiles"] or ())):
        if p is not None:
            require_percentile(p)
    require_fidelity(options["fidelity"])


def _neurons(options: dict[str, Any]) -> tuple[str, ...]:
    """The neurons as asked for: --neuron, and what it is drawn against."""
    first = neuron_text(options["neuron"], options["m"], options["rule"], options["levels"])
    return first, *options["against"]


def _specs(options: dict[str, Any]) -> list[NeuronSpec]:
    """Every neuron of the study; a curve over timesteps has it once for each T."""
    times: tuple[int, ...] | None = options["timesteps_curve"]
    if times is None:
        return [NeuronSpec(_neuron(options))]
    for t in times:
        FoldTime(t)
    return [spec_at(neuron, t) for neuron in _neurons(options) for t in times]


def _neuron(options: dict[str, Any]) -> RateNeuron:
    return rate_neuron(_neurons(options)[0])


def _polarity(options: dict[str, Any]) -> Polarity:
    return options["polarity"] or "separate"


def _study(
    mode: str,
    network: CalibratedNetwork,
    data: Path,
    options: dict[str, Any],
    progress: Progress,
) -> Study | Histogram:
    recipe = Recipe(
        polarity=_polarity(options),
        fidelity=options["fidelity"],
        output=options["output"],
        pj_ac=options["pj_ac"],
        pj_mac=options["pj_mac"],
        progress=progress,
        threshold_rule=options["threshold_rule"],
    )
    scale, p = options["scale"], options["percentile"]
    if mode == "timesteps_curve":
        return timesteps_curve(
            network,
            data,
            neurons=_neurons(options),
            timesteps=options["timesteps_curve"],
            scale=scale,
            percentile=p,
            recipe=recipe,
        )
    neuron = _neuron(options)
    if mode == "lambda_curve":
        scales = options["lambdas"] or GRID
        return lambda_curve(
            network, data, neuron=neuron, scales=scales, percentile=p, recipe=recipe
        )
    if mode == "percentile_curve":
        percentiles = options["percentiles"] or PERCENTILES
        return percentile_curve(
            network, data, neuron=neuron, percentiles=percentiles, scale=scale, recipe=recipe
        )
    if mode == "ablation":
        sfn = SFN(M=options["m"] or SFN().M, rule=options["rule"] or SFN().rule)
        return ablation(network, data, neuron=sfn, percentile=p, recipe=recipe)
    return histogram(
        network,
        data,
        options["histogram"],
        neuron=neuron,
        scale=scale,
        percentile=p,
        recipe=recipe,
    )


def study_table(study: Study) -> str:
    """One row a spiking network, after one for the ANN."""
    head = {
        "lambda": [],
        "percentile": ["p (%)"],
        "timesteps": ["neuron", "T"],
        "fire function": ["fire function", "levels"],
    }
    columns = [*head[study.over], "lambda", "top-1", "agreement", "cosine"]
    columns += ["energy (spikes)", "eq. 44", "energy (events)"]
    first = study.points[0].result
    ann = [*("ANN" if i == 0 else None for i in range(len(head[study.over]) + 1))]
    rows = [[*ann, percent(first.ann_top1), None, None, "100 %", "100 %", "100 %"]]
    rows += [_row(study, point) for point in study.points]
    text = f"{first.samples} samples, output '{first.output}'\n" + table(columns, rows)
    if any(point.reached is False for point in study.points):
        text += (
            "\n* no lambda keeps --fidelity on the calibration samples: the one that agrees best"
        )
    return text


def _row(study: Study, point: Point) -> list[Any]:
    result, energy = point.result, point.result.energy
    lead: dict[str, list[Any]] = {
        "lambda": [],
        "percentile": [f"{point.percentile:g}"],
        "timesteps": [str(NeuronSpec(point.neuron, point.timesteps)), point.at],
        "fire function": [point.neuron.parameters.get("levels"), _levels(point.neuron)],
    }
    return [
        *lead[study.over],
        f"{point.scale:.4g}{'*' if point.reached is False else ''}",
        percent(result.snn_top1),
        percent(result.agreement),
        f"{result.cosine:.4f}",
        percent(energy.ratio_spikes),
        percent(energy.ratio_spikes_eq44),
        percent(energy.ratio_events),
    ]


def _levels(neuron: RateNeuron) -> int | None:
    """How many levels a sign has, of a fire function."""
    return len(neuron.level_values) if isinstance(neuron, SFN) else None


def _histogram_table(found: Histogram) -> str:
    both = ("positive", "negative")
    rows: list[tuple[str, Any]] = [
        ("samples", found.samples),
        ("entries", found.entries),
        ("lambda", f"{found.scale:.4g}"),
        *(
            (f"theta, step ({sign})", f"{theta:.4g}, {step:.4g}")
            for sign, theta, step in zip(both, found.theta, found.step, strict=True)
        ),
        ("activations", f"{found.edges[0]:.4g} .. {found.edges[-1]:.4g}, {found.beyond} beyond"),
        ("mean |spike count|", f"{found.mean_count:.4g}"),
    ]
    shares = ((label, percent(n / found.entries)) for label, n in found.by_size())
    counts = table(["|spike count|", "entries"], list(shares))
    return table(["site", found.site], rows) + "\n\n" + counts
