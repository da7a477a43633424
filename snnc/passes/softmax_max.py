"""SoftmaxMax: attention probabilities are scaled by their calibrated maximum (eqs. 15-16)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Node, Site
from snnc.ir.rate_neuron import RateNeuron, Synapses, finite_step


@dataclass(frozen=True)
class SoftmaxMax:
    """Softmax sites: step from the maximum, without lambda, positive branch only (spec 2.6).

    Those with thresholds of their own have steps from them already.
    """

    neuron: RateNeuron
    synapses: Synapses = "float"

    name: ClassVar[str] = "softmax-max"
    before: ClassVar[Stage] = Stage.THRESHOLDED
    after: ClassVar[Stage] = Stage.THRESHOLDED

    def __call__(self, graph: Graph) -> Graph:
        def rule(node: Node) -> Replacement | None:
            if not isinstance(node, Site) or node.role != "softmax" or node.statistics is None:
                return None
            if node.thresholds is not None:
                return None
            neuron = (node.neuron or self.neuron).at("positive", self.synapses)
            maximum = node.statistics.maximum
            step = finite_step(neuron.softmax_step(maximum)) if maximum > 0 else 0.0
            return Replacement((replace(node, step=(step, 0.0)),))

        return graph.rewrite(rule)
