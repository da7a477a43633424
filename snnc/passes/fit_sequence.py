"""Thresholds of least error and corrected biases, layer by layer as the spikes arrive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Neuron, Node, Op, Site
from snnc.ir.ops import rectifier_bound
from snnc.ir.rate_neuron import finite_step
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.channels import by_channel, instants_by_channel
from snnc.passes.fold_time import FoldTime
from snnc.passes.own_biases import OwnBias, with_own_biases
from snnc.passes.softmax_max import SoftmaxMax
from snnc.passes.substitute import Substitute
from snnc.runtime import Session, batch_size

if TYPE_CHECKING:
    from snnc.passes.fit_thresholds import FitThresholds

FRACTIONS = np.arange(1, 25, dtype=np.float32) / 24
"""Of a channel's maximum: the thresholds that are tried."""

SHIFTS = np.arange(-20, 21, dtype=np.float32) / 20
"""Of a channel's standard deviation: the shifts of a bias that are tried."""

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
        self._trained = self._graph
        self._spiking = self._substituted()
        self._samples = fit.samples

    def _substituted(self) -> Graph:
        fit = self._fit
        graph = AssignThresholds(fit.neuron, fit.scale, fit.polarity)(self._graph)
        graph = SoftmaxMax(fit.neuron)(graph)
        graph = Substitute(fit.neuron, timesteps=fit.timesteps)(graph)
        return FoldTime(fit.timesteps)(graph)

    def graph(self) -> Graph:
        """Sites and biases in the order in which spikes reach them."""
        sites = {s.outputs[0]: s for s in self._graph.sites if s.thresholds is not None}
        done, total = 0, len(sites) + len(self._biases)
        for node in self._graph.nodes:
            name = node.outputs[0]
            if name in sites:
                self._fit_site(sites[name])
            elif name in self._biases:
                self._correct(self._biases[name])
            else:
                continue
            done += 1
            self._fit.progress(done, total)
        return self._graph

    def _fit_site(self, site: Site) -> None:
        neuron = self._neuron(site)
        if neuron.sides == "silent":
            return
        pairs = self._pairs(site.inputs[0], site.outputs[0], neuron.inputs[0], neuron, site.axis)
        chosen = self._least(site, neuron, pairs)
        fitted = replace(site, thresholds=chosen)
        self._graph = self._graph.rewrite(lambda n: Replacement((fitted,)) if n == site else None)
        consts = dict(self._spiking.consts)
        for name, thetas in zip(neuron.inputs[1:], chosen, strict=True):
            if name:
                steps = self._fit.neuron.steps_for(thetas, self._fit.scale)
                consts[name] = np.array(steps, np.float32).reshape(consts[name].shape)
        self._spiking = replace(self._spiking, consts=consts)

    def _neuron(self, site: Site) -> Neuron:
        node = self._spiking.producer[site.outputs[0]]
        if not isinstance(node, Neuron):  # a Cast, where activations are not float32
            node = self._spiking.producer[node.inputs[0]]
        assert isinstance(node, Neuron)
        return node

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

    def _correct(self, bias: OwnBias) -> None:
        """Shifts a bias so that the layer's output, rectified if only that is read, is nearest."""
        node = self._graph.producer[bias.value]
        pairs = self._pairs(bias.value, bias.value, bias.value, node, bias.axis, means=True)
        wanted, found = np.concatenate(pairs.wanted, 1), np.concatenate(pairs.found, 2)[0]
        reader = self._graph.only_reader(bias.value)
        bound = rectifier_bound(self._graph, reader) if isinstance(reader, Op) else None
        if bound is None:
            shift = (wanted - found).mean(1)
        else:
            unit, target = wanted.std(1, keepdims=True), np.clip(wanted, 0, bound)
            errors = [
                np.square(target - np.clip(found + s * unit, 0, bound)).mean(1) for s in SHIFTS
            ]
            shift = SHIFTS[np.stack(errors).argmin(0)] * unit[:, 0]
        self._graph = _shifted(self._graph, bias.name, shift)
        self._spiking = _shifted(self._spiking, bias.name, shift)

    def _pairs(
        self, wanted: str, end: str, found: str, node: Node, axis: int, *, means: bool = False
    ) -> _Pairs:
        """Entries of `wanted` in the trained network up to `end`, and of `found` in the spiking
        one up to `node`. means: only over time, as if of one timestep."""
        ann, snn = _upto(self._trained, end), _upto(self._spiking, node.outputs[0])
        timesteps = self._fit.timesteps if found not in self._spiking.outputs else 1
        sessions = Session(ann, taps=(wanted,)), Session(snn, taps=(found,))
        size = min(batch_size(ann, (wanted,)), batch_size(snn, (found,)))
        pairs = _Pairs([], [])
        for feeds in self._samples.batches(size):
            real, spikes = (session.run(feeds) for session in sessions)
            channels = real[wanted].shape[axis] if axis else 1
            most = min(ROWS, ENTRIES // (channels * timesteps))
            limit = max(1, round(most * self._samples.size_of(feeds) / (self._samples.count or 1)))
            pairs.wanted.append(by_channel(real[wanted], axis, limit))
            over_time = instants_by_channel(spikes[found], axis, timesteps, limit)
            pairs.found.append(over_time.mean(0, keepdims=True) if means else over_time)
        return pairs


def _last_least(errors: Array) -> Array:
    """Index of the least error [candidates, channels], of equals the last: the fewest spikes."""
    return np.asarray(len(errors) - 1 - errors[::-1].argmin(0))


def _upto(graph: Graph, value: str) -> Graph:
    return replace(graph, outputs=(value,)).pruned()


def _shifted(graph: Graph, name: str, shift: Array) -> Graph:
    old = graph.consts[name]
    new = (old + shift.reshape(old.shape)).astype(old.dtype)
    return replace(graph, consts={**graph.consts, name: new})
