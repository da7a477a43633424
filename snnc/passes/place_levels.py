"""PlaceLevels: a budget of spike counts, fitted to what every site sees (spec 6.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.data import Samples
from snnc.errors import CompileError
from snnc.ir.graph import Graph, Replacement, Stage
from snnc.ir.node import Array, Node, Site, Step
from snnc.ir.numbers import real_number
from snnc.ir.rate_neuron import LARGEST_COUNT, Polarity, Synapses
from snnc.neurons.level_sets import MAX_N, MAX_TOP, fitted_top
from snnc.neurons.sfn import SFN
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.channels import by_channel
from snnc.passes.softmax_max import SoftmaxMax
from snnc.runtime import Session, batch_size

FARTHEST = 4096
"""Steps beyond which activations count as if they lay there."""

ENTRIES = 2**18
"""Entries of a site that are taken of a batch, at most."""


@dataclass(frozen=True)
class PlaceLevels:
    """Levels of least mean squared error at every open site, N of each sign, for the step that the
    site would get with `neuron`, lambda = scale and this polarity.

    The levels are SFN's fitted ones: all K and S are tried. neuron: its rule is kept. factors: of
    the steps that are tried as well, jointly; larger ones make fewer spikes. A site gets `neuron`
    and, where it had none or their factor is not 1, `thresholds`. One that saw nothing but zeros
    keeps what it has.
    """

    neuron: SFN
    N: int
    samples: Samples
    scale: float = 1.0
    polarity: Polarity = "separate"
    synapses: Synapses = "float"
    factors: tuple[float, ...] = (1.0,)

    name: ClassVar[str] = "place-levels"
    before: ClassVar[Stage] = Stage.CALIBRATED
    after: ClassVar[Stage] = Stage.CALIBRATED

    def __post_init__(self) -> None:
        if isinstance(self.N, bool) or not isinstance(self.N, int) or not 1 <= self.N <= MAX_N:
            raise CompileError(f"N must be from 1 to {MAX_N} levels, not {self.N!r}")
        if not self.factors or any(not real_number(f, "factor") > 0 for f in self.factors):
            raise CompileError(f"factors of a step must be positive, not {self.factors}")

    def __call__(self, graph: Graph) -> Graph:
        assigned = AssignThresholds(self.neuron, self.scale, self.polarity, self.synapses)(graph)
        stepped = SoftmaxMax(self.neuron, self.synapses)(assigned)
        sites = [s for s in stepped.open_sites if isinstance(s.neuron or self.neuron, SFN)]
        seen = self._seen(graph, sites)
        levels = {s: list(self._candidates(LARGEST_COUNT[s])) for s in ("both", "positive")}

        def rule(node: Node) -> Replacement | None:
            if not isinstance(node, Site) or node.statistics is None:
                return None
            found = seen.get(node.outputs[0], [])
            if not any(each.counts.any() for each in found):
                return None
            sides = "positive" if node.statistics.minimum >= 0 else "both"
            fits = [each.least(levels[sides]) for each in found]
            best = min(range(len(fits)), key=lambda i: fits[i][0])
            return Replacement((self._placed(node, found[best], fits[best][1]),))

        return graph.rewrite(rule)

    def _candidates(self, largest: int) -> Iterator[SFN]:
        """Every set of N levels."""
        most = MAX_TOP if self.synapses == "float" else largest
        octaves = [2**i for i in range(max(self.N // 2, 1).bit_length())]
        sizes = [(k, s) for k in range(1, self.N + 1) for s in octaves if k < self.N or s == 1]
        within = [(k, s) for k, s in sizes if fitted_top(self.N, k, s) <= most]
        if not within:  # fewer contiguous ones
            return iter([SFN(rule=self.neuron.rule, levels="fitted", N=most, K=most, S=1)])
        rule = self.neuron.rule
        return (SFN(rule=rule, levels="fitted", N=self.N, K=k, S=s) for k, s in within)

    def _seen(self, graph: Graph, sites: list[Site]) -> dict[str, list[_Seen]]:
        """What every site sees in the trained network, in every step that is tried."""
        seen = {s.outputs[0]: [_Seen(s.step or (0.0, 0.0), f) for f in self.factors] for s in sites}
        values = tuple(dict.fromkeys(v for s in sites for v in s.inputs if v not in graph.consts))
        session = Session(graph, taps=values)
        for feeds in self.samples.batches(batch_size(graph, values)):
            tapped = {**graph.consts, **session.run(feeds)}
            for site in sites:
                array = tapped[site.inputs[0]]
                if len(site.inputs) > 1:
                    array = np.where(tapped[site.inputs[1]], array, 0)
                channels = array.shape[site.axis] if site.axis else 1
                entries = by_channel(array, site.axis, max(ENTRIES // max(channels, 1), 1))
                for each in seen[site.outputs[0]]:
                    each.add(entries)
        return seen

    def _placed(self, site: Site, seen: _Seen, model: SFN) -> Site:
        if site.thresholds is not None and seen.factor == 1:
            return replace(site, neuron=model)
        positive, negative = (
            tuple(np.ravel(step).astype(np.float64).tolist())
            for step in (seen.positive / self.scale, seen.negative / self.scale)
        )
        return replace(site, neuron=model, thresholds=(positive, negative))


class _Seen:
    """Activations in steps, by the half step that they reach: how many, their sums and those of
    their squares, each weighted with its step squared. Exact for every set of levels."""

    def __init__(self, step: tuple[Step, Step], factor: float) -> None:
        self.factor = factor
        self.positive, self.negative = (np.asarray(s, np.float64) * factor for s in step)
        self.counts, self.sums, self.squares = np.zeros((3, 2 * FARTHEST + 1))

    def add(self, entries: Array) -> None:
        """entries: [channels, n]; those of a branch that never fires are left out."""
        for sign, step in ((1, self.positive), (-1, self.negative)):
            steps = np.broadcast_to(step.reshape(-1, 1), entries.shape)
            alive = (sign * entries > 0) & (steps > 0)
            steps = steps[alive]
            sizes = np.minimum(sign * entries[alive] / steps, FARTHEST)
            reached, weights = np.floor(2 * sizes).astype(np.int64), steps**2
            for total, power in ((self.counts, 0), (self.sums, 1), (self.squares, 2)):
                total += np.bincount(reached, weights * sizes**power, len(total))

    def least(self, candidates: list[SFN]) -> tuple[float, SFN]:
        """The least error and its levels; of equals those that reach twice as far as what was seen
        but no farther than that takes, or else the farthest."""
        (bins,) = self.counts.nonzero()
        counts, sums, squares = self.counts[bins], self.sums[bins], self.squares[bins].sum()

        def badness(model: SFN) -> tuple[float, bool, int]:
            values = np.concatenate([[0.0], model.level_values])
            y = values[np.searchsorted(model.half_steps, bins, side="right")]
            error = float(squares + (y * (y * counts - 2 * sums)).sum())
            short = model.top < bins[-1]
            return error, short, -model.top if short else model.top

        best = min(candidates, key=badness)
        return badness(best)[0], best
