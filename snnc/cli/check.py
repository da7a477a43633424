"""`snnc check`: what becomes of every operation."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from snnc.cli.options import encode_option, keep_option, verify_option
from snnc.cli.output import json_option, print_json
from snnc.cli.targets import host_option, show_check, target_option
from snnc.coverage import Coverage
from snnc.ir.neuron import parse_neuron
from snnc.neurons.ttfs import TTFS
from snnc.prepare import check
from snnc.report import percent, short, table
from snnc.target_check import check_target
from snnc.targets import load_target


@click.command("check")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--neuron",
    default="sfn",
    show_default=True,
    metavar="NAME",
    help="Neuron model that is meant (see: snnc neurons); without --target it matters only whether "
    "it counts spikes or times them.",
)
@keep_option
@encode_option
@verify_option
@target_option
@host_option
@json_option
@click.pass_context
def check_command(
    context: click.Context,
    /,
    model: Path,
    neuron: str,
    keep: tuple[str, ...],
    encode_input: bool,
    verify: bool,
    target: str | None,
    host: bool,
    as_json: bool,
) -> None:
    """Say what becomes of every operation of MODEL, without data; exit with 1 if it is refused.
    With --target, what a chip makes of each layer of MODEL, trained or compiled.

    \b
    Example:
      snnc check model.onnx
      snnc check model.snn.onnx --target loihi2
    """
    if target is not None:
        given = context.get_parameter_source("neuron") is not ParameterSource.DEFAULT
        checked = check_target(
            model,
            load_target(target),
            neuron=neuron if given else None,
            keep=keep,
            encode_input=encode_input,
            verify=verify,
            host=host,
        )
        show_check(checked, model, as_json)
        return
    if host:
        raise click.UsageError("--host goes with --target")
    spike_times = isinstance(parse_neuron(neuron), TTFS)
    if spike_times and encode_input:
        raise click.UsageError("--encode-input: ttfs always encodes the input")
    coverage = check(
        model, keep=keep, encode_input=encode_input, verify=verify, spike_times=spike_times
    )
    refusal = coverage.refusal
    if as_json:
        operations = [
            {"name": e.name, "op": e.op, "fate": e.fate, "why": e.why, "help": e.help}
            for e in coverage.entries
        ]
        refused = None
        if refusal is not None:
            refused = {"message": refusal.message, "at": refusal.at, "help": refusal.help}
        print_json(
            {
                "model": str(model),
                "sites": coverage.sites,
                "verified": verify,
                **coverage.summary(),
                "refused": refused,
                "operations": operations,
            }
        )
    else:
        entries = [(short(e.name), e.op, e.fate, e.why) for e in coverage.entries]
        if entries:
            click.echo(table(["node", "op", "becomes", "why"], entries) + "\n")
        rows = [("neurons", f"{coverage.sites} layers")]
        rows += coverage_rows(coverage, spike_times)
        rows += verified_rows(verify)
        if entries and not coverage.names("refused"):
            click.echo(table(["coverage", str(model)], rows))
    if refusal is not None:
        raise refusal


def verified_rows(verify: bool) -> list[tuple[str, str]]:
    """Of the report: that rewriting was checked."""
    return [("verified", "no rewriting changes an output on random data")] if verify else []


def coverage_rows(coverage: Coverage, spike_times: bool = False) -> list[tuple[str, str]]:
    """Of the report: what spikes and what stays analog. Spike times code all inputs."""
    assumed = "" if coverage.open_dim is None else f" (open dimensions as {coverage.open_dim})"
    analog = coverage.analog
    kinds = sorted({entry["op"] for entry in analog})
    counted = "all MACs" if spike_times else "the MACs behind the direct-coded layers"
    rows = [("spiking", f"{percent(coverage.spiking_fraction)} of {counted}{assumed}")]
    if not spike_times:
        direct = ", ".join(map(short, coverage.names("direct-coded"))) or "none"
        share = percent(coverage.direct_coded_fraction)
        rows.append(("direct-coded", f"{share} of all MACs: {direct}"))
    rows.append(("analog", f"{len(analog)} operations: {', '.join(kinds)}" if analog else "none"))
    if hosted := coverage.names("host"):
        rows.append(("host", f"{len(hosted)} operations on integers and masks, before encoding"))
    if coverage.uncounted:
        rows.append(("not counted", f"MACs of {', '.join(coverage.uncounted)}"))
    return rows
