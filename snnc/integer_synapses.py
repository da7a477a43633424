"""Integer synapses of a spiking network: which layers have them, and which stay float and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snnc.coverage import shapes_at
from snnc.data import Feeds
from snnc.energy import classify, shaped_values
from snnc.ir.graph import Graph
from snnc.ir.ops import multiplied
from snnc.ir.weights import quantized
from snnc.passes.integer_weights import integer_layers, is_product
from snnc.synapses import macs


@dataclass(frozen=True)
class FloatLayer:
    """A layer whose synapses stay float, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class IntegerSynapses:
    """layers: with 8-bit weights; products: of spikes with spikes, which have none; share: of all
    multiply-accumulates that these two have, None where they cannot be counted; agreement: of the
    network with the trained one, measured as lambda was chosen, None where it was given."""

    layers: tuple[str, ...]
    products: tuple[str, ...]
    floats: tuple[FloatLayer, ...]
    share: float | None
    agreement: float | None = None

    def summary(self) -> dict[str, Any]:
        """As `snnc compile --json` prints it."""
        return {
            "layers": list(self.layers),
            "products": list(self.products),
            "share": self.share,
            "float": [{"name": layer.name, "why": layer.why} for layer in self.floats],
            "agreement": self.agreement,
        }


def integer_synapses(
    graph: Graph, sample: Feeds, agreement: float | None = None
) -> IntegerSynapses:
    """What QuantizeSynapses made of a spiking graph. sample: to count on where no size suits."""
    why = {op.outputs[0]: found for op, found in integer_layers(graph) if isinstance(found, str)}
    layers, products, floats, integer = [], [], [], set()
    for op, kind in classify(graph):
        name = op.loc.names[0]
        if any(quantized(graph, v) is not None for v in multiplied(op)):
            layers.append(name)
            integer.add(op.outputs[0])
        elif is_product(graph, op):
            products.append(name)
            integer.add(op.outputs[0])
        else:
            floats.append(FloatLayer(name, why.get(op.outputs[0], kind)))
    share = _share(graph, sample, integer)
    return IntegerSynapses(tuple(layers), tuple(products), tuple(floats), share, agreement)


def _share(graph: Graph, sample: Feeds, integer: set[str]) -> float | None:
    shapes, _ = shapes_at(graph, shaped_values(graph), sample)
    total = counted = 0.0
    for op, _ in classify(graph):
        full = {v: graph.consts[v].shape for v in op.inputs if v in graph.consts} | shapes
        here = macs(op, full)
        total += here
        counted += here if op.outputs[0] in integer else 0.0
    return counted / total if total else None
