"""`snnc inspect` and `snnc neurons`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from snnc.cli.output import json_option, print_json
from snnc.frontend import load
from snnc.ir.neuron import neuron_models
from snnc.ir.text import format_graph
from snnc.report import graph_dot, graph_summary, layer_rows, table


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "dot"]),
    default="text",
    show_default=True,
    help="dot is for Graphviz.",
)
@click.option(
    "--layers",
    is_flag=True,
    help="One row a layer: shape, neuron, steps, spikes per neuron, share of energy; of ttfs "
    "neurons shape, window, ticks, range.",
)
@json_option
def inspect_command(file: Path, form: str, layers: bool, as_json: bool) -> None:
    """Show the network FILE, trained or spiking.

    \b
    Example:
      snnc inspect model.snn.onnx --layers
    """
    graph = load(file)
    form = "json" if as_json else form
    if layers:
        head, rows = layer_rows(graph)
        if form == "json":
            print_json({"layers": [dict(zip(head, row, strict=True)) for row in rows]})
        else:
            click.echo(table(head, rows))
    elif form == "json":
        print_json(graph_summary(graph))
    else:
        click.echo(graph_dot(graph) if form == "dot" else format_graph(graph), nl=False)


@click.command("neurons")
@json_option
def neurons_command(as_json: bool) -> None:
    """List the neuron models with their equations and parameters.

    \b
    Example:
      snnc neurons
    """
    listed: list[dict[str, Any]] = []
    for name, model in neuron_models().items():
        choices, usual = model.choices(), model()
        parameters = {}
        for field in dataclasses.fields(usual):  # type: ignore[arg-type]
            value = getattr(usual, field.name)
            default = None if value == float("inf") else value
            parameters[field.name] = {
                "default": default,
                "choices": list(choices.get(field.name, ())),
            }
        doc = (model.__doc__ or "").strip().splitlines()[0]
        listed.append(
            {"name": name, "equation": model.equation, "about": doc, "parameters": parameters}
        )
    if as_json:
        print_json({"neurons": listed})
        return
    for neuron in listed:
        click.echo(f"{neuron['name']}: {neuron['about']}\n  {neuron['equation']}")
        rows = [
            (key, p["default"], ", ".join(p["choices"])) for key, p in neuron["parameters"].items()
        ]
        click.echo(
            table(["  parameter", "default", "choices"], [(f"  {k}", d, c) for k, d, c in rows])
        )
