"""Energy accounting: accumulates and multiply-accumulates of every layer (spec 2.8)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from snnc.drives import Kind, classify
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Activity, Array, Neuron, Op
from snnc.ir.ops import MULTIPLYING, multiplied
from snnc.ir.time import repeated
from snnc.runtime import shape_name
from snnc.spike_sums import cancels, with_spike_sums
from snnc.streams import neuron_behind, spike_counts, stream_of
from snnc.synapses import Shapes, fan_out, macs, product_count

PJ_AC, PJ_MAC = 0.9, 4.6
"""Energy of a 32-bit float addition and multiply-accumulate in 45 nm CMOS, picojoule (Horowitz,
ISSCC 2014), as used by the paper."""


@dataclass(frozen=True)
class Layer:
    """Operations of one layer, mean per inference.

    macs: multiply-accumulates of the ANN, padding not counted; spikes: accumulates if a count of
    y is y additions; events: accumulates if it is one; both 0 where the layer stays real. runs: how
    often it is computed, once a timestep where it depends on spikes.
    """

    name: str
    op_type: str
    kind: Kind
    macs: float
    spikes: float
    events: float
    runs: int = 1

    @property
    def real_macs(self) -> float:
        """MACs of the spiking network, of the ANN's layer at every timestep that it stays real."""
        return 0.0 if self.kind == "spiking" else self.macs * self.runs


@dataclass(frozen=True)
class Energy:
    """Energy of the spiking network relative to its ANN (eqs. 43 and 44).

    fired_spikes, fired_events: of all neurons, mean per inference, whatever they reach.
    """

    samples: int
    layers: tuple[Layer, ...]
    pj_ac: float = PJ_AC
    pj_mac: float = PJ_MAC
    fired_spikes: float = 0.0
    fired_events: float = 0.0

    @property
    def ann_macs(self) -> float:
        return sum(layer.macs for layer in self.layers)

    @property
    def analog_macs(self) -> float:
        """MACs that stay real, direct-coded layers included."""
        return sum(layer.real_macs for layer in self.layers)

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
        return layer.spikes * self.pj_ac + layer.real_macs * self.pj_mac

    def summary(self) -> dict[str, float]:
        """The ratios and the analog MACs, as reports print them."""
        return {
            "ratio_spikes": self.ratio_spikes,
            "ratio_events": self.ratio_events,
            "ratio_spikes_eq44": self.ratio_spikes_eq44,
            "analog_macs": self.analog_macs,
        }


class _Fired(NamedTuple):
    """|spike counts| and whether they are not 0, of every row or added up over them."""

    spikes: Array
    events: Array


class EnergyMeter:
    """Counts the operations of a spiking network while it runs, batch by batch.

    A session of `graph` with `taps` and `shapes_of` yields what `update` takes. Whether a layer
    accumulates or multiplies is read from the types of its operands. Over several timesteps
    `graph` adds spikes up where their sum suffices, so that not all of them are held at once.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        folded = repeated(graph)
        self._layers = [_Counter(graph, op, kind, folded) for op, kind in classify(graph)]
        self._active = {n.outputs[0]: [0.0, 0.0, 0.0] for n in graph.neurons}
        streams = [v for counter in self._layers for v in counter.streams]
        self._streams = tuple(dict.fromkeys([*self._active, *streams]))
        whole = {v for counter in self._layers for v in counter.whole}
        over_time = self._streams if graph.timesteps > 1 else ()
        summed = [v for v in over_time if v not in whole]
        counted = [v for v in over_time if v in whole and cancels(graph, v)]
        self.graph, self._fires = with_spike_sums(graph, summed, counted)
        self.taps = tuple(v for each in self._streams for v in self._fires.get(each, (each,)))
        shaped = (v for counter in self._layers for v in counter.shaped)
        self.shapes_of = tuple(dict.fromkeys([*shaped, *self._fires]))
        self.samples = 0

    def update(self, values: Mapping[str, Array], samples: int) -> None:
        """Adds a batch of `samples` samples, run with the meter's taps."""
        fired = {value: self._fired(value, values) for value in self._streams}
        shapes = {v: tuple(int(d) for d in values[shape_name(v)]) for v in self.shapes_of}
        for out, sums in self._active.items():
            sums[0] += float(fired[out].spikes.sum(dtype=np.float64))
            sums[1] += float(fired[out].events.sum(dtype=np.float64))
            entries = math.prod(shapes[out]) if out in self._fires else fired[out].spikes.size
            sums[2] += entries / self._graph.timesteps
        for counter in self._layers:
            counter.update(fired, shapes)
        self.samples += samples

    def _fired(self, value: str, values: Mapping[str, Array]) -> _Fired:
        if value in self._fires:
            return _Fired(*(values[name] for name in self._fires[value]))
        neuron = self._graph.producer[neuron_behind(self._graph, value) or value]
        assert isinstance(neuron, Neuron)
        counts = spike_counts(self._graph, neuron, values[value])
        return _Fired(counts, counts != 0)

    def energy(self, pj_ac: float = PJ_AC, pj_mac: float = PJ_MAC) -> Energy:
        """The totals so far, per sample."""
        if not self.samples:
            raise CompileError("no sample was run, so there is no energy to report")
        layers = tuple(counter.layer(self.samples) for counter in self._layers)
        spikes, events = (
            sum(sums[i] for sums in self._active.values()) / self.samples for i in (0, 1)
        )
        return Energy(self.samples, layers, pj_ac, pj_mac, spikes, events)

    def activity(self) -> dict[str, Activity]:
        """Mean activity of every layer of neurons, by the name of its output."""
        return {
            name: Activity(float(np.float32(total / size)), float(np.float32(events / size)))
            for name, (total, events, size) in self._active.items()
            if size
        }


