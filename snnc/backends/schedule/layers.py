"""What a chip sees of a network: layers of cells, and the connections between them.

A cell is a place that accumulates: the membrane of one neuron, or a real number that several read.
Cells of all layers are numbered through; a layer holds those from `start` on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Neuron, Node, Op
from snnc.ir.spike_times import fires

Kind: TypeAlias = Literal["synapses", "product", "wire", "gather"]
"""How numbers reach cells: times constant weights, times other activations, one to one, or several
to one as an operation says (pooling, normalisation, softmax ...)."""

NOWHERE = -1
"""In place of the cell of an entry that is constant (padding, a class token)."""


@dataclass(frozen=True, eq=False)
class Connection:
    """One operand of an operation whose cells lie in another layer than the operation.

    place: among the inputs of `op`; cells: the cell behind each entry of the operand at one
    timestep, in the operand's shape; neurons: the result of the neurons whose spikes the operand
    holds, None where it holds real numbers.
    """

    op: Node
    place: int
    kind: Kind
    cells: Array
    neurons: str | None

    @property
    def value(self) -> str:
        return self.op.inputs[self.place]


@dataclass(frozen=True, eq=False)
class Layer:
    """Cells that one operation fills, and all that is computed entry by entry on them.

    name: of the node that fills it, the same for no other layer; start: number of its first cell;
    shape: of the result of its first node at one timestep, one sample, with a batch axis of 1 where
    there is one; channel: the axis along which entries have weights of their own; nodes: in order
    of computation, empty for an input of the network.
    """

    name: str
    start: int
    shape: tuple[int, ...]
    channel: int
    nodes: tuple[Node, ...]
    connections: tuple[Connection, ...]

    @property
    def cells(self) -> int:
        return math.prod(self.shape)

    @property
    def is_input(self) -> bool:
        return not self.nodes

    @property
    def neurons(self) -> tuple[Node, ...]:
        """The neurons in its cells."""
        return tuple(node for node in self.nodes if isinstance(node, Neuron) or fires(node))


@dataclass(frozen=True, eq=False)
class Network:
    """The layers of a spiking graph, in order of computation; a layer reads earlier ones only.

    shapes: of every value that depends on the data, at one timestep for one sample; homes: the
    cell of each entry of every value that a layer computes and of every input; outputs: the same
    of the network's outputs; run_shapes: of every value for one sample, all timesteps together.
    """

    graph: Graph
    layers: tuple[Layer, ...]
    shapes: Mapping[str, tuple[int, ...]]
    homes: Mapping[str, Array] = field(default_factory=dict)
    outputs: Mapping[str, Array] = field(default_factory=dict)
    run_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def cells(self) -> int:
        return sum(layer.cells for layer in self.layers)

    @cached_property
    def starts(self) -> Array:
        """The first cell of each layer."""
        return np.array([layer.start for layer in self.layers], np.int64)

    def layer_of(self, cells: Array) -> Array:
        """The index of the layer of each cell; -1 for those that are nowhere."""
        return np.asarray(np.searchsorted(self.starts, cells, side="right") - 1)


def operation(node: Node) -> str:
    """The type of a node, as reports print it."""
    return node.op_type if isinstance(node, Op) else "neurons"
