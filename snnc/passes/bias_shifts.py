"""By how much a layer's bias shifts so that its outputs come nearest to the trained ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.ops import bounds
from snnc.passes.channels import spread
from snnc.passes.masking import Masking
from snnc.passes.own_biases import OwnBias
from snnc.passes.side_by_side import Compared

ROWS = 4096
"""Entries of a channel on which errors behind such a function are measured, at most."""

SHIFTS = np.arange(-20, 21, dtype=np.float32) / 20
"""Of a channel's standard deviation: the shifts that are tried in front of such a function."""


class BiasShift:
    """The shift d of each output channel from what the trained layer (a) and the spiking one (o)
    give, with all constants added behind it: argmin E[(r(a) - r(o + d))^2], r the function with
    flat ends (ReLU, Clip, sigmoid, tanh) that alone reads the sum. Without such a function that is
    the mean difference (spec 6.4).

    It is 0 for the whole layer where the shifts that half of the samples ask for do not help the
    other half, each in turn, and for a single sample.
    """

    def __init__(self, graph: Graph, bias: OwnBias) -> None:
        reader = graph.only_reader(bias.value)
        function = _function(graph, reader) if isinstance(reader, Op) else None
        self._seen = _Means() if function is None else _Behind(function)
        self._turn = 0

    def add(self, wanted: Array, found: Array, share: float, samples: int) -> None:
        """Outputs [channels, n] of both layers for some samples, this share of all, in order."""
        width = wanted.shape[1]
        cut = samples // 2 * (width // samples) if width % samples == 0 else width // 2
        with np.errstate(over="ignore", invalid="ignore"):
            for half, part in enumerate((slice(0, cut), slice(cut, width))):
                if samples > 1 or half:
                    self._seen.add((half + self._turn) % 2, wanted[:, part], found[:, part], share)
        self._turn += 1

    def shift(self) -> Array:
        """d, [channels]."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._seen.shift()


class _Means:
    """Of a layer that anything reads."""

    def __init__(self) -> None:
        self._sums: list[Array | float] = [0.0, 0.0]
        self._counts = np.zeros(2)

    def add(self, half: int, wanted: Array, found: Array, _share: float) -> None:
        self._sums[half] = self._sums[half] + (wanted - found).sum(1, dtype=np.float64)
        self._counts[half] += wanted.shape[1]

    def shift(self) -> Array:
        whole = np.asarray(sum(self._sums) / max(self._counts.sum(), 1))
        if not self._counts.all():
            return np.zeros_like(whole)
        one, other = (np.asarray(s) / n for s, n in zip(self._sums, self._counts, strict=True))
        gains = 4 * one * other - np.square(one) - np.square(other)
        return whole if np.nansum(gains) > 0 else np.zeros_like(whole)


class _Behind:
    """Of a layer in front of a function with flat ends, from some entries."""

    def __init__(self, function: Callable[[Array], Array]) -> None:
        self._function = function
        self._entries: tuple[list[tuple[Array, Array]], ...] = [], []

    def add(self, half: int, wanted: Array, found: Array, share: float) -> None:
        some = spread(wanted.shape[1], max(1, round(ROWS * share / 2)))
        self._entries[half].append((wanted[:, some], found[:, some]))

    def shift(self) -> Array:
        both = [each for entries in self._entries for each in entries]
        unit = np.concatenate([wanted for wanted, _ in both], 1).std(1)
        if not all(self._entries):
            return np.zeros_like(unit)
        errors = np.stack([self._errors(entries, unit) for entries in self._entries])
        best, channels = errors.argmin(1), np.arange(len(unit))
        plain = errors[:, SHIFTS == 0].sum((0, 1))
        gains = plain - errors[1, best[0], channels] - errors[0, best[1], channels]
        whole = np.asarray(SHIFTS[errors.sum(0).argmin(0)] * unit)
        return whole if np.nansum(gains) > 0 else np.zeros_like(whole)

    def _errors(self, entries: list[tuple[Array, Array]], unit: Array) -> Array:
        """Squared errors [shifts, channels], summed over entries."""
        wanted, found = (np.concatenate(each, 1) for each in zip(*entries, strict=True))
        target = self._function(wanted)
        tried = (found + (share * unit)[:, None] for share in SHIFTS)
        return np.stack([np.square(target - self._function(each)).sum(1) for each in tried])


def _function(graph: Graph, op: Op) -> Callable[[Array], Array] | None:
    """The function of one number with flat ends that an operation is; None for any other."""
    if op.op_type == "Sigmoid":
        return lambda x: 0.5 + 0.5 * np.tanh(x / 2)
    if op.op_type == "Tanh":
        return np.tanh
    if op.op_type == "Relu":
        return lambda x: np.maximum(x, 0)
    if op.op_type != "Clip":
        return None
    limits = bounds(graph, op.outputs[0])
    return lambda x: np.clip(x, *limits)


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
    shift.add(entries[0], entries[1], batch.share, batch.samples)


def shifted(graph: Graph, name: str, shift: Array) -> Graph:
    """The graph with a constant bias shifted by [channels]."""
    old = graph.consts[name]
    new = (old + shift.reshape(old.shape)).astype(old.dtype)
    return replace(graph, consts={**graph.consts, name: new})
