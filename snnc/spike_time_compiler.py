"""From an ONNX file and calibration data to a network whose neurons fire at most once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from snnc.calibrated import CalibrationSource
from snnc.calibrating import Watch, sources_of
from snnc.compile_report import RANDOM_WARNING
from snnc.errors import CompileError, few
from snnc.fidelity import primary_output
from snnc.ir.graph import Graph
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
from snnc.spike_time_coverage import spike_time_coverage
from snnc.spike_time_report import SpikeTimeReport
from snnc.spiking_network import SpikingNetwork


def compile_spike_times(
    model: Model,
    neuron: TTFS,
    source: CalibrationSource,
    *,
    save_statistics: str | Path | None = None,
    precisions: Mapping[str, int] | None = None,
    percentile: float | None = None,
    keep: tuple[str, ...] = (),
    output: str | None = None,
    verify: bool = False,
    watch: Watch | None = None,
) -> SpikingNetwork:
    """See `snnc.compile`. precisions: ticks of layers by a pattern of their nodes' names."""
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
    calibration = network.calibration
    passes = (
        Calibrate(calibration, 1.0 if percentile is None else percentile),
        EmitSpikes(neuron, chosen, by_percentile=percentile is not None),
        AlignWindows(),
    )
    spiking = run_passes(prepared.sited, passes, watch.graph)
    sample = next(calibration.reservoir.batches(1), None)
    warnings = [RANDOM_WARNING] if calibration.random else []
    if absent := missing(calibration.parts):
        warnings.append(f"the statistics lack shards of the samples: {few(absent)}")
    report = SpikeTimeReport(
        neuron=neuron,
        precisions=chosen,
        layers=sum(map(fires, spiking.nodes)),
        relays=sum(isinstance(n, Op) and n.op_type == RELAY for n in spiking.nodes),
        windows=windows_of(spiking),
        percentile=percentile,
        output=output,
        coverage=spike_time_coverage(prepared.normal, keep, sample),
        calibration_samples=calibration.reservoir.seen,
        warnings=tuple(warnings),
    )
    return SpikingNetwork(spiking, prepared.ann, report, network.sources)


def windows_of(graph: Graph) -> int:
    """Windows from the encoding of the inputs to the last spikes."""
    ops = (node for node in graph.nodes if isinstance(node, Op))
    return 1 + max((op.integer("window", -1) for op in ops), default=-1)


def time_precisions(given: tuple[str, ...], neuron: TTFS) -> tuple[TTFS, dict[str, int]]:
    """The neuron and the ticks of single layers from texts: P, or PATTERN=P."""
    precisions: dict[str, int] = {}
    for text in given:
        pattern, equals, number = text.rpartition("=")
        if not (number.isascii() and number.isdigit()) or (equals and not pattern):
            raise CompileError(
                f"'{text}' is no time precision",
                help=f"write a number of ticks from 1 to {MOST_TICKS}, or LAYER=TICKS",
            )
        if equals:
            precisions[pattern] = int(number)
        else:
            neuron = replace(neuron, p=int(number))
    return neuron, precisions
