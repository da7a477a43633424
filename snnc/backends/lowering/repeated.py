"""Neurons that read the same input at every timestep, which then is not written out for each."""

from __future__ import annotations

from snnc.backends.lowering.drive import parts_of, together
from snnc.ir.composed import PARTS, Composed, neuron_attributes
from snnc.ir.graph import DOMAIN, Graph, Replacement
from snnc.ir.node import Neuron, Node, Op
from snnc.ir.time import REPEAT


def repeat_in_neurons(graph: Graph) -> Graph:
    """Every Repeat that one layer of neurons reads alone becomes part of it."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Neuron):
            return None
        repeat = graph.op(node.inputs[0], REPEAT)
        if repeat is None or graph.only_reader(node.inputs[0]) is not node:
            return None
        parts = (repeat, node)
        made = Composed(neuron=node.model, sides=node.sides, over_time=True, repeated=True)
        attrs = neuron_attributes(node) | {PARTS: parts_of(parts)}
        inputs = (repeat.inputs[0], *node.inputs[1:])
        return Replacement(
            (Op(node.outputs, inputs, together(parts), f"{DOMAIN}.{made.name}", attrs),)
        )

    return graph.rewrite(rule)
