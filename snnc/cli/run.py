"""`snnc run`."""

from __future__ import annotations

from pathlib import Path

import click

from snnc.backends.lowering import lower
from snnc.cli.output import Progress, json_option, print_json
from snnc.data import samples_of
from snnc.evaluation import run
from snnc.files import replacing, require_writable
from snnc.frontend import load
from snnc.npz import write_npz
from snnc.report import table


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
@json_option
def run_command(file: Path, data: Path, out: Path, as_json: bool) -> None:
    """Run the network FILE, trained or spiking, over samples.

    \b
    Example:
      snnc run model.snn.onnx --data test.npz -o outputs.npz
    """
    require_writable(out, file, data)
    graph = load(file)
    samples = samples_of(data, graph)
    with Progress() as progress:
        outputs = run(lower(graph), samples, progress.phase("running", samples.count))
    with replacing(out) as directory:
        write_npz(directory / out.name, outputs)
    shapes = {name: list(array.shape) for name, array in outputs.items()}
    if as_json:
        print_json({"samples": samples.count, "outputs": shapes, "output": str(out)})
        return
    rows = [(name, str(shape)) for name, shape in shapes.items()]
    click.echo(table(["output", f"shape, written to {out}"], rows))
