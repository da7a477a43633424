"""Loads of cores and links against every entry counted by itself, and totals against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnc
from snnc.backends.schedule.counts import Counts
from snnc.backends.schedule.emission import Emission
from snnc.backends.schedule.latency import latency
from snnc.backends.schedule.layers import NOWHERE, Network
from snnc.backends.schedule.loads import Loads, loads
from snnc.backends.schedule.map import map_network
from snnc.backends.schedule.mapping import HOST, Mapping
from snnc.backends.schedule.mesh import mesh_of
from snnc.backends.schedule.packets import fired_packets
from snnc.ir.node import Array, Op
from snnc.ir.ops import multiplied
from snnc.ir.spike_times import RELAY, neurons_behind
from snnc.membrane.reference import Reference
from snnc.synapses import fan_out
from tests.conftest import calibration_path, compiled_network, model_path
from tests.schedule_networks import network_of, performed, small_target, spiking
from tests.test_mapping import CASES, TINY, reached

SYNAPTIC = [name for name, (op, _, _) in CASES.items() if multiplied(op)]
COUNTED = [name for name in CASES if name != "unknown"]


def counted(network: Network, seed: int = 0) -> Counts:
    """Whole spike counts and events of every neuron."""
    rng = np.random.default_rng(seed)
    spikes: dict[str, Array] = {}
    events: dict[str, Array] = {}
    for layer in network.layers:
        for node in layer.neurons:
            shape = network.homes[node.outputs[0]].shape
            spikes[node.outputs[0]] = np.asarray(rng.integers(0, 6, shape), np.float64)
            events[node.outputs[0]] = np.asarray(spikes[node.outputs[0]] > 0, np.float64)
    return Counts(1, spikes, events)


def small(name: str) -> tuple[Op, Network, Mapping]:
    op, operands, weights = CASES[name]
    network = spiking(op, operands, weights)
    return op, network, map_network(network, TINY)


@pytest.mark.parametrize("name", SYNAPTIC)
def test_synaptic_operations_are_those_of_every_synapse(name: str) -> None:
    op, network, mapping = small(name)
    counts = counted(network)
    computed = {v: counts.events[v] for v in op.inputs if v in network.shapes}
    results = performed(network, op, computed)
    wanted = np.bincount(mapping.cores[network.homes["y"]].reshape(-1), weights=results.reshape(-1))
    found = loads(network, mapping, TINY, counts)
    behind = {c.core: c.synops for c in found.cores}
    for core, synops in enumerate(wanted.tolist()):
        assert behind.get(core, 0.0) == synops
    assert found.synops == results.sum() > 0
    dealt = loads(network, mapping, TINY, replace(counts, synops={"y": 2 * results.sum()}))
    assert dealt.synops == pytest.approx(2 * results.sum(), rel=1e-12)


@pytest.mark.parametrize("name", COUNTED)
def test_packets_go_to_the_cores_that_read_them(name: str) -> None:
    op, network, mapping = small(name)
    counts = counted(network, 1)
    mesh = mesh_of(TINY)
    chips = int(mapping.cores.max()) // mesh.routers + 1
    received: dict[int, float] = {}
    links: dict[tuple[int, int], float] = {}
    sent = 0.0
    needed: dict[int, set[int]] = {}
    packets: dict[int, float] = {}
    for operand in (v for v in op.inputs if v in network.shapes):
        for (cell, results), fired in zip(
            reached(network, op, operand), counts.events[operand].reshape(-1), strict=True
        ):
            needed[cell] = set(mapping.cores[results].tolist())
            packets[cell] = float(fired)
    for layer in network.layers:
        if layer.is_input:  # its neurons read one number each
            for cell in range(layer.start, layer.start + layer.cells):
                there = network.layers[network.layers.index(layer) + len(network.graph.inputs)]
                needed[cell] = {int(mapping.cores[there.start + cell - layer.start])}
                packets[cell] = 1.0
    for cell, targets in needed.items():
        core = int(mapping.cores[cell])
        away = targets - {core}
        if away:
            sent += packets[cell]
            for target in away:
                received[target] = received.get(target, 0.0) + packets[cell]
            for link in mesh.tree(core, away, chips):
                links[link] = links.get(link, 0.0) + packets[cell]
    found = loads(network, mapping, TINY, counts)
    assert sum(core.sent for core in found.cores) == sent > 0
    for load in found.cores:
        assert load.received == received.get(load.core, 0.0)
    assert dict(found.links) == {link: number for link, number in links.items() if number}
    of_routes = {link for route in mapping.routes for link in route.links}
    assert set(found.links) <= of_routes


@given(seed=st.integers(0, 2**32 - 1), cells=st.integers(5, 300))
@settings(max_examples=15, deadline=None)
def test_cores_add_up_to_all_synapses(seed: int, cells: int) -> None:
    op, operands, weights = CASES["conv"]
    network, target = spiking(op, operands, weights), small_target(cells_per_core=cells)
    counts = counted(network, seed)
    fan = fan_out(op, "a", {**network.shapes, "w": weights["w"].shape})
    found = loads(network, map_network(network, target), target, counts)
    assert found.synops == float((counts.events["a"] * fan).sum())
    assert sum(layer.synops for layer in found.layers) == found.synops


def vit() -> Network:
    return network_of(compiled_network("digits_vit").graph)


def figures(payload_bits: int = 32, bit_planes: bool = True) -> tuple[Loads, Counts]:
    network = vit()
    target = small_target(cells_per_core=512, payload_bits=payload_bits, bit_planes=bit_planes)
    counts = counted(network)
    return loads(network, map_network(network, target), target, counts), counts


def test_counts_travel_as_the_target_sends_them() -> None:
    network, counts = vit(), counted(vit())
    name = network.graph.neurons[1].outputs[0]
    sizes = counts.spikes[name]
    bits = np.array([int(size).bit_count() for size in sizes.reshape(-1)], np.float64)
    for options, wanted in (
        ({}, counts.events[name]),
        ({"payload_bits": 1, "bit_planes": False}, sizes),
        ({"payload_bits": 1}, bits.reshape(sizes.shape)),
    ):
        target = small_target(**options)
        mapping = map_network(network, target)
        np.testing.assert_array_equal(fired_packets(network, mapping, counts)[name], wanted)
    given = replace(counts, packets={name: sizes + 1})
    np.testing.assert_array_equal(fired_packets(network, mapping, given)[name], sizes + 1)


def test_energy_is_what_the_figures_say() -> None:
    found, _ = figures()
    cores = [core for core in found.cores if core.core != HOST]
    numbers = {
        "synop": sum(c.synops for c in cores) * 1.0,
        "neuron_update": sum(c.updates for c in cores) * 2.0,
        "packet": sum(c.sent for c in found.cores) * 3.0,
        "packet_hop": sum(found.links.values()) * 4.0,
        "real_operation": sum(c.real for c in cores) * 5.0,
    }
    for kind, picojoules in numbers.items():
        assert picojoules > 0
        assert found.energy[kind] == pytest.approx(picojoules * 1e-12)
    chips = -(-len(cores) // 16)
    assert found.energy["idle"] == pytest.approx(0.5 * chips * found.latency_seconds)
    layers = sum(layer.energy_joules for layer in found.layers)
    assert found.energy_joules == pytest.approx(layers + found.energy["idle"])
    neurons = sum(counts.size for counts in counted(vit()).spikes.values())
    assert sum(core.updates for core in found.cores) == neurons


def test_hot_cores_are_the_busiest() -> None:
    found, _ = figures()
    busiest = sorted(found.cores, key=lambda core: -core.seconds)
    assert [hot.core for hot in found.hot] == [core.core for core in busiest[:5]]
    assert found.hot[0].seconds == busiest[0].seconds > 0
    assert 0 < found.hot[0].share <= 1 and found.hot[0].layer in {v.name for v in vit().layers}


def test_latency_is_at_least_a_tick_for_each() -> None:
    network, counts = vit(), counted(vit())
    slow = small_target(cells_per_core=512, tick_nanoseconds=1e9)
    mapping = map_network(network, slow)
    assert loads(network, mapping, slow, counts).latency_seconds == pytest.approx(mapping.ticks)
    fast = small_target(cells_per_core=512, tick_nanoseconds=0.0)
    found = loads(network, mapping, fast, counts)
    busiest = max(core.seconds for core in found.cores)
    assert busiest < found.latency_seconds < sum(core.seconds for core in found.cores)


def test_work_at_several_timesteps_overlaps() -> None:
    """Two layers on two cores: with many timesteps the time goes with the slower of them."""
    op, operands, weights = CASES["gemm"]
    network = spiking(op, operands, weights)
    target = small_target(cells_per_core=12, tick_nanoseconds=0.0)
    mapping = map_network(network, target)
    cores = [tile.core for tile in mapping.tiles]
    quiet = replace(target, nanoseconds={})
    busy = {(1, cores[0]): 60.0, (2, cores[1]): 40.0}
    assert latency(mapping, quiet, busy, 1) == pytest.approx(100e-9)
    several = replace(mapping, ticks=mapping.ticks + 19 * mapping.period)
    many: Array = np.array([latency(several, quiet, busy, 20)])
    assert many[0] == pytest.approx((60 + 40 / 20) * 1e-9)


def test_spikes_keep_their_rates_on_the_way_to_a_reader() -> None:
    """Through layout, relays and the earliest of several, against the operations themselves."""
    compiled = snnc.compile_spike_times(
        model_path("digits_vit"), calibration=calibration_path("digits_vit"), neuron="ttfs:p=64"
    )
    network = network_of(compiled.graph)
    rng, perform = np.random.default_rng(0), Reference(network.graph)
    fired: dict[str, Array] = {
        node.outputs[0]: np.asarray(rng.random(network.homes[node.outputs[0]].shape))
        for layer in network.layers
        for node in layer.neurons
    }
    rates = dict(fired)
    for node in compiled.graph.nodes:
        if isinstance(node, Op) and node.inputs[0] in rates and node.outputs[0] not in rates:
            source = neurons_behind(compiled.graph, node.outputs[0])
            if source is not None and node.op_type == RELAY:
                rates[node.outputs[0]] = rates[node.inputs[0]]
            elif source is not None:
                rest = [compiled.graph.consts[v] if v else None for v in node.inputs[1:]]
                results = perform(node, [rates[node.inputs[0]], *rest])
                rates.update(zip(node.outputs, results, strict=True))
    emission, seen, passed = Emission(network, fired), 0, 0
    for layer in network.layers:
        for connection in layer.connections:
            if connection.value in rates:
                there = connection.cells != NOWHERE
                wanted = rates[connection.value][there]
                np.testing.assert_array_equal(emission.of(connection)[there], wanted)
                seen += 1
                passed += connection.value not in fired
    assert seen > 50 and passed > 20
