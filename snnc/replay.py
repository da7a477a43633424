"""A schedule executed over samples, beside the artifact that onnxruntime runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from snnc.artifact_spikes import ArtifactSpikes
from snnc.backends.schedule.artifact import Schedule
from snnc.backends.schedule.counts import Counts
from snnc.backends.schedule.execution import Execution, Fired
from snnc.backends.schedule.tally import Tally
from snnc.data import Samples
from snnc.errors import CompileError
from snnc.evaluation import Progress, silent
from snnc.fidelity import Agreement, primary_output
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.runtime import batch_size
from snnc.simulator import Differing

OUTPUT_NEAR = 1e-3
"""Share of the largest output by which outputs may differ that the same spikes lead to: float32
sums in another order, through a few real operations."""

Watch = Callable[[Fired, int], None]
"""Is told of each batch as it runs freely, and of the number of its first sample."""


@dataclass(frozen=True)
class Comparison:
    """The schedule beside the artifact.

    layers: each layer of neurons on the artifact's own spikes; free_running: spike counts that
    differ where each runs on its own; neurons: how many there are of them; agreement: share of
    samples whose largest output is the same, None where there is but one; max_abs_error: of all
    outputs, running freely; output_error: of the outputs on the artifact's own spikes, as a share
    of the largest number in the same output and batch.
    """

    layers: Mapping[str, Differing]
    free_running: int
    neurons: int
    agreement: float | None
    max_abs_error: float
    output_error: float

    @property
    def differs(self) -> bool:
        """Whether anything differs that the order of float32 sums does not explain."""
        return self.differing > 0 or self.output_error > OUTPUT_NEAR

    @property
    def differing(self) -> int:
        """Spike counts that differ although no threshold is near."""
        return sum(layer.beyond for layer in self.layers.values())

    @property
    def near(self) -> int:
        """Those that differ where a threshold is within the tolerance."""
        return sum(layer.differing - layer.beyond for layer in self.layers.values())


@dataclass(frozen=True)
class Replay:
    """What a schedule did over samples, and how it compares."""

    counts: Counts
    comparison: Comparison | None = None


def replay(
    schedule: Schedule,
    samples: Samples,
    against: Graph | None = None,
    *,
    watch: Watch | None = None,
    progress: Progress = silent,
) -> Replay:
    """Runs the schedule over `samples`, streaming.

    against: the artifact to compare with, with the weights that the target has.
    """
    tally = Tally(schedule.network)
    execution = Execution(schedule.network)
    beside = None if against is None else _Beside(schedule, execution, against)
    done, neurons = 0, [n for n in schedule.network.homes if n in schedule.network.shapes]
    for feeds in samples.batches(batch_size(schedule.graph, neurons)):
        size = samples.size_of(feeds)
        fired = execution.fire(feeds, size)
        tally.update(fired)
        if watch is not None:
            watch(fired, done)
        if beside is not None:
            beside.update(feeds, size, fired)
        done += size
        progress(done)
    return Replay(tally.counts, None if beside is None else beside.comparison)


@dataclass
class _Beside:
    schedule: Schedule
    execution: Execution
    against: Graph
    layers: dict[str, Differing] = field(default_factory=dict)
    free_running: int = 0
    neurons: int = 0
    score: Agreement = field(default_factory=Agreement)
    largest: float = 0.0
    output_error: float = 0.0

    def __post_init__(self) -> None:
        mine, theirs = self.schedule.graph, self.against
        layers = self.schedule.network.layers
        names = {neuron.outputs[0] for layer in layers for neuron in layer.neurons}
        self.artifact = ArtifactSpikes(theirs)
        alike = all(
            getattr(mine, each) == getattr(theirs, each)
            for each in ("inputs", "outputs", "timesteps")
        )
        if not alike or names != {*self.artifact.names}:
            raise CompileError(
                f"the schedule was made from another network than '{theirs.source}'",
                help="pass the file that snnc schedule was given",
            )

    def update(self, feeds: Mapping[str, Array], size: int, free: Fired) -> None:
        outputs, given = self.artifact.run(feeds)
        forced = self.execution.fire(feeds, size, given)
        for name, found in forced.differing.items():
            before = self.layers.get(name, Differing(0, 0, 0, found.exact))
            self.layers[name] = Differing(
                before.neurons + found.neurons,
                before.differing + found.differing,
                before.far + found.far,
                found.exact,
            )
            sent = free.ticks if name in free.ticks else free.counts
            theirs = forced.ticks if name in free.ticks else forced.counts
            self.free_running += int((sent[name] != theirs[name]).sum())
            self.neurons += sent[name].size
        for output, array in outputs.items():
            if array.dtype.kind == "f" and array.size:
                self.largest = max(self.largest, _distance(array, free.outputs[output]))
                most = float(np.max(np.abs(array[np.isfinite(array)]), initial=0.0))
                error = _distance(array, forced.outputs[output]) / (most or 1.0)
                self.output_error = max(self.output_error, error)
        primary = primary_output(self.against)
        self.score.update(free.outputs[primary], outputs[primary])

    @property
    def comparison(self) -> Comparison:
        return Comparison(
            self.layers,
            self.free_running,
            self.neurons,
            self.score.argmax,
            self.largest,
            self.output_error,
        )


def _distance(theirs: Array, mine: Array) -> float:
    """The largest difference; none between what is not finite in the same way."""
    same = (theirs == mine) | (np.isnan(theirs) & np.isnan(mine))
    distance = float(np.max(np.abs(theirs - mine), where=~same, initial=0.0))
    if not np.isfinite(distance):
        raise CompileError(
            "an output is finite in the artifact or in the schedule, and not in the other",
            help="look for weights or samples out of range",
        )
    return distance
