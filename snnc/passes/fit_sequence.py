"""Thresholds of least error and corrected biases, layer by layer as the spikes arrive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Neuron, Node, Site
from snnc.ir.rate_neuron import finite_step
from snnc.passes.bias_shifts import BiasShift, add_batch, shifted
from snnc.passes.channels import by_channel, instants_by_channel
from snnc.passes.own_biases import with_own_biases
from snnc.passes.side_by_side import Compared, SideBySide, Station, spiking_of

if TYPE_CHECKING:
    from snnc.passes.fit_thresholds import FitThresholds

FRACTIONS = np.arange(1, 25, dtype=np.float32) / 24
"""Of a channel's maximum: the thresholds that are tried."""

ROWS = 4096
"""Entries of a channel on which errors are measured, at most."""

ENTRIES = 2**25
"""Entries of all channels and timesteps together, of one layer."""

BLOCK = 2**20
"""Entries of all timesteps that thresholds are tried on at a time, but of one channel at least."""


def fitted_in_sequence(fit: FitThresholds, graph: Graph) -> Graph:
    """A calibrated graph, whose thresholds are maxima, with those of least error."""
    return _Sequence(fit, graph).graph()


@dataclass
class _Pairs:
    """Entries of the trained [channels, n] and the spiking network [T, channels, n], by batch."""

    wanted: list[Array]
    found: list[Array]

    def blocks(self) -> Iterator[tuple[slice, Array, Array]]:
        """Some channels, and the entries of all batches there: joined whole they would take as
        much memory again."""
        channels = len(self.wanted[0])
        width = max(1, BLOCK * channels // sum(array.size for array in self.found))
        for start in range(0, channels, width):
            some = slice(start, start + width)
            wanted = np.concatenate([array[some] for array in self.wanted], 1)
            yield some, wanted, np.concatenate([array[:, some] for array in self.found], 2)


class _Sequence:
    def __init__(self, fit: FitThresholds, graph: Graph) -> None:
        self._fit = fit
        self._graph, self._biases = with_own_biases(graph) if fit.rule.correct else (graph, {})
        spiking = spiking_of(self._graph, fit.neuron, fit.scale, fit.polarity, fit.timesteps)
        self._neurons = _neurons(self._graph, spiking)
        self._both = SideBySide(self._graph, spiking, self._stations(), fit.samples)

    def _stations(self) -> list[Station]:
        sites = [
            Station(tuple(filter(None, neuron.inputs[1:])), site.inputs[0], neuron.inputs[0])
            for site, neuron in self._neurons.values()
        ]
        return sites + [Station((b.name,), b.value, b.value) for b in self._biases.values()]

    def graph(self) -> Graph:
        """Sites and biases in the order in which spikes reach them."""
        done, total = 0, len(self._neurons) + len(self._biases)
        for stations, batches in self._both.rounds():
            pairs, shifts = self._compared(stations, batches)
            for station, each in pairs.items():
                self._fit_site(*self._neurons[station.changes[0]], each)
            for station, shift in shifts.items():
                self._correct(station.changes[0], shift)
            done += len(stations)
            self._fit.progress(done, total)
        return self._graph

    def _compared(
        self, stations: Sequence[Station], batches: Iterator[Compared]
    ) -> tuple[dict[Station, _Pairs], dict[Station, BiasShift]]:
        """What the batches show: entries at sites, differences behind layers."""
        sites = [s for s in stations if s.changes[0] in self._neurons]
        pairs = {station: _Pairs([], []) for station in sites}
        shifts = {
            station: BiasShift(self._graph, self._biases[station.found])
            for station in stations
            if station not in pairs
        }
        for batch in batches:
            for station, each in pairs.items():
                self._add(each, station, batch, len(sites))
            for station, shift in shifts.items():
                add_batch(shift, self._biases[station.found], batch, self._fit.timesteps)
        return pairs, shifts

    def _add(self, pairs: _Pairs, station: Station, batch: Compared, sites: int) -> None:
        """sites: how many share the memory of a round."""
        site, _ = self._neurons[station.changes[0]]
        real, spikes = batch.wanted[station.wanted], batch.found[station.found]
        timesteps = self._fit.timesteps
        channels = real.shape[site.axis] if site.axis else 1
        most = min(ROWS, ENTRIES // (channels * timesteps * sites))
        limit = max(1, round(most * batch.share))
        pairs.wanted.append(by_channel(real, site.axis, limit))
        pairs.found.append(instants_by_channel(spikes, site.axis, timesteps, limit))

    def _fit_site(self, site: Site, neuron: Neuron, pairs: _Pairs) -> None:
        chosen = self._least(site, neuron, pairs)

        def rule(node: Node) -> Replacement | None:
            same = node.outputs == site.outputs and isinstance(node, Site)
            return Replacement((replace(site, thresholds=chosen),)) if same else None

        self._graph = self._graph.rewrite(rule)
        spiking = self._both.spiking
        consts = dict(spiking.consts)
        for name, thetas in zip(neuron.inputs[1:], chosen, strict=True):
            if name:
                steps = self._fit.neuron.steps_for(thetas, self._fit.scale)
                consts[name] = np.array(steps, np.float32).reshape(consts[name].shape)
        self._both.spiking = replace(spiking, consts=consts)

    def _correct(self, name: str, shift: BiasShift) -> None:
        d = shift.shift()
        self._graph = shifted(self._graph, name, d)
        self._both.spiking = shifted(self._both.spiking, name, d)

    def _least(
        self, site: Site, neuron: Neuron, pairs: _Pairs
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The thresholds of least mean squared error, of positive inputs first."""
        assert site.thresholds is not None
        highest = [np.array(thetas, np.float32) for thetas in site.thresholds]
        chosen = [
            self._least_of(neuron, [h[some] for h in highest], wanted, found)
            for some, wanted, found in pairs.blocks()
        ]
        positive, negative = (np.concatenate(each) for each in zip(*chosen, strict=True))
        return tuple(float(t) for t in positive), tuple(float(t) for t in negative)

    def _least_of(
        self, neuron: Neuron, highest: list[Array], wanted: Array, found: Array
    ) -> list[Array]:
        """Thresholds of each sign [channels] for entries [channels, n] and [T, channels, n]."""
        current = list(highest)
        signs = ((0, 1),) if self._fit.shared else ((0,), (1,))
        for both in signs:
            if not any(highest[sign].any() for sign in both):
                continue
            errors = []
            for fraction in FRACTIONS:
                tried = [h * fraction if s in both else current[s] for s, h in enumerate(highest)]
                errors.append(np.square(wanted - self._emitted(neuron, found, tried)).mean(1))
            best = FRACTIONS[_last_least(np.stack(errors))]
            for sign in both:
                current[sign] = np.asarray(highest[sign] * best, np.float32)
        return current

    def _emitted(self, neuron: Neuron, found: Array, thetas: list[Array]) -> Array:
        """Mean output [channels, n] for inputs [T, channels, n], at lambda = 1."""
        model = neuron.model
        steps = [
            np.array([finite_step(model.step_of(float(t), 1.0)) for t in each], np.float32)
            for each in thetas
        ]
        positive, negative = (s[:, None] for s in steps)
        if len(found) == 1:
            return model.step(found[0], positive, negative)
        return np.asarray(model.over_time(found, positive, negative).mean(0))


def _last_least(errors: Array) -> Array:
    """Index of the least error [candidates, channels], of equals the last: the fewest spikes."""
    return np.asarray(len(errors) - 1 - errors[::-1].argmin(0))


def _neurons(graph: Graph, spiking: Graph) -> dict[str, tuple[Site, Neuron]]:
    """Sites with thresholds and their neurons, by the first step of each neuron that fires."""
    found = {}
    for site in graph.sites:
        if site.thresholds is None:
            continue
        node = spiking.producer[site.outputs[0]]
        if not isinstance(node, Neuron):  # a Cast, where activations are not float32
            node = spiking.producer[node.inputs[0]]
        assert isinstance(node, Neuron)
        if node.sides != "silent":
            found[node.inputs[1] or node.inputs[2]] = site, node
    return found
