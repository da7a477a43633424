"""Threshold rules: thresholds by channel and of least error, over one timestep or several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

import snnc
from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.parse import parse_graph
from snnc.ir.rate_neuron import RateNeuron
from snnc.ir.text import format_graph
from snnc.ir.verify import verify
from snnc.neurons.aif import AIF
from snnc.neurons.dual_if import DualIF
from snnc.neurons.integrate_fire import IF
from snnc.neurons.mtn import MTN
from snnc.neurons.sfn import SFN
from snnc.passes import fit_sequence
from snnc.passes.fit_thresholds import FitThresholds
from snnc.passes.threshold_rules import RULES, ThresholdRule, threshold_rule
from snnc.runtime import Session
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model


def small() -> tuple[ModelProto, Array]:
    """Two convolutions and a Gemm; the third channel of the first one is always 0."""
    weights = arrays(0, first=(4, 1, 3, 3), second=(5, 4, 3, 3), last=(3, 80), bias=(3,))
    weights["first"][2] = -np.abs(weights["first"][2])
    weights["first"][1] = 10 * np.abs(weights["first"][1])
    text = """g (float[b, 1, 8, 8] x) => (float[b, 3] y) {
        a = Conv (x, first)
        r = Relu (a)
        c = Conv (r, second)
        s = Relu (c)
        f = Flatten (s)
        y = Gemm <transB = 1> (f, last, bias)
    }"""
    x = np.random.default_rng(1).random((48, 1, 8, 8), np.float32)
    return model(text, weights), x


@pytest.fixture(scope="module")
def network() -> CalibratedNetwork:
    onnx, x = small()
    return snnc.calibrate(onnx, calibration=x)


def fitted(
    network: CalibratedNetwork,
    rule: ThresholdRule,
    neuron: RateNeuron | None = None,
    timesteps: int = 1,
) -> Graph:
    fit = FitThresholds(rule, neuron or IF(), network.samples, timesteps=timesteps)
    graph = fit(network.graph(rule.quantile))
    verify(graph, fit.after)
    return graph


def activations(network: CalibratedNetwork) -> list[Array]:
    """What every site of the trained network saw, channels last."""
    values = [site.inputs[0] for site in network.sited.sites]
    tapped = Session(network.sited, taps=values).run(next(network.samples.batches(1000)))
    return [np.moveaxis(tapped[v], 1, -1) for v in values]


def test_channel_maxima(network: CalibratedNetwork) -> None:
    graph = fitted(network, RULES["kim2020"])
    for site, x in zip(graph.sites, activations(network), strict=True):
        assert site.thresholds is not None
        wanted = x.reshape(-1, x.shape[-1]).max(0)
        np.testing.assert_allclose(site.thresholds[0], np.maximum(wanted, 0), rtol=1e-6)
        assert not any(site.thresholds[1])
    assert [site.axis for site in graph.sites] == [-3, -1]
    first = graph.sites[0].thresholds
    assert first is not None
    assert first[0][2] == 0


def test_channel_quantiles(network: CalibratedNetwork) -> None:
    graph = fitted(network, replace(RULES["channel-percentile"], percentile=5.0))
    site, x = graph.sites[0], activations(network)[0]
    assert site.thresholds is not None
    above = (x > np.array(site.thresholds[0])).mean((0, 1, 2))
    np.testing.assert_allclose(above[[0, 1, 3]], 0.05, atol=0.01)


def signed() -> tuple[ModelProto, Array]:
    """Both signs at a site of 6 channels; a MatMul with a bias, and a Gemm as the weights lie."""
    weights = arrays(2, first=(5, 6), second=(6, 7), bias=(7,), last=(7, 3))
    text = """g (float[b, 5] x) => (float[b, 3] y) {
        a = MatMul (x, first)
        t = Tanh (a)
        c = MatMul (t, second)
        d = Add (c, bias)
        u = Tanh (d)
        y = Gemm (u, last)
    }"""
    return model(text, weights), arrays(3, x=(128, 5))["x"]


@pytest.fixture(scope="module")
def both_signs() -> CalibratedNetwork:
    onnx, x = signed()
    return snnc.calibrate(onnx, calibration=x)


def test_channels_of_both_signs(both_signs: CalibratedNetwork) -> None:
    """Maxima, quantiles, and one threshold for both, of the last axis."""
    x = activations(both_signs)[0]
    maxima = fitted(both_signs, RULES["kim2020"], DualIF()).sites[0]
    quantiles = fitted(
        both_signs, replace(RULES["channel-percentile"], percentile=10.0), DualIF()
    ).sites[0]
    shared = fitted(both_signs, RULES["kim2020"], AIF()).sites[0]
    assert maxima.axis == -1
    assert maxima.thresholds and quantiles.thresholds and shared.thresholds
    np.testing.assert_allclose(maxima.thresholds, [x.max(0), -x.min(0)], rtol=1e-6)
    np.testing.assert_allclose(shared.thresholds, [np.abs(x).max(0)] * 2, rtol=1e-6)
    low, high = np.array(quantiles.thresholds[1]), np.array(quantiles.thresholds[0])
    np.testing.assert_allclose((x > high).mean(0), 0.1, atol=0.02)
    np.testing.assert_allclose((x < -low).mean(0), 0.1, atol=0.02)


def test_least_error_with_one_threshold_for_both_signs(both_signs: CalibratedNetwork) -> None:
    for site in fitted(both_signs, ThresholdRule("mse", "channel"), AIF(L=2)).sites:
        assert site.thresholds is not None
        assert site.thresholds[0] == site.thresholds[1]


def test_biases_of_every_form_are_corrected() -> None:
    """Of the first layer on spikes, whose error no later one shares; halves of samples are the
    same, so that all shifts are kept."""
    onnx, x = signed()
    both_signs = snnc.calibrate(onnx, calibration=np.concatenate([x[:64], x[:64]]))
    feeds = next(both_signs.samples.batches(128))
    behind_tanh, means = [], []
    for correct in (False, True):
        rule = ThresholdRule("mse", "channel", correct=correct)
        graph = with_scale(fitted(both_signs, rule, DualIF()), DualIF(), 1.0)
        wanted, found = (
            Session(each, taps=("d", "y")).run(feeds) for each in (both_signs.sited, graph)
        )
        bent = np.tanh(found["d"]) - np.tanh(wanted["d"])
        behind_tanh.append(np.square(bent).mean())
        means.append(np.abs((found["y"] - wanted["y"]).mean(0)).max())
    assert behind_tanh[1] < 0.95 * behind_tanh[0]
    assert means[1] < 0.01 < 0.03 < means[0]


def test_text_of_thresholds_by_channel(network: CalibratedNetwork) -> None:
    graph = fitted(network, RULES["kim2020"])
    assert parse_graph(format_graph(graph), graph.consts) == graph


@pytest.mark.parametrize("timesteps", [1, 3])
@pytest.mark.parametrize("neuron", [IF(), DualIF(), MTN(N=4), SFN(M=2)])
def test_spikes_are_multiples_of_their_channels_step(
    network: CalibratedNetwork, neuron: RateNeuron, timesteps: int
) -> None:
    graph = fitted(network, RULES["channel-mse"], neuron, timesteps)
    spiking = with_scale(graph, neuron, 0.5, timesteps=timesteps)
    layer = spiking.neurons[0]
    steps = spiking.consts[layer.inputs[1]]
    assert steps.shape == (4, 1, 1)
    out = Session(spiking, taps=layer.outputs).run(next(network.samples.batches(8)))
    spikes = out[layer.outputs[0]]
    assert not spikes[:, 2].any()
    alive = [0, 1, 3]
    counts = spikes[:, alive] / steps[alive]
    np.testing.assert_allclose(counts, counts.round(), atol=1e-4)
    assert counts.max() >= 1
    assert counts.max() <= neuron.top + 1e-4


def test_least_error_of_one_spike(network: CalibratedNetwork) -> None:
    """At one timestep of IF the threshold is near the best of a fine search."""
    rule = ThresholdRule("mse", "channel")
    site, x = fitted(network, rule).sites[0], activations(network)[0]
    assert site.thresholds is not None
    for channel in (0, 1, 3):
        each = x[..., channel]

        def error(theta: float, each: Array = each) -> float:
            return float(np.square(each - theta * (each >= theta / 2)).mean())

        best = min(map(error, np.linspace(0.01, 1, 400) * each.max()))
        assert error(site.thresholds[0][channel]) <= best * 1.03


def test_least_error_of_a_mean_over_timesteps(network: CalibratedNetwork) -> None:
    """The first site gets the same input at every timestep; what counts is its mean output."""
    rule = ThresholdRule("mse", "channel")
    site, x = fitted(network, rule, timesteps=4).sites[0], activations(network)[0]
    assert site.thresholds is not None
    for channel in (0, 1, 3):
        each = x[..., channel].ravel()
        inputs = np.stack([each] * 4)

        def error(theta: float, each: Array = each, inputs: Array = inputs) -> float:
            return float(np.square(each - IF().over_time(inputs, theta).mean(0)).mean())

        best = min(map(error, np.linspace(0.02, 1, 100) * each.max()))
        assert error(site.thresholds[0][channel]) <= best * 1.05


def test_corrected_biases_bring_the_mean_of_the_outputs_back() -> None:
    """Of samples whose halves are the same, so that all shifts are kept."""
    onnx, x = small()
    network = snnc.calibrate(onnx, calibration=np.concatenate([x[:24], x[:24]]))
    feeds = next(network.samples.batches(48))
    wanted = Session(network.ann).run(feeds)["y"]
    errors = []
    for correct in (False, True):
        graph = fitted(network, ThresholdRule("mse", "channel", correct=correct))
        found = Session(with_scale(graph, IF(), 1.0)).run(feeds)["y"]
        errors.append(found - wanted)
    assert np.abs(errors[1].mean(0)).max() < 1e-3 * np.abs(wanted).max()
    assert np.abs(errors[0].mean(0)).max() > 1e-2 * np.abs(wanted).max()


@pytest.mark.parametrize("neuron, timesteps", [(IF(), 5), (MTN(4), 1)])
def test_thresholds_are_tried_on_a_few_channels_at_a_time(
    network: CalibratedNetwork,
    neuron: RateNeuron,
    timesteps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which changes none of them, and holds no more than a block at once."""
    rule, at_once = RULES["channel-mse"], []

    def count(self: RateNeuron, x: Array, *steps: Array) -> Array:
        at_once.append(x.size * timesteps)
        return original(self, x, *steps)

    wanted = fitted(network, rule, neuron, timesteps)
    original = type(neuron).step
    monkeypatch.setattr(type(neuron), "step", count)
    monkeypatch.setattr(fit_sequence, "BLOCK", 1)
    assert fitted(network, rule, neuron, timesteps) == wanted
    assert at_once and max(at_once) <= fit_sequence.ROWS * timesteps


