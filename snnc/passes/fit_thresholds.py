"""FitThresholds: thresholds by channel or of least error, from samples instead of statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.data import Samples
from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Array, Node, Site
from snnc.ir.rate_neuron import Polarity, RateNeuron
from snnc.passes.channels import axis_of, by_channel
from snnc.passes.fit_sequence import fitted_in_sequence
from snnc.passes.threshold_rules import ThresholdRule
from snnc.reservoir import Reservoir
from snnc.runtime import Session, batch_size

ENTRIES = 2**26
"""Entries that are kept of all sites together for quantiles by channel."""

ROWS = 4096
"""Entries that are kept of a channel, at most."""

SAMPLES, FEWEST, STEPS = 512, 128, 2048
"""Samples that thresholds are fitted on: at most, at least, and times the timesteps in between.

With many levels what lies beyond the largest activation seen makes most of the error, and every
further sample counts: the error of the logits of 2,000 other images (a network of six convolutions
on Fashion-MNIST, mtn of 64, 32 and 16 levels) fell by 20, 7 and 3 % from 256 samples to 512."""


@dataclass(frozen=True)
class FitThresholds:
    """Thresholds of a rule that needs samples, at all sites but those of softmax.

    scale: lambda at which biases are corrected; progress: told how many sites are done, of how
    many. Memory does not grow with the samples.
    """

    rule: ThresholdRule
    neuron: RateNeuron
    samples: Samples
    polarity: Polarity = "separate"
    timesteps: int = 1
    scale: float = 1.0
    progress: Callable[[int, int], None] = lambda done, total: None

    name: ClassVar[str] = "fit-thresholds"
    before: ClassVar[Stage] = Stage.CALIBRATED
    after: ClassVar[Stage] = Stage.CALIBRATED

    def __call__(self, graph: Graph) -> Graph:
        seen = _Seen(self, graph)
        sided = graph.rewrite(seen.chosen)
        return sided if self.rule.statistic != "mse" else fitted_in_sequence(self, sided)

    @property
    def shared(self) -> bool:
        """Whether both signs have one threshold."""
        return self.polarity == "shared" or self.neuron.one_threshold


class _Seen:
    """What the trained network shows at every site: extremes by channel, and some entries."""

    def __init__(self, fit: FitThresholds, graph: Graph) -> None:
        self._fit = fit
        sites = [site for site in graph.open_sites if site.role != "softmax"]
        by_channels = fit.rule.per == "channel"
        self._axis = {s.outputs[0]: axis_of(graph, s) if by_channels else 0 for s in sites}
        self._extremes: dict[str, tuple[Array, Array]] = {}
        self._entries: dict[str, list[Array]] = {site.outputs[0]: [] for site in sites}
        values = tuple(dict.fromkeys(site.inputs[0] for site in sites))
        session = Session(graph, taps=values)
        for feeds in fit.samples.batches(batch_size(graph, values)):
            share = fit.samples.size_of(feeds) / (fit.samples.count or 1)
            tapped = session.run(feeds)
            for site in sites:
                self._add(site.outputs[0], tapped[site.inputs[0]], share)

    def _add(self, name: str, array: Array, share: float) -> None:
        axis = self._axis[name]
        moved = np.moveaxis(array, axis, 0) if axis else array[None]
        flat = moved.reshape(len(moved), -1)
        low, high = flat.min(1), flat.max(1)
        if name in self._extremes:
            lowest, highest = self._extremes[name]
            low, high = np.minimum(low, lowest), np.maximum(high, highest)
        self._extremes[name] = low, high
        if self._fit.rule.statistic == "percentile":
            limit = min(ROWS, ENTRIES // (len(self._entries) * len(moved)))
            self._entries[name].append(by_channel(array, axis, max(1, round(limit * share))))

    def chosen(self, node: Node) -> Replacement | None:
        """A site with its thresholds."""
        if not isinstance(node, Site) or node.outputs[0] not in self._extremes:
            return None
        low, high = self._extremes[node.outputs[0]]
        positive, negative = np.maximum(high, 0), np.maximum(-low, 0)
        if self._fit.rule.statistic == "percentile":
            positive, negative = self._quantiles(node.outputs[0], positive, negative)
        if self._fit.shared:
            larger = np.maximum(positive, negative)
            positive = np.where(positive.any(), larger, 0)
            negative = np.where(negative.any(), larger, 0)
        thresholds = as_tuple(positive), as_tuple(negative)
        return Replacement(
            (replace(node, thresholds=thresholds, axis=self._axis[node.outputs[0]]),)
        )

    def _quantiles(self, name: str, positive: Array, negative: Array) -> tuple[Array, Array]:
        """The extreme takes a quantile's place where that is 0 (spec 0.5)."""
        entries = np.concatenate(self._entries[name], axis=1)
        share = self._fit.rule.quantile / 100
        low, high = np.quantile(entries, (share, 1 - share), axis=1, method="higher")
        return np.where(high > 0, high, positive), np.where(low < 0, -low, negative)


def fitting(
    rule: ThresholdRule,
    neuron: RateNeuron,
    reservoir: Reservoir,
    polarity: Polarity,
    timesteps: int,
    scale: float,
    progress: Callable[[int, int], None],
) -> tuple[FitThresholds, ...]:
    """The pass, for a rule that needs it: on fewer samples where each takes longer."""
    samples = reservoir.samples(min(SAMPLES, max(FEWEST, STEPS // timesteps)))
    fit = FitThresholds(rule, neuron, samples, polarity, timesteps, scale, progress)
    return (fit,) if rule.needs_samples else ()


def as_tuple(thresholds: Array) -> tuple[float, ...]:
    """Thresholds as a site holds them: float32."""
    return tuple(float(t) for t in np.asarray(thresholds, np.float32).ravel())
