"""Running networks over samples: outputs, and the spiking network against its ANN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from snnc.data import Feeds, Samples
from snnc.energy import PJ_AC, PJ_MAC, Energy, EnergyMeter
from snnc.errors import CompileError
from snnc.fidelity import Agreement, primary_output
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.runtime import Session, batch_size

Progress = Callable[[int], None]


def silent(done: int) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Evaluation:
    """A spiking network beside its ANN on the same samples.

    top1: share of labelled samples whose largest output is the label (None without labels);
    agreement: share with the same largest output; cosine: mean cosine of the outputs.
    """

    samples: int
    output: str
    ann_top1: float | None
    snn_top1: float | None
    agreement: float
    cosine: float
    energy: Energy

    def summary(self) -> dict[str, Any]:
        """As `snnc eval --json` prints it."""
        return {
            "samples": self.samples,
            "output": self.output,
            "ann": {"top1": self.ann_top1},
            "snn": {"top1": self.snn_top1},
            "agreement": self.agreement,
            "cosine": self.cosine,
            "energy": self.energy.summary(),
        }


def run(graph: Graph, samples: Samples, progress: Progress = silent) -> dict[str, Array]:
    """Every output of the network over all samples, samples along the batch axis."""
    session = Session(graph)
    parts: dict[str, list[Array]] = {name: [] for name in graph.outputs}
    done = 0
    for feeds in samples.batches(batch_size(graph, graph.outputs)):
        values = session.run(feeds)
        for name, collected in parts.items():
            collected.append(values[name])
        done += sample_count(feeds, samples)
        progress(done)
    join = np.stack if samples.single else np.concatenate
    return {
        name: join(collected, axis=0 if samples.single else batch_axis(graph, name))
        for name, collected in parts.items()
    }


def evaluate(
    ann: Graph,
    snn: Graph,
    samples: Samples,
    output: str | None = None,
    *,
    pj_ac: float = PJ_AC,
    pj_mac: float = PJ_MAC,
    progress: Progress = silent,
) -> Evaluation:
    """Runs both networks over `samples`, streaming, and compares the output; energy: spec 2.8."""
    _check_pair(ann, snn)
    output = primary_output(ann, output)
    meter = EnergyMeter(snn)
    sessions = Session(ann), Session(snn, taps=meter.taps, shapes_of=meter.shapes_of)
    score = Agreement()
    hits = [0, 0]
    for feeds in samples.batches(batch_size(snn, meter.taps)):
        count = sample_count(feeds, samples)
        values = [session.run(feeds) for session in sessions]
        rows = [as_rows(ann, output, v[output], samples) for v in values]
        labels = None if samples.labels is None else samples.labels[score.samples :][:count]
        score.update(rows[1], rows[0])
        if labels is not None:
            hits = [h + _hits(r, labels) for h, r in zip(hits, rows, strict=True)]
        meter.update(values[1], count)
        progress(score.samples)
    labelled = samples.labels is not None and samples.labels.dtype.kind in "iu"
    top1 = [h / score.samples if labelled else None for h in hits]
    return Evaluation(
        score.samples,
        output,
        top1[0],
        top1[1],
        score.argmax,
        score.cosine,
        meter.energy(pj_ac, pj_mac),
    )


def measure(graph: Graph, samples: Samples, progress: Progress = silent) -> EnergyMeter:
    """Runs the spiking network over `samples`, counting its operations."""
    meter = EnergyMeter(graph)
    session = Session(graph, taps=meter.taps, shapes_of=meter.shapes_of)
    for feeds in samples.batches(batch_size(graph, meter.taps)):
        meter.update(session.run(feeds), sample_count(feeds, samples))
        progress(meter.samples)
    return meter


def _check_pair(ann: Graph, snn: Graph) -> None:
    for what, mine, theirs in (
        ("inputs", ann.inputs, snn.inputs),
        ("outputs", ann.outputs, snn.outputs),
    ):
        if mine != theirs:
            raise CompileError(
                f"the networks differ in their {what}: {', '.join(mine)} and {', '.join(theirs)}",
                help="pass the network and the spiking network compiled from it",
            )


def _hits(rows: Array, labels: Array) -> int:
    flat = rows.reshape(len(rows), -1)
    decided = flat[:, 0] if flat.shape[1] == 1 else flat.argmax(axis=1)
    return int(np.count_nonzero(decided == labels))


def sample_count(feeds: Feeds, samples: Samples) -> int:
    """Samples in one batch."""
    return 1 if samples.single else len(next(iter(feeds.values())))


def batch_axis(graph: Graph, output: str) -> int:
    """The axis of an output along which samples lie: where the inputs' batch symbol stands."""
    symbols = {s[0] for name in graph.inputs if (s := graph.types[name].shape)}
    shape = graph.types[output].shape if output in graph.types else None
    for axis, dim in enumerate(shape or ()):
        if isinstance(dim, str) and dim in symbols:
            return axis
    return 0


def as_rows(graph: Graph, output: str, array: Array, samples: Samples) -> Array:
    """An output as one row a sample."""
    if samples.single or array.ndim == 0:
        return array[None]
    return np.moveaxis(array, batch_axis(graph, output), 0)
