"""`snnc eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from snnc.cli.modes import COMPARISON, mode_of
from snnc.cli.options import (
    calibration_option,
    emission_options,
    energy_options,
    neuron_options,
    scale_options,
    site_options,
    statistics_option,
    threshold_rule_option,
)
from snnc.cli.output import Progress, json_option, print_json
from snnc.cli.spike_times import (
    layer_precision_table,
    precision_command,
    spike_time_layers,
    spike_time_table,
)
from snnc.cli.studies import numbers, study_command, whole_numbers
from snnc.curves import PERCENTILES
from snnc.data import Samples, samples_of
from snnc.diagnosis import Diagnosis
from snnc.errors import CompileError
from snnc.evaluation import Evaluation, evaluate
from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.spike_times import has_spike_times
from snnc.precision import LayerPrecision, layer_precisions
from snnc.report import energy_table, percent, table
from snnc.site_errors import SAMPLES, diagnose
from snnc.spike_time_evaluation import evaluate_spike_times


@click.command("eval")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("snn", type=click.Path(path_type=Path), required=False)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="F.npz",
    help="Samples, with 'labels' where they are known.",
)
@click.option(
    "--output", metavar="NAME", help="Output to compare.  [default: the float output computed last]"
)
@click.option(
    "--per-layer",
    is_flag=True,
    help="List every layer with its operations, and every site with its error and advice.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=SAMPLES,
    show_default=True,
    help="Samples on which the errors of --per-layer are measured.",
)
@click.option("--lambda-curve", is_flag=True, help="Accuracy and energy against lambda.")
@click.option("--percentile-curve", is_flag=True, help="Accuracy and energy against percentile.")
@click.option(
    "--timesteps-curve",
    callback=whole_numbers,
    metavar="T,T,...",
    help="Accuracy and energy against the number of timesteps.",
)
@click.option(
    "--precision-curve",
    callback=whole_numbers,
    metavar="P,P,...",
    help="Accuracy of ttfs neurons against their time precision.",
)
@click.option("--ablation", is_flag=True, help="Fire functions with and without scaling.")
@click.option("--histogram", metavar="SITE", help="Activations and spike counts of a site.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="Picture of a curve, an ablation or a histogram to write (.png, .svg, .pdf).",
)
@calibration_option
@statistics_option
@click.option(
    "--lambdas",
    callback=numbers,
    metavar="L,L,...",
    help="Scale factors of --lambda-curve.  [default: 16 from 1 to 0.02]",
)
@click.option(
    "--against",
    multiple=True,
    metavar="SPEC",
    help="Another neuron in a --timesteps-curve, such as mtn:N=T@1: as --neuron, where T stands "
    "for the number of timesteps and @ for those that it runs (repeatable).",
)
@click.option(
    "--percentiles",
    callback=numbers,
    metavar="P,P,...",
    help=f"Of --percentile-curve.  [default: {','.join(f'{p:g}' for p in PERCENTILES)}]",
)
@scale_options
@neuron_options
@threshold_rule_option
@emission_options
@site_options
@energy_options
@json_option
@click.pass_context
def eval_command(context: click.Context, /, model: Path, data: Path, **options: Any) -> None:
    """Compare the spiking network SNN with the network MODEL it came from, or study MODEL.

    The studies (--lambda-curve, --percentile-curve, --timesteps-curve, --precision-curve,
    --ablation, --histogram) calibrate and compile MODEL themselves and take no SNN.

    \b
    Examples:
      snnc eval model.onnx model.snn.onnx --data test.npz
      snnc eval model.onnx --data test.npz --calibration samples.npz --lambda-curve --plot a.svg
      snnc eval model.onnx --data test.npz --calibration samples.npz --timesteps-curve 1,2,4,8 \\
        --neuron if --against mtn:N=T@1
    """
    mode = mode_of(context)
    if mode == COMPARISON:
        _compare(model, options["snn"], data, options)
    elif mode == "precision_curve":
        asked = context.get_parameter_source("neuron") is ParameterSource.COMMANDLINE
        precision_command(model, data, options["neuron"] if asked else None, options)
    else:
        study_command(mode, model, data, options)


def _compare(ann: Path, snn: Path, data: Path, options: dict[str, Any]) -> None:
    networks = _networks(ann, snn)
    samples = samples_of(data, networks[0])
    if has_spike_times(networks[1]):
        _compare_spike_times(networks, samples, options)
        return
    diagnosis: Diagnosis | None = None
    with Progress() as progress:
        if options["per_layer"]:
            diagnosis = diagnose(
                *networks, data, options["output"], limit=options["samples"], progress=progress
            )
        result = evaluate(
            *networks,
            samples,
            options["output"],
            pj_ac=options["pj_ac"],
            pj_mac=options["pj_mac"],
            progress=progress.phase("evaluating", samples.count),
        )
    if options["as_json"]:
        print_json(result.summary() | (_per_layer(result, diagnosis) if diagnosis else {}))
        return
    if diagnosis is not None:
        click.echo(energy_table(result.energy) + "\n")
        click.echo(_site_table(diagnosis) + "\n")
    click.echo(_comparison_table(result))


def _compare_spike_times(
    networks: tuple[Graph, Graph], samples: Samples, options: dict[str, Any]
) -> None:
    layers: list[LayerPrecision] = []
    with Progress() as progress:
        if options["per_layer"]:
            layers = layer_precisions(
                networks[1],
                samples,
                options["output"],
                options["samples"],
                progress.phase("measuring layers", None),
            )
        result = evaluate_spike_times(
            *networks,
            samples,
            options["output"],
            pj_ac=options["pj_ac"],
            pj_mac=options["pj_mac"],
            progress=progress.phase("evaluating", samples.count),
        )
    if options["as_json"]:
        measured = {"time_precision": [x.summary() for x in layers]}
        print_json(result.summary() | (measured if options["per_layer"] else {}))
        return
    if options["per_layer"]:
        click.echo(spike_time_layers(result) + "\n")
        click.echo(layer_precision_table(layers) + "\n")
    click.echo(spike_time_table(result))


def _networks(ann: Path, snn: Path) -> tuple[Graph, Graph]:
    networks = load(ann), load(snn)
    for file, graph, stage, what in (
        (ann, networks[0], Stage.ANN, "the trained network"),
        (snn, networks[1], Stage.SPIKING, "a network that snnc compiled"),
    ):
        if graph.stage != stage:
            raise CompileError(f"'{file}' is not {what}", help="snnc eval ANN.onnx SNN.onnx")
    return networks


def _per_layer(result: Evaluation, diagnosis: Diagnosis) -> dict[str, Any]:
    energy = result.energy
    layers = [
        {
            "name": x.name,
            "op": x.op_type,
            "kind": x.kind,
            "macs": x.macs,
            "spikes": x.spikes,
            "events": x.events,
            "picojoule": energy.picojoule(x),
        }
        for x in energy.layers
    ]
    return {"layers": layers, "errors": diagnosis.summary()}


def _site_table(diagnosis: Diagnosis) -> str:
    """The sites, the one that costs the output most first; advice below, where it pays."""
    rows: list[tuple[str, ...]] = [
        (x.name, x.role, percent(x.own_error), percent(x.error), percent(x.output_error))
        for x in diagnosis.sites
    ]
    rows.append(("all sites", "", "", "", percent(diagnosis.output_error)))
    head = ["site", "role", "own error", "in network", f"at '{diagnosis.output}' alone"]
    lines = [table(head, rows), f"relative errors on {diagnosis.samples} samples"]
    advised = [(s, a) for s, a in zip(diagnosis.sites, diagnosis.advice, strict=True) if a]
    lines += [f"advice for {site.name}: {advice}" for site, advice in advised]
    return "\n".join(lines)


def _comparison_table(result: Evaluation) -> str:
    energy = result.energy
    rows = [
        ("samples", "", result.samples),
        ("top-1", percent(result.ann_top1), percent(result.snn_top1)),
        (f"same argmax of '{result.output}'", "", percent(result.agreement)),
        ("mean cosine to the ANN", "", f"{result.cosine:.4f}"),
        ("energy, a count of y as y additions", "100 %", percent(energy.ratio_spikes)),
        ("  without analog MACs (eq. 44)", "100 %", percent(energy.ratio_spikes_eq44)),
        ("energy, a count as one addition", "100 %", percent(energy.ratio_events)),
        ("analog MACs a sample", f"{energy.ann_macs:.4g}", f"{energy.analog_macs:.4g}"),
    ]
    return table(["", "ANN", "SNN"], rows)
