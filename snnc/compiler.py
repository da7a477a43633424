"""snnc.compile: from an ONNX file and calibration data to a spiking network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from onnx import ModelProto

from snnc.backends.onnx_model import save_onnx
from snnc.calibrated import CalibratedNetwork, calibrate_sites, with_scale
from snnc.coverage import Coverage, coverage_of
from snnc.data import Samples, Source, samples_of
from snnc.energy import PJ_AC, PJ_MAC, Energy
from snnc.errors import CompileError
from snnc.evaluation import Evaluation, evaluate, measure, run
from snnc.fidelity import primary_output
from snnc.files import require_writable
from snnc.frontend import external_files, load
from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.neuron import NeuronModel, Polarity, make_neuron
from snnc.ir.node import Activity, Array, Neuron, Node
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.calibration import require_percentile
from snnc.passes.normalize import Normalize
from snnc.passes.place_sites import PlaceSites
from snnc.pipeline import Watcher, run_passes
from snnc.random_data import random_samples
from snnc.search.grid import GRID, Choice, choose_scale

Model: TypeAlias = str | Path | ModelProto | Graph
"""A trained network: a file, a message or a graph."""

RANDOM = "random"
"""Calibration source for trying things out: random numbers instead of samples."""

FEW_SAMPLES = 50
"""Below this many samples a fidelity of 0.98 cannot be told from 1: a warning says so."""

ACTIVITY_SAMPLES = 64
"""Calibration samples on which the activity stored in the artifact is measured."""


@dataclass(frozen=True)
class CompileReport:
    """What compilation did: coverage, the scale factor and how it was found, warnings."""

    neuron: NeuronModel
    sites: int
    scale: float
    choice: Choice | None
    output: str
    coverage: Coverage
    calibration_samples: int
    warnings: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """As `snnc compile --json` prints it (without the path of the file written)."""
        chosen = self.choice
        return {
            "neuron": self.neuron.name,
            "parameters": self.neuron.plain_parameters,
            "sites": self.sites,
            "lambda": self.scale,
            "fidelity": None
            if chosen is None
            else {
                "reached": chosen.fidelity,
                "measure": chosen.measure,
                "output": self.output,
                "samples": chosen.samples,
                "target_met": chosen.reached,
            },
            "calibration_samples": self.calibration_samples,
            **coverage_summary(self.coverage),
            "warnings": list(self.warnings),
        }


def coverage_summary(coverage: Coverage) -> dict[str, Any]:
    """The coverage, as both `snnc compile` and `snnc check` print it."""
    return {
        "spiking_fraction": coverage.spiking_fraction,
        "direct_coded_fraction": coverage.direct_coded_fraction,
        "direct_coded": coverage.names("direct-coded"),
        "analog": coverage.analog,
        "open_dimensions_counted_as": coverage.open_dim,
    }


class SpikingNetwork:
    """A compiled network. graph: the spiking graph; ann: the network it came from; report."""

    def __init__(
        self, graph: Graph, ann: Graph, report: CompileReport, sources: tuple[Path, ...] = ()
    ) -> None:
        """sources: files it was made from, which `save` will not overwrite."""
        self.graph = graph
        self.ann = ann
        self.report = report
        self._sources = sources

    def save(self, path: str | Path) -> None:
        """Writes the ONNX artifact that stock onnxruntime runs; never over a file it came from."""
        require_writable(Path(path), *self._sources)
        save_onnx(self.graph, path)

    def run(self, data: Source) -> dict[str, Array]:
        """Every output for all samples of `data`, by name."""
        return run(self.graph, samples_of(data, self.graph))

    def evaluate(self, data: Source, output: str | None = None) -> Evaluation:
        """The spiking network beside its ANN on `data` (labels under the key 'labels')."""
        return evaluate(self.ann, self.graph, samples_of(data, self.ann), output)

    def energy(self, data: Source, pj_ac: float = PJ_AC, pj_mac: float = PJ_MAC) -> Energy:
        """Operations and energy ratios of the spiking network on `data`."""
        return measure(self.graph, samples_of(data, self.graph)).energy(pj_ac, pj_mac)


@dataclass(frozen=True)
class Watch:
    """Who is told about progress. progress(phase, done, total or None); graph(pass name, graph)."""

    progress: Callable[[str, int, int | None], None] = lambda phase, done, total: None
    graph: Watcher | None = None


def prepare(
    model: Model,
    *,
    keep: tuple[str, ...] = (),
    encode_input: bool = False,
    watch: Watcher | None = None,
) -> tuple[Graph, Graph]:
    """The network as loaded, and normalised with its sites placed: all that needs no data."""
    if not isinstance(model, (str, Path, ModelProto, Graph)):
        raise CompileError(
            f"a {type(model).__name__} is no model", help="pass a path, a ModelProto or a Graph"
        )
    ann = model if isinstance(model, Graph) else load(model)
    if ann.stage != Stage.ANN:
        raise CompileError(
            "the model is a spiking network already",
            at=ann.source or None,
            help="pass the trained network it was compiled from",
        )
    return ann, run_passes(ann, (Normalize(), PlaceSites(keep, encode_input)), watch)


def calibrate(
    model: Model,
    *,
    calibration: Source,
    keep: str | Iterable[str] = (),
    encode_input: bool = False,
    mask_input: str | None = None,
    watch: Watch | None = None,
) -> CalibratedNetwork:
    """The network with its sites, and what they saw on the calibration samples (see compile)."""
    watch = watch or Watch()
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    ann, sited = prepare(model, keep=keep, encode_input=encode_input, watch=watch.graph)
    return _observed(ann, sited, calibration, mask_input, watch)


def _observed(
    ann: Graph, sited: Graph, calibration: Source | None, mask_input: str | None, watch: Watch
) -> CalibratedNetwork:
    if calibration is None:
        raise CompileError("calibration=None holds no samples", help="pass samples to calibrate on")
    samples = random_samples(ann) if _is_random(calibration) else samples_of(calibration, ann)

    def progress(done: int) -> None:
        watch.progress("calibrating", done, samples.count)

    return calibrate_sites(ann, sited, samples, mask_input, progress)


def _is_random(calibration: Source | None) -> bool:
    return isinstance(calibration, str) and calibration == RANDOM


def compile(
    model: Model | CalibratedNetwork,
    *,
    neuron: NeuronModel | str = "sfn",
    calibration: Source | None = None,
    scale: float | None = None,
    fidelity: float = 0.98,
    percentile: float = 1.0,
    polarity: Polarity = "separate",
    keep: str | Iterable[str] = (),
    encode_input: bool = False,
    mask_input: str | None = None,
    output: str | None = None,
    watch: Watch | None = None,
) -> SpikingNetwork:
    """Turns a trained network into a spiking one of one timestep, without training.

    model: ONNX file, message or graph, or a network calibrated already (then calibration, keep,
    encode_input and mask_input are settled). neuron: a neuron model, or the name of one.
    calibration: a .npz path, an array, a dict of arrays, an iterable of dicts (samples first), or
    'random'.
    scale: lambda in (0, 1]; None chooses the largest one that keeps the outputs' agreement with
    the network's own at `fidelity`. percentile: p of the thresholds (spec 2.3). keep: patterns of
    node names that stay analog. Raises CompileError.
    """
    watch = watch or Watch()
    neuron = make_neuron(neuron) if isinstance(neuron, str) else neuron
    if not isinstance(neuron, NeuronModel):
        raise CompileError(f"{neuron!r} is no neuron model", help="pass snnc.SFN(), or its name")
    if not 0 < fidelity <= 1:
        raise CompileError(f"fidelity {fidelity} is out of range", help="choose 0 < fidelity <= 1")
    AssignThresholds(neuron, 1.0 if scale is None else scale, polarity)  # refuses early
    require_percentile(percentile)
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    if isinstance(model, CalibratedNetwork):
        if calibration is not None or keep or encode_input or mask_input is not None:
            raise CompileError("the network is calibrated already", help="calibrate it anew")
        network, output = model, primary_output(model.ann, output)
    else:
        ann, sited = prepare(model, keep=keep, encode_input=encode_input, watch=watch.graph)
        output = primary_output(ann, output)
        network = _observed(ann, sited, calibration, mask_input, watch)
    ann, sited = network.ann, network.sited
    calibrated = network.graph(percentile, watch.graph)
    choice = None
    if scale is None:
        choice = choose_scale(
            ann,
            calibrated,
            neuron,
            network.samples,
            output,
            fidelity,
            polarity,
            progress=lambda done: watch.progress("choosing lambda", done, len(GRID)),
        )
        scale = choice.scale
    spiking = with_scale(calibrated, neuron, scale, polarity, watch.graph)
    reservoir = network.calibration.reservoir
    spiking = _with_activity(spiking, reservoir.samples(ACTIVITY_SAMPLES))
    report = CompileReport(
        neuron=neuron,
        sites=len(spiking.neurons),
        scale=scale,
        choice=choice,
        output=output,
        coverage=coverage_of(sited, next(reservoir.batches(1))),
        calibration_samples=reservoir.seen,
        warnings=tuple(_warnings(spiking, choice, fidelity, _is_random(calibration))),
    )
    sources = [Path(s) for s in (model, calibration) if isinstance(s, (str, Path))]
    return SpikingNetwork(
        spiking, ann, report, (*sources, *(f for s in sources[:1] for f in external_files(s)))
    )


def _with_activity(graph: Graph, samples: Samples) -> Graph:
    """Every neuron with its mean activity on `samples`."""
    activity: dict[str, Activity] = measure(graph, samples).activity()

    def rule(node: Node) -> Replacement | None:
        if isinstance(node, Neuron) and node.outputs[0] in activity:
            return Replacement((replace(node, activity=activity[node.outputs[0]]),))
        return None

    return graph.rewrite(rule)


def _warnings(graph: Graph, choice: Choice | None, fidelity: float, is_random: bool) -> list[str]:
    found = []
    if choice is not None and choice.samples < FEW_SAMPLES:
        found.append(
            f"lambda was chosen on {choice.samples} samples only, so the agreement is a rough guess"
        )
    if is_random:
        found.append("calibrated on random numbers: the thresholds are meaningless")
    if choice is not None and not choice.reached:
        found.append(
            f"no lambda reaches {fidelity:g} {choice.measure} agreement; the best one "
            f"({choice.scale:.3g}) reaches {choice.fidelity:.4f}"
        )
    silent = [n.loc.names[0] for n in graph.neurons if n.sides == "silent"]
    if silent:
        found.append(
            "always 0 in calibration (or too small for a threshold), so these neurons never "
            "spike: " + ", ".join(silent)
        )
    return found
