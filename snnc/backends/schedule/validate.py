"""Whether a mapping is sound, whoever wrote it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from snnc.backends.schedule.axons import axons
from snnc.backends.schedule.buffers import buffers_of
from snnc.backends.schedule.emission import Emission
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.map import tiles_of
from snnc.backends.schedule.mapping import HOST, Mapping, Route
from snnc.backends.schedule.mesh import Mesh, mesh_of
from snnc.backends.schedule.reach import Regions, reach_of, regions_of
from snnc.backends.schedule.timeline import earliest, timeline_of
from snnc.backends.schedule.windows import windows_of
from snnc.errors import CompileError
from snnc.targets import Target


def validate(network: Network, mapping: Mapping, target: Target) -> None:
    """CompileError for a mapping that does not run the network on the target: cells nowhere, cores
    over their limits, routes that miss a reader, layers before what they read, lost values."""
    mesh = mesh_of(target)
    _check_cells(network, mapping, mesh)
    found = regions_of(network, mapping.cores)
    _check_tiles(network, mapping, target, found)
    _check_routes(network, mapping, mesh, found)
    _check_slots(network, mapping, target)
    _check_buffers(network, mapping, target)


def _error(message: str, network: Network, layer: int | None = None) -> CompileError:
    at = None if layer is None else f"layer '{network.layers[layer].name}'"
    return CompileError(
        f"the mapping is not sound: {message}",
        at=at,
        help="map the network onto the target again (snnc schedule)",
    )


def _check_cells(network: Network, mapping: Mapping, mesh: Mesh) -> None:
    cores = mapping.cores
    if cores.shape != (network.cells,) or cores.dtype.kind not in "iu":
        raise _error(f"it places {cores.size} cells of {network.cells}", network)
    for index, layer in enumerate(network.layers):
        used = np.unique(cores[layer.start : layer.start + layer.cells]).tolist()
        if layer.is_input and set(used) - {HOST}:
            raise _error("an input lies on a core", network, index)
        if HOST in used and len(used) > 1:
            raise _error("some cells lie on no core", network, index)
        for core in used:
            if core != HOST and not mesh.has_core(core):
                raise _error(f"core {core} does not exist", network, index)


def _check_tiles(network: Network, mapping: Mapping, target: Target, found: Regions) -> None:
    wanted, given = Counter(tiles_of(network, found, target)), Counter(mapping.tiles)
    for tile in (wanted - given) + (given - wanted):
        where = min(max(tile.layer, 0), len(network.layers) - 1)
        raise _error(f"its tile on core {tile.core} is not what lies there", network, where)
    cells: Counter[int] = Counter()
    bits: Counter[int] = Counter()
    for tile in mapping.tiles:
        cells[tile.core] += tile.cells
        bits[tile.core] += tile.synapse_bits
    taken: Counter[int] = Counter()
    for layer, there in zip(network.layers, found, strict=True):
        for core, boxes in there if target.axons_per_core is not None else ():
            taken[core] += axons(network, layer, boxes) if core != HOST else 0
    for held, limit, unit in (
        (taken, target.axons_per_core, "cells read"),
        (cells, target.cells_per_core, "cells"),
        (bits, target.synapse_bits_per_core, "bits of weights"),
    ):
        for core, number in held.items():
            if limit is not None and number > limit:
                raise _error(f"{number} {unit} on core {core}, which has room for {limit}", network)


def _check_routes(network: Network, mapping: Mapping, mesh: Mesh, found: Regions) -> None:
    reach = reach_of(network, mapping.cores, found, Emission(network, {}))
    routes = {(route.layer, route.core): route for route in mapping.routes}
    if len(routes) < len(mapping.routes):
        raise _error("two routes for the same cells", network)
    if extra := routes.keys() - set(reach.units):
        raise _error("a route from where no cell of it lies", network, _within(network, extra))
    for (layer, core), targets in zip(reach.units, reach.targets, strict=True):
        route = routes.get((layer, core))
        missed = set(targets) - set(() if route is None else route.targets)
        if missed:
            text = f"what core {core} sends does not reach core {min(missed)}, which reads it"
            raise _error(text, network, layer)
    _check_links(network, mapping.routes, mesh)


def _within(network: Network, units: set[tuple[int, int]]) -> int | None:
    layer = min(units)[0]
    return layer if 0 <= layer < len(network.layers) else None


def _check_links(network: Network, routes: Sequence[Route], mesh: Mesh) -> None:
    links = sorted({link for route in routes for link in route.links})
    bad = [link for link in links if not _exists(link, mesh)]
    inner = np.array([link for link in links if HOST not in link and link not in bad], np.int64)
    far = mesh.distance(*inner.reshape(-1, 2).T) != 1
    bad += [(int(a), int(b)) for a, b in inner.reshape(-1, 2)[far]]
    if bad:
        raise _error(f"a link from {bad[0][0]} to {bad[0][1]}, which are no neighbours", network)
    for route in routes:
        reached = {route.core}
        for start, end in route.links:
            if start not in reached or end in reached:
                text = f"the links from core {route.core} are no tree"
                raise _error(text, network, route.layer)
            reached.add(end)
        if not reached.issuperset(route.targets):
            text = f"the links from core {route.core} miss some of its targets"
            raise _error(text, network, route.layer)


def _exists(link: tuple[int, int], mesh: Mesh) -> bool:
    return mesh.neighbours(*link) if HOST in link else all(map(mesh.has_router, link))


def _check_slots(network: Network, mapping: Mapping, target: Target) -> None:
    if [slot.layer for slot in mapping.slots] != list(range(len(network.layers))):
        raise _error("its slots are not those of the layers", network)
    wanted = timeline_of(network, target)
    first, timed = earliest(network, mapping.slots), windows_of(network.graph).ticks > 0
    for slot, usual, least in zip(mapping.slots, wanted.slots, first, strict=True):
        if slot.ticks < usual.ticks or slot.sending != usual.sending:
            text = f"spikes are {usual.sending} in {usual.ticks} ticks, not "
            raise _error(f"{text}{slot.sending} in {slot.ticks}", network, slot.layer)
        if slot.first < least or (timed and slot.first > least):
            text = f"fires in tick {slot.first}, "
            text += f"its window begins in {least}" if timed else f"it can from tick {least} on"
            raise _error(text, network, slot.layer)
    end = max((slot.first + slot.ticks for slot in mapping.slots), default=0)
    if mapping.period < max((slot.ticks for slot in mapping.slots), default=1):
        raise _error(f"a period of {mapping.period} ticks is shorter than a slot", network)
    if mapping.ticks < end + (network.graph.timesteps - 1) * mapping.period:
        raise _error(f"it ends after {mapping.ticks} ticks, before its last layer", network)


def _check_buffers(network: Network, mapping: Mapping, target: Target) -> None:
    given = {buffer.value: buffer for buffer in mapping.buffers}
    for needed in buffers_of(network, target, mapping.slots, mapping.period):
        buffer = given.get(needed.value)
        if (
            buffer is None
            or (buffer.layer, buffer.entries) != (needed.layer, needed.entries)
            or buffer.bits < needed.bits
            or buffer.since > needed.since
            or buffer.until < needed.until
        ):
            text = f"'{needed.value}' must be kept from tick {needed.since} to {needed.until}"
            raise _error(text, network, needed.layer)
