"""An integer layer in the making: spike counts, weights, scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import or_

import numpy as np

from snnc.ir.composed import PARTS
from snnc.ir.graph import DOMAIN, Graph
from snnc.ir.node import Array, Attribute, Loc, Node, Op
from snnc.ir.weights import Quantized

DEEPEST = 2**31 // (255 * 128)
"""Products of a count and a weight that a sum of 32 bits holds."""


@dataclass(frozen=True)
class Drive:
    """What becomes one operation. spikes: the operands that are spikes; parts: the operations it
    does the work of, the one that computes its result last; factor: of everything but weights and
    steps."""

    name: str
    spikes: tuple[str, ...]
    parts: tuple[Op, ...]
    weights: Quantized | None = None
    bias: Array | None = None
    factor: float = 1.0
    attrs: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def result(self) -> str:
        return self.parts[-1].outputs[0]

    def lowered(
        self, graph: Graph, steps: Iterable[Array], attrs: Mapping[str, Attribute]
    ) -> tuple[Op, dict[str, Array]]:
        """The operation and its constants. steps: of the spikes; attrs: their zero points."""
        arrays: dict[str, Array] = {}
        scale: Array = np.array(self.factor, np.float32)
        for step in steps:
            scale = np.asarray(scale * step)
        if self.weights is not None:
            arrays["w"] = self.weights.values
            scale = np.asarray(self.weights.scale * scale)
        arrays["scale"] = np.asarray(scale, np.float32)
        if self.bias is not None:
            arrays["bias"] = self.bias
        consts = {graph.fresh(f"{self.result}.{key}"): array for key, array in arrays.items()}
        op = Op(
            (self.result,),
            (*self.spikes, *consts),
            together(self.parts),
            f"{DOMAIN}.{self.name}",
            {**self.attrs, **attrs, PARTS: parts_of(self.parts)},
        )
        return op, consts


def together(nodes: Iterable[Node]) -> Loc:
    """All the names that some nodes come from."""
    return reduce(or_, (node.loc for node in nodes))


def parts_of(nodes: Iterable[Node]) -> tuple[str, ...]:
    """What the attribute `parts` says of each node: its result and its original names."""
    return tuple("\n".join((node.outputs[0], *node.loc.names)) for node in nodes)


def vector(graph: Graph, value: str, size: int, rank: int | None) -> Array | None:
    """The constant `value` as one number an output channel, the last axis of a result of `rank`
    axes; None if it is none."""
    array = graph.consts.get(value)
    if array is None or array.dtype != np.float32 or rank is None or array.ndim > rank:
        return None
    if array.size == 1:
        return np.full(size, array.reshape(()), np.float32)
    return array.reshape(size) if array.size == size == array.shape[-1] else None


def rank_of(graph: Graph, value: str) -> int | None:
    """The number of axes of a float32 value; None where it is unknown."""
    kind = graph.types.get(value)
    if kind is None or kind.shape is None or kind.dtype != "float32":
        return None
    return len(kind.shape)