def test_the_trained_network_is_not_changed(network: CalibratedNetwork) -> None:
    before = format_graph(network.sited)
    fitted(network, RULES["channel-mse"])
    assert format_graph(network.sited) == before


def test_defaults() -> None:
    assert threshold_rule(None, IF()).per == "channel"
    assert threshold_rule(None, SFN()).statistic == "percentile"
    assert threshold_rule(None, AIF()).statistic == "entropy"
    assert threshold_rule(None, MTN(), "int8").per == "tensor"
    assert threshold_rule(None, DualIF(), masked=True).per == "tensor"
    assert threshold_rule("rueckauer2017", IF()).quantile == 0.1
    assert threshold_rule("diehl2015", IF()).quantile == 0.0


@pytest.mark.parametrize(
    ("rule", "synapses", "masked", "message"),
    [
        ("kim", "float", False, "unknown threshold rule"),
        ("kim2020", "int8", False, "integer synapses"),
        ("channel-mse", "float", True, "padding"),
    ],
)
def test_rules_that_cannot_be(rule: str, synapses: str, masked: bool, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        threshold_rule(rule, IF(), synapses, masked)  # type: ignore[arg-type]


def test_an_artifact_with_thresholds_by_channel(tmp_path: Path) -> None:
    """Better than a threshold for the tensor on a trained network, and the same from its file."""
    path, data = model_path("digits_cnn"), calibration_path("digits_cnn")
    with np.load(held_out_path("digits_cnn")) as loaded:
        held_out = dict(loaded)
    calibrated = snnc.calibrate(path, calibration=data)
    labels = held_out.pop("labels")
    scores = []
    for rule in ("tensor-percentile", None):
        network = snnc.compile(calibrated, neuron="if", threshold_rule=rule, scale=1.0)
        outputs = network.run(held_out)
        scores.append(float((next(iter(outputs.values())).argmax(-1) == labels).mean()))
    assert scores[1] > scores[0] + 0.1
    saved = tmp_path / "if.onnx"
    network.save(saved)
    again = snnc.run(snnc.load(saved), snnc.samples_of(held_out, snnc.load(saved)))
    for name, array in outputs.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-5, atol=1e-5)


def test_lambda_multiplies_thresholds_of_least_error(network: CalibratedNetwork) -> None:
    """At the first site, whose input no lambda changes, they do not follow the lambda."""
    thresholds = []
    for scale in (1.0, 0.25):
        fit = FitThresholds(RULES["channel-mse"], IF(), network.samples, scale=scale)
        thresholds.append(fit(network.graph(1.0)).sites[0].thresholds)
    assert thresholds[0] == thresholds[1]
