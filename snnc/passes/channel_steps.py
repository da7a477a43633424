"""ChannelSteps: a step for each channel, from its activity and from the weights that read it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.data import Samples
from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Array, Node, Op, Site
from snnc.ir.rate_neuron import Polarity, RateNeuron
from snnc.ir.weights import weight
from snnc.passes.channels import axis_of, by_channel
from snnc.passes.fit_thresholds import as_tuple
from snnc.runtime import Session, batch_size

ENTRIES = 2**16
"""Entries that are kept of a site, at most, but FEWEST of each channel."""

FEWEST = 128

RANGE = 8.0
"""Ratio of a channel's step to the median one, at most; its inverse at least."""

HALVINGS = 12
"""Of the factors from 1/RANGE to RANGE, on a scale of logarithms: to 0.1 %."""


@dataclass(frozen=True)
class ChannelSteps:
    """theta_c = theta k (E|x_c| / ||W_c||^2)^(1/3), W_c the weights that read channel c (spec 6.3).

    k keeps the site's expected number of spikes at lambda = `scale`. Of sites whose readers agree
    on channels and have constant weights, and whose theta is one for the tensor; the others stay.
    polarity: of the thetas of sites that have only statistics.
    """

    neuron: RateNeuron
    samples: Samples
    scale: float = 1.0
    polarity: Polarity = "separate"

    name: ClassVar[str] = "channel-steps"
    before: ClassVar[Stage] = Stage.CALIBRATED
    after: ClassVar[Stage] = Stage.CALIBRATED

    def __call__(self, graph: Graph) -> Graph:
        norms = {
            s.outputs[0]: norm for s in graph.sites if (norm := squared_norms(graph, s)) is not None
        }
        sites = {s.outputs[0]: s for s in graph.sites if s.outputs[0] in norms}
        entries = self._entries(graph, sites, {name: len(norm) for name, norm in norms.items()})

        def rule(node: Node) -> Replacement | None:
            name = node.outputs[0]
            if not isinstance(node, Site) or name not in sites:
                return None
            thetas = self._thetas(node, entries[name], norms[name])
            return Replacement((replace(node, thresholds=thetas, axis=axis_of(graph, node)),))

        return graph.rewrite(rule)

    def _entries(
        self, graph: Graph, sites: dict[str, Site], channels: dict[str, int]
    ) -> dict[str, Array]:
        """Entries [channels, n] of every site in the trained network."""
        taps = tuple(dict.fromkeys(site.inputs[0] for site in sites.values()))
        found: dict[str, list[Array]] = {name: [] for name in sites}
        session = Session(graph, taps=taps)
        for feeds in self.samples.batches(batch_size(graph, taps)) if sites else ():
            share = self.samples.size_of(feeds) / (self.samples.count or 1)
            values = session.run(feeds)
            for name, site in sites.items():
                limit = max(1, round(max(FEWEST, ENTRIES // channels[name]) * share))
                found[name].append(by_channel(values[site.inputs[0]], axis_of(graph, site), limit))
        return {name: np.concatenate(each, 1) for name, each in found.items()}

    def _thetas(
        self, site: Site, x: Array, norms: Array
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of positive and of negative spikes."""
        assert site.statistics is not None
        thetas = self._tensor_thetas(site)
        neuron = (site.neuron or self.neuron).at(site.statistics.sides, "float")
        size = np.abs(x).mean(1, dtype=np.float64)
        alive = (size > 0) & (norms > 0)
        ratio = np.ones(len(x))
        if alive.any():
            law = np.cbrt(size[alive] / norms[alive])
            ratio[alive] = np.clip(law / np.median(law), 1 / RANGE, RANGE)
        ratio *= self._factor(neuron, x, thetas, ratio)
        positive, negative = (as_tuple(theta * ratio) for theta in thetas)
        return positive, negative

    def _tensor_thetas(self, site: Site) -> tuple[float, float]:
        assert site.statistics is not None
        if site.thresholds is not None:
            (positive,), (negative,) = site.thresholds
            return positive, negative
        return (site.neuron or self.neuron).thetas_of(site.statistics, self.polarity)

    def _factor(
        self, neuron: RateNeuron, x: Array, thetas: tuple[float, float], ratio: Array
    ) -> float:
        """k: as many spikes with `ratio` k as with one theta for all channels."""

        def spikes(ratio: Array) -> float:
            positive, negative = (
                np.asarray(neuron.step_of(theta, self.scale) * ratio, np.float32)[:, None]
                for theta in thetas
            )
            return float(np.abs(neuron.count(x, positive, negative)).sum(dtype=np.float64))

        wanted, low, high = spikes(np.ones(len(x))), 1 / RANGE, RANGE
        for _ in range(HALVINGS):
            middle = float(np.sqrt(low * high))
            low, high = (middle, high) if spikes(ratio * middle) > wanted else (low, middle)
        return high


def squared_norms(graph: Graph, site: Site) -> Array | None:
    """||W_c||^2 of all readers together, by channel; None where the site keeps one theta."""
    one = site.thresholds is None or site.axis == 0
    if site.role == "quantizer" or not one or not axis_of(graph, site):
        return None
    total: Array | float = 0.0
    for op in graph.readers[site.outputs[0]]:
        array = weight(graph, op.inputs[1])
        if array is None or not isinstance(op, Op) or array.ndim < 2:
            return None
        total = total + _norms_of(op, np.square(array, dtype=np.float64))
    return np.asarray(total)


def _norms_of(op: Op, squares: Array) -> Array:
    """Sums of squared weights by input channel."""
    if op.op_type == "MatMul":
        return np.asarray(squares.sum(-1).reshape(-1, squares.shape[-2]).sum(0))
    if op.op_type == "Gemm":
        return np.asarray(squares.sum(0 if op.integer("transB", 0) else 1))
    if op.op_type == "ConvTranspose":
        return np.asarray(squares.sum(tuple(range(1, squares.ndim))))
    group = op.integer("group", 1)
    by_input = squares.reshape(group, -1, *squares.shape[1:])
    return np.asarray(by_input.sum((1, *range(3, by_input.ndim))).ravel())
