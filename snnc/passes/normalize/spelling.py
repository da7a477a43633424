"""Writing one node as several standard operations."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Attribute, Dim, Op, Type, real
from snnc.ir.ops import ONNX_TYPE

Shape: TypeAlias = tuple[Dim, ...]

_DTYPE = {"Shape": "int64"} | dict.fromkeys(
    ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal", "And", "Or", "Not"), "bool"
)
"""Element types of results that do not have the type of the first input."""


def shape_of(graph: Graph, value: str) -> Shape | None:
    """The shape of a constant or a typed value, None for an unknown rank (or an absent value)."""
    if value in graph.consts:
        return tuple(graph.consts[value].shape)
    return graph.types[value].shape if value in graph.types else None


def dim_of(graph: Graph, value: str, axis: int) -> int | None:
    """The size of one axis where it is known."""
    shape = shape_of(graph, value)
    dim = shape[axis] if shape and -len(shape) <= axis < len(shape) else None
    return dim if isinstance(dim, int) else None


class Spelling:
    """Operations that take the place of `node`, in the order written; all keep its original names.

    Shapes of the new values are left to shape inference.
    """

    def __init__(self, graph: Graph, node: Op) -> None:
        self.graph, self.node = graph, node
        self._nodes: list[Op] = []
        self._types: dict[str, Type] = {}
        self._consts: dict[str, Array] = {}
        self._made = 0

    def dtype(self, value: str) -> str:
        """Element type of an old or a new value."""
        for types in (self._types, self.graph.types):
            if value in types:
                return types[value].dtype
        return str((self._consts if value in self._consts else self.graph.consts)[value].dtype)

    def const(self, value: Array | float, dtype: str) -> str:
        """A new constant."""
        name = self._fresh()
        self._consts[name] = np.array(value, dtype)
        return name

    def ints(self, *values: int) -> str:
        """A new constant vector of axes, sizes or positions."""
        return self.const(np.array(values), "int64")

    def op(
        self,
        op_type: str,
        *inputs: str,
        into: str = "",
        dtype: str = "",
        attrs: Mapping[str, Attribute] = MappingProxyType({}),
        **more: Attribute,
    ) -> str:
        """The result of a new operation. into: the value it computes, if that exists already."""
        return self._add(op_type, inputs, (into or self._fresh(),), dtype, {**attrs, **more})[0]

    def split(self, value: str, sizes: tuple[int, ...], axis: int) -> tuple[str, ...]:
        """The consecutive parts of a value."""
        outputs = tuple(self._fresh() for _ in sizes)
        return self._add("Split", (value, self.ints(*sizes)), outputs, "", {"axis": axis})

    def cast(self, value: str, dtype: str) -> str:
        """`value` in another element type."""
        return self.op("Cast", value, dtype=dtype, to=ONNX_TYPE[dtype])

    def size(self, value: str, axis: int) -> str:
        """The run-time size of one axis, a vector of one number."""
        return self.op("Shape", value, start=axis, end=axis + 1)

    def done(self) -> Replacement:
        """What takes the place of the node."""
        return Replacement(tuple(self._nodes), self._types, self._consts)

    def _add(
        self,
        op_type: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        dtype: str,
        attrs: dict[str, Attribute],
    ) -> tuple[str, ...]:
        source = inputs[1] if op_type == "Where" else inputs[0]
        kind = real(dtype or _DTYPE.get(op_type) or self.dtype(source), None)
        self._types.update((v, kind) for v in outputs if v not in self.graph.types)
        self._nodes.append(Op(outputs, inputs, self.node.loc, op_type, attrs))
        return outputs

    def _fresh(self) -> str:
        base = next(filter(None, self.node.outputs))
        while True:
            name = f"{base}/{self._made}"
            self._made += 1
            if name not in self.graph.types and name not in self.graph.consts:
                return name
