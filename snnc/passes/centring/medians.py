"""Medians by channel of what sites see in the trained network, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def medians(
    graph: Graph,
    axes: Mapping[str, tuple[int, ...]],
    samples: Samples,
    mask_input: str | None,
    progress: Callable[[int], None],
) -> dict[str, Array]:
    """The median of every channel of each site, in a shape that broadcasts against its value.

    axes: by the result of a site, those along which it varies, from the last, -1. Where an entry is
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
    return {name: entries.median for name, entries in kept.items()}


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

    @property
    def median(self) -> Array:
        entries = np.concatenate(self._kept, axis=1)
        if not entries.size or not np.isfinite(entries).all():
            return np.zeros(self._shape, entries.dtype)
        return np.asarray(np.median(entries, axis=1), entries.dtype).reshape(self._shape)
