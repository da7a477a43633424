"""The trained network in integers of few bits: levels, weights, what stays float, refusals."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnc
from snnc.data import samples_of
from snnc.drives import classify
from snnc.evaluation import Evaluation, evaluate_each
from snnc.integer_energy import integer_ratio, pj_integer_mac
from snnc.ir.graph import Graph
from snnc.ir.node import Statistics
from snnc.ir.ops import multiplied
from snnc.ir.rounding import nearest, rounded
from snnc.ir.weights import quantized, weight
from snnc.neurons.aif import AIF
from snnc.passes.quantize_sites import SHARES, WEIGHTS, best_levels
from snnc.passes.rounding import output_error, sequential
from snnc.quantized_ann import quantized_ann
from snnc.runtime import Session
from tests.conftest import calibration_path, held_out_path, model_path

BITS = (8, 6, 4, 2)


@cache
def calibrated(name: str) -> snnc.CalibratedNetwork:
    mask = "attention_mask" if name == "digits_encoder" else None
    return snnc.calibrate(model_path(name), calibration=calibration_path(name), mask_input=mask)


@cache
def integers(name: str, bits: int) -> Graph:
    return quantized_ann(calibrated(name), bits)


@cache
def results(name: str, bits: tuple[int, ...] = BITS) -> list[Evaluation]:
    ann = calibrated(name).ann
    with np.load(held_out_path(name)) as data:
        few = {key: array[:200] for key, array in data.items()}
    return evaluate_each(ann, [integers(name, b) for b in bits], samples_of(few, ann))


@pytest.mark.parametrize("bits", BITS)
def test_every_activation_takes_no_more_values_than_its_bits_tell_apart(bits: int) -> None:
    graph = integers("digits_cnn", bits)
    assert graph.neurons
    spikes = [neuron.outputs[0] for neuron in graph.neurons]
    with np.load(held_out_path("digits_cnn")) as data:
        feeds = {name: data[name][:64] for name in graph.inputs}
    values = Session(graph, taps=spikes).run(feeds)
    for neuron in graph.neurons:
        model = neuron.model
        assert isinstance(model, AIF) and model.rounding == "half-even"
        assert model.n_max - model.n_min == 2**bits - 1
        assert len(np.unique(values[neuron.outputs[0]])) <= 2**bits


@pytest.mark.parametrize(
    ("name", "bits"), [("digits_cnn", 8), ("digits_cnn", 3), ("digits_encoder", 4)]
)
def test_every_weight_beside_them_takes_as_many_values_a_channel(name: str, bits: int) -> None:
    graph = integers(name, bits)
    layers = [op for op, kind in classify(graph) if kind == "spiking"]
    found = 0
    for op in layers:
        for value in multiplied(op):
            if (held := quantized(graph, value)) is None:
                assert weight(graph, value) is None  # a product of activations
                continue
            assert np.abs(held.values.astype(int)).max() <= 2 ** (bits - 1) - 1
            found += 1
    assert found


def test_what_stays_analog_stays_float() -> None:
    network, graph = calibrated("digits_cnn"), integers("digits_cnn", 4)
    kept = [op for op, kind in classify(graph) if kind != "spiking"]
    assert kept
    for op in kept:
        before = next(n for n in network.sited.nodes if n.outputs == op.outputs)
        for mine, theirs in zip(op.inputs, before.inputs, strict=True):
            if theirs in network.sited.consts:
                np.testing.assert_array_equal(graph.consts[mine], network.sited.consts[theirs])


@pytest.mark.parametrize("name", ["digits_cnn", "digits_mlp"])
def test_it_is_a_fair_rival(name: str) -> None:
    """8 bits decide as the network does; more bits are nearer to it."""
    found = results(name)
    errors = [result.relative_error for result in found]
    assert all(error is not None for error in errors)
    assert errors == sorted(errors, key=lambda error: error or 0.0)
    eight, _, four, _ = found
    assert eight.agreement is not None and eight.agreement >= 0.99
    assert eight.cosine > 0.999
    assert four.snn_top1 is not None and four.ann_top1 is not None
    assert four.snn_top1 >= four.ann_top1 - 0.03


def test_energy_counts_what_spikes_elsewhere_as_integers() -> None:
    assert pj_integer_mac(8) == pytest.approx(0.3)
    assert pj_integer_mac(6) == pytest.approx(0.2 * 36 / 64 + 0.1)
    assert pj_integer_mac(4, 0.9) == pytest.approx(0.05 + 0.9)
    energy = results("digits_mlp")[0].energy
    total, spiking = 64 * 64 + 64 * 32 + 32 * 10, 64 * 32 + 32 * 10
    wanted = (spiking * 0.3 + (total - spiking) * 4.6) / (total * 4.6)
    assert integer_ratio(energy, pj_integer_mac(8)) == pytest.approx(wanted)
    assert integer_ratio(energy, 4.6) == pytest.approx(1.0)


def test_products_of_activations_are_of_few_bits_as_well() -> None:
    (four,) = results("digits_encoder", (4,))
    assert 0.9 < four.cosine < 0.9999


@pytest.mark.parametrize("bits", [1, 9, 4.0, True, "4"])
def test_bits_out_of_range_are_refused(bits: object) -> None:
    with pytest.raises(snnc.CompileError, match="bits of integers out of range"):
        quantized_ann(calibrated("digits_mlp"), bits)  # type: ignore[arg-type]


def statistics(low: float, high: float) -> Statistics:
    return Statistics(1000, 0.0, low, high, 0.0, low, high)


@given(st.integers(2, 8), st.integers(0, 2**32 - 1), st.sampled_from([-1, 0, 1]))
@settings(deadline=None, max_examples=25)
def test_levels_hold_zero_and_no_more_than_the_extremes(bits: int, seed: int, sign: int) -> None:
    values = np.random.default_rng(seed).standard_t(3, 4096)
    values = np.abs(values) * sign if sign else values
    quantiles = np.quantile(values, SHARES).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    step, lowest, highest = best_levels(quantiles, statistics(low, high), bits)
    assert lowest <= 0 <= highest and highest - lowest == 2**bits - 1
    assert step * lowest >= min(low, 0) - step and step * highest <= max(high, 0) + step
    assert (lowest == 0) >= (sign == 1) and (highest == 0) >= (sign == -1)

    def error(step: float, lowest: int, highest: int) -> float:
        out = step * np.clip(np.rint(quantiles / step), lowest, highest)
        return float(WEIGHTS @ (quantiles - out) ** 2)

    span = max(high, 0) - min(low, 0)
    whole = span / (2**bits - 1)
    least = -round(max(-low, 0) / whole)
    plain = error(whole, least, least + 2**bits - 1)
    assert error(step, lowest, highest) <= plain * (1 + 1e-6)


@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_clipped_weights_are_nearer_than_whole_ones(bits: int, seed: int) -> None:
    weights = np.random.default_rng(seed).standard_t(4, (5, 40)).astype(np.float32)
    most = 2 ** (bits - 1) - 1
    found, scales = nearest(weights, bits)
    assert np.abs(found.astype(int)).max() <= most
    whole = np.abs(weights).max(axis=1, keepdims=True) / np.float32(most)
    plain = np.square(rounded(weights, whole, most) * whole - weights).sum(axis=1)
    mine = np.square(found * scales[:, None] - weights).sum(axis=1)
    assert (mine <= plain * (1 + 1e-5)).all()


def test_sequential_rounding_of_few_bits_keeps_outputs_nearer() -> None:
    random = np.random.default_rng(7)
    x = random.normal(size=(400, 24)) @ random.normal(size=(24, 24))
    weights, moments = random.normal(size=(16, 24)).astype(np.float32), x.T @ x
    plain, scales = nearest(weights, 3)
    found, same = sequential(weights, moments, 3)
    np.testing.assert_array_equal(scales, same)
    assert np.abs(found.astype(int)).max() <= 3
    before, after = (output_error(weights, w, scales, moments).sum() for w in (plain, found))
    assert after < 0.7 * before
