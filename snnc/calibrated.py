"""A calibrated network: all that a spiking network needs but the neuron and the scale factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from snnc.data import Samples
from snnc.ir.graph import Graph
from snnc.ir.neuron import NeuronModel, Polarity
from snnc.ir.node import Array
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.calibrate import Calibrate
from snnc.passes.calibration import Calibration, observe
from snnc.passes.softmax_max import SoftmaxMax
from snnc.passes.substitute import Substitute
from snnc.pipeline import Watcher, named_in_errors, run_passes


@dataclass(frozen=True)
class CalibratedNetwork:
    """ann: the network as loaded; sited: normalised, with its sites; calibration: what they saw.

    Neuron, percentile and scale factor are chosen afterwards, as often as wanted: one calibration
    serves every choice.
    """

    ann: Graph
    sited: Graph
    calibration: Calibration

    @property
    def samples(self) -> Samples:
        """The calibration samples that were kept."""
        return self.calibration.reservoir.samples()

    def graph(self, percentile: float = 1.0, watch: Watcher | None = None) -> Graph:
        """The network with statistics at its sites (stage calibrated)."""
        return run_passes(self.sited, (Calibrate(self.calibration, percentile),), watch)


def calibrate_sites(
    ann: Graph,
    sited: Graph,
    samples: Samples,
    mask_input: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> CalibratedNetwork:
    """Runs the network with sites over `samples`, streaming."""
    with named_in_errors(Calibrate.name):
        seen = observe(sited, samples, mask_input=mask_input, progress=progress)
    return CalibratedNetwork(ann, sited, seen)


def with_scale(
    calibrated: Graph,
    neuron: NeuronModel,
    scale: float,
    polarity: Polarity = "separate",
    watch: Watcher | None = None,
) -> Graph:
    """The spiking network for one scale factor, from a graph of stage calibrated."""
    passes = (AssignThresholds(neuron, scale, polarity), SoftmaxMax(neuron), Substitute(neuron))
    return run_passes(calibrated, passes, watch)


def step_constants(graph: Graph) -> dict[str, Array]:
    """The step constants of every neuron; fed at every run, they let one session serve many."""
    names = sorted({s for neuron in graph.neurons for s in neuron.inputs[1:] if s})
    return {name: graph.consts[name] for name in names}
