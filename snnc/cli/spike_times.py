"""What `snnc compile` and `snnc eval` do and print for neurons that fire at most once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from snnc.calibrating import Watch, calibrate_spike_times
from snnc.cli.check import coverage_rows, verified_rows
from snnc.cli.options import samples_from
from snnc.cli.output import Progress, print_json
from snnc.cli.schedule import Wanted
from snnc.cli.studies import picture_of, show_study
from snnc.ir.neuron import parse_neuron
from snnc.neurons.ttfs import TTFS
from snnc.precision import LayerPrecision, PrecisionCurve, advised, precision_curve
from snnc.report import bare, percent, short, table
from snnc.spike_time_compiler import RANDOM_RANGES, time_precisions
from snnc.spike_time_evaluation import SpikeTimeEvaluation
from snnc.spike_time_report import SpikeTimeReport
from snnc.spiking_network import SpikeTimeNetwork

_COUNTING = (
    *("scale", "fidelity", "m", "rule", "levels", "polarity", "threshold_rule", "synapses"),
    *("timesteps", "encode_input", "recipe", "energy_budget", "count", "sensitivities"),
)
"""Options of compile that only neurons that count spikes know."""

_TIMING = ("precision", "emission", "products")

_PARAMETERS = {"emission": "rule", "products": "products"}
"""Parameters of the neuron that have an option of their own."""


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
            f"{unfit[0]} goes with neurons that count spikes, not with ttfs", context
        )
    precision = context.params["precision"]
    if "p" in _set_in(text) and any("=" not in p for p in precision):
        raise click.UsageError("--time-precision and p in --neuron: pass one", context)
    return time_precisions(precision, _asked_for(text, context.params))


def _set_in(text: str) -> set[str]:
    """The parameters that --neuron sets."""
    return {setting.partition("=")[0] for setting in text.split(":")[1:]}


def _asked_for(text: str, options: Mapping[str, Any]) -> TTFS:
    """The neuron that --neuron and the options of its parameters describe; each says it once."""
    neuron = parse_neuron(text)
    assert isinstance(neuron, TTFS)
    asked = {key: options[name] for name, key in _PARAMETERS.items() if options[name]}
    for name, key in _PARAMETERS.items():
        if key in asked and key in _set_in(text):
            raise click.UsageError(f"--{name} and {key} in --neuron: pass one")
    return replace(neuron, **asked)


def show_spike_times(
    network: SpikeTimeNetwork,
    model: Path,
    out: Path,
    verify: bool,
    as_json: bool,
    wanted: Wanted | None,
) -> None:
    """Saves the network and prints what was made of it."""
    network.save(out)
    report = network.report
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    made = None if wanted is None else wanted.write(out)
    if as_json:
        schedule = {} if made is None else {"schedule": made.document}
        print_json(report.summary() | {"verified": verify, "output": str(out)} | schedule)
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
        *coverage_rows(report.coverage, spike_times=True),
        *verified_rows(verify),
        ("written", str(out)),
    ]
    click.echo(table(["compiled", str(model)], rows))
    if made is not None:
        made.show()


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
        ("  its products event by event", "100 %", percent(energy["ratio_consistent"])),
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
            bare(x.op_type),
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


def precision_command(
    model: Path, data: Path, neuron: str | None, options: Mapping[str, Any]
) -> None:
    """Calibrates MODEL and shows it at several time precisions: table or JSON, and a picture.

    neuron: as the user gave it, None for the default.
    """
    picture = picture_of(model, data, options)
    neurons = _curve_neurons(neuron, options)
    for p in options["precision_curve"]:
        replace(neurons[0], p=p)  # refuses early
    with Progress() as progress:
        network = calibrate_spike_times(
            model,
            calibration=samples_from(options["calibration"]),
            statistics=options["statistics"],
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
    if network.calibration.random:
        click.echo(f"warning: {RANDOM_RANGES}", err=True)
    show_study(curve, _curve_table(curve), picture, options["as_json"])


def _curve_neurons(given: str | None, options: Mapping[str, Any]) -> list[TTFS]:
    """One neuron for each line of a curve: both ways to emit, unless one is asked for."""
    text = given or TTFS.name
    if not isinstance(parse_neuron(text), TTFS):
        raise click.UsageError(f"--precision-curve goes with --neuron ttfs, not with {text}")
    if "p" in _set_in(text):
        raise click.UsageError("--precision-curve goes over p: leave it out of --neuron")
    neuron = _asked_for(text, options)
    if options["emission"] or "rule" in _set_in(text):
        return [neuron]
    return [neuron, replace(neuron, rule="nearest")]


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
    rows = [(short(x.name), bare(x.op_type), x.window, x.ticks, percent(x.error)) for x in ordered]
    head = ["layer", "op", "window", "ticks", "error of its ticks alone"]
    lines = [table(head, rows)]
    lines += [
        f"advice: {percent(share)} of the squared error: --time-precision '{name}={ticks}'"
        for name, share, ticks in advised(layers)
    ]
    return "\n".join(lines)
