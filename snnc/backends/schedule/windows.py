"""In which windows the neurons of a network fire that fire at most once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snnc.backends.schedule.layers import Layer
from snnc.ir.graph import Graph
from snnc.ir.node import Node, Op
from snnc.ir.spike_times import FIRST_SPIKE, WINDOWED, fires


@dataclass(frozen=True)
class Windows:
    """ticks: of one window, 0 in a network without spike times; of: window of the spikes that each
    value consists of (-1: of none)."""

    ticks: int
    of: Mapping[str, int]

    def span(self, layer: Layer) -> tuple[int, int]:
        """First tick of a layer, and how many it sends in.

        Its neurons fire in windows of their own; the earliest of several spikes passes in theirs;
        other cells hold a real number, which is complete and sent when the window ends.
        """
        fired = [w for w in map(_window, layer.nodes) if w is not None]
        if fired:
            return min(fired) * self.ticks, (max(fired) - min(fired) + 1) * self.ticks
        read = [self.of.get(v, -1) for node in layer.nodes for v in node.inputs]
        latest = max(read, default=-1)
        if latest >= 0 and _passes_spikes(layer):
            return latest * self.ticks, self.ticks
        return (latest + 1) * self.ticks, 1


def windows_of(graph: Graph) -> Windows:
    """The windows of a graph."""
    ticks, found = 0, dict[str, int]()
    for node in graph.nodes:
        window = max((found.get(v, -1) for v in node.inputs), default=-1)
        own = _window(node)
        window = window if own is None else own
        if isinstance(node, Op) and fires(node):
            ticks = max(ticks, node.integer("ticks", 1))
        found.update((name, window) for name in node.outputs if name)
    return Windows(ticks, found)


def _window(node: Node) -> int | None:
    if isinstance(node, Op) and node.op_type in WINDOWED:
        return node.integer("window", 0)
    return None


def _passes_spikes(layer: Layer) -> bool:
    first = layer.nodes[0]
    spikes = any(c.op is first and c.neurons is not None for c in layer.connections)
    return isinstance(first, Op) and first.op_type in FIRST_SPIKE and spikes
