"""AssignThresholds: base steps of every site from its statistics and the scale factor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, get_args

from snnc.errors import CompileError, unknown_name
from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Node, Site
from snnc.ir.numbers import real_number
from snnc.ir.rate_neuron import Polarity, RateNeuron, Synapses


@dataclass(frozen=True)
class AssignThresholds:
    """One global scale factor lambda in (0, 1] for all sites (spec 2.2-2.4).

    synapses: 'int8' for spike counts of 8 bits at every site.
    """

    neuron: RateNeuron
    scale: float
    polarity: Polarity = "separate"
    synapses: Synapses = "float"

    name: ClassVar[str] = "assign-thresholds"
    before: ClassVar[Stage] = Stage.CALIBRATED
    after: ClassVar[Stage] = Stage.THRESHOLDED

    def __post_init__(self) -> None:
        if not 0 < real_number(self.scale, "lambda") <= 1:
            raise CompileError(
                f"lambda {self.scale} is out of range", help="choose 0 < lambda <= 1"
            )
        if self.polarity not in get_args(Polarity):
            raise unknown_name("polarity", str(self.polarity), get_args(Polarity))
        if self.synapses not in get_args(Synapses):
            raise unknown_name("synapses", str(self.synapses), get_args(Synapses))
        if self.synapses == "int8" and self.polarity == "separate":
            raise CompileError(
                "integer synapses need one step for both signs, not separate ones",
                help="leave the polarity out, or take float synapses",
            )
        self.neuron.at("both", self.synapses)  # refuses early

    def __call__(self, graph: Graph) -> Graph:
        def rule(node: Node) -> Replacement | None:
            if not isinstance(node, Site) or node.statistics is None:
                return None
            if node.statistics.minimum < 0 and "negative" not in self.neuron.signs:
                raise graph.error(
                    f"neuron '{self.neuron.name}' fires for positive inputs only, and this one "
                    f"reaches {node.statistics.minimum:.4g}",
                    node,
                    help=f"take dual-{self.neuron.name}, or --keep the layers that read it",
                )
            neuron = (node.neuron or self.neuron).at(node.statistics.sides, self.synapses)
            if node.thresholds is not None:
                positive, negative = (neuron.steps_for(t, self.scale) for t in node.thresholds)
                chosen = (positive, negative) if node.axis else (positive[0], negative[0])
                return Replacement((replace(node, step=chosen),))
            step = neuron.steps_of(node.statistics, self.scale, self.polarity)
            return Replacement((replace(node, step=step),))

        return replace(graph.rewrite(rule), stage=Stage.THRESHOLDED)
