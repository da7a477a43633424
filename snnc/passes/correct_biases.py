"""CorrectBiases: what spikes shift on average in the output of a layer, its bias takes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from snnc.data import Samples
from snnc.ir.graph import Graph, Stage
from snnc.ir.rate_neuron import Polarity, RateNeuron
from snnc.passes.bias_shifts import BiasShift, add_batch, shifted
from snnc.passes.masking import masking_of
from snnc.passes.own_biases import with_own_biases
from snnc.passes.side_by_side import SideBySide, Station, spiking_of


@dataclass(frozen=True)
class CorrectBiases:
    """b' = b + mean(W x + b - W x_spikes) for every layer on spikes (spec 6.4), in front of a
    function with flat ends the shift of least squared error behind it, where samples agree on it
    (see BiasShift).

    Layers are corrected in the order in which spikes reach them, each on the spikes that it gets
    from layers corrected before. scale, polarity: with which steps the network will run (see
    AssignThresholds); mask_input: an input [samples, positions], whose zeros are left out of the
    means; progress: told how many layers are done, of how many. The graph that comes in is what is
    to be reached, so that the pass stands last among those that change thresholds, and runs once.
    """

    neuron: RateNeuron
    samples: Samples
    scale: float = 1.0
    polarity: Polarity = "separate"
    timesteps: int = 1
    mask_input: str | None = None
    progress: Callable[[int, int], None] = lambda done, total: None

    name: ClassVar[str] = "correct-biases"
    before: ClassVar[Stage] = Stage.CALIBRATED
    after: ClassVar[Stage] = Stage.CALIBRATED

    def __call__(self, graph: Graph) -> Graph:
        graph, biases = with_own_biases(graph)
        spiking = spiking_of(graph, self.neuron, self.scale, self.polarity, self.timesteps)
        stations = [Station((bias.name,), bias.value, bias.value) for bias in biases.values()]
        both = SideBySide(graph, spiking, stations, self.samples)
        shifts = {value: BiasShift(graph, bias) for value, bias in biases.items()}
        mask, done = masking_of(graph, self.mask_input, list(biases), self.samples), 0
        for each, batches in both.rounds():
            for batch in batches:
                for station in each:
                    value = station.found
                    add_batch(shifts[value], biases[value], batch, self.timesteps, mask)
            for station in each:
                (name,), shift = station.changes, shifts.pop(station.found).shift()
                graph, both.spiking = (
                    shifted(graph, name, shift),
                    shifted(both.spiking, name, shift),
                )
            done += len(each)
            self.progress(done, len(stations))
        return graph
