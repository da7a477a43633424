"""What people read: tables, the layers of a network, its picture as a graph."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from snnc.coverage import nominal_shapes
from snnc.drives import classify, shaped_values
from snnc.energy import Energy, Layer, estimate
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.neuron_spec import NeuronSpec
from snnc.ir.node import Activity, Coding, Neuron, Node, Op
from snnc.ir.ops import multiplied
from snnc.ir.spike_times import WINDOWED, fires, has_spike_times
from snnc.ir.text import format_node, format_type
from snnc.ir.weights import quantized
from snnc.streams import neuron_behind


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns aligned by width: numbers right, words left."""
    cells = [[_cell(value) for value in row] for row in rows]
    right = [all(_is_number(row[i]) for row in cells) for i in range(len(head))]
    widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = (
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    return "\n".join([line(head), line(["-" * w for w in widths]), *map(line, cells)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_number(text: str) -> bool:
    return (
        text == "-"
        or text.replace(".", "").replace("e+", "").replace("e-", "").lstrip("-").isdigit()
    )


NAME_WIDTH = 60


def short(name: str) -> str:
    """A name for a table: of a long one the middle is left out (--json gives it whole)."""
    half = NAME_WIDTH // 2
    return name if len(name) <= NAME_WIDTH else f"{name[: half - 1]}…{name[-half:]}"


def percent(share: float | None) -> str:
    """A share as a percentage; '-' where there is none."""
    return "-" if share is None else f"{100 * share:.2f} %"


def energy_table(energy: Energy) -> str:
    """Every layer with its operations a sample and its share of the energy."""
    total = sum(energy.picojoule(layer) for layer in energy.layers) or 1.0
    rows = [
        (
            layer.name,
            layer.op_type,
            layer.kind,
            int(layer.macs),
            layer.spikes,
            layer.events,
            f"{100 * energy.picojoule(layer) / total:.1f} %",
        )
        for layer in energy.layers
    ]
    return table(["layer", "op", "kind", "MACs", "spikes", "events", "energy"], rows)


def layer_rows(graph: Graph) -> tuple[list[str], list[list[object]]]:
    """Head and rows of `snnc inspect --layers`.

    Spikes per neuron are those measured on calibration data when the artifact was compiled; the
    share of energy, in percent, is estimated from them. Neurons that fire at most once have a
    window, ticks and a range instead.
    """
    if has_spike_times(graph):
        return _timed_layer_rows(graph)
    layers = _estimated(graph)
    if not graph.neurons:
        rows: list[list[object]] = [
            [op.loc.names[0], op.op_type, _shape(graph, op.outputs[0]), layer and int(layer.macs)]
            for (op, _), (layer, _) in zip(classify(graph), layers, strict=True)
        ]
        return ["layer", "op", "shape", "MACs"], rows
    rows = []
    for (op, kind), (_, percentage) in zip(classify(graph), layers, strict=True):
        behind = (neuron_behind(graph, v) for v in multiplied(op))
        sources = [n for v in behind if v and isinstance(n := graph.producer[v], Neuron)]
        share = percentage
        integer = any(quantized(graph, v) is not None for v in multiplied(op))
        how = f"{kind}, int8" if integer else kind
        for neuron in sources or (None,):
            rows.append([op.loc.names[0], op.op_type, how, *_neuron_cells(graph, neuron), share])
            share = None
    head = ["layer", "op", "kind", "shape", "neuron", "step+", "step-", "spikes/neuron", "energy %"]
    return head, rows


def _timed_layer_rows(graph: Graph) -> tuple[list[str], list[list[object]]]:
    """The same of neurons that fire at most once."""
    head = ["layer", "op", "shape", "window", "ticks", "low", "high"]
    rows: list[list[object]] = []
    for op in graph.nodes:
        if isinstance(op, Op) and op.op_type in WINDOWED:
            cells = (op.attrs.get(key) for key in head[3:])
            rows.append([op.loc.names[0], bare(op.op_type), _shape(graph, op.outputs[0]), *cells])
    return head, rows


def bare(op_type: str) -> str:
    """The name of an operation without its domain."""
    return op_type.rpartition(".")[2]


def _estimated(graph: Graph) -> list[tuple[Layer | None, float | None]]:
    """Every layer's operations and its percentage of the energy; None where no shape suits, and
    for the energy where activity was not measured."""
    try:
        shapes, _ = nominal_shapes(graph, shaped_values(graph))
    except CompileError:
        return [(None, None) for _ in classify(graph)]
    energy = estimate(graph, shapes)
    if any(neuron.activity is None for neuron in graph.neurons):
        return [(x, None) for x in energy.layers]
    total = sum(energy.picojoule(layer) for layer in energy.layers) or 1.0
    return [(x, round(100 * energy.picojoule(x) / total, 2)) for x in energy.layers]


def _shape(graph: Graph, value: str) -> str:
    """Shape of a value without the batch axis."""
    shape = graph.types[value].shape
    return "?" if shape is None else _dims(shape[1:])


def _dims(shape: Iterable[int | str | None]) -> str:
    return "x".join(str(d) if isinstance(d, int) else "?" for d in shape)


def _neuron_cells(graph: Graph, neuron: Neuron | None) -> list[object]:
    if neuron is None:
        return [None] * 5
    steps = [float(graph.consts[s].mean()) if s else None for s in neuron.inputs[1:]]
    activity: Activity | None = neuron.activity
    return [
        _shape(graph, neuron.outputs[0]),
        str(NeuronSpec(neuron.model)),
        *steps,
        activity.spikes if activity else None,
    ]


def graph_summary(graph: Graph) -> dict[str, Any]:
    """The graph as plain data, for `snnc inspect --format json`."""
    return {
        "name": graph.name,
        "stage": graph.stage.name.lower(),
        "timesteps": graph.timesteps,
        "source": graph.source,
        "inputs": {name: format_type(graph.types[name]) for name in graph.inputs},
        "outputs": list(graph.outputs),
        "constants": {n: [str(a.dtype), list(a.shape)] for n, a in graph.consts.items()},
        "nodes": [_node_summary(graph, node) for node in graph.nodes],
    }


def _node_summary(graph: Graph, node: Node) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "op": _kind(node),
        "inputs": list(node.inputs),
        "outputs": {n: format_type(graph.types[n]) for n in node.outputs if n},
        "origin": list(node.loc.names),
    }
    if isinstance(node, Neuron):
        summary["parameters"] = node.model.plain_parameters
        summary["steps"] = {s: graph.consts[s].tolist() for s in node.inputs[1:] if s}
        if node.activity is not None:
            summary["activity"] = {"spikes": node.activity.spikes, "events": node.activity.events}
    elif isinstance(node, Op) and node.op_type in WINDOWED:
        summary["parameters"] = dict(node.attrs)
    return summary


def _kind(node: Node) -> str:
    if isinstance(node, Op):
        return node.op_type
    return node.model.name if isinstance(node, Neuron) else "site"


def graph_dot(graph: Graph) -> str:
    """The graph in Graphviz's language; neurons are filled, spikes travel on bold edges."""
    index = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs}
    lines = ["digraph snnc {", "  node [shape=box, fontname=Helvetica];"]
    lines += [
        f"  in{i} [label={json.dumps(name)}, shape=ellipse];" for i, name in enumerate(graph.inputs)
    ]
    for i, node in enumerate(graph.nodes):
        style = ", style=filled, fillcolor=gold" if isinstance(node, Neuron) or fires(node) else ""
        label = json.dumps(f"{_kind(node)}\n{node.loc.names[0]}")
        lines.append(
            f"  n{i} [label={label}, tooltip={json.dumps(format_node(graph, node))}{style}];"
        )
        for name in dict.fromkeys(node.inputs):
            source = (
                f"n{index[name]}"
                if name in index
                else (f"in{graph.inputs.index(name)}" if name in graph.inputs else None)
            )
            if source is not None:
                bold = " [style=bold]" if graph.types[name].coding is not Coding.REAL else ""
                lines.append(f"  {source} -> n{i}{bold};")
    for i, name in enumerate(graph.outputs):
        lines.append(f"  out{i} [label={json.dumps(name)}, shape=ellipse];")
        if name in index:
            lines.append(f"  n{index[name]} -> out{i};")
    return "\n".join([*lines, "}"]) + "\n"
