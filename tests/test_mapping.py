"""Mappings: tiles, meshes, routes against what every entry reaches, timelines, and tampering."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnc
from snnc.backends.schedule.buffers import peak_bits
from snnc.backends.schedule.emission import Emission, calibrated_events
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.map import map_network
from snnc.backends.schedule.mapping import HOST, Mapping
from snnc.backends.schedule.mesh import GATE, Mesh, mesh_of
from snnc.backends.schedule.partition import blocks_of, partition
from snnc.backends.schedule.placement import hops, in_rows, place
from snnc.backends.schedule.reach import reach_of, regions_of
from snnc.backends.schedule.regions import boxes
from snnc.backends.schedule.validate import validate
from snnc.errors import CompileError
from snnc.ir.node import Array, Op
from snnc.targets import Target, load_target
from tests.conftest import calibration_path, compiled_network, model_path
from tests.schedule_networks import (
    Shape,
    network_of,
    operation,
    performed,
    small_target,
    spiking,
)

Case = tuple[Op, dict[str, Shape], dict[str, Array]]


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def layer_norm() -> Case:
    op = operation("LayerNormalization", ("a", "w"), axis=-1)
    return op, {"a": (1, 4, 6)}, {"w": np.arange(1, 7, dtype=np.float32)}


CASES: dict[str, Case] = {
    "conv": (
        operation("Conv", ("a", "w"), pads=(1, 1, 1, 1), strides=(1, 2)),
        {"a": (1, 4, 5, 6)},
        {"w": ones(6, 4, 3, 3)},
    ),
    "grouped conv": (
        operation("Conv", ("a", "w"), group=2, dilations=(2, 1)),
        {"a": (1, 4, 6, 5)},
        {"w": ones(6, 2, 2, 3)},
    ),
    "depthwise conv": (
        operation("Conv", ("a", "w"), group=6, auto_pad="SAME_UPPER"),
        {"a": (1, 6, 5, 5)},
        {"w": ones(6, 1, 3, 3)},
    ),
    "transposed conv": (
        operation("ConvTranspose", ("a", "w"), strides=(2, 2), pads=(1, 0, 0, 1)),
        {"a": (1, 3, 4, 3)},
        {"w": ones(3, 5, 3, 2)},
    ),
    "matmul": (operation("MatMul", ("a", "w")), {"a": (1, 7, 6)}, {"w": ones(6, 9)}),
    "weights first": (operation("MatMul", ("w", "a")), {"a": (1, 6, 4)}, {"w": ones(1, 8, 6)}),
    "gemm": (operation("Gemm", ("a", "w"), transB=1), {"a": (1, 12)}, {"w": ones(10, 12)}),
    "attention": (
        operation("MatMul", ("a", "b")),
        {"a": (1, 2, 5, 3), "b": (1, 2, 3, 6)},
        {},
    ),
    "broadcast product": (
        operation("MatMul", ("a", "b")),
        {"a": (1, 2, 5, 3), "b": (1, 1, 3, 4)},
        {},
    ),
    "einsum": (
        operation("Einsum", ("a", "b"), equation="bhid,bhjd->bhij"),
        {"a": (1, 2, 4, 3), "b": (1, 2, 5, 3)},
        {},
    ),
    "max pool": (
        operation("MaxPool", ("a",), kernel_shape=(3, 2), strides=(2, 2), pads=(1, 0, 1, 0)),
        {"a": (1, 4, 7, 6)},
        {},
    ),
    "average pool": (
        operation("AveragePool", ("a",), kernel_shape=(2, 2), strides=(2, 2)),
        {"a": (1, 4, 7, 6)},
        {},
    ),
    "global pool": (operation("GlobalAveragePool", ("a",)), {"a": (1, 8, 3, 3)}, {}),
    "softmax": (operation("Softmax", ("a",), axis=-1), {"a": (1, 2, 5, 5)}, {}),
    "layer norm": layer_norm(),
    "reduced": (
        operation("ReduceMean", ("a", "axes"), keepdims=0),
        {"a": (1, 4, 6)},
        {"axes": np.array([1], np.int64)},
    ),
    "unknown": (operation("CumSum", ("a", "axis")), {"a": (1, 12)}, {"axis": np.array(1)}),
}
"""Operations with the shapes of their operands, and weights; all of the same kind of cells."""

TINY = small_target(cells_per_core=7)
EVENTS = st.integers(0, 2**32 - 1)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Op, Network]:
    op, operands, weights = CASES[request.param]
    return op, spiking(op, operands, weights)


def reached(network: Network, op: Op, operand: str) -> list[tuple[int, Array]]:
    """Every entry of an operand, by its cell, with the cells of the results that it changes."""
    shapes = {v: network.shapes[v] for v in op.inputs if v in network.shapes}
    base = {v: np.ones(s) for v, s in shapes.items()}
    found = []
    usual = performed(network, op, {**base, operand: np.zeros(shapes[operand])})
    for entry in np.ndindex(*shapes[operand]):
        one = np.zeros(shapes[operand])
        one[entry] = 1.0
        changed = performed(network, op, {**base, operand: one}) != usual
        cell = int(network.homes[operand][entry])
        found.append((cell, network.homes["y"][changed]))
    return found


def test_routes_are_those_that_every_entry_needs(case: tuple[Op, Network]) -> None:
    op, network = case
    mapping = map_network(network, TINY)
    validate(network, mapping, TINY)
    routes = {(route.layer, route.core): set(route.targets) for route in mapping.routes}
    needed: dict[tuple[int, int], set[int]] = {}
    for operand in (v for v in op.inputs if v in network.shapes):
        for cell, results in reached(network, op, operand):
            core = int(mapping.cores[cell])
            layer = int(network.layer_of(np.array(cell)))
            there = set(mapping.cores[results].tolist()) - {core}
            needed.setdefault((layer, core), set()).update(there)
    assert mapping.used > 1 and any(needed.values())
    for unit, targets in needed.items():
        if op.op_type == "CumSum":  # of no known kind: everything reads everything
            assert targets <= routes[unit]
        else:
            assert routes.get(unit, set()) == targets


@given(
    channels=st.integers(1, 30),
    depth=st.integers(1, 9),
    rows=st.integers(1, 9),
    cells=st.integers(4, 64),
    weights=st.integers(9, 200),
    shared=st.booleans(),
    convolution=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_tiles_cover_a_layer_and_keep_the_limits(
    channels: int, depth: int, rows: int, cells: int, weights: int, shared: bool, convolution: bool
) -> None:
    if convolution:
        op = operation("Conv", ("a", "w"), pads=(1, 0))
        network = spiking(op, {"a": (1, depth, rows)}, {"w": ones(channels, depth, 2)})
        weights *= 2
    else:
        op = operation("MatMul", ("a", "w"))
        network = spiking(op, {"a": (1, rows, depth)}, {"w": ones(depth, channels)})
    target = small_target(
        cores=None,
        chips=None,
        cells_per_core=cells,
        synapse_bits_per_core=8 * weights,
        shares_convolutions=shared,
    )
    for index in range(1, len(network.layers)):
        layer = network.layers[index]
        seen = np.zeros(layer.shape, int)
        for block in blocks_of(network, index, target):
            seen[np.ix_(*block.box)] += 1
            assert block.cells <= cells and block.bits <= 8 * weights
        assert (seen == 1).all()
    mapping = map_network(network, target)
    validate(network, mapping, target)
    least = -(-(network.cells - network.layers[0].cells) // cells)
    assert mapping.used >= least


def test_no_core_takes_spikes_of_more_cells_than_it_can() -> None:
    op, operands, weights = CASES["conv"]
    network = spiking(op, operands, weights)
    read = {}
    for limit in (36, 48, 80, 10**6):
        target = small_target(axons_per_core=limit)
        mapping = map_network(network, target)
        validate(network, mapping, target)
        senders: dict[int, set[int]] = {}
        for cell, results in reached(network, op, "a"):
            for core in set(mapping.cores[results].tolist()):
                senders.setdefault(core, set()).add(cell)
        read[limit] = mapping.used
        assert max(map(len, senders.values())) <= limit
    assert read[36] > read[48] > read[10**6]
    with pytest.raises(CompileError, match="which has room for 36"):
        validate(network, mapping, small_target(axons_per_core=36))
    with pytest.raises(CompileError, match="one cell reads 36 others, a core of small takes"):
        map_network(network, small_target(axons_per_core=20))


@given(mask=st.lists(st.booleans(), min_size=24, max_size=24))
@settings(max_examples=60, deadline=None)
def test_boxes_are_the_cells_once_each(mask: list[bool]) -> None:
    entries = np.flatnonzero(mask)
    seen = np.zeros((2, 3, 4), int)
    for box in boxes(entries, (2, 3, 4)) if entries.size else ():
        seen[np.ix_(*box)] += 1
    np.testing.assert_array_equal(seen.reshape(-1), np.array(mask, int))


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 20)),
    chips=st.integers(1, 30),
    seed=EVENTS,
)
@settings(max_examples=150, deadline=None)
def test_trees_reach_every_target_through_routers_that_exist(
    shape: tuple[int, int, int], chips: int, seed: int
) -> None:
    columns, rows, cores = shape
    mesh = Mesh(columns, rows, min(cores, columns * rows), None)
    rng = np.random.default_rng(seed)
    existing = mesh.first(chips * mesh.cores)
    core = HOST if rng.random() < 0.2 else int(rng.choice(existing))
    targets = set(rng.choice(existing, min(5, len(existing))).tolist()) - {core}
    if core != HOST and rng.random() < 0.3:
        targets.add(HOST)
    links = mesh.tree(core, targets, chips)
    seen = {core}
    for start, end in links:
        assert start in seen and end not in seen
        assert mesh.neighbours(start, end)
        assert end // mesh.routers < chips
        seen.add(end)
    assert targets <= seen
    some = set(sorted(targets)[::2])
    assert set(mesh.tree(core, some, chips)) <= set(links)
    if core != HOST and len(targets) == 1:
        end = GATE if HOST in targets else min(targets)
        away = int(mesh.distance(np.array(core), np.array(end)))
        assert len(links) == away + (HOST in targets)


def test_routers_are_numbered_by_place() -> None:
    mesh = Mesh(3, 2, 5, None)
    numbers = np.arange(40 * 6)
    columns, rows = mesh.places(numbers)
    places = list(zip(columns.tolist(), rows.tolist(), strict=True))
    assert len(set(places)) == len(numbers)
    assert [mesh.router(*place) for place in places] == numbers.tolist()
    assert set(places[: 9 * 6]) == set(itertools.product(range(9), range(6)))
    assert not mesh.has_core(5) and mesh.has_core(6)


@cache
def vit() -> Network:
    return network_of(compiled_network("digits_vit").graph)


@cache
def mapped(cells: int = 128) -> tuple[Mapping, Target]:
    target = small_target(cells_per_core=cells, synapse_bits_per_core=2**16)
    return map_network(vit(), target), target


def test_placement_is_nearer_than_rows() -> None:
    target = small_target(cells_per_core=128, synapse_bits_per_core=2**16)
    cores, count = partition(vit(), target, frozenset())
    found = regions_of(vit(), cores)
    traffic = reach_of(vit(), cores, found, Emission(vit(), calibrated_events(vit()))).traffic
    mesh = mesh_of(target)
    placed = place(count, traffic, mesh)
    assert len(set(placed.tolist())) == count
    assert all(mesh.has_core(core) for core in placed.tolist())
    assert hops(placed, traffic, mesh) < 0.7 * hops(in_rows(count, mesh), traffic, mesh)


def test_mappings_are_the_same_every_time() -> None:
    first, target = mapped()
    again = map_network(vit(), target)
    np.testing.assert_array_equal(first.cores, again.cores)
    for part in ("tiles", "routes", "slots", "buffers", "period", "ticks"):
        assert getattr(first, part) == getattr(again, part)


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn", "digits_vit", "digits_encoder"])
@pytest.mark.parametrize("target", ["loihi2", "spinnaker2", "generic"])
def test_examples_map_onto_targets(name: str, target: str) -> None:
    network, chip = network_of(compiled_network(name).graph), load_target(target)
    mapping = map_network(network, chip)
    validate(network, mapping, chip)
    reals = [layer for layer in network.layers if not layer.is_input]
    assert sum(tile.cells for tile in mapping.tiles) == sum(layer.cells for layer in reals)


def test_a_layer_a_core_without_limits() -> None:
    target = small_target(cores=None, chips=None)
    mapping = map_network(vit(), target)
    assert mapping.used == len(vit().layers) - 1 == len(mapping.tiles)


def test_the_host_takes_layers() -> None:
    hosted = [layer.name for layer in vit().layers if "LayerNorm" in layer.name]
    target = small_target(cells_per_core=256)
    mapping = map_network(vit(), target, host=hosted)
    validate(vit(), mapping, target)
    for layer in vit().layers:
        mine = mapping.cores[layer.start : layer.start + layer.cells]
        assert (mine == HOST).all() == (layer.name in hosted or layer.is_input)
    assert any(route.core == HOST and route.layer > 0 for route in mapping.routes)
    assert any(HOST in route.targets for route in mapping.routes)
    with pytest.raises(CompileError, match="did you mean"):
        map_network(vit(), target, host=[hosted[0] + "x"])


def test_too_large_networks_are_refused_with_figures() -> None:
    with pytest.raises(CompileError, match=r"takes \d+ cores, the largest small has 16; most by"):
        map_network(vit(), small_target(cells_per_core=32, chips=1))
    with pytest.raises(CompileError, match="weights of one cell take 512 bits"):
        map_network(vit(), small_target(synapse_bits_per_core=100, partial_sums=False))


def test_more_synapses_than_a_neuron_may_have_are_refused() -> None:
    with pytest.raises(CompileError, match="a neuron has 128 synapses, small takes 100"):
        map_network(vit(), small_target(fan_in=100, partial_sums=True))


def test_layers_fire_behind_what_they_read() -> None:
    mapping, _ = mapped()
    firsts = [slot.first for slot in mapping.slots]
    assert firsts[:4] == [0, 1, 2, 3] and mapping.period == 1
    assert mapping.ticks == max(firsts) + 1
    kept = {buffer.value: buffer for buffer in mapping.buffers}
    assert kept  # residual branches
    for buffer in kept.values():
        assert buffer.until > buffer.since + 1
        assert buffer.bits == buffer.entries * (buffer.bits // buffer.entries)
    assert max(peak_bits(vit(), mapping).values()) > 0


def test_binary_spikes_take_more_ticks() -> None:
    unary = map_network(vit(), small_target(payload_bits=1, bit_planes=False))
    planes = map_network(vit(), small_target(payload_bits=1, bit_planes=True))
    tops = {node.model.top for node in vit().graph.neurons}
    assert unary.period == max(tops) and planes.period == max(tops).bit_length()
    assert {slot.sending for slot in unary.slots} == {"graded", "unary"}
    assert unary.ticks > planes.ticks > map_network(vit(), small_target()).ticks


def test_several_timesteps_are_pipelined() -> None:
    compiled = snnc.compile(
        model_path("digits_cnn"),
        calibration=calibration_path("digits_cnn"),
        neuron="if",
        timesteps=4,
    )
    network = network_of(compiled.graph)
    target = small_target(cells_per_core=512)
    mapping = map_network(network, target)
    validate(network, mapping, target)
    once = max(slot.first + slot.ticks for slot in mapping.slots)
    assert mapping.ticks == once + 3 * mapping.period


def test_spike_times_fire_in_their_windows() -> None:
    compiled = snnc.compile_spike_times(
        model_path("digits_mlp"), calibration=calibration_path("digits_mlp"), neuron="ttfs:p=64"
    )
    network = network_of(compiled.graph)
    target = small_target(cells_per_core=16)
    mapping = map_network(network, target)
    validate(network, mapping, target)
    for layer, slot in zip(network.layers, mapping.slots, strict=True):
        ops = [node for node in layer.nodes if isinstance(node, Op) and "window" in node.attrs]
        windows = [op.integer("window", 0) for op in ops]
        if windows:
            assert slot.first == 64 * min(windows)
            assert slot.ticks == 64 * (max(windows) - min(windows) + 1)


def test_what_waits_for_a_far_reader_is_kept_until_then() -> None:
    """A residual branch around two layers."""
    mapping, target = mapped()
    shorter = replace(
        mapping, buffers=tuple(replace(b, until=b.until - 1) for b in mapping.buffers)
    )
    with pytest.raises(CompileError, match="must be kept from tick"):
        validate(vit(), shorter, target)


def moved(mapping: Mapping, cell: int, core: int) -> Mapping:
    cores = mapping.cores.copy()
    cores[cell] = core
    return replace(mapping, cores=cores)


def without_a_target(mapping: Mapping) -> Mapping:
    route = max(mapping.routes, key=lambda r: len(r.targets))
    less = replace(route, targets=route.targets[1:])
    return replace(mapping, routes=tuple(less if r is route else r for r in mapping.routes))


def cut(mapping: Mapping) -> Mapping:
    route = max(mapping.routes, key=lambda r: len(r.links))
    less = replace(route, links=route.links[1:])
    return replace(mapping, routes=tuple(less if r is route else r for r in mapping.routes))


def jumping(mapping: Mapping) -> Mapping:
    route = next(r for r in mapping.routes if HOST not in (r.core, *r.targets))
    far = replace(route, links=((route.core, route.core + 2), *route.links))
    return replace(mapping, routes=tuple(far if r is route else r for r in mapping.routes))


def doubled(mapping: Mapping) -> Mapping:
    route = max(mapping.routes, key=lambda r: len(r.links))
    twice = replace(route, links=(*route.links, route.links[-1]))
    return replace(mapping, routes=tuple(twice if r is route else r for r in mapping.routes))


def early(mapping: Mapping) -> Mapping:
    last = mapping.slots[-1]
    return replace(mapping, slots=(*mapping.slots[:-1], replace(last, first=last.first - 1)))


TAMPERED: dict[str, tuple[Callable[[Mapping], Mapping], str]] = {
    "a cell elsewhere": (lambda m: moved(m, -1, int(m.cores[-1000])), "is not what lies there"),
    "a cell nowhere": (lambda m: moved(m, -1, HOST), "some cells lie on no core"),
    "no such core": (lambda m: moved(m, -1, 10**6), "core 1000000 does not exist"),
    "an input": (lambda m: moved(m, 0, 3), "an input lies on a core"),
    "too few cells": (lambda m: replace(m, cores=m.cores[:-1]), "it places"),
    "a tile": (
        lambda m: replace(m, tiles=(replace(m.tiles[0], synapse_bits=0), *m.tiles[1:])),
        "is not what lies there",
    ),
    "a tile of no layer": (
        lambda m: replace(m, tiles=(*m.tiles, replace(m.tiles[0], layer=10**6))),
        "is not what lies there",
    ),
    "a route less": (lambda m: replace(m, routes=m.routes[1:]), "does not reach core"),
    "a route twice": (lambda m: replace(m, routes=(*m.routes, m.routes[0])), "two routes"),
    "a route from nowhere": (
        lambda m: replace(m, routes=(*m.routes, replace(m.routes[0], core=GATE))),
        "where no cell",
    ),
    "a target less": (without_a_target, "does not reach core"),
    "a link less": (cut, "no tree"),
    "a link too far": (jumping, "no neighbours"),
    "a link to nowhere": (
        lambda m: replace(m, routes=tuple(replace(r, links=((r.core, 10**30),)) for r in m.routes)),
        "no neighbours",
    ),
    "a link from nowhere": (
        lambda m: replace(m, routes=tuple(replace(r, links=((-7, 3),)) for r in m.routes)),
        "no neighbours",
    ),
    "a link twice": (doubled, "no tree"),
    "no links": (
        lambda m: replace(m, routes=tuple(replace(r, links=()) for r in m.routes)),
        "miss some of its targets",
    ),
    "an early layer": (early, "it can from tick"),
    "a slot less": (lambda m: replace(m, slots=m.slots[1:]), "its slots are not"),
    "another sending": (
        lambda m: replace(m, slots=tuple(replace(s, sending="unary") for s in m.slots)),
        "not unary",
    ),
    "no time": (lambda m: replace(m, ticks=m.ticks - 1), "before its last layer"),
    "no period": (lambda m: replace(m, period=0), "shorter than a slot"),
    "a buffer less": (lambda m: replace(m, buffers=m.buffers[1:]), "must be kept"),
    "a small buffer": (
        lambda m: replace(m, buffers=tuple(replace(b, bits=b.bits - 1) for b in m.buffers)),
        "must be kept",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampered_mappings_are_refused(how: str) -> None:
    mapping, target = mapped()
    validate(vit(), mapping, target)
    change, message = TAMPERED[how]
    with pytest.raises(CompileError, match=message):
        validate(vit(), change(mapping), target)


@pytest.mark.parametrize(
    "limits", [{"cells_per_core": 127}, {"synapse_bits_per_core": 2**14}], ids=str
)
def test_full_cores_of_one_target_are_too_full_for_another(limits: dict[str, Any]) -> None:
    mapping, target = mapped()
    with pytest.raises(CompileError, match="which has room for"):
        validate(vit(), mapping, replace(target, **limits))


def test_traffic_of_any_size_is_placed() -> None:
    generator = np.random.default_rng(0)
    pairs = [(a, b) for a in range(20) for b in range(a + 1, 20)]
    for spread in (0, 30, 300):
        packets = 10.0 ** generator.uniform(-spread, spread, len(pairs))
        traffic = dict(zip(pairs, packets.tolist(), strict=True))
        assert len(set(place(20, traffic, Mesh(6, 6, 36, None)).tolist())) == 20
