"""From an ONNX file and calibration data to a network whose neurons fire at most once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from snnc.calibrated import CalibratedNetwork, CalibrationSource
from snnc.calibrating import Watch, sources_of
from snnc.data import Source
from snnc.errors import CompileError, few
from snnc.files import require_writable
from snnc.ir.neuron import parse_neuron
from snnc.ir.node import Op
from snnc.ir.spike_times import RELAY, fires
from snnc.neurons.ttfs import MOST_TICKS, TTFS
from snnc.passes.calibrate import Calibrate
from snnc.passes.calibration import require_percentile
from snnc.passes.spike_times.emit import EmitSpikes
from snnc.passes.spike_times.windows import AlignWindows
from snnc.pipeline import run_passes
from snnc.prepare import Model, prepare_spike_times
from snnc.shards import missing
from snnc.spike_events import windows
from snnc.spike_time_coverage import spike_time_coverage
from snnc.spike_time_report import SpikeTimeReport
from snnc.spiking_network import SpikeTimeNetwork

RANDOM_RANGES = "calibrated on random numbers: the ranges are meaningless"


def compile_spike_times(
    model: Model,
    *,
    neuron: TTFS | str = "ttfs",
    calibration: Source | None = None,
    statistics: str | Path | None = None,
    save_statistics: str | Path | None = None,
    precisions: Mapping[str, int] | None = None,
    percentile: float | None = None,
    keep: str | Iterable[str] = (),
    mask_input: str | None = None,
    verify: bool = False,
    watch: Watch | None = None,
) -> SpikeTimeNetwork:
    """Turns a trained network into one whose neurons fire at most once (TTFSFormer, spec 4).

    neuron: a TTFS model, or its text ('ttfs:p=4096:rule=nearest'). precisions: ticks of layers
    other than the neuron's p, by a pattern of their nodes' names. percentile: take the range of a
    layer from this pair of quantiles, in place of the extremes with a margin. The rest as in
    `snnc.compile`. Raises CompileError.
    """
    neuron = _spike_timing(neuron)
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    source = CalibrationSource(calibration, statistics, mask_input)
    if save_statistics is not None:
        sources = sources_of(model, calibration, statistics)
        require_writable(Path(save_statistics), *sources)
    watch = watch or Watch()
    if percentile is not None:
        require_percentile(percentile)
    chosen = tuple((precisions or {}).items())
    for _, ticks in chosen:
        replace(neuron, p=ticks)  # refuses early
    prepared = prepare_spike_times(model, keep=keep, verify=verify, watch=watch.graph)
    network = source.calibrated(prepared.ann, prepared.sited, watch.progress)
    network = replace(network, sources=sources_of(model, source.samples, source.statistics))
    if save_statistics is not None:
        network.save_statistics(save_statistics)
    seen = network.calibration
    passes = (
        Calibrate(seen, 1.0 if percentile is None else percentile),
        EmitSpikes(neuron, chosen, by_percentile=percentile is not None),
        AlignWindows(),
    )
    spiking = run_passes(prepared.sited, passes, watch.graph)
    sample = next(seen.reservoir.batches(1), None)
    warnings = [RANDOM_RANGES] if seen.random else []
    if absent := missing(seen.parts):
        warnings.append(f"the statistics lack shards of the samples: {few(absent)}")
    report = SpikeTimeReport(
        neuron=neuron,
        precisions=chosen,
        layers=sum(map(fires, spiking.nodes)),
        relays=sum(isinstance(n, Op) and n.op_type == RELAY for n in spiking.nodes),
        windows=windows(spiking),
        percentile=percentile,
        coverage=spike_time_coverage(prepared.normal, keep, sample),
        calibration_samples=seen.reservoir.seen,
        warnings=tuple(warnings),
    )
    return SpikeTimeNetwork(spiking, prepared.ann, report, network.sources)


def calibrate_spike_times(
    model: Model,
    *,
    calibration: Source | None = None,
    statistics: str | Path | None = None,
    keep: str | Iterable[str] = (),
    mask_input: str | None = None,
    watch: Watch | None = None,
) -> CalibratedNetwork:
    """The network in layers of neurons that fire at most once, and what each saw (see compile)."""
    watch = watch or Watch()
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    source = CalibrationSource(calibration, statistics, mask_input)
    prepared = prepare_spike_times(model, keep=keep, watch=watch.graph)
    return source.calibrated(prepared.ann, prepared.sited, watch.progress)


def _spike_timing(neuron: TTFS | str) -> TTFS:
    model = parse_neuron(neuron) if isinstance(neuron, str) else neuron
    if not isinstance(model, TTFS):
        raise CompileError(
            f"{neuron!r} is no neuron that fires at most once", help="pass snnc.TTFS(), or 'ttfs'"
        )
    return model


def time_precisions(given: tuple[str, ...], neuron: TTFS) -> tuple[TTFS, dict[str, int]]:
    """The neuron and the ticks of single layers from texts: P, or PATTERN=P.

    Raises CompileError for what is neither, and for a second P of the same layers.
    """
    precisions: dict[str, int] = {}
    for text in given:
        pattern, equals, number = text.rpartition("=")
        if not (number.isascii() and number.isdigit()) or (equals and not pattern):
            raise CompileError(
                f"'{text}' is no time precision",
                help=f"write a number of ticks from 1 to {MOST_TICKS}, or LAYER=TICKS",
            )
        if pattern in precisions:
            layers = f"the layers '{pattern}'" if pattern else "all layers"
            raise CompileError(
                f"the time precision of {layers} is given twice", help="give it once"
            )
        precisions[pattern] = int(number)
    return replace(neuron, p=precisions.pop("", neuron.p)), precisions
