"""The cells of a layer that lie on each core, as boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from snnc.backends.schedule.layers import Layer
from snnc.backends.schedule.mapping import HOST
from snnc.backends.schedule.reading import Box
from snnc.ir.node import Array


def regions(layer: Layer, cores: Array) -> Iterator[tuple[int, tuple[Box, ...]]]:
    """Each core that holds cells of a layer, with the boxes they make up; cores: of its cells."""
    order = np.argsort(cores, kind="stable")
    places = np.flatnonzero(np.diff(cores[order])) + 1
    for cells in np.split(order, places):
        if cells.size:
            yield int(cores[cells[0]]), boxes(cells, layer.shape)


def on_chip(layer: Layer, cores: Array) -> Iterator[tuple[int, tuple[Box, ...]]]:
    """The same without the host."""
    return ((core, found) for core, found in regions(layer, cores) if core != HOST)


def boxes(entries: Array, shape: tuple[int, ...]) -> tuple[Box, ...]:
    """Entries (flat indices, each once) of an array of `shape`, as few disjoint boxes."""
    if not shape:
        return ((),)
    places = np.unravel_index(entries, shape)
    axes = tuple(np.unique(place) for place in places)
    sizes = tuple(map(len, axes))
    if math.prod(sizes) == len(entries):
        return (axes,)
    mask = np.zeros(sizes, bool)
    mask[tuple(np.searchsorted(a, p) for a, p in zip(axes, places, strict=True))] = True
    return tuple(
        tuple(axis[kept] for axis, kept in zip(axes, box, strict=True)) for box in _split(mask)
    )


def _split(mask: Array) -> list[Box]:
    """Disjoint boxes of what is true: rows that are alike together, each kind split on."""
    if mask.ndim == 1:
        return [(np.flatnonzero(mask),)] if mask.any() else []
    rows = mask.reshape(len(mask), -1)
    kinds, kind_of = np.unique(np.packbits(rows, axis=1), axis=0, return_inverse=True)
    found: list[Box] = []
    for kind in range(len(kinds)):
        alike = np.flatnonzero(kind_of.reshape(-1) == kind)
        found += [(alike, *inner) for inner in _split(mask[alike[0]])]
    return found
