"""Calibrate: every site gets the statistics of the values it saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Node, Site
from snnc.passes.calibration import Calibration, require_percentile


@dataclass(frozen=True)
class Calibrate:
    """Statistics from a calibration of the same sites (spec 2.3).

    percentile: p of the pooled quantile pair, in percent, 0 <= p < 50.
    """

    calibration: Calibration
    percentile: float = 1.0

    name: ClassVar[str] = "calibrate"
    before: ClassVar[Stage] = Stage.SITED
    after: ClassVar[Stage] = Stage.CALIBRATED

    def __post_init__(self) -> None:
        require_percentile(self.percentile)

    def __call__(self, graph: Graph) -> Graph:
        def rule(node: Node) -> Replacement | None:
            if not isinstance(node, Site) or node.role == "quantizer":
                return None
            accumulator = self.calibration.accumulators[node.inputs[0]]
            if not accumulator.count:
                raise graph.error(
                    "the site saw no value at all in calibration",
                    node,
                    help="calibrate on samples that are not masked throughout",
                )
            return Replacement((replace(node, statistics=accumulator.statistics(self.percentile)),))

        return replace(graph.rewrite(rule), stage=Stage.CALIBRATED)
