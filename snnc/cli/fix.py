"""`snnc fix`."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from snnc.backends.onnx_model import save_onnx
from snnc.cli.output import json_option, print_json
from snnc.errors import CompileError
from snnc.files import require_writable
from snnc.frontend import external_files, load
from snnc.ir.node import Array
from snnc.npz import DAMAGED
from snnc.prepare import fix_inputs
from snnc.report import table


def _assignments(
    context: click.Context, parameter: click.Parameter, words: tuple[str, ...]
) -> dict[str, str]:
    """NAME=VALUE arguments (a callback of click)."""
    found: dict[str, str] = {}
    for word in words:
        name, _, value = word.rpartition("=")
        if not name or not (value.endswith(".npy") or _is_number(value)):
            raise click.BadParameter(f"'{word}' is not NAME=NUMBER or NAME=FILE.npy")
        if name in found:
            raise click.BadParameter(f"'{name}' is given twice")
        found[name] = value
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _value(text: str) -> Array | float:
    if not text.endswith(".npy"):
        return float(text)
    try:
        return np.asarray(np.load(text, allow_pickle=False))
    except DAMAGED as error:
        raise CompileError(f"'{text}' is not a readable .npy file: {error}") from None


@click.command("fix")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, callback=_assignments, metavar="NAME=VALUE...")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT.onnx",
    help="File to write.",
)
@json_option
def fix_command(model: Path, inputs: dict[str, str], out: Path, as_json: bool) -> None:
    """Write MODEL with inputs fixed to numbers, or to arrays in .npy files.

    What depends on them alone is folded when the result is compiled: the branches of an If that
    asks for a sampling rate or a mode, say.

    \b
    Example:
      snnc fix vad.onnx sr=16000 -o vad16k.onnx
      snnc fix keras.onnx mean=mean.npy std=std.npy -o fixed.onnx
    """
    require_writable(out, model, *external_files(model))
    graph = fix_inputs(load(model), {name: _value(text) for name, text in inputs.items()})
    save_onnx(graph, out)
    if as_json:
        print_json({"fixed": inputs, "inputs": list(graph.inputs), "output": str(out)})
        return
    rows = [("fixed", ", ".join(f"{name} = {value}" for name, value in inputs.items()))]
    rows += [("inputs left", ", ".join(graph.inputs) or "none"), ("written", str(out))]
    click.echo(table(["model", str(model)], rows))
