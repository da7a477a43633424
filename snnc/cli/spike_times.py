"""What `snnc compile` and `snnc eval` do and print for neurons that fire at most once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from snnc.calibrating import Watch, calibrate_spike_times
from snnc.cli.check import coverage_rows, verified_rows
from snnc.cli.options import samples_from
from snnc.cli.output import Progress, print_json
from snnc.files import require_writable
from snnc.frontend import external_files
from snnc.ir.neuron import make_neuron, parse_neuron
from snnc.neurons.ttfs import TTFS
from snnc.plots import plot, require_format
from snnc.precision import LayerPrecision, PrecisionCurve, advised, precision_curve
from snnc.report import percent, short, table
from snnc.spike_time_compiler import time_precisions
from snnc.spike_time_evaluation import SpikeTimeEvaluation
from snnc.spike_time_report import SpikeTimeReport
from snnc.spiking_network import SpikeTimeNetwork

_COUNTING = (
    *("scale", "fidelity", "m", "rule", "levels", "polarity", "threshold_rule", "synapses"),
    *("timesteps", "encode_input"),
)
"""Options of compile that only neurons that count spikes know."""

_TIMING = ("precision", "emission", "products")


def spike_timing(context: click.Context, text: str) -> tuple[TTFS, dict[str, int]] | None:
    """The neuron that times its spikes, and the ticks of single layers, as the command line asks
    for them; None for a neuron that counts. UsageError for options of the other kind."""
    given = {
        p.name: p.opts[0]
        for p in context.command.params
        if context.get_parameter_source(p.name or "") is ParameterSource.COMMANDLINE
    }
    if text.partition("@")[0].partition(":")[0] != TTFS.name:
        if unfit := [given[name] for name in _TIMING if name in given]:
            raise click.UsageError(f"{unfit[0]} goes with --neuron ttfs", context)
        return None
    if unfit := [given[name] for name in _COUNTING if name in given]:
        raise click.UsageError(
            f"{unfit[0]} is of neurons that count spikes, which ttfs does not", context
        )
    neuron = parse_neuron(text)
    assert isinstance(neuron, TTFS)
    asked = {"rule": context.params["emission"], "products": context.params["products"]}
    parameters = neuron.parameters | {key: value for key, value in asked.items() if value}
    neuron = make_neuron(TTFS.name, **parameters)
    assert isinstance(neuron, TTFS)
    return time_precisions(context.params["precision"], neuron)


def show_spike_times(
    network: SpikeTimeNetwork, model: Path, out: Path, verify: bool, as_json: bool
) -> None:
    """Saves the network and prints what was made of it."""
    network.save(out)
    report = network.report
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json(report.summary() | {"verified": verify, "output": str(out)})
        return
    neuron = report.neuron
    own = "".join(f", {pattern}: {p}" for pattern, p in report.precisions)
    ranges = (
        "extremes with a margin of 2 %"
        if report.percentile is None
        else f"quantiles (p = {report.percentile:g} %)"
    )
    rows = [
        ("neuron", f"ttfs (rule={neuron.rule}, products={neuron.products})"),
        ("time precision", f"{neuron.p} ticks a window{own}"),
        ("layers", f"{report.layers}, and {report.relays} of relays, in {report.windows} windows"),
        ("agreement", _agreement(report)),
        ("ranges", f"{ranges}, {report.calibration_samples} calibration samples"),
        *coverage_rows(report.coverage),
        *verified_rows(verify),
        ("written", str(out)),
    ]
    click.echo(table(["compiled", str(model)], rows))


def _agreement(report: SpikeTimeReport) -> str:
    if report.agreement is None:
        return "not measured: the statistics hold no samples"
    of = f"{report.measured_samples} samples of calibration"
    return f"{report.measure} {report.agreement:.4f} on {of}"


def spike_time_table(result: SpikeTimeEvaluation) -> str:
    """A network of spike times beside the trained one."""
    energy = result.energy.summary()
    rows = [
        ("samples", "", result.samples),
        ("top-1", percent(result.ann_top1), percent(result.snn_top1)),
        ("  by the earliest spike", "", percent(result.earliest_top1)),
        (f"same argmax of '{result.output}'", "", percent(result.agreement)),
        ("mean cosine to the ANN", "", f"{result.cosine:.4f}"),
        ("energy by Table 3 (eq. 28)", "100 %", percent(energy["ratio_table3"])),
        ("  every synaptic event if all fire", "100 %", percent(energy["ratio_operations"])),
        ("  synaptic events that occurred", "100 %", percent(energy["ratio_events"])),
        ("neurons a sample", "", energy["neurons"]),
        ("  of them silent", "", percent(energy["silent_share"])),
        ("relays a sample", "", energy["relay_neurons"]),
        ("windows", "", energy["windows"]),
    ]
    return table(["", "ANN", "SNN"], rows)


def spike_time_layers(result: SpikeTimeEvaluation) -> str:
    """Every layer with its neurons and spikes a sample."""
    head = ["layer", "op", "window", "neurons", "spikes", "silent", "operations", "events"]
    rows = [
        (
            short(x.name),
            x.op_type,
            x.window,
            x.neurons,
            x.spikes,
            percent(x.silent),
            x.operations,
            x.events,
        )
        for x in result.energy.layers
    ]
    return table(head, rows)


def precision_command(model: Path, data: Path, options: dict[str, Any]) -> None:
    """Calibrates MODEL and shows it at several time precisions: table or JSON, and a picture."""
    picture: Path | None = options["plot"]
    calibration, statistics = options["calibration"], options["statistics"]
    if picture is not None:
        require_format(picture)
        seen = Path(calibration or statistics)
        require_writable(picture, model, data, seen, *external_files(model))
    neurons = _curve_neurons(options)
    for p in options["precision_curve"]:
        replace(neurons[0], p=p)  # refuses early
    with Progress() as progress:
        network = calibrate_spike_times(
            model,
            calibration=samples_from(calibration),
            statistics=statistics,
            keep=options["keep"],
            mask_input=options["mask_input"],
            watch=Watch(progress),
        )
        curve = precision_curve(
            network,
            data,
            neurons=neurons,
            precisions=options["precision_curve"],
            percentile=options["percentile"],
            output=options["output"],
            progress=progress.phase("evaluating", None),
        )
    if picture is not None:
        plot(curve, picture)
    if options["as_json"]:
        print_json(curve.summary() | {"plot": None if picture is None else str(picture)})
        return
    click.echo(_curve_table(curve))
    if picture is not None:
        click.echo(f"\nwritten to {picture}")


def _curve_neurons(options: dict[str, Any]) -> list[TTFS]:
    """One neuron for each line of a curve: both ways to emit, unless one is asked for."""
    text = options["neuron"]
    neuron = TTFS() if text == "sfn" else parse_neuron(text)
    if not isinstance(neuron, TTFS):
        raise click.UsageError(f"--precision-curve is of ttfs neurons, not of {neuron.name}")
    if options["products"]:
        neuron = replace(neuron, products=options["products"])
    if options["emission"]:
        return [replace(neuron, rule=options["emission"])]
    return [neuron] if text not in ("sfn", "ttfs") else [neuron, replace(neuron, rule="nearest")]


def _curve_table(curve: PrecisionCurve) -> str:
    head = ["p", "emission", "products", "top-1", "agreement", "cosine", "1 - cosine"]
    rows: list[list[Any]] = [["ANN", None, None, percent(curve.ann_top1), None, None, None]]
    for x in curve.points:
        neuron, away = x.neuron, f"{1 - x.cosine:.1e}"
        shares = percent(x.top1), percent(x.agreement)
        rows.append([neuron.p, neuron.rule, neuron.products, *shares, f"{x.cosine:.6f}", away])
    return f"{curve.samples} samples, output '{curve.output}'\n" + table(head, rows)


def layer_precision_table(layers: Sequence[LayerPrecision]) -> str:
    """The layers whose ticks cost most, and which to give more."""
    ordered = sorted(layers, key=lambda x: -x.error)
    rows = [(short(x.name), x.op_type, x.window, x.ticks, percent(x.error)) for x in ordered]
    head = ["layer", "op", "window", "ticks", "error of its ticks alone"]
    lines = [table(head, rows)]
    lines += [
        f"advice: {percent(share)} of the squared error: --time-precision '{name}={ticks}'"
        for name, share, ticks in advised(layers)
    ]
    return "\n".join(lines)
