"""Calibration: what every site saw over a stream of samples, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from snnc.data import Samples
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.passes.masking import Masking
from snnc.passes.sketch import Accumulator
from snnc.reservoir import Reservoir
from snnc.runtime import Session, batch_size


def _silent(done: int) -> None:
    """No progress display."""


@dataclass(frozen=True)
class Calibration:
    """accumulators: by name of the value that a site encodes; reservoir: some of the samples."""

    accumulators: Mapping[str, Accumulator]
    reservoir: Reservoir


def observe(
    graph: Graph,
    samples: Samples,
    *,
    mask_input: str | None = None,
    progress: Callable[[int], None] = _silent,
) -> Calibration:
    """Runs a network with sites over `samples` and records the values of every site.

    mask_input: name of an input [samples, positions]; positions where it is 0 are left out.
    progress: told how many samples are done. Raises CompileError for values that are not finite.
    """
    values = tuple(site.inputs[0] for site in graph.sites)
    session = Session(graph, taps=values)
    accumulators = {value: Accumulator() for value in values}
    site_of = {site.inputs[0]: site for site in graph.sites}
    masking: Masking | None = None
    reservoir = Reservoir(samples.single, samples.splittable)
    for feeds in samples.batches(batch_size(graph, values)):
        if mask_input is not None and masking is None:
            sample = {name: array[:1] for name, array in feeds.items()}
            masking = Masking(graph, mask_input, site_of, sample)
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
        reservoir.add(feeds)
        progress(reservoir.seen)
    return Calibration(accumulators, reservoir)


def require_percentile(percentile: float) -> None:
    """Raises CompileError for a share of activations that no pair of quantiles can leave out."""
    if not 0 <= percentile < 50:
        raise CompileError(
            f"percentile {percentile} is out of range", help="choose 0 <= percentile < 50"
        )
