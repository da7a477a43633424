"""Relu and MaxPool in front of neurons: NIR has neither, but the neurons' thresholds say both.

The largest entry of a window reaches a threshold where any of its entries does, and a threshold of
positive spikes is above 0. So thresholds are written in front of the pool, their spikes are counted
in each window, and any spike is one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from snnc.backends.schedule.export.nir_layers import InexpressibleError, Shape, padding
from snnc.backends.schedule.export.packages import package
from snnc.ir.node import Array, Op

THRESHOLDED = frozenset({"Relu", "MaxPool", "Flatten", "Reshape", "Identity", "Dropout"})
"""Operations between a layer and its neurons that the thresholds can say."""


class Nodes(Protocol):
    """A network that is being written."""

    def add(self, name: str, node: object, sources: tuple[str, ...]) -> str:
        """Adds a node that reads the sum of others; its name."""


@dataclass(frozen=True)
class Window:
    """Of a MaxPool; made: the shape of its result."""

    kernel: Shape
    stride: Shape
    padding: Shape
    made: Shape


@dataclass(frozen=True)
class Pooled:
    """A value that neurons alone may read. ops: what computes it from the sum of `sources`, which
    has the shape `given`; rectified: whether it has no negative entries; flat: whether it is
    flattened behind the last window."""

    sources: tuple[str, ...]
    given: Shape
    ops: tuple[Op, ...] = ()
    windows: tuple[Window, ...] = ()
    rectified: bool = False
    flat: bool = False

    def behind(self, op: Op, made: Shape) -> Pooled:
        """The result of an operation of THRESHOLDED on it."""
        further = replace(self, ops=(*self.ops, op))
        if op.op_type == "Relu":
            return replace(further, rectified=True)
        if op.op_type == "MaxPool":
            return replace(further, windows=(*self.windows, self._window(op, made)))
        if made not in (self._map, (int(np.prod(self._map)),)):
            raise InexpressibleError("NIR flattens, and moves entries in no other way")
        return replace(further, flat=made != self._map)

    @property
    def _map(self) -> Shape:
        return self.windows[-1].made if self.windows else self.given

    def _window(self, op: Op, made: Shape) -> Window:
        kernel = op.ints("kernel_shape", ())
        plain = not op.integer("ceil_mode", 0) and set(op.ints("dilations", (1,))) == {1}
        if self.flat or len(kernel) != 2 or not plain or len([v for v in op.outputs if v]) > 1:
            raise InexpressibleError("NIR's pools have windows of two axes, without gaps")
        return Window(kernel, op.ints("strides", (1, 1)), padding(op, 2), made)

    def reached(self, net: Nodes, name: str, below: Array) -> str:
        """The node that is 1 where the value is above `below` (from 0 on, in the value's shape)."""
        nir = package("nir")
        node = net.add(name, nir.Threshold(threshold=self._spread(below)), self.sources)
        for number, window in enumerate(self.windows, 1):
            sizes = (window.kernel, window.stride, window.padding)
            pool = nir.SumPool2d(*(np.array(size, np.int64) for size in sizes))
            node = net.add(f"{name}_window_{number}", pool, (node,))
            half = nir.Threshold(threshold=np.full(window.made, 0.5, np.float32))
            node = net.add(f"{name}_any_{number}", half, (node,))
        if self.flat:
            flat = nir.Flatten({"input": np.array(self._map)}, start_dim=0, end_dim=-1)
            node = net.add(f"{name}_flat", flat, (node,))
        return node

    def _spread(self, below: Array) -> Array:
        """Thresholds of the value's entries as those of the entries in their windows."""
        below = below.reshape(self._map)
        if not self.windows:
            return np.ascontiguousarray(below)
        channels = below.reshape(len(below), -1)
        if (channels != channels[:, :1]).any():
            raise InexpressibleError(
                "neurons behind a MaxPool with a threshold for each entry, not each channel",
                "compile with one threshold a layer: --threshold-rule tensor-percentile",
            )
        return np.ascontiguousarray(
            np.broadcast_to(channels[:, :1].reshape(-1, 1, 1), self.given), np.float32
        )
