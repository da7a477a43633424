"""Choosing the scale factor without labels, on calibration data alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from snnc.data import Feeds, Samples
from snnc.errors import CompileError
from snnc.fidelity import Agreement, Measure, centre_of, measure_of, varied
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.numbers import real_number
from snnc.ir.rate_neuron import Polarity, RateNeuron, Synapses
from snnc.rows import batches_and_axes, rows_of
from snnc.runtime import Session
from snnc.search.scaled import Scaled

GRID = tuple(float(s) for s in np.geomspace(1.0, 0.02, 16))
"""Scale factors tried, largest first: 16 log-spaced values in [0.02, 1] (spec 2.4)."""

FINE_GRID = tuple(float(s) for s in np.geomspace(0.02, 0.005, 5))
"""Smaller ones, where none of those is fine enough."""

ATTEMPTS = 3
"""Scale factors whose network is finished in vain; then the weights are at fault, not lambda."""

BATCH = 32


@dataclass(frozen=True)
class Choice:
    """The scale factor taken, the agreement it reached and how that was measured.

    A cosine is that of the outputs less their mean over the samples. fidelity: with the weights as
    they were trained; finished: with those of the finished network, None where none was made.
    """

    scale: float
    fidelity: float
    measure: Measure
    reached: bool
    samples: int
    finished: float | None = None

    @property
    def agreement(self) -> float:
        """Of the network as far as it was made."""
        return self.fidelity if self.finished is None else self.finished


def require_fidelity(fidelity: float) -> None:
    """Raises CompileError for an agreement that cannot be asked for."""
    if not 0 < real_number(fidelity, "fidelity") <= 1:
        raise CompileError(f"fidelity {fidelity} is out of range", help="choose 0 < fidelity <= 1")


def choose_scale(
    ann: Graph,
    calibrated: Graph,
    neuron: RateNeuron,
    samples: Samples,
    output: str,
    fidelity: float,
    polarity: Polarity = "separate",
    progress: Callable[[int], None] = lambda done: None,
    grid: Sequence[float] = GRID,
    synapses: Synapses = "float",
    timesteps: int = 1,
    finish: Callable[[Graph], Graph] | None = None,
) -> Choice:
    """The largest scale factor of the grid whose outputs agree with the ANN's to `fidelity`.

    If none does, the one that agrees best (the larger of equals). Decisions that are the same for
    nearly all samples would agree at any scale factor: then the cosine counts. One session serves
    all scale factors: the steps are fed at every run. finish: makes the network with its final
    weights, which must agree as well; it is asked where the weights as trained do.
    """
    reference = Reference(ann, calibrated, samples, output, max(BATCH // timesteps, 1))
    scaled = Scaled(calibrated, neuron, polarity, synapses=synapses, timesteps=timesteps)
    tried: list[Choice] = []
    for scale in grid:
        network = scaled.at(scale)
        found = reference.agreement(network.run)
        finished = None
        if finish is not None and found >= fidelity:
            finished = reference.agreement(Session(finish(network.graph)).run)
        met = (found if finished is None else finished) >= fidelity
        tried.append(Choice(scale, found, reference.measure, met, reference.samples, finished))
        progress(len(tried))
        if met or sum(choice.finished is not None for choice in tried) == ATTEMPTS:
            break
    return max(
        tried, key=lambda choice: (choice.finished is not None, choice.agreement, choice.scale)
    )


class Reference:
    """The trained network's outputs for some samples, and how others are measured by them.

    network: of any stage, as which kind of output it has is read from it.
    """

    def __init__(
        self, ann: Graph, network: Graph, samples: Samples, output: str, batch: int = BATCH
    ) -> None:
        session = Session(ann)
        batches, axes = batches_and_axes(session, samples, batch, (output,))
        self._output, self._axis, self._feeds = output, axes[output], list(batches)
        self._expected = [rows_of(session.run(f)[output], self._axis) for f in self._feeds]
        self._centre = centre_of(self._expected)
        self.measure: Measure = measure_of(network, output) if varied(self._expected) else "cosine"
        self.samples = sum(map(len, self._expected))

    def agreement(self, run: Callable[[Feeds], Mapping[str, Array]]) -> float:
        """How well a network's outputs (by name) agree with the trained one's."""
        score = Agreement(self._centre)
        for feeds, wanted in zip(self._feeds, self._expected, strict=True):
            score.update(rows_of(run(feeds)[self._output], self._axis), wanted)
        return score.value(self.measure)
