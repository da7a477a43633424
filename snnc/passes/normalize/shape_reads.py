"""Shape arithmetic reads the shape of a value where it was first that shape."""

from __future__ import annotations

from dataclasses import replace

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Node, Op
from snnc.ir.ops import ELEMENTWISE, SHAPE_READING


def read_shapes_early(graph: Graph) -> Graph:
    """Shape and Size of an elementwise function's result become those of its input.

    So that a ReLU that only neurons read otherwise can become part of them.
    """

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or node.op_type not in SHAPE_READING:
            return None
        value = node.inputs[0]
        while (op := graph.op(value, *ELEMENTWISE)) is not None and op.outputs[0] == value:
            value = op.inputs[0]
        if value == node.inputs[0]:
            return None
        return Replacement((replace(node, inputs=(value,)),))

    return graph.rewrite(rule)
