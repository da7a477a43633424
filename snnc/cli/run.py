"""`snnc run`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from snnc.backends.lowering import lower
from snnc.cli.output import Progress, json_option, print_json
from snnc.data import samples_of
from snnc.evaluation import run
from snnc.files import replacing, require_writable
from snnc.frontend import load
from snnc.npz import write_npz
from snnc.report import table
from snnc.spike_recording import Timing, record_spikes


@click.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), metavar="X.npz", help="Input samples."
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="Y.npz",
    help="File to write: one array per output, samples first.",
)
@click.option(
    "--spikes",
    type=click.Path(path_type=Path),
    metavar="S.npz",
    help="File to write the spike times of every layer to, in ticks (networks of ttfs neurons).",
)
@json_option
def run_command(file: Path, data: Path, out: Path, spikes: Path | None, as_json: bool) -> None:
    """Run the network FILE, trained or spiking, over samples.

    \b
    Example:
      snnc run model.snn.onnx --data test.npz -o outputs.npz
      snnc run model.ttfs.onnx --data test.npz -o outputs.npz --spikes spikes.npz
    """
    require_writable(out, file, data)
    if spikes is not None:
        require_writable(spikes, file, data)
        if spikes.resolve() == out.resolve():
            raise click.UsageError("--spikes and --out name the same file")
    graph = load(file)
    samples = samples_of(data, graph)
    with Progress() as progress:
        layers: tuple[Timing, ...] = ()
        if spikes is not None:
            told = progress.phase("recording spikes", samples.count)
            layers = record_spikes(graph, samples, spikes, told)
        outputs = run(lower(graph), samples, progress.phase("running", samples.count))
    with replacing(out) as directory:
        write_npz(directory / out.name, outputs)
    shapes = {name: list(array.shape) for name, array in outputs.items()}
    if as_json:
        document: dict[str, Any] = {"samples": samples.count, "outputs": shapes, "output": str(out)}
        if spikes is not None:
            recorded = [asdict(layer) | {"name": layer.key} for layer in layers]
            document |= {"spikes": str(spikes), "layers": recorded}
        print_json(document)
        return
    rows = [(name, str(shape)) for name, shape in shapes.items()]
    click.echo(table(["output", f"shape, written to {out}"], rows))
    if spikes is not None:
        click.echo(f"spike times of {len(layers)} layers: {spikes}")
