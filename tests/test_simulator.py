"""The event-driven simulator against onnxruntime, on real networks and on single operations."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnc
from snnc.artifact_spikes import ArtifactSpikes
from snnc.data import samples_of
from snnc.energy import Energy
from snnc.evaluation import measure
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Loc, Op, real
from snnc.runtime import Session
from snnc.simulator import Run, simulate
from snnc.simulator.synapses import through
from snnc.synapses import result_shape

MODELS = Path(__file__).parent.parent / "models"
SAMPLES = 24

CHEAP: dict[str, object] = {"threshold_rule": "tensor-percentile"}
"""Thresholds that take no time to fit."""

NETWORKS: dict[str, tuple[str, str, dict[str, object]]] = {
    "sfn": ("digits_cnn", "sfn", {}),
    "sfn int8": ("digits_cnn", "sfn", {"synapses": "int8"}),
    "transformer": ("digits_vit", "sfn", {}),
    "transformer int8": ("digits_vit", "sfn", {"synapses": "int8"}),
    "gapped levels": ("digits_cnn", "sfn:levels=sformer:rule=eq11", {}),
    "fitted levels": ("digits_cnn", "sfn:levels=fitted:N=8:K=3:S=2", {}),
    "mtn": ("digits_cnn", "mtn:N=8", {}),
    "dual mtn": ("digits_vit", "dual-mtn:N=8", {**CHEAP, "scale": 0.3}),
    "aif": ("digits_cnn", "aif", {}),
    "aif over time": ("digits_cnn", "aif", {"timesteps": 4}),
    "if over time": ("digits_cnn", "if", {**CHEAP, "timesteps": 8}),
    "dual if over time": ("digits_cnn", "dual-if", {**CHEAP, "timesteps": 4}),
    "sfn over time": ("digits_vit", "sfn", {"timesteps": 2}),
}


def compiled(model: str, neuron: str, options: Mapping[str, object]) -> Graph:
    """The network of an artifact's file."""
    network = snnc.compile(
        MODELS / f"{model}.onnx",
        neuron=neuron,
        calibration=MODELS / "digits_calibration.npz",
        **{"scale": 0.2, **options},  # type: ignore[arg-type]
    )
    with tempfile.TemporaryDirectory() as directory:
        network.save(Path(directory) / "out.onnx")
        return snnc.load(Path(directory) / "out.onnx")


def feeds_of(graph: Graph, samples: int = SAMPLES) -> dict[str, Array]:
    batch = next(iter(samples_of(MODELS / "digits_test.npz", graph).batches(samples)))
    return dict(batch)


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda name: name.replace(" ", "_"))
def network(request: pytest.FixtureRequest) -> Graph:
    return compiled(*NETWORKS[request.param])


def test_every_layer_counts_as_onnxruntime_does_on_its_own_spikes(network: Graph) -> None:
    feeds = feeds_of(network)
    outputs, emitted = ArtifactSpikes(network).run(feeds)
    run = simulate(network, feeds, emitted)
    assert {*run.differing} == {n.outputs[0] for n in network.neurons}
    assert sum(layer.neurons for layer in run.differing.values()) > 1000
    assert all(layer.beyond == 0 for layer in run.differing.values())
    for name, array in outputs.items():
        np.testing.assert_allclose(run.outputs[name], array, rtol=1e-4, atol=1e-4)


def test_running_freely_it_decides_the_same(network: Graph) -> None:
    feeds = feeds_of(network)
    outputs, _ = ArtifactSpikes(network).run(feeds)
    run = simulate(network, feeds)
    for name, array in outputs.items():
        same = run.outputs[name].argmax(-1) == array.argmax(-1)
        assert same.mean() >= 0.995


def test_additions_are_the_events_of_the_energy_account(network: Graph) -> None:
    if network.timesteps > 1:  # products and means over time are counted otherwise
        return
    feeds = feeds_of(network)
    account: Energy = measure(network, samples_of(feeds, network)).energy()
    named = {op.loc.names[0]: op.outputs[0] for op in network.nodes if isinstance(op, Op)}
    synops = simulate(network, feeds).synops
    spiking = [layer for layer in account.layers if layer.kind == "spiking"]
    assert len(spiking) == len(synops) > 1
    for layer in spiking:  # but for a spike near its threshold
        assert synops[named[layer.name]] / SAMPLES == pytest.approx(layer.events, rel=1e-4)


