"""`snnc export`."""

from __future__ import annotations

from pathlib import Path

import click

from snnc.backends.schedule.artifact import Schedule, load_schedule
from snnc.backends.schedule.directory import EVENTS
from snnc.backends.schedule.events import read_events
from snnc.backends.schedule.export import (
    MOST_LEVELS,
    event_names,
    event_neurons,
    write_aer,
    write_nir,
    write_nir_events,
    write_sana_fe,
)
from snnc.cli.output import json_option, print_json
from snnc.data import samples_of
from snnc.files import require_writable

FORMATS = ("nir", "nir-events", "sana-fe", "aer")


@click.command("export")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "form",
    required=True,
    type=click.Choice(FORMATS),
    help="nir: the network (.nir). nir-events: its recorded events (HDF5). aer: these as text. "
    "sana-fe: architecture and network of the SANA-FE simulator, for one sample.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write; of sana-fe a directory.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="X.npz",
    help="For sana-fe: samples, the first of which is exported.",
)
@click.option(
    "--most-levels",
    type=click.IntRange(min=1),
    help="For nir: levels of one sign that a layer may have, each a node as large as the layer.  "
    f"[default: {MOST_LEVELS}]",
)
@json_option
def export_command(
    directory: Path,
    form: str,
    out: Path,
    data: Path | None,
    most_levels: int | None,
    as_json: bool,
) -> None:
    """Write the schedule in DIR in a format of other tools (docs/exports.md).

    \b
    Example:
      snnc export model.schedule --to nir -o model.nir
    """
    if (form == "sana-fe") != (data is not None):
        raise click.UsageError("--data goes with --to sana-fe, which needs it")
    if form != "nir" and most_levels is not None:
        raise click.UsageError("--most-levels goes with --to nir")
    made = load_schedule(directory)
    if form != "sana-fe":
        require_writable(out, *directory.iterdir())
    if form == "nir":
        write_nir(made.graph, out, most_levels or MOST_LEVELS)
    else:
        _write(made, directory, form, out, data)
    if as_json:
        print_json({"schedule": str(directory), "format": form, "output": str(out)})
    else:
        click.echo(f"{form} written: {out}")


def _write(made: Schedule, directory: Path, form: str, out: Path, data: Path | None) -> None:
    if data is not None:
        sample = next(iter(samples_of(data, made.graph).batches(1)))
        write_sana_fe(made.network, made.mapping, made.target, sample, out)
    elif form == "aer":
        write_aer(read_events(directory / EVENTS), out)
    else:
        recorded, network = read_events(directory / EVENTS), made.network
        names, ticks = event_names(network), made.mapping.ticks
        write_nir_events(recorded, out, event_neurons(network), names=names, ticks=ticks)
