"""Some of what sites see in the trained network, in bounded memory, and their zero points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from snnc.data import Feeds, Samples
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.passes.channels import by_channel
from snnc.passes.masking import Masking
from snnc.runtime import Session, batch_size

ENTRIES = 2**24
"""Entries that are kept of all sites together, and at most as many again."""

MOST, FEWEST = 4096, 64
"""Entries that are kept of a channel, and at most as many again."""

STEP = 0.6
"""Of the root mean square of what a site sees: the step at which zero points are compared."""

GAIN = 0.99
"""What zero points cost, at most, over what none or coarser ones cost, for them to be worth it."""

OF_MEDIAN = np.pi / 2
"""Variance of a median of n normal numbers over theirs, times n."""


def entries_of(
    graph: Graph,
    axes: Mapping[str, tuple[int, ...]],
    samples: Samples,
    mask_input: str | None,
    progress: Callable[[int], None],
) -> dict[str, Entries]:
    """Entries of every channel of each site; of single entries of a sample where axes say so.

    axes: by the result of a site, those along which zero points vary, from the last, -1.
    mask_input: see observe; progress: told how many samples are done.
    """
    sites = {s.inputs[0]: s for s in graph.open_sites if s.outputs[0] in axes}
    session = Session(graph, taps=tuple(sites))
    kept = {s.outputs[0]: Entries(axes[s.outputs[0]]) for s in sites.values()}
    masking: Masking | None = None
    done = 0
    for feeds in samples.batches(batch_size(graph, tuple(sites))):
        if mask_input is not None and masking is None:
            masking = Masking(graph, mask_input, sites, {n: a[:1] for n, a in feeds.items()})
        tapped = session.run(feeds)
        for value, site in sites.items():
            kept[site.outputs[0]].add(value, tapped[value], masking, feeds)
        channels = sum(entries.channels for entries in kept.values())
        for entries in kept.values():
            entries.thin(int(np.clip(ENTRIES // max(channels, 1), FEWEST, MOST)))
        done += samples.size_of(feeds)
        progress(done)
    return kept


def fitting(entries: Mapping[str, int]) -> frozenset[str]:
    """Sites, by how many entries a sample has, all of which can have zero points of their own: the
    smaller ones first."""
    sites = sorted(entries, key=lambda site: entries[site])
    total = np.cumsum([entries[site] for site in sites])
    return frozenset(
        site for site, up_to in zip(sites, total, strict=True) if up_to * FEWEST <= ENTRIES
    )


class Entries:
    """Some entries of every channel of one site, the same number of each."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        self._axes = axes
        self._shape: tuple[int, ...] = ()
        self._kept: list[Array] = []
        self._count, self._share = 0, 1.0
        self._chance = np.random.default_rng(0)

    @property
    def channels(self) -> int:
        """How many channels, or single entries, have entries here."""
        return math.prod(self._shape)

    def add(self, value: str, array: Array, masking: Masking | None, feeds: Feeds) -> None:
        """The entries of one batch."""
        inner = range(min(self._axes), 0)
        self._shape = tuple(array.shape[a] if a in self._axes else 1 for a in inner)
        found = self._by_channel(value, array, masking, feeds)
        found = found[:, self._chance.random(found.shape[1]) < self._share]
        self._kept.append(found)
        self._count += found.shape[1]

    def thin(self, limit: int) -> None:
        """Keeps at most twice as many of each channel."""
        while self._count > 2 * limit:
            whole = np.concatenate(self._kept, axis=1)
            self._kept = [whole[:, self._chance.random(whole.shape[1]) < 0.5]]
            self._count, self._share = self._kept[0].shape[1], self._share / 2

    def _by_channel(self, value: str, array: Array, masking: Masking | None, feeds: Feeds) -> Array:
        """Entries [channels, n], of positions that are not masked."""
        axes = self._axes
        last = np.moveaxis(array, axes, range(-len(axes), 0))
        if masking is None:
            channels = int(np.prod(last.shape[-len(axes) :]))
            return by_channel(last.reshape(-1, channels), -1, last.size)
        width = int(np.prod(self._shape))
        channel = np.arange(width).reshape(self._shape)
        labels = masking.select(value, np.broadcast_to(channel, array.shape), feeds).ravel()
        entries = masking.select(value, array, feeds).ravel()
        return np.asarray(entries[np.argsort(labels, kind="stable")].reshape(width, -1))

    def zero_points(self, channel: int | None = None) -> Array:
        """Medians of single entries (where an axis of channels is given) or of channels, or 0: what
        costs least in those samples that it was not taken from, each half in turn.

        The cost is the squared error in steps and the price of a spike at which this step is the
        best one of activations that are not centred (spec 6.3); 0 where an entry is not finite.
        """
        entries = np.concatenate(self._kept, axis=1)
        if entries.size and not np.isfinite(entries).all():
            return np.zeros(self._shape, entries.dtype)
        ways: list[Callable[[Array], Array]] = [self._zeros, self._medians]
        if channel is not None:
            by_channel, by_entry = partial(self._by, channel), partial(self._drawn, channel)
            ways = [self._zeros, by_channel, by_entry]
        halves = np.array_split(entries, 2, axis=1)
        if halves[1].shape[1] < 2:
            return self._zeros(entries)
        pairs = ((halves[0], halves[1]), (halves[1], halves[0]))
        with np.errstate(over="ignore", invalid="ignore"):
            costs = [sum(self._cost(new, way(old)) for old, new in pairs) for way in ways]
            best = 0
            for way in range(1, len(ways)):
                best = way if costs[way] < GAIN * costs[best] else best
            return ways[best](entries).astype(entries.dtype)

    def _cost(self, entries: Array, zeros: Array) -> float:
        step = STEP * float(np.sqrt(np.square(entries, dtype=np.float64).mean()))
        if step == 0:
            return 0.0
        price = step / (6 * float(np.abs(entries).mean(dtype=np.float64)))
        whole = np.broadcast_to(zeros, self._shape).reshape(-1, 1)
        sizes = np.abs(entries - whole) / step
        spikes = np.floor(sizes + 0.5)
        return float(np.square(sizes - spikes).mean() + price * spikes.mean())

    def _zeros(self, entries: Array) -> Array:
        return np.zeros(self._shape, entries.dtype)

    def _by(self, channel: int, entries: Array) -> Array:
        """Medians of the channels along an axis."""
        each = entries.reshape(*self._shape, -1)
        axis = channel + len(self._shape)
        others = tuple(a for a in range(each.ndim) if a != axis)
        middle = np.median(each, axis=others, keepdims=True)[..., 0]
        return np.asarray(middle.reshape(middle.shape[channel:]))

    def _medians(self, entries: Array) -> Array:
        return np.asarray(np.median(entries, axis=1).reshape(self._shape))

    def _drawn(self, channel: int, entries: Array) -> Array:
        """Medians of single entries, drawn to those of their channels."""
        spread = entries.var(axis=1, ddof=1, dtype=np.float64).reshape(self._shape)
        return _shrunk(self._medians(entries), OF_MEDIAN * spread / entries.shape[1], channel)


def _shrunk(medians: Array, variance: Array, channel: int) -> Array:
    """Medians of entries, drawn to that of their channel by the share of their variance that is
    uncertainty (James and Stein, 1961)."""
    others = tuple(axis for axis in range(-medians.ndim, 0) if axis != channel)
    middle = np.median(medians, axis=others, keepdims=True)
    apart = np.square(medians - middle, dtype=np.float64).mean(axis=others, keepdims=True)
    noise = variance.mean(axis=others, keepdims=True)
    kept = np.clip(1 - noise / np.where(apart > 0, apart, np.inf), 0, 1)
    return np.asarray(middle + kept * (medians - middle))
