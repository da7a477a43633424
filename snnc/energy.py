"""Energy accounting: accumulates and multiply-accumulates of every layer (spec 2.8)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from snnc.errors import CompileError
from snnc.ir.coding import spikes_of_sites
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph
from snnc.ir.node import Activity, Array, Coding, Neuron, Op
from snnc.ir.ops import multiplied
from snnc.runtime import shape_name
from snnc.synapses import Shapes, fan_out, macs, product_count

PJ_AC, PJ_MAC = 0.9, 4.6
"""Energy of a 32-bit float addition and multiply-accumulate in 45 nm CMOS, picojoule (Horowitz,
ISSCC 2014), as used by the paper."""


@dataclass(frozen=True)
class Layer:
    """Operations of one layer, mean per inference.

    macs: multiply-accumulates of the ANN, padding not counted; spikes: accumulates if a count of
    y is y additions; events: accumulates if it is one; both 0 where the layer stays real.
    """

    name: str
    op_type: str
    kind: Literal["spiking", "direct-coded", "analog"]
    macs: float
    spikes: float
    events: float


@dataclass(frozen=True)
class Energy:
    """Energy of the spiking network relative to its ANN (eqs. 43 and 44)."""

    samples: int
    layers: tuple[Layer, ...]
    pj_ac: float = PJ_AC
    pj_mac: float = PJ_MAC

    @property
    def ann_macs(self) -> float:
        return sum(layer.macs for layer in self.layers)

    @property
    def analog_macs(self) -> float:
        """MACs that stay real, direct-coded layers included."""
        return sum(layer.macs for layer in self.layers if layer.kind != "spiking")

    @property
    def ratio_spikes(self) -> float:
        """Eq. 43: (AC * pj_ac + analog MACs * pj_mac) / (ANN MACs * pj_mac), AC by spikes."""
        return self._ratio(sum(layer.spikes for layer in self.layers), self.analog_macs)

    @property
    def ratio_events(self) -> float:
        """Eq. 43 with one addition per event."""
        return self._ratio(sum(layer.events for layer in self.layers), self.analog_macs)

    @property
    def ratio_spikes_eq44(self) -> float:
        """Eq. 44: without the MACs that stay real."""
        return self._ratio(sum(layer.spikes for layer in self.layers), 0.0)

    def _ratio(self, accumulates: float, real_macs: float) -> float:
        ann = self.ann_macs * self.pj_mac
        return (accumulates * self.pj_ac + real_macs * self.pj_mac) / ann if ann else 0.0

    def picojoule(self, layer: Layer) -> float:
        """Energy of one layer in the spiking network, spikes counted, in picojoule."""
        real_macs = 0.0 if layer.kind == "spiking" else layer.macs
        return layer.spikes * self.pj_ac + real_macs * self.pj_mac

    def summary(self) -> dict[str, float]:
        """The ratios and the analog MACs, as reports print them."""
        return {
            "ratio_spikes": self.ratio_spikes,
            "ratio_events": self.ratio_events,
            "ratio_spikes_eq44": self.ratio_spikes_eq44,
            "analog_macs": self.analog_macs,
        }


class EnergyMeter:
    """Counts the operations of a spiking network while it runs, batch by batch.

    A session with `taps` and `shapes_of` yields what `update` takes. Whether a layer accumulates
    or multiplies is read from the types of its operands.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._layers = [_Counter(graph, op, kind) for op, kind in classify(graph)]
        self._active = {n.outputs[0]: [0.0, 0.0, 0.0] for n in graph.neurons}
        streams = [v for counter in self._layers for v in counter.streams]
        self.taps = tuple(dict.fromkeys([*self._active, *streams]))
        self.shapes_of = tuple(dict.fromkeys(v for c in self._layers for v in c.shaped))
        self.samples = 0

    def update(self, values: Mapping[str, Array], samples: int) -> None:
        """Adds a batch of `samples` samples, run with the meter's taps."""
        counts = {}
        for value in self.taps:
            neuron = self._graph.producer[neuron_behind(self._graph, value) or value]
            if isinstance(neuron, Neuron):
                counts[value] = spike_counts(self._graph, neuron, values[value])
        for out, sums in self._active.items():
            sums[0] += float(counts[out].sum(dtype=np.float64))
            sums[1] += float(np.count_nonzero(counts[out]))
            sums[2] += counts[out].size
        shapes = {v: tuple(int(d) for d in values[shape_name(v)]) for v in self.shapes_of}
        for counter in self._layers:
            counter.update(counts, shapes)
        self.samples += samples

    def energy(self, pj_ac: float = PJ_AC, pj_mac: float = PJ_MAC) -> Energy:
        """The totals so far, per sample."""
        if not self.samples:
            raise CompileError("no sample was run, so there is no energy to report")
        layers = tuple(counter.layer(self.samples) for counter in self._layers)
        return Energy(self.samples, layers, pj_ac, pj_mac)

    def activity(self) -> dict[str, Activity]:
        """Mean activity of every layer of neurons, by the name of its output."""
        return {
            name: Activity(float(np.float32(total / size)), float(np.float32(events / size)))
            for name, (total, events, size) in self._active.items()
            if size
        }


