"""Event streams: the spikes that an operand of a layer holds, and the neurons they come from."""

from __future__ import annotations

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Coding, Neuron
from snnc.ir.time import RUNNING_MEAN


def neuron_behind(graph: Graph, value: str) -> str | None:
    """The output of the layer of neurons that `value` holds the spikes of, or their mean so far."""
    value = _instants(graph, value)
    while value in graph.types and graph.types[value].coding is Coding.SPIKE:
        node = graph.producer[value]
        if isinstance(node, Neuron):
            return value
        value = node.inputs[0]
    return None


def _instants(graph: Graph, value: str) -> str:
    """What `value` is the mean so far of; itself, if of nothing."""
    mean = graph.op(value, RUNNING_MEAN)
    return value if mean is None else mean.inputs[0]


_ORDERED = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast")
"""Operations that leave the order of the entries as it is."""


def stream_of(graph: Graph, value: str) -> str | None:
    """The value with the spikes of an operand in the operand's order, as near to the neurons as
    that is so; None if the operand holds no spikes."""
    if neuron_behind(graph, value) is None:
        return None
    value = _instants(graph, value)
    while (op := graph.op(value, *_ORDERED)) is not None:
        value = op.inputs[0]
    return value


def spike_counts(graph: Graph, neuron: Neuron, output: Array) -> Array:
    """|spike count| of every neuron of a layer from its output (threshold x count)."""
    steps = [graph.consts[s] if s else np.float32(1) for s in neuron.inputs[1:]]
    step = steps[0] if steps[0] is steps[1] else np.where(output < 0, steps[1], steps[0])
    size = np.abs(output)
    counts = np.divide(size, step, out=np.zeros_like(size), where=np.asarray(step > 0))
    return np.asarray(np.rint(counts), np.float32)
