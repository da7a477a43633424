"""From an ONNX file and calibration data to a network whose neurons fire at most once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from snnc.calibrated import CalibrationSource
from snnc.calibrating import Watch, sources_of
from snnc.data import Samples, Source
from snnc.errors import CompileError, few
from snnc.fidelity import Measure, measure_of, primary_output
from snnc.files import require_writable
from snnc.ir.graph import Graph
from snnc.ir.neuron import parse_neuron
from snnc.ir.node import Op
from snnc.ir.spike_times import RELAY, fires
from snnc.neurons.ttfs import MOST_TICKS, TTFS
from snnc.passes.calibrate import Calibrate
from snnc.passes.calibration import require_percentile
from snnc.passes.spike_times.emit import EmitSpikes
from snnc.passes.spike_times.windows import AlignWindows
from snnc.pipeline import run_passes
from snnc.precision import costly_layers
from snnc.prepare import Model, prepare_spike_times
from snnc.runtime import Session, batch_size, held_between
from snnc.search.grid import Reference
from snnc.shards import missing
from snnc.spike_events import windows
from snnc.spike_time_coverage import spike_time_coverage
from snnc.spike_time_report import SpikeTimeReport
from snnc.spiking_network import SpikeTimeNetwork

MEASURED = 128
"""Calibration samples on which the agreement with the trained network is measured."""

ENOUGH = 0.98
"""Agreement below which a warning says what would help."""

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
    output: str | None = None,
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
    output = primary_output(prepared.ann, output)
    network = source.calibrated(prepared.ann, prepared.sited, watch.progress)
    network = replace(network, sources=sources_of(model, source.samples, source.statistics))
    if save_statistics is not None:
        network.save_statistics(save_statistics)
    seen = network.calibration
    passes = (
        Calibrate(seen, percentile or 0.0),
        EmitSpikes(neuron, chosen, by_percentile=percentile is not None),
        AlignWindows(),
    )
    spiking = run_passes(prepared.sited, passes, watch.graph)
    sample = next(seen.reservoir.batches(1), None)
    warnings = [RANDOM_RANGES] if seen.random else []
    measure, agreement, count = measure_of(prepared.normal, output), None, 0
    if seen.reservoir.seen:
        kept = seen.reservoir.samples(MEASURED)
        size = batch_size(spiking, (output,), held_between(spiking))
        reference = Reference(prepared.ann, prepared.normal, kept, output, size)
        measure, count = reference.measure, reference.samples
        agreement = reference.agreement(Session(spiking).run)
        if agreement < ENOUGH:
            warnings.append(_coarse(spiking, kept, output, measure, agreement, watch))
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
        output=output,
        measure=measure,
        agreement=agreement,
        measured_samples=count,
        warnings=tuple(warnings),
    )
    return SpikeTimeNetwork(spiking, prepared.ann, report, network.sources)


def _coarse(
    spiking: Graph, samples: Samples, output: str, measure: Measure, found: float, watch: Watch
) -> str:
    """The warning that ticks are too few, and of which layers."""
    told = partial(_told, watch, "looking for layers that need more ticks")
    costly = costly_layers(spiking, samples, output, told)
    named = [f"--time-precision '{name}={ticks}'" for name, _, ticks in costly]
    finer = named or ["a larger --time-precision"]
    return (
        f"the {measure} agreement with the trained network is {found:.4f} on calibration samples: "
        f"more ticks would help ({', '.join(finer)}), or --emission nearest"
    )


def _told(watch: Watch, phase: str, done: int) -> None:
    watch.progress(phase, done, None)


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
