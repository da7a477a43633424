"""Which weights can be integers: those of layers that spikes drive."""

from __future__ import annotations

from collections.abc import Iterator

from snnc.ir.graph import Graph
from snnc.ir.node import Coding, Op
from snnc.ir.ops import operands
from snnc.passes.linear_layer import LinearLayer, linear_layer


def integer_layers(graph: Graph) -> Iterator[tuple[Op, LinearLayer | str]]:
    """Every operation that spikes drive, with its weights, or with why it takes float numbers."""
    for node in graph.nodes:
        if isinstance(node, Op) and any(_spiking(graph, v) for v in operands(node)):
            yield node, linear_layer(graph, node)


def is_product(graph: Graph, op: Op) -> bool:
    """Whether an operation multiplies spikes by spikes: matrices of integers without weights."""
    return op.op_type == "MatMul" and all(
        _spiking(graph, v) and graph.types[v].dtype == "float32" for v in operands(op)
    )


def _spiking(graph: Graph, value: str) -> bool:
    return value in graph.types and graph.types[value].coding is Coding.SPIKE
