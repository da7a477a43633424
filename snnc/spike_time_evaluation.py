"""A network of spike times beside its ANN: by the numbers it stands for, and by who fires first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from snnc.data import Feeds, Samples
from snnc.energy import PJ_AC, PJ_MAC
from snnc.evaluation import Progress, check_pair, silent
from snnc.fidelity import Accuracy, Agreement, decisions, primary_output
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.spike_times import fires, neurons_behind
from snnc.neurons.ttfs import spike_ticks
from snnc.passes.normalize import Normalize
from snnc.pipeline import run_passes
from snnc.rows import batches_and_axes, rows_of
from snnc.runtime import Session, batch_size, held_between
from snnc.spike_time_energy import SpikeTimeEnergy, SpikeTimeMeter
from snnc.spike_time_operations import Operations, operations_of


@dataclass(frozen=True)
class SpikeTimeEvaluation:
    """As `Evaluation`; earliest_top1: by the earliest spike of the output's neurons (the lowest
    of those that fire together), None where they decide nothing; undecided: share of samples for
    which none of them fires."""

    samples: int
    output: str
    ann_top1: float | None
    snn_top1: float | None
    earliest_top1: float | None
    undecided: float | None
    agreement: float | None
    cosine: float
    energy: SpikeTimeEnergy

    def summary(self) -> dict[str, Any]:
        """As `snnc eval --json` prints it."""
        return {
            "samples": self.samples,
            "output": self.output,
            "ann": {"top1": self.ann_top1},
            "snn": {
                "top1": self.snn_top1,
                "top1_by_earliest_spike": self.earliest_top1,
                "undecided": self.undecided,
            },
            "agreement": self.agreement,
            "cosine": self.cosine,
            "energy": self.energy.summary(),
        }


def evaluate_spike_times(
    ann: Graph,
    snn: Graph,
    samples: Samples,
    output: str | None = None,
    *,
    pj_ac: float = PJ_AC,
    pj_mac: float = PJ_MAC,
    progress: Progress = silent,
) -> SpikeTimeEvaluation:
    """Runs both networks over `samples`, streaming (energy: spec 4.9)."""
    check_pair(ann, snn)
    output = primary_output(ann, output)
    meter = SpikeTimeMeter(snn)
    reference = Session(ann)
    session = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of)
    accuracies, score, readout = (Accuracy(), Accuracy()), Agreement(), _Readout(snn, output)
    batches, axes = batches_and_axes(reference, samples, _batch_size(snn), (output,))
    paper, done = _Paper(ann), 0
    for feeds in batches:
        paper.update(feeds, samples.size_of(feeds))
        values = session.run(feeds)
        rows = [rows_of(v[output], axes[output]) for v in (reference.run(feeds), values)]
        labels = samples.class_labels(done, len(rows[0]))
        for accuracy, found in zip(accuracies, rows, strict=True):
            accuracy.update(found, labels)
        score.update(rows[1], rows[0])
        readout.update(rows[1], labels)
        meter.update(values, samples.size_of(feeds))
        done += len(rows[0])
        progress(done)
    return SpikeTimeEvaluation(
        done,
        output,
        accuracies[0].share,
        accuracies[1].share,
        readout.top1,
        readout.undecided,
        score.argmax,
        score.cosine,
        meter.energy(paper.operations, pj_ac, pj_mac),
    )


def _batch_size(graph: Graph) -> int:
    """Samples at a time, as if all neurons were tapped: products hold more than their factors."""
    return batch_size(graph, (x.outputs[0] for x in graph.nodes if fires(x)), held_between(graph))


class _Paper:
    """Operations by Table 3, mean over samples whose shapes may differ."""

    def __init__(self, ann: Graph) -> None:
        self._normal = run_passes(ann, (Normalize(False),))
        self._by_shape: dict[tuple[object, ...], Operations] = {}
        self._sum, self._samples = Operations(), 0

    def update(self, feeds: Feeds, samples: int) -> None:
        """Adds a batch."""
        shapes = tuple(array.shape for array in feeds.values())
        if shapes not in self._by_shape:
            self._by_shape[shapes] = operations_of(self._normal, feeds, 1)
        self._sum += self._by_shape[shapes]
        self._samples += samples

    @property
    def operations(self) -> Operations:
        """Of one sample."""
        return self._sum.per(self._samples)


class _Readout:
    """Which neuron of an output fires first, sample by sample."""

    def __init__(self, graph: Graph, output: str) -> None:
        self._neurons = neurons_behind(graph, output)
        self._hits: int | None = 0
        self._silent = 0
        self._samples = 0

    def update(self, rows: Array, labels: Array | None) -> None:
        """Adds a batch; rows [N, C] of the numbers that the spikes stand for, labels [N]."""
        decided = decisions(rows)
        op = self._neurons
        if op is None or decided is None or rows.dtype.kind != "f":
            self._neurons = None
            return
        count, ends = op.integer("ticks", 1), (op.number("low"), op.number("high"))
        ticks = spike_ticks(rows.reshape(len(rows), -1), *ends, count)
        fired = ticks >= 0
        first = np.where(fired, ticks, count).argmin(axis=1)
        self._samples += len(rows)
        self._silent += int(np.count_nonzero(~fired.any(axis=1)))
        if labels is None or self._hits is None:
            self._hits = None
        else:
            self._hits += int(np.count_nonzero((first == labels) & fired.any(axis=1)))

    @property
    def top1(self) -> float | None:
        """Share of samples whose label fires first."""
        known = self._neurons is not None and self._hits is not None and self._samples
        return (self._hits or 0) / self._samples if known else None

    @property
    def undecided(self) -> float | None:
        """Share of samples for which no neuron fires."""
        return self._silent / self._samples if self._neurons is not None and self._samples else None
