"""Calibrate: statistics of every site over a stream of samples, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.data import Feeds, Samples
from snnc.errors import CompileError
from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Node, Site
from snnc.passes.masking import Masking
from snnc.passes.sketch import Accumulator
from snnc.runtime import Session, batch_size


def _silent(done: int) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Calibrate:
    """Runs the network over `samples` and gives every site its statistics (spec 2.3).

    percentile: p of the pooled quantile pair, in percent, 0 <= p < 50. mask_input: name of an input
    [samples, positions]; positions where it is 0 are left out. progress: told how many samples
    are done; observe: shown every batch that is run.
    """

    samples: Samples
    percentile: float = 1.0
    mask_input: str | None = None
    progress: Callable[[int], None] = _silent
    observe: Callable[[Feeds], None] | None = None

    name: ClassVar[str] = "calibrate"
    before: ClassVar[Stage] = Stage.SITED
    after: ClassVar[Stage] = Stage.CALIBRATED

    def __post_init__(self) -> None:
        if not 0 <= self.percentile < 50:
            raise CompileError(
                f"percentile {self.percentile} is out of range", help="choose 0 <= percentile < 50"
            )

    def __call__(self, graph: Graph) -> Graph:
        values = tuple(site.inputs[0] for site in graph.sites)
        session = Session(graph, taps=values)
        accumulators = {value: Accumulator() for value in values}
        site_of = {site.inputs[0]: site for site in graph.sites}
        masking: Masking | None = None
        done = 0
        for feeds in self.samples.batches(batch_size(graph, values)):
            if self.mask_input is not None and masking is None:
                sample = {name: array[:1] for name, array in feeds.items()}
                masking = Masking(graph, self.mask_input, site_of, sample)
            tapped = session.run(feeds)
            for value in values:
                array = tapped[value]
                if masking is not None:
                    array = masking.select(value, array, feeds)
                if not np.isfinite(array).all():
                    raise graph.error(
                        "the activation is not finite on a calibration sample",
                        site_of[value],
                        help="look for samples out of range, or --keep the layers that read it",
                    )
                if array.size:
                    accumulators[value].update(array)
            if self.observe is not None:
                self.observe(feeds)
            done += self.samples.size_of(feeds)
            self.progress(done)
        return self._with_statistics(graph, accumulators)

    def _with_statistics(self, graph: Graph, accumulators: dict[str, Accumulator]) -> Graph:
        def rule(node: Node) -> Replacement | None:
            if not isinstance(node, Site):
                return None
            accumulator = accumulators[node.inputs[0]]
            if not accumulator.count:
                raise graph.error(
                    "the site saw no value at all in calibration",
                    node,
                    help="calibrate on samples that are not masked throughout",
                )
            return Replacement((replace(node, statistics=accumulator.statistics(self.percentile)),))

        return replace(graph.rewrite(rule), stage=Stage.CALIBRATED)
