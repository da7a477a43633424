"""`snnc fix`."""

from __future__ import annotations

from pathlib import Path

import click

from snnc.backends.onnx_model import save_onnx
from snnc.cli.output import json_option, print_json
from snnc.files import require_writable
from snnc.frontend import external_files, load
from snnc.prepare import fix_inputs
from snnc.report import table


def _assignments(
    context: click.Context, parameter: click.Parameter, words: tuple[str, ...]
) -> dict[str, float]:
    """NAME=NUMBER arguments (a callback of click)."""
    found = {}
    for word in words:
        name, sign, number = word.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            sign = ""
        if not sign or not name:
            raise click.BadParameter(f"'{word}' is not NAME=NUMBER", context, parameter)
    return found


@click.command("fix")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, callback=_assignments, metavar="NAME=NUMBER...")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT.onnx",
    help="File to write.",
)
@json_option
def fix_command(model: Path, inputs: dict[str, float], out: Path, as_json: bool) -> None:
    """Write MODEL with inputs fixed to numbers.

    What depends on them alone is folded when the result is compiled: the branches of an If that
    asks for a sampling rate or a mode, say.

    \b
    Example:
      snnc fix vad.onnx sr=16000 -o vad16k.onnx
    """
    require_writable(out, model, *external_files(model))
    graph = fix_inputs(load(model), inputs)
    save_onnx(graph, out)
    if as_json:
        print_json({"fixed": inputs, "inputs": list(graph.inputs), "output": str(out)})
        return
    rows = [("fixed", ", ".join(f"{name} = {value:g}" for name, value in inputs.items()))]
    rows += [("inputs left", ", ".join(graph.inputs) or "none"), ("written", str(out))]
    click.echo(table(["model", str(model)], rows))
