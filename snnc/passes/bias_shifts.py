"""By how much a layer's bias shifts so that its outputs come nearest to the trained ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.passes.channels import spread
from snnc.passes.masking import Masking
from snnc.passes.own_biases import OwnBias
from snnc.passes.side_by_side import Compared
from snnc.pointwise import constant, forward, is_pointwise

BENT = frozenset({"Relu", "Clip", "Sigmoid", "Tanh", "HardSigmoid"})
"""Functions with flat ends: what a layer gives there does not matter behind them."""

ROWS = 4096
"""Entries of a channel on which errors behind such a function are measured, at most."""

SHIFTS = np.arange(-20, 21, dtype=np.float32) / 20
"""Of a channel's standard deviation: the shifts that are tried in front of such a function."""

_Pair: TypeAlias = tuple[Array, Array]
"""Outputs [channels, n] of the trained and of the spiking layer."""


class BiasShift:
    """The shift d of each output channel from what the trained layer (a) and the spiking one (o)
    give: argmin E[(r(a) - r(o + d))^2], r the function of BENT that alone reads the layer.

    Without such a function that is the mean difference (spec 6.4).
    """

    def __init__(self, graph: Graph, bias: OwnBias) -> None:
        reader = graph.only_reader(bias.value)
        behind = _function(graph, reader) if isinstance(reader, Op) else None
        self._whole, *self._halves = (
            _Mean() if behind is None else _Behind(behind) for _ in range(3)
        )

    def add(self, wanted: Array, found: Array, share: float) -> None:
        """Outputs [channels, n] of both layers, of this share of all samples, in their order."""
        self._whole.add(wanted, found, share)
        parts = (np.array_split(each, 2, axis=1) for each in (wanted, found))
        for half, a, o in zip(self._halves, *parts, strict=True):
            half.add(a, o, share)
        self._halves.reverse()  # where batches are of one entry, they take turns

    def shift(self) -> Array:
        """d, [channels]: zeros where what half of the samples ask for harms the other half."""
        one, other = self._halves
        found = self._whole.shift()
        helps = one.gain(other.shift()) + other.gain(one.shift()) > 0
        return found if helps else np.zeros_like(found)


class _Mean:
    """Of a layer that anything reads. gain: by how much a shift makes the mean squared error less,
    summed over channels."""

    def __init__(self) -> None:
        self._sum: Array | float = 0.0
        self._count = 0

    def add(self, wanted: Array, found: Array, _share: float) -> None:
        self._sum = self._sum + (wanted - found).sum(1, dtype=np.float64)
        self._count += wanted.shape[1]

    def shift(self) -> Array:
        return np.asarray(self._sum / max(self._count, 1))

    def gain(self, shift: Array) -> float:
        return float((shift * (2 * self.shift() - shift)).sum())


class _Behind:
    """Of a layer in front of a function of BENT, from some entries."""

    def __init__(self, function: Callable[[Array], Array]) -> None:
        self._function = function
        self._entries: list[_Pair] = []

    def add(self, wanted: Array, found: Array, share: float) -> None:
        some = spread(wanted.shape[1], max(1, round(ROWS * share)))
        if not some.size:
            return
        self._entries.append((wanted[:, some], found[:, some]))

    @cached_property
    def _pair(self) -> _Pair:
        wanted, found = (np.concatenate(each, 1) for each in zip(*self._entries, strict=True))
        return wanted, found

    def shift(self) -> Array:
        if not self._entries:
            return np.zeros(())
        unit = self._pair[0].std(1)
        errors = [self._errors(share * unit) for share in SHIFTS]
        return np.asarray(SHIFTS[np.stack(errors).argmin(0)] * unit)

    def gain(self, shift: Array) -> float:
        if not (self._entries and shift.ndim):
            return 0.0
        return float((self._errors(np.zeros_like(shift)) - self._errors(shift)).sum())

    def _errors(self, shift: Array) -> Array:
        wanted, found = self._pair
        apart = self._function(wanted) - self._function(found + shift[:, None])
        return np.asarray(np.square(apart).mean(1))


def _function(graph: Graph, op: Op) -> Callable[[Array], Array] | None:
    """The function of one number that an operation is; None for a linear one or any other."""
    if op.op_type not in BENT or not is_pointwise(op):
        return None
    others = [graph.consts.get(value) for value in op.inputs[1:]]
    if any(value is None or value.size > 1 for value in others):
        return None
    rest = [constant(value) for value in others if value is not None]

    def function(x: Array) -> Array:
        return forward(op, constant(x), *rest)[0].astype(np.float32)

    return function


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
