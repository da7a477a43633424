"""What single spikes do to membranes: functions on synapses, followed entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from snnc.ir.node import Array, Op
from snnc.pointwise import Dual, constant, forward
from snnc.spike_time_kernels import Function, Window, charges, identity, rest

Perform = Callable[[Op, Sequence[Array | None]], list[Array]]
"""Performs an operation on arrays, by position."""


@dataclass(frozen=True)
class Kernel:
    """A function on the synapses behind neurons of one range."""

    range: Window
    ticks: int
    function: Function

    @cached_property
    def table(self) -> Array:
        """What a membrane gets by the end of the window, [ticks + 1], from a spike 0 (none), 1, ...
        ticks before: the constant drive, and the integral of the spike's kernel over the rest."""
        with np.errstate(all="ignore"):
            held = rest(self.function, self.range.low)
            return np.asarray(held + charges(self.function, self.range, self.ticks))


@dataclass(frozen=True, eq=False)
class Synapse:
    """A function of one spike in each entry, or a constant number.

    kind: 0 for the constant, i for kernels[i - 1]; left: ticks from the spike to the end of its
    window, 0 for none; constant: the numbers. All broadcast to the shape of the value.
    """

    kernels: tuple[Kernel, ...]
    kind: Array
    left: Array
    constant: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.kind.shape, self.left.shape, self.constant.shape)

    def charges(self) -> Array:
        """What each entry adds to a membrane by the end of the window."""
        total = np.broadcast_to(self.constant, self.shape)
        for i, kernel in enumerate(self.kernels):
            here = self.kind == i + 1
            if here.any():
                total = np.where(here, kernel.table[self.left], total)
        return np.asarray(total)


def plain(left: Array, range: Window, ticks: int) -> Synapse:
    """Spikes as they are."""
    kernel = Kernel(range, ticks, identity)
    return Synapse((kernel,), np.array(1), left, np.zeros(()))


def applied(op: Op, inputs: Sequence[Synapse | Array | None]) -> Synapse:
    """A pointwise operation of functions of the same spikes, and of constants."""
    if op.op_type == "BatchNormalization":
        return _normalised(op, inputs)
    synapses = [x for x in inputs if isinstance(x, Synapse)]
    first = synapses[0]
    picks: list[Array] = [
        x.kind if isinstance(x, Synapse) else np.asarray(x, np.float64)
        for x in inputs
        if x is not None
    ]
    shape = np.broadcast_shapes(first.left.shape, *(x.shape for x in picks))
    values = [_constant(x) for x in inputs]
    fixed = forward(op, *values)[0]
    left = first.left if first.left.shape == shape else np.broadcast_to(first.left, shape)
    if all(x.size == 1 for x in picks):
        chosen, kind = [[x.item() for x in picks]], first.kind.reshape(())
    else:
        wide = np.broadcast_arrays(*picks)
        columns, group = np.unique(np.stack([x.ravel() for x in wide]), axis=1, return_inverse=True)
        chosen = columns.T.tolist()
        kind = group.reshape(wide[0].shape) + 1
        kind = np.where(np.broadcast_to(first.kind > 0, kind.shape), kind, 0)
    made = tuple(_kernel(op, inputs, numbers) for numbers in chosen)
    if len(made) == 1:
        kind = np.minimum(kind, 1)
    return Synapse(made, kind, left, fixed)


def _constant(x: Synapse | Array | None) -> Dual | None:
    if x is None:
        return None
    return constant(x.constant if isinstance(x, Synapse) else x)


def _kernel(op: Op, inputs: Sequence[Synapse | Array | None], numbers: Sequence[float]) -> Kernel:
    """For entries that take these kinds of the synapses, and these constants."""
    picked = iter(numbers)
    parts: list[Function | Dual | None] = []
    source: Kernel | None = None
    for x in inputs:
        if x is None:
            parts.append(None)
        elif isinstance(x, Synapse):
            kernel = x.kernels[max(int(next(picked)), 1) - 1]
            source = source or kernel
            parts.append(kernel.function)
        else:
            parts.append(constant(np.array(next(picked))))
    assert source is not None

    def function(x: Dual) -> Dual:
        return forward(op, *(part(x) if callable(part) else part for part in parts))

    return Kernel(source.range, source.ticks, function)


def _normalised(op: Op, inputs: Sequence[Synapse | Array | None]) -> Synapse:
    """BatchNormalization with constants: a factor and an addend for each channel."""
    x, *others = inputs
    assert isinstance(x, Synapse)
    spread = (-1, *[1] * (len(x.shape) - 2))
    numbers = [np.asarray(c, np.float64).reshape(spread) for c in others if not _is_synapse(c)]
    scale, shift, mean, var = numbers
    epsilon = op.attrs.get("epsilon", 1e-5)
    assert isinstance(epsilon, float)
    factor = scale / np.sqrt(var + epsilon)
    scaled = applied(Op(op.outputs, (), op.loc, "Mul"), [x, factor])
    return applied(Op(op.outputs, (), op.loc, "Add"), [scaled, shift - mean * factor])


def _is_synapse(x: Synapse | Array | None) -> bool:
    return isinstance(x, Synapse)


def moved(perform: Perform, op: Op, inputs: Sequence[Synapse | Array | None]) -> list[Synapse]:
    """Entries placed, joined or selected, and numbers put between them."""
    kernels: list[Kernel] = []
    kinds: list[Array | None] = []
    for x in inputs:
        if isinstance(x, Synapse):
            kind = np.where(x.kind > 0, x.kind + len(kernels), 0)
            kinds.append(np.broadcast_to(kind, x.shape).astype(np.float64))
            kernels += x.kernels
        else:
            kinds.append(_without_numbers(x))
    lefts = [_spread(x, x.left) if isinstance(x, Synapse) else _without_numbers(x) for x in inputs]
    fixed = [_spread(x, x.constant) if isinstance(x, Synapse) else x for x in inputs]
    parts = zip(*(perform(op, arrays) for arrays in (kinds, lefts, fixed)), strict=True)
    return [
        Synapse(tuple(kernels), _whole(kind), _whole(left), constant)
        for kind, left, constant in parts
    ]


def _spread(synapse: Synapse, array: Array) -> Array:
    return np.broadcast_to(array, synapse.shape).astype(np.float64)


def _without_numbers(x: Array | None) -> Array | None:
    """A parameter as it is; zeros for numbers, which are nobody's spikes."""
    return x if x is None or x.dtype.kind != "f" else np.zeros_like(x)


def _whole(array: Array) -> Array:
    return np.rint(array).astype(np.int32)
