"""The state of a conversion to spike times: what every value has become, and the nodes so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Attribute, Dim, Loc, Node, Op, Role, Site, Type, real
from snnc.ir.ops import SHAPE_READING
from snnc.passes.spike_times.forms import Form, Value

SILENT = -1e38
"""Potential of a neuron that a mask silences."""

BOOL = real("bool", None)


class Walk:
    """Goes over a graph once; rules ask what values are, and add nodes."""

    def __init__(self, graph: Graph, mask_inputs: frozenset[str] = frozenset()) -> None:
        """mask_inputs: float inputs, and what is made of them, that masks are made of."""
        self.graph, self.mask_inputs = graph, mask_inputs
        self.values: dict[str, Value] = {}
        self.decoded: set[str] = set()  # of the host, but made of what spikes said
        self.nodes: list[Node] = []
        self.types: dict[str, Type] = dict(graph.types)
        self.consts: dict[str, Array] = dict(graph.consts)
        self._timed: dict[Value, Value] = {}
        self._settled: dict[Value, Value] = {}
        self._sited: set[str] = set()
        self._names: set[str] = set()
        self._readers = {
            value: sum(node.inputs.count(value) for node in readers if not _reads_shape(node))
            + (value in graph.outputs)
            for value, readers in graph.readers.items()
        }

    def value(self, name: str) -> Value:
        """What a value of the original graph has become; constants are on the host."""
        return self.values.get(name, Value(name, Form.HOST))

    def used(self, name: str) -> Value:
        """The same for one of its readers, which knows nothing of masks: numbers that the host has
        from spikes have to be encoded for it."""
        value = self.settled(self.scores(name))
        if value.is_host and name in self.decoded and self.types[name].is_float:
            return Value(value.name, Form.SOURCE)
        return value

    def scores(self, name: str) -> Value:
        """The same for a reader that may get a masked value: a potential that several read becomes
        spikes first."""
        value = self.value(name)
        summed = value.form in (Form.POTENTIAL, Form.CLIPPED)
        return self.timed(value) if summed and self._readers.get(name, 0) > 1 else value

    def settled(self, value: Value) -> Value:
        """The value with the numbers that the network has where a mask silences neurons."""
        if not value.gate:
            return value
        if value not in self._settled:
            numbers, kind = self.synaptic(value), self.type_of(value)
            inputs = [value.gate, numbers.name, value.filled]
            name = self.add("Where", inputs, self._loc(value.name), kind)
            self._settled[value] = Value(name, Form.POINTWISE, name)
        return self._settled[value]

    def timed(self, value: Value) -> Value:
        """Its spikes: those that it is, or those of neurons behind it."""
        if value.form is Form.TIME:
            return value
        if value not in self._timed:
            self._timed[value] = self.fire(value)
        return self._timed[value]

    def synaptic(self, value: Value) -> Value:
        """In a form that synapses hand on; what the host knows as it is."""
        return value if value.is_synaptic or value.is_host else self.timed(value)

    def fire(self, value: Value, role: Role = "spike time", loc: Loc | None = None) -> Value:
        """Spikes of neurons whose potential is `value`."""
        kind, read = self.type_of(value), value.name
        loc = loc or self._loc(read)
        if value.gate:
            read = self._silenced(value, 0.0 if role == "softmax" else SILENT, loc)
        if read in self._sited:
            read = self.add("Identity", [read], loc, kind)
        self._sited.add(read)
        name = self.fresh(f"{value.name}.spikes", kind)
        inputs = (read, value.gate) if value.gate else (read,)
        self.nodes.append(Site((name,), inputs, loc, role))
        return Value(name, Form.TIME, name, value.gate, value.filled)

    def _silenced(self, value: Value, number: float, loc: Loc) -> str:
        """The potential, far below any range where the gate is closed."""
        kind = self.type_of(value)
        least = self.constant(f"{value.name}.silent", np.array(number, kind.dtype))
        return self.add("Where", [value.gate, value.name, least], loc, kind)

    def _loc(self, name: str) -> Loc:
        made = (node.loc for node in reversed(self.nodes) if name in node.outputs)
        return next(made, Loc((name,)))

    def add(
        self,
        op_type: str,
        inputs: Sequence[str],
        loc: Loc,
        type: Type,
        attrs: Mapping[str, Attribute] | None = None,
    ) -> str:
        """A new operation; the name of its result, which has `type`."""
        name = self.fresh(f"{loc.names[0]}.{op_type.rpartition('.')[2]}", type)
        self.nodes.append(Op((name,), tuple(inputs), loc, op_type, attrs or {}))
        return name

    def keep(self, op: Op, inputs: Sequence[str], form: Form, origin: str = "") -> None:
        """The operation as it stands, on what its inputs have become; `form` of its results.

        origin: of the results; '' for spikes that are no function of earlier ones.
        """
        self.nodes.append(replace(op, inputs=tuple(inputs)))
        for name in filter(None, op.outputs):
            self.values[name] = Value(name, form, origin or name)

    def alias(self, op: Op, value: Value) -> None:
        """The operation's result is `value`."""
        self.values[op.outputs[0]] = value

    def constant(self, base: str, array: Array) -> str:
        """The name of a new constant."""
        name = self._free(base)
        self.consts[name] = array
        return name

    def number(self, base: str, value: float) -> str:
        """The name of a new float constant of no dimensions."""
        return self.constant(base, np.array(value, np.float32))

    def fresh(self, base: str, type: Type) -> str:
        """A new value of that type."""
        name = self._free(base)
        self.types[name] = type
        return name

    def _free(self, base: str) -> str:
        name = self.graph.fresh(base, self._names)
        self._names.add(name)
        return name

    def type_of(self, value: Value) -> Type:
        """Type of a value of the new graph."""
        return self.types.get(value.name) or _type_of(self.consts[value.name])

    def reduced(self, value: Value, axes: Sequence[int]) -> Type:
        """Type of a value whose `axes` have shrunk to 1."""
        kind = self.type_of(value)
        if kind.shape is None:
            return kind
        shape: list[Dim] = list(kind.shape)
        for axis in axes:
            shape[axis] = 1
        return replace(kind, shape=tuple(shape))


def _reads_shape(node: Node) -> bool:
    return isinstance(node, Op) and node.op_type in SHAPE_READING


def _type_of(array: Array) -> Type:
    return real(str(array.dtype), array.shape)
