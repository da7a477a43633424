"""Which cell of which layer computes each entry of each value of a graph."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from snnc.backends.schedule.connecting import BY_ENTRY, RETYPING, kind_of, neurons_of
from snnc.backends.schedule.layers import NOWHERE, Connection, Layer, Network
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Neuron, Node, Op, real
from snnc.ir.ops import LAYOUT, SHAPE_READING
from snnc.ir.spike_times import (
    fires,
)
from snnc.ir.time import LAST, REPEAT, repeated
from snnc.ir.weights import is_weight
from snnc.membrane.reference import Reference

_FIRST = frozenset({"Expand", "Tile", REPEAT, LAST})

_MOVING = (LAYOUT | _FIRST) - RETYPING - SHAPE_READING


_CARRIED = {
    "Concat": slice(None),
    "Where": slice(1, None),
    "ScatterND": slice(0, None, 2),
    "ScatterElements": slice(0, None, 2),
}
"""The operands whose entries become those of the result, if not the first one alone."""


def chip_layers(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Network:
    """The layers of a spiking graph. shapes: run-time shapes of all values for one sample; over T
    timesteps with T rows where values depend on time."""
    return _Cells(graph, shapes).network()


class _Cells:
    def __init__(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._graph, self._shapes = graph, shapes
        self._data = Flow(graph).data
        self._folded = repeated(graph)
        self._perform = Reference(graph)
        self._static: dict[str, Array] = dict(graph.consts)
        self._at: dict[str, Array] = {}
        self._layers: list[Layer] = []
        self._homes: dict[str, Array] = {}
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._readers_left = {v: len(readers) for v, readers in graph.readers.items()}

    def network(self) -> Network:
        for name in self._graph.inputs:
            self._at[name] = self._new(name, name, (), ())
        for node in self._graph.nodes:
            self._visit(node)
            found = [v for v in node.outputs if v in self._at]
            self._sizes.update((v, self._once(v).shape) for v in found)
            self._forget(node)
        outputs = {v: self._once(v) for v in self._graph.outputs if v in self._at}
        shapes = {v: self._sizes.get(v, self._shapes[v]) for v in self._shapes if v in self._data}
        layers = _told_apart(self._layers)
        return Network(self._graph, layers, shapes, self._homes, outputs, self._shapes)

    def _forget(self, node: Node) -> None:
        """Lets go of cells that no later node reads."""
        for name in dict.fromkeys(filter(None, node.inputs)):
            self._readers_left[name] -= 1
            if not self._readers_left[name] and name not in self._graph.outputs:
                self._at.pop(name, None)

    def _visit(self, node: Node) -> None:
        if isinstance(node, Op) and self._data.isdisjoint(node.outputs):
            self._evaluate(node)
        elif isinstance(node, Op) and self._moves(node):
            self._move(node)
        elif isinstance(node, Neuron) or fires(node):
            self._join(node, node.inputs[:1])
        elif isinstance(node, Op) and (node.op_type in BY_ENTRY or node.op_type in RETYPING):
            self._join(node, node.inputs)
        else:
            self._add(node)

    def _evaluate(self, op: Op) -> None:
        """A value that is the same for all samples."""
        if op.op_type in SHAPE_READING and op.inputs[0] in self._shapes:
            shape = np.array(self._shapes[op.inputs[0]], np.int64)
            if op.op_type == "Size":
                shape = np.asarray(shape.prod())
            else:
                shape = shape[slice(op.integer("start", 0), op.attrs.get("end"))]
            self._static[op.outputs[0]] = shape
            return
        if is_weight(self._graph, op.outputs[0]):
            return
        inputs = [self._static[v] if v else None for v in op.inputs]
        results = self._perform(op, inputs)
        self._static.update(zip(op.outputs, results, strict=True))

    def _moves(self, op: Op) -> bool:
        """Whether an operation places entries by rules that do not depend on the data."""
        if op.op_type not in _MOVING:
            return False
        carried = op.inputs[_CARRIED.get(op.op_type, slice(1))]
        return not any(v in self._data for v in op.inputs if v not in carried)

    def _move(self, op: Op) -> None:
        if op.op_type in (REPEAT, LAST):
            rows = self._shapes[op.outputs[0]][0]
            cells = self._at[op.inputs[0]]
            self._at[op.outputs[0]] = (
                np.concatenate([cells] * (rows // max(len(cells), 1)))
                if op.op_type == REPEAT
                else cells[-rows:]
            )
            return
        carried = op.inputs[_CARRIED.get(op.op_type, slice(1))]
        read = [self._placed(v, v in carried) if v else None for v in op.inputs]
        types = {v: replace(t, dtype="int64") for v, t in self._graph.types.items() if t.is_float}
        if op.op_type == "Pad":
            zero = self._graph.fresh("zero")
            read = [*read[:2], np.zeros((), np.int64), *read[3:]]
            op = replace(op, inputs=(*op.inputs[:2], zero, *op.inputs[3:]))
            types[zero] = real("int64", ())
        perform = Reference(replace(self._graph, types={**self._graph.types, **types}))
        moved = [array + NOWHERE for array in perform(op, read)]
        self._at.update(zip(op.outputs, moved, strict=True))

    def _placed(self, value: str, carried: bool) -> Array:
        """The cells of a value, counted from 1 as operations fill up with zeros (Pad, Trilu); of a
        constant that is carried along: 0, nowhere."""
        if value in self._at:
            return self._at[value] - NOWHERE
        array = self._static[value]
        return np.zeros(array.shape, np.int64) if carried else array

    def _join(self, node: Node, candidates: Sequence[str]) -> None:
        """Computed in the cells of the latest operand that has one for each entry of the result."""
        shape = self._shapes[node.outputs[0]]
        read = [v for v in candidates if v in self._at and self._at[v].size]
        homes = [self._at[v] for v in read if self._is_home(v, shape)]
        if not homes:
            self._add(node)
            return
        home = max(homes, key=lambda cells: int(cells.max())).reshape(shape)
        index = self._layer_at(int(home.max()))
        layer = self._layers[index]
        new = self._connections(node, index)
        if any(int(each.cells.max()) >= layer.start + layer.cells for each in new):
            self._add(node)  # what it reads besides is computed behind that layer
            return
        if any(self._crosses(v, home, layer) for v in dict.fromkeys(node.inputs) if v in self._at):
            self._add(node)
            return
        self._layers[index] = replace(
            layer, nodes=(*layer.nodes, node), connections=(*layer.connections, *new)
        )
        self._set(node, home)

    def _crosses(self, value: str, home: Array, layer: Layer) -> bool:
        """Whether cells of a layer would read other cells of the same layer."""
        cells = np.broadcast_to(self._at[value], home.shape)
        inside = (cells >= layer.start) & (cells < layer.start + layer.cells)
        return bool((inside & (cells != home)).any())

    def _is_home(self, value: str, shape: tuple[int, ...]) -> bool:
        cells, once = self._at[value], self._once(value)
        if cells.size != math.prod(shape) or once.min() == NOWHERE:
            return False
        if self._layers[self._layer_at(int(once.min()))].is_input:
            return False
        same = self._layer_at(int(once.min())) == self._layer_at(int(once.max()))
        return same and len(np.unique(once)) == once.size

    def _layer_at(self, cell: int) -> int:
        starts = [layer.start for layer in self._layers]
        return int(np.searchsorted(starts, cell, side="right") - 1)

    def _add(self, node: Node) -> None:
        """A layer of its own."""
        connections = self._connections(node, len(self._layers))
        name = node.loc.names[0] if node.loc.names else node.outputs[0]
        self._set(node, self._new(node.outputs[0], name, (node,), connections))

    def _set(self, node: Node, cells: Array) -> None:
        self._at[node.outputs[0]] = cells
        self._homes[node.outputs[0]] = self._once(node.outputs[0])
        for extra in filter(None, node.outputs[1:]):
            read = (replace(c, kind="gather") for c in self._connections(node, len(self._layers)))
            self._at[extra] = self._new(extra, extra, (node,), tuple(read))
            self._homes[extra] = self._once(extra)

    def _new(
        self, value: str, name: str, nodes: tuple[Node, ...], connections: tuple[Connection, ...]
    ) -> Array:
        start = self._layers[-1].start + self._layers[-1].cells if self._layers else 0
        axis, shape = self._new_time_axis(value, nodes), self._shapes[value]
        if axis is not None:
            shape = (*shape[:axis], shape[axis] // self._graph.timesteps, *shape[axis + 1 :])
        channel = 1 if nodes and _is_convolution(nodes[0]) else max(len(shape) - 1, 0)
        self._layers.append(Layer(name, start, shape, channel, nodes, connections))
        once = np.arange(start, start + math.prod(shape), dtype=np.int64).reshape(shape)
        cells = once if axis is None else np.concatenate([once] * self._graph.timesteps, axis)
        if not nodes:
            self._homes[value] = once
        return cells

    def _connections(self, node: Node, layer: int) -> tuple[Connection, ...]:
        found = []
        for place, value in enumerate(node.inputs):
            if value not in self._at or not self._at[value].size:
                continue
            cells = self._once(value)
            inside = cells[cells != NOWHERE]
            if layer < len(self._layers) and inside.size:
                own = self._layers[layer]
                inside = inside[(inside < own.start) | (inside >= own.start + own.cells)]
            if inside.size:
                kind, neurons = (
                    kind_of(node, self._data),
                    neurons_of(self._graph, value, self._data),
                )
                found.append(Connection(node, place, kind, cells, neurons))
        return tuple(found)

    def _time_axis(self, value: str) -> int | None:
        """The axis along which a value has its cells once for each timestep."""
        steps, cells = self._graph.timesteps, self._at[value]
        for axis, size in enumerate(cells.shape if value in self._folded else ()):
            if size % steps == 0:
                pieces = cells.reshape(*cells.shape[:axis], steps, -1, *cells.shape[axis + 1 :])
                if (pieces == pieces.take([0], axis)).all():
                    return axis
        return None

    def _once(self, value: str) -> Array:
        """The cells of a value at one timestep."""
        axis, cells = self._time_axis(value), self._at[value]
        if axis is None:
            return cells
        return cells.take(range(cells.shape[axis] // self._graph.timesteps), axis)

    def _new_time_axis(self, value: str, nodes: tuple[Node, ...]) -> int | None:
        """The axis of a result that all timesteps lie along: that of an operand, else the first
        that they can lie along."""
        shape = self._shapes[value]
        read = [v for node in nodes for v in node.inputs if v in self._at and self._at[v].size]
        axes = [self._time_axis(v) for v in read] + [*range(len(shape))]
        if value not in self._folded:
            return None
        fits = (a for a in axes if a is not None and a < len(shape))
        return next((a for a in fits if shape[a] % self._graph.timesteps == 0), None)


def _is_convolution(node: Node) -> bool:
    return isinstance(node, Op) and node.op_type in ("Conv", "ConvTranspose")


def _told_apart(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers under names that differ: NAME, NAME#2 ..."""
    seen: Counter[str] = Counter()
    found = []
    for layer in layers:
        seen[layer.name] += 1
        again = seen[layer.name] > 1
        found.append(replace(layer, name=f"{layer.name}#{seen[layer.name]}") if again else layer)
    return tuple(found)
