"""What recipes are asked for and make: networks ready for the passes of a scale factor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from snnc.calibrated import CalibratedNetwork, Progress
from snnc.drives import coverage_macs, shaped_values
from snnc.ir.graph import Graph, Replacement
from snnc.ir.needed import needed_places
from snnc.ir.node import Node, Site
from snnc.ir.rate_neuron import Polarity, RateNeuron
from snnc.passes.fit_thresholds import as_tuple
from snnc.recipes.budget import Yardstick, metered, within_budget
from snnc.recipes.costs import Count
from snnc.recipes.curves import MEASURED
from snnc.recipes.report import RecipeName, RecipeReport
from snnc.runtime import Session, shape_name

FEWEST, SAMPLES, HELD = 64, 384, 128
"""Calibration samples on which networks are measured, from and to, and that are held back, at
most; biases are corrected on all that are not held back."""

WORK = 4e12
"""MACs of the trained network that measuring sensitivities may take: as many samples as it buys,
between FEWEST and SAMPLES."""

COARSEST = 0.8
"""Lambda of allocated thresholds, theta = step / COARSEST, before the energy is measured."""


@dataclass(frozen=True)
class Goal:
    """What is asked for: an energy that is not exceeded, or an agreement that is kept."""

    budget: float | None
    fidelity: float
    count: Count


@dataclass(frozen=True)
class Made:
    """A network ready for the passes of a scale factor: the graph of stage calibrated, its neuron,
    lambda and polarity, and what was done."""

    graph: Graph
    neuron: RateNeuron
    scale: float
    polarity: Polarity
    report: RecipeReport


def spent(
    network: CalibratedNetwork,
    calibrated: Graph,
    neuron: RateNeuron,
    polarity: Polarity,
    recipe: RecipeName,
    budget: float,
    count: Count,
    output: str,
    progress: Progress = lambda phase, done, total: None,
) -> Made:
    """The network of one global scale factor whose energy is within the budget."""

    def told(done: int) -> None:
        progress("choosing lambda", done, None)

    samples = network.calibration.reservoir.samples(SAMPLES)
    yardstick = Yardstick(network.ann, calibrated, samples, output)
    scaled = metered(calibrated, neuron, polarity)
    found = within_budget(yardstick, scaled, budget, count, progress=told)
    report = RecipeReport(recipe, count, budget, found, samples=yardstick.samples)
    return Made(calibrated, neuron, found.scale, polarity, report)


def affordable(network: CalibratedNetwork) -> int:
    """Samples whose sensitivities WORK buys."""
    shaped = shaped_values(network.sited)
    session = Session(network.sited, shapes_of=shaped)
    feeds = next(network.calibration.reservoir.batches(1))
    values = session.run(feeds)
    shapes = {v: tuple(int(d) for d in values[shape_name(v)]) for v in shaped}
    macs = sum(coverage_macs(network.sited, shapes).values())
    once = macs * len(network.sited.open_sites) * len(MEASURED) / 2
    return int(np.clip(WORK / max(once, 1.0), FEWEST, SAMPLES))


def with_steps(graph: Graph, steps: Mapping[str, float]) -> Graph:
    """A calibrated graph whose sites have these steps at lambda = COARSEST, and none at places that
    no output depends on: neurons there stay silent."""
    needed = needed_places(graph)

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Site) or node.outputs[0] not in steps or node.statistics is None:
            return None
        theta, need = steps[node.outputs[0]] / COARSEST, needed.get(node.outputs[0])
        if need is None:
            thetas, axis = np.full(1, theta, np.float32), 0
        else:
            thetas, axis = np.zeros(need.size, np.float32), need.axis
            thetas[sorted(need.places)] = theta
        both = (
            as_tuple(thetas * (extreme > 0))
            for extreme in (node.statistics.maximum, -node.statistics.minimum)
        )
        positive, negative = both
        return Replacement((replace(node, thresholds=(positive, negative), axis=axis),))

    return graph.rewrite(rule)
