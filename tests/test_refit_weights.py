"""Weights by least squares on the spiking network's own activations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import snnc
from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.data import samples_of
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.verify import verify
from snnc.neurons.sfn import SFN
from snnc.passes import partwise, side_by_side
from snnc.passes.own_biases import with_own_biases
from snnc.passes.refit_weights import RefitWeights
from snnc.passes.ridge import Rows, refit
from snnc.passes.side_by_side import spiking_of
from snnc.reservoir import runs
from snnc.runtime import Session
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model
from tests.test_correct_biases import outputs, residual

SCALE = 1.0


@pytest.fixture(scope="module")
def network() -> CalibratedNetwork:
    onnx, x = residual()
    return snnc.calibrate(onnx, calibration=x)


def refitted(network: CalibratedNetwork, **options: Any) -> Graph:
    graph = network.graph(1.0)
    verify(graph, RefitWeights.before)
    graph = RefitWeights(SFN(), network.samples, SCALE, "shared", **options)(graph)
    verify(graph, RefitWeights.after)
    return graph


def layers(graph: Graph) -> dict[str, Op]:
    """The layers with constant weights, by their results."""
    found = (
        n for n in graph.nodes if isinstance(n, Op) and n.op_type in ("MatMul", "Gemm", "Conv")
    )
    return {op.outputs[0]: op for op in found}


def one_by_one(network: CalibratedNetwork) -> dict[str, Array]:
    """The same weights, from both networks run whole for every layer."""
    trained, _ = with_own_biases(network.graph(1.0))
    graph = trained
    found: dict[str, dict[str, Array]] = {}
    half = runs(96) % 2
    for value, op in layers(trained).items():
        if value == "a":  # on the raw input
            continue
        spiking = spiking_of(graph, SFN(), SCALE, "shared", 1)
        inputs = outputs(spiking, op.inputs[0], network.samples)
        bias = op.inputs[2] if op.op_type == "Gemm" else _added(trained, op)
        there = graph.consts[bias] if op.op_type == "Gemm" else 0
        old = graph.consts[op.inputs[1]]
        wrong = outputs(trained, value, network.samples) - inputs @ old - there
        change = refit(([_rows(inputs, wrong, half == 0)], [_rows(inputs, wrong, half == 1)]))
        if change is None:
            continue
        new = {
            op.inputs[1]: (old + change.weights[0]).astype(np.float32),
            bias: (graph.consts[bias] + change.biases[0, 0]).astype(np.float32),
        }
        graph, found = replace(graph, consts={**graph.consts, **new}), found | {value: new}
    return {value: new[trained.producer[value].inputs[1]] for value, new in found.items()}


def _rows(inputs: Array, wrong: Array, some: Array) -> Rows:
    return Rows(inputs[None, some], wrong[None, some])


def _added(graph: Graph, op: Op) -> str:
    (add,) = graph.readers[op.outputs[0]]
    return next(name for name in add.inputs if name in graph.consts)


@pytest.mark.parametrize("held", [0, partwise.BYTES])
def test_as_if_every_layer_ran_both_networks(
    network: CalibratedNetwork, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether what lies between is held or computed again."""
    monkeypatch.setattr(partwise, "BYTES", held)
    monkeypatch.setattr(side_by_side, "batch_size", lambda graph, values: 40)
    graph, wanted = refitted(network), one_by_one(network)
    found = layers(graph)
    assert len(wanted) >= 2 and len(found) == 5
    for value, weights in wanted.items():
        name = next(v for v in found if v == value or v.startswith(f"{value}."))
        np.testing.assert_allclose(graph.consts[found[name].inputs[1]], weights, atol=1e-4)


