"""`snnc targets`, and `snnc check --target`: chips, and what they make of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from snnc.backends.schedule.feasibility import Finding
from snnc.cli.output import json_option, print_json
from snnc.report import short, table
from snnc.target_check import TargetCheck
from snnc.targets import Target, load_target, target_names

target_option = click.option(
    "--target",
    metavar="NAME|FILE.toml",
    help="A neuromorphic chip (see: snnc targets) or a file that describes one.",
)
host_option = click.option(
    "--host", is_flag=True, help="Let the host compute layers with operations the target lacks."
)


@click.command("targets")
@click.argument("target", required=False, metavar="[NAME|FILE.toml]")
@json_option
def targets_command(target: str | None, as_json: bool) -> None:
    """List the neuromorphic chips that are known, or every figure of one with its source.

    \b
    Example:
      snnc targets loihi2
    """
    shown = [load_target(name) for name in (target_names() if target is None else (target,))]
    if as_json:
        print_json({"targets": [_document(each) for each in shown]})
    elif target is None:
        head = ["target", "cores", "chips", "neurons a core", "weights", "spikes", "unverified"]
        click.echo(table(head, map(_row, shown)))
    else:
        _print_one(shown[0])


def show_check(check: TargetCheck, model: Path, as_json: bool) -> None:
    """Prints what a target makes of each layer; raises the error for what does not fit."""
    if as_json:
        print_json({"model": str(model), **check.summary()})
    else:
        head = ["layer", "cells", "on", "spikes", "cores", "why", "way out"]
        width = len(head) - all(finding.fits for finding in check.findings)
        rows = [_finding_row(finding)[:width] for finding in check.findings]
        click.echo(table(head[:width], rows) + "\n")
        click.echo(table(["target", check.target.name], _summary_rows(check)))
    if check.misfit is not None:
        raise check.misfit


def _finding_row(finding: Finding) -> tuple[object, ...]:
    place = "host" if finding.host else "chip" if finding.fits else "nowhere"
    words = finding.notes if finding.fits else [reason.text for reason in finding.why]
    cores = None if finding.host else finding.cores
    sent = _spikes(finding)
    why = "; ".join(words)
    return short(finding.name), finding.cells, place, sent, cores, why, str(finding.fix)


def _spikes(finding: Finding) -> str | None:
    sent = finding.sent
    if sent is None:
        return None
    ticks = "" if sent.ticks == 1 else f", {sent.ticks} ticks"
    width = "binary" if sent.bits == 1 else f"{sent.sending}, {sent.bits} bits"
    return f"{width}{ticks}"


def _summary_rows(check: TargetCheck) -> list[tuple[str, str]]:
    found, target = check.findings, check.target
    fitting = sum(finding.fits for finding in found)
    hosted = [finding for finding in found if finding.host]
    limit = target.total_cores
    most = "" if limit is None else f" of {limit} ({target.cores} a chip)"
    rows = [
        ("chip", target.title),
        ("fit", f"{fitting} of {len(found)} layers"),
        ("host", f"{len(hosted)} layers" if hosted else "none"),
        ("cores", f"{check.least_cores}{most} at least"),
        ("unverified", f"{len(target.unverified)} figures: snnc targets {target.name}"),
    ]
    if check.assumed:
        rows.append(("neurons", "placed on random data: signs and levels of yours may differ"))
    return rows


def _row(target: Target) -> tuple[object, ...]:
    weights = "float32" if target.weight_bits is None else f"{target.weight_bits} bits"
    spikes = "binary" if target.payload_bits == 1 else f"{target.payload_bits} bits"
    limits = (target.cores, target.chips, target.cells_per_core)
    return target.name, *map(_value, limits), weights, spikes, len(target.unverified)


def _print_one(target: Target) -> None:
    """Every figure with its source, what the target computes, and what is not in figures."""
    figures = _figures(target)
    del figures["operations"]
    rows = [
        (key, _value(value), "unverified" if key in target.unverified else "", target.sources[key])
        for key, value in figures.items()
    ]
    operations = [
        each + (" (unverified)" if f"operations.{each}" in target.unverified else "")
        for each in sorted(target.operations)
    ]
    click.echo(f"{target.name}: {target.title}\n")
    click.echo(table(["figure", "value", "", "source"], rows))
    click.echo(f"\noperations: {', '.join(operations)}\n  {target.sources['operations']}")
    for note in target.notes:
        click.echo(f"\n- {note}")


def _figures(target: Target) -> dict[str, Any]:
    """Every figure by the name that its source goes by."""
    found: dict[str, Any] = {}
    for key in target.sources:
        group, _, name = key.partition(".")
        value = getattr(target, group)
        found[key] = value[name] if name else value
    return found


def _value(value: object) -> str:
    if value is None:
        return "unlimited"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _document(target: Target) -> dict[str, Any]:
    figures = {
        key: {
            "value": sorted(value) if isinstance(value, frozenset) else value,
            "source": target.sources[key],
            "verified": key not in target.unverified,
        }
        for key, value in _figures(target).items()
    }
    return {
        "name": target.name,
        "title": target.title,
        "figures": figures,
        "unverified": sorted(target.unverified),
        "notes": list(target.notes),
    }
