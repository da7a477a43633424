"""Time precision: outputs against the number of ticks (Figure 4 of TTFSFormer), layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from snnc.calibrated import CalibratedNetwork
from snnc.data import Feeds, Samples, Source, samples_of
from snnc.errors import CompileError
from snnc.evaluation import Progress, silent
from snnc.fidelity import Accuracy, Agreement, Measure, measure_of, primary_output
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Op
from snnc.ir.numbers import plain
from snnc.neurons.ttfs import MOST_TICKS, TTFS
from snnc.passes.calibrate import Calibrate
from snnc.passes.spike_times.emit import EmitSpikes
from snnc.passes.spike_times.windows import AlignWindows
from snnc.pipeline import run_passes
from snnc.rows import batches_and_axes, rows_of
from snnc.runtime import Session, batch_size, held_between

PRECISIONS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
"""p of a curve: the range of Figure 4 and beyond."""

SAMPLES = 32
"""Samples on which the ticks of single layers are measured."""


@dataclass(frozen=True)
class PrecisionPoint:
    """A network of one time precision beside the trained one."""

    neuron: TTFS
    top1: float | None
    agreement: float | None
    cosine: float


@dataclass(frozen=True)
class PrecisionCurve:
    """Networks of several time precisions; ann_top1: None without labels; measure: by which the
    outputs agree."""

    samples: int
    output: str
    measure: Measure
    ann_top1: float | None
    points: tuple[PrecisionPoint, ...]

    @property
    def metric(self) -> Literal["top-1", "agreement", "cosine"]:
        """What a picture shows: the first of these that is known."""
        if self.ann_top1 is not None:
            return "top-1"
        return "agreement" if self.measure == "argmax" else "cosine"

    def value(self, point: PrecisionPoint) -> float:
        """The metric of a point."""
        found = {"top-1": point.top1, "agreement": point.agreement, "cosine": point.cosine}
        value = found[self.metric]
        assert value is not None
        return value

    def summary(self) -> dict[str, Any]:
        """As `snnc eval --json` prints it."""
        return {
            "samples": self.samples,
            "output": self.output,
            "measure": self.measure,
            "ann": {"top1": self.ann_top1},
            "points": [
                {**asdict(x), "neuron": x.neuron.name, "parameters": x.neuron.plain_parameters}
                for x in self.points
            ],
        }


def precision_curve(
    network: CalibratedNetwork,
    data: Source,
    *,
    neurons: Sequence[TTFS] = (TTFS(), TTFS(rule="nearest")),
    precisions: Iterable[int] = PRECISIONS,
    percentile: float | None = None,
    output: str | None = None,
    progress: Progress = silent,
) -> PrecisionCurve:
    """Every neuron at every p, all in one pass over `data`.

    network: calibrated with `calibrate_spike_times`. Raises CompileError for p out of range.
    """
    asked = list(dict.fromkeys(plain(p) for p in precisions))
    models = [replace(neuron, p=p) for neuron in neurons for p in asked]
    if not models:
        raise CompileError("a curve needs at least one time precision")
    calibrate = Calibrate(network.calibration, percentile or 0.0)
    calibrated = run_passes(network.sited, (calibrate,))

    def spiking(model: TTFS) -> Graph:
        emit = EmitSpikes(model, by_percentile=percentile is not None)
        return run_passes(calibrated, (emit, AlignWindows()))

    output = primary_output(network.ann, output)
    graphs, samples = [spiking(model) for model in models], samples_of(data, network.ann)
    scores = [(Accuracy(), Agreement()) for _ in models]
    reference, sessions = Session(network.ann), [Session(graph) for graph in graphs]
    ann, done = Accuracy(), 0
    size = batch_size(network.ann, (output,), max(map(held_between, graphs)))
    batches, axes = batches_and_axes(reference, samples, size, (output,))
    for feeds in batches:
        expected = rows_of(reference.run(feeds)[output], axes[output])
        labels = samples.class_labels(done, len(expected))
        ann.update(expected, labels)
        for session, (accuracy, agreement) in zip(sessions, scores, strict=True):
            rows = rows_of(session.run(feeds)[output], axes[output])
            accuracy.update(rows, labels)
            agreement.update(rows, expected)
        done += len(expected)
        progress(done)
    points = (
        PrecisionPoint(model, accuracy.share, agreement.argmax, agreement.cosine)
        for model, (accuracy, agreement) in zip(models, scores, strict=True)
    )
    return PrecisionCurve(done, output, measure_of(network.ann, output), ann.share, tuple(points))


@dataclass(frozen=True)
class LayerPrecision:
    """What the ticks of one layer of neurons cost, all others having MOST_TICKS.

    name: of its original node; error: relative, at the output.
    """

    name: str
    op_type: str
    window: int
    ticks: int
    error: float

    def summary(self) -> dict[str, Any]:
        """As `snnc eval --per-layer --json` prints it."""
        named = {"name": self.name, "op": self.op_type, "window": self.window}
        return {**named, "ticks": self.ticks, "error": self.error}


def layer_precisions(
    graph: Graph,
    samples: Samples,
    output: str | None = None,
    limit: int = SAMPLES,
    progress: Progress = silent,
) -> list[LayerPrecision]:
    """The error at `output` that the ticks of each layer cause alone, on about `limit` samples.

    Neurons between the factors of a product are a layer of their own.
    """
    trial = _Trial(graph, samples, output, limit, progress)
    return [trial.layer(layer) for layer in _layers(graph)]


MOST_SHARE = 0.25
"""Share of the squared errors of all layers from which on one is named."""

WORST = 2
"""Groups of layers that are looked into to find the costly ones."""


def costly_layers(
    graph: Graph,
    samples: Samples,
    output: str | None = None,
    progress: Progress = silent,
) -> list[tuple[str, float, int]]:
    """As `advised`, without running every layer alone: groups first, then the worst of them."""
    trial, layers = _Trial(graph, samples, output, SAMPLES, progress), _layers(graph)
    size = math.isqrt(len(layers) - 1) + 1
    groups = [layers[i : i + size] for i in range(0, len(layers), size)]
    errors = [trial.error(group) ** 2 for group in groups]
    worst = sorted(range(len(groups)), key=lambda i: -errors[i])[:WORST]
    found = [trial.layer(layer) for i in sorted(worst) for layer in groups[i]]
    return advised(found, sum(errors))


def advised(
    layers: Sequence[LayerPrecision], total: float | None = None
) -> list[tuple[str, float, int]]:
    """Nodes whose neurons cause most of the error, with their share of its square, and the ticks
    to give them: four times as many. total: squared errors of all layers, if these are not all."""
    total = sum(layer.error**2 for layer in layers) if total is None else total
    found = []
    for name in dict.fromkeys(layer.name for layer in layers):
        mine = [layer for layer in layers if layer.name == name]
        share = sum(layer.error**2 for layer in mine) / total if total else 0.0
        ticks = min(4 * max(layer.ticks for layer in mine), MOST_TICKS)
        if share >= MOST_SHARE and ticks > min(layer.ticks for layer in mine):
            found.append((name, min(share, 1.0), ticks))
    return sorted(found, key=lambda entry: -entry[1])


def _layers(graph: Graph) -> list[Op]:
    return [node for node in graph.nodes if isinstance(node, Op) and "ticks" in node.attrs]


class _Trial:
    """Runs of a network in which only some layers keep their ticks, the others have MOST_TICKS."""

    def __init__(
        self,
        graph: Graph,
        samples: Samples,
        output: str | None,
        limit: int,
        progress: Progress,
    ) -> None:
        self._graph, self._progress = graph, progress
        self._output = primary_output(graph, output)
        size = batch_size(graph, (self._output,), held_between(graph))
        self._batches = _first(samples, min(size, limit), limit)
        self._exact = self._run(())
        self._size = float(np.linalg.norm(self._exact)) or 1.0
        self._done = 0

    def layer(self, layer: Op) -> LayerPrecision:
        """What the ticks of one layer cost."""
        ticks, window = layer.integer("ticks", 1), layer.integer("window", 0)
        error = self.error((layer,))
        return LayerPrecision(layer.loc.names[0], layer.op_type, window, ticks, error)

    def error(self, layers: Sequence[Op]) -> float:
        """Relative error at the output that the ticks of these layers cause."""
        error = float(np.linalg.norm(self._run(layers) - self._exact)) / self._size
        self._done += 1
        self._progress(self._done)
        return error

    def _run(self, layers: Sequence[Op]) -> Array:
        coarse = {name for layer in layers for name in layer.outputs}

        def fine(node: Node) -> Replacement | None:
            if not isinstance(node, Op) or "ticks" not in node.attrs or coarse & {*node.outputs}:
                return None
            return Replacement((replace(node, attrs={**node.attrs, "ticks": MOST_TICKS}),))

        session = Session(self._graph.rewrite(fine))
        found = [np.ravel(session.run(feeds)[self._output]) for feeds in self._batches]
        return np.concatenate(found).astype(np.float64)


def _first(samples: Samples, size: int, limit: int) -> list[Feeds]:
    """Batches of the first samples."""
    found, held = list[Feeds](), 0
    for feeds in samples.batches(size):
        found.append(feeds)
        held += samples.size_of(feeds)
        if held >= limit:
            break
    return found
