"""QuantizeSynapses: weights that spikes drive become 8-bit integers with a scale a channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from snnc.data import Samples
from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Array, Node, Op, real
from snnc.ir.rounding import BITS, nearest
from snnc.ir.weights import with_plain_weights
from snnc.passes.integer_weights import integer_layers
from snnc.passes.linear_layer import LinearLayer, Source, scattered
from snnc.passes.rounding import sequential
from snnc.runtime import Session, batch_size, shape_name

Rounding: TypeAlias = Literal["nearest", "sequential"]

WIDEST = 5000
"""Inputs of a layer up to which second moments are kept; beyond, weights round to the nearest."""

MEGABYTES = 256
"""Second moments held at a time; more layers need another run over the samples."""

ROWS, NUMBERS = 16384, 2**25
"""Inputs of a layer that are looked at, fewer where they hold more numbers than this."""

Key: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True)
class QuantizeSynapses:
    """Weights of spiking layers -> DequantizeLinear(int8, scale) of constants (see rounding.py).

    samples: on which the error of every layer's output is kept small; progress: told how many
    weights are done, and of how many. bits: 2 to 8, held as int8. Layers that share weights
    share the integers.
    """

    samples: Samples
    rounding: Rounding = "sequential"
    progress: Callable[[int, int], None] = lambda done, total: None
    bits: int = BITS

    name: ClassVar[str] = "quantize-synapses"
    before: ClassVar[Stage] = Stage.SPIKING
    after: ClassVar[Stage] = Stage.SPIKING

    def __call__(self, graph: Graph) -> Graph:
        graph = with_plain_weights(graph)
        layers: dict[Key, list[LinearLayer]] = {}
        for _, found in integer_layers(graph):
            if isinstance(found, LinearLayer):
                layers.setdefault((found.weights, found.axis, found.groups), []).append(found)
        made: dict[Key, tuple[Array, Array]] = {}
        for part in _parts(graph, layers.values()):
            every = [layer for shared in part for layer in shared]
            moments = self._moments(graph, [one for one in every if self._uses(graph, one)])
            for shared in part:
                one = shared[0]
                made[one.weights, one.axis, one.groups] = self._integers(graph, shared, moments)
                self.progress(len(made), len(layers))
        return _with_integers(graph, layers, made)

    def _uses(self, graph: Graph, layer: LinearLayer) -> bool:
        """Whether the rounding of a layer looks at its inputs."""
        return self.rounding == "sequential" and _matrix(graph, layer).shape[-1] <= WIDEST

    def _moments(self, graph: Graph, layers: Sequence[LinearLayer]) -> dict[Source, Array]:
        """Second moments [groups, K, K] of every source."""
        by_source = {layer.source: layer for layer in layers}
        if not by_source:
            return {}
        values = tuple(dict.fromkeys(layer.spikes for layer in by_source.values()))
        results = tuple(layer.op.outputs[0] for layer in by_source.values())
        session = Session(graph, taps=values, shapes_of=results)
        total = self.samples.count or 1
        moments: dict[Source, Array] = {}
        for feeds in self.samples.batches(batch_size(graph, values)):
            share = self.samples.size_of(feeds) / total
            tapped = session.run(feeds)
            for source, layer in by_source.items():
                width = _matrix(graph, layer).shape[-1]
                limit = max(1, round(rows_for(width) * share))
                out = tuple(int(d) for d in tapped[shape_name(layer.op.outputs[0])])
                some = scattered(layer.count(out), limit)
                rows = layer.rows(tapped[layer.spikes], out, some)
                new = np.swapaxes(rows, 1, 2) @ rows
                moments[source] = moments[source] + new if source in moments else new
        return moments

    def _integers(
        self, graph: Graph, shared: Sequence[LinearLayer], moments: dict[Source, Array]
    ) -> tuple[Array, Array]:
        """Integer weights in the shape of the weights, and scales [output channels]."""
        layer = shared[0]
        weights = _matrix(graph, layer)
        if layer.source in moments:
            total = sum((moments[one.source] for one in shared[1:]), moments[layer.source])
            found = [sequential(w, m, self.bits) for w, m in zip(weights, total, strict=True)]
        else:
            found = [nearest(w, self.bits) for w in weights]
        integers = np.stack([integers for integers, _ in found])
        restored = layer.restored(integers, graph.consts[layer.weights])
        return restored, np.concatenate([scales for _, scales in found])


def rows_for(width: int) -> int:
    """How many inputs of a layer are looked at: twice its width at least."""
    return max(min(ROWS, NUMBERS // max(width, 1)), 2 * width)


def _matrix(graph: Graph, layer: LinearLayer) -> Array:
    return layer.matrix(graph.consts[layer.weights])


def _parts(graph: Graph, layers: Iterable[list[LinearLayer]]) -> Iterator[list[list[LinearLayer]]]:
    """Weights whose second moments fit into memory together."""
    part: list[list[LinearLayer]] = []
    sources: set[Source] = set()
    held = 0
    for shared in layers:
        groups, _, width = _matrix(graph, shared[0]).shape
        new = {layer.source for layer in shared} - sources
        size = 4 * groups * width * (width if width <= WIDEST else 0) * len(new)
        if part and held + size > MEGABYTES * 2**20:
            yield part
            part, sources, held = [], set(), 0
            new = {layer.source for layer in shared}
        part.append(shared)
        sources |= new
        held += size
    if part:
        yield part


def _with_integers(
    graph: Graph,
    layers: dict[Key, list[LinearLayer]],
    made: dict[Key, tuple[Array, Array]],
) -> Graph:
    """The graph with layers that read dequantised weights, one node for all who share them."""
    key_of = {layer.op.outputs[0]: key for key, shared in layers.items() for layer in shared}
    names: dict[Key, str] = {}

    def rule(node: Node) -> Replacement | None:
        key = key_of.get(node.outputs[0])
        if key is None or not isinstance(node, Op):
            return None
        weights, axis, groups = key
        first = key not in names
        of = f"axis{axis}" if groups == 1 else f"groups{groups}"
        name = names.setdefault(key, graph.fresh(f"{weights}.{of}"))
        inputs = tuple(name if v == weights and i == 1 else v for i, v in enumerate(node.inputs))
        layer = replace(node, inputs=inputs)
        if not first:
            return Replacement((layer,))
        integers, scales = made[key]
        stored = graph.fresh(f"{name}.int8"), graph.fresh(f"{name}.scale")
        consts = dict(zip(stored, (integers, scales), strict=True))
        dequantized = Op((name,), stored, node.loc, "DequantizeLinear", {"axis": axis})
        return Replacement((dequantized, layer), {name: real("float32", integers.shape)}, consts)

    return graph.rewrite(rule)
