"""Energy of a network of spike times: what its neurons sent, and to how many synapses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from snnc.energy import PJ_AC, PJ_MAC
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.ops import multiplied
from snnc.runtime import shape_name
from snnc.spike_events import CountedLayer, Counts, Kind, windows, with_spike_events
from snnc.spike_time_operations import Operations
from snnc.synapses import macs


@dataclass(frozen=True)
class SpikeTimeLayer:
    """A layer of neurons (one of each window, if it relays), or what is read out; mean per sample.

    operations: synapses that its spikes come over, each of which gets one at most; events: those
    that got one. assumed: its neurons were taken to fire all.
    """

    name: str
    op_type: str
    kind: Kind
    window: int | None
    neurons: float
    spikes: float
    operations: float
    events: float
    assumed: bool = False

    @property
    def silent(self) -> float:
        """Share of neurons that did not fire."""
        return 1.0 - self.spikes / self.neurons if self.neurons else 0.0

    def summary(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "op": self.op_type,
            "kind": self.kind,
            "window": self.window,
            "neurons": self.neurons,
            "spikes": self.spikes,
            "silent_share": self.silent,
            "operations": self.operations,
            "events": self.events,
            "assumed_to_fire": self.assumed,
        }


@dataclass(frozen=True)
class SpikeTimeEnergy:
    """Energy of a network of spike times relative to the trained one, mean per sample.

    paper: operations of both by the shapes of the trained network; analog_macs:
    multiply-accumulates that no spikes drive; windows: latency.
    """

    samples: int
    paper: Operations
    layers: tuple[SpikeTimeLayer, ...]
    analog_macs: float
    windows: int
    log_exp: bool = False
    pj_ac: float = PJ_AC
    pj_mac: float = PJ_MAC

    def of(self, *kinds: Kind) -> Iterable[SpikeTimeLayer]:
        """The layers of some kinds."""
        return (layer for layer in self.layers if layer.kind in kinds)

    @property
    def operations(self) -> float:
        """Synaptic events if every neuron fired."""
        return sum(layer.operations for layer in self.layers)

    @property
    def events(self) -> float:
        """Synaptic events that occurred."""
        return sum(layer.events for layer in self.layers)

    @property
    def silent_share(self) -> float:
        """Share of silent neurons, relays and neurons that were taken to fire left out."""
        seen = [x for x in self.of("neurons", "max", "product") if not x.assumed]
        neurons = sum(layer.neurons for layer in seen)
        return 1.0 - sum(layer.spikes for layer in seen) / neurons if neurons else 0.0

    @property
    def ratio_operations(self) -> float:
        """Energy if every neuron fired, over that of the trained network."""
        return self._ratio(self.operations)

    @property
    def ratio_events(self) -> float:
        """Energy of what occurred, over that of the trained network."""
        return self._ratio(self.events)

    def _ratio(self, accumulates: float) -> float:
        analog = self.paper.ratio(self.analog_macs, self.pj_mac, self.pj_mac)
        return self.paper.ratio(accumulates, self.pj_ac, self.pj_mac) + analog

    def summary(self) -> dict[str, Any]:
        """As reports print it; ratios are to the operations of the trained network (eq. 28)."""
        paper = self.paper
        consistent = paper.log_exp if self.log_exp else paper.quarter
        relays, others = list(self.of("relay")), list(self.of("neurons", "max", "product"))
        return {
            "table3_operations": paper.table3,
            "table3_neurons": paper.neurons,
            "ratio_table3": paper.ratio(paper.table3, self.pj_ac, self.pj_mac),
            "consistent_operations": consistent,
            "ratio_consistent": paper.ratio(consistent, self.pj_ac, self.pj_mac),
            "operations": self.operations,
            "ratio_operations": self.ratio_operations,
            "events": self.events,
            "ratio_events": self.ratio_events,
            "analog_macs": self.analog_macs,
            "neurons": sum(layer.neurons for layer in others),
            "spikes": sum(layer.spikes for layer in others),
            "silent_share": self.silent_share,
            "relay_neurons": sum(layer.neurons for layer in relays),
            "relay_spikes": sum(layer.spikes for layer in relays),
            "windows": self.windows,
            "layers": [layer.summary() for layer in self.layers],
        }


class SpikeTimeMeter:
    """Counts the spikes and synaptic events of a network of spike times while it runs.

    A session of `graph` with `taps` and `shapes_of` yields what `update` takes: sums over a batch,
    no activations.
    """

    def __init__(self, graph: Graph) -> None:
        counted = with_spike_events(graph)
        self.graph, self._counted, self._analog = counted.graph, counted.layers, counted.analog
        counts = (c for x in self._counted for c in (x.occurred, x.everything))
        named = (value for c in counts for value, _ in (c.events, c.spikes) if value)
        self.taps = tuple(dict.fromkeys(named))
        shaped = (v for op in self._analog for v in (*multiplied(op), op.outputs[0]))
        self.shapes_of = tuple(dict.fromkeys(v for v in shaped if v in graph.types))
        self._sums = dict.fromkeys(self.taps, 0.0)
        self._macs = 0.0
        self.samples = 0

    def update(self, values: Mapping[str, Array], samples: int) -> None:
        """Adds a batch of `samples` samples, run with the meter's taps."""
        for name in self.taps:
            self._sums[name] += float(values[name])
        shapes = {v: tuple(int(d) for d in values[shape_name(v)]) for v in self.shapes_of}
        for op in self._analog:
            held = {v: self.graph.consts[v].shape for v in op.inputs if v in self.graph.consts}
            self._macs += macs(op, held | shapes)
        self.samples += samples

    def energy(
        self, paper: Operations, pj_ac: float = PJ_AC, pj_mac: float = PJ_MAC
    ) -> SpikeTimeEnergy:
        """The totals so far, per sample; paper: operations of the trained network."""
        if not self.samples:
            raise CompileError("no sample was run, so there is no energy to report")
        return SpikeTimeEnergy(
            self.samples,
            paper,
            tuple(self._layer(x) for x in self._counted),
            self._macs / self.samples,
            windows(self.graph),
            any("LogExp" in x.op_type for x in self._counted),
            pj_ac,
            pj_mac,
        )

    def _layer(self, x: CountedLayer) -> SpikeTimeLayer:
        neurons, operations = self._of(x.everything)
        spikes, events = self._of(x.occurred)
        return SpikeTimeLayer(
            x.name, x.op_type, x.kind, x.window, neurons, spikes, operations, events, x.assumed
        )

    def _of(self, counts: Counts) -> tuple[float, float]:
        """Spikes and events of a sample."""
        found = (
            self._sums.get(value, 0.0) * factor / self.samples
            for value, factor in (counts.spikes, counts.events)
        )
        spikes, events = found
        return spikes, events
