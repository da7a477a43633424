"""What a scale factor is worth: metric and energy of the spiking network on validation data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from snnc.data import Feeds, Samples
from snnc.energy import EnergyMeter
from snnc.errors import CompileError
from snnc.fidelity import Accuracy, Agreement, measure_of
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.rows import batches_and_axes, join_batches, rows_of
from snnc.runtime import Session, batch_size
from snnc.search.scaled import AtScale, Scaled

Metric = Callable[[dict[str, Array], Array | None], float]
"""A user's metric: every output by name over all samples, the labels if there are any -> larger is
better."""

Stream = Iterator[Mapping[str, Array]]
"""Outputs batch by batch, in the order of the samples."""


@dataclass(frozen=True)
class Point:
    """A scale factor to try. key: equal for equal networks; score: metric and perhaps energy."""

    key: str
    score: Callable[[], tuple[float, ...]]


class Objective:
    """Metric, and energy if `metered`, at a scale factor; the ANN runs once, at the start.

    Without a function the metric is top-1 accuracy where the samples have labels and `output`
    decides for one class a sample, else agreement with the ANN (argmax or cosine). name: what the
    metric is called; ann: its value for the ANN; evaluations: how often a network, the ANN
    included, was run over the samples.
    """

    def __init__(
        self,
        ann: Graph,
        scaled: Scaled,
        samples: Samples,
        output: str,
        function: Metric | None = None,
        *,
        metered: bool = False,
    ) -> None:
        self._scaled, self._samples, self._output = scaled, samples, output
        self._metered = metered
        self.evaluations = 0
        first = scaled.at(1.0).graph
        session = Session(ann)
        self._constants = {name: ann.consts[name] for name in ann.outputs if name in ann.consts}
        varying = tuple(name for name in ann.outputs if name not in ann.consts)
        outputs = (output,) if function is None else varying
        meter = EnergyMeter(first)
        size = batch_size(meter.graph, meter.taps if metered else outputs)
        _, self._axes = batches_and_axes(session, samples, size, outputs)
        whole = samples.splittable and None in self._axes.values()
        self._size = 1 if whole else size
        stream = self._stream(session.run)
        if function is None:
            self.name, self._judge, self.ann = self._built_in(ann, stream)
        else:
            self.name = getattr(function, "__name__", type(function).__name__)
            self._judge = self._of_user(function)
            self.ann = self._judge(stream)

    def at(self, scale: float) -> Point:
        """The point of the search at lambda = `scale`; nothing is run yet."""
        network = self._scaled.at(scale)
        return Point(network.key, lambda: self._score(network))

    def _score(self, network: AtScale) -> tuple[float, ...]:
        meter = EnergyMeter(network.graph) if self._metered else None
        value = self._judge(self._stream(network.run, meter))
        return (value,) if meter is None else (value, meter.energy().ratio_spikes)

    def _stream(
        self, run: Callable[[Feeds], Mapping[str, Array]], meter: EnergyMeter | None = None
    ) -> Stream:
        self.evaluations += 1
        for feeds in self._samples.batches(self._size):
            values = run(feeds)
            if meter is not None:
                meter.update(values, self._samples.size_of(feeds))
            yield values

    def _rows(self, values: Mapping[str, Array]) -> Array:
        return rows_of(values[self._output], self._axes[self._output])

    def _built_in(self, ann: Graph, stream: Stream) -> tuple[str, Callable[[Stream], float], float]:
        """Name, judge and the ANN's value of the metric that the samples allow."""
        expected: list[Array] = []

        def noted() -> Stream:
            for values in stream:
                expected.append(self._rows(values))
                yield values

        top1 = self._accuracy(noted())
        if top1 is not None:
            return "top-1", lambda outputs: self._accuracy(outputs) or 0.0, top1
        measure = measure_of(self._scaled.at(1.0).graph, self._output)

        def agreement(outputs: Stream) -> float:
            score = Agreement()
            for values, wanted in zip(outputs, expected, strict=True):
                score.update(self._rows(values), wanted)
            return score.value(measure)

        return f"{measure} agreement", agreement, 1.0

    def _accuracy(self, outputs: Stream) -> float | None:
        score, done = Accuracy(), 0
        for values in outputs:
            rows = self._rows(values)
            score.update(rows, self._samples.class_labels(done, len(rows)))
            done += len(rows)
        return score.share

    def _of_user(self, function: Metric) -> Callable[[Stream], float]:
        def judge(outputs: Stream) -> float:
            joined = self._constants | join_batches(outputs, self._axes)
            return _value_of(function, joined, self._samples.labels)

        return judge


def _value_of(function: Metric, outputs: dict[str, Array], labels: Array | None) -> float:
    """What a user's metric says, which must be a finite number."""
    try:
        value = float(function(outputs, labels))
    except Exception as error:  # the user's own code: anything may come out of it
        raise CompileError(
            f"the metric raised {type(error).__name__}: {error}",
            help="it gets the outputs by name (all samples) and the labels, or None; "
            "it returns a number",
        ) from error
    if not math.isfinite(value):
        raise CompileError(
            f"the metric returned {value}", help="return a finite number, larger is better"
        )
    return value
