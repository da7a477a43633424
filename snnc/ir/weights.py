"""Constant weights: arrays, or integers that a DequantizeLinear scales.

Weights of integer synapses are int8 without a zero point; those that a trained network came with
have one, and are computed with as the numbers that they stand for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op


@dataclass(frozen=True)
class Quantized:
    """Weights of int8. scale: float32, one number or one for each entry along `axis`."""

    values: Array
    scale: Array
    axis: int

    @property
    def array(self) -> Array:
        """The weights that the integers stand for, float32."""
        scale = self.scale
        if scale.ndim:
            along = [1] * self.values.ndim
            along[self.axis] = -1
            scale = scale.reshape(along)
        return np.asarray(self.values.astype(np.float32) * scale)

    @property
    def transposed(self) -> Quantized:
        """A matrix of weights with its axes swapped."""
        return Quantized(np.ascontiguousarray(self.values.T), self.scale, 1 - self.axis)


def is_weight(graph: Graph, value: str) -> bool:
    """Whether a value is a constant, or integers that are constant up to their scale."""
    if value in graph.consts:
        return True
    op = graph.op(value, "DequantizeLinear")
    return op is not None and all(v in graph.consts for v in op.inputs if v)


def quantized(graph: Graph, value: str) -> Quantized | None:
    """The int8 weights (without zero point) that `value` stands for; None for any other value."""
    op = graph.op(value, "DequantizeLinear")
    if op is None or not is_weight(graph, value) or any(op.inputs[2:]):
        return None
    values, scale = (graph.consts[v] for v in op.inputs[:2])
    if values.dtype != np.int8 or scale.dtype != np.float32 or op.integer("block_size", 0):
        return None
    axis = op.integer("axis", 1)
    if scale.ndim > 1 or not values.ndim or not -values.ndim <= axis < values.ndim:
        return None
    if scale.ndim and scale.size == 1:
        scale = scale.reshape(())
    return Quantized(values, scale, axis % values.ndim)


def weight(graph: Graph, value: str) -> Array | None:
    """The weights that a value holds; None if they are computed or of another form."""
    op = graph.op(value, "DequantizeLinear")
    if op is None or not is_weight(graph, value):
        return graph.consts.get(value)
    integers, scale = graph.consts[op.inputs[0]], graph.consts[op.inputs[1]]
    shape = scale_shape(integers.ndim, op, scale)
    if shape is None:
        return None
    whole = integers.astype(np.int64)
    if any(op.inputs[2:]):
        whole = whole - graph.consts[op.inputs[2]].astype(np.int64).reshape(shape)
    return np.asarray(whole.astype(np.float32) * scale.reshape(shape))


def scale_shape(rank: int, op: Op, scale: Array) -> tuple[int, ...] | None:
    """The shape in which the scale of a DequantizeLinear broadcasts against integers of that rank;
    None for another form of scale."""
    axis = op.integer("axis", 1)
    if scale.dtype != np.float32 or scale.ndim > 1 or op.integer("block_size", 0):
        return None
    if scale.size == 1:
        return ()
    return (-1, *[1] * (rank - 1 - axis % rank)) if -rank <= axis < rank else None


def imported_weights(graph: Graph) -> tuple[Op, ...]:
    """The operations that scale the integer weights of a quantised network."""
    return tuple(
        node
        for node in graph.nodes
        if isinstance(node, Op)
        and node.op_type == "DequantizeLinear"
        and any(node.inputs[2:])
        and all(v in graph.consts for v in node.inputs)
    )


def with_plain_weights(graph: Graph) -> Graph:
    """The graph with the integer weights that it was imported with as numbers."""
    arrays = {op.outputs[0]: weight(graph, op.outputs[0]) for op in imported_weights(graph)}
    plain = {name: array for name, array in arrays.items() if array is not None}
    nodes = tuple(node for node in graph.nodes if node.outputs[0] not in plain)
    return replace(graph, nodes=nodes, consts={**graph.consts, **plain}).pruned()


def quantized_layers(graph: Graph) -> tuple[Op, ...]:
    """The operations that read int8 weights."""
    return tuple(
        node
        for node in graph.nodes
        if isinstance(node, Op) and any(quantized(graph, v) is not None for v in node.inputs)
    )
