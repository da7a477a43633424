"""`snnc schedule`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from snnc.backends.schedule.artifact import Schedule
from snnc.backends.schedule.directory import require_directory
from snnc.cli.options import together
from snnc.cli.output import Progress, json_option, print_json
from snnc.cli.simulate import figures
from snnc.data import samples_of
from snnc.errors import CompileError, few
from snnc.files import require_writable
from snnc.frontend import external_files, load
from snnc.ir.graph import Graph
from snnc.plots import require_format
from snnc.report import short, table
from snnc.scheduling import Saved, save_schedule, schedule
from snnc.targets import load_target

TARGET_HELP = "Chip to map the network onto: one of snnc targets, or a file of your own."

host_option = click.option(
    "--host",
    is_flag=True,
    help="The host computes what the target has no operation for; it is listed.",
)


compile_options = together(
    click.option("--target", metavar="NAME|FILE.toml", help=f"{TARGET_HELP} See: snnc schedule."),
    click.option(
        "--schedule",
        "directory",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Directory to write the schedule to.  [default: OUT with .schedule]",
    ),
    host_option,
)
"""Of `snnc compile`, which schedules what it compiled."""


@click.command("schedule")
@click.argument("file", metavar="OUT.onnx", type=click.Path(path_type=Path))
@click.option("--target", required=True, metavar="NAME|FILE.toml", help=TARGET_HELP)
@host_option
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="X.npz",
    help="Samples whose spikes are recorded, event by event.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory to write.  [default: OUT with .schedule]",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="PICTURE",
    help="Picture of it (.png, .svg, .pdf): spikes over ticks, load of the cores, traffic, energy; "
    "with --data.",
)
@json_option
def schedule_command(
    file: Path,
    target: str,
    host: bool,
    data: Path | None,
    out: Path | None,
    report: Path | None,
    as_json: bool,
) -> None:
    """Map the compiled network OUT.onnx onto the cores of a chip: where each neuron lives, when it
    fires, where its spikes go.

    \b
    Example:
      snnc schedule model.snn.onnx --target loihi2 --data test.npz -o model.schedule
    """
    if report is not None:
        if data is None:
            raise click.UsageError("--report shows spikes: it needs --data")
        require_format(report)
        require_writable(report, file, data)
    out = out or directory_of(file)
    beside = [each for each in (data, report) if each is not None]
    require_directory(out, file, *external_files(file), *beside)
    graph = load(file)
    made, saved = scheduled(graph, target, host, data, out, report)
    document = summary(made, saved, out)
    if report is not None:
        document["report"] = str(report)
    if as_json:
        print_json(document)
        return
    Made(made, document).show()


def directory_of(file: Path) -> Path:
    """Where the schedule of a compiled network is written by default."""
    return Path(f"{file.name.removesuffix('.onnx')}.schedule")


def scheduled(
    graph: Graph, target: str, host: bool, data: Path | None, out: Path, report: Path | None
) -> tuple[Schedule, Saved]:
    """Maps a network and writes its directory, with a progress display."""
    samples = None if data is None else samples_of(data, graph)
    sample = None if samples is None else next(iter(samples.batches(1)), None)
    with Progress() as progress:
        made = schedule(
            graph, target, host=host, sample=sample, progress=progress.phase("mapping", None)
        )
        told = progress.phase("recording events", None if samples is None else samples.count)
        saved = save_schedule(made, out, samples=samples, picture=report, progress=told)
    return made, saved


@dataclass(frozen=True)
class Wanted:
    """The schedule that `snnc compile` is asked for."""

    target: str
    directory: Path
    host: bool

    def write(self, out: Path) -> Made:
        """Maps the network just written to `out`, which stays if it does not fit."""
        try:
            made, saved = scheduled(load(out), self.target, self.host, None, self.directory, None)
        except CompileError as error:
            kept = f"the compiled network is written all the same: {out}"
            error.help = f"{error.help}\n{kept}" if error.help else kept
            raise
        return Made(made, summary(made, saved, self.directory))


@dataclass(frozen=True)
class Made:
    """A schedule just written, and what JSON says of it."""

    schedule: Schedule
    document: dict[str, Any]

    def show(self) -> None:
        """The table of it."""
        rows = schedule_rows(self.schedule, self.document)
        written = self.document["output"]
        click.echo(table(["schedule", self.schedule.graph.source], [*rows, ("written", written)]))


def wanted_schedule(
    target: str | None, directory: Path | None, host: bool, out: Path, sources: Iterable[Path]
) -> Wanted | None:
    """What the options of `compile_options` ask for, checked before long work."""
    if target is None:
        if directory is not None or host:
            raise click.UsageError("--schedule and --host go with --target")
        return None
    load_target(target)
    place = directory or directory_of(out)
    require_directory(place, out, *sources)
    return Wanted(target, place, host)


def summary(made: Schedule, saved: Saved, out: Path) -> dict[str, Any]:
    """As `snnc schedule --json` prints it."""
    mapping = made.mapping
    document: dict[str, Any] = {
        "target": made.target.name,
        "layers": len(made.network.layers),
        "cells": made.network.cells,
        "cores": mapping.used,
        "ticks": mapping.ticks,
        "timesteps": made.graph.timesteps,
        "routes": len(mapping.routes),
        "buffers": len(mapping.buffers),
        "weight_bits": made.target.weight_bits,
        "host": list(made.host),
        "output": str(out),
        "events_recorded": saved.events,
    }
    if saved.replay is not None and saved.loads is not None:
        document |= figures(made, saved.replay, saved.loads)
    return document


def schedule_rows(made: Schedule, document: dict[str, Any]) -> list[tuple[str, str]]:
    """Of the report: what went where."""
    target, mapping = made.target, made.mapping
    bits = "float32" if target.weight_bits is None else f"{target.weight_bits} bits"
    rows = [
        ("chip", target.title),
        (
            "cores",
            f"{mapping.used:,} for {made.network.cells:,} cells in {document['layers']} layers",
        ),
        ("weights", bits),
        ("timeline", f"{mapping.ticks:,} ticks"),
        ("routes", f"{len(mapping.routes):,}"),
        ("buffers", f"{len(mapping.buffers)} values kept for later layers"),
    ]
    if made.host:
        rows.append(("host", f"computes {len(made.host)} layers: {few(map(short, made.host))}"))
    if "samples" in document:
        rows += [
            (
                "recorded",
                f"{document['events_recorded']:,} events of {document['samples']} samples",
            ),
            ("additions", f"{document['synops']:,.0f} a sample"),
            ("energy", f"{document['energy_joules']:.3g} J a sample"),
            ("latency", f"{document['latency_seconds']:.3g} s a sample"),
        ]
    return rows
