"""What a value holds while a network is simulated: numbers, or spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Neuron
from snnc.streams import spike_counts


@dataclass(frozen=True, eq=False)
class Spikes:
    """Spike counts of neurons, moved by layout or not.

    counts: signed, int32; numbers: what they stand for, step x count, float32, of the same shape;
    step: the one step of all neurons and both signs, None where there are several.
    """

    counts: Array
    numbers: Array
    step: np.float32 | None


Value: TypeAlias = Array | Spikes


def numbers(value: Value) -> Array:
    """A value as ordinary operations read it."""
    return value.numbers if isinstance(value, Spikes) else value


def steps_of(graph: Graph, neuron: Neuron) -> tuple[Array, Array]:
    """The step of positive and of negative spikes, 0 of a dead branch."""
    positive, negative = (
        graph.consts[v] if v else np.zeros((), np.float32) for v in neuron.inputs[1:]
    )
    return positive, negative


def single_step(positive: Array, negative: Array) -> np.float32 | None:
    """The one step of all living branches; 1 if none lives."""
    found = {float(step) for each in (positive, negative) for step in each.flat} - {0.0}
    if len(found) > 1:
        return None
    return np.float32(found.pop()) if found else np.float32(1)


def spikes_of(graph: Graph, neuron: Neuron, output: Array) -> Spikes:
    """The spikes that an output of neurons (step x count) stands for."""
    counts = np.sign(output) * spike_counts(graph, neuron, output)
    return Spikes(counts.astype(np.int32), output, single_step(*steps_of(graph, neuron)))
