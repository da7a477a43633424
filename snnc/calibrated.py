"""A calibrated network: all that a spiking network needs but the neuron and the scale factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from snnc.data import Samples, Source, samples_of
from snnc.errors import CompileError
from snnc.files import require_writable
from snnc.identity import identity_of, require_same
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.rate_neuron import Polarity, RateNeuron, Synapses
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.calibrate import Calibrate
from snnc.passes.calibration import Calibration, observe
from snnc.passes.fold_time import FoldTime
from snnc.passes.softmax_max import SoftmaxMax
from snnc.passes.substitute import Substitute
from snnc.pipeline import Watcher, named_in_errors, run_passes
from snnc.random_data import RANDOM, random_samples
from snnc.reservoir import Reservoir
from snnc.shards import WHOLE, Shard
from snnc.statistics import SavedStatistics, read_statistics, write_statistics

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Told the phase, how much is done and of how much (None: not known)."""


@dataclass(frozen=True)
class CalibratedNetwork:
    """ann: the network as loaded; sited: normalised, with its sites; calibration: what they saw;
    sources: the files that it was made from.

    Neuron, percentile and scale factor are chosen afterwards, as often as wanted: one calibration
    serves every choice.
    """

    ann: Graph
    sited: Graph
    calibration: Calibration
    sources: tuple[Path, ...] = ()

    @property
    def samples(self) -> Samples:
        """The calibration samples that were kept."""
        return self.calibration.reservoir.samples()

    def graph(self, percentile: float = 1.0, watch: Watcher | None = None) -> Graph:
        """The network with statistics at its sites (stage calibrated)."""
        return run_passes(self.sited, (Calibrate(self.calibration, percentile),), watch)

    def save_statistics(self, path: str | Path) -> None:
        """Writes what calibration saw, to be read as `statistics`; never over a file it is from."""
        require_writable(Path(path), *self.sources)
        identity = identity_of(self.ann, self.sited)
        write_statistics(SavedStatistics(identity, self.calibration), Path(path))


@dataclass(frozen=True)
class CalibrationSource:
    """Where calibration comes from: samples, or a file of statistics; neither of the two for a
    network whose neurons are all quantisers of its own.

    mask_input: see observe. shard: the share of the samples to run.
    """

    samples: Source | None = None
    statistics: str | Path | None = None
    mask_input: str | None = None
    shard: Shard = WHOLE

    def __post_init__(self) -> None:
        if self.samples is not None and self.statistics is not None:
            raise _one_of_the_two()

    def calibrated(self, ann: Graph, sited: Graph, progress: Progress) -> CalibratedNetwork:
        """The network with what its sites saw."""
        if self.statistics is not None:
            return from_statistics(ann, sited, Path(self.statistics), self.mask_input)
        if self.samples is None:
            if sited.open_sites:
                raise _one_of_the_two()
            return CalibratedNetwork(ann, sited, Calibration({}, Reservoir(), ()))
        random = isinstance(self.samples, str) and self.samples == RANDOM
        samples = random_samples(ann) if random else samples_of(self.samples, ann)
        total = samples.count if self.shard == WHOLE else None

        def told(done: int) -> None:
            progress("calibrating", done, total)

        return calibrate_sites(ann, sited, samples, self.mask_input, self.shard, told)


def _one_of_the_two() -> CompileError:
    return CompileError(
        "calibration takes samples, or statistics of them: one of the two",
        help="pass --calibration F.npz, or --statistics S.npz of snnc calibrate "
        "(in Python calibration=..., statistics=...)",
    )


def require_calibrated(network: object) -> None:
    """Raises CompileError for what is no calibrated network, a path or a graph, say."""
    if not isinstance(network, CalibratedNetwork):
        raise CompileError(
            f"a {type(network).__name__} is no calibrated network",
            help="network = snnc.calibrate(model, calibration=...)",
        )


def calibrate_sites(
    ann: Graph,
    sited: Graph,
    samples: Samples,
    mask_input: str | None = None,
    shard: Shard = WHOLE,
    progress: Callable[[int], None] = lambda done: None,
) -> CalibratedNetwork:
    """Runs the network with sites over a shard of `samples`, streaming."""
    with named_in_errors(Calibrate.name):
        seen = observe(sited, samples, mask_input=mask_input, shard=shard, progress=progress)
    return CalibratedNetwork(ann, sited, seen)


def from_statistics(
    ann: Graph, sited: Graph, path: Path, mask_input: str | None = None
) -> CalibratedNetwork:
    """The network with the statistics of a file; CompileError if they are of another network.

    mask_input: refuse statistics that were calibrated without this one, if given.
    """
    saved = read_statistics(path)
    name = f"'{ann.source}'" if ann.source else "this network"
    require_same(saved.identity, identity_of(ann, sited), f"'{path}'", name)
    if not saved.calibration.reservoir.fits(ann):
        raise CompileError(
            f"'{path}' holds samples that {name} does not take", help="calibrate again"
        )
    if mask_input not in (None, saved.calibration.mask_input):
        raise CompileError(
            f"'{path}' was calibrated with {saved.calibration.mask}",
            help="leave --mask-input out, or calibrate again with it",
        )
    return CalibratedNetwork(ann, sited, saved.calibration)


def with_scale(
    calibrated: Graph,
    neuron: RateNeuron,
    scale: float,
    polarity: Polarity = "separate",
    watch: Watcher | None = None,
    synapses: Synapses = "float",
    timesteps: int = 1,
) -> Graph:
    """The spiking network for one scale factor, from a graph of stage calibrated.

    synapses: 'int8' for spike counts of 8 bits; the weights stay as they are.
    """
    passes = (
        AssignThresholds(neuron, scale, polarity, synapses),
        SoftmaxMax(neuron, synapses),
        Substitute(neuron, synapses, timesteps),
        *((FoldTime(timesteps),) if timesteps > 1 else ()),
    )
    return run_passes(calibrated, passes, watch)


def step_constants(graph: Graph) -> dict[str, Array]:
    """The step constants of every neuron; fed at every run, they let one session serve many."""
    names = sorted({s for neuron in graph.neurons for s in neuron.inputs[1:] if s})
    return {name: graph.consts[name] for name in names}
