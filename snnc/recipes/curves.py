"""What each site costs and spoils as a function of its step, measured in the network itself.

A site's error curve is that of the network's output where this site alone spikes (spec 6.6); its
spike curves are read off a sample of what it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from snnc.data import Samples
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.needed import Needed, needed_places
from snnc.ir.node import Array, Site
from snnc.ir.rate_neuron import RateNeuron
from snnc.passes.channels import by_channel
from snnc.recipes.tails import Activations, Tail, activations, tail_of
from snnc.rows import batches_and_axes, rows_of
from snnc.runtime import Session, batch_size
from snnc.site_errors import spiking_at

MEASURED = np.array([0.12, 0.25, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.3])
"""Steps at which the output's error is measured, over the root mean square of what a site sees."""

FINE = np.exp(np.arange(np.log(0.05), np.log(3.2), 0.05))
"""Steps between which an allocation chooses, over the same unit."""

ENTRIES = 2**15
"""Entries of a site from which spikes are counted."""

NOISY = 1 / 3
"""Standard error over the error, from which on a measured point is noise rather than knowledge."""


_Wanted: TypeAlias = "tuple[list[Array], int | None, float]"
"""The trained network's outputs by batch, the axis of their samples, and how far they spread."""


@dataclass(frozen=True)
class SiteCurve:
    """One site. unit: root mean square of what it sees; errors: relative squared error of the
    output at the steps MEASURED, deviations: their standard errors; at the steps FINE: mean
    |spike count|, share of counts that are not 0, and squared error of the site's own values over
    their squares. Places that no output depends on are silent and have no part in unit and error.
    errors is None where the output compared does not depend on the site.
    """

    name: str
    role: str
    unit: float
    spikes: Array
    events: Array
    own: Array
    errors: Array | None
    deviations: Array | None

    @property
    def noise(self) -> float:
        """The largest share of an error that is its standard error, where errors matter."""
        if self.errors is None or self.deviations is None or not self.errors.any():
            return 0.0
        return float((self.deviations / np.maximum(self.errors, self.errors.max() * 1e-6)).max())

    @property
    def output_error(self) -> Array:
        """Error of the output at the steps FINE, never less at a larger step.

        Between the points that were measured by powers, below them as the square of the step.
        """
        assert self.errors is not None and self.deviations is not None
        points = np.maximum.accumulate(np.maximum(self.errors + self.deviations, 1e-12))
        found = np.exp(np.interp(np.log(FINE), np.log(MEASURED), np.log(points)))
        below = MEASURED[0] > FINE
        found[below] = points[0] * np.square(FINE[below] / MEASURED[0])
        beyond = MEASURED[-1] < FINE
        found[beyond] = points[-1] * np.square(FINE[beyond] / MEASURED[-1])
        return np.asarray(found)


@dataclass(frozen=True)
class Measuring:
    """How curves are measured. neuron: with one step for both signs; known: curves of an earlier
    run, by site; found: told every curve as it is measured; progress: sites done, of how many."""

    neuron: RateNeuron
    output: str
    known: Mapping[str, SiteCurve]
    found: Callable[[SiteCurve], None] = lambda curve: None
    progress: Callable[[int, int], None] = lambda done, total: None


def site_curves(sited: Graph, samples: Samples, how: Measuring) -> tuple[SiteCurve, ...]:
    """The curve of every open site that ever sees anything but zeros.

    One session of what lies behind each site runs once for every step and batch. Raises
    CompileError where outputs are not finite.
    """
    graph = replace(sited, outputs=(how.output,)).pruned()
    tails = {site.outputs[0]: tail_of(graph, site, how.output) for site in graph.open_sites}
    reached = [site for site in sited.open_sites if tails.get(site.outputs[0]) is not None]
    taps = [v for tail in tails.values() if tail is not None for v in tail.inputs]
    seen = [site.inputs[0] for site in sited.open_sites]
    session = Session(graph)
    size = batch_size(sited, dict.fromkeys([*taps, *seen]))
    batches, axes = batches_and_axes(session, samples, size, (how.output,))
    axis = axes[how.output]
    needed = needed_places(sited)
    whole = replace(sited, outputs=(how.output, *dict.fromkeys(seen))).pruned()
    with activations(whole, batches, [how.output, *seen, *taps]) as kept:
        exact = [rows_of(v[how.output], axis) for v in kept.batches([how.output])]
        spread = _spread(exact)
        found = []
        for done, site in enumerate(sited.open_sites):
            curve = how.known.get(site.outputs[0])
            if curve is None:
                tail = tails[site.outputs[0]] if site in reached else None
                need = needed.get(site.outputs[0])
                curve = _curve(site, tail, kept, how, need, (exact, axis, spread))
                if curve is not None:
                    how.found(curve)
            if curve is not None:
                found.append(curve)
            how.progress(done + 1, len(sited.open_sites))
    return tuple(found)


