"""Networks with the weights that a chip holds: integers of its width, a scale a channel."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import snnc
from snnc.backends.lowering import lower
from snnc.backends.onnx_model import save_onnx
from snnc.backends.schedule.weights import (
    integers,
    rounded_again,
    synapses_of,
    with_target_weights,
)
from snnc.data import Feeds
from snnc.errors import CompileError
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Op
from snnc.ir.verify import verify
from snnc.ir.weights import quantized_layers, weight
from snnc.runtime import Session
from snnc.targets import Target, load_target
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model

GENERIC = load_target("generic")


def bits(width: int) -> Target:
    return replace(GENERIC, weight_bits=width)


@cache
def network(name: str, neuron: str = "sfn", **options: object) -> Graph:
    data = calibration_path(name)
    if neuron == "ttfs":
        return snnc.compile_spike_times(model_path(name), neuron=neuron, calibration=data).graph
    asked: dict[str, object] = {"neuron": neuron, "calibration": data, "scale": 0.5, **options}
    return snnc.compile(model_path(name), **asked).graph  # type: ignore[arg-type]


def samples(name: str) -> Feeds:
    with np.load(held_out_path(name)) as loaded:
        return {"input": loaded["input"][:50]}


def outputs(graph: Graph, feeds: Feeds) -> list[Array]:
    run = Session(lower(graph)).run(feeds)
    return [run[name] for name in graph.outputs]


def upright(op: Op, array: Array) -> Array:
    """The matrix of a Gemm as the artifact's layer has it."""
    return array.T if op.op_type == "Gemm" and op.integer("transB", 0) else array


KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "float": ("sfn", {}),
    "bytes": ("sfn:M=4", {"polarity": "shared"}),
    "int8": ("sfn:M=4", {"synapses": "int8"}),
    "over time": ("if", {"timesteps": 4}),
    "spike times": ("ttfs", {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [2, 4, 8, 12])
@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_weights_are_integers_of_that_width_and_run(
    name: str, width: int, kind: str, tmp_path: Path
) -> None:
    neuron, options = KINDS[kind]
    graph = network(name, neuron, **options)
    made = with_target_weights(graph, bits(width))
    verify(made, Stage.SPIKING)
    originals = {each.op.outputs: each for each in synapses_of(graph)}
    assert {each.op.outputs for each in synapses_of(made)} == originals.keys()
    save_onnx(made, tmp_path / "made.onnx")
    read = snnc.load(tmp_path / "made.onnx")
    by_result = {each.op.outputs: each for each in synapses_of(read)}
    for each in synapses_of(made):
        found = integers(made, each.op, width)
        assert found is not None
        whole, scale = found
        assert whole.dtype == np.int32 and np.abs(whole).max() <= 2 ** (width - 1) - 1
        array = weight(made, each.value)
        assert array is not None
        np.testing.assert_allclose(whole * scale, array, rtol=1e-6)
        original = weight(graph, originals[each.op.outputs].value)
        assert original is not None
        assert (np.abs(original - array) <= scale * 0.5 * (1 + 1e-4) + 1e-30).all()
        raised = by_result[each.op.outputs].op
        again = integers(read, raised, width)
        assert again is not None
        assert np.array_equal(upright(raised, again[0]), upright(each.op, whole))
        np.testing.assert_allclose(upright(raised, again[1]), upright(each.op, scale), rtol=1e-6)
    feeds = samples(name)
    for mine, theirs in zip(outputs(made, feeds), outputs(read, feeds), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_int8_form_where_every_count_fits_a_byte() -> None:
    few = network("digits_mlp", "sfn:M=4", polarity="shared")
    assert len(quantized_layers(with_target_weights(few, bits(8)))) == 2
    for wide in (network("digits_mlp"), network("digits_mlp", "if", timesteps=4)):
        assert not quantized_layers(with_target_weights(wide, bits(8)))
    assert not quantized_layers(with_target_weights(few, bits(9)))


def test_float_weights_stay_as_they_are_where_the_target_has_them() -> None:
    graph = network("digits_mlp")
    assert with_target_weights(graph, GENERIC) is graph
    assert rounded_again(graph, GENERIC) == ()


def test_integers_of_no_more_bits_stay() -> None:
    graph = network("digits_mlp", "sfn:M=4", synapses="int8")
    kept = {layer.inputs[1] for layer in quantized_layers(graph)}
    for width in (8, 12):
        made = with_target_weights(graph, bits(width))
        assert {layer.inputs[1] for layer in quantized_layers(made)} == kept
        assert rounded_again(graph, bits(width)) == ()
    assert len(rounded_again(graph, bits(4))) == len(quantized_layers(graph)) == 2


def test_eight_bits_change_few_labels() -> None:
    graph = network("digits_mlp")
    before, after = (
        outputs(g, samples("digits_mlp"))[-1].argmax(axis=-1)
        for g in (graph, with_target_weights(graph, bits(8)))
    )
    assert (before == after).mean() >= 0.96


def spiking(body: str, shapes: dict[str, tuple[int, ...]], x: str, y: str) -> Graph:
    source = model(f"g (float[{x}] x) => (float[{y}] y) {{ {body} }}", arrays(3, **shapes))
    return snnc.compile(source, calibration="random", scale=0.5).graph


FORMS: dict[str, tuple[str, dict[str, tuple[int, ...]], tuple[int, ...]]] = {
    "matrix": ("h = MatMul(x, v) r = Relu(h) y = MatMul(r, w)", {"v": (4, 6), "w": (6, 3)}, (1, 3)),
    "turned": (
        "h = MatMul(x, v) r = Relu(h) y = Gemm <transB = 1> (r, w)",
        {"v": (4, 6), "w": (3, 6)},
        (3, 1),
    ),
    "stack": (
        "h = MatMul(x, v) r = Relu(h) y = MatMul(r, w)",
        {"v": (4, 6), "w": (2, 6, 3)},
        (2, 1, 3),
    ),
    "on the left": (
        "h = MatMul(x, v) r = Relu(h) t = Transpose <perm = [1, 0]> (r) y = MatMul(w, t)",
        {"v": (4, 6), "w": (3, 6)},
        (3, 1),
    ),
}


@pytest.mark.parametrize("case", FORMS)
def test_one_scale_an_output_channel(case: str) -> None:
    body, shapes, scale = FORMS[case]
    y = "?,?,?" if case == "stack" else "?,?"
    graph = spiking(body, shapes, "N,4", y)
    last = list(synapses_of(graph))[-1]
    found = integers(graph, last.op, 4)
    assert found is not None and found[1].shape == scale
    array = weight(graph, last.value)
    assert array is not None
    np.testing.assert_allclose(
        np.broadcast_to(found[1] * 7, array.shape).max(), np.abs(array).max()
    )
    made = with_target_weights(graph, bits(4))
    assert len(list(synapses_of(made))) == 2


def test_a_transposed_convolution_of_groups() -> None:
    body = (
        "h = Conv <pads = [1, 1, 1, 1]> (x, v) r = Relu(h)"
        " y = ConvTranspose <group = 2, strides = [2, 2]> (r, w)"
    )
    graph = spiking(body, {"v": (4, 1, 3, 3), "w": (4, 3, 2, 2)}, "N,1,5,5", "N,?,?,?")
    last = list(synapses_of(graph))[-1]
    found = integers(graph, last.op, 5)
    assert found is not None
    whole, scale = found
    assert whole.shape == (4, 3, 2, 2) and scale.shape == (4, 3, 1, 1)
    array = graph.consts[last.value]
    for group in (0, 1):
        part = array[2 * group : 2 * group + 2]
        assert np.array_equal(scale[2 * group], scale[2 * group + 1])
        np.testing.assert_allclose(
            scale[2 * group, :, 0, 0] * 15, np.abs(part).max(axis=(0, 2, 3)), rtol=1e-6
        )
    Session(lower(with_target_weights(graph, bits(5)))).run(
        {"x": np.ones((1, 1, 5, 5), np.float32)}
    )


def test_shared_weights_stay_shared() -> None:
    body = "a = MatMul(x, w) r = Relu(a) b = MatMul(r, w) s = Relu(b) y = MatMul(s, w)"
    graph = spiking(body, {"w": (5, 5)}, "N,5", "N,5")
    made = with_target_weights(graph, bits(12))
    assert len({each.value for each in synapses_of(made)}) == 1


def test_weights_that_are_not_finite_are_refused() -> None:
    graph = network("digits_mlp")
    name = list(synapses_of(graph))[1].value
    broken = graph.consts[name].copy()
    broken[0, 0] = np.inf
    with pytest.raises(CompileError, match="its weights are not finite"):
        with_target_weights(replace(graph, consts={**graph.consts, name: broken}), bits(8))
