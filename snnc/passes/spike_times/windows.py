"""AlignWindows: when each layer of neurons fires, and the relays that make branches meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Attribute, Node, Op
from snnc.ir.ops import SHAPE_READING
from snnc.ir.spike_times import MULTIPLIED, RELAY, fires, time_ranges


@dataclass(frozen=True)
class AlignWindows:
    """A layer fires in the window behind the latest spikes that it reads; what it reads of earlier
    ones is relayed to that window (spec 4.4, 4.8). Encoding neurons fire in window 0."""

    name: ClassVar[str] = "align-windows"
    before: ClassVar[Stage] = Stage.SPIKING
    after: ClassVar[Stage] = Stage.SPIKING

    def __call__(self, graph: Graph) -> Graph:
        return _Alignment(graph).graph


class _Alignment:
    """Values at windows. What lies between two layers of neurons is computed for the window that
    it is read in, twice where it is read in two."""

    def __init__(self, graph: Graph) -> None:
        self._old = graph
        self._timed = time_ranges(graph)
        self._window: dict[str, int] = {}
        self._names: dict[tuple[str, int], str] = {}
        self._relays: dict[str, list[tuple[int, str]]] = {}
        self._named: set[str] = set()
        self._taken: set[str] = set()
        self._types = dict(graph.types)
        self._nodes: list[Node] = []
        for node in graph.nodes:
            self._place(node)
        outputs = {v: self._at(v, self._window[v]) for v in graph.outputs if v in self._window}
        assert all(name == value for value, name in outputs.items())
        self.graph = replace(graph, nodes=tuple(self._nodes), types=self._types).pruned()

    def _place(self, node: Node) -> None:
        """Says when the results of a node are there; places those that do not wait for a reader."""
        assert isinstance(node, Op)
        if node.op_type in SHAPE_READING:
            self._nodes.append(replace(node, inputs=tuple(map(self._home, node.inputs))))
            return
        seen = [self._window[v] for v in node.inputs if v in self._window]
        latest = max(seen, default=-1)
        fired = fires(node) or node.op_type in MULTIPLIED
        if seen or fired:
            for name in filter(None, node.outputs):
                self._window[name] = latest + fired
        if fires(node) or any(v in self._timed for v in node.outputs):
            inputs = tuple(self._at(v, latest) for v in node.inputs)
            attrs = {**node.attrs, "window": latest + 1} if fires(node) else node.attrs
            self._nodes.append(replace(node, inputs=inputs, attrs=attrs))
            places = [v for v in node.outputs if v and v not in self._timed]
            self._names |= {(v, latest): v for v in places}
            self._named.update(places)
        elif not seen:
            self._nodes.append(node)

    def _home(self, value: str) -> str:
        return self._at(value, self._window.get(value, 0))

    def _at(self, value: str, window: int) -> str:
        """The name of a value for readers in `window`."""
        if value not in self._window:
            return value
        node = self._old.producer[value]
        assert isinstance(node, Op)
        if value in self._timed:
            return self._relayed(value, window, node)
        if (value, window) not in self._names:
            self._compute(node, window)
        return self._names[value, window]

    def _compute(self, node: Op, window: int) -> None:
        multiplies = node.op_type in MULTIPLIED
        inputs = tuple(self._at(v, window - multiplies) for v in node.inputs)
        attrs: Mapping[str, Attribute] = node.attrs
        if multiplies:
            attrs = {**attrs, "window": window}
        outputs = []
        for name in node.outputs:
            kept = not name or (name not in self._timed and self._keeps_name(name, window))
            outputs.append(name if kept else self._fresh(name))
            self._names[name, window] = outputs[-1]
        self._nodes.append(replace(node, inputs=inputs, outputs=tuple(outputs), attrs=attrs))

    def _keeps_name(self, value: str, window: int) -> bool:
        """Whether a value is called the same in `window`: an output in its own, others at first."""
        if value in self._old.outputs:
            return window == self._window[value]
        first = value not in self._named
        self._named.add(value)
        return first

    def _relayed(self, value: str, window: int, source: Op) -> str:
        there = self._relays.setdefault(value, [(self._window[value], value)])
        at, name = max(entry for entry in there if entry[0] <= window)
        if at < window:
            attrs: dict[str, Attribute] = {"windows": window - at, "window": window}
            relay = self._fresh(f"{value}.relay")
            self._types[relay] = self._types[value]
            self._nodes.append(Op((relay,), (name,), source.loc, RELAY, attrs))
            there.append((window, relay))
            name = relay
        return name

    def _fresh(self, base: str) -> str:
        name = self._old.fresh(base, self._taken)
        self._taken.add(name)
        if base in self._old.types:
            self._types[name] = self._old.types[base]
        return name