class _Counter:
    """Totals of one multiplying operation."""

    def __init__(self, graph: Graph, op: Op, kind: Kind, folded: frozenset[str]) -> None:
        """folded: the values that hold rows of every timestep."""
        self._graph, self._op, self._kind = graph, op, kind
        self.shaped = tuple(v for v in (*multiplied(op), op.outputs[0]) if v in graph.types)
        behind = (stream_of(graph, v) for v in multiplied(op))
        self._spiking = {place: source for place, source in enumerate(behind) if source}
        self.streams = tuple(self._spiking.values())
        placed = MULTIPLYING[op.op_type] in ("Conv", "ConvTranspose")
        moved = [v for place, v in self._spiking.items() if v != multiplied(op)[place]]
        self.whole = self.streams if len(self.streams) > 1 else moved if placed else ()
        self._macs = 0.0
        self._folded = folded
        self._runs = graph.timesteps if op.outputs[0] in folded else 1
        self._by_stream: list[list[float]] = [[0.0, 0.0] for _ in self._spiking]

    def update(self, fired: Mapping[str, _Fired], shapes: Mapping[str, tuple[int, ...]]) -> None:
        op = self._op
        full = {v: tuple(self._graph.consts[v].shape) for v in op.inputs if v in self._graph.consts}
        full |= shapes
        self._macs += macs(op, full)
        held = {place: (multiplied(op)[place], fired[v]) for place, v in self._spiking.items()}
        if len(held) > 1:
            counts = {p: each.spikes.reshape(full[v]) for p, (v, each) in held.items()}
            streams = self._product(counts, full)
        else:
            fans = [(each, fan_out(op, value, full)) for value, each in held.values()]
            streams = ([_weighted(e, fan) for e in each] for each, fan in fans)
        for sums, stream in zip(self._by_stream, streams, strict=True):
            sums[:] = np.add(sums, stream)

    def _product(self, spikes: Mapping[int, Array], shapes: Shapes) -> Iterable[Sequence[float]]:
        """Spikes and events with each spiking operand in turn as the event stream.

        At every timestep the spikes of each operand also meet what the other ones held before, so
        that AC = A_t B_t + A_t S_B + S_A B_t (spec 2.7).
        """
        first, *others = shapes[self._op.outputs[0]]
        out = first // self._runs, *others
        plain = self._plain(shapes)

        def count(operands: Mapping[int, Array]) -> float:
            filled = plain | dict(operands)
            return product_count(self._op, [filled[place] for place in sorted(filled)], out)

        totals = {place: np.zeros(2) for place in spikes}
        held = {place: np.zeros(1) for place in spikes}
        unfolded = {place: np.split(array, self._runs) for place, array in spikes.items()}
        for t in range(self._runs):
            now = {place: array[t] for place, array in unfolded.items()}
            fired = {place: np.asarray(array != 0, np.float32) for place, array in now.items()}
            earlier = np.zeros(2)
            for place in now if t else ():
                earlier += [count(held | {place: stream[place]}) for stream in (now, fired)]
            events = count(fired)
            for place, total in totals.items():
                total += np.add(earlier, [count(fired | {place: now[place]}), events])
            held = {p: np.maximum(held[p], array) for p, array in fired.items()}
        for spikes_total, events_total in totals.values():
            yield float(spikes_total), float(events_total)

    def _plain(self, shapes: Shapes) -> dict[int, Array]:
        """Ones for the operands of a product that hold no spikes, at one timestep."""
        found = {}
        for place, value in enumerate(multiplied(self._op)):
            if place not in self._spiking:
                ones = np.ones(shapes[value])
                found[place] = np.split(ones, self._runs)[0] if value in self._folded else ones
        return found

    def layer(self, samples: int) -> Layer:
        """Of several spiking operands the cheapest one is the event stream (spec 2.8)."""
        spikes, events = min(self._by_stream, default=[0.0, 0.0])
        return Layer(
            self._op.loc.names[0],
            self._op.op_type,
            self._kind,
            self._macs / samples / self._runs,
            spikes / samples,
            events / samples,
            self._runs,
        )


def _weighted(count: Array, fan: Array | float) -> float:
    """Sum of count x fan-out, where fan-out may differ by spatial position."""
    if isinstance(fan, np.ndarray):
        rows = count.size // max(fan.size, 1)
        by_position = count.reshape(rows, *fan.shape).sum(axis=0, dtype=np.float64)
        return float((by_position * fan).sum())
    return float(count.sum(dtype=np.float64)) * fan


def estimate(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Energy:
    """Energy of one sample from the activity stored in the neurons, without running anything.

    A product of spiking activations takes their activities as independent.
    """
    layers, folded = [], repeated(graph)
    for op, kind in classify(graph):
        full: dict[str, Any] = {v: graph.consts[v].shape for v in op.inputs if v in graph.consts}
        runs = graph.timesteps if op.outputs[0] in folded else 1
        total = macs(op, full | dict(shapes)) / runs
        sources = [graph.producer[s] for v in multiplied(op) if (s := neuron_behind(graph, v))]
        active = [n.activity or Activity(0.0, 0.0) for n in sources if isinstance(n, Neuron)]
        spikes, events = _cheapest(active)
        layers.append(
            Layer(op.loc.names[0], op.op_type, kind, total, total * spikes, total * events, runs)
        )
    return Energy(1, tuple(layers))


def _cheapest(active: Sequence[Activity]) -> tuple[float, float]:
    """Spikes and events at a synapse of the operand that is the cheapest event stream."""
    shares = [a.events for a in active]
    spikes = [a.spikes * math.prod(shares[:i] + shares[i + 1 :]) for i, a in enumerate(active)]
    return min(spikes, default=0.0), math.prod(shares) if shares else 0.0
