"""Medians by channel of what sites see in the trained network, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from snnc.data import Feeds, Samples
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.passes.channels import by_channel
from snnc.passes.masking import Masking
from snnc.runtime import Session, batch_size

ENTRIES = 2**24
"""Entries that are kept of all sites together."""

MOST, FEWEST = 4096, 64
"""Entries that are kept of a channel."""

OF_MEDIAN = np.pi / 2
"""Variance of a median of n normal numbers over theirs, times n."""


def medians(
    graph: Graph,
    axes: Mapping[str, tuple[int, ...]],
    samples: Samples,
    mask_input: str | None,
    progress: Callable[[int], None],
    channels: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Array]:
    """The median of every channel of each site, in a shape that broadcasts against its value.

    axes: by the result of a site, those along which it varies, from the last, -1. Medians of single
    entries of a sample draw near that of their channel as far as few samples leave them uncertain;
    channels: the axis of these. Where an entry is
    not finite the medians of its site are 0. mask_input: see observe; progress: told how many
    samples are done.
    """
    sites = {s.inputs[0]: s for s in graph.open_sites if s.outputs[0] in axes}
    session = Session(graph, taps=tuple(sites))
    kept = {s.outputs[0]: _Entries(axes[s.outputs[0]], len(sites)) for s in sites.values()}
    masking: Masking | None = None
    done = 0
    for feeds in samples.batches(batch_size(graph, tuple(sites))):
        if mask_input is not None and masking is None:
            masking = Masking(graph, mask_input, sites, {n: a[:1] for n, a in feeds.items()})
        tapped = session.run(feeds)
        for value, site in sites.items():
            kept[site.outputs[0]].add(value, tapped[value], masking, feeds)
        done += samples.size_of(feeds)
        progress(done)
    return {name: entries.median(channels.get(name)) for name, entries in kept.items()}


def fits(entries: int, sites: int) -> bool:
    """Whether as many channels, of one of some sites, are few enough for medians of their own."""
    return entries * sites * FEWEST <= ENTRIES


class _Entries:
    """Some entries of every channel of one site, the same number of each."""

    def __init__(self, axes: tuple[int, ...], sites: int) -> None:
        self._axes, self._sites = axes, sites
        self._shape: tuple[int, ...] = ()
        self._kept: list[Array] = []
        self._count, self._share = 0, 1.0
        self._chance = np.random.default_rng(0)

    def add(self, value: str, array: Array, masking: Masking | None, feeds: Feeds) -> None:
        inner = range(min(self._axes), 0)
        self._shape = tuple(array.shape[a] if a in self._axes else 1 for a in inner)
        found = self._by_channel(value, array, masking, feeds)
        found = found[:, self._chance.random(found.shape[1]) < self._share]
        self._kept.append(found)
        self._count += found.shape[1]
        limit = int(np.clip(ENTRIES // (self._sites * max(len(found), 1)), FEWEST, MOST))
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

    def median(self, channel: int | None) -> Array:
        """The medians; channel: the axis of channels where single entries have one."""
        entries = np.concatenate(self._kept, axis=1)
        if not entries.size or not np.isfinite(entries).all():
            return np.zeros(self._shape, entries.dtype)
        found = np.asarray(np.median(entries, axis=1), entries.dtype).reshape(self._shape)
        if channel is None:
            return found
        spread = entries.var(axis=1, ddof=1, dtype=np.float64).reshape(self._shape)
        return _shrunk(found, OF_MEDIAN * spread / entries.shape[1], channel).astype(found.dtype)


def _shrunk(medians: Array, variance: Array, channel: int) -> Array:
    """Medians of entries, drawn to that of their channel by the share of their variance that is
    uncertainty (James and Stein, 1961)."""
    others = tuple(axis for axis in range(-medians.ndim, 0) if axis != channel)
    middle = np.median(medians, axis=others, keepdims=True)
    apart = np.square(medians - middle, dtype=np.float64).mean(axis=others, keepdims=True)
    noise = variance.mean(axis=others, keepdims=True)
    kept = np.clip(1 - noise / np.where(apart > 0, apart, np.inf), 0, 1)
    return np.asarray(middle + kept * (medians - middle))
