"""Operations and energy of vision transformers with spike times (Table 2 of TTFSFormer).

usage: python -m benchmarks.spike_time_table2

Prints, from shapes alone, the operations of ViT-S, B and L by Table 3 and eq. 28 beside those of
the paper; exits with 1 if any is more than 1.5 % off.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snnc.coverage import nominal_shapes
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Loc, Node, Op, Type, real
from snnc.report import percent, table
from snnc.spike_time_operations import Operations, count_operations, shaped_values

PIXELS, PATCH, CLASSES = 224, 16, 1000
TOLERANCE = 0.015


@dataclass(frozen=True)
class Vit:
    """A ViT/16 by the width and number of its blocks, whose heads have 64 channels.

    operations, share: what Table 2 says of it, of the spiking network and of eq. 28.
    """

    name: str
    width: int
    blocks: int
    operations: float
    share: float


NETWORKS = (
    Vit("ViT-S/16", 384, 12, 5.42e9, 0.223),
    Vit("ViT-B/16", 768, 12, 19.2e9, 0.210),
    Vit("ViT-L/16", 1024, 24, 65.7e9, 0.207),
)


def vision_transformer(
    width: int,
    blocks: int,
    *,
    head: int = 64,
    pixels: int = PIXELS,
    patch: int = PATCH,
    classes: int = CLASSES,
) -> Graph:
    """A ViT as normalisation leaves it, for one image; its weights are zeros that take no space."""
    net = _Network()
    side, heads = pixels // patch, width // head
    tokens = side * side + 1
    image = net.input("image", (1, 3, pixels, pixels))
    kernel, bias = net.weight(width, 3, patch, patch), net.weight(width)
    x = net.op("Conv", (1, width, side, side), image, kernel, bias, strides=(patch, patch))
    x = net.op("Reshape", (1, width, tokens - 1), x, net.integers(1, width, tokens - 1))
    x = net.op("Transpose", (1, tokens - 1, width), x, perm=(0, 2, 1))
    x = net.op("Concat", (1, tokens, width), net.weight(1, 1, width), x, axis=1)
    x = net.op("Add", (1, tokens, width), x, net.weight(1, tokens, width))
    for _ in range(blocks):
        y = net.normalised(x, width)
        q, k, v = (net.split(net.linear(y, width), tokens, heads, head) for _ in range(3))
        k = net.op("Transpose", (1, heads, head, tokens), k, perm=(0, 1, 3, 2))
        y = net.op("MatMul", (1, heads, tokens, tokens), q, k)
        y = net.op("Mul", (1, heads, tokens, tokens), y, net.weight())
        y = net.op("Softmax", (1, heads, tokens, tokens), y, axis=-1)
        y = net.op("MatMul", (1, heads, tokens, head), y, v)
        y = net.op("Transpose", (1, tokens, heads, head), y, perm=(0, 2, 1, 3))
        y = net.op("Reshape", (1, tokens, width), y, net.integers(1, tokens, width))
        x = net.op("Add", (1, tokens, width), x, net.linear(y, width))
        y = net.linear(net.normalised(x, width), 4 * width)
        y = net.op("Gelu", (1, tokens, 4 * width), y)
        x = net.op("Add", (1, tokens, width), x, net.linear(y, width))
    first = net.op("Gather", (1, width), net.normalised(x, width), net.integer(0), axis=1)
    return net.graph(net.linear(first, classes))


class _Network:
    """A graph of the trained network, written node by node."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._inputs: list[str] = []
        self._types: dict[str, Type] = {}
        self._consts: dict[str, Array] = {}

    def graph(self, output: str) -> Graph:
        inputs, nodes = tuple(self._inputs), tuple(self._nodes)
        return Graph("vit", inputs, (output,), nodes, self._types, self._consts)

    def input(self, name: str, shape: tuple[int, ...]) -> str:
        self._inputs.append(name)
        self._types[name] = real("float32", shape)
        return name

    def weight(self, *shape: int) -> str:
        return self._constant(np.broadcast_to(np.zeros((), np.float32), shape))

    def integers(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def integer(self, value: int) -> str:
        return self._constant(np.array(value, np.int64))

    def _constant(self, array: Array) -> str:
        name = f"c{len(self._consts)}"
        self._consts[name] = array
        return name

    def op(
        self, kind: str, shape: tuple[int, ...], *read: str, **attrs: int | tuple[int, ...]
    ) -> str:
        name = f"v{len(self._nodes)}"
        self._nodes.append(Op((name,), read, Loc((f"/{name}/{kind}",)), kind, attrs))
        self._types[name] = real("float32", shape)
        return name

    def _shape(self, value: str) -> tuple[int, ...]:
        return tuple(int(d or 0) for d in self._types[value].shape or ())

    def linear(self, x: str, out: int) -> str:
        shape = self._shape(x)
        y = self.op("MatMul", (*shape[:-1], out), x, self.weight(shape[-1], out))
        return self.op("Add", (*shape[:-1], out), y, self.weight(out))

    def normalised(self, x: str, width: int) -> str:
        gamma, beta = self.weight(width), self.weight(width)
        return self.op("LayerNormalization", self._shape(x), x, gamma, beta, axis=-1)

    def split(self, x: str, tokens: int, heads: int, head: int) -> str:
        y = self.op("Reshape", (1, tokens, heads, head), x, self.integers(1, tokens, heads, head))
        return self.op("Transpose", (1, heads, tokens, head), y, perm=(0, 2, 1, 3))


def operations_of(network: Vit) -> Operations:
    """The operations of one image."""
    graph = vision_transformer(network.width, network.blocks)
    shapes, _ = nominal_shapes(graph, shaped_values(graph))
    return count_operations(graph, shapes)


def distances(network: Vit, counted: Operations) -> Mapping[str, float]:
    """Relative distances to Table 2; eq. 28 over all operations of the ANN, and over its MACs."""
    return {
        "operations": counted.table3 / network.operations - 1,
        "eq. 28": counted.ratio(counted.table3) / network.share - 1,
        "eq. 28 over MACs": counted.ratio(counted.table3, ann=counted.macs) / network.share - 1,
    }


def main() -> int:
    """Prints both tables."""
    rows, far = [], []
    for network in NETWORKS:
        counted = operations_of(network)
        apart = distances(network, counted)
        rows.append(
            [
                network.name,
                f"{counted.table3 / 1e9:.2f}",
                f"{network.operations / 1e9:.4g}",
                f"{100 * apart['operations']:+.2f} %",
                percent(counted.ratio(counted.table3)),
                percent(network.share),
                f"{100 * apart['eq. 28']:+.2f} %",
                percent(counted.ratio(counted.table3, ann=counted.macs)),
                f"{counted.log_exp / 1e9:.2f}",
                percent(counted.ratio(counted.log_exp)),
                f"{counted.quarter / 1e9:.2f}",
                percent(counted.ratio(counted.quarter)),
            ]
        )
        far += [n for n in ("operations", "eq. 28") if abs(apart[n]) > TOLERANCE]
    head = ["network", "G ops", "paper", "apart", "eq. 28", "paper", "apart", "over MACs"]
    print(table([*head, "log-exp G ops", "eq. 28", "quarter G ops", "eq. 28"], rows))
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
