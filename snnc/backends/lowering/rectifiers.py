"""Neurons behind a Relu that others need: what computes the activation then has one reader."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Neuron, Node, Op


def share_rectifiers(graph: Graph) -> Graph:
    """Neurons of positive spikes beside a Relu read its result: they rectify all the same.

    The Relu then can be computed with the layer in front of it, by kernels or by onnxruntime.
    """
    rectified = {
        neuron.inputs[0]: relu
        for neuron in graph.neurons
        if neuron.sides == "positive" and (relu := _relu_beside(graph, neuron)) is not None
    }
    moved = {relu.outputs[0] for relu in rectified.values()}

    def rule(node: Node) -> Replacement | None:
        if node.outputs[0] in moved:
            return Replacement(())
        if isinstance(node, Neuron) and node.sides == "positive" and node.inputs[0] in rectified:
            relu = rectified[node.inputs[0]]
            return Replacement((replace(node, inputs=(relu.outputs[0], *node.inputs[1:])),))
        behind = [rectified[v] for v in node.outputs if v in rectified]
        return Replacement((node, *behind)) if behind else None

    return graph.rewrite(rule)


def _relu_beside(graph: Graph, neuron: Neuron) -> Op | None:
    """The Relu that reads what the neuron reads; none where that is rectified already."""
    value = neuron.inputs[0]
    readers = graph.readers.get(value, ()) if value in graph.producer else ()
    relus = (node for node in readers if isinstance(node, Op) and node.op_type == "Relu")
    return None if graph.op(value, "Relu") else next(relus, None)
