"""Cores onto the mesh, so that traffic times hops is small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from snnc.backends.schedule.mapping import HOST
from snnc.backends.schedule.mesh import GATE, Mesh
from snnc.ir.node import Array

PASSES = 8
"""Rounds of improving swaps, unless one brings less than a thousandth before."""

_GAIN = 1e-3

_MOVES = 40_000
"""Cores tried in all rounds together, so that large networks take seconds: at least one round."""

_SPECTRAL = 4096
"""Cores that exchange packets, beyond which they keep their order in place of a spectral one."""

_ROUNDS, _VECTORS, _RIDGE = 40, 4, 1e-9
"""Of subspace iteration: a placement needs a good order and never waits for the best one; beside
the mean degree, so that weights of any size have an inverse."""

_AROUND = np.array([(x, y) for x in range(-2, 3) for y in range(-2, 3)])
"""Places considered around the best one of a core."""

_TRIES = 6
"""Of these, how many exchanges are reckoned through, nearest first."""

Traffic = Mapping[tuple[int, int], float]
"""Packets between cores numbered from 0, and the host."""


def place(count: int, traffic: Traffic, mesh: Mesh) -> Array:
    """The core of the mesh for each of `count` cores, numbered in order of layers.

    Of several curves through the mesh, for that order and the spectral order of the traffic's
    graph, the best; then cores move to where what they exchange packets with is nearest, in
    exchange for whoever is there.
    """
    if not count:
        return np.zeros(0, np.int64)
    edges = _Edges(count, traffic)
    slots = _slots(count, mesh)
    places = np.stack(mesh.places(slots), axis=1)
    gate = np.stack(mesh.places(np.array([GATE])), axis=1)[0]
    best, least = np.arange(count), np.inf
    for order in _orders(count, edges):
        for curve in _curves(places):
            where = np.empty(count, np.int64)
            where[order] = curve[:count]
            cost = edges.cost(places[where], gate)
            if cost < least:
                best, least = where, cost
    return np.asarray(slots[_improved(best, edges, places, gate)])


def in_rows(count: int, mesh: Mesh) -> Array:
    """The naive placement: one core after the other, row by row."""
    slots = mesh.first(count)
    columns, rows = mesh.places(slots)
    return np.asarray(slots[np.lexsort((columns, rows))])


def hops(cores: Array, traffic: Traffic, mesh: Mesh) -> float:
    """Packets times hops, each target on its own; cores: of the mesh, by number."""
    places = np.stack(mesh.places(cores), axis=1)
    gate = np.stack(mesh.places(np.array([GATE])), axis=1)[0]
    return _Edges(len(cores), traffic).cost(places, gate)


def _slots(count: int, mesh: Mesh) -> Array:
    """Cores that may be used: all of the chips that are needed, or as many as there are layers."""
    chips = -(-count // mesh.cores)
    return mesh.first(chips * mesh.cores)


class _Edges:
    """Traffic in both directions, by core."""

    def __init__(self, count: int, traffic: Traffic) -> None:
        both = np.array([(a, b) for a, b in traffic], np.int64).reshape(-1, 2)
        packets = np.array(list(traffic.values()), np.float64)
        inside = (both != HOST).all(axis=1)
        self.pairs, self.packets = both[inside], packets[inside]
        self.gate = np.zeros(count)
        outside = ~inside & (both.max(axis=1, initial=HOST) != HOST)
        np.add.at(self.gate, both[outside].max(axis=1, initial=HOST), packets[outside])
        ends = np.concatenate([self.pairs, self.pairs[:, ::-1]])
        order = np.argsort(ends[:, 0], kind="stable")
        self._others = ends[order, 1]
        self._weights = np.concatenate([self.packets, self.packets])[order]
        self._starts = np.searchsorted(ends[order, 0], np.arange(count + 1))

    def of(self, core: int) -> tuple[Array, Array]:
        """What a core exchanges packets with, and how many."""
        mine = slice(self._starts[core], self._starts[core + 1])
        return self._others[mine], self._weights[mine]

    def cost(self, places: Array, gate: Array) -> float:
        apart = np.abs(places[self.pairs[:, 0]] - places[self.pairs[:, 1]]).sum(axis=1)
        from_gate = np.abs(places - gate).sum(axis=1)
        return float((apart * self.packets).sum() + (from_gate * self.gate).sum())


def _orders(count: int, edges: _Edges) -> Iterator[Array]:
    yield np.arange(count)
    if count < 3:
        return
    import networkx as nx  # here, as other commands start faster without it

    graph = nx.Graph()
    graph.add_nodes_from(range(count))
    for (a, b), packets in zip(edges.pairs.tolist(), edges.packets.tolist(), strict=True):
        if packets > 0 and a != b:
            known = graph.get_edge_data(a, b, {"weight": 0.0})["weight"]
            graph.add_edge(a, b, weight=known + packets)
    order: list[int] = []
    for part in sorted(map(sorted, nx.connected_components(graph))):
        inner = graph.subgraph(part)
        if 2 < len(part) <= _SPECTRAL:
            laplacian = nx.laplacian_matrix(inner, nodelist=part).toarray()
            part = [part[index] for index in np.argsort(_fiedler(laplacian), kind="stable")]
        order += part
    yield np.array(order)


def _fiedler(laplacian: Array) -> Array:
    """Nearly the eigenvector of the second smallest eigenvalue, of a connected graph.

    Subspace iteration of a fixed number of rounds: networkx's own solvers may never return where
    weights lie far apart.
    """
    count = len(laplacian)
    scale = np.trace(laplacian) / count
    inverse = np.linalg.inv(laplacian / scale + 1.0 / count + _RIDGE * np.eye(count))
    basis = np.random.default_rng(0).standard_normal((count, min(_VECTORS, count - 1)))
    for _ in range(_ROUNDS):
        basis, _ = np.linalg.qr(inverse @ (basis - basis.mean(axis=0)))
    _, mixing = np.linalg.eigh(basis.T @ laplacian @ basis)
    return np.asarray(basis @ mixing[:, 0])


def _curves(places: Array) -> Iterator[Array]:
    """Orders of places in which neighbours are near: rows to and fro, in strips of several."""
    columns, rows = places[:, 0], places[:, 1]
    height = int(rows.max()) + 1
    for strip in sorted({1, 2, 3, 4, 6, 8, 12, 16, 24, 32, height}):
        if strip > height:
            continue
        band = rows // strip
        along = np.where(band % 2 == 0, columns, -columns)
        inside = np.where(along % 2 == 0, rows, -rows)
        yield np.lexsort((inside, along, band))


def _improved(where: Array, edges: _Edges, places: Array, gate: Array) -> Array:
    """Swaps while they help; where: index of each core's place."""
    where, holder = where.copy(), np.full(len(places), -1)
    holder[where] = np.arange(len(where))
    corner = places.min(axis=0) - 3
    index_at = np.full(places.max(axis=0) - corner + 4, -1)
    index_at[tuple((places - corner).T)] = np.arange(len(places))
    cost = edges.cost(places[where], gate)
    for _ in range(min(PASSES, max(_MOVES // len(where), 1))):
        for core in range(len(where)):
            _move(core, edges, places, (where, holder), index_at, corner, gate)
        now = edges.cost(places[where], gate)
        if now >= cost * (1 - _GAIN):
            break
        cost = now
    return where


def _move(
    core: int,
    edges: _Edges,
    places: Array,
    state: tuple[Array, Array],
    index_at: Array,
    corner: Array,
    gate: Array,
) -> None:
    """Moves a core to the best place near the middle of what it exchanges packets with."""
    where, holder = state
    others, weights = edges.of(core)
    seen = np.concatenate([places[where[others]], gate[None]])
    weights = np.append(weights, edges.gate[core])
    middle = np.array([_median(seen[:, axis], weights) for axis in (0, 1)])
    tried = np.minimum(np.maximum(middle + _AROUND - corner, 0), np.array(index_at.shape) - 1)
    options = index_at[tuple(tried.T)]
    options = np.unique(options[(options >= 0) & (options != where[core])])
    if not options.size:
        return
    here = places[where[core]]
    mine = _cost(places[options], seen, weights) - _cost(here[None], seen, weights)[0]
    order = np.argsort(mine, kind="stable")
    best, gain = -1, -1e-9
    for option in order[:_TRIES].tolist():
        if mine[option] >= gain:
            break
        slot = int(options[option])
        delta = float(mine[option]) + _return(core, int(holder[slot]), edges, places, where, gate)
        if delta < gain:
            best, gain = slot, delta
    if best >= 0:
        old, other = where[core], holder[best]
        where[core], holder[best] = best, core
        holder[old] = other
        if other >= 0:
            where[other] = old


def _return(
    core: int, other: int, edges: _Edges, places: Array, where: Array, gate: Array
) -> float:
    """What it costs more that `other` comes to where `core` was."""
    if other < 0:
        return 0.0
    others, weights = edges.of(other)
    seen = np.concatenate([places[where[others]], gate[None]])
    both = np.append(others == core, False)
    weights = np.append(weights, edges.gate[other])
    here, there = places[where[core]][None], places[where[other]][None]
    apart = np.abs(here - there).sum()
    delta = _cost(here, seen, weights)[0] - _cost(there, seen, weights)[0]
    return float(delta + 2 * apart * weights[both].sum())


def _cost(options: Array, seen: Array, weights: Array) -> Array:
    return np.asarray(np.abs(options[:, None] - seen[None]).sum(axis=2) @ weights)


def _median(values: Array, weights: Array) -> int:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return int(values[order[np.searchsorted(total, total[-1] / 2)]])