def _spread(exact: list[Array]) -> float:
    """Squared distance of a sample's output from their mean; of zero, where all are alike."""
    if not all(np.isfinite(each).all() for each in exact):
        raise CompileError(
            "the outputs are not finite on a calibration sample",
            help="look for weights or samples out of range; compare another output with --output",
        )
    count = sum(map(len, exact))
    size = sum(float(np.square(each, dtype=np.float64).sum()) for each in exact) / count
    if len({each.shape[1:] for each in exact}) > 1:
        return size or 1.0
    mean = np.sum([each.sum(axis=0, dtype=np.float64) for each in exact], axis=0) / count
    around = size - float(np.square(mean).sum())
    return (around if around > 1e-9 * size else size) or 1.0


def _curve(
    site: Site,
    tail: Tail | None,
    kept: Activations,
    how: Measuring,
    need: Needed | None,
    wanted: _Wanted,
) -> SiteCurve | None:
    entries, share = _entries(site, kept, need), 1.0 if need is None else need.share
    unit = float(np.sqrt(np.square(entries, dtype=np.float64).mean())) if entries.size else 0.0
    if not 0 < unit < np.inf:
        return None
    spikes, events, own = np.empty((3, len(FINE)))
    for i, step in enumerate(FINE * unit):
        counts = np.abs(how.neuron.count(entries, step, step))
        spikes[i] = share * counts.mean()
        events[i] = share * np.count_nonzero(counts) / counts.size
        emitted = how.neuron.step(entries, step, step)
        own[i] = np.square(emitted - entries, dtype=np.float64).mean() / unit**2
    errors = deviations = None
    if tail is not None:
        errors, deviations = _errors(tail, kept, how, unit, wanted)
    return SiteCurve(site.outputs[0], site.role, unit, spikes, events, own, errors, deviations)


def _entries(site: Site, kept: Activations, need: Needed | None) -> Array:
    """Some of what the site sees at the places that count, spread evenly."""
    batches = [values[site.inputs[0]] for values in kept.batches(site.inputs[:1])]
    if need is not None:
        batches = [np.take(array, sorted(need.places), need.axis) for array in batches]
    total = sum(array.size for array in batches) or 1
    limits = [max(1, round(ENTRIES * array.size / total)) for array in batches]
    parts = [by_channel(a, 0, n)[0] for a, n in zip(batches, limits, strict=True) if a.size]
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)


def _errors(
    tail: Tail,
    kept: Activations,
    how: Measuring,
    unit: float,
    wanted: _Wanted,
) -> tuple[Array, Array]:
    """Mean and standard error of the output's relative squared error at every step MEASURED."""
    exact, axis, spread = wanted
    one = np.array(unit, np.float32)
    graph = spiking_at(tail.graph, tail.site, how.neuron, (one, one))
    steps = sorted({s for neuron in graph.neurons for s in neuron.inputs[1:] if s})
    session = Session(graph, free=steps)
    squares: list[list[Array]] = [[] for _ in MEASURED]
    for values, rows in zip(kept.batches(tail.inputs), exact, strict=True):
        expected = np.asarray(rows, np.float64)
        for step, collected in zip(MEASURED * unit, squares, strict=True):
            fed = dict.fromkeys(steps, np.array(step, np.float32))
            out = rows_of(session.run({**values, **fed})[how.output], axis)
            wrong = np.square(out - expected).reshape(len(expected), -1).sum(axis=1)
            collected.append(np.where(np.isfinite(wrong), wrong, np.inf))
    samples = [np.concatenate(each) / spread for each in squares]
    errors = np.array([each.mean() for each in samples])
    if not np.isfinite(errors).all():
        raise CompileError(
            "the output is not finite where a site spikes",
            at=", ".join(tail.site.loc.names[:1]),
            help="--keep the layers that read it, or compare another output with --output",
        )
    count = len(samples[0])
    if count < 2:  # nothing is known about its deviation: as large as the error itself
        return errors, errors.copy()
    deviations = np.array([each.std(ddof=1) / np.sqrt(count) for each in samples])
    return errors, deviations
