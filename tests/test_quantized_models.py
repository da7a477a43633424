"""Quantised networks: every quantiser becomes a neuron that decides as it does."""

import json
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import snnc
from snnc.cli import main
from snnc.frontend import load
from snnc.ir.node import Array
from snnc.ir.parse import parse_graph
from snnc.ir.text import format_graph
from snnc.ir.weights import imported_weights, weight
from snnc.neurons.aif import AIF
from snnc.runtime import Session
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model, run_onnx

TYPES = {
    "int8": np.int8,
    "uint8": np.uint8,
    "int16": np.int16,
    "uint16": np.uint16,
    "int4": ml_dtypes.int4,
    "uint4": ml_dtypes.uint4,
}


def limits_of(kind: str) -> tuple[int, int]:
    """The smallest and largest integer of a type."""
    half = 2 ** (int(kind.removeprefix("u").removeprefix("int")) - 1)
    return (0, 2 * half - 1) if kind.startswith("u") else (-half, half - 1)


def text(graph: str, weights: dict[str, Array]) -> ModelProto:
    return model(graph, weights, opset=21, ir_version=10)


def spiking(source: ModelProto, **options: Any) -> snnc.SpikingNetwork:
    """Compiled and written, and the same when it is read again and printed."""
    network = snnc.compile(source, **options)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "q.snn.onnx"
        network.save(path)
        again = load(path)
    assert parse_graph(format_graph(again), again.consts) == again
    assert len(again.neurons) == len(network.graph.neurons)
    return network


