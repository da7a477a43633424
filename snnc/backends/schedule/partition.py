"""Layers cut into tiles, and tiles packed into as few cores as can be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from snnc.backends.schedule.axons import axons
from snnc.backends.schedule.layers import Layer, Network
from snnc.backends.schedule.mapping import HOST
from snnc.backends.schedule.reading import Box
from snnc.backends.schedule.storage import (
    bits_of_a_weight,
    synapse_bits,
    weighted,
    weights_per_channel,
)
from snnc.errors import CompileError
from snnc.ir.node import Array
from snnc.targets import Target

_SHARES = (1, 2, 4)
"""Parts of a core that the largest tiles may take: small ones leave less room empty."""


_OPEN = 2048
"""Cores, the latest, whose room is still considered."""


@dataclass(frozen=True, eq=False)
class Block:
    """Cells of a layer that lie on one core, a range along each axis."""

    layer: int
    box: Box
    bits: int
    axons: int

    @property
    def cells(self) -> int:
        return math.prod(map(len, self.box))


def partition(network: Network, target: Target, host: frozenset[int]) -> tuple[Array, int]:
    """A core for every cell, numbered from 0 in order of layers, and how many there are.

    Inputs and the layers in `host` get HOST. Without any limit every layer has a core to itself.
    """
    packed = []
    for share in _SHARES if _is_limited(target) else _SHARES[:1]:
        blocks = [
            block
            for index, layer in enumerate(network.layers)
            if not layer.is_input and index not in host
            for block in blocks_of(network, index, target, share)
        ]
        packed.append((*_pack(blocks, target), blocks))
    numbers, count, blocks = min(packed, key=lambda found: found[1])
    cores = np.full(network.cells, HOST, np.int32)
    for block, core in zip(blocks, numbers, strict=True):
        layer = network.layers[block.layer]
        mine = cores[layer.start : layer.start + layer.cells].reshape(layer.shape)
        mine[np.ix_(*block.box) if block.box else ()] = core
    return cores, count


def blocks_of(network: Network, index: int, target: Target, share: int = 1) -> tuple[Block, ...]:
    """A layer in as few tiles as the limits allow, and of these cuts the one with least memory.

    share: a tile takes one part in so many of a core, if its cells can be cut so small.
    """
    layer = network.layers[index]
    best: tuple[tuple[int, int], tuple[Box, ...]] | None = None
    per_channel, per_cell = _memory(network, layer, target)
    for channels in _sizes(layer.shape[layer.channel] if layer.shape else 1):
        part = _part(target, share)
        sizes = _largest(layer, channels, per_channel, per_cell, part)
        while sizes is not None and (read := _axons(network, layer, sizes, target)) > 0:
            cells = min(
                math.prod(sizes) - 1, math.prod(sizes) * (target.axons_per_core or 0) // read
            )
            part = replace(part, cells_per_core=cells)
            sizes = _largest(layer, channels, per_channel, per_cell, part)
        if sizes is None:
            continue
        grid = [-(-size // block) for size, block in zip(layer.shape, sizes, strict=True)]
        positions = math.prod(grid) // (grid[layer.channel] if grid else 1)
        key = math.prod(grid), positions
        if best is None or key < best[0]:
            best = key, tuple(_cut(layer.shape, sizes))
    if best is None and share > 1:
        return blocks_of(network, index, target)
    if best is None:
        raise _too_large(network, layer, per_channel or per_cell, target)
    return tuple(
        Block(index, b, synapse_bits(network, layer, (b,), target), axons(network, layer, (b,)))
        for b in best[1]
    )


def _axons(network: Network, layer: Layer, sizes: tuple[int, ...], target: Target) -> int:
    """What a tile in the middle of a layer reads, if it is more than a core takes; else 0."""
    if target.axons_per_core is None:
        return 0
    middle = [(s // b // 2) * b if b else 0 for s, b in zip(layer.shape, sizes, strict=True)]
    box = tuple(
        np.arange(at, min(at + b, size))
        for at, b, size in zip(middle, sizes, layer.shape, strict=True)
    )
    read = axons(network, layer, (box,))
    return read if read > target.axons_per_core else 0


def _limits(target: Target) -> tuple[int | None, int | None, int | None]:
    """Of a core: cells, bits of weights, axons."""
    return target.cells_per_core, target.synapse_bits_per_core, target.axons_per_core


def _is_limited(target: Target) -> bool:
    return _limits(target) != (None, None, None)


def _part(target: Target, share: int) -> Target:
    cells, bits = (
        None if limit is None else limit // share
        for limit in (target.cells_per_core, target.synapse_bits_per_core)
    )
    return replace(target, cells_per_core=cells, synapse_bits_per_core=bits)


def _memory(network: Network, layer: Layer, target: Target) -> tuple[int, int]:
    """Bits of the weights of a channel, where its positions share them, and else of a cell (the
    largest: that of one whose window meets no padding)."""
    connection = weighted(layer)
    if connection is None:
        return 0, 0
    shared = weights_per_channel(network, layer)
    if shared is not None and target.shares_convolutions:
        box = tuple(
            np.arange(size if a != layer.channel else 1) for a, size in enumerate(layer.shape)
        )
        return synapse_bits(network, layer, (box,), target), 0
    if shared is not None:
        return 0, shared * bits_of_a_weight(network, connection, target)
    whole = tuple(np.arange(size) for size in layer.shape)
    return 0, -(-synapse_bits(network, layer, (whole,), target) // max(layer.cells, 1))


def _sizes(channels: int) -> list[int]:
    """Sizes of equal blocks into which channels can be cut, the largest first."""
    return sorted({-(-channels // n) for n in range(1, channels + 1)}, reverse=True) or [0]


def _largest(
    layer: Layer, channels: int, per_channel: int, per_cell: int, target: Target
) -> tuple[int, ...] | None:
    """The size along each axis of the largest tiles of so many channels; None if none fits."""
    cells = layer.cells if target.cells_per_core is None else target.cells_per_core
    if target.synapse_bits_per_core is not None:
        if per_channel * channels > target.synapse_bits_per_core:
            return None
        if per_cell:
            cells = min(cells, target.synapse_bits_per_core // per_cell)
    room = cells // max(channels, 1)
    if not room and layer.cells:
        return None
    sizes = list(layer.shape)
    if sizes:
        sizes[layer.channel] = channels
    for axis in reversed([a for a in range(len(sizes)) if a != layer.channel]):
        whole = layer.shape[axis]
        parts = -(-whole // min(whole, room)) if whole else 1
        sizes[axis] = -(-whole // parts)
        room = room // whole if whole and parts == 1 else 1
    return tuple(sizes)


def _cut(shape: tuple[int, ...], sizes: tuple[int, ...]) -> Iterator[Box]:
    ranges = (
        [np.arange(at, min(at + block, size)) for at in range(0, size, max(block, 1))]
        for size, block in zip(shape, sizes, strict=True)
    )
    return itertools.product(*ranges)


def _pack(blocks: list[Block], target: Target) -> tuple[list[int], int]:
    """The core of each block: one that has room for it and holds the nearest layer before it, of
    these the fullest; a new one if there is none."""
    if not _is_limited(target):
        layers = {layer: n for n, layer in enumerate(dict.fromkeys(b.layer for b in blocks))}
        return [layers[block.layer] for block in blocks], len(layers)
    room = np.zeros((3, len(blocks)), np.int64)
    latest = np.zeros(len(blocks), np.int64)
    full = [np.iinfo(np.int64).max // 2 if limit is None else limit for limit in _limits(target)]
    found, count = [], 0
    for block in blocks:
        open_ = slice(max(count - _OPEN, 0), count)
        free, needs = room[:, open_], np.array([block.cells, block.bits, block.axons])
        fits = np.flatnonzero((free >= needs[:, None]).all(axis=0))
        if fits.size:
            best = fits[np.lexsort((free[0, fits], -latest[open_][fits]))[0]]
            core = int(best) + open_.start
        else:
            core, count = count, count + 1
            room[:, core] = full
        room[:, core] -= needs
        latest[core] = block.layer
        found.append(core)
    return found, count


def require_room(
    network: Network, cores: Array, count: int, target: Target, capacity: int | None
) -> None:
    """CompileError if there are fewer cores than a partition needs."""
    if capacity is None or count <= capacity:
        return
    held = []
    for layer in network.layers:
        used = np.unique(cores[layer.start : layer.start + layer.cells])
        held.append((int((used != HOST).sum()), layer))
    largest = sorted(held, key=lambda each: -each[0])[:3]
    raise CompileError(
        f"the network takes {count} cores, the largest {target.name} has {capacity}; most by "
        + ", ".join(f"'{layer.name}' ({n})" for n, layer in largest),
        help="a target with more cores, or cores that hold more; or a smaller network",
    )


def _too_large(network: Network, layer: Layer, bits: int, target: Target) -> CompileError:
    middle = tuple(np.arange(size // 2, min(size // 2 + 1, size)) for size in layer.shape)
    read = axons(network, layer, (middle,))
    if bits > (target.synapse_bits_per_core or bits):
        what = f"the weights of one cell take {bits} bits, a core of {target.name} holds "
        what += str(target.synapse_bits_per_core)
    elif read > (target.axons_per_core or read):
        what = f"one cell reads {read} others, a core of {target.name} takes spikes of "
        what += str(target.axons_per_core)
    else:
        what = f"no tile of the layer fits a core of {target.name}"
    return CompileError(
        what,
        at=network.graph.describe(layer.nodes[0]),
        help="take a target with larger cores, or a narrower layer",
    )
