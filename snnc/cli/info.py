"""`snnc info`: versions, and which kernels run the artifacts here."""

from __future__ import annotations

import platform

import click

import snnc
from snnc.cli.output import json_option, print_json
from snnc.kernels import active_instruction_set, instruction_sets, kernel_library
from snnc.report import table
from snnc.runtime import onnxruntime_version


@click.command("info")
@json_option
def info_command(as_json: bool) -> None:
    """Show versions and the native kernels that sessions use on this machine.

    \b
    Example:
      snnc info
    """
    library = kernel_library()
    document = {
        "snnc": snnc.__version__,
        "onnxruntime": onnxruntime_version(),
        "python": platform.python_version(),
        "kernel_library": None if library is None else str(library),
        "instruction_set": active_instruction_set(),
        "instruction_sets": list(instruction_sets()),
    }
    if as_json:
        print_json(document)
        return
    kernels = (
        "none: they could not be built when snnc was installed (pip install -v says why); "
        "function bodies run instead"
    )
    rows = [
        ("onnxruntime", document["onnxruntime"]),
        ("python", document["python"]),
        ("kernels", kernels if library is None else str(library)),
    ]
    if library is not None:
        others = ", ".join(instruction_sets()[1:])
        rows.append(("instruction set", f"{document['instruction_set']} (also here: {others})"))
    click.echo(table(["snnc", snnc.__version__], rows))
