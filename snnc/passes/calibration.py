"""Calibration: what every site saw over a stream of samples, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from snnc.data import Samples
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.numbers import real_number
from snnc.passes.masking import Masking
from snnc.passes.sketch import Accumulator
from snnc.reservoir import Reservoir
from snnc.runtime import Session, batch_size
from snnc.shards import WHOLE, Deal, Part, Shard, joined


def _silent(done: int) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Calibration:
    """accumulators: by name of the value that a site encodes; reservoir: some of the samples;
    parts: which samples were seen; mask_input: whose zeros were left out."""

    accumulators: Mapping[str, Accumulator]
    reservoir: Reservoir
    parts: tuple[Part, ...]
    mask_input: str | None = None

    @property
    def random(self) -> bool:
        """Whether any of the samples were random numbers."""
        return any(part.random for part in self.parts)

    @property
    def mask(self) -> str:
        """The mask in words."""
        return "no mask" if self.mask_input is None else f"mask input '{self.mask_input}'"

    def merged(self, other: Calibration, where: str) -> Calibration:
        """What this calibration and `other`, of the same network, saw; both are used up.

        where: what `other` is called in the CompileError for samples that would count twice.
        """
        parts = joined(self.parts, other.parts, where)
        for value, accumulator in self.accumulators.items():
            accumulator.merge(other.accumulators[value])
        self.reservoir.merge(other.reservoir)
        return replace(self, parts=parts)


def observe(
    graph: Graph,
    samples: Samples,
    *,
    mask_input: str | None = None,
    shard: Shard = WHOLE,
    progress: Callable[[int], None] = _silent,
) -> Calibration:
    """Runs a network with sites over `samples` and records the values of every site.

    mask_input: name of an input [samples, positions]; positions where it is 0 are left out.
    shard: run this share of the samples only. progress: told how many samples are done. Raises
    CompileError for values that are not finite.
    """
    values = tuple(site.inputs[0] for site in graph.open_sites)
    gates = {site.inputs[0]: site.inputs[1] for site in graph.open_sites if len(site.inputs) > 1}
    taps = dict.fromkeys((*values, *(v for v in gates.values() if v not in graph.consts)))
    session = Session(graph, taps=taps)
    accumulators = {value: Accumulator() for value in values}
    site_of = {site.inputs[0]: site for site in graph.open_sites}
    masking: Masking | None = None
    reservoir = Reservoir(samples.single, samples.splittable)
    deal = Deal(samples, shard, batch_size(graph, taps))
    for batch in deal:
        feeds = batch.feeds
        if mask_input is not None and masking is None:
            sample = {name: array[:1] for name, array in feeds.items()}
            masking = Masking(graph, mask_input, site_of, sample)
        tapped = session.run(feeds)
        for value in values:
            array = tapped[value]
            if value in gates:
                gate = graph.consts.get(gates[value], tapped.get(gates[value]))
                array = array[np.broadcast_to(np.asarray(gate), array.shape)]
            elif masking is not None:
                array = masking.select(value, array, feeds)
            if not np.isfinite(array).all():
                raise graph.error(
                    "the activation is not finite on a calibration sample",
                    site_of[value],
                    help="look for samples out of range, or --keep the layers that read it",
                )
            if array.size:
                accumulators[value].update(array)
        reservoir.add(batch)
        progress(reservoir.seen)
    return Calibration(accumulators, reservoir, (deal.part,), mask_input)


def require_percentile(percentile: float) -> None:
    """Raises CompileError for a share of activations that no pair of quantiles can leave out."""
    if not 0 <= real_number(percentile, "percentile") < 50:
        raise CompileError(
            f"percentile {percentile} is out of range", help="choose 0 <= percentile < 50"
        )