def same_numbers(source: ModelProto, network: snnc.SpikingNetwork, feeds: dict[str, Array]) -> None:
    """The artifact computes what the quantised network does, both without optimisations."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "q.snn.onnx"
        network.save(path)
        found = run_onnx(path, feeds)
    for name, wanted in run_onnx(source, feeds).items():
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)


# One quantiser -----------------------------------------------------------------------------------


@st.composite
def quantizers(draw: st.DrawFn) -> tuple[str, Array, int, Array]:
    """Type, scale, zero point, and inputs: ties, their neighbours, and what saturates."""
    kind = draw(st.sampled_from(sorted(TYPES)))
    scale = np.array(draw(st.floats(2.0**-20, 2.0**10, width=32)), np.float32)
    zero = draw(st.integers(*limits_of(kind)))
    levels = draw(st.lists(st.integers(-(2**17), 2**17), min_size=1, max_size=20))
    near = draw(st.lists(st.integers(-260, 260), min_size=1, max_size=40))
    ties = ((np.array(levels + near, np.float64) + 0.5) * float(scale)).astype(np.float32)
    exact = np.array([0.0, -0.0, np.inf, -np.inf, 3e38, -3e38, 1e-45], np.float32)
    x = [ties, np.nextafter(ties, np.float32(np.inf)), np.nextafter(ties, np.float32(0)), exact]
    return kind, scale, zero, np.concatenate(x)


@given(quantizers())
@settings(max_examples=60, deadline=None)
def test_a_neuron_decides_as_its_quantiser(case: tuple[str, Array, int, Array]) -> None:
    kind, scale, zero, x = case
    weights = {"s": scale, "z": np.array(zero).astype(TYPES[kind])}
    source = text(
        "g (float[N] x) => (float[N] y)"
        " { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
        weights,
    )
    network = snnc.compile(source)
    (neuron,) = network.graph.neurons
    wanted = run_onnx(source, {"x": x})["y"]
    found = Session(network.graph).run({"x": x})["y"]
    np.testing.assert_array_equal(found, wanted)
    steps = [scale if name else 0.0 for name in neuron.inputs[1:]]
    np.testing.assert_array_equal(neuron.model.step(x, *steps), wanted)
    assert isinstance(neuron.model, AIF)
    limits = neuron.model.n_min + zero, neuron.model.n_max + zero
    assert limits == limits_of(kind)


def test_a_neuron_takes_nan_for_nothing() -> None:
    source = text(PAIR.format("x", "y"), SMALL)
    found = Session(snnc.compile(source).graph).run({"x": np.full((1, 4), np.nan, np.float32)})
    assert not found["y"].any()


PAIR = (
    "g (float[N,4] x) => (float[N,4] y)"
    " {{ q = QuantizeLinear({0}, s, z) {1} = DequantizeLinear(q, s, z) }}"
)

SMALL: dict[str, Array] = {"s": np.array(0.25, np.float32), "z": np.array(3, np.uint8)}


def test_a_bound_below_a_quantisers_range_holds_over_timesteps_too() -> None:
    """Levels reach 25.5; the Clip in front of the quantiser ends at 2."""
    weights = arrays(5, w=(8, 8), v=(8, 8))
    weights |= {"s": np.array(0.1, np.float32), "z": np.array(0, np.uint8)}
    source = text(
        "g (float[N, 8] x) => (float[N, 8] y) {"
        " h = MatMul (x, w) lo = Constant <value_float = 0.0> () hi = Constant <value_float = 2.0>"
        " () r = Clip (h, lo, hi) q = QuantizeLinear (r, s, z) d = DequantizeLinear (q, s, z)"
        " y = MatMul (d, v) }",
        weights,
    )
    x = arrays(6, x=(20, 8))
    wanted = run_onnx(source, x)["y"]
    for timesteps in (1, 2, 8):
        network = snnc.compile(source, timesteps=timesteps, calibration=x)
        found = network.run(x)["y"]
        assert np.linalg.norm(found - wanted) < 0.03 * np.linalg.norm(wanted)


def test_padding_does_not_carry_thresholds_of_channels() -> None:
    """It may add channels, of which no threshold is known: the layer gets neurons of its own."""
    weights = arrays(5, w=(4, 1, 3, 3), v=(3, 6, 1, 1))
    weights |= {"s": np.array([0.1, 0.2, 0.3, 0.4], np.float32), "z": np.zeros(4, np.uint8)}
    weights["pads"] = np.array([0, 1, 0, 0, 0, 1, 0, 0])
    source = text(
        "g (float[N, 1, 6, 6] x) => (float[N, 3, 4, 4] y) { h = Conv (x, w)"
        " q = QuantizeLinear <axis = 1> (h, s, z) d = DequantizeLinear <axis = 1> (q, s, z)"
        " p = Pad (d, pads) y = Conv (p, v) }",
        weights,
    )
    x = arrays(6, x=(40, 1, 6, 6))
    network = snnc.compile(source, calibration=x, scale=0.1)
    assert len(network.graph.neurons) == 2
    assert network.energy(x).ratio_spikes > 0


# Networks that onnxruntime quantised -------------------------------------------------------------


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        data = dict(np.load(calibration_path(name)))
        data.pop("labels", None)
        self._batches: Iterator[dict[str, Array]] = iter(
            [{k: v[i : i + 50] for k, v in data.items()} for i in (0, 50)]
        )

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


SETTINGS: dict[str, dict[str, Any]] = {
    "uint8": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8},
    "channels": {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
    },
    "symmetric": {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "extra_options": {"ActivationSymmetric": True},
    },
    "uint8 weights": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8},
    "int16": {"activation_type": QuantType.QInt16, "weight_type": QuantType.QInt8},
}

QUANTISED = [
    *(("digits_cnn", setting) for setting in SETTINGS),
    *(("digits_mlp", setting) for setting in ("uint8", "symmetric", "uint8 weights", "int16")),
    ("digits_vit", "uint8"),
]


@cache
def quantised(name: str, setting: str) -> ModelProto:
    """An example network, statically quantised."""
    logging.getLogger().setLevel(logging.ERROR)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "q.onnx"
        quantize_static(
            str(model_path(name)),
            str(path),
            _Samples(name),
            quant_format=QuantFormat.QDQ,
            **SETTINGS[setting],
        )
        return onnx.load(path)


@pytest.mark.parametrize(("name", "setting"), QUANTISED)
def test_a_quantised_network_needs_no_calibration_and_stays_what_it_is(
    name: str, setting: str
) -> None:
    source = quantised(name, setting)
    network = spiking(source)
    report = network.report
    assert report.imported == report.sites > 0
    assert report.summary()["lambda"] is None
    assert report.coverage.spiking_fraction == 1.0
    assert not {"QuantizeLinear", "DequantizeLinear"} & {e["op"] for e in report.coverage.analog}
    assert all(neuron.activity is None for neuron in network.graph.neurons)
    feeds = dict(np.load(held_out_path(name)))
    feeds.pop("labels")
    same_numbers(source, network, feeds)
    wanted = run_onnx(source, feeds)[report.output]
    found = network.run(feeds)[report.output]
    close = np.isclose(found, wanted, rtol=1e-5, atol=1e-5).all(-1)
    assert (found.argmax(-1) == wanted.argmax(-1)).all()
    assert setting == "int16" or close.mean() > 0.9  # onnxruntime's other kernels, at ties


def test_quantised_weights_keep_their_integers() -> None:
    source = quantised("digits_cnn", "channels")
    network = spiking(source)
    kept = {
        op.inputs[0]: network.graph.consts[op.inputs[0]] for op in imported_weights(network.graph)
    }
    given = {t.name: onnx.numpy_helper.to_array(t) for t in source.graph.initializer}
    assert {str(array.dtype) for array in kept.values()} == {"int8", "int32"}
    for name, array in kept.items():
        np.testing.assert_array_equal(array, given[name])
    layers = [n for n in source.graph.node if n.op_type in ("Conv", "Gemm")]
    assert len(kept) == sum(len(layer.input) - 1 for layer in layers)


def test_the_other_settings_do_not_touch_imported_quantisers() -> None:
    source = quantised("digits_mlp", "uint8")
    plain = snnc.compile(source).graph
    other = snnc.compile(
        source,
        neuron=snnc.SFN(M=4, rule="eq11"),
        calibration=calibration_path("digits_mlp"),
        scale=0.5,
        percentile=5.0,
    )
    assert [n.model for n in other.graph.neurons] == [n.model for n in plain.neurons]
    assert all(n.activity is not None for n in other.graph.neurons)
    for one, two in zip(plain.neurons, other.graph.neurons, strict=True):
        for a, b in zip(one.inputs[1:], two.inputs[1:], strict=True):
            assert bool(a) == bool(b)
            np.testing.assert_array_equal(plain.consts.get(a, 0), other.graph.consts.get(b, 0))


def test_energy_counts_spikes_without_the_zero_point() -> None:
    weights = SMALL | {"w": np.ones((4, 3), np.float32)}
    graph = PAIR.format("x", "d").replace("[N,4] y", "[N,3] y").replace("}", "y = MatMul(d, w) }")
    network = snnc.compile(text(graph, weights))
    x = np.array([[0.0, 0.25, -0.5, 10.0]], np.float32)
    (layer,) = network.energy({"x": x}).layers
    assert layer.kind == "spiking"
    assert (layer.spikes, layer.events) == (3 * (1 + 2 + 40), 3 * 3)


# Awkward graphs ----------------------------------------------------------------------------------

PARAMETERS: dict[str, Array] = {
    "s": np.array(0.1, np.float32),
    "t": np.array([0.2], np.float32),
    "z": np.array(128, np.uint8),
    "b": np.array(0, np.uint8),
    "i": np.array(0, np.int8),
    "ic": np.zeros(6, np.int8),
    "lo": np.array(-7, np.int8),
    "hi": np.array(7, np.int8),
    "mixed": np.arange(6, dtype=np.int8),
    "sc": np.linspace(0.05, 0.3, 6, dtype=np.float32),
    "wq": np.arange(-12, 12, dtype=np.int8).reshape(6, 4),
    "ws": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
    "flat": np.array([0, -1]),
    "zero": np.array(0.0, np.float32),
    "six": np.array(1.1, np.float32),
    "w6": np.ones((6, 3), np.float32),
    **arrays(3, k=(5, 6, 3, 3), w=(4, 3), wf=(294, 3)),
}

Q, DQ = "QuantizeLinear", "DequantizeLinear"

AWKWARD = {  # nodes from x [N,6,7,7] to y; neurons; analog operations
    "shared Q": (f"q = {Q}(x, s, z) a = {DQ}(q, s, z) c = {DQ}(q, s, z) y = Add(a, c)", 1, ["Add"]),
    "shared DQ": (
        f"q = {Q}(x, s, z) a = {DQ}(q, s, z) c = Conv(a, k) d = Conv(a, k) y = Add(c, d)",
        1,
        ["Add"],
    ),
    "integers read by others": (
        f"q = {Q}(x, s, z) a = {DQ}(q, s, z) h = Cast<to = 1>(q) y = Add(a, h)",
        1,
        ["QuantizeLinear", "Add"],
    ),
    "clipped": (f"q = {Q}(x, s, i) c = Clip(q, lo, hi) y = {DQ}(c, s, i)", 1, []),
    "four bits": (
        f"q = {Q}(x, s, i4) d = {DQ}(q, s, i4) h = Conv(d, k) r = {Q}(h, t, u4) y = {DQ}(r, t, u4)",
        2,
        [],
    ),
    "a channel": (f"q = {Q}<axis = 1>(x, sc, ic) y = {DQ}<axis = 1>(q, sc, ic)", 1, []),
    "a channel, from behind": (
        f"q = {Q}<axis = -3>(x, sc, ic) y = {DQ}<axis = 1>(q, sc, ic)",
        1,
        [],
    ),
    "a channel, pooled": (
        f"q = {Q}<axis = 1>(x, sc, ic) d = {DQ}<axis = 1>(q, sc, ic)"
        " m = MaxPool<kernel_shape = [2, 2]>(d) y = Conv(m, k)",
        1,
        ["MaxPool"],
    ),
    "zero points a channel": (
        f"q = {Q}<axis = 1>(x, sc, mixed) y = {DQ}<axis = 1>(q, sc, mixed)"
        " g = QuantizeLinear(x, s, z) h = DequantizeLinear(g, s, z)",
        None,
        [],
    ),
    "pooled, not quantised again": (
        f"q = {Q}(x, s, z) d = {DQ}(q, s, z) m = MaxPool<kernel_shape = [2, 2]>(d) y = Conv(m, k)",
        1,
        ["MaxPool"],
    ),
    "pooled integers": (
        f"q = {Q}(x, s, z) m = MaxPool<kernel_shape = [2, 2], pads = [1, 1, 1, 1]>(q)"
        f" y = {DQ}(m, s, z)",
        1,
        ["MaxPool"],
    ),
    "moved integers": (
        f"q = {Q}(x, s, z) f = Reshape(q, flat) d = {DQ}(f, s, z) y = MatMul(d, wf)",
        1,
        [],
    ),
    "joined integers": (
        f"q = {Q}(x, s, z) n = Neg(x) p = {Q}(n, s, z) j = Concat<axis = 1>(q, p)"
        f" y = {DQ}(j, s, z)",
        2,
        ["Neg"],
    ),
    "sum": (
        f"q = {Q}(x, s, z) d = {DQ}(q, s, z) a = Add(d, d) r = {Q}(a, t, z) y = {DQ}(r, t, z)",
        2,
        ["Add"],
    ),
    "softmax": (f"a = Softmax(x) r = {Q}(a, s, b) y = {DQ}(r, s, b)", 1, ["Softmax"]),
    "ReLU, unsigned": (f"a = Relu(x) r = {Q}(a, s, b) y = {DQ}(r, s, b)", 1, []),
    "ReLU, signed": (f"a = Relu(x) r = {Q}(a, s, i) y = {DQ}(r, s, i)", 1, []),
    "ReLU6": (f"a = Clip(x, zero, six) r = {Q}(a, s, i) y = {DQ}(r, s, i)", 1, []),
    "ReLU behind layout": (
        f"a = Relu(x) f = Reshape(a, flat) r = {Q}(f, s, i) y = {DQ}(r, s, i)",
        1,
        [],
    ),
    "ReLU behind layout, integers read": (
        f"a = Relu(x) f = Reshape(a, flat) r = {Q}(f, s, i) d = {DQ}(r, s, i) h = Cast<to = 1>(r)"
        " y = Add(d, h)",
        1,
        ["Relu", "QuantizeLinear", "Add"],
    ),
    "ReLU read by others": (
        f"a = Relu(x) r = {Q}(a, s, i) d = {DQ}(r, s, i) y = Add(a, d)",
        1,
        ["Relu", "Add"],
    ),
    "ReLU in front of negative levels": (
        f"a = Relu(x) r = {Q}(a, s, top) y = {DQ}(r, s, top)",
        1,
        ["Relu"],
    ),
    "1-element scale": (f"q = {Q}(x, t, z) y = {DQ}(q, t, z)", 1, []),
    "of onnxruntime": (
        f"q = com.microsoft.{Q}(x, s, i16) y = com.microsoft.{DQ}(q, s, i16)",
        1,
        [],
    ),
}


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_quantisers(case: str) -> None:
    nodes, neurons, analog = AWKWARD[case]
    weights = PARAMETERS | {"top": np.array(127, np.int8), "i16": np.array(5, np.int16)}
    weights |= {"i4": np.array(-1, ml_dtypes.int4), "u4": np.array(8, ml_dtypes.uint4)}
    domains = {"com.microsoft": 1}
    source = model(
        f"g (float[N,6,7,7] x) => (float[] y) {{ {nodes} }}",
        {name: array for name, array in weights.items() if name in nodes.replace("(", " ")},
        opset=21,
        ir_version=10,
        domains=domains,
    )
    feeds = {"x": np.random.default_rng(0).normal(0, 1, (3, 6, 7, 7)).astype(np.float32)}
    if neurons is None:
        with pytest.raises(snnc.CompileError, match="nothing to convert"):
            snnc.compile(source)
        return
    network = spiking(source)
    assert len(network.graph.neurons) == neurons
    assert [entry["op"] for entry in network.report.coverage.analog] == analog
    same_numbers(source, network, feeds)


NOT_IMPORTED = {
    "dynamic scale": f"m = ReduceMax<keepdims = 0>(x) q = {Q}(x, m, z) d = {DQ}(q, m, z)",
    "other scale": f"q = {Q}(x, s, z) d = {DQ}(q, t, z)",
    "other zero point": f"q = {Q}(x, s, z) d = {DQ}(q, s, b)",
    "zero points a channel": f"q = {Q}<axis = 1>(x, sc, mixed) d = {DQ}<axis = 1>(q, sc, mixed)",
    "other axis": f"q = {Q}<axis = 1>(x, sc, ic) d = {DQ}<axis = 2>(q, sc, ic)",
    "zero out of range": f"q = {Q}(x, s, i) c = Clip(q, one, hi) d = {DQ}(c, s, i)",
    "computed bound": f"q = {Q}(x, s, i) h = ReduceMax<keepdims = 0>(q) c = Clip(q, lo, h)"
    f" d = {DQ}(c, s, i)",
}


@pytest.mark.parametrize("case", NOT_IMPORTED)
def test_other_quantisers_stay_analog_and_are_listed(case: str) -> None:
    nodes = f"{NOT_IMPORTED[case]} y = MatMul(d, w6)"
    weights = PARAMETERS | {"one": np.array(1, np.int8)}
    source = text(f"g (float[N,6,6] x) => (float[N,6,3] y) {{ {nodes} }}", weights)
    with pytest.raises(snnc.CompileError, match="one of the two"):
        snnc.compile(source)
    feeds = {"x": np.random.default_rng(0).normal(0, 1, (60, 6, 6)).astype(np.float32)}
    network = snnc.compile(source, calibration=feeds, scale=0.05)
    assert network.report.imported == 0
    assert {"QuantizeLinear", "DequantizeLinear"} <= {
        e["op"] for e in network.report.coverage.analog
    }
    assert [type(n.model) for n in network.graph.neurons] == [snnc.SFN]


def test_a_partly_quantised_network_has_both_neurons() -> None:
    nodes = f"q = {Q}(x, s, z) d = {DQ}(q, s, z) h = MatMul(d, w6) r = Relu(h) y = MatMul(r, v)"
    weights = PARAMETERS | arrays(5, v=(3, 2))
    source = text(f"g (float[N,6] x) => (float[N,2] y) {{ {nodes} }}", weights)
    feeds = {"x": np.random.default_rng(0).normal(0, 1, (60, 6)).astype(np.float32)}
    network = spiking(source, calibration=feeds, scale=0.1)
    assert [type(n.model) for n in network.graph.neurons] == [AIF, snnc.SFN]
    assert (network.report.sites, network.report.imported) == (2, 1)
    assert network.report.coverage.spiking_fraction == 1.0
    diagnosis = snnc.diagnose(network.ann, network.graph, feeds)
    assert len(diagnosis.sites) == 1


def test_a_kept_layer_reads_the_quantiser_itself() -> None:
    layers = "[kept] h = MatMul(d, w6) l = MatMul(d, w6) y = Add(h, l)"
    nodes = f"q = {Q}(x, s, z) d = {DQ}(q, s, z) {layers}"
    source = text(f"g (float[N,6] x) => (float[N,3] y) {{ {nodes} }}", PARAMETERS)
    network = snnc.compile(source, keep="kept")
    analog = {entry["op"]: entry["why"] for entry in network.report.coverage.analog}
    assert analog["MatMul"] == "kept analog as asked"
    assert {"QuantizeLinear", "DequantizeLinear", "Add"} < analog.keys()
    assert network.report.coverage.spiking_fraction == 0.5
    same_numbers(source, network, {"x": arrays(0, x=(5, 6))["x"]})


def test_a_kept_layer_behind_layout_keeps_the_quantiser_analog() -> None:
    layers = "u = Transpose<perm = [0, 1]>(d) v = Reshape(u, flat) [kept] y = MatMul(v, w6)"
    nodes = f"q = {Q}(x, s, z) d = {DQ}(q, s, z) e = Neg(d) r = {Q}(e, s, z) f = {DQ}(r, s, z)"
    source = text(
        f"g (float[2,6,1] x) => (float[2,3] y, float[2,6,1] f) {{ {nodes} {layers} }}",
        PARAMETERS | {"flat": np.array([2, 6])},
    )
    source.graph.node[5].attribute[0].ints[:] = [0, 1, 2]
    network = snnc.compile(source, keep="kept")
    assert [neuron.outputs for neuron in network.graph.neurons] == [("f",)]
    assert network.report.coverage.spiking_fraction == 0.0
    same_numbers(source, network, {"x": arrays(0, x=(2, 6, 1))["x"]})


def test_a_layer_on_integers_that_are_the_input_is_direct_coded() -> None:
    nodes = f"d = {DQ}(x, s, z) h = MatMul(d, w6) q = {Q}(h, s, z) e = {DQ}(q, s, z)"
    source = text(
        f"g (uint8[N,6] x) => (float[N,2] y) {{ {nodes} y = MatMul(e, v) }}",
        PARAMETERS | arrays(5, v=(3, 2)),
    )
    network = spiking(source)
    assert [layer.op for layer in network.report.coverage.entries if layer.fate == "direct-coded"]
    assert network.report.coverage.spiking_fraction == 1.0
    x = np.random.default_rng(0).integers(0, 256, (5, 6)).astype(np.uint8)
    same_numbers(source, network, {"x": x})


# Weights -----------------------------------------------------------------------------------------

WEIGHTS = {
    "int8": "v = DequantizeLinear(wq, s)",
    "int8 a channel": "v = DequantizeLinear<axis = 1>(wq, ws)",
    "with zero point": "v = DequantizeLinear<axis = -1>(wq, ws, wz)",
    "int4": "v = DequantizeLinear<axis = 1>(w4, ws)",
    "uint4": "v = DequantizeLinear(u4, s, z4)",
    "transposed": "t0 = Transpose(wq) u = DequantizeLinear<axis = 0>(t0, ws) v = Transpose(u)",
    "transposed numbers": "u = DequantizeLinear<axis = 0>(wt, ws) v = Transpose<perm = [1, 0]>(u)",
    "quantised here, transposed": f"p = {Q}(wr, s, i) u = {DQ}(p, s, i) v = Transpose(u)",
    "quantised here": f"p = {Q}(wf, s, i) c = Clip(p, lo, hi) v = {DQ}(c, s, i)",
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_integer_weights_beside_real_activations(case: str) -> None:
    """onnxruntime would round what they are multiplied with to 8 bits, if it saw them."""
    wq = PARAMETERS["wq"]
    weights = PARAMETERS | {
        "wz": np.array([1, 2, 3, 4], np.int8),
        "w4": (wq % 15 - 7).astype(ml_dtypes.int4),
        "u4": (wq % 16).astype(ml_dtypes.uint4),
        "z4": np.array(3, ml_dtypes.uint4),
        "wt": np.ascontiguousarray(wq.T),
        "wf": (wq / 13).astype(np.float32),
        "wr": (wq.T / 13).astype(np.float32),
    }
    graph = f"g (float[N,6] x) => (float[N,4] y) {{ {WEIGHTS[case]} e = Exp(x) y = MatMul(e, v) }}"
    source = text(graph, weights)
    feeds = {"x": arrays(0, x=(50, 6))["x"]}
    network = spiking(source, calibration=feeds, scale=0.02)
    (op,) = imported_weights(network.graph)
    assert network.graph.consts[op.inputs[0]].dtype.itemsize == 1
    (site_out,) = (n.outputs[0] for n in network.graph.neurons)
    spikes = Session(network.graph, taps=[site_out]).run(feeds)[site_out]
    array = weight(network.graph, op.outputs[0])
    assert array is not None
    with TemporaryDirectory() as directory:
        path = Path(directory) / "q.snn.onnx"
        network.save(path)
        stock = onnxruntime.InferenceSession(str(path)).run(["y"], feeds)[0]
    np.testing.assert_allclose(stock, spikes @ array, rtol=1e-5, atol=1e-5)
    exact = run_onnx(source, feeds)["y"]
    np.testing.assert_allclose(np.exp(feeds["x"]) @ array, exact, rtol=1e-5, atol=1e-5)


def test_integer_synapses_of_a_network_with_quantised_weights() -> None:
    nodes = "v = DequantizeLinear(wq, s) e = Exp(x) y = MatMul(e, v)"
    graph = f"g (float[N,6] x) => (float[N,4] y) {{ {nodes} }}"
    feeds = {"x": arrays(0, x=(60, 6))["x"]}
    network = spiking(text(graph, PARAMETERS), calibration=feeds, scale=0.05, synapses="int8")
    assert network.report.integer is not None
    assert len(network.report.integer.layers) == 1


# QONNX -------------------------------------------------------------------------------------------

QUANTS: dict[str, tuple[str, float, Any, float]] = {  # attributes, bit width, scale, zero point
    "signed": ("signed = 1, narrow = 0", 4.0, 0.25, 0.0),
    "narrow": ('signed = 1, narrow = 1, rounding_mode = "ROUND"', 8.0, 0.125, 0.0),
    "unsigned": ("signed = 0, narrow = 0", 8.0, 0.125, 4.0),
    "two bits": ("signed = 0, narrow = 1", 2.0, 0.5, 0.0),
    "a channel": ("signed = 1, narrow = 0", 3.0, np.array([[0.5], [0.25], [1.0]]), 0.0),
}


def quant(x: Array, attrs: str, bits: float, scale: Any, zero: float) -> Array:
    """Quant as QONNX defines it."""
    signed, narrow = "signed = 1" in attrs, "narrow = 1" in attrs
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    whole = np.rint(np.clip(x / scale + zero, low, high))
    return np.asarray((whole - zero) * scale, np.float32)


@pytest.mark.parametrize(
    "domain", ["qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas"]
)
@pytest.mark.parametrize("case", QUANTS)
def test_quant_of_qonnx(case: str, domain: str) -> None:
    attrs, bits, scale, zero = QUANTS[case]
    weights: dict[str, Array] = {
        "scale": np.array(scale, np.float32),
        "zero": np.array(zero, np.float32),
        "bits": np.array(bits, np.float32),
        "ws": np.array([[0.5, 0.25]], np.float32),
        "eight": np.array(8.0, np.float32),
        "none": np.array(0.0, np.float32),
        "w": np.random.default_rng(0).integers(-9, 9, (4, 2)).astype(np.float32) / np.float32(4),
    }
    graph = (
        "g (float[N,3,4] x) => (float[N,3,2] y)"
        f" {{ d = {domain}.Quant<{attrs}>(x, scale, zero, bits)"
        f" v = {domain}.Quant<signed = 1, narrow = 1>(w, ws, none, eight) y = MatMul(d, v) }}"
    )
    network = spiking(model(graph, weights, domains={domain: 1}))
    x = np.arange(-60, 60, dtype=np.float32).reshape(-1, 3, 4) / 16  # ties among them
    wanted = quant(x, attrs, bits, np.float32(scale), zero) @ weights["w"]
    np.testing.assert_array_equal(network.run({"x": x})["y"], wanted)
    assert len(imported_weights(network.graph)) == 1
    assert network.report.coverage.analog == []


BAD_QUANTS = {
    "Quant(x, scale, zero, nine)": "bit width of 9",
    "Quant(x, scale, zero, half)": "bit width of 2.5",
    "Quant(x, one, zero, x)": "computed",
    "Quant(x, minus, zero, four)": "positive",
    "Quant(x, scale, half, four)": "zero point",
    'Quant<rounding_mode = "FLOOR">(x, scale, zero, four)': "FLOOR",
    "Quant(x, square, zero, four)": "several axes",
    "Quant(x, scale, zero)": "3 inputs",
    "BipolarQuant(x, scale)": "BipolarQuant of QONNX has no spiking form",
    "Trunc(x, scale, zero, four, four)": "Trunc of QONNX has no spiking form",
}


@pytest.mark.parametrize("call", BAD_QUANTS)
def test_other_quantisers_of_qonnx_are_refused(call: str) -> None:
    numbers = {
        "scale": 0.5,
        "zero": 0.0,
        "one": 1.0,
        "nine": 9.0,
        "half": 2.5,
        "four": 4.0,
        "minus": -1.0,
    }
    weights = {name: np.array(value, np.float32) for name, value in numbers.items()}
    weights["square"] = np.full((3, 4), 0.5, np.float32)
    graph = f"g (float[3,4] x) => (float[3,4] y) {{ [quant] y = qonnx.custom_op.general.{call} }}"
    source = model(graph, weights, domains={"qonnx.custom_op.general": 1})
    with pytest.raises(snnc.CompileError, match=BAD_QUANTS[call]) as raised:
        load(source)
    assert "quant" in str(raised.value.at)
    assert raised.value.help


# Averages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window", ["[2, 2]", "[2, 3]", "[4, 2]", "[3, 3]", "[2, 2], pads = [1, 1, 1, 1]"]
)
@pytest.mark.parametrize("opset", [13, 17, 19, 21])
def test_averages_of_quantised_numbers_at_ties(window: str, opset: int) -> None:
    nodes = (
        f"q = {Q}(x, s, b) d = {DQ}(q, s, b)"
        f" a = AveragePool<kernel_shape = {window}, strides = [2, 2]>(d)"
        f" r = {Q}(a, s, b) y = {DQ}(r, s, b)"
    )
    source = model(f"g (float[N,6,9,9] x) => (float[] y) {{ {nodes} }}", PARAMETERS, opset=opset)
    rng = np.random.default_rng(0)
    feeds = {"x": (rng.integers(0, 255, (8, 6, 9, 9)) * PARAMETERS["s"]).astype(np.float32)}
    same_numbers(source, snnc.compile(source), feeds)


# Commands ----------------------------------------------------------------------------------------


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(quantised("digits_mlp", "uint8"), "q.onnx")
    return tmp_path


def call(*args: str) -> Any:
    return CliRunner().invoke(main, args)


def test_compile_and_eval_without_calibration(inside: Path) -> None:
    result = call("compile", "q.onnx", "-o", "out.onnx")
    assert result.exit_code == 0, result.output
    assert "aif (imported quantisers), " in result.stdout
    assert "lambda" not in result.stdout
    result = call("eval", "q.onnx", "out.onnx", "--data", str(held_out_path("digits_mlp")))
    assert result.exit_code == 0, result.output
    assert "100.00 %" in result.stdout
    assert "half-even" in call("inspect", "out.onnx").stdout
    rows = json.loads(call("inspect", "out.onnx", "--layers", "--json").stdout)["layers"]
    assert {row["energy %"] for row in rows} == {None}  # activity was not measured
    assert all("rounding=half-even" in row["neuron"] for row in rows if row["neuron"])


def test_options_for_neurons_say_that_they_apply_to_none(inside: Path) -> None:
    words = (
        "--neuron",
        "if",
        "--lambda",
        "0.5",
        "--threshold-rule",
        "kim2020",
        "--percentile",
        "2",
    )
    result = call("compile", "q.onnx", "-o", "out.onnx", *words)
    assert result.exit_code == 0, result.output
    assert result.stderr == (
        "warning: all neurons are quantisers of the network itself: --neuron, --lambda, "
        "--percentile, --threshold-rule did nothing\n"
    )
    assert call("compile", "q.onnx", "-o", "out.onnx").stderr == ""


REFUSED = {
    "compile q.onnx --synapses int8": "quantised already",
    "calibrate q.onnx --calibration random -o s.npz": "every neuron is a quantiser",
    "tune q.onnx --calibration random --data DATA": "every neuron is a quantiser",
    "compile q.onnx --calibration random --save-statistics s.npz": "every neuron is a quantiser",
    "compile PLAIN": "one of the two\n  help: pass --calibration F.npz, or --statistics S.npz",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_a_quantised_network_is_refused(inside: Path, line: str) -> None:
    found = line.replace("DATA", str(held_out_path("digits_mlp")))
    result = call(*found.replace("PLAIN", str(model_path("digits_mlp"))).split())
    assert result.exit_code == 1
    assert REFUSED[line] in result.stderr
