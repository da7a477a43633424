"""`snnc calibrate`: statistics without a spiking network, also in shards that merge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from snnc.calibrating import Watch, calibrate, calibrate_spike_times
from snnc.cli.options import (
    calibration_option,
    encode_option,
    keep_option,
    mask_option,
    samples_from,
)
from snnc.cli.output import Progress, json_option, print_json
from snnc.errors import few
from snnc.files import require_writable
from snnc.frontend import external_files
from snnc.ir.neuron import parse_neuron
from snnc.neurons.ttfs import TTFS
from snnc.passes.calibration import Calibration
from snnc.report import table
from snnc.shards import WHOLE, Shard, missing
from snnc.statistics import merge_statistics


@click.command("calibrate")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MODEL | S.npz..."
)
@calibration_option
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="S.npz",
    help="File of statistics to write.",
)
@click.option("--shard", metavar="I/N", help="Run the I-th of N shares of the samples only.")
@click.option("--merge", is_flag=True, help="Merge statistics that were calibrated before.")
@click.option(
    "--neuron",
    default="sfn",
    show_default=True,
    metavar="NAME",
    help="Neuron model that is meant: ttfs, or any that counts spikes, which are alike.",
)
@keep_option
@encode_option
@mask_option
@json_option
def calibrate_command(
    files: tuple[Path, ...],
    calibration: str | None,
    out: Path,
    shard: str | None,
    merge: bool,
    neuron: str,
    keep: tuple[str, ...],
    encode_input: bool,
    mask_input: str | None,
    as_json: bool,
) -> None:
    """Calibrate the network MODEL and save what its neurons will need, for compile --statistics.

    One file serves every neuron that counts spikes, every percentile and lambda; another one
    (--neuron ttfs) those that time them. Shards may run anywhere, at any time.

    \b
    Example:
      snnc calibrate model.onnx --calibration samples.npz -o model.stats.npz
      snnc calibrate model.onnx --calibration samples.npz --shard 1/2 -o 1.npz
      snnc calibrate model.onnx --calibration samples.npz --shard 2/2 -o 2.npz
      snnc calibrate --merge 1.npz 2.npz -o model.stats.npz
      snnc compile model.onnx --statistics model.stats.npz -o model.snn.onnx
    """
    if merge:
        if calibration or shard or keep or encode_input or mask_input:
            raise click.UsageError("--merge takes files of statistics and -o only")
        _print(merge_statistics(files, out), ["merged", few(map(str, files))], out, as_json)
        return
    if len(files) > 1 or calibration is None:
        raise click.UsageError("pass one MODEL and --calibration, or statistics with --merge")
    model = files[0]
    require_writable(out, model, Path(calibration), *external_files(model))
    spike_times = isinstance(parse_neuron(neuron), TTFS)
    if spike_times and encode_input:
        raise click.UsageError("--encode-input: ttfs always encodes the input")
    with Progress() as progress:
        options: dict[str, Any] = {
            "calibration": samples_from(calibration),
            "shard": WHOLE if shard is None else Shard.parse(shard),
            "keep": keep,
            "mask_input": mask_input,
            "watch": Watch(progress),
        }
        if spike_times:
            network = calibrate_spike_times(model, **options)
        else:
            network = calibrate(model, encode_input=encode_input, **options)
    network.save_statistics(out)
    _print(network.calibration, ["calibrated", str(model)], out, as_json, shard)


def _print(
    calibration: Calibration, head: list[str], out: Path, as_json: bool, shard: str | None = None
) -> None:
    """shard: the only one that was asked for, so that the absence of others is no news."""
    absent = missing(calibration.parts)
    if absent and shard is None:
        click.echo(f"warning: shards are missing: {few(absent)}", err=True)
    if calibration.random:
        click.echo("warning: random numbers: the statistics are meaningless", err=True)
    size = out.stat().st_size
    reservoir = calibration.reservoir
    if as_json:
        print_json(_summary(calibration) | {"missing": absent, "bytes": size, "output": str(out)})
        return
    part = "" if shard is None else f" (shard {shard})"
    rows = [
        ("samples", f"{reservoir.seen}{part}, {len(reservoir)} of them kept to choose lambda on"),
        ("sites", str(len(calibration.accumulators))),
        ("written", f"{out} ({size / 1e6:.1f} MB)"),
    ]
    click.echo(table(head, rows))


def _summary(calibration: Calibration) -> dict[str, Any]:
    return {
        "sites": len(calibration.accumulators),
        "samples": calibration.reservoir.seen,
        "kept": len(calibration.reservoir),
        "mask_input": calibration.mask_input,
        "parts": [
            {"data": p.data, "shard": str(p.shard), "samples": p.samples, "random": p.random}
            for p in calibration.parts
        ],
    }
