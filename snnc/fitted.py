"""A calibrated network with the thresholds of a rule, as every way of compiling takes it."""

from __future__ import annotations

import math
from collections.abc import Callable

from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.data import Feeds
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.rate_neuron import Polarity, RateNeuron, Synapses
from snnc.passes.fit_thresholds import fitting
from snnc.passes.fold_time import require_foldable
from snnc.passes.site_neurons import SiteNeurons
from snnc.passes.threshold_rules import PERCENTILE, ThresholdRule, threshold_rule
from snnc.pipeline import Watcher, run_passes
from snnc.reservoir import Reservoir


def rule_for(
    network: CalibratedNetwork,
    neuron: RateNeuron,
    rule: ThresholdRule | str | None = None,
    synapses: Synapses = "float",
) -> ThresholdRule:
    """The rule asked for, or that of the neuron model where this calibration allows it."""
    return threshold_rule(rule, neuron, synapses, network.calibration.mask_input is not None)


def fitted(
    network: CalibratedNetwork,
    neuron: RateNeuron,
    rule: ThresholdRule | str | None = None,
    *,
    percentile: float = PERCENTILE,
    polarity: Polarity = "separate",
    synapses: Synapses = "float",
    timesteps: int = 1,
    scale: float = 1.0,
    watch: Watcher | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Graph:
    """The graph of stage calibrated from which the passes of a scale factor start.

    rule: None for that of the neuron model. scale: lambda, where it is known already. CompileError
    where several timesteps cannot be folded into the batch.
    """
    chosen = rule_for(network, neuron, rule, synapses).at(percentile)
    graph = network.graph(chosen.quantile, watch)
    reservoir = network.calibration.reservoir
    if timesteps > 1:
        _require_unbounded(neuron)
        if not reservoir.seen:
            raise CompileError(
                "whether timesteps can be folded into the batch is tried out on a sample",
                help="pass --calibration",
            )
        folded = with_scale(graph, neuron, scale, polarity, timesteps=timesteps)
        require_foldable(graph, folded, *_two(reservoir))
    if not network.sited.open_sites:
        return graph
    fit = fitting(chosen, neuron, reservoir, polarity, timesteps, scale, progress)
    own = (SiteNeurons(neuron, network.calibration),) if chosen.statistic == "entropy" else ()
    return run_passes(graph, (*fit, *own), watch)


def _require_unbounded(neuron: RateNeuron) -> None:
    if neuron.parameters["bound"] != math.inf:
        raise CompileError(
            f"{neuron.name}: a bound holds inputs of one timestep; over several it would hold what"
            " membranes have kept",
            help="leave bound out, or take one timestep",
        )


def _two(reservoir: Reservoir) -> tuple[Feeds, Feeds]:
    """The first sample, and the next one of its shape; itself again where there is none."""
    samples = reservoir.batches(1)
    first = next(samples)
    alike = (s for s in samples if all(s[name].shape == a.shape for name, a in first.items()))
    return first, next(alike, first)
