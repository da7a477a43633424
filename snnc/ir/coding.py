"""Which values hold spikes: those of neurons, moved, padded with zeros or selected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from snnc.ir.functions import MAX_POOL_COUNTS
from snnc.ir.graph import Graph
from snnc.ir.node import Coding, Op
from snnc.ir.ops import SHAPE_ONLY
from snnc.ir.quantizer import imported

_IN_PLACE = frozenset({"Identity", "Cast", "MaxPool", MAX_POOL_COUNTS})
"""Operations that leave the axes of their first input as they are; a Pad may add channels."""

SPIKE_KEEPING = SHAPE_ONLY | _IN_PLACE | {"Pad", "DequantizeLinear"}
"""Operations whose result is still threshold x integer count (or a count) when their input is."""


def carriers(graph: Graph, sources: Mapping[str, bool]) -> frozenset[str]:
    """`sources` and the values that hold the same spikes.

    sources: values with spikes, and whether all of these have one threshold; thresholds of
    channels are lost sight of where axes move.
    """
    held = dict(sources)
    for node in graph.nodes:
        if not isinstance(node, Op) or not node.inputs or node.inputs[0] not in held:
            continue
        alike = held[node.inputs[0]]
        keeping = SPIKE_KEEPING if alike else _IN_PLACE
        if node.op_type in keeping and not _pads_numbers(graph, node):
            results = node.outputs[:1] if node.op_type == "MaxPool" else node.outputs
            held.update((v, alike) for v in results if v)
    return frozenset(held)


def spikes_of_sites(graph: Graph) -> frozenset[str]:
    """The values of a graph with sites that will hold spikes."""
    sources = {}
    for site in graph.sites:
        found = imported(graph, site)
        sources[site.outputs[0]] = found is None or not found.step.ndim
    return carriers(graph, sources)


def with_spikes(graph: Graph) -> Graph:
    """The graph with types that say which values are the spikes of its neurons."""
    channels = {name for name, array in graph.consts.items() if array.size > 1}
    spikes = carriers(graph, {n.outputs[0]: not channels & {*n.inputs} for n in graph.neurons})
    types = {
        name: replace(kind, coding=Coding.SPIKE) if name in spikes else kind
        for name, kind in graph.types.items()
    }
    return replace(graph, types=types)


def _pads_numbers(graph: Graph, op: Op) -> bool:
    """Whether an operation pads with anything but zeros or entries of its input."""
    if op.op_type != "Pad" or op.attrs.get("mode", "constant") != "constant":
        return False
    value = op.inputs[2] if len(op.inputs) > 2 else ""
    return bool(value) and graph.scalar(value) != 0