CONVOLUTIONS = {
    "plain": ("float[b, 4, 8, 8] x", (6, 4, 3, 3), "pads = [1, 1, 1, 1]"),
    "strided": ("float[b, 4, 8, 8] x", (6, 4, 3, 2), "strides = [2, 1], pads = [1, 0, 0, 1]"),
    "depthwise": ("float[b, 4, 8, 8] x", (4, 1, 3, 3), "group = 4"),
    "grouped": ("float[b, 4, 8, 8] x", (6, 2, 3, 3), "group = 2, dilations = [2, 2]"),
    "one axis": ("float[b, 4, 8] x", (6, 4, 3), "pads = [1, 1]"),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions_come_nearer_on_samples_not_seen(case: str) -> None:
    x, shape, attributes = CONVOLUTIONS[case]
    rest = ", ".join(["b", str(shape[0]), *("r", "c")[: len(shape) - 2]])
    text = f"g ({x}) => (float[{rest}] y) {{ t = Tanh (x) y = Conv <{attributes}> (t, w) }}"
    onnx, size = model(text, arrays(0, w=shape)), (96, 4, *(8,) * (len(shape) - 2))
    network = snnc.calibrate(onnx, calibration=arrays(1, x=size)["x"])
    unseen = {"x": arrays(2, x=size)["x"]}
    wanted = Session(network.ann).run(unseen)["y"]
    errors = []
    for graph in (network.graph(1.0), refitted(network)):
        found = Session(with_scale(graph, SFN(), SCALE, "shared")).run(unseen)["y"]
        errors.append(float(np.square(found - wanted).mean()))
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("timesteps", [1, 3])
def test_a_linear_change_of_spikes_is_taken_back(timesteps: int) -> None:
    """Spikes of inputs in [0, 1] at one step of 1.5 are too few, and then alike."""
    text = "g (float[b, 6] x) => (float[b, 3] y) { t = Sigmoid (x) y = MatMul (t, w) }"
    network = snnc.calibrate(
        model(text, arrays(0, w=(6, 3))), calibration=3 * arrays(1, x=(400, 6))["x"]
    )
    unseen, errors = {"x": 3 * arrays(2, x=(400, 6))["x"]}, []
    wanted = Session(network.ann).run(unseen)["y"]
    for graph in (network.graph(1.0), refitted(network, timesteps=timesteps)):
        spiking = with_scale(graph, SFN(), SCALE, "shared", timesteps=timesteps)
        found = Session(spiking).run(unseen)["y"]
        errors.append(float(np.square(found - wanted).mean()))
    assert errors[1] < errors[0]


STAYING = {
    "shared": "l = MatMul (t, w) r = MatMul (u, w) y = Add (l, r)",
    "stretched": "y = Gemm <alpha = 2.0> (t, w)",
    "on the left": "m = Transpose <perm = [1, 0]> (t) k = MatMul (w, m) y = Transpose (k)",
}


@pytest.mark.parametrize("case", STAYING)
def test_weights_that_are_not_a_layers_own_stay(case: str) -> None:
    text = f"""g (float[b, 4] x) => (float[b, 4] y) {{
        t = Tanh (x)  u = Sigmoid (x)  {STAYING[case]} }}"""
    network = snnc.calibrate(
        model(text, arrays(0, w=(4, 4))), calibration=arrays(1, x=(64, 4))["x"]
    )
    before, after = network.graph(1.0), refitted(network)
    for value, op in layers(before).items():
        kept = layers(after).get(value) or layers(after)[f"{value}.unbiased"]
        for a, b in zip(op.inputs, kept.inputs, strict=False):
            if a in before.consts:
                np.testing.assert_array_equal(before.consts[a], after.consts[b])


def test_a_single_sample_changes_nothing(network: CalibratedNetwork) -> None:
    one = replace(network.samples, batches=lambda size: iter([{"x": np.ones((1, 6), np.float32)}]))
    one = replace(one, count=1)
    graph = network.graph(1.0)
    found = RefitWeights(SFN(), one, SCALE, "shared")(graph)
    for value, op in layers(graph).items():
        same = layers(found).get(value) or layers(found)[f"{value}.unbiased"]
        np.testing.assert_array_equal(graph.consts[op.inputs[1]], found.consts[same.inputs[1]])


def test_padding_is_left_out() -> None:
    """What stands at masked positions changes nothing; without the mask it does."""
    path = model_path("digits_encoder")
    with np.load(calibration_path("digits_encoder")) as loaded:
        data = {name: loaded[name][:8] for name in ("input_ids", "attention_mask")}
    calibrated = snnc.calibrate(path, calibration=data, mask_input="attention_mask")
    graph = calibrated.graph(1.0)
    other = {**data, "input_ids": np.where(data["attention_mask"] == 0, 1, data["input_ids"])}
    apart = []
    for mask in ("attention_mask", None):
        passes = (
            RefitWeights(SFN(), samples_of(d, calibrated.ann), 0.3, "shared", mask_input=mask)
            for d in (data, other)
        )
        one, two = (each(graph).consts for each in passes)
        old = graph.consts
        changed = [n for n in one if n not in old or not np.array_equal(one[n], old[n])]
        assert changed
        apart.append(max(float(np.abs(one[n] - two[n]).max()) for n in changed))
    assert apart[0] < 1e-4 < apart[1]


def test_a_mask_that_is_no_input(network: CalibratedNetwork) -> None:
    with pytest.raises(CompileError, match="mask"):
        refitted(network, mask_input="m")


def test_a_trained_network_is_nearer_on_images_not_seen() -> None:
    with np.load(calibration_path("digits_cnn")) as loaded:
        data = {name: loaded[name][:128] for name in loaded if name != "labels"}
    calibrated = snnc.calibrate(model_path("digits_cnn"), calibration=data)
    graph, samples = calibrated.graph(1.0), calibrated.samples
    with np.load(held_out_path("digits_cnn")) as loaded:
        held_out = {name: loaded[name][:128] for name in graph.inputs}
    (output,) = graph.outputs
    wanted = Session(graph).run(held_out)[output]
    done: list[tuple[int, int]] = []
    passes = RefitWeights(SFN(), samples, 0.4, "shared", progress=lambda *at: done.append(at))
    errors = []
    for each in (graph, passes(graph)):
        found = Session(with_scale(each, SFN(), 0.4, "shared")).run(held_out)[output]
        errors.append(float(np.square(found - wanted).mean()))
    assert errors[1] < 0.8 * errors[0]
    assert done[-1][0] == done[-1][1] == len(layers(graph)) - 1
