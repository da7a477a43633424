"""Forms that operations come in, in networks of spike times: each computes what it should, in
windows that meet, and nothing of it is analog in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.spike_times import GATED_SPIKE_TIME, MULTIPLIED, RELAY, SPIKE_TIME
from snnc.membrane import decoded, simulate
from snnc.neurons.ttfs import TTFS
from snnc.prepare import check
from snnc.runtime import Session
from snnc.spike_time_compiler import compile_spike_times
from snnc.spike_time_energy import SpikeTimeMeter
from tests.onnx_models import arrays, model
from tests.spike_time_models import FINE, sited, spiking

CONSTANTS = arrays(1, w=(6, 6), v=(6, 6), g=(6,), h=(6,)) | {
    **{k: np.array(n, np.float32) for k, n in (("zero", 0), ("half", 0.5), ("two", 2))},
    "last": np.array([-1], np.int64),
    "two_of": np.array([2], np.int64),
    "first": np.array([0], np.int64),
}
X = arrays(2, x=(60, 6))


def network(body: str, outputs: str, analog: tuple[str, ...] = (), **constants: Array) -> Any:
    """The model of x [N, 6], prepared; its analog operations are checked."""
    text = f"g (float[N,6] x) => ({outputs}) {{ {body} }}"
    used = {k: a for k, a in (CONSTANTS | constants).items() if k in body.replace(",", " ")}
    source = model(text, used, opset=20)
    assert tuple(entry["op"] for entry in check(source, spike_times=True).analog) == analog
    return sited(source)


def assert_converts(
    prepared: Any, feeds: dict[str, Array], error: float = 1e-3, neuron: TTFS = FINE
) -> Graph:
    """Its sites change nothing and fine ticks little; single spikes agree with their numbers."""
    wanted, placed = (Session(graph).run(feeds) for graph in (prepared.ann, prepared.sited))
    graph = spiking(prepared, feeds, neuron)
    found = Session(graph).run(feeds)
    for name, array in wanted.items():
        if array.dtype.kind != "f":
            assert found[name].shape == array.shape and np.mean(found[name] == array) > 0.97
            continue
        array, placed[name], found[name] = (
            np.maximum(a, -1e3) for a in (array, placed[name], found[name])
        )
        finite = np.isfinite(array)
        spread = np.abs(array[finite]).max()
        np.testing.assert_allclose(placed[name], array, rtol=1e-4, atol=1e-5 * spread)
        np.testing.assert_array_equal(found[name][~finite], array[~finite])
        np.testing.assert_allclose(found[name][finite], array[finite], atol=error * spread)
    return graph


def assert_simulates(prepared: Any, feeds: dict[str, Array]) -> None:
    """Events are counted, and single spikes agree with the numbers they stand for."""
    graph = spiking(prepared, feeds, TTFS(256))
    meter = SpikeTimeMeter(graph)
    values = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of).run(feeds)
    meter.update(values, len(feeds["x"]))
    run, wanted = simulate(graph, feeds), decoded(graph, feeds)
    for name, ticks in wanted.ticks.items():
        np.testing.assert_array_equal(run.ticks[name], ticks, err_msg=name)


def ops(graph: Graph, *types: str) -> list[Op]:
    return [n for n in graph.nodes if isinstance(n, Op) and n.op_type in types]


# --- windows -------------------------------------------------------------------------------------

LATE = "a = MatMul (x, w) b = Relu (a) c = MatMul (b, v) d = Relu (c)"


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (f"{LATE} l = ArgMax <axis = -1> (d) y = GatherElements <axis = 1> (b, l)", "float[N,1] y"),
        (
            "a = MatMul (x, w) l = ArgMax <axis = -1> (a) b = Relu (a) c = MatMul (b, v)"
            " y = GatherElements <axis = 1> (c, l)",
            "int64[N,1] l, float[N,1] y",
        ),
        (f"{LATE} t, i = TopK (b, two_of) u, j = TopK (d, two_of) y = Mul (t, u)", "float[N,2] y"),
        (f"{LATE} t, i = TopK (b, two_of) y = GatherElements <axis = 1> (d, i)", "float[N,2] y"),
        (
            f"{LATE} t, i = TopK (x, two_of) p = GatherElements <axis = 1> (b, i)"
            " q = GatherElements <axis = 1> (d, i) y = Add (p, q)",
            "float[N,2] y",
        ),
    ],
    ids=[
        *("late places", "early places, an output", "product of the largest"),
        *("places of another", "places in two windows"),
    ],
)
def test_what_fires_first_meets_other_windows(body: str, outputs: str) -> None:
    prepared = network(body, outputs)
    graph = assert_converts(prepared, X)
    assert len([n for n in graph.nodes if isinstance(n, Op) and n.op_type in MULTIPLIED]) == (
        "Mul (t" in body
    )
    assert_simulates(prepared, X)


def test_an_analog_output_is_read_in_a_later_window() -> None:
    body = f"{LATE} f = Floor (a) y = Add (d, f)"
    prepared = network(body, "float[N,6] f, float[N,6] y", ("Floor",))
    wanted = Session(prepared.ann).run(X)
    found = Session(spiking(prepared, X)).run(X)
    for name, array in wanted.items():
        assert np.mean(np.abs(found[name] - array) < 1e-2) > 0.99


def test_a_shape_needs_no_relay() -> None:
    body = f"{LATE} s = Shape (b) m = ReduceMean (d, last) e = Expand (m, s) y = Mul (e, d)"
    graph = assert_converts(network(body, "float[N,6] y"), X)
    assert all("relay" not in v for n in ops(graph, "Shape") for v in n.inputs)
    assert [n.attrs["windows"] for n in ops(graph, RELAY)] == [1]  # of d


# --- outputs and aliases -------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["y, float[N,6] a", "a, float[N,6] y"])
@pytest.mark.parametrize("body", ["a = MatMul (x, w)", "b = MatMul (x, w) a = Softmax (b)"])
def test_a_guard_against_nan_is_what_it_guards(order: str, body: str) -> None:
    body = f"{body} n = IsNaN (a) y = Where (n, zero, a)"
    assert_simulates(prepared := network(body, f"float[N,6] {order}"), X)
    assert_converts(prepared, X)


def test_nothing_that_neurons_compute_is_nan() -> None:
    body = "a = MatMul (x, w) y = IsNaN (a) n = Not (y) f = Cast <to = 1> (n) z = MatMul (f, v)"
    assert_converts(network(body, "bool[N,6] y, float[N,6] z"), X)


@pytest.mark.parametrize(
    "body",
    [
        "a = MatMul (x, w) b = MatMul (x, v) y = Max (h, g, a, b)",
        "a = MatMul (x, w) m = ReduceMean (a, first) n = ReduceMean (x, first) y = Min (m, n, a)",
        "s = MatMul (x, w) m = ReduceMean <keepdims = 0> (s, first)"
        " y = LayerNormalization (x, m, m)",
    ],
)
def test_operands_of_several_shapes(body: str) -> None:
    assert_simulates(prepared := network(body, "float[N,6] y"), X)
    assert_converts(prepared, X)


def test_a_scatter_that_multiplies_is_analog() -> None:
    rows, update = np.array([[1], [3]], np.int64), arrays(3, update=(2, 6))
    body = 'a = MatMul (x, w) y = ScatterND <reduction = "{}"> (a, rows, update)'
    for reduction, analog in (("add", ()), ("none", ()), ("mul", ("ScatterND",))):
        text = body.format(reduction)
        prepared = network(text, "float[N,6] y", analog, rows=rows, **update)
        assert_converts(prepared, X)


# --- masks ---------------------------------------------------------------------------------------

SCORES = "t = Transpose <perm = [0, 2, 1]> (x) s = MatMul (x, t) "
MASK = "u = Unsqueeze (mask, one_i) r = Cast <to = 1> (u) i = Sub (one, r) a = Mul (i, e4) "
MASKS = {
    k: np.array(n, np.float32)
    for k, n in (("one", 1), ("e4", -1e4), ("p4", 1e4), ("none", -np.inf), ("least", -3.4e38))
} | {
    "causal": np.triu(np.full((6, 6), -np.inf, np.float32), 1),
    "after": np.triu(np.full((6, 6), 1e5, np.float32), 1),
    "later": np.triu(np.ones((6, 6), bool), 1),
    "one_i": np.array([1], np.int64),
    "flat": np.array([-1, 36], np.int64),
    "square": np.array([-1, 6, 6], np.int64),
    "ramp": np.arange(36, dtype=np.float32).reshape(6, 6) * np.float32(0.1),
}
MASKINGS = {
    "subtracted": f"{MASK} b = Neg (a) m = Sub (s, b) y = Softmax (m)",
    "a constant subtracted": "m = Sub (s, after) y = Softmax (m)",
    "a positive number": f"{MASK} b = Sub (r, one) c = Mul (b, p4) m = Add (c, s) y = Softmax (m)",
    "scaled behind": f"{MASK} m = Add (s, a) n = Mul (m, half) y = Softmax (n)",
    "divided behind": f"{MASK} m = Add (s, a) n = Div (m, two) y = Softmax (n)",
    "two masks": f"{MASK} m = Add (s, a) n = Add (m, causal) y = Softmax (n)",
    "added and chosen": f"{MASK} m = Add (s, a) n = Where (later, none, m) y = Softmax (n)",
    "chosen and added": f"{MASK} n = Where (later, none, s) m = Add (n, a) y = Softmax (m)",
    "a bias behind": f"{MASK} m = Add (s, a) n = Add (m, ramp) y = Softmax (n)",
    "scores added behind": f"{MASK} m = Add (s, a) b = MatMul (s, ramp) n = Add (m, b)"
    " y = Softmax (n)",
    "the least number": f"{MASK} m = Add (s, a) n = Max (m, least) y = Softmax (n)",
    "layout between": f"{MASK} m = Add (s, a) n = Unsqueeze (m, one_i) p = Softmax (n)"
    " y = Squeeze (p, one_i)",
    "another axis": f"{MASK} m = Add (s, a) n = Transpose <perm = [0, 2, 1]> (m)"
    " y = Softmax <axis = 1> (n)",
    "scores an output": f"{MASK} q = Cast <to = 9> (u) y = Where (q, s, none) m = Softmax (y)"
    " z = ReduceSum (m, last)",
    "an output alone": f"{MASK} q = Cast <to = 9> (u) y = Where (q, s, none)",
    "logarithms": f"{MASK} m = Add (s, a) y = LogSoftmax (m)",
    "the largest": f"{MASK} q = Cast <to = 9> (u) m = Where (q, s, e4) y = ReduceMax (m, last)",
    "rows of masks": f"{MASK} v1 = Unsqueeze (mask, two_of) c = Cast <to = 1> (v1) e = Mul (c, r)"
    " b = Sub (one, e) f = Mul (b, e4) m = Add (s, f) p = Softmax (m) y = Mul (p, c)",
    "a guard": f"{MASK} m = Add (s, a) p = Softmax (m) n = IsNaN (p) y = Where (n, zero, p)",
}


@pytest.mark.parametrize("kind", ["int64", "float"])
@pytest.mark.parametrize("name", MASKINGS)
def test_masks_in_every_form(name: str, kind: str) -> None:
    """Neurons of masked positions are silent, wherever the mask comes from."""
    body = SCORES + MASKINGS[name]
    outputs = "float[N,6,M] y" + (", float[N,6,1] z" if " z =" in body else "")
    text = f"g (float[N,6,6] x, {kind}[N,6] mask) => ({outputs}) {{ {body} }}"
    constants = CONSTANTS | MASKS
    words = set(body.replace(",", " ").replace("(", " ").replace(")", " ").split())
    source = model(text, {k: constants[k] for k in words & {*constants}}, opset=20)
    assert not check(source, spike_times=True).analog
    mask = np.ones((12, 6), "float32" if kind == "float" else kind)
    mask[1::3, 4:] = mask[2::3, 2:] = 0
    prepared, feeds = sited(source), arrays(5, x=(12, 6, 6)) | {"mask": mask}
    graph = assert_converts(prepared, feeds, 3e-3)
    for op in ops(graph, SPIKE_TIME, GATED_SPIKE_TIME):
        assert op.attrs["low"] > -200  # type: ignore[operator]  # no range holds a mask


def test_a_large_addend_is_no_mask() -> None:
    large = np.array(-5000, np.float32)
    for body in (
        "a = MatMul (x, w) b = Add (a, large) y = Neg (b)",
        "a = MatMul (x, w) b = Add (a, large) y = Softmax (b)",
    ):
        prepared = network(body, "float[N,6] y", large=large)
        wanted, placed = (Session(graph).run(X)["y"] for graph in (prepared.ann, prepared.sited))
        np.testing.assert_allclose(placed, wanted, rtol=1e-3, atol=1e-6)
        assert not [site for site in prepared.sited.sites if len(site.inputs) > 1]


# --- functions that neurons perform --------------------------------------------------------------


POWERS = "e = Mul (x, two) a = Exp (e)"


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ("s = ReduceSum (a, last) y = Log (s)", 1e-3),
        ("y = ReduceLogSum (a, last)", 1e-3),
        ("s = ReduceSum (a, last) d = Sqrt (s) l = Log (d) y = Mul (l, two)", 0.02),
    ],
)
def test_neurons_tell_small_sums_apart_by_their_logarithm(body: str, most: float) -> None:
    """Sums from e^-6 to e^7: ticks of the sum itself would tell none of the small ones apart."""
    feeds = {"x": X["x"] + np.linspace(-4, 1, 60, dtype=np.float32)[:, None]}
    prepared = network(f"{POWERS} {body}", "float[N,1] y")
    assert_converts(prepared, feeds, most)
    assert_simulates(prepared, feeds)


# --- other precisions, and what is said of it ----------------------------------------------------


@pytest.mark.parametrize("kind", ["float16", "double"])
@pytest.mark.parametrize("inside", [False, True], ids=["throughout", "inside"])
def test_other_precisions(kind: str, inside: bool) -> None:
    """Neurons compute in float32; inputs and outputs keep their types, casts inside vanish."""
    dtype = np.dtype("float64" if kind == "double" else kind)
    to = {"float16": 10, "double": 11}[kind]
    body = "a = MatMul (u, w) m = Add (a, least) b = Softmax (m) c = Relu (a) v = Mul (b, c)"
    least = np.where(np.arange(6) % 2, np.finfo(dtype).min, 0).astype(dtype)
    weights = {"w": CONSTANTS["w"].astype(dtype), "least": least}
    enter, leave = (f"Cast <to = {to}>", "Cast <to = 1>") if inside else ("Identity", "Identity")
    ends = "float" if inside else kind
    body = f"u = {enter} (x) {body} y = {leave} (v)"
    text = f"g ({ends}[N,6] x) => ({ends}[N,6] y) {{ {body} }}"
    prepared = sited(model(text, weights, opset=20))
    feeds = {"x": X["x"].astype(np.float32 if inside else dtype)}
    wanted = Session(prepared.ann).run(feeds)["y"]
    found = Session(spiking(prepared, feeds)).run(feeds)["y"]
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, atol=5e-3)
    assert not (found[:, 1::2] > 0).any()


def test_numbers_made_of_decisions_are_analog_and_then_encoded() -> None:
    """What an ArgMax or a comparison gives is no integer input: arithmetic on it is listed, and a
    product with activations is one of spikes."""
    body = "a = MatMul (x, w) l = ArgMax <axis = -1> (a) f = Cast <to = 1> (l) b = Mul (f, half)"
    assert_converts(network(f"{body} y = Mul (a, b)", "float[N,6] y", ("Mul",)), X)
    body = "a = MatMul (x, w) q = Greater (a, zero) f = Cast <to = 1> (q) y = Mul (a, f)"
    prepared = network(body, "float[N,6] y", ("Greater",))
    (product,) = ops(spiking(prepared, X), *MULTIPLIED)
    assert product.outputs[0].startswith("y")


def test_what_a_mask_is_made_of_may_be_data_elsewhere() -> None:
    """Padding found in the data itself: the data is encoded all the same."""
    body = """r = ReduceMax (x, last) e = Equal (r, zero) f = Cast <to = 1> (e)
              a = Mul (f, e4) t = Transpose <perm = [0, 2, 1]> (a)
              u = Transpose <perm = [0, 2, 1]> (x) s = MatMul (x, u)
              m = Add (s, t) p = Softmax (m) y = MatMul (p, x)"""
    constants = {k: (CONSTANTS | MASKS)[k] for k in ("last", "zero", "e4")}
    source = model(f"g (float[N,5,6] x) => (float[N,5,6] y) {{ {body} }}", constants, opset=20)
    x = np.abs(arrays(6, x=(20, 5, 6))["x"])
    x[::2, 3:] = 0
    graph = assert_converts(sited(source), {"x": x}, 5e-3)
    assert all(op.attrs["low"] > -50 for op in ops(graph, SPIKE_TIME))  # type: ignore[operator]


def test_only_an_encoder_is_left_of_a_network() -> None:
    body = "l = ArgMax <axis = -1> (x) y = GatherElements <axis = 1> (x, l)"
    text = f"g (float[N,6] x) => (float[N,1] y) {{ {body} }}"
    network = compile_spike_times(model(text, opset=20), calibration=X)
    assert network.evaluate(X).cosine > 0.999


def test_an_einsum_that_multiplies_nothing_has_no_macs() -> None:
    body = 't = Transpose <perm = [1, 0]> (x) a = MatMul (t, x) y = Einsum <equation = "ii->i"> (a)'
    prepared = network(body, "float[6] y")
    assert_converts(prepared, X)


def test_what_the_reference_cannot_perform_is_refused() -> None:
    body = "a = Conv (x, w) y = MeanVarianceNormalization <axes = [0, 2, 3]> (a)"
    weights = arrays(7, w=(4, 3, 3, 3))
    text = f"g (float[N,3,8,8] x) => (float[N,4,6,6] y) {{ {body} }}"
    prepared, feeds = sited(model(text, weights, opset=20)), arrays(8, x=(4, 3, 8, 8))
    with pytest.raises(CompileError, match="float64"):
        simulate(spiking(prepared, feeds), feeds)


def test_events_of_what_is_enlarged() -> None:
    body = 'a = Conv (x, w) y = Resize <mode = "nearest"> (a, , scales)'
    weights = arrays(9, w=(4, 3, 3, 3)) | {"scales": np.array([1, 1, 2, 2], np.float32)}
    text = f"g (float[N,3,8,8] x) => (float[N,4,12,12] y) {{ {body} }}"
    prepared, feeds = sited(model(text, weights, opset=20)), arrays(10, x=(4, 3, 8, 8))
    assert_converts(prepared, feeds)
    assert_simulates(prepared, feeds)
