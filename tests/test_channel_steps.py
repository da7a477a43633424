"""A step for each channel by the cube-root law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

import snnc
from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Site
from snnc.ir.verify import verify
from snnc.neurons.sfn import SFN
from snnc.passes.channel_steps import RANGE, ChannelSteps, squared_norms
from snnc.runtime import Session
from tests.onnx_models import arrays, model


def network(readers: str, weights: dict[str, Array], channels: int = 6) -> CalibratedNetwork:
    """Channels of many sizes at the site `t`, read by `readers` that compute y."""
    rng = np.random.default_rng(1)
    first = rng.standard_normal((4, channels)).astype(np.float32) * np.arange(1, channels + 1)
    text = f"""g (float[b, 4] x) => (float[b, n] y) {{
        a = MatMul (x, first)
        t = Relu (a)
        {readers}
    }}"""
    onnx = model(text, {"first": np.asarray(first, np.float32), **weights})
    return snnc.calibrate(onnx, calibration=arrays(2, x=(256, 4))["x"])


@pytest.fixture(scope="module")
def one_reader() -> CalibratedNetwork:
    return network("y = MatMul (t, w)", arrays(3, w=(6, 5)))


def stepped(network: CalibratedNetwork, scale: float = 0.2) -> Graph:
    graph = network.graph(1.0)
    graph = ChannelSteps(SFN(), network.samples, scale, "shared")(graph)
    verify(graph, ChannelSteps.after)
    return graph


def thetas(graph: Graph) -> Array:
    (site,) = graph.open_sites
    assert site.thresholds is not None
    return np.array(site.thresholds[0])


def test_cube_root_of_activity_over_weights(one_reader: CalibratedNetwork) -> None:
    graph = stepped(one_reader)
    site = graph.open_sites[0]
    value = site.inputs[0]
    x = Session(graph, taps=(value,)).run(next(one_reader.samples.batches(1000)))[value]
    law = np.cbrt(np.abs(x).mean(0) / np.square(graph.consts["w"]).sum(1))
    ratio = thetas(graph) / law
    assert site.axis == -1
    np.testing.assert_allclose(ratio / ratio[0], 1, rtol=1e-4)


def test_the_expected_number_of_spikes_stays(one_reader: CalibratedNetwork) -> None:
    feeds = next(one_reader.samples.batches(1000))
    counts = []
    for graph in (one_reader.graph(1.0), stepped(one_reader)):
        spiking = with_scale(graph, SFN(), 0.2, "shared")
        (neuron,) = spiking.neurons
        out = Session(spiking, taps=neuron.outputs).run(feeds)[neuron.outputs[0]]
        counts.append(float((out / spiking.consts[neuron.inputs[1]]).sum()))
    assert counts[1] == pytest.approx(counts[0], rel=0.01)


def test_less_error_for_as_many_spikes() -> None:
    """Where channels differ much in what their errors weigh."""
    sizes = np.array([[10], [0.1], [5], [0.1], [3], [0.1]], np.float32)
    calibrated = network("y = MatMul (t, w)", {"w": arrays(3, w=(6, 5))["w"] * sizes})
    feeds = next(calibrated.samples.batches(1000))
    wanted = Session(calibrated.ann).run(feeds)["y"]
    errors = [
        float(
            np.square(Session(with_scale(g, SFN(), 0.2, "shared")).run(feeds)["y"] - wanted).mean()
        )
        for g in (calibrated.graph(1.0), stepped(calibrated))
    ]
    assert errors[1] < 0.7 * errors[0]


def test_where_readers_disagree_one_theta_stays() -> None:
    weights = arrays(3, w=(6, 5))
    calibrated = network("s = Transpose (t)\n p = MatMul (t, s)\n y = Relu (p)", weights)
    graph = calibrated.graph(1.0)
    assert ChannelSteps(SFN(), calibrated.samples)(graph) == graph


def test_thresholds_that_a_rule_chose_are_the_base(one_reader: CalibratedNetwork) -> None:
    """Twice the theta at half the scale factor: the same steps."""
    graph = one_reader.graph(1.0)
    high = max(thetas(stepped(one_reader, 0.2)))
    twice = ChannelSteps(SFN(), one_reader.samples, 0.2, "shared")(_doubled(graph))
    halved = thetas(ChannelSteps(SFN(), one_reader.samples, 0.4, "shared")(graph))
    np.testing.assert_allclose(thetas(twice), 2 * halved, rtol=1e-5)
    assert high > 0


def _doubled(graph: Graph) -> Graph:
    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Site) or node.statistics is None:
            return None
        high, low = SFN().thetas_of(node.statistics, "shared")
        return Replacement((replace(node, thresholds=((2 * high,), (2 * low,))),))

    return graph.rewrite(rule)


def conv(kind: str, group: int) -> tuple[ModelProto, int]:
    shape = (6, 4 // group, 3, 3) if kind == "Conv" else (4, 6 // group, 3, 3)
    text = f"""g (float[b, 4, 8, 8] x) => (float[b, 6, h, w] y) {{
        t = Relu (x)
        y = {kind} <group = {group}> (t, weights)
    }}"""
    return model(text, arrays(group, weights=shape)), 4


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_norms_by_input_channel_of_convolutions(kind: str, group: int) -> None:
    """What a unit impulse in one channel gives, squared and summed."""
    onnx, channels = conv(kind, group)
    calibrated = snnc.calibrate(onnx, calibration=arrays(0, x=(4, 4, 8, 8))["x"])
    graph = calibrated.graph(1.0)
    norms = squared_norms(graph, graph.open_sites[0])
    impulses = np.zeros((channels, channels, 8, 8), np.float32)
    impulses[range(channels), range(channels), 4, 4] = 1
    out = Session(calibrated.ann).run({"x": impulses})["y"]
    assert norms is not None
    np.testing.assert_allclose(norms, np.square(out).sum((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("transposed", [0, 1])
def test_norms_of_gemm(transposed: int) -> None:
    shape = (5, 6) if transposed else (6, 5)
    reader = f"y = Gemm <transB = {transposed}> (t, w)"
    calibrated = network(reader, arrays(3, w=shape))
    graph = calibrated.graph(1.0)
    norms = squared_norms(graph, graph.open_sites[0])
    wanted = np.square(graph.consts["w"]).sum(0 if transposed else 1)
    assert norms is not None
    np.testing.assert_allclose(norms, wanted, rtol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.floats(-6, 6))
def test_steps_stay_in_range(seed: int, spread: float) -> None:
    """Channels that are silent, or that nobody reads, included."""
    rng = np.random.default_rng(seed)
    w = arrays(seed, w=(6, 5))["w"] * np.float32(10 ** (spread * rng.random((6, 1))))
    w[rng.integers(6)] = 0
    calibrated = network("y = MatMul (t, w)", {"w": np.asarray(w, np.float32)})
    before = calibrated.graph(1.0).open_sites[0].statistics
    assert before is not None
    theta = SFN().thetas_of(before, "shared")[0]
    found = thetas(stepped(calibrated)) / theta
    assert ((found > 0) & (found <= 1.01 * RANGE**2) & (found >= 0.99 / RANGE**2)).all()
