"""Running networks over samples: outputs, and the spiking network against its ANN."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from snnc.calibrated import step_constants
from snnc.data import Samples
from snnc.energy import PJ_AC, PJ_MAC, Energy, EnergyMeter
from snnc.errors import CompileError
from snnc.fidelity import Accuracy, Agreement, primary_output
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Neuron, Node
from snnc.ir.spike_times import fires
from snnc.rows import batches_and_axes, join_batches, rows_of
from snnc.runtime import Session, batch_size

Progress = Callable[[int], None]
MetricName: TypeAlias = Literal["top-1", "agreement", "cosine"]

ACTIVITY_SAMPLES = 64
"""Calibration samples on which the activity stored in the artifact is measured."""


def silent(done: int) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Evaluation:
    """A spiking network beside its ANN on the same samples.

    top1: share of labelled samples whose largest output is the label (None without labels);
    agreement: share with the same largest output (None for a single real number a sample);
    cosine: mean cosine of the outputs; relative_error: norm of what the outputs of all samples
    differ by over the norm of the ANN's (None where those are 0).
    """

    samples: int
    output: str
    ann_top1: float | None
    snn_top1: float | None
    agreement: float | None
    cosine: float
    energy: Energy
    relative_error: float | None = None

    @property
    def metric_name(self) -> MetricName:
        """Top-1 with labels; otherwise agreement, or cosine where outputs decide nothing."""
        if self.snn_top1 is not None:
            return "top-1"
        return "cosine" if self.agreement is None else "agreement"

    @property
    def metric(self) -> float:
        found = next(m for m in (self.snn_top1, self.agreement, self.cosine) if m is not None)
        return float(found)

    @property
    def ann_metric(self) -> float:
        """The ANN's own top-1; 1.0 for an agreement with itself."""
        top1 = self.ann_top1
        return top1 if self.metric_name == "top-1" and top1 is not None else 1.0

    def summary(self) -> dict[str, Any]:
        """As `snnc eval --json` prints it."""
        return {
            "samples": self.samples,
            "output": self.output,
            "ann": {"top1": self.ann_top1},
            "snn": {"top1": self.snn_top1},
            "agreement": self.agreement,
            "cosine": self.cosine,
            "relative_error": self.relative_error,
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
    return evaluate_each(
        ann, (snn,), samples, output, pj_ac=pj_ac, pj_mac=pj_mac, progress=progress
    )[0]


def evaluate_each(
    ann: Graph,
    snns: Sequence[Graph],
    samples: Samples,
    output: str | None = None,
    *,
    pj_ac: float = PJ_AC,
    pj_mac: float = PJ_MAC,
    progress: Progress = silent,
) -> list[Evaluation]:
    """Several spiking networks beside the ANN they came from, in one pass over `samples`.

    The ANN runs once; networks that differ in nothing but their steps share a session.
    """
    for snn in snns:
        check_pair(ann, snn)
    output = primary_output(ann, output)
    reference, candidates = Session(ann), _candidates(snns)
    accuracy, done = Accuracy(), 0
    size = min(batch_size(c.meter.graph, c.meter.taps) for c in candidates)
    batches, axes = batches_and_axes(reference, samples, size, (output,))
    for feeds in batches:
        expected = rows_of(reference.run(feeds)[output], axes[output])
        labels = samples.class_labels(done, len(expected))
        accuracy.update(expected, labels)
        for candidate in candidates:
            values = candidate.session.run({**feeds, **candidate.steps})
            rows = rows_of(values[output], axes[output])
            candidate.score.update(rows, expected)
            candidate.accuracy.update(rows, labels)
            candidate.meter.update(values, samples.size_of(feeds))
        done += len(expected)
        progress(done)
    return [
        Evaluation(
            done,
            output,
            accuracy.share,
            c.accuracy.share,
            c.score.argmax,
            c.score.cosine,
            c.meter.energy(pj_ac, pj_mac),
            c.score.relative_error,
        )
        for c in candidates
    ]


class _Candidate:
    """A spiking network under comparison. steps: what its session is fed besides the samples."""

    def __init__(
        self, graph: Graph, meter: EnergyMeter, session: Session, steps: Mapping[str, Array]
    ) -> None:
        self.graph, self.meter, self.session, self.steps = graph, meter, session, steps
        self.score, self.accuracy = Agreement(), Accuracy()


def _candidates(graphs: Sequence[Graph]) -> list[_Candidate]:
    """Every network with its session, shared where only the steps differ."""
    found: list[_Candidate] = []
    for graph in graphs:
        meter = EnergyMeter(graph)
        steps = step_constants(graph) if len(graphs) > 1 else {}
        alike = (c.session for c in found if _differ_in_steps_only(graph, c.graph, steps))
        session = next(alike, None) or Session(
            meter.graph, taps=meter.taps, shapes_of=meter.shapes_of, free=steps
        )
        found.append(_Candidate(graph, meter, session, steps))
    return found


def _differ_in_steps_only(mine: Graph, other: Graph, steps: Mapping[str, Array]) -> bool:
    """Whether two networks refined from one graph (whose constants they share) are the same."""
    return (
        mine.nodes == other.nodes
        and mine.types == other.types
        and mine.consts.keys() == other.consts.keys()
        and all(other.consts[n] is c for n, c in mine.consts.items() if n not in steps)
    )


def measure(graph: Graph, samples: Samples, progress: Progress = silent) -> EnergyMeter:
    """Runs the spiking network over `samples`, counting its operations."""
    meter = EnergyMeter(graph)
    session = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of)
    for feeds in samples.batches(batch_size(meter.graph, meter.taps)):
        meter.update(session.run(feeds), samples.size_of(feeds))
        progress(meter.samples)
    return meter


def with_activity(graph: Graph, samples: Samples) -> Graph:
    """Every neuron with its mean activity on `samples`."""
    activity = measure(graph, samples).activity()

    def rule(node: Node) -> Replacement | None:
        if isinstance(node, Neuron) and node.outputs[0] in activity:
            return Replacement((replace(node, activity=activity[node.outputs[0]]),))
        return None

    return graph.rewrite(rule)


def check_pair(ann: Graph, snn: Graph) -> None:
    """CompileError unless a spiking network was compiled from `ann`."""
    for what, mine, theirs in (
        ("inputs", ann.inputs, snn.inputs),
        ("outputs", ann.outputs, snn.outputs),
    ):
        if mine != theirs:
            raise CompileError(
                f"the networks differ in their {what}: {', '.join(mine)} and {', '.join(theirs)}",
                help=_PAIR,
            )
    names = {name for node in ann.nodes for name in node.loc.names}
    neurons = [node for node in snn.nodes if isinstance(node, Neuron) or fires(node)]
    neurons = [neuron for neuron in neurons if not {*ann.inputs}.issuperset(neuron.loc.names)]
    if neurons and not any(names & {*neuron.loc.names} for neuron in neurons):
        first = neurons[0].loc.names[0]
        message = f"the spiking network comes from another one: this one has no node '{first}'"
        raise CompileError(message, help=_PAIR)


_PAIR = "pass the network and the spiking network compiled from it"
