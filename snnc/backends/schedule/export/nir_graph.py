"""A spiking network as a graph of NIR, the Neuromorphic Intermediate Representation.

https://neuroir.org; docs/exports.md says what it can express. Edges into one node are summed, so
that sums of activations need no node; shapes have no batch axis. Time is discrete: one timestep is
1 in NIR's units, an integrator adds what it reads, and every node is computed once a timestep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from snnc.backends.schedule.export.hdf5 import careful
from snnc.backends.schedule.export.nir_layers import (
    RULES,
    InexpressibleError,
    Shape,
    entrywise,
)
from snnc.backends.schedule.export.nir_neurons import Layer, write_neurons
from snnc.backends.schedule.export.nir_pooled import THRESHOLDED, Pooled
from snnc.backends.schedule.export.packages import package
from snnc.backends.schedule.export.refusals import before_neurons, raise_refusals, refused
from snnc.errors import CompileError, RefusedNode
from snnc.files import replacing
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Neuron, Node, Op
from snnc.ir.weights import weight, with_plain_weights

MOST_LEVELS = 64
"""Branches of one sign: each is a node with an array as large as the layer, so that the 263 dense
levels of M = 8 would take more room than most layers' weights."""


def write_nir(graph: Graph, path: Path, most_levels: int = MOST_LEVELS) -> None:
    """Writes `nir_graph` to a file, or leaves an older one as it was."""
    found = nir_graph(graph, most_levels)
    with replacing(path) as directory, careful(directory / path.name) as file:
        package("nir").write(file, found)


def nir_names(graph: Graph) -> Mapping[str, str]:
    """The node of NIR that emits the spikes (step x count) of each layer of neurons, by its
    result."""
    names = _names(graph)
    return {neuron.outputs[0]: names[neuron.outputs[0]] for neuron in graph.neurons}


def nir_graph(graph: Graph, most_levels: int = MOST_LEVELS) -> Any:
    """The `nir.NIRGraph` of a spiking network, up to what reads it out behind the last neurons.

    What no neuron depends on and NIR cannot say (a softmax, an argmax, the mean over timesteps) is
    left to the reader: the graph ends at the values in front of it, `metadata["left_out"]` says of
    what. Raises CompileError for anything else NIR cannot say.
    """
    if not graph.neurons:
        raise CompileError(
            "NIR export needs a spiking network, with neurons that count spikes",
            help="compile it first: snnc compile (ttfs networks have no form in NIR)",
        )
    return _Export(with_plain_weights(graph), most_levels).finished()