def test_sums_of_integers_leave_no_exception() -> None:
    graph = compiled("digits_cnn", "sfn", {"synapses": "int8"})
    feeds = feeds_of(graph)
    run = simulate(graph, feeds, ArtifactSpikes(graph).run(feeds)[1])
    exact = [layer for layer in run.differing.values() if layer.exact]
    assert exact
    assert all(layer.differing == 0 for layer in exact)


def test_a_flipped_spike_is_seen_in_its_layer() -> None:
    graph = compiled("digits_cnn", "sfn", {})
    feeds = feeds_of(graph, 2)
    emitted = ArtifactSpikes(graph).run(feeds)[1]
    neuron = graph.neurons[1]
    name = neuron.outputs[0]
    changed = emitted[name].copy()
    step = graph.consts[neuron.inputs[1]]
    place = np.argmax(changed)
    changed.reshape(-1)[place] -= step.reshape(-1)[0]
    run = simulate(graph, feeds, {**emitted, name: changed})
    assert run.differing[name].beyond == 1


def test_a_changed_weight_is_seen_behind_it() -> None:
    graph = compiled("digits_cnn", "sfn", {})
    feeds = feeds_of(graph, 8)
    emitted = ArtifactSpikes(graph).run(feeds)[1]
    layer = next(n for n in graph.nodes if isinstance(n, Op) and n.op_type == "Conv")
    weights = graph.consts[layer.inputs[1]].copy()
    weights.reshape(-1)[weights.size // 2] += 0.05
    other = replace(graph, consts={**graph.consts, layer.inputs[1]: weights})
    run: Run = simulate(other, feeds, emitted)
    assert sum(each.beyond for each in run.differing.values()) > 0


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Op, Array, Array]:
    rank = draw(st.integers(1, 2))
    transposed = draw(st.booleans())
    group = draw(st.sampled_from([1, 1, 2, 3]))
    depth, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    strides = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    dilations = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    attrs: dict[str, object] = {"group": group, "strides": strides, "dilations": dilations}
    mode = draw(st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if mode == "NOTSET":
        attrs["pads"] = tuple(draw(st.integers(0, 1)) for _ in range(2 * rank))
    else:
        attrs["auto_pad"] = mode
    if mode.startswith("SAME"):  # onnxruntime takes no dilation there
        attrs["dilations"] = (1,) * rank
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = tuple(draw(st.integers(5, 7)) for _ in range(rank))
    events = random.integers(-2, 3, (2, depth * group, *sizes)).astype(np.float32)
    shape = (depth * group, width) if transposed else (width * group, depth)
    weights = random.integers(-9, 10, (*shape, *kernel)).astype(np.float32)
    kind = "ConvTranspose" if transposed else "Conv"
    return Op(("y",), ("x", "w"), Loc(("c",)), kind, attrs), events, weights  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_convolutions_of_events_are_those_of_onnxruntime(case: tuple[Op, Array, Array]) -> None:
    op, events, weights = case
    shape = result_shape(op, events.shape, weights.shape)
    if min(shape) < 1:
        return
    types = {"x": real("float32", events.shape), "y": real("float32", None)}
    alone = Graph("g", ("x",), ("y",), (op,), types, {"w": weights})
    expected = Session(alone, optimize=False).run({"x": events})["y"]
    found = through(op, 0, events, weights)
    assert found is not None
    np.testing.assert_array_equal(found.sums, expected)
    ones = through(op, 0, (events != 0).astype(np.float32), np.ones_like(weights))
    assert ones is not None
    assert found.synops == ones.sums.sum()


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
def test_matrices_of_events_may_stand_on_either_side(
    place: int, trans_a: int, trans_b: int
) -> None:
    random = np.random.default_rng(0)
    a = random.integers(-2, 3, (5, 4)[:: -1 if trans_a else 1]).astype(np.float32)
    b = random.integers(-2, 3, (4, 3)[:: -1 if trans_b else 1]).astype(np.float32)
    attrs = {"transA": trans_a, "transB": trans_b}
    op = Op(("y",), ("a", "b"), Loc(("g",)), "Gemm", attrs)
    events, weights = (a, b) if place == 0 else (b, a)
    found = through(op, place, events, weights)
    assert found is not None
    expected = (a.T if trans_a else a) @ (b.T if trans_b else b)
    np.testing.assert_array_equal(found.sums, expected)
    assert found.synops == np.count_nonzero(events) * (3 if place == 0 else 5)
