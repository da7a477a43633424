"""Walks over a network of spike times and writes what counts its events, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from snnc.ir.flow import Flow
from snnc.ir.graph import Graph
from snnc.ir.node import Op
from snnc.ir.ops import (
    BROADCASTING,
    LAYOUT,
    POINTWISE,
    SHAPE_READING,
    activations,
    multiplied,
)
from snnc.ir.spike_times import FIRST_SPIKE, MULTIPLIED, RELAY, WINDOWED, fires
from snnc.spike_events.products import product_events, takes_logarithms
from snnc.spike_events.writer import EventWriter

Kind: TypeAlias = Literal["neurons", "relay", "max", "product", "readout"]
Total: TypeAlias = tuple[str, int]
"""A value that holds a sum over a batch, and what it is to be multiplied by; '' for none."""

_NONE: Total = ("", 0)


@dataclass(frozen=True)
class Counts:
    """events: spikes that reached a layer; spikes: those that it fired."""

    events: Total = _NONE
    spikes: Total = _NONE


@dataclass(frozen=True)
class CountedLayer:
    """A layer of neurons, or what is read out. window: in which it fires, None if it does not.

    occurred: what happens; everything: if all neurons fire, so that spikes are neurons and events
    synapses in use. assumed: its neurons are taken to fire all.
    """

    name: str
    op_type: str
    kind: Kind
    window: int | None
    occurred: Counts
    everything: Counts
    assumed: bool = False


@dataclass(frozen=True)
class CountedGraph:
    """A graph that counts its events. analog: operations on numbers in place of spikes."""

    graph: Graph
    layers: tuple[CountedLayer, ...]
    analog: tuple[Op, ...]


def with_spike_events(graph: Graph) -> CountedGraph:
    """The graph with the events of every layer; sums are exact up to 2^24 at a neuron."""
    writer = EventWriter(graph)
    occurred, everything = _Walk(writer, False), _Walk(writer, True)
    pairs = zip(occurred.layers, everything.layers, strict=True)
    layers = tuple(replace(a, everything=b.occurred) for a, b in pairs)
    return CountedGraph(writer.graph, layers, tuple(occurred.analog))


_SUMS = dict.fromkeys(("ReduceMean", "ReduceSum"), "ReduceSum") | {"CumSum": "CumSum"}
_ADDING = frozenset({"Add", "Sub", "Sum", "Mean"})
_POOLS = {
    "MaxPool": "LpPool",
    "AveragePool": "LpPool",
    "LpPool": "LpPool",
    "GlobalMaxPool": "GlobalLpPool",
    "GlobalAveragePool": "GlobalLpPool",
    "GlobalLpPool": "GlobalLpPool",
}
"""Pooling, and the pooling that sums up (p = 1) what it reads."""

_PLACING = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
_RETYPING = frozenset({"Identity", "Cast", "CastLike", "Dropout"})
_CURVES = {"Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh", "BatchNormalization"}
_ENTRYWISE = POINTWISE | BROADCASTING | _CURVES


class _Walk:
    """One walk over a graph. full: all neurons fire."""

    def __init__(self, writer: EventWriter, full: bool) -> None:
        self._graph, self._write, self._full = writer.source, writer, full
        self._events: dict[str, str] = {}
        self._window: dict[str, int] = {}
        self._origin: dict[str, str] = {}
        self._data = Flow(writer.source).data
        self.layers: list[CountedLayer] = []
        self.analog: list[Op] = []
        for node in writer.source.nodes:
            if isinstance(node, Op):
                self._visit(node)
        for value in writer.source.outputs:
            if value in self._events and value not in self._window:
                received = (writer.total(self._events[value]), 1)
                self._layer(value, "output", "readout", None, received, _NONE)

    def _visit(self, op: Op) -> None:
        """Events of the results of an operation; none where no spikes reach it."""
        if fires(op):
            self._neurons(op)
        elif op.op_type in MULTIPLIED:
            self._product(op)
        elif not any(v in self._events for v in op.inputs):
            if any(v in self._data for v in activations(self._graph, op)):
                self.analog.append(op)  # on numbers that no neurons encode
        elif op.op_type == RELAY:
            self._relay(op)
        elif op.op_type in FIRST_SPIKE | {"TopK"}:
            self._first(op)
        elif op.op_type == "ArgMax":
            received = (self._write.total(self._events[op.inputs[0]]), 1)
            self._layer(op.loc.names[0], op.op_type, "readout", None, received, _NONE)
        elif multiplied(op):
            self._weighted(op)
        elif op.op_type in _SUMS:
            self._set(op, self._write.like(op, _SUMS[op.op_type], self._events[op.inputs[0]]))
        elif op.op_type in _POOLS:
            self._set(op, self._pooled(op))
        elif op.op_type in LAYOUT - _RETYPING or _copies(op):
            self._moved(op)
        elif op.op_type in _ENTRYWISE | _RETYPING:
            self._entrywise(op)
        else:
            self._decoded(op, "a membrane potential is read before neurons")

    def _layer(
        self,
        name: str,
        op_type: str,
        kind: Kind,
        window: int | None,
        events: Total,
        spikes: Total,
        assumed: bool = False,
    ) -> None:
        counts = Counts(events, spikes)
        self.layers.append(CountedLayer(name, op_type, kind, window, counts, counts, assumed))

    def _set(self, op: Op, events: str) -> None:
        self._events[op.outputs[0]] = events

    # --- neurons ---------------------------------------------------------------------------------

    def _neurons(self, op: Op) -> None:
        x, y = op.inputs[0], op.outputs[0]
        received = (self._write.total(self._events[x]), 1) if x in self._events else _NONE
        self._set(op, self._fired(y, op.number("low")))
        self._window[y] = op.integer("window", 0)
        spikes = (self._write.total(self._events[y]), 1)
        self._layer(op.loc.names[0], op.op_type, "neurons", self._window[y], received, spikes)

    def _fired(self, value: str, low: float) -> str:
        """1 where a neuron fires and 0 where it is silent."""
        return self._write.ones(value) if self._full else self._write.above(value, low)

    def _relay(self, op: Op) -> None:
        self._need_spikes(op)
        windows = op.integer("windows", 1)
        self._set(op, self._events[op.inputs[0]])
        self._window[op.outputs[0]] = op.integer("window", 0)
        total = (self._write.total(self._events[op.inputs[0]]), windows)
        name, window = op.loc.names[0], op.integer("window", 0)
        self._layer(name, op.op_type, "relay", window, total, total)

    def _first(self, op: Op) -> None:
        """Neurons that fire with the earliest of several spikes."""
        self._need_spikes(op)
        events = self._events[op.inputs[0]]
        read = self._pooled(op) if op.op_type == "MaxPool" else events
        received = (self._write.total(read), 1)
        self._set(op, self._write.results(op, [events, *op.inputs[1:]])[0])
        window = self._window[op.outputs[0]] = self._window[op.inputs[0]]
        spikes = (self._write.total(self._events[op.outputs[0]]), 1)
        self._layer(op.loc.names[0], op.op_type, "max", window, received, spikes)

    def _need_spikes(self, op: Op) -> None:
        if op.inputs[0] not in self._window:
            raise self._graph.error("this operation reads spikes, but its input holds none", op)

    def _product(self, op: Op) -> None:
        a, b = (self._events.get(v) or self._write.zeros(v) for v in op.inputs)
        made = product_events(self._write, op, a, b, self._full)
        window, name, total = op.integer("window", 0), op.loc.names[0], self._write.total
        events, spikes = (total(made.pairs), made.layers), (total(made.fired), 1)
        self._layer(name, op.op_type, "product", window, events, spikes, made.assumed)
        self._set(op, made.reached)
        if takes_logarithms(op):  # its factors wait until the neurons have fired
            for factor in (a, b):
                self._layer(name, op.op_type, "relay", window, *2 * ((total(factor), 1),))

    # --- what drives neurons ---------------------------------------------------------------------

    def _weighted(self, op: Op) -> None:
        """A layer with weights: every spike counts once for each synapse it reaches."""
        driven = [v for v in multiplied(op) if v in self._events]
        if len(driven) > 1:
            self._decoded(op, "two membrane potentials are multiplied")
        else:
            self._set(op, self._write.weighted(op, driven[0], self._events[driven[0]]))

    def _decoded(self, op: Op, why: str) -> None:
        """An operation that stays analog, on the numbers that spikes stand for."""
        if not all(v in self._window for v in op.inputs if v in self._events):
            raise self._graph.error(f"{why}, so that events cannot be counted", op)
        self.analog.append(op)

    def _pooled(self, op: Op) -> str:
        kept = {key: value for key, value in op.attrs.items() if key in _PLACING}
        return self._write.op(_POOLS[op.op_type], self._events[op.inputs[0]], **kept, p=1)

    def _entrywise(self, op: Op) -> None:
        """A function of one value of spikes is on its synapses; a sum of several has them all."""
        y = op.outputs[0]
        apart = {self._origin.get(v, v): self._events[v] for v in op.inputs if v in self._events}
        if len(apart) > 1 and op.op_type not in _ADDING:
            self._decoded(op, "two membrane potentials meet in a function")
            return
        driven = next(v for v in op.inputs if v in self._events)
        if len(apart) == 1 and self._write.alike(driven, y):
            self._set(op, self._events[driven])
            self._origin[y] = self._origin.get(driven, driven)
            if op.op_type in _RETYPING and driven in self._window:
                self._window[y] = self._window[driven]
        else:
            self._set(op, self._write.spread(self._write.sum(apart.values()), y))

    def _moved(self, op: Op) -> None:
        """Layout moves events with the entries they belong to."""
        if op.op_type in SHAPE_READING:
            return
        read = [self._events.get(v) or self._write.silent(v) for v in op.inputs]
        if op.op_type == "Pad":
            read[2:3] = [""]
        if op.op_type == "Resize":  # sizes are no events
            read[1:] = op.inputs[1:]
        results = self._write.results(op, read)
        spikes = [self._window[v] for v in op.inputs if v in self._window]
        driven = [v for v in op.inputs if v in self._events]
        for value, events in zip(op.outputs, results, strict=True):
            if value:
                self._events[value] = events
                if len(spikes) == len(driven):
                    self._window[value] = max(spikes)


def _copies(op: Op) -> bool:
    return op.op_type == "Resize" and op.attrs.get("mode", "nearest") == "nearest"


def windows(graph: Graph) -> int:
    """Windows from the first spikes of a network to its last: its latency."""
    found = list(_windows(graph))
    return max(found) - min(found) + 1 if found else 0


def _windows(graph: Graph) -> Iterable[int]:
    for node in graph.nodes:
        if isinstance(node, Op) and node.op_type in WINDOWED:
            yield node.integer("window", 0)
