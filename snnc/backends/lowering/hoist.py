"""Neurons in front of layout, where they meet the layer that drives them."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Coding, Neuron, Node, Op
from snnc.ir.ops import PERMUTING
from snnc.ir.weights import quantized_layers


def hoist_neurons(graph: Graph) -> Graph:
    """Moves neurons with one threshold to before operations that keep every entry once.

    In networks with integer layers: counts are moved more cheaply than numbers.
    """
    if not quantized_layers(graph):
        return graph
    while True:
        layouts = {
            layout.outputs[0]: neuron
            for neuron in graph.neurons
            if (layout := _layout(graph, neuron))
        }
        if not layouts:
            return graph
        graph = _moved(graph, layouts)


def _moved(graph: Graph, layouts: dict[str, Neuron]) -> Graph:
    gone = {neuron.outputs[0] for neuron in layouts.values()}
    taken: set[str] = set()

    def rule(node: Node) -> Replacement | None:
        neuron = layouts.get(node.outputs[0])
        if neuron is None or not isinstance(node, Op):
            return Replacement(()) if node.outputs[0] in gone else None
        x, out = node.inputs[0], neuron.outputs[0]
        base = f"{x}.spikes"
        spikes = graph.fresh(base if base not in taken else f"{base}.{out}")
        taken.add(base)
        earlier = replace(neuron, outputs=(spikes,), inputs=(x, *neuron.inputs[1:]))
        layout = replace(node, inputs=(spikes, *node.inputs[1:]), outputs=(out,))
        kind = replace(graph.types[x], coding=Coding.SPIKE)
        return Replacement((earlier, layout), {spikes: kind})

    return graph.rewrite(rule)


def _layout(graph: Graph, neuron: Neuron) -> Op | None:
    """The operation that a neuron can swap places with."""
    value = neuron.inputs[0]
    op = graph.op(value, *PERMUTING)
    scalar = all(graph.consts[step].size == 1 for step in neuron.inputs[1:] if step)
    if op is None or not scalar or graph.only_reader(value) is not neuron:
        return None
    return op if op.inputs[0] in graph.types else None
