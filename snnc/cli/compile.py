"""`snnc compile` and `snnc check`."""

from __future__ import annotations

from pathlib import Path

import click

from snnc.cli.options import mask_option, neuron_options, site_options
from snnc.cli.output import Progress, json_option, print_json
from snnc.compiler import RANDOM, Watch, compile, coverage_summary, prepare
from snnc.coverage import Coverage, coverage_of
from snnc.files import require_writable
from snnc.frontend import external_files
from snnc.ir.graph import Graph
from snnc.ir.neuron import Polarity, make_neuron
from snnc.ir.text import format_graph
from snnc.pipeline import PASS_NAMES
from snnc.report import percent, table


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--calibration",
    required=True,
    metavar="F.npz",
    help="Samples to calibrate on; 'random' only to try things out.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="OUT.onnx",
    help="File to write.  [default: MODEL with .snn.onnx]",
)
@click.option(
    "--lambda",
    "scale",
    type=float,
    help="Scale factor in (0, 1].  [default: the largest that keeps --fidelity]",
)
@click.option(
    "--fidelity",
    type=float,
    default=0.98,
    show_default=True,
    help="Agreement with the network that a chosen lambda keeps.",
)
@neuron_options
@site_options
@mask_option
@click.option("--output", metavar="NAME", help="Output on which --fidelity is measured.")
@click.option(
    "--dump-after",
    type=click.Choice(PASS_NAMES),
    multiple=True,
    metavar="PASS",
    help=f"Print the graph after a pass: {', '.join(PASS_NAMES)}.",
)
@json_option
def compile_command(
    model: Path,
    neuron: str,
    calibration: str,
    out: Path | None,
    scale: float | None,
    fidelity: float,
    percentile: float,
    m: int,
    rule: str,
    levels: str,
    polarity: Polarity,
    keep: tuple[str, ...],
    encode_input: bool,
    mask_input: str | None,
    output: str | None,
    dump_after: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compile the trained network MODEL into a spiking network of one timestep.

    \b
    Example:
      snnc compile model.onnx --neuron sfn --calibration samples.npz -o model.snn.onnx
    """
    spiking_neuron = make_neuron(neuron, M=m, rule=rule, levels=levels)
    out = out or Path(f"{model.stem}.snn.onnx")
    require_writable(out, model, Path(calibration), *external_files(model))

    def dump(name: str, graph: Graph) -> None:
        if name in dump_after:
            click.echo(format_graph(graph), err=as_json, nl=False)

    with Progress() as progress:
        network = compile(
            model,
            neuron=spiking_neuron,
            calibration=calibration if calibration == RANDOM else Path(calibration),
            scale=scale,
            fidelity=fidelity,
            percentile=percentile,
            polarity=polarity,
            keep=keep,
            encode_input=encode_input,
            mask_input=mask_input,
            output=output,
            watch=Watch(progress, dump),
        )
    network.save(out)
    report = network.report
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    summary = report.summary() | {"output": str(out)}
    if as_json:
        print_json(summary)
        return
    found = (
        "as given"
        if report.choice is None
        else (
            f"{report.choice.measure} agreement {report.choice.fidelity:.4f} "
            f"on {report.choice.samples} calibration samples"
        )
    )
    rows = [
        ("neuron", f"{neuron} (M={m}, {rule}, {levels}, {polarity} steps), {report.sites} layers"),
        ("lambda", f"{report.scale:.4g} ({found})"),
        *_coverage_rows(report.coverage),
        ("written", str(out)),
    ]
    click.echo(table(["compiled", str(model)], rows))


@click.command("check")
@click.argument("model", type=click.Path(path_type=Path))
@site_options
@json_option
def check_command(model: Path, keep: tuple[str, ...], encode_input: bool, as_json: bool) -> None:
    """Say what becomes of every operation of MODEL, without data.

    \b
    Example:
      snnc check model.onnx
    """
    _, sited = prepare(model, keep=keep, encode_input=encode_input)
    coverage = coverage_of(sited)
    if as_json:
        operations = [
            {"name": e.name, "op": e.op, "fate": e.fate, "why": e.why} for e in coverage.entries
        ]
        print_json(
            {
                "model": str(model),
                "sites": len(sited.sites),
                **coverage_summary(coverage),
                "operations": operations,
            }
        )
        return
    entries = [(e.name, e.op, e.fate, e.why) for e in coverage.entries]
    click.echo(table(["node", "op", "becomes", "why"], entries) + "\n")
    rows = [("neurons", f"{len(sited.sites)} layers"), *_coverage_rows(coverage)]
    click.echo(table(["coverage", str(model)], rows))


def _coverage_rows(coverage: Coverage) -> list[tuple[str, str]]:
    assumed = "" if coverage.open_dim is None else f" (open dimensions as {coverage.open_dim})"
    analog = coverage.analog
    kinds = sorted({entry["op"] for entry in analog})
    return [
        (
            "spiking",
            f"{percent(coverage.spiking_fraction)} of the MACs behind the direct-coded "
            f"layers{assumed}",
        ),
        (
            "direct-coded",
            f"{percent(coverage.direct_coded_fraction)} of all MACs: "
            f"{', '.join(coverage.names('direct-coded')) or 'none'}",
        ),
        ("analog", f"{len(analog)} operations: {', '.join(kinds)}" if analog else "none"),
    ]
