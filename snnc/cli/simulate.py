"""`snnc simulate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from snnc.backends.schedule.artifact import Schedule, load_schedule
from snnc.backends.schedule.directory import EVENTS
from snnc.backends.schedule.events import EventCheck
from snnc.backends.schedule.loads import Loads, loads
from snnc.backends.schedule.mapping import HOST
from snnc.cli.output import Progress, json_option, print_json
from snnc.data import samples_of
from snnc.errors import CompileError, few
from snnc.frontend import load
from snnc.replay import Comparison, Replay, replay
from snnc.report import short, table
from snnc.scheduling import for_target
from snnc.simulator import NEAR


@click.command("simulate")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), metavar="X.npz", help="Input samples."
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="OUT.onnx",
    help="Compiled network that the schedule was made from: each layer is compared with it on its "
    "own spikes, and both running freely.",
)
@click.option(
    "--events",
    "recorded",
    is_flag=True,
    help="Compare with the events that the schedule recorded of the same samples.",
)
@click.option(
    "--per-core",
    is_flag=True,
    help="Also print what every core, link and layer does for a sample, on average.",
)
@json_option
def simulate_command(
    directory: Path,
    data: Path,
    against: Path | None,
    recorded: bool,
    per_core: bool,
    as_json: bool,
) -> None:
    """Execute the schedule in DIR event by event; exit with 1 if it differs from what it is
    compared with.

    \b
    Example:
      snnc schedule model.snn.onnx --target loihi2 -o model.schedule
      snnc simulate model.schedule --data test.npz --against model.snn.onnx
    """
    made = load_schedule(directory)
    samples = samples_of(data, made.graph)
    artifact = None if against is None else for_target(load(against), made.target)
    check = EventCheck(directory / EVENTS, made.network, made.mapping) if recorded else None
    with Progress() as progress:
        found = replay(
            made,
            samples,
            artifact,
            watch=None if check is None else check.check,
            progress=progress.phase("simulating", samples.count),
        )
    load_of = loads(made.network, made.mapping, made.target, found.counts)
    differing_events = None if check is None else check.differing()
    document = {
        **figures(made, found, load_of),
        **_compared(found.comparison),
        "differing_events": differing_events,
    }
    if as_json:
        print_json(document | (_loads(load_of) if per_core else {}))
    else:
        click.echo(table(["simulated", str(directory)], _rows(made, found, load_of, document)))
    if per_core and not as_json:
        _show_loads(load_of)
    if found.comparison is not None and found.comparison.differs:
        raise _differs(found.comparison, against)
    if differing_events:
        raise CompileError(
            f"{differing_events} events differ from those that the schedule recorded",
            help="pass the samples that snnc schedule was given",
        )


def figures(made: Schedule, found: Replay, load_of: Loads) -> dict[str, Any]:
    """What a run of a schedule took, mean per sample but for `samples`."""
    counts = found.counts
    return {
        "samples": counts.samples,
        "target": made.target.name,
        "spikes": sum(float(each.sum()) for each in counts.spikes.values()),
        "events": sum(float(each.sum()) for each in counts.events.values()),
        "synops": load_of.synops,
        "cores": made.mapping.used,
        "ticks": made.mapping.ticks,
        "energy_joules": load_of.energy_joules,
        "latency_seconds": load_of.latency_seconds,
        "packets": sum(core.sent for core in load_of.cores),
        "hot_cores": [asdict(core) for core in load_of.hot],
    }


def _loads(load_of: Loads) -> dict[str, Any]:
    """As `--per-core --json` prints them; core -1 is the host."""
    links = [{"from": a, "to": b, "packets": n} for (a, b), n in sorted(load_of.links.items())]
    return {
        "core_loads": [asdict(core) for core in load_of.cores],
        "links": links,
        "layer_loads": [asdict(layer) for layer in load_of.layers],
    }


def _show_loads(load_of: Loads) -> None:
    """Tables of the same."""
    cores = []
    for each in load_of.cores:
        numbers = each.cells, each.sent, each.received, each.synops, each.updates
        cores.append((_core(each.core), *map(_whole, numbers), f"{each.seconds:.3g}"))
    head = ["core", "cells", "packets sent", "received", "additions", "updates", "seconds"]
    click.echo("\n" + table(head, cores))
    busiest = sorted(load_of.links.items(), key=lambda link: -link[1])
    links = [(f"{_core(a)} - {_core(b)}", _whole(packets)) for (a, b), packets in busiest]
    click.echo("\n" + table(["link", "packets"], links))
    layers = [
        (short(x.name), *map(_whole, (x.synops, x.real, x.packets)), f"{x.energy_joules:.3g}")
        for x in load_of.layers
    ]
    head = ["layer", "additions", "real operations", "packets", "joules"]
    click.echo("\n" + table(head, layers))


def _core(number: int) -> str:
    return "host" if number == HOST else str(number)


def _whole(number: float) -> str:
    return f"{number:,.0f}"


_CHANGED = "the schedule's weights, or the file, were changed: write the schedule again"

_COMPARED = (
    "differing_spike_counts",
    "near_threshold_differences",
    "free_running_differences",
    "max_abs_error",
    "output_error",
    "agreement",
)


def _compared(found: Comparison | None) -> dict[str, Any]:
    if found is None:
        return dict.fromkeys(_COMPARED)
    return {
        "differing_spike_counts": found.differing,
        "near_threshold_differences": found.near,
        "free_running_differences": found.free_running,
        "max_abs_error": found.max_abs_error,
        "output_error": found.output_error,
        "agreement": found.agreement,
    }


def _rows(
    made: Schedule, found: Replay, load_of: Loads, document: dict[str, Any]
) -> list[tuple[str, str]]:
    target = made.target
    rows = [
        ("samples", str(document["samples"])),
        ("a sample", f"{document['spikes']:,.0f} spikes in {document['events']:,.0f} events"),
        ("additions", f"{document['synops']:,.0f} a sample"),
        ("chip", f"{target.title}: {made.mapping.used} cores, {made.mapping.ticks} ticks"),
    ]
    if target.picojoules:
        rows.append(("energy", f"{load_of.energy_joules:.3g} J a sample"))
    rows.append(("latency", f"{load_of.latency_seconds:.3g} s a sample"))
    hot = [f"{c.core} ({short(c.layer)}, {c.share:.0%} of its time)" for c in load_of.hot]
    if hot:
        rows.append(("hot cores", few(hot)))
    if (compared := found.comparison) is not None:
        near = f"{compared.near} within {NEAR:g} of a threshold"
        rows += [
            ("layer by layer", f"{compared.differing} spike counts differ, {near}"),
            ("freely", f"{compared.free_running} of {compared.neurons} spike counts differ"),
            ("outputs", f"differ by {compared.max_abs_error:.3g} at most, freely"),
        ]
        if compared.agreement is not None:
            rows.append(("decisions", f"{compared.agreement:.2%} the same"))
    if document["differing_events"] is not None:
        rows.append(("recorded", f"{document['differing_events']} events differ"))
    return rows


def _differs(found: Comparison, against: Path | None) -> CompileError:
    worst = sorted(
        ((layer.beyond, name) for name, layer in found.layers.items() if layer.beyond), reverse=True
    )
    named = ", ".join(f"{short(name)} ({count})" for count, name in worst[:3])
    if not worst:
        return CompileError(
            f"on the same spikes the outputs differ from those of '{against}' by "
            f"{found.output_error:.3g} of the largest",
            help=_CHANGED,
        )
    return CompileError(
        f"{found.differing} spike counts differ from those of '{against}' in {len(worst)} layers: "
        f"{named}",
        help=_CHANGED,
    )
