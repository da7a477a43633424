"""By how much a layer's bias shifts so that its outputs come nearest to the trained ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.ops import rectifier_bound
from snnc.passes.channels import spread
from snnc.passes.masking import Masking
from snnc.passes.own_biases import OwnBias
from snnc.passes.side_by_side import Compared

ROWS = 4096
"""Entries of a channel on which errors behind a rectifier are measured, at most."""

SHIFTS = np.arange(-20, 21, dtype=np.float32) / 20
"""Of a channel's standard deviation: the shifts that are tried in front of a rectifier."""


class BiasShift:
    """The shift d of each output channel from what the trained layer (a) and the spiking one (o)
    give: argmin E[(r(a) - r(o + d))^2], r the ReLU or ReLU6 that alone reads the layer.

    Without a rectifier that is the mean difference (spec 6.4).
    """

    def __init__(self, graph: Graph, bias: OwnBias) -> None:
        reader = graph.only_reader(bias.value)
        self._bound = rectifier_bound(graph, reader) if isinstance(reader, Op) else None
        self._sum: Array | float = 0.0
        self._count = 0
        self._entries: list[tuple[Array, Array]] = []

    def add(self, wanted: Array, found: Array, share: float) -> None:
        """Outputs [channels, n] of both layers, of this share of all samples."""
        if self._bound is None:
            self._sum = self._sum + (wanted - found).sum(1, dtype=np.float64)
            self._count += wanted.shape[1]
            return
        some = spread(wanted.shape[1], max(1, round(ROWS * share)))
        self._entries.append((wanted[:, some], found[:, some]))

    def shift(self) -> Array:
        """d, [channels]."""
        if self._bound is None:
            return np.asarray(self._sum / max(self._count, 1))
        wanted, found = (np.concatenate(each, 1) for each in zip(*self._entries, strict=True))
        unit, target = wanted.std(1, keepdims=True), np.clip(wanted, 0, self._bound)
        errors = [
            np.square(target - np.clip(found + s * unit, 0, self._bound)).mean(1) for s in SHIFTS
        ]
        return np.asarray(SHIFTS[np.stack(errors).argmin(0)] * unit[:, 0])


def add_batch(
    shift: BiasShift, bias: OwnBias, batch: Compared, timesteps: int, mask: Masking | None = None
) -> None:
    """Adds what both networks give a layer in one batch, over several timesteps on average.

    mask: leaves entries out.
    """
    wanted, found = batch.wanted[bias.value], batch.found[bias.value]
    if len(found) != len(wanted):
        found = found.reshape(timesteps, *wanted.shape).mean(0)
    entries = []
    for array in (wanted, found):
        if mask is None:
            moved = np.moveaxis(array, bias.axis, 0)
            entries.append(moved.reshape(len(moved), -1))
        else:
            entries.append(mask.by_channel(bias.value, array, bias.axis, batch.feeds))
    shift.add(entries[0], entries[1], batch.share)


def shifted(graph: Graph, name: str, shift: Array) -> Graph:
    """The graph with a constant bias shifted by [channels]."""
    old = graph.consts[name]
    new = (old + shift.reshape(old.shape)).astype(old.dtype)
    return replace(graph, consts={**graph.consts, name: new})
