"""A graph without composed operations: nodes, types, what 8-bit counts stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snnc.frontend.raising.layers import BEFORE, RECOMPILE, Counts, Layer, geometry_of, layers_of
from snnc.frontend.raising.layout import move_channels_first
from snnc.ir.composed import PARTS, Composed, composed, without_neuron
from snnc.ir.functions import MAX_POOL_COUNTS
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Dim, Loc, Node, Op, real
from snnc.ir.ops import SHAPE_ONLY
from snnc.ir.parse import make_node
from snnc.ir.rate_neuron import ZERO_POINT
from snnc.ir.time import REPEAT, RUNNING_MEAN


def raise_operations(graph: Graph) -> Graph:
    """The graph in layers and neurons, with their original names and activity.

    Raises CompileError for spike counts that are read in a way that lowering never writes.
    """
    if not any(isinstance(node, Op) and composed(node) for node in graph.nodes):
        return graph
    graph = move_channels_first(graph)
    raised = _Raised(graph)
    for node in graph.nodes:
        raised.add(node)
    nodes = tuple(raised.nodes)
    return replace(graph, nodes=nodes, types=raised.types, consts=raised.consts).pruned()


class _Raised:
    """The nodes so far. counts: what values of 8-bit counts stand for."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.nodes: list[Node] = []
        self.types, self.consts = dict(graph.types), dict(graph.consts)
        self.counts: dict[str, Counts] = {}
        self._same: dict[str, str] = {}
        self._made: set[str] = set()
        pools = (n for n in graph.nodes if isinstance(n, Op) and n.op_type == MAX_POOL_COUNTS)
        self._pools = {v: op for op in pools for v in op.inputs if graph.only_reader(v) is op}

    def add(self, node: Node) -> None:
        """Raises one node."""
        if isinstance(node, Op) and node.op_type == MAX_POOL_COUNTS:
            if node.outputs[0] not in self.counts:  # not raised together with what fires into it
                raise self._graph.error("pools what is no neurons' spike counts", node, RECOMPILE)
            return
        read = [v for v in node.inputs if v in self.counts]
        node = replace(node, inputs=tuple(self._same.get(v, v) for v in node.inputs))
        made = composed(node) if isinstance(node, Op) else None
        if isinstance(node, Op) and made is not None:
            self._raise(node, made)
        elif not read:
            self.nodes.append(node)
        elif isinstance(node, Op) and node.op_type == "DequantizeLinear":
            self._same[node.outputs[0]] = self._number(node)
        elif isinstance(node, Op) and node.op_type in SHAPE_ONLY and read == [node.inputs[0]]:
            self.nodes.append(node)
            for value in filter(None, node.outputs):
                self._holds(value, self.counts[read[0]])
        else:
            raise self._graph.error("reads spike counts as if they were numbers", node, RECOMPILE)

    def _number(self, op: Op) -> str:
        """The spikes that a DequantizeLinear makes of counts."""
        counts = self.counts.get(op.inputs[0])
        step, zero = (*(self.consts.get(v) for v in op.inputs[1:]), None, None)[:2]
        if counts is None or step is None or zero is None or op.outputs[0] in self._graph.outputs:
            raise self._graph.error("reads spike counts as if they were numbers", op, RECOMPILE)
        if not np.array_equal(step, counts.step) or not np.all(zero == counts.zero_point):
            raise self._graph.error("spike counts are scaled by another threshold", op, RECOMPILE)
        return op.inputs[0]

    def _holds(self, value: str, counts: Counts) -> None:
        """`value` will be the spikes that it holds the counts of now."""
        self.counts[value] = counts
        self.types[value] = real("float32", self._shape(value))

    def _shape(self, value: str) -> tuple[Dim, ...] | None:
        return self.types[value].shape if value in self.types else None

    def _raise(self, op: Op, made: Composed) -> None:
        stored = _stored_parts(op)
        behind = made.mean + made.add + bool(made.activation) + (made.neuron is not None)
        named = made.named(op)
        layers: list[Layer] = []
        if made.repeated:
            layers.append(Layer(REPEAT, (BEFORE,), {"timesteps": op.attrs["timesteps"]}))
        if made.drive:
            layers += layers_of(self._graph, op, made, self.counts, len(stored) - behind)
        if made.mean:
            layers.append(Layer(RUNNING_MEAN, (BEFORE,), {"timesteps": op.attrs["timesteps"]}))
        if made.add:
            layers.append(Layer("Add", (BEFORE, named["addend"])))
        if made.activation:
            layers.append(Layer(made.activation, (BEFORE,)))
        pool = self._pools.get(op.outputs[0]) if made.count and not made.kept else None
        if pool is not None:
            pooled = _stored_parts(pool)
            layers = [*layers, *[Layer("Relu", (BEFORE,))] * (len(pooled) - 1)]
            layers = [replace(layer, shape=self._shape(op.outputs[0])) for layer in layers]
            layers.append(Layer("MaxPool", (BEFORE,), geometry_of(pool)))
            stored = [*stored[:-1], *pooled, *(stored[-1:] or [("", op.loc)])]
            op = replace(op, outputs=pool.outputs)
        places = self._places(op, stored, len(layers) + (made.neuron is not None))
        value = op.inputs[0]
        for layer, (result, loc) in zip(layers, places, strict=False):
            value = self._layer(op, layer, value, result, loc)
        if made.neuron is not None:
            steps = named.get("positive", ""), named.get("negative", "")
            self._neuron(op, made, (value, *steps), places[-1][1])

    def _places(self, op: Op, stored: list[tuple[str, Loc]], wanted: int) -> list[tuple[str, Loc]]:
        """Result and origin of each node that an operation becomes."""
        if len(stored) != wanted:
            stored = [("", op.loc)] * wanted
        kept = op.outputs[1:]  # of what a neuron reads
        inner = stored[: len(stored) - 1 - len(kept)]
        names = [self._fresh(value or f"{op.outputs[0]}.driven") for value, _ in inner]
        return list(zip([*names, *kept, op.outputs[0]], (loc for _, loc in stored), strict=True))

    def _fresh(self, base: str) -> str:
        name = self._graph.fresh(base, self._made)
        self._made.add(name)
        return name

    def _layer(self, op: Op, layer: Layer, before: str, result: str, loc: Loc) -> str:
        """Adds a layer, and in front of it the weights that it reads."""
        inputs = [before if v == BEFORE else v for v in layer.inputs]
        if layer.scale is not None:
            integers, scale = inputs[1], self._fresh(f"{result}.scale")
            inputs[1] = self._fresh(f"{integers}.weights")
            self.consts[scale] = layer.scale
            self.types[inputs[1]] = real("float32", self.consts[integers].shape)
            attrs = {"axis": layer.axis}
            weights = Op((inputs[1],), (integers, scale), loc, "DequantizeLinear", attrs)
            self.nodes.append(weights)
        for name, array in layer.consts.items():
            inputs.append(self._fresh(f"{result}.{name}"))
            self.consts[inputs[-1]] = array
        if result not in op.outputs or result not in self.types:
            shape = self._shape(op.outputs[0]) if layer.shape is None else layer.shape
            self.types[result] = real("float32", shape)
        self.nodes.append(Op((result,), tuple(inputs), loc, layer.op_type, layer.attrs))
        return result

    def _neuron(self, op: Op, made: Composed, inputs: tuple[str, ...], loc: Loc) -> None:
        others = set(without_neuron(op.attrs)) - {"timesteps"}
        own = {k: v for k, v in op.attrs.items() if k not in others and k != "model"}
        self.nodes.append(make_node(str(op.attrs["model"]), op.outputs[:1], inputs, loc, own))
        if made.count:
            known: list[Array | None] = [self.consts.get(step) for step in inputs[1:] if step]
            step = known[0] if known else np.array(1, np.float32)
            if step is None:
                raise self._graph.error("a threshold is not constant", op, RECOMPILE)
            self._holds(op.outputs[0], Counts(step, ZERO_POINT[made.sides]))


def _stored_parts(op: Op) -> list[tuple[str, Loc]]:
    """Results and original names of the operations that `op` does the work of."""
    parts = op.attrs.get(PARTS, ())
    lines = [str(part).split("\n") for part in parts] if isinstance(parts, tuple) else []
    return [(line[0], Loc(tuple(line[1:]) or op.loc.names)) for line in lines]
