"""Networks of neurons that fire at most once: placing, ranges, windows, masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snnc
from snnc.errors import CompileError
from snnc.frontend import load
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.spike_times import MULTIPLIED, RELAY, fires, time_ranges
from snnc.neurons.ttfs import TTFS, spike_ticks
from snnc.prepare import check
from snnc.runtime import Session
from tests.conftest import DATA, calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model
from tests.spike_time_models import FINE, check_windows, sited, spiking


def feeds_of(name: str, count: int = 40) -> dict[str, Array]:
    with np.load(calibration_path(name)) as file:
        return {key: file[key][:count] for key in file.files if key != "labels"}


def neurons(graph: Graph) -> list[Op]:
    return [node for node in graph.nodes if isinstance(node, Op) and fires(node)]


# --- whole networks ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DATA)
def test_nothing_of_a_network_stays_analog(name: str) -> None:
    coverage = check(model_path(name), spike_times=True)
    assert coverage.entries and not coverage.analog
    assert coverage.spiking_fraction == 1.0
    hosted = {entry.op for entry in coverage.entries if entry.fate == "host"}
    assert bool(hosted) == (name == "digits_encoder")


@pytest.mark.parametrize("name", DATA)
def test_sites_change_nothing(name: str) -> None:
    prepared, feeds = sited(model_path(name)), feeds_of(name)
    wanted, found = Session(prepared.ann).run(feeds), Session(prepared.sited).run(feeds)
    for output, array in wanted.items():
        np.testing.assert_allclose(found[output], array, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("products", ["quarter", "logexp", "ideal"])
@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn", "digits_vit", "digits_encoder"])
def test_fine_ticks_compute_the_network(name: str, products: str) -> None:
    prepared, feeds = sited(model_path(name)), feeds_of(name)
    neuron = TTFS(65536, "nearest", products)  # type: ignore[arg-type]
    graph = spiking(prepared, feeds, neuron)
    wanted, found = Session(prepared.ann).run(feeds), Session(graph).run(feeds)
    for output, array in wanted.items():
        if array.dtype.kind != "f":
            assert np.mean(found[output] == array) > 0.99
            continue
        mask = feeds.get("attention_mask")
        if mask is not None and output == "last_hidden_state":
            array, found[output] = array[mask > 0], found[output][mask > 0]
        error = np.linalg.norm(found[output] - array) / np.linalg.norm(array)
        assert error < (0.05 if products == "logexp" else 0.004), (output, error)


def test_coarser_ticks_are_worse_and_causal_ones_too() -> None:
    prepared, feeds = sited(model_path("digits_vit")), feeds_of("digits_vit")
    wanted = Session(prepared.ann).run(feeds)["logits"]

    def error(neuron: TTFS) -> float:
        found = Session(spiking(prepared, feeds, neuron)).run(feeds)["logits"]
        return float(np.linalg.norm(found - wanted))

    errors = [error(TTFS(p)) for p in (128, 1024, 8192)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 8 * errors[2]
    assert error(TTFS(1024, "nearest")) < 0.5 * errors[1]
    assert error(TTFS(1024, products="ideal")) < errors[1] < error(TTFS(1024, products="logexp"))


def test_the_artifact_is_read_back_and_computes_the_same(tmp_path: Path) -> None:
    network = snnc.compile_spike_times(
        model_path("digits_encoder"), calibration=calibration_path("digits_encoder")
    )
    network.save(tmp_path / "out.onnx")
    graph = load(tmp_path / "out.onnx")
    check_windows(graph)
    feeds = feeds_of("digits_encoder", 10)
    wanted, found = Session(network.graph).run(feeds), Session(graph).run(feeds)
    bodies = Session(graph, kernels=False).run(feeds)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])
        np.testing.assert_allclose(bodies[name], wanted[name], atol=0.02)
    assert [n.attrs for n in neurons(graph)] == [n.attrs for n in neurons(network.graph)]


def test_accuracy_energy_and_earliest_spike() -> None:
    network = snnc.compile_spike_times(
        model_path("digits_vit"), calibration=calibration_path("digits_vit")
    )
    result = network.evaluate(held_out_path("digits_vit"))
    assert result.ann_top1 == pytest.approx(440 / 450)
    assert result.snn_top1 is not None and result.snn_top1 >= 0.97
    assert result.earliest_top1 == result.snn_top1 and result.undecided == 0
    assert result.cosine > 0.998
    energy = result.energy.summary()
    assert 0.15 < energy["ratio_table3"] < 0.5
    assert energy["events"] < energy["operations"]
    assert energy["windows"] == network.report.windows


# --- masks ---------------------------------------------------------------------------------------

ATTENTION = """
g (float[N,H,S,8] q, float[N,H,S,8] k, int64[N,S] mask) => (float[N,H,S,S] p) {
  axes = Constant <value_ints = [1, 2]> ()
  wide = Unsqueeze (mask, axes)
  real = Cast <to = 1> (wide)
  one = Constant <value_float = 1.0> ()
  least = Constant <value_float = -3.4028234663852886e38> ()
  inverse = Sub (one, real)
  added = Mul (inverse, least)
  kt = Transpose <perm = [0, 1, 3, 2]> (k)
  scores = MatMul (q, kt)
  masked = Add (scores, added)
  p = Softmax <axis = -1> (masked)
}"""
CHOSEN = ATTENTION.replace(
    "masked = Add (scores, added)",
    "zero = Constant <value_float = 0.0> ()\n dead = Equal (real, zero)\n"
    "masked = Where (dead, least, scores)",
)


@pytest.mark.parametrize("text", [ATTENTION, CHOSEN], ids=["added", "chosen"])
def test_masked_positions_are_silent_and_set_no_range(text: str) -> None:
    feeds = arrays(1, q=(3, 2, 6, 8), k=(3, 2, 6, 8))
    mask = np.ones((3, 6), np.int64)
    mask[1, 4:] = mask[2, 2:] = 0
    feeds["k"][mask[:, None, :, None].repeat(2, 1).repeat(8, 3) == 0] *= 50
    full = {**feeds, "mask": mask}
    prepared = sited(model(text))
    assert not check(model(text), spike_times=True).analog
    graph = spiking(prepared, full)
    taps = [op.outputs[0] for op in neurons(graph)]
    values = Session(graph, taps=taps).run(full)
    np.testing.assert_allclose(values["p"], Session(prepared.ann).run(full)["p"], atol=2e-3)
    gated = [op for op in neurons(graph) if op.op_type.endswith("GatedTimeToFirstSpike")]
    assert len(gated) == 3  # scores, their distance to the largest, probabilities
    dead = np.broadcast_to(mask[:, None, None, :] == 0, (3, 2, 6, 6))
    for op in gated:
        low, high, p = op.attrs["low"], op.attrs["high"], op.attrs["ticks"]
        ticks = spike_ticks(values[op.outputs[0]], low, high, p)  # type: ignore[arg-type]
        assert (ticks[dead] == -1).all()
        assert low > -60 and high < 60  # type: ignore[operator]


def test_padding_does_not_change_what_is_computed() -> None:
    prepared, feeds = sited(model_path("digits_encoder")), feeds_of("digits_encoder", 30)
    graph = spiking(prepared, feeds)
    session = Session(graph)
    length = int(feeds["attention_mask"][0].sum())
    assert length < 64
    row = {name: array[:1] for name, array in feeds.items()}
    short = {name: array[:, :length] for name, array in row.items()}
    np.testing.assert_allclose(session.run(row)["logits"], session.run(short)["logits"], atol=2e-3)


def test_a_causal_mask_of_constants() -> None:
    text = """
    g (float[N,4,4] x) => (float[N,4,4] p) { y = Add (x, m) p = Softmax <axis = -1> (y) }"""
    causal = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    feeds = arrays(2, x=(20, 4, 4))
    prepared = sited(model(text, {"m": causal}))
    graph = spiking(prepared, feeds)
    found, wanted = Session(graph).run(feeds)["p"], Session(prepared.ann).run(feeds)["p"]
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    assert (found[:, causal < 0] == 0).all()


# --- single operations ---------------------------------------------------------------------------

BODIES = {
    "residual": "a = Relu (x) b = MatMul (a, w) c = Add (x, b) d = MatMul (c, w) y = Add (c, d)",
    "gelu": "a = Gelu (x) y = MatMul (a, w)",
    "silu by hand": "s = Sigmoid (x) a = Mul (x, s) y = MatMul (a, w)",
    "chain on the synapse": "a = Tanh (x) b = Mul (a, two) c = Softplus (b) y = MatMul (c, w)",
    "gate": "a = MatMul (x, w) s = Sigmoid (a) b = MatMul (x, v) y = Mul (s, b)",
    "quotient": "a = Abs (x) b = Add (a, two) c = MatMul (x, w) y = Div (c, b)",
    "root mean square": """q = Mul (x, x) m = ReduceMean (q, last) e = Add (m, two) r = Sqrt (e)
                           i = Reciprocal (r) y = Mul (x, i)""",
    "layer norm": "y = LayerNormalization <axis = -1> (x, g, h)",
    "layer norm, no shift": "y = LayerNormalization <axis = -1> (x, g)",
    "softmax": "y = Softmax (x)",
    "log softmax": "y = LogSoftmax (x)",
    "largest": "y = ReduceMax (x, last)",
    "least": "y = ReduceMin (x, last)",
    "maximum": "a = MatMul (x, w) y = Max (x, a)",
    "minimum of three": "a = MatMul (x, w) b = MatMul (x, v) y = Min (x, a, b)",
    "relu6": "a = MatMul (x, w) y = Clip (a, zero, two)",
    "clip both ways": "a = MatMul (x, w) m = Neg (two) y = Clip (a, m, two)",
    "leaky": "a = MatMul (x, w) b = LeakyRelu <alpha = 0.1> (a) y = MatMul (b, v)",
    "sum of squares": "y = ReduceSumSquare (x, last)",
    "length": "y = ReduceL2 (x, last)",
    "joined": "a = MatMul (x, w) b = Relu (a) c = Concat <axis = -1> (x, b) y = Relu (c)",
    "product with itself": "t = Transpose <perm = [1, 0]> (x) y = MatMul (x, t)",
    "power": "a = Pow (x, two) y = MatMul (a, w)",
    "power of a constant": "a = Pow (two, x) y = MatMul (a, w)",
    "logarithm of a sum": "a = Exp (x) y = ReduceLogSum (a, last)",
    "affine": "a = Neg (x) b = Add (a, g) c = Div (b, two) y = Sub (h, c)",
    "two products": "a = MatMul (x, w) b = Mul (x, a) c = Mul (b, a) y = Add (b, c)",
    "moved": "a = MatMul (x, w) b, c = Split <axis = -1, num_outputs = 2> (a) y = Mul (b, c)",
}


@pytest.mark.parametrize("name", BODIES)
def test_every_operation_becomes_layers(name: str) -> None:
    weights = arrays(3, w=(6, 6), v=(6, 6), g=(6,), h=(6,))
    weights |= {k: np.array(v, np.float32) for k, v in (("two", 2.0), ("zero", 0.0))}
    weights |= {"last": np.array([-1], np.int64)}
    shape = (
        "N,1"
        if name in ("root", "largest", "least", "sum of squares", "length", "logarithm of a sum")
        else "N,?"
    )
    source = model(
        f"g (float[N,6] x) => (float[{shape.replace('?', 'M')}] y) {{ {BODIES[name]} }}",
        weights,
        opset=20,
    )
    coverage = check(source, spike_times=True)
    assert not coverage.analog, coverage.analog
    prepared, feeds = sited(source), arrays(4, x=(200, 6))
    for products in ("quarter", "ideal"):
        graph = spiking(prepared, feeds, TTFS(65536, "nearest", products))
        found, wanted = Session(graph).run(feeds)["y"], Session(prepared.ann).run(feeds)["y"]
        spread = np.abs(wanted).max()
        np.testing.assert_allclose(found, wanted, atol=6e-4 * spread, err_msg=products)
        assert "y" in time_ranges(graph)


def test_pooling_batch_norm_and_channels() -> None:
    text = """
    g (float[N,3,9,9] x) => (float[N,4] y) {
      a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w)
      b = Relu (a)
      c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
      d = InstanceNormalization (c, g, h)
      e = HardSwish (d)
      f = AveragePool <kernel_shape = [2, 2]> (e)
      s = GlobalAveragePool (f)
      t = HardSigmoid (s)
      u = Mul (f, t)
      z = GlobalMaxPool (u)
      y = Flatten (z)
    }"""
    weights = arrays(5, w=(4, 3, 3, 3), g=(4,), h=(4,))
    prepared, feeds = sited(model(text, weights)), arrays(6, x=(20, 3, 9, 9))
    assert not check(model(text, weights), spike_times=True).analog
    graph = spiking(prepared, feeds)
    found, wanted = Session(graph).run(feeds)["y"], Session(prepared.ann).run(feeds)["y"]
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


def test_readouts() -> None:
    text = """
    g (float[N,6] x) => (int64[N] label, float[N,2] best, int64[N,2] places, int64[N] least) {
      a = MatMul (x, w)
      least = ArgMin <axis = -1, keepdims = 0> (a)
      label = ArgMax <axis = -1, keepdims = 0> (a)
      best, places = TopK (a, two)
    }"""
    weights = arrays(7, w=(6, 6)) | {"two": np.array([2], np.int64)}
    source = model(text, weights)
    assert not check(source, spike_times=True).analog
    prepared, feeds = sited(source), arrays(8, x=(100, 6))
    found = Session(spiking(prepared, feeds)).run(feeds)
    wanted = Session(prepared.ann).run(feeds)
    np.testing.assert_array_equal(found["label"], wanted["label"])
    np.testing.assert_array_equal(found["least"], wanted["least"])
    np.testing.assert_array_equal(found["places"], wanted["places"])
    np.testing.assert_allclose(found["best"], wanted["best"], atol=1e-3)


def test_what_has_no_layers_stays_analog_and_is_listed() -> None:
    text = """
    g (float[N,6] x) => (float[N,6] y) {
      a = MatMul (x, w) f = Floor (a) b = MatMul (f, w) y = Relu (b)
    }"""
    source = model(text, arrays(9, w=(6, 6)))
    analog = check(source, spike_times=True).analog
    assert [entry["op"] for entry in analog] == ["Floor"]
    assert "elementwise" in analog[0]["why"]
    prepared, feeds = sited(source), arrays(10, x=(50, 6))
    graph = spiking(prepared, feeds)
    found, wanted = Session(graph).run(feeds)["y"], Session(prepared.ann).run(feeds)["y"]
    assert np.mean(np.abs(found - wanted) < 0.01 * np.abs(wanted).max()) > 0.99
    kept = sited(model_path("digits_mlp"), keep=("*Relu*",)).sited
    with pytest.raises(CompileError, match="unknown node"):
        sited(model_path("digits_mlp"), keep=("nothing",))
    assert kept.sites


# --- windows -------------------------------------------------------------------------------------


def test_relays_bring_a_branch_to_the_window_of_the_other() -> None:
    body = "a = MatMul (x, w) b = Gelu (a) c = MatMul (b, w) d = Relu (c) e = MatMul (d, w)"
    text = f"g (float[N,6] x) => (float[N,6] y) {{ {body} y = Add (x, e) }}"
    source = model(text, arrays(11, w=(6, 6)), opset=20)
    graph = spiking(sited(source), arrays(12, x=(30, 6)))
    relays = [n for n in graph.nodes if isinstance(n, Op) and n.op_type == RELAY]
    assert [(r.attrs["windows"], r.attrs["window"]) for r in relays] == [(2, 2)]
    assert [n.attrs["window"] for n in neurons(graph)] == [0, 1, 2, 3]


def test_a_function_on_the_synapse_is_computed_for_each_window_that_reads_it() -> None:
    body = "a = Gelu (x) b = MatMul (a, w) c = Relu (b) d = MatMul (c, w) y = Add (a, d)"
    source = model(
        f"g (float[N,6] x) => (float[N,6] y) {{ {body} }}", arrays(13, w=(6, 6)), opset=20
    )
    prepared, feeds = sited(source), arrays(14, x=(30, 6))
    graph = spiking(prepared, feeds)
    assert sum(isinstance(n, Op) and n.op_type == "Gelu" for n in graph.nodes) == 2
    found, wanted = Session(graph).run(feeds)["y"], Session(prepared.ann).run(feeds)["y"]
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


# --- ranges --------------------------------------------------------------------------------------


def ranges_of(body: str, x: Array, weights: dict[str, Array], **options: Any) -> list[Op]:
    source = model(f"g (float[N,{x.shape[1]}] x) => (float[N,M] y) {{ {body} }}", weights)
    return neurons(spiking(sited(source), {"x": x}, **options))


def test_ranges_have_a_margin_but_pass_neither_zero_nor_bounds() -> None:
    x = np.linspace(-1, 3, 41, dtype=np.float32)[:, None]
    weights = {"w": np.ones((1, 1), np.float32)} | {
        k: np.array(v, np.float32) for k, v in (("zero", 0.0), ("two", 2.0))
    }
    encoder, relu = ranges_of("a = MatMul (x, w) y = Relu (a)", x, weights)
    assert encoder.attrs["low"] == pytest.approx(-1.08)
    assert encoder.attrs["high"] == pytest.approx(3.08)
    assert relu.attrs["low"] == 0.0 and relu.attrs["high"] == pytest.approx(3.06, abs=1e-5)
    _, clipped = ranges_of("a = MatMul (x, w) y = Clip (a, zero, two)", x, weights)
    assert (clipped.attrs["low"], clipped.attrs["high"]) == (0.0, 2.0)
    positive, _ = ranges_of("y = MatMul (x, w)", x + 1.04, weights)
    assert positive.attrs["low"] == pytest.approx(0.02, rel=1e-4)


def test_a_layer_that_is_always_the_same_never_fires() -> None:
    x = np.full((5, 2), 3.0, np.float32)
    weights = {"w": np.zeros((2, 2), np.float32)}
    source = model("g (float[N,2] x) => (float[N,2] y) { y = MatMul (x, w) }", weights)
    graph = spiking(sited(source), {"x": x})
    for op in neurons(graph):
        values = Session(graph, taps=op.outputs).run({"x": x})[op.outputs[0]]
        low, high = op.attrs["low"], op.attrs["high"]
        assert (spike_ticks(values, low, high, 65536) == -1).all()  # type: ignore[arg-type]
        assert (values == low).all()


def test_ticks_are_different_numbers_in_float32() -> None:
    x = np.linspace(1000, 1001, 50, dtype=np.float32)[:, None]
    encoder, _ = ranges_of("y = MatMul (x, w)", x, {"w": np.ones((1, 1), np.float32)})
    low, high = encoder.attrs["low"], encoder.attrs["high"]
    levels = FINE.emit(np.linspace(low, high, 65537), low, high)  # type: ignore[arg-type]
    assert len(np.unique(levels)) == 65537


def test_precision_of_single_layers() -> None:
    body = "a = MatMul (x, w) b = Relu (a) y = MatMul (b, w)"
    weights, x = arrays(15, w=(4, 4)), arrays(16, x=(30, 4))["x"]
    found = ranges_of(body, x, weights, precisions=(("Relu*", 7), ("MatMul*", 99)))
    assert [n.attrs["ticks"] for n in found] == [65536, 7, 99]
    product = ranges_of("a = MatMul (x, w) y = Mul (x, a)", x, weights, precisions=(("Mul*", 7),))
    assert [n.attrs["ticks"] for n in product] == [65536, 65536, 7]
    with pytest.raises(CompileError, match="time-precision"):
        ranges_of(body, x, weights, precisions=(("nothing", 7),))


@pytest.mark.parametrize(
    ("neuron", "words"),
    [
        ("ttfs:p=0", "out of range"),
        ("ttfs:p=70000", "out of range"),
        ("ttfs:rule=late", "unknown ttfs rule"),
        ("sfn", "fires at most once"),
    ],
)
def test_neurons_that_are_refused(neuron: str, words: str) -> None:
    with pytest.raises(CompileError, match=words):
        snnc.compile_spike_times(
            model_path("digits_mlp"), neuron=neuron, calibration=calibration_path("digits_mlp")
        )


def test_neurons_that_count_refuse_spike_times() -> None:
    with pytest.raises(CompileError, match="not as spike counts"):
        snnc.compile(model_path("digits_mlp"), neuron="ttfs", calibration="random")


def test_products_know_the_ranges_of_their_operands() -> None:
    prepared, feeds = sited(model_path("digits_vit")), feeds_of("digits_vit")
    graph = spiking(prepared, feeds, TTFS())
    ranges = time_ranges(graph)
    products = [n for n in graph.nodes if isinstance(n, Op) and n.op_type in MULTIPLIED]
    assert len(products) == 2 * 3 + 7  # attention, layer normalisations
    for op in products:
        mine = tuple(op.attrs[key] for key in ("a_low", "a_high", "b_low", "b_high"))
        assert mine == (*ranges[op.inputs[0]], *ranges[op.inputs[1]])