class _Export:
    def __init__(self, graph: Graph, most_levels: int) -> None:
        self._graph, self._most = graph, most_levels
        self._data = Flow(graph).data
        self._needed = before_neurons(graph)
        self._nodes: dict[str, Any] = {}
        self._edges: list[tuple[str, str]] = []
        self._sources: dict[str, tuple[str, ...]] = {}
        """The nodes whose sum a value is."""
        self._pooled: dict[str, Pooled] = {}
        """Values that neurons alone may read."""
        self._names = _names(graph)
        self._refused: list[RefusedNode] = []
        self._left_out: list[Op] = []
        self._ends = dict.fromkeys(graph.outputs)
        """Values that what is left out reads, and outputs."""

    def finished(self) -> Any:
        nir = package("nir")
        for name in self._graph.inputs:
            shape = {"input": np.array(self._shape(name))}
            self._sources[name] = (self.add(self._names[name], nir.Input(shape), ()),)
        for node in self._graph.nodes:
            if self._data.isdisjoint(node.outputs):
                continue
            read = [v for v in node.inputs if v in self._data]
            if all(v in self._sources or v in self._pooled for v in read):
                self._visit(node, read)
            else:
                self._leave_out(node, read)
        self._require_numbers(tuple(self._ends))
        raise_refusals("NIR", self._graph, self._refused)
        for value in self._ends:
            if value in self._sources:
                self._end(value)
        told = {
            "name": self._graph.name,
            "timesteps": self._graph.timesteps,
            "dt": 1.0,
            "left_out": ", ".join(f"{op.outputs[0]} ({op.op_type})" for op in self._left_out),
        }
        return nir.NIRGraph(nodes=self._nodes, edges=self._edges, metadata=told)

    def _visit(self, node: Node, read: list[str]) -> None:
        """A node all of whose operands are written."""
        try:
            if isinstance(node, Neuron):
                self._fire(node)
            elif isinstance(node, Op) and self._is_thresholded(node, read):
                made = self._shape(node.outputs[0])
                self._pooled[node.outputs[0]] = self._drive(read[0]).behind(node, made)
            elif isinstance(node, Op):
                self._require_numbers(read)
                self._operation(node, read)
        except InexpressibleError as error:
            if self._needed.isdisjoint(node.outputs) and isinstance(node, Op):
                self._leave_out(node, read)
            else:
                self._refused.append(refused(node, error.why, error.help))
                self._sources.update((name, ()) for name in node.outputs)  # and look further

    def _leave_out(self, node: Node, read: list[str]) -> None:
        """Leaves an operation behind the last neurons to the reader."""
        if isinstance(node, Op):
            self._left_out.append(node)
            self._ends.update(dict.fromkeys(read))

    def _fire(self, neuron: Neuron) -> None:
        result = neuron.outputs[0]
        shape = self._shape(result)
        positive, negative = (
            entrywise(self._constant(step) if step else np.zeros(()), shape)
            for step in neuron.inputs[1:]
        )
        drive = self._drive(neuron.inputs[0])
        layer = Layer(neuron, self._names[result], shape, (positive, negative), self._most, drive)
        if neuron.timesteps > 1:
            self._require_numbers(neuron.inputs[:1])
        self._sources[result] = (write_neurons(self, layer),)

    def _drive(self, value: str) -> Pooled:
        """What neurons read."""
        if value in self._pooled:
            return self._pooled[value]
        return Pooled(self._sources[value], self._shape(value))

    def _is_thresholded(self, op: Op, read: list[str]) -> bool:
        """Whether an operation is left to the thresholds of the neurons behind it."""
        wanted = not self._needed.isdisjoint(op.outputs)
        starts = op.op_type in ("Relu", "MaxPool") and wanted
        return starts or (op.op_type in THRESHOLDED and read[0] in self._pooled)

    def _require_numbers(self, read: Sequence[str]) -> None:
        """Refuses what computes values whose numbers others than neurons read."""
        for op in (op for value in read if value in self._pooled for op in self._pooled[value].ops):
            new = refused(op, f"it has no node for {op.op_type}", _REAL)
            if op.op_type in ("Relu", "MaxPool") and new not in self._refused:
                self._refused.append(new)
        self._sources.update((value, ()) for value in read if value in self._pooled)

    def _operation(self, op: Op, read: list[str]) -> None:
        if op.op_type in ("Add", "Sub", "Sum"):
            self._sources[op.outputs[0]] = self._sum(op, read)
            return
        if op.op_type not in RULES:
            raise InexpressibleError(f"it has no node for {op.op_type}", _WAY_OUT)
        given, made = self._shape(read[0]), self._shape(op.outputs[0])
        node = RULES[op.op_type](self._graph, op, given, made)
        sources = self._sources[read[0]]
        if node is not None:
            sources = (self.add(self._names[op.outputs[0]], node, sources),)
        self._sources[op.outputs[0]] = sources

    def _sum(self, op: Op, read: list[str]) -> tuple[str, ...]:
        made = self._shape(op.outputs[0])
        name = self._names[op.outputs[0]]
        constants = [v for v in op.inputs if v not in read]
        if constants and (len(op.inputs) != 2 or (op.op_type == "Sub" and read[0] != op.inputs[0])):
            raise InexpressibleError("a constant less an activation, or several constants at once")
        if constants:
            sign = -1 if op.op_type == "Sub" else 1
            return self._biased(op, read[0], sign * self._constant(constants[0]))
        found: list[str] = []
        for place, value in enumerate(op.inputs):
            if self._shape(value) != made:
                raise InexpressibleError("a sum that broadcasts one activation over another")
            sources = self._sources[value]
            factor = -1.0 if op.op_type == "Sub" and place else 1.0
            if factor != 1 or not set(found).isdisjoint(sources):
                scale = package("nir").Scale(scale=np.full(made, factor, np.float32))
                sources = (self.add(f"{name}_operand_{place}", scale, sources),)
            found += sources
        return tuple(found)

    def _biased(self, op: Op, value: str, constant: Array) -> tuple[str, ...]:
        """The layer behind `value` with a constant added."""
        nir, sources = package("nir"), self._sources[value]
        node: Any = self._nodes[sources[0]] if len(sources) == 1 else None
        linear = isinstance(node, nir.Linear | nir.Affine | nir.Conv1d | nir.Conv2d)
        if not linear or self._graph.only_reader(value) is not op:
            raise InexpressibleError(
                "a constant added to what is not the result of one layer: NIR has biases only"
            )
        bias = entrywise(constant, self._shape(op.outputs[0]))
        if isinstance(node, nir.Linear):
            self._nodes[sources[0]] = nir.Affine(weight=node.weight, bias=bias)
            return sources
        if (bias != bias.reshape(len(bias), -1)[:, :1].reshape(-1, *[1] * (bias.ndim - 1))).any():
            raise InexpressibleError("a constant for each entry: NIR has one for each channel")
        node.bias = node.bias + bias.reshape(len(bias), -1)[:, 0]
        return sources

    def _end(self, value: str) -> None:
        output = package("nir").Output({"output": np.array(self._shape(value))})
        output.metadata = {"value": value}
        self.add(f"{self._names[value]}_output", output, self._sources[value])

    def add(self, name: str, node: Any, sources: tuple[str, ...]) -> str:
        """Adds a node that reads the sum of others; its name."""
        self._nodes[name] = node
        self._edges += [(source, name) for source in sources]
        return name

    def _constant(self, value: str) -> Array:
        found = weight(self._graph, value)
        if found is None:
            raise InexpressibleError("a number that is computed")
        return found

    def _shape(self, value: str) -> Shape:
        """Of one sample."""
        shape = self._graph.types[value].shape
        inside = None if shape is None else shape[1:]
        if not inside or not all(isinstance(size, int) for size in inside):
            raise InexpressibleError(
                f"the size of '{value}' is not known", "give the network a fixed input size"
            )
        return tuple(int(str(size)) for size in inside)


_WAY_OUT = "keep to layers, sums, averages and neurons in front of the last neurons"

_REAL = (
    "a Relu or MaxPool in front of neurons is part of their thresholds; one whose real result goes "
    "on (to an average, a residual sum) is not: take a network without it"
)


def _names(graph: Graph) -> dict[str, str]:
    """Every value as the name of a node: NIR's files take '/' for a folder."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for value in graph.types:
        plain = name = re.sub(r"\W+", "_", value).strip("_") or "value"
        number = 1
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name)
        found[value] = name
    return found
