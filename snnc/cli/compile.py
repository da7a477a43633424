"""`snnc compile`."""

from __future__ import annotations

from pathlib import Path

import click

from snnc.calibrating import Watch
from snnc.cli.check import coverage_rows, verified_rows
from snnc.cli.options import (
    calibration_option,
    neuron_of,
    neuron_options,
    require_at_most_one_of,
    samples_from,
    scale_options,
    site_options,
    spike_time_options,
    statistics_option,
    synapses_option,
    threshold_rule_option,
    timesteps_option,
    verify_option,
)
from snnc.cli.output import Progress, json_option, print_json
from snnc.cli.recipes import recipe_options, recipe_rows
from snnc.cli.schedule import compile_options, wanted_schedule
from snnc.cli.spike_times import show_spike_times, spike_timing
from snnc.compile_report import CompileReport
from snnc.compiler import compile
from snnc.errors import few
from snnc.files import require_writable
from snnc.frontend import external_files
from snnc.integer_synapses import IntegerSynapses
from snnc.ir.graph import Graph
from snnc.ir.rate_neuron import Polarity, Synapses
from snnc.ir.text import format_graph
from snnc.passes.fold_time import FoldTime
from snnc.passes.quantize_synapses import QuantizeSynapses
from snnc.pipeline import PASS_NAMES, SPIKE_TIME_PASS_NAMES
from snnc.recipes.asked import require_settled
from snnc.recipes.costs import Count
from snnc.recipes.report import RecipeName
from snnc.report import percent, short, table
from snnc.spike_time_compiler import compile_spike_times


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@calibration_option
@statistics_option
@click.option(
    "--save-statistics",
    type=click.Path(path_type=Path),
    metavar="S.npz",
    help="File to write what calibration saw to, for later --statistics.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="OUT.onnx",
    help="File to write.  [default: MODEL with .snn.onnx]",
)
@recipe_options
@scale_options
@neuron_options
@threshold_rule_option
@timesteps_option
@synapses_option
@spike_time_options
@site_options
@click.option(
    "--output", metavar="NAME", help="Output on which the agreement with MODEL is measured."
)
@verify_option
@compile_options
@click.option(
    "--dump-after",
    type=click.Choice(list(dict.fromkeys([*PASS_NAMES, *SPIKE_TIME_PASS_NAMES]))),
    multiple=True,
    metavar="PASS",
    help=f"Print the graph after a pass: {', '.join(PASS_NAMES)}; with ttfs "
    f"{', '.join(SPIKE_TIME_PASS_NAMES)}.",
)
@json_option
@click.pass_context
def compile_command(
    context: click.Context,
    /,
    model: Path,
    neuron: str,
    calibration: str | None,
    statistics: Path | None,
    save_statistics: Path | None,
    out: Path | None,
    recipe: RecipeName,
    energy_budget: float | None,
    count: Count,
    sensitivities: Path | None,
    scale: float | None,
    fidelity: float,
    percentile: float | None,
    m: int | None,
    rule: str | None,
    levels: str | None,
    polarity: Polarity | None,
    threshold_rule: str | None,
    synapses: Synapses,
    timesteps: int,
    precision: tuple[str, ...],
    emission: str | None,
    products: str | None,
    keep: tuple[str, ...],
    encode_input: bool,
    mask_input: str | None,
    output: str | None,
    verify: bool,
    target: str | None,
    directory: Path | None,
    host: bool,
    dump_after: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compile the trained network MODEL into a spiking network, of one timestep by default.

    \b
    Example:
      snnc compile model.onnx --neuron sfn --calibration samples.npz -o model.snn.onnx
    """
    if synapses == "float" and QuantizeSynapses.name in dump_after:
        raise click.UsageError(f"--dump-after {QuantizeSynapses.name} goes with --synapses int8")
    if timesteps == 1 and FoldTime.name in dump_after:
        raise click.UsageError(f"--dump-after {FoldTime.name} goes with --timesteps")
    timed = spike_timing(context, neuron)
    require_settled(recipe, m, rule, levels)
    counting = None if timed else neuron_of(neuron, m, rule, levels)
    passes = SPIKE_TIME_PASS_NAMES if timed else PASS_NAMES
    if unknown := [name for name in dump_after if name not in passes]:
        raise click.UsageError(f"--dump-after {unknown[0]} is no pass with --neuron {neuron}")
    out = out or Path(f"{model.stem}.snn.onnx")
    require_at_most_one_of(calibration, statistics)
    seen = [Path(file) for file in (calibration, statistics) if file is not None]
    inputs = (model, *seen, *external_files(model))
    require_writable(out, *inputs)
    if sensitivities is not None:
        others = [out] if save_statistics is None else [out, save_statistics]
        if sensitivities.resolve() in [file.resolve() for file in others]:
            raise click.UsageError("--sensitivities needs a file of its own")
        require_writable(sensitivities, *inputs)
    if save_statistics is not None:
        if calibration is None or save_statistics.resolve() == out.resolve():
            raise click.UsageError("--save-statistics needs --calibration and a file of its own")
        require_writable(save_statistics, *inputs)

    wanted = wanted_schedule(target, directory, host, out, inputs)

    def dump(name: str, graph: Graph) -> None:
        if name in dump_after:
            click.echo(format_graph(graph), err=as_json, nl=False)

    if timed is not None:
        with Progress() as progress:
            spike_times = compile_spike_times(
                model,
                neuron=timed[0],
                precisions=timed[1],
                calibration=samples_from(calibration),
                statistics=statistics,
                save_statistics=save_statistics,
                percentile=percentile,
                keep=keep,
                mask_input=mask_input,
                output=output,
                verify=verify,
                watch=Watch(progress, dump),
            )
        show_spike_times(spike_times, model, out, verify, as_json, wanted)
        return
    assert counting is not None
    with Progress() as progress:
        network = compile(
            model,
            neuron=counting,
            calibration=samples_from(calibration),
            statistics=statistics,
            save_statistics=save_statistics,
            recipe=recipe,
            scale=scale,
            fidelity=fidelity,
            energy_budget=energy_budget,
            count=count,
            sensitivities=sensitivities,
            widen=m is None,
            percentile=percentile,
            polarity=polarity,
            threshold_rule=threshold_rule,
            synapses=synapses,
            timesteps=timesteps,
            keep=keep,
            encode_input=encode_input,
            mask_input=mask_input,
            output=output,
            verify=verify,
            watch=Watch(progress, dump),
        )
    network.save(out)
    report = network.report
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    made = None if wanted is None else wanted.write(out)
    summary = report.summary() | {"verified": verify, "output": str(out)}
    if made is not None:
        summary["schedule"] = made.document
    if as_json:
        print_json(summary)
        return
    rows = []
    if report.chosen:
        layers = report.sites - report.imported
        rows += [
            ("neuron", f"{_described(report)}, {layers} layers"),
            ("lambda", f"{report.scale:.4g} ({_found(report)})"),
            ("thresholds", _rule(report)),
            *recipe_rows(report.recipe),
        ]
    if report.imported:
        rows.append(("neuron", f"aif (imported quantisers), {report.imported} layers"))
    rows += [
        ("timesteps", str(report.timesteps)),
        *coverage_rows(report.coverage),
        *_integer_rows(report.integer),
        *verified_rows(verify),
        ("written", str(out)),
    ]
    click.echo(table(["compiled", str(model)], rows))
    if made is not None:
        made.show()


def _described(report: CompileReport) -> str:
    """The neuron with its parameters, from..to where sites differ; those that bound nothing are
    left out."""
    neuron, found = report.neuron, []
    sites = [model.plain_parameters for _, model in report.neurons]
    for key in dict.fromkeys(key for given in (neuron.plain_parameters, *sites) for key in given):
        asked = neuron.plain_parameters.get(key)
        values = {given.get(key) for given in sites} or {asked}
        numbers = sorted(v for v in values if isinstance(v, int | float))
        if numbers:
            ends = dict.fromkeys((numbers[0], numbers[-1]))
            found.append(f"{key}={'..'.join(map(str, ends))}")
        elif asked is not None:
            found.append(f"{key}={asked}")
    steps = "one step" if neuron.one_threshold else f"{report.polarity} steps"
    return f"{neuron.name} ({', '.join(found)}, {steps})"


def _found(report: CompileReport) -> str:
    """How lambda was found."""
    if report.recipe is not None:
        chosen, count = report.recipe.chosen, report.recipe.samples
        return f"{chosen.agreement:.4f} agreement on {count} calibration samples"
    if report.choice is None:
        return "as given"
    choice = report.choice
    samples = f"on {choice.samples} calibration samples"
    return f"{choice.measure} agreement {choice.fidelity:.4f} {samples}"


def _rule(report: CompileReport) -> str:
    """What thresholds were made from."""
    if report.allocated:
        return "by measured sensitivity of each site"
    p = f" (p = {report.percentile:g} %)" if report.rule.takes_percentile else ""
    return f"{report.rule.name}{p}"


def _integer_rows(integer: IntegerSynapses | None) -> list[tuple[str, str]]:
    """Which layers have integer weights, which have not and why, the most common reason first."""
    if integer is None:
        return []
    products = f", {len(integer.products)} products of spikes" if integer.products else ""
    agrees = "" if integer.agreement is None else f", agreement {integer.agreement:.4f} with them"
    share = f"{percent(integer.share)} of all MACs"
    rows = [("synapses", f"int8 in {len(integer.layers)} layers{products}: {share}{agrees}")]
    by_reason: dict[str, list[str]] = {}
    for layer in integer.floats:
        by_reason.setdefault(layer.why, []).append(short(layer.name))
    for why, names in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        rows.append(("float", f"{len(names)} ({why}): {few(names)}"))
    return rows
