"""Integer synapses of a spiking network: which layers have them, and which stay float and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snnc.backends.lowering import lower
from snnc.coverage import shapes_at
from snnc.data import Feeds
from snnc.drives import classify, shaped_values
from snnc.errors import CompileError
from snnc.ir.composed import PARTS
from snnc.ir.graph import DOMAIN, Graph
from snnc.ir.node import Op
from snnc.ir.ops import multiplied
from snnc.ir.weights import quantized
from snnc.passes.integer_weights import integer_layers, is_product
from snnc.synapses import macs

NO_OPERATION = "no integer operation for its shape"
"""Why a layer with rounded weights, or a product, is computed with numbers all the same."""


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


def require_no_quantizers(graph: Graph) -> None:
    """Raises CompileError for a network with sites whose quantisers settle its spike counts."""
    if len(graph.open_sites) < len(graph.sites):
        raise CompileError(
            "the network is quantised already: its spike counts and integer weights are its own",
            at=graph.source or None,
            help="leave --synapses out, or compile the network from before it was quantised",
        )


def integer_synapses(
    graph: Graph, sample: Feeds, agreement: float | None = None
) -> IntegerSynapses:
    """What QuantizeSynapses made of a spiking graph. sample: to count on where no size suits."""
    why = {op.outputs[0]: found for op, found in integer_layers(graph) if isinstance(found, str)}
    lowered = _integer_results(graph)
    layers: list[str] = []
    products: list[str] = []
    floats: list[FloatLayer] = []
    integer: set[str] = set()
    for op, kind in classify(graph):
        name = op.loc.names[0]
        rounded = any(quantized(graph, v) is not None for v in multiplied(op))
        if not (rounded or is_product(graph, op)):
            floats.append(FloatLayer(name, why.get(op.outputs[0], kind)))
        elif op.outputs[0] not in lowered:
            floats.append(FloatLayer(name, NO_OPERATION))
        else:
            (layers if rounded else products).append(name)
            integer.add(op.outputs[0])
    share = _share(graph, sample, integer)
    return IntegerSynapses(tuple(layers), tuple(products), tuple(floats), share, agreement)


def _integer_results(graph: Graph) -> set[str]:
    """What the layers compute that the artifact holds as operations on spike counts."""
    found: set[str] = set()
    for op in lower(graph).nodes:
        parts = op.attrs.get(PARTS, ()) if isinstance(op, Op) else ()
        if isinstance(op, Op) and op.op_type.startswith(f"{DOMAIN}.Spike"):
            found.update(str(part).split("\n")[0] for part in parts)  # type: ignore[union-attr]
    return found


def _share(graph: Graph, sample: Feeds, integer: set[str]) -> float | None:
    shapes, _ = shapes_at(graph, shaped_values(graph), sample)
    total = counted = 0.0
    for op, _ in classify(graph):
        full = {v: graph.consts[v].shape for v in op.inputs if v in graph.consts} | shapes
        here = macs(op, full)
        total += here
        counted += here if op.outputs[0] in integer else 0.0
    return counted / total if total else None