def spike_counts(graph: Graph, neuron: Neuron, output: Array) -> Array:
    """|spike count| of every neuron of a layer from its output (threshold x count)."""
    steps = [graph.consts[s] if s else np.float32(1) for s in neuron.inputs[1:]]
    step = steps[0] if steps[0] is steps[1] else np.where(output < 0, steps[1], steps[0])
    size = np.abs(output)
    counts = np.divide(size, step, out=np.zeros_like(size), where=np.asarray(step > 0))
    return np.asarray(np.rint(counts), np.float32)


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
        spiking = any(v in sites or graph.types[v].coding is Coding.SPIKE for v in operands)
        yield node, "spiking" if spiking else "direct-coded" if flow.is_direct(node) else "analog"


class _Counter:
    """Totals of one multiplying operation."""

    def __init__(self, graph: Graph, op: Op, kind: Kind) -> None:
        self._graph, self._op, self._kind = graph, op, kind
        self.shaped = tuple(v for v in (*multiplied(op), op.outputs[0]) if v in graph.types)
        behind = (_stream(graph, v) for v in multiplied(op))
        self._spiking = {place: source for place, source in enumerate(behind) if source}
        self.streams = tuple(self._spiking.values())
        self._macs = 0.0
        self._by_stream: list[list[float]] = [[0.0, 0.0] for _ in self._spiking]

    def update(self, counts: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
        op = self._op
        full = {v: tuple(self._graph.consts[v].shape) for v in op.inputs if v in self._graph.consts}
        full |= shapes
        self._macs += macs(op, full)
        operands = multiplied(op)
        spikes = {
            place: counts[source].reshape(full[operands[place]])
            for place, source in self._spiking.items()
        }
        streams = self._product(spikes, full) if len(spikes) > 1 else self._fan(spikes, full)
        for sums, stream in zip(self._by_stream, streams, strict=True):
            sums[0] += stream[0]
            sums[1] += stream[1]

    def _fan(self, spikes: Mapping[int, Array], shapes: Shapes) -> Iterable[tuple[float, float]]:
        """Spikes and events of the only spiking operand, if there is one."""
        for place, count in spikes.items():
            fan = fan_out(self._op, multiplied(self._op)[place], shapes)
            yield _weighted(count, fan), _weighted(count != 0, fan)

    def _product(
        self, spikes: Mapping[int, Array], shapes: Shapes
    ) -> Iterable[tuple[float, float]]:
        """Spikes and events with each spiking operand in turn as the event stream."""
        active = [
            np.asarray(spikes[i] != 0, np.float32) if i in spikes else np.ones(shapes[v])
            for i, v in enumerate(multiplied(self._op))
        ]
        out = shapes[self._op.outputs[0]]
        events = product_count(self._op, active, out)
        for place, count in spikes.items():
            stream = [*active[:place], count, *active[place + 1 :]]
            yield product_count(self._op, stream, out), events

    def layer(self, samples: int) -> Layer:
        """Of several spiking operands the cheapest one is the event stream (spec 2.8)."""
        spikes, events = min(self._by_stream, default=[0.0, 0.0])
        return Layer(
            self._op.loc.names[0],
            self._op.op_type,
            self._kind,
            self._macs / samples,
            spikes / samples,
            events / samples,
        )


def neuron_behind(graph: Graph, value: str) -> str | None:
    """The output of the layer of neurons that `value` holds the spikes of."""
    while value in graph.types and graph.types[value].coding is Coding.SPIKE:
        node = graph.producer[value]
        if isinstance(node, Neuron):
            return value
        value = node.inputs[0]
    return None


_ORDERED = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast")
"""Operations that leave the order of the entries as it is."""


def _stream(graph: Graph, value: str) -> str | None:
    """The value with the spikes of an operand in the operand's order, as near to the neurons as
    that is so; None if the operand holds no spikes."""
    if neuron_behind(graph, value) is None:
        return None
    while (op := graph.op(value, *_ORDERED)) is not None:
        value = op.inputs[0]
    return value


def _weighted(count: Array, fan: Array | float) -> float:
    """Sum of count x fan-out, where fan-out may differ by spatial position."""
    if isinstance(fan, np.ndarray):
        by_position = count.sum(axis=(0, 1), dtype=np.float64)
        return float((by_position * fan).sum())
    return float(count.sum(dtype=np.float64)) * fan


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


def estimate(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Energy:
    """Energy of one sample from the activity stored in the neurons, without running anything.

    A product of spiking activations takes their activities as independent.
    """
    layers = []
    for op, kind in classify(graph):
        full: dict[str, Any] = {v: graph.consts[v].shape for v in op.inputs if v in graph.consts}
        total = macs(op, full | dict(shapes))
        sources = [graph.producer[s] for v in multiplied(op) if (s := neuron_behind(graph, v))]
        active = [n.activity or Activity(0.0, 0.0) for n in sources if isinstance(n, Neuron)]
        spikes, events = _cheapest(active)
        layers.append(
            Layer(op.loc.names[0], op.op_type, kind, total, total * spikes, total * events)
        )
    return Energy(1, tuple(layers))


def _cheapest(active: Sequence[Activity]) -> tuple[float, float]:
    """Spikes and events at a synapse of the operand that is the cheapest event stream."""
    shares = [a.events for a in active]
    spikes = [a.spikes * math.prod(shares[:i] + shares[i + 1 :]) for i, a in enumerate(active)]
    return min(spikes, default=0.0), math.prod(shares) if shares else 0.0
