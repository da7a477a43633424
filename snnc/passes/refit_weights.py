"""RefitWeights: weights by least squares on the spikes that a layer gets, not on what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.data import Samples
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Op
from snnc.ir.rate_neuron import Polarity, RateNeuron
from snnc.passes.linear_layer import LinearLayer, linear_layer, scattered
from snnc.passes.masking import Masking, masking_of
from snnc.passes.own_biases import OwnBias, with_own_biases
from snnc.passes.ridge import Change, Rows, refit
from snnc.passes.side_by_side import Compared, SideBySide, Station, spiking_of
from snnc.reservoir import runs

ROWS, NUMBERS = 2**14, 2**25
"""Rows of a layer's inputs that are looked at, fewer where they hold more numbers than this."""


@dataclass(frozen=True)
class RefitWeights:
    """(W', b') = argmin sum |W x + b - W' x_spikes - b'|^2 + c |W' - W|^2 for layers on spikes,
    c by cross-validation between halves of the samples (see snnc.passes.ridge).

    Layers are refitted in the order in which spikes reach them, each on the spikes that it gets
    from layers refitted before; W x + b is that of the graph that comes in, so that the pass runs
    once, and last among those that change thresholds. Layers stay that share their weights, whose
    weights are no plain float32 matrix or stretched by a Gemm's alpha, and those on sites that
    spike at some places only. scale, polarity: with which steps the network will run (see
    AssignThresholds); mask_input: an input [samples, positions], whose zeros are left out;
    progress: told how many layers are done, of how many.
    """

    neuron: RateNeuron
    samples: Samples
    scale: float = 1.0
    polarity: Polarity = "separate"
    timesteps: int = 1
    mask_input: str | None = None
    progress: Callable[[int, int], None] = lambda done, total: None

    name: ClassVar[str] = "refit-weights"
    before: ClassVar[Stage] = Stage.CALIBRATED
    after: ClassVar[Stage] = Stage.CALIBRATED

    def __call__(self, graph: Graph) -> Graph:
        graph, biases = with_own_biases(graph)
        layers = {each.linear.weights: each for each in _layers(graph, biases.values())}
        spiking = spiking_of(graph, self.neuron, self.scale, self.polarity, self.timesteps)
        stations = [
            Station((name,), each.linear.op.outputs[0], each.linear.spikes)
            for name, each in layers.items()
        ]
        both = SideBySide(graph, spiking, stations, self.samples)
        mask = masking_of(graph, self.mask_input, [s.wanted for s in stations], self.samples)
        done = 0
        for each, batches in both.rounds():
            here = [layers[name] for station in each for name in station.changes]
            halves = [_Halves(layer, graph, mask, self.samples.count or 0) for layer in here]
            for batch in batches:
                for seen in halves:
                    seen.add(batch, self.timesteps)
            for layer, seen in zip(here, halves, strict=True):
                change = refit(seen.rows)
                if change is not None:
                    graph = _changed(graph, layer, change)
                    both.spiking = _changed(both.spiking, layer, change)
            done += len(each)
            self.progress(done, len(stations))
        return graph


@dataclass(frozen=True)
class _Layer:
    """bias: name of the constant vector that is added to the layer's results."""

    linear: LinearLayer
    bias: str


def _layers(graph: Graph, biases: Iterable[OwnBias]) -> list[_Layer]:
    found = []
    for bias in biases:
        reader = graph.only_reader(bias.name)
        if isinstance(reader, Op) and reader.op_type == "Add":
            reader = next(filter(None, (graph.op(v, "MatMul") for v in reader.inputs)), None)
        if not isinstance(reader, Op) or float(reader.attrs.get("alpha", 1.0)) != 1.0:  # type: ignore[arg-type]
            continue
        linear = linear_layer(graph, reader)
        if isinstance(linear, LinearLayer) and graph.only_reader(linear.weights) is reader:
            found.append(_Layer(linear, bias.name))
    return found


class _Halves:
    """Rows of one layer's inputs, and what its results lack there, of every other run of samples
    and of those between."""

    def __init__(self, layer: _Layer, graph: Graph, mask: Masking | None, samples: int) -> None:
        self.rows: tuple[list[Rows], list[Rows]] = [], []
        self._linear, self._mask = layer.linear, mask
        self._run, self._done = runs(samples), 0
        self._matrix = layer.linear.matrix(graph.consts[layer.linear.weights])
        inside = layer.bias in layer.linear.op.inputs
        bias = graph.consts[layer.bias] if inside else np.zeros(1, np.float32)
        self._bias = bias.reshape(len(self._matrix) if inside else 1, 1, -1)

    def add(self, batch: Compared, timesteps: int) -> None:
        """Adds some rows of a batch, over several timesteps their means."""
        linear, width = self._linear, self._matrix.shape[0] * self._matrix.shape[2]
        wanted, spikes = batch.wanted[linear.op.outputs[0]], batch.found[linear.spikes]
        if timesteps > 1:
            spikes = spikes.reshape(timesteps, -1, *spikes.shape[1:]).mean(0)
        every = self._real(wanted, batch)
        limit = max(1, round(min(ROWS, NUMBERS // width) * batch.share))
        some = every[scattered(len(every), limit)]
        inputs = linear.rows(spikes, wanted.shape, some)
        groups = linear.results(wanted, some)
        with np.errstate(over="ignore", invalid="ignore"):
            wrong = groups - inputs @ np.swapaxes(self._matrix, 1, 2) - self._bias
        sample = self._done + some * batch.samples // max(linear.count(wanted.shape), 1)
        self._done += batch.samples
        for half, rows in enumerate(self.rows):
            mine = self._run[sample] % 2 == half
            if mine.any():
                rows.append(Rows(inputs[:, mine], wrong[:, mine]))

    def _real(self, wanted: Array, batch: Compared) -> Array:
        """The numbers of the rows that no mask leaves out."""
        every = np.arange(self._linear.count(wanted.shape))
        if self._mask is None:
            return every
        axis = 1 - wanted.ndim if self._linear.kernel else -1
        numbers = every.reshape(np.moveaxis(wanted, axis, -1).shape[:-1])
        value = self._linear.op.outputs[0]
        numbers = np.expand_dims(numbers, axis)
        return np.asarray(self._mask.by_channel(value, numbers, axis, batch.feeds)[0])


def _changed(graph: Graph, layer: _Layer, change: Change) -> Graph:
    weights, bias = graph.consts[layer.linear.weights], graph.consts[layer.bias]
    matrix = layer.linear.matrix(weights) + np.swapaxes(change.weights, 1, 2)
    new = {
        layer.linear.weights: layer.linear.restored(matrix, weights).astype(weights.dtype),
        layer.bias: (bias + change.biases.reshape(bias.shape)).astype(bias.dtype),
    }
    return replace(graph, consts={**graph.consts, **new})
