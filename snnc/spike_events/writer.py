"""Writes operations that count spikes behind those of a network of spike times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Attribute, Loc, Node, Op, Type, real
from snnc.ir.ops import ONNX_TYPE, multiplied


class EventWriter:
    """A graph and operations behind it, float32 of unknown shape unless said.

    source: the graph to count in.
    """

    def __init__(self, source: Graph) -> None:
        self.source = source
        self._nodes: list[Node] = []
        self._types: dict[str, Type] = {}
        self._consts: dict[str, Array] = {}
        self._totals: dict[str, str] = {}

    @property
    def graph(self) -> Graph:
        """The source with all that was written."""
        source = self.source
        return replace(
            source,
            nodes=(*source.nodes, *self._nodes),
            types={**source.types, **self._types},
            consts={**source.consts, **self._consts},
        )

    def op(self, kind: str, *read: str, **attrs: Attribute) -> str:
        """A new operation with one result."""
        return self._written(kind, read, attrs, 1)[0]

    def like(self, op: Op, kind: str, x: str) -> str:
        """An operation of a kind on x, with the other inputs and the attributes of another one."""
        return self.op(kind, x, *op.inputs[1:], **dict(op.attrs))

    def results(self, op: Op, read: Sequence[str]) -> list[str]:
        """The same operation on other values."""
        return self._written(op.op_type, tuple(read), dict(op.attrs), len(op.outputs))

    def _written(
        self, kind: str, read: tuple[str, ...], attrs: dict[str, Attribute], count: int
    ) -> list[str]:
        names = [self._fresh() for _ in range(count)]
        self._nodes.append(Op(tuple(names), read, Loc((names[0],)), kind, attrs))
        return names

    def _fresh(self, dtype: str = "float32") -> str:
        taken = self._types
        name = self.source.fresh(f"counted.{len(taken)}", taken)
        self._types[name] = real(dtype, None)
        return name

    def constant(self, array: Array) -> str:
        """A constant, written once for each use."""
        name = self.source.fresh(f"counting.{len(self._consts)}", self._consts)
        self._consts[name] = array
        return name

    def add(self, a: str, b: str) -> str:
        return self.op("Add", a, b)

    def sum(self, values: Iterable[str]) -> str:
        return reduce(self.add, values)

    def log(self, x: str, shift: np.float32) -> str:
        """ln(x + shift)."""
        return self.op("Log", self.op("Add", x, self.constant(np.asarray(shift))))

    def total(self, value: str) -> str:
        """The sum over all entries, in double precision."""
        if value not in self._totals:
            wide = self.op("Cast", value, to=ONNX_TYPE["float64"])
            found = self.op("ReduceSum", wide, keepdims=0)
            self._types |= {v: real("float64", None) for v in (wide, found)}
            self._types[found] = real("float64", ())
            self._totals[value] = found
        return self._totals[value]

    def above(self, value: str, low: float) -> str:
        """1 where a value is larger than `low`, else 0."""
        least = self.constant(np.asarray(low, np.float32))
        larger = self.op("Greater", value, least)
        self._types[larger] = real("bool", None)
        return self.op("Cast", larger, to=ONNX_TYPE["float32"])

    def ones(self, value: str) -> str:
        """1 in the shape of a value."""
        return self._filled(value, 1.0)

    def zeros(self, value: str) -> str:
        """0 in the shape of a value."""
        return self._filled(value, 0.0)

    def _filled(self, value: str, number: float) -> str:
        return self.op("ConstantOfShape", self._shape(value), value=np.full(1, number, np.float32))

    def _shape(self, value: str) -> str:
        shape = self.op("Shape", value)
        self._types[shape] = real("int64", None)
        return shape

    def silent(self, value: str) -> str:
        """What stands for an input that no spikes reach: zeros for numbers, else itself."""
        if value in self.source.consts:
            return self.zeros(value) if self.source.consts[value].dtype.kind == "f" else value
        floats = value in self.source.types and self.source.types[value].is_float
        return self.zeros(value) if floats else value

    def alike(self, a: str, b: str) -> bool:
        """Whether two values are known to have one shape."""
        mine, theirs = self.source.types[a].shape, self.source.types[b].shape
        return mine is not None and mine == theirs and None not in mine

    def spread(self, x: str, value: str) -> str:
        """x in the shape of a value that it broadcasts to."""
        return self.op("Expand", x, self._shape(value))

    def summed(self, x: str, axis: int, keep: bool = True) -> str:
        """Sums along an axis."""
        axes = self.constant(np.array([axis], np.int64))
        return self.op("ReduceSum", x, axes, keepdims=int(keep))

    def weighted(self, op: Op, driven: str, events: str) -> str:
        """Events at the results of a layer whose operand `driven` holds spikes."""
        place = op.inputs.index(driven)
        ranks = {len(self._dims(v)) for v in multiplied(op)}
        if op.op_type == "MatMul" and min(ranks) > 1:
            return self.spread(self.summed(events, -2 if place else -1), op.outputs[0])
        if op.op_type == "Conv" and not place and op.integer("group", 1) == 1:
            kernel = self._dims(op.inputs[1])
            if all(isinstance(d, int) for d in kernel):
                ones = np.ones((1, 1, *(int(d) for d in kernel[2:] if isinstance(d, int))))
                one = self.constant(ones.astype(np.float32))
                planes = self.op("Conv", self.summed(events, 1), one, **dict(op.attrs))
                return self.spread(planes, op.outputs[0])
        read = [events if v == driven else self.ones(v) for v in multiplied(op)]
        return self.op(op.op_type, *read, **self._unscaled(op))

    def _unscaled(self, op: Op) -> dict[str, Attribute]:
        """Attributes of a layer without those that scale its result."""
        return {k: v for k, v in op.attrs.items() if k not in ("alpha", "beta")}

    def _dims(self, value: str) -> tuple[int | str | None, ...]:
        array = self.source.consts.get(value)
        return tuple(array.shape) if array is not None else self.source.types[value].shape or ()
