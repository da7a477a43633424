"""What reaches the values of a graph: the contents of its inputs, and raw inputs themselves."""

from __future__ import annotations

from functools import cached_property

from snnc.ir.graph import Graph
from snnc.ir.node import Node, Op
from snnc.ir.ops import (
    AFFINE,
    LAYOUT,
    RANDOM,
    SHAPE_ONLY,
    SHAPE_READING,
    SYNAPTIC,
    activations,
)

_INTERPOLATING = frozenset({"Resize", "Upsample"})


class Flow:
    """Which values of a graph depend on the data, and which are raw input."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    @cached_property
    def data(self) -> frozenset[str]:
        """Values that depend on the contents of an input, not on its shape alone."""
        found = set(self._graph.inputs)
        for node in self._graph.nodes:
            kind = node.op_type if isinstance(node, Op) else ""
            read = any(v in found for v in node.inputs) and kind not in SHAPE_READING
            if read or kind in RANDOM:
                found.update(v for v in node.outputs if v)
        return frozenset(found)

    @cached_property
    def raw(self) -> frozenset[str]:
        """Values reached from an input through layout, padding, interpolation or constant affine
        operations only (scaling integers is one); integers, such as positions, through retyping
        and layout (spec 2.5)."""
        raw = set(self._graph.inputs)
        for node in self._graph.nodes:
            if isinstance(node, Op) and self._stays_raw(node, raw):
                raw.update(name for name in node.outputs if name)
        return frozenset(raw)

    def _stays_raw(self, op: Op, raw: set[str]) -> bool:
        types = self._graph.types
        if op.op_type in LAYOUT:
            floats = [v for v in op.inputs if v in types and types[v].is_float]
            if not floats:  # integers: not as the index of a Gather, say, nor one-hot
                return op.op_type in SHAPE_ONLY | {"Cast"} and op.inputs[0] in raw
            return all(v in raw for v in floats)
        if op.op_type in _INTERPOLATING:
            return op.inputs[0] in raw
        return self._affine_operand(op) in raw

    def _affine_operand(self, op: Op) -> str | None:
        """The one activation of an operation that is affine in it with constant coefficients."""
        if op.op_type == "DequantizeLinear":
            constant = all(v in self._graph.consts for v in op.inputs[1:] if v)
            return op.inputs[0] if constant else None
        computed = [v for v in op.inputs if v and v not in self._graph.consts]
        if op.op_type not in AFFINE or len(computed) != 1:
            return None
        if op.op_type in ("Div", "BatchNormalization") and op.inputs[0] != computed[0]:
            return None
        return computed[0] if self._graph.types[computed[0]].is_float else None

    def is_direct(self, node: Node) -> bool:
        """Whether the one operand of a synaptic operation that depends on the data is raw."""
        if not isinstance(node, Op) or node.op_type not in SYNAPTIC:
            return False
        values = [v for v in activations(self._graph, node) if v in self.data]
        return len(values) == 1 and values[0] in self.raw

    def is_constant(self, node: Node) -> bool:
        """Whether a node computes the same for all samples of a shape."""
        return not any(v in self.data for v in node.outputs)
