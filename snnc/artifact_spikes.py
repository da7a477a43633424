"""The spikes that an artifact emits in onnxruntime, whatever form its operations give them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snnc.backends.lowering import lower
from snnc.ir.channels_last import channels_first, held_channels_last
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.rate_neuron import ZERO_POINT
from snnc.ir.spike_times import has_spike_times
from snnc.neurons.ttfs import spike_ticks
from snnc.runtime import Session
from snnc.simulator.values import steps_of
from snnc.spike_recording import timings


class ArtifactSpikes:
    """An artifact in onnxruntime that tells what its neurons emit.

    What neurons emit is step x count, and of spike times the ticks from the start of their window
    (-1: none), by the name of their result.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph, self._lowered = graph, lower(graph)
        self._timings = timings(graph) if has_spike_times(graph) else ()
        self._neurons = {neuron.outputs[0]: neuron for neuron in graph.neurons}
        self.names = tuple(layer.name for layer in self._timings) or tuple(self._neurons)
        self._channels_last = held_channels_last(self._lowered)
        self.session = Session(self._lowered, taps=self.names)

    def run(self, feeds: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """The network's outputs, and what its neurons emit."""
        values = self.session.run(feeds)
        outputs = {name: values[name] for name in self._graph.outputs}
        if self._timings:
            return outputs, {
                x.name: spike_ticks(values[x.name], x.low, x.high, x.ticks) for x in self._timings
            }
        return outputs, {name: self._emitted(name, values[name]) for name in self.names}

    def _emitted(self, name: str, value: Array) -> Array:
        """Step x count in the layout of the network: integer layers emit counts, channels last."""
        neuron = self._neurons[name]
        if name in self._channels_last:
            value = np.transpose(value, channels_first(value.ndim))
        if value.dtype != np.uint8:
            return value
        positive, negative = steps_of(self._graph, neuron)
        counts = value.astype(np.float32) - ZERO_POINT[neuron.sides]
        return np.asarray(counts * np.where(counts < 0, negative, positive), np.float32)
