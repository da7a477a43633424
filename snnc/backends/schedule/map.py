"""A network onto the cores of a target."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping as Mapped

import numpy as np

from snnc.backends.schedule.buffers import buffers_of
from snnc.backends.schedule.demands import demands
from snnc.backends.schedule.emission import Emission, calibrated_events
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.limits import synapses_of
from snnc.backends.schedule.mapping import HOST, Mapping, Tile
from snnc.backends.schedule.mesh import mesh_of
from snnc.backends.schedule.partition import partition, require_room
from snnc.backends.schedule.placement import place
from snnc.backends.schedule.reach import Regions, reach_of, regions_of
from snnc.backends.schedule.routes import routes_of
from snnc.backends.schedule.storage import synapse_bits
from snnc.backends.schedule.timeline import timeline_of
from snnc.errors import CompileError, unknown_name
from snnc.ir.node import Array
from snnc.targets import Target


def map_network(
    network: Network,
    target: Target,
    *,
    activity: Mapped[str, Array] | None = None,
    host: Collection[str] = (),
) -> Mapping:
    """Layers on as few cores as can be, these where their packets have short ways.

    activity: packets per sample of each neuron, by the result of its layer of neurons; what
    calibration saw, if not given. host: names of layers that the host computes. CompileError if
    the network does not fit the largest system.
    """
    hosted = _hosted(network, host)
    _require_fan_in(network, target, hosted)
    cores, count = partition(network, target, hosted)
    mesh = mesh_of(target)
    require_room(network, cores, count, target, mesh.capacity)
    found = regions_of(network, cores)
    emission = Emission(network, calibrated_events(network) if activity is None else activity)
    reach = reach_of(network, cores, found, emission)
    placed = place(count, reach.traffic, mesh)
    timeline = timeline_of(network, target)
    return Mapping(
        np.append(placed, HOST)[cores].astype(np.int32),
        tiles_of(network, found, target, placed),
        routes_of(reach, mesh, placed),
        timeline.slots,
        buffers_of(network, target, timeline.slots, timeline.period),
        timeline.period,
        timeline.ticks,
    )


def tiles_of(
    network: Network, found: Regions, target: Target, placed: Array | None = None
) -> tuple[Tile, ...]:
    """The tiles of all layers; placed: the core of the mesh for each number in `found`."""
    tiles = []
    for index, (layer, there) in enumerate(zip(network.layers, found, strict=True)):
        for core, boxes in there:
            if core != HOST:
                cells = sum(int(np.prod([len(axis) for axis in box])) for box in boxes)
                bits = synapse_bits(network, layer, boxes, target)
                where = core if placed is None else int(placed[core])
                tiles.append(Tile(index, where, cells, bits))
    return tuple(tiles)


def _require_fan_in(network: Network, target: Target, hosted: frozenset[int]) -> None:
    """CompileError for a layer whose neurons have more synapses than a cell may have."""
    for demand in demands(network):
        synapses = synapses_of(demand, target)
        if synapses > (target.fan_in or synapses) and demand.index not in hosted:
            raise CompileError(
                f"a neuron has {synapses} synapses, {target.name} takes {target.fan_in}",
                at=network.graph.describe(demand.layer.nodes[0]),
                help="a target whose cores take them, or a narrower layer",
            )


def _hosted(network: Network, host: Collection[str]) -> frozenset[int]:
    index = {layer.name: i for i, layer in enumerate(network.layers)}
    for name in host:
        if name not in index:
            raise unknown_name("layer", name, index)
    return frozenset(index[name] for name in host)
