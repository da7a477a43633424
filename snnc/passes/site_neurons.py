"""SiteNeurons: neurons whose parameters the distribution of a site's activations decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Node, Site
from snnc.ir.rate_neuron import RateNeuron
from snnc.passes.calibration import Calibration

PROBABILITIES = (np.arange(256) + 0.5) / 256
"""At which quantiles are read."""


@dataclass(frozen=True)
class SiteNeurons:
    """Every site but those of softmax gets a model and threshold from its quantiles (spec 3.3)."""

    neuron: RateNeuron
    calibration: Calibration

    name: ClassVar[str] = "site-neurons"
    before: ClassVar[Stage] = Stage.CALIBRATED
    after: ClassVar[Stage] = Stage.CALIBRATED

    def __call__(self, graph: Graph) -> Graph:
        def rule(node: Node) -> Replacement | None:
            if not isinstance(node, Site) or node.role == "softmax" or node.statistics is None:
                return None
            seen, statistics = self.calibration.accumulators[node.inputs[0]], node.statistics
            if statistics.sides == "silent":
                return None
            quantiles = seen.quantiles(PROBABILITIES)
            if not quantiles.any():  # nearly all are zeros
                return None
            model, theta = self.neuron.at_site(PROBABILITIES, quantiles, statistics.zeros)
            theta = float(np.float32(theta))
            positive = (theta if statistics.maximum > 0 else 0.0,)
            negative = (theta if statistics.minimum < 0 else 0.0,)
            return Replacement((replace(node, neuron=model, thresholds=(positive, negative)),))

        return graph.rewrite(rule)
