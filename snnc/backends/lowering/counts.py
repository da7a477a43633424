"""Neurons that emit 8-bit counts: those whose spikes integer layers read."""

from __future__ import annotations

import numpy as np

from snnc.errors import CompileError
from snnc.ir.composed import Composed, neuron_attributes
from snnc.ir.graph import DOMAIN, Graph
from snnc.ir.node import Array, Neuron, Node, Op
from snnc.ir.ops import SHAPE_ONLY
from snnc.ir.rate_neuron import LARGEST_COUNT

_NO_BYTES = frozenset({"DepthToSpace", "SpaceToDepth"})
"""Layout that not every supported onnxruntime runs on bytes."""


def moves_counts(graph: Graph, node: Node) -> bool:
    """Whether an operation moves counts as well as it moves numbers."""
    return (
        isinstance(node, Op)
        and node.op_type in SHAPE_ONLY - _NO_BYTES
        and not any(v in graph.outputs for v in node.outputs)
    )


def counting_neuron(graph: Graph, value: str) -> Neuron | None:
    """The layer of neurons whose spikes `value` holds, if it can hold their counts instead."""
    node = graph.producer.get(value)
    while node is not None and moves_counts(graph, node):
        value = node.inputs[0]
        node = graph.producer.get(value)
    return node if isinstance(node, Neuron) and value not in graph.outputs else None


def count_operation(neuron: Neuron) -> Op:
    """The neuron that emits counts in place of threshold x count."""
    made = Composed(neuron=neuron.model, sides=neuron.sides, count=True)
    attrs = neuron_attributes(neuron)
    return Op(neuron.outputs, neuron.inputs, neuron.loc, f"{DOMAIN}.{made.name}", attrs)


def step_of(graph: Graph, neuron: Neuron) -> Array:
    """The threshold of both signs, a scalar (1 for neurons that never fire)."""
    steps = [graph.consts[step].reshape(()) for step in neuron.inputs[1:] if step]
    return steps[0] if steps else np.array(1, np.float32)


def check_counts(graph: Graph, neuron: Neuron, reader: Op) -> None:
    """CompileError if the spikes of a neuron are not threshold x a count that fits 8 bits."""
    steps = [graph.consts[step] for step in neuron.inputs[1:] if step]
    largest, top = LARGEST_COUNT[neuron.sides], neuron.model.top
    if any(step.size > 1 for step in steps):
        raise _refusal(graph, neuron, reader, "its neurons have thresholds of their own", None)
    if len(steps) > 1 and steps[0] != steps[1]:
        message = "positive and negative spikes have different thresholds"
        raise _refusal(graph, neuron, reader, message, "--polarity shared")
    if top > largest:
        message = f"spike counts reach {top}, which does not fit 8 bits ({largest})"
        raise _refusal(graph, neuron, reader, message, "--levels dense, or with smaller --m")


def _refusal(
    graph: Graph, neuron: Neuron, reader: Op, message: str, options: str | None
) -> CompileError:
    layer = reader.loc.names[0]
    help = f"compile with {options}; " if options else ""
    return graph.error(
        f"the integer layer '{layer}' cannot read these spikes: {message}",
        neuron,
        help=f"{help}or with float synapses",
    )
