"""What drives each multiplying operation: spikes, the raw input, or real activations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from snnc.ir.coding import spikes_of_sites
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph
from snnc.ir.node import Op
from snnc.ir.ops import multiplied
from snnc.streams import neuron_behind
from snnc.synapses import macs

Kind = Literal["spiking", "direct-coded", "analog"]


def classify(graph: Graph) -> Iterable[tuple[Op, Kind]]:
    """Every multiplying operation with what drives it: spikes, the raw input, real activations.

    On a graph with sites a site counts as the neuron it will become.
    """
    flow = Flow(graph)
    sites = spikes_of_sites(graph)
    for node in graph.nodes:
        if not isinstance(node, Op) or not multiplied(node):
            continue
        operands = [v for v in multiplied(node) if v in graph.types]
        spiking = any(v in sites or neuron_behind(graph, v) for v in operands)
        yield node, "spiking" if spiking else "direct-coded" if flow.is_direct(node) else "analog"


def coverage_macs(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """MACs of one inference by kind of drive, for the given run-time shapes."""
    totals: dict[str, float] = {"spiking": 0.0, "direct-coded": 0.0, "analog": 0.0}
    for op, kind in classify(graph):
        full: dict[str, Any] = {v: graph.consts[v].shape for v in op.inputs if v in graph.consts}
        totals[kind] += macs(op, full | dict(shapes))
    return totals


def shaped_values(graph: Graph) -> tuple[str, ...]:
    """The values whose run-time shapes `coverage_macs` needs."""
    found = (v for op, _ in classify(graph) for v in (*multiplied(op), op.outputs[0]))
    return tuple(dict.fromkeys(v for v in found if v in graph.types))
