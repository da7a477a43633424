"""snnc.calibrate: a network, its sites and what they see on calibration data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from snnc.calibrated import CalibratedNetwork, CalibrationSource, Progress
from snnc.data import Source
from snnc.errors import CompileError
from snnc.fidelity import primary_output
from snnc.frontend import external_files
from snnc.pipeline import Watcher
from snnc.prepare import Model, prepare, prepare_spike_times
from snnc.shards import WHOLE, Shard


@dataclass(frozen=True)
class Watch:
    """Who is told about progress. progress(phase, done, total or None); graph(pass name, graph)."""

    progress: Progress = lambda phase, done, total: None
    graph: Watcher | None = None


def calibrate(
    model: Model,
    *,
    calibration: Source | None = None,
    statistics: str | Path | None = None,
    shard: Shard | str = WHOLE,
    keep: str | Iterable[str] = (),
    encode_input: bool = False,
    mask_input: str | None = None,
    verify: bool = False,
    watch: Watch | None = None,
) -> CalibratedNetwork:
    """The network with its sites, and what they saw on the calibration samples (see compile).

    shard: run this share of the samples only ('2/4' or a Shard), to be merged with the others.
    """
    shard = Shard.parse(shard) if isinstance(shard, str) else shard
    source = CalibrationSource(calibration, statistics, mask_input, shard)
    network = calibrated_by(model, source, keep, encode_input, verify, None, watch or Watch())
    require_open_sites(network)
    return network


def calibrate_spike_times(
    model: Model,
    *,
    calibration: Source | None = None,
    statistics: str | Path | None = None,
    shard: Shard | str = WHOLE,
    keep: str | Iterable[str] = (),
    mask_input: str | None = None,
    watch: Watch | None = None,
) -> CalibratedNetwork:
    """The network in layers of neurons that fire at most once, and what each saw."""
    watch = watch or Watch()
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    shard = Shard.parse(shard) if isinstance(shard, str) else shard
    source = CalibrationSource(calibration, statistics, mask_input, shard)
    prepared = prepare_spike_times(model, keep=keep, watch=watch.graph)
    network = source.calibrated(prepared.ann, prepared.sited, watch.progress)
    return replace(network, sources=sources_of(model, calibration, statistics))


def require_open_sites(network: CalibratedNetwork) -> None:
    """Raises CompileError for a network whose neurons are all settled by itself."""
    if not network.sited.open_sites:
        raise CompileError(
            "every neuron is a quantiser of the network: there is nothing to calibrate or choose",
            at=network.ann.source or None,
            help="compile it as it is: snnc compile MODEL -o OUT.onnx",
        )


def calibrated_by(
    model: Model,
    source: CalibrationSource,
    keep: str | Iterable[str],
    encode_input: bool,
    verify: bool,
    output: str | None,
    watch: Watch,
) -> CalibratedNetwork:
    """The network of a file, message or graph with what its sites saw.

    output: refused at once, before long work, if the network has none of that name.
    """
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    ann, sited = prepare(
        model, keep=keep, encode_input=encode_input, verify=verify, watch=watch.graph
    )
    primary_output(ann, output)
    network = source.calibrated(ann, sited, watch.progress)
    return replace(network, sources=sources_of(model, source.samples, source.statistics))


def sources_of(model: object, *data: object) -> tuple[Path, ...]:
    """The files among what was passed, and those of the model's weights."""
    files = [Path(s) for s in (model, *data) if isinstance(s, (str, Path))]
    return (*files, *(external_files(Path(model)) if isinstance(model, (str, Path)) else ()))
