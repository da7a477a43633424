"""Running networks over samples: outputs, and the spiking network against its ANN."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from snnc.data import Samples
from snnc.energy import PJ_AC, PJ_MAC, Energy, EnergyMeter
from snnc.errors import CompileError
from snnc.fidelity import Accuracy, Agreement, primary_output
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.rows import batches_and_axes, join_batches, rows_of
from snnc.runtime import Session, batch_size

Progress = Callable[[int], None]


def silent(done: int) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Evaluation:
    """A spiking network beside its ANN on the same samples.

    top1: share of labelled samples whose largest output is the label (None without labels);
    agreement: share with the same largest output (None for a single real number a sample);
    cosine: mean cosine of the outputs.
    """

    samples: int
    output: str
    ann_top1: float | None
    snn_top1: float | None
    agreement: float | None
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
    """Every output of the network over all samples, samples along the axis the network uses.

    An output that mixes the samples of a batch is computed sample by sample, samples first; one
    that depends on no input is given once.
    """
    constant = {name: graph.consts[name] for name in graph.outputs if name in graph.consts}
    outputs = tuple(name for name in graph.outputs if name not in constant)
    session = Session(graph)
    batches, axes = batches_and_axes(session, samples, batch_size(graph, outputs), outputs)

    def values() -> Iterator[Mapping[str, Array]]:
        done = 0
        for feeds in batches:
            yield session.run(feeds)
            done += samples.size_of(feeds)
            progress(done)

    joined = join_batches(values(), axes)
    return {name: (joined | constant)[name] for name in graph.outputs}


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
    score, accuracy = Agreement(), (Accuracy(), Accuracy())
    size = batch_size(snn, meter.taps)
    batches, axes = batches_and_axes(sessions[0], samples, size, (output,))
    for feeds in batches:
        values = [session.run(feeds) for session in sessions]
        rows = [rows_of(v[output], axes[output]) for v in values]
        labels = samples.class_labels(score.samples, len(rows[0]))
        score.update(rows[1], rows[0])
        for kept, mine in zip(accuracy, rows, strict=True):
            kept.update(mine, labels)
        meter.update(values[1], samples.size_of(feeds))
        progress(score.samples)
    top1 = [kept.share for kept in accuracy]
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
        meter.update(session.run(feeds), samples.size_of(feeds))
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
