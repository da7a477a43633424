"""EmitSpikes: neurons that fire at most once in the place of every site."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.errors import CompileError, unknown_name
from snnc.ir.graph import DOMAIN, Graph, Replacement, Stage
from snnc.ir.node import Array, Attribute, Node, Op, Site
from snnc.ir.ops import bounds
from snnc.ir.spike_times import (
    GATED_SPIKE_TIME,
    PRODUCTS,
    SPIKE_TIME,
    balance,
    time_ranges,
    with_times,
)
from snnc.neurons.ttfs import TTFS
from snnc.passes.kept import matches

MARGIN = 0.02
"""Share of the range that calibration saw, by which it grows at either end (spec 4.8)."""

FINEST = 32
"""Units in the last place of the largest number of a range that a tick may not fall below."""


@dataclass(frozen=True)
class EmitSpikes:
    """Ranges from calibration; windows are still to be aligned.

    precisions: (pattern of node names, ticks) for layers with another time precision than the
    model's, the last one that fits. by_percentile: leave out what lies outside the quantiles of
    the statistics, instead of the margin beyond the extremes.
    """

    model: TTFS
    precisions: tuple[tuple[str, int], ...] = ()
    by_percentile: bool = False

    name: ClassVar[str] = "emit-spikes"
    before: ClassVar[Stage] = Stage.CALIBRATED
    after: ClassVar[Stage] = Stage.SPIKING

    def __call__(self, graph: Graph) -> Graph:
        self._check_patterns(graph)

        def neurons(node: Node) -> Replacement | None:
            return Replacement((self._neurons(graph, node),)) if isinstance(node, Site) else None

        spiking = replace(graph.rewrite(neurons), stage=Stage.SPIKING)
        ranges = time_ranges(spiking)

        def products(node: Node) -> Replacement | None:
            if not isinstance(node, Op) or not _multiplies_spikes(node, ranges):
                return None
            a, b = (ranges[v] for v in node.inputs)
            attrs = {"a_low": a[0], "a_high": a[1], "b_low": b[0], "b_high": b[1]}
            kind = f"{DOMAIN}.{PRODUCTS[self.model.products]}{node.op_type}"
            if self.model.products == "quarter":
                attrs["balance"] = balance(a, b)
            attrs = attrs | self._timing(node) | {"window": 0}
            return Replacement((replace(node, op_type=kind, attrs=attrs),))

        return with_times(spiking.rewrite(products))

    def _neurons(self, graph: Graph, site: Site) -> Op:
        low, high = self._range(graph, site)
        timing = self._timing(site)
        low, high = _resolved(low, high, int(timing["ticks"]))
        attrs: dict[str, Attribute] = {"low": low, "high": high, **timing, "window": 0}
        silenced = graph.op(site.inputs[0], "Where") if len(site.inputs) > 1 else None
        if silenced is None:
            return Op(site.outputs, site.inputs, site.loc, SPIKE_TIME, attrs)
        inputs = silenced.inputs[1], silenced.inputs[0]
        return Op(site.outputs, inputs, site.loc, GATED_SPIKE_TIME, attrs)

    def _timing(self, node: Op | Site) -> dict[str, int | float]:
        fitting = [
            ticks
            for pattern, ticks in self.precisions
            if any(matches(name, pattern) for name in node.loc.names)
        ]
        return {"ticks": fitting[-1] if fitting else self.model.p, "early": self.model.early}

    def _range(self, graph: Graph, site: Site) -> tuple[float, float]:
        """The range of the neurons of a site (spec 4.1, 4.8): it passes neither zero, if what was
        seen lies on one side of it, nor the bounds of a Relu or Clip in front."""
        s = site.statistics
        assert s is not None
        low, high = (s.low, s.high) if self.by_percentile else (s.minimum, s.maximum)
        margin = 0.0 if self.by_percentile else MARGIN * (high - low)
        least, most = (0.0, 1.0) if site.role == "softmax" else bounds(graph, site.inputs[0])
        below, above = low - margin, high + margin
        if below < 0 <= low:
            below = low / 2
        if above > 0 >= high:
            above = high / 2
        return (0.0 if site.role == "softmax" else max(below, least)), min(above, most)

    def _check_patterns(self, graph: Graph) -> None:
        products = ("Mul", "MatMul")
        timed = (
            node
            for node in graph.nodes
            if isinstance(node, Site) or (isinstance(node, Op) and node.op_type in products)
        )
        names = {name for node in timed for name in node.loc.names}
        for pattern, _ in self.precisions:
            if not any(matches(name, pattern) for name in names):
                message = unknown_name("layer in --time-precision", pattern, names).message
                raise CompileError(message, help="names of nodes: snnc inspect MODEL")


def _multiplies_spikes(op: Op, ranges: dict[str, tuple[float, float]]) -> bool:
    """Whether an operation is a product of the spikes of two layers (x * x is a square)."""
    square = op.op_type == "Mul" and len({*op.inputs}) == 1
    return op.op_type in ("Mul", "MatMul") and not square and all(v in ranges for v in op.inputs)


def _resolved(low: float, high: float, ticks: int) -> tuple[float, float]:
    """The range in float32, wide enough that its ticks are different numbers there.

    A single number becomes the lower end: its neurons never fire.
    """
    if not high > low:
        high = low + max(abs(low), 1.0)
    ends: Array = np.array([low, high], np.float32)
    finest = float(np.spacing(np.abs(ends).max())) * FINEST * ticks
    if ends[1] - ends[0] < finest:
        ends[1] = np.float32(low + finest)
    return float(ends[0]), float(ends[1])
