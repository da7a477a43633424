"""From a compiled network to a schedule on a chip, and to its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from snnc.backends.lowering.hoist import hoist_neurons
from snnc.backends.schedule.artifact import Schedule, write_schedule
from snnc.backends.schedule.cells import chip_layers
from snnc.backends.schedule.directory import EVENTS, replacing_directory
from snnc.backends.schedule.events import EventFile
from snnc.backends.schedule.execution import Fired
from snnc.backends.schedule.feasibility import findings, misfit
from snnc.backends.schedule.inner_neurons import with_inner_neurons
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.loads import Loads, loads
from snnc.backends.schedule.map import map_network
from snnc.backends.schedule.split_sums import with_split_sums
from snnc.backends.schedule.weights import with_target_weights
from snnc.coverage import shapes_at
from snnc.data import Feeds, Samples
from snnc.errors import CompileError
from snnc.evaluation import Progress, silent
from snnc.ir.graph import Graph, Stage
from snnc.random_data import random_feeds
from snnc.replay import Replay, replay
from snnc.runtime import Session, shape_name
from snnc.schedule_view import Raster, draw_schedule
from snnc.targets import Target, load_target, target_file

_DIM = 32
"""What dimensions that a model leaves open are where none of the usual sizes suits."""


def schedule(
    graph: Graph,
    target: str | Path,
    *,
    host: bool = False,
    sample: Feeds | None = None,
    progress: Progress = silent,
) -> Schedule:
    """A compiled network on the cores of a target, with weights of the bits that it has.

    host: what the target has no operation for is computed by the host, and listed; sample: one that
    shows the sizes of open dimensions. Raises CompileError for a network that does not fit.
    """
    if graph.stage is not Stage.SPIKING:
        raise CompileError(
            "a schedule is of a compiled network, and this is a trained one",
            at=graph.source or None,
            help="compile it first, or with --target: snnc compile MODEL --target NAME",
        )
    chip = load_target(target)
    network = network_for(graph, chip, sample)
    found = findings(network, chip, host=host)
    error = misfit(found, chip)
    if error is not None:
        raise error
    hosted = tuple(each.name for each in found if each.host)
    if len(hosted) == len(found):
        raise CompileError(
            f"{chip.name} has the operations for no layer of the network: the host would compute "
            "all of it",
            help="another target (snnc check --target says what each lacks)",
        )
    mapping = map_network(network, chip, host=hosted)
    progress(len(network.layers))
    return Schedule(network, chip, mapping, target_file(target).read_text("utf-8-sig"))


def for_target(graph: Graph, target: Target) -> Graph:
    """The compiled network that a target executes: with the weights that it has, sums that no core
    holds in parts, every product of spike times with its neurons, and neurons where an artifact
    with these weights has them."""
    parted = with_split_sums(with_inner_neurons(graph), target)
    weighted = with_target_weights(parted, target)
    return hoist_neurons(weighted) if graph.timesteps == 1 else weighted


def network_for(graph: Graph, target: Target, sample: Feeds | None = None) -> Network:
    """The layers of a compiled network on a target, for `sample`, or one of a common size."""
    made = for_target(graph, target)
    values = tuple(made.types)
    if sample is None:
        return chip_layers(made, shapes_at(made, values, random_feeds(made, 1, _DIM))[0])
    found = Session(made, shapes_of=values).run(sample)
    shapes = {value: tuple(int(d) for d in found[shape_name(value)]) for value in values}
    return chip_layers(made, shapes)


@dataclass(frozen=True)
class Saved:
    """What was written to a directory. events: recorded; replay, loads: of the samples whose events
    they are, None without samples."""

    events: int = 0
    replay: Replay | None = None
    loads: Loads | None = None


def save_schedule(
    made: Schedule,
    directory: str | Path,
    *,
    samples: Samples | None = None,
    picture: Path | None = None,
    progress: Progress = silent,
) -> Saved:
    """Writes the directory of a schedule, with the events of `samples`, whole or not at all.

    picture: file to draw what these samples do into.
    """
    if picture is not None and samples is None:
        raise CompileError("a picture shows what samples do: it needs samples")
    with replacing_directory(Path(directory)) as new:
        write_schedule(made, new)
        if samples is None:
            return Saved()
        raster = Raster(made) if picture is not None else None
        with EventFile(new / EVENTS, made.network, made.mapping) as file:

            def watch(fired: Fired, first: int) -> None:
                file.write(fired, first)
                if raster is not None:
                    raster.watch(fired, first)

            found = replay(made, samples, watch=watch, progress=progress)
        load = loads(made.network, made.mapping, made.target, found.counts)
        if picture is not None and raster is not None:
            draw_schedule(made, load, found.counts, raster, picture)
        return Saved(file.written, found, load)
