"""Operations of a spiking network of spike times, from the shapes of the trained one (spec 4.9).

Table 3 of TTFSFormer (ICML 2025); K entries are summed up for each of M N results, and N is the
length of a row:

    | layer of the trained network         | operations | neurons |
    |--------------------------------------|------------|---------|
    | product of activations (MatMul, Mul) | MN (3K+2)  | MN (K+1)|
    | softmax, a row                       | 6N         | 2 (N+1) |
    | layer normalisation, a row           | 9N+1       | 3N+3    |
    | activation function                  | MN         | MN      |
    | weighted layer (not in the table)    | MKN        | MN      |

Softmax and layer normalisation count every synaptic event. By that rule a product through
logarithms has 5 MNK (2 at each of its MNK neurons, and 3 from each to the result), one through
quarter squares 6 MNK (2 at each of 2 MNK neurons, and one from each).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snnc.energy import PJ_AC, PJ_MAC
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.ops import multiplied
from snnc.runtime import Session, shape_name
from snnc.synapses import macs

_ACTIVATIONS = """
    Relu Clip Gelu ai.snnc.Silu Sigmoid Tanh Erf HardSwish HardSigmoid LeakyRelu PRelu Elu Selu
    Celu Softplus Softsign Mish ThresholdedRelu
"""
ACTIVATION_FUNCTIONS = frozenset(_ACTIVATIONS.split())
"""Operations that are a layer of neurons with the function on their synapses."""


@dataclass(frozen=True)
class Operations:
    """Operations and neurons of one sample.

    weighted: MKN of weighted layers; multiplied: MKN of products of activations, whose results
    have `products` entries; nonlinear: of softmax, layer normalisation and activation functions;
    neurons: of Table 3, which has no relays.
    """

    weighted: float = 0.0
    multiplied: float = 0.0
    products: float = 0.0
    nonlinear: float = 0.0
    neurons: float = 0.0

    def __add__(self, other: Operations) -> Operations:
        return Operations(
            self.weighted + other.weighted,
            self.multiplied + other.multiplied,
            self.products + other.products,
            self.nonlinear + other.nonlinear,
            self.neurons + other.neurons,
        )

    def per(self, samples: int) -> Operations:
        """The share of one of `samples` samples."""
        return Operations(
            self.weighted / samples,
            self.multiplied / samples,
            self.products / samples,
            self.nonlinear / samples,
            self.neurons / samples,
        )

    @property
    def table3(self) -> float:
        """Operations of the spiking network by Table 3."""
        return self.weighted + 3 * self.multiplied + 2 * self.products + self.nonlinear

    @property
    def log_exp(self) -> float:
        """The same with every synaptic event of products, which take logarithms."""
        return self.weighted + 5 * self.multiplied + self.nonlinear

    @property
    def quarter(self) -> float:
        """The same for products by quarter squares."""
        return self.weighted + 6 * self.multiplied + self.nonlinear

    @property
    def macs(self) -> float:
        """Multiply-accumulates of the trained network."""
        return self.weighted + self.multiplied

    @property
    def ann(self) -> float:
        """Operations of the trained network: its nonlinear layers count as in Table 3."""
        return self.macs + self.nonlinear

    def ratio(
        self, operations: float, pj_ac: float = PJ_AC, pj_mac: float = PJ_MAC, *, ann: float = 0.0
    ) -> float:
        """Eq. 28: energy of `operations` of the spiking network over that of the trained one.

        ann: operations of the trained network, by default all of them. What the paper divides by
        is not known: Table 2 (22.3, 21.0 and 20.7 % for ViT-S, B, L) comes out 1.4, 0.8 and 0.4 %
        higher so, and 2.2, 1.3 and 0.7 % higher with its MACs alone.
        """
        total = (ann or self.ann) * pj_mac
        return operations * pj_ac / total if total else 0.0


def shaped_values(graph: Graph) -> tuple[str, ...]:
    """The values whose run-time shapes `count_operations` needs."""
    found = [v for op in _counted(graph) for v in (*op.inputs, op.outputs[0])]
    return tuple(dict.fromkeys(v for v in found if v in graph.types))


def count_operations(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Operations:
    """Operations of a trained network, normalised, for the given run-time shapes.

    What Table 3 has no line for (sums, pooling, layout) is part of what drives the next neurons.
    """
    total, data = Operations(), _activations(graph)
    for op in _counted(graph):
        full: dict[str, Any] = {v: graph.consts[v].shape for v in op.inputs if v in graph.consts}
        total += _operations(op, full | dict(shapes), data)
    return total


def operations_of(graph: Graph, feeds: Mapping[str, Array], samples: int) -> Operations:
    """Operations of a sample, mean over a batch of `samples`, at the shapes it has in a run."""
    values = shaped_values(graph)
    run = Session(graph, shapes_of=values).run(feeds)
    shapes = {v: tuple(int(d) for d in run[shape_name(v)]) for v in values}
    return count_operations(graph, shapes).per(samples)


def _counted(graph: Graph) -> list[Op]:
    """The operations on data that Table 3 has a line for, and weighted layers."""
    data, reached = _activations(graph), Flow(graph).data
    ops = (node for node in graph.nodes if isinstance(node, Op))
    return [
        op
        for op in ops
        if (multiplied(op) and any(v in reached for v in op.inputs))
        or (_is_nonlinear(op) and any(v in data for v in op.inputs))
        or _is_product(graph, op, data)
    ]


def _is_nonlinear(op: Op) -> bool:
    return op.op_type in ACTIVATION_FUNCTIONS or op.op_type in ("Softmax", "LayerNormalization")


def _activations(graph: Graph) -> frozenset[str]:
    """Values that depend on the data, without what integers alone decide (masks, lengths) and no
    look-up or weighted layer has turned into activations."""
    host = {name for name in graph.inputs if not graph.types[name].is_float}
    data = Flow(graph).data
    for node in graph.nodes:
        if isinstance(node, Op) and not multiplied(node) and not _looks_up(graph, node):
            read = [v for v in node.inputs if v in data]
            if read and host.issuperset(read):
                host.update(node.outputs)
    return data - host


def _looks_up(graph: Graph, op: Op) -> bool:
    table = graph.consts.get(op.inputs[0]) if op.op_type.startswith("Gather") else None
    return table is not None and table.dtype.kind == "f"


def _is_product(graph: Graph, op: Op, data: frozenset[str]) -> bool:
    """Whether an operation multiplies two activations entry by entry."""
    floats = all(v in graph.types and graph.types[v].is_float for v in op.inputs)
    apart = len(set(op.inputs)) == 2
    return op.op_type == "Mul" and floats and apart and all(v in data for v in op.inputs)


def _operations(op: Op, shapes: Mapping[str, tuple[int, ...]], data: frozenset[str]) -> Operations:
    size = float(math.prod(shapes[op.outputs[0]]))
    if multiplied(op):
        count = macs(op, shapes)
        if sum(v in data for v in multiplied(op)) < 2:
            return Operations(weighted=count, neurons=size)
        return Operations(multiplied=count, products=size, neurons=count + size)
    if op.op_type == "Mul":
        return Operations(multiplied=size, products=size, neurons=2 * size)
    if op.op_type == "Softmax":
        rows = size / shapes[op.outputs[0]][op.integer("axis", -1)]
        return Operations(nonlinear=6 * size, neurons=2 * (size + rows))
    if op.op_type == "LayerNormalization":
        rows = size / math.prod(shapes[op.inputs[0]][op.integer("axis", -1) :])
        return Operations(nonlinear=9 * size + rows, neurons=3 * (size + rows))
    return Operations(nonlinear=size, neurons=size)
