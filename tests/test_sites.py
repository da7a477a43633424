"""Sites, neurons and coverage: where a neuron goes, what it absorbs, and that every stage runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from snnc.calibrated import calibrate_sites, with_scale
from snnc.coverage import Coverage, coverage_of
from snnc.data import samples_of
from snnc.errors import CompileError
from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Coding, Neuron, Op
from snnc.ir.rate_neuron import rate_neuron
from snnc.neurons.sfn import SFN
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.normalize import Normalize
from snnc.passes.place_sites import PlaceSites, nothing_to_convert
from snnc.passes.softmax_max import SoftmaxMax
from snnc.passes.substitute import Substitute
from snnc.pipeline import run_passes
from snnc.random_data import random_feeds
from snnc.runtime import Session
from tests.onnx_models import EXAMPLES, arrays, assert_same_outputs, model, op_types, run_onnx

FINE = SFN(M=10)
"""1033 levels: with a step of a thousandth of the maximum, nothing saturates."""

FINE_SCALE = 1e-3


def sited(source: ModelProto, *, keep: tuple[str, ...] = (), encode_input: bool = False) -> Graph:
    return run_passes(load(source), (Normalize(), PlaceSites(keep, encode_input)))


def places(graph: Graph) -> list[tuple[str, str]]:
    """The value that each site encodes, and its role."""
    return [(site.inputs[0], site.role) for site in graph.sites]


def stages(
    source: ModelProto,
    feeds: Mapping[str, Array],
    *,
    keep: tuple[str, ...] = (),
    encode_input: bool = False,
    neuron: SFN = FINE,
    scale: float = FINE_SCALE,
) -> list[Graph]:
    """The graph after every pass, by the names of the stages."""
    graph = load(source)
    seen: list[Graph] = []

    def watch(name: str, after: Graph) -> None:
        seen.append(after)

    sited = run_passes(graph, (Normalize(), PlaceSites(keep, encode_input)), watch)
    network = calibrate_sites(graph, sited, samples_of(feeds, graph))
    with_scale(network.graph(0.0, watch), neuron, scale, watch=watch)
    return seen


def every_stage_runs(
    source: ModelProto,
    feeds: Mapping[str, Array],
    *,
    keep: tuple[str, ...] = (),
    encode_input: bool = False,
    tolerance: float = 1e-5,
    near: float = 0.01,
) -> Graph:
    """The spiking graph, once the stages before equal the ANN and it comes near to it."""
    wanted = run_onnx(source, feeds)
    *before, spiking = stages(source, feeds, keep=keep, encode_input=encode_input)
    assert [g.stage for g in before] == [
        Stage.ANN,
        Stage.SITED,
        Stage.CALIBRATED,
        Stage.THRESHOLDED,
        Stage.THRESHOLDED,
    ]
    for graph in before:
        assert_same_outputs(Session(graph, optimize=False).run(feeds), wanted, tolerance)
    found = Session(spiking).run(feeds)
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        if array.dtype.kind == "f":
            assert np.abs(found[name] - array).max() <= near * np.abs(array).max(), name
    assert spiking.stage == Stage.SPIKING
    assert len(spiking.neurons) == len(before[1].sites) > 0
    return spiking


def fates(graph: Graph) -> dict[str, tuple[str, str]]:
    """What becomes of each operation, by its first result (unnamed nodes: by type and place)."""
    return {entry.name: (entry.op, entry.fate) for entry in coverage_of(graph).entries}


def reasons(coverage: Coverage) -> dict[str, str]:
    return {entry["op"]: entry["why"] for entry in coverage.analog}


# --- One site a tensor --------------------------------------------------------------------------

W4 = arrays(0, w0=(4, 4), wq=(4, 4), wk=(4, 4), wv=(4, 4), b=(4,), narrow=(4, 3))
X = arrays(1, x=(5, 4))


def rows(
    body: str, weights: Mapping[str, Array] | None = None, out: str = "float[N,?] y"
) -> ModelProto:
    return model(f"g (float[N,4] x) => ({out}) {{ {body} }}", {**W4, **(weights or {})})


def test_one_site_serves_queries_keys_and_values() -> None:
    body = (
        "h = MatMul(x, w0) t = Tanh(h) q = MatMul(t, wq) k = MatMul(t, wk) v = Gemm(t, wv, b)"
        " a = Add(q, k) y = Add(a, v)"
    )
    graph = sited(rows(body))
    assert places(graph) == [("t", "activation")]
    (site,) = graph.sites
    assert [op.op_type for op in graph.readers[site.outputs[0]] if isinstance(op, Op)] == [
        "MatMul",
        "MatMul",
        "Gemm",
    ]
    spiking = every_stage_runs(rows(body), X)
    assert op_types(spiking).count("Neuron") == 1


def test_a_site_is_named_after_what_computes_its_value() -> None:
    source = rows("h = MatMul(x, w0) t = Tanh(h) y = MatMul(t, wq)")
    source.graph.node[1].name = "/act/Tanh"
    (site,) = sited(source).sites
    assert site.loc.names == ("/act/Tanh",)
    assert site.outputs == ("t.spikes",)


def test_names_of_sites_avoid_those_of_the_model() -> None:
    body = "t = Tanh(x) s = MatMul(t, w0) u = Neg(s) y = Add(u, s)"
    source = rows(body)
    for node in source.graph.node:
        for names in (node.input, node.output):
            names[:] = ["t.spikes" if name == "s" else name for name in names]
    (site,) = sited(source).sites
    assert site.outputs == ("t.spikes.1",)
    every_stage_runs(source, X)


# --- ReLU ---------------------------------------------------------------------------------------


def test_a_relu_read_by_sites_alone_becomes_part_of_the_neuron() -> None:
    body = "h = MatMul(x, w0) r = Relu(h) p = MatMul(r, wq) q = MatMul(r, wk) y = Add(p, q)"
    spiking = every_stage_runs(rows(body), X)
    assert op_types(spiking) == ["MatMul", "Neuron", "MatMul", "MatMul", "Add"]
    (neuron,) = spiking.neurons
    assert neuron.inputs[0] == "h"
    assert neuron.sides == "positive"


def test_a_residual_add_keeps_the_tensor_with_its_relu() -> None:
    body = "h = MatMul(x, w0) r = Relu(h) p = MatMul(r, wq) y = Add(p, r)"
    spiking = every_stage_runs(rows(body), X)
    assert op_types(spiking) == ["MatMul", "Relu", "Neuron", "MatMul", "Add"]
    assert spiking.neurons[0].inputs[0] == "h"
    assert spiking.nodes[-1].inputs == ("p", "r")


def test_a_relu_that_is_an_output_stays() -> None:
    body = "h = MatMul(x, w0) r = Relu(h) y = MatMul(r, wq)"
    spiking = every_stage_runs(rows(body, out="float[N,?] y, float[N,4] r"), X)
    assert "Relu" in op_types(spiking)


def test_pooling_between_relu_and_layer_keeps_both() -> None:
    source = model(
        "g (float[N,3,8,8] x) => (float[N,?,?,?] y) {"
        " h = Conv(x, a) r = Relu(h) p = MaxPool<kernel_shape = [2,2]>(r) y = Conv(p, c) }",
        arrays(2, a=(4, 3, 3, 3), c=(5, 4, 3, 3)),
    )
    spiking = every_stage_runs(source, arrays(3, x=(3, 3, 8, 8)))
    assert op_types(spiking) == ["Conv", "Relu", "MaxPool", "Neuron", "Conv"]
    assert spiking.neurons[0].sides == "positive"


LAYOUTS = {
    "flatten": "f = Flatten(r) y = MatMul(f, long)",
    "reshape": "f = Reshape(r, flat) y = MatMul(f, long)",
    "transpose": "t = Transpose<perm = [0,2,1]>(r) y = MatMul(t, square)",
    "several": (
        "t = Transpose<perm = [0,2,1]>(r) u = Unsqueeze(t, one) s = Squeeze(u, one)"
        " f = Flatten(s) y = MatMul(f, long)"
    ),
}
LONG: dict[str, Array] = {
    **arrays(4, w=(4, 5), long=(15, 3), square=(3, 3)),
    "flat": np.array([0, -1]),
    "one": np.array([1]),
}


def boxes(body: str, out: str = "float y") -> ModelProto:
    source = model(f"g (float[N,3,4] x) => ({out}) {{ h = MatMul(x, w) {body} }}", LONG)
    for output in source.graph.output:
        output.type.tensor_type.ClearField("shape")
    return source


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_relu_behind_layout_becomes_part_of_the_neuron(layout: str) -> None:
    spiking = every_stage_runs(boxes(f"r = Relu(h) {layout}"), arrays(5, x=(4, 3, 4)))
    assert "Relu" not in op_types(spiking)
    assert [n.sides for n in spiking.neurons] == ["positive"]


def test_a_relu_behind_layout_that_another_reads_stays() -> None:
    body = "r = Relu(h) f = Flatten(r) y = MatMul(f, long) z = Exp(f)"
    spiking = every_stage_runs(boxes(body, "float y, float z"), arrays(5, x=(4, 3, 4)))
    assert op_types(spiking) == ["MatMul", "Relu", "Flatten", "Neuron", "MatMul", "Exp"]


def test_a_relu_read_directly_and_behind_layout_serves_two_neurons() -> None:
    body = "r = Relu(h) f = Flatten(r) y = MatMul(f, long) z = MatMul(r, up)"
    weights = {**LONG, **arrays(6, up=(5, 2))}
    source = model(
        f"g (float[N,3,4] x) => (float[N,3] y, float[N,3,2] z) {{ h = MatMul(x, w) {body} }}",
        weights,
    )
    spiking = every_stage_runs(source, arrays(5, x=(4, 3, 4)))
    assert "Relu" not in op_types(spiking)
    assert len(spiking.neurons) == 2


def test_slicing_is_no_mere_layout() -> None:
    body = "r = Relu(h) s = Slice(r, first, last, one) f = Flatten(s) y = MatMul(f, ten)"
    source = model(
        f"g (float[N,3,4] x) => (float[N,3] y) {{ h = MatMul(x, w) {body} }}",
        {
            **LONG,
            **arrays(6, ten=(10, 3)),
            "first": np.array([0]),
            "last": np.array([2]),
        },
    )
    spiking = every_stage_runs(source, arrays(5, x=(4, 3, 4)))
    assert "Relu" in op_types(spiking)


IDENTITY = {"eye": np.eye(4, dtype=np.float32)}
"""Weights that hand the neuron's output on as it is."""


def clipped(body: str) -> ModelProto:
    weights = {
        **IDENTITY,
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
        "one": np.array(1, np.float32),
        "minus": np.array(-1, np.float32),
    }
    return rows(f"h = MatMul(x, eye) {body} y = MatMul(r, eye)", weights)


RAMP = {"x": np.linspace(-20, 20, 84, dtype=np.float32).reshape(-1, 4)}


LEVELS = ["M=4", "M=4:levels=sformer", "M=4:levels=linear", "M=4:levels=exponential"]


@pytest.mark.parametrize("levels", [*LEVELS, "levels=fitted:N=12:K=4:S=2"])
@pytest.mark.parametrize("rule", ["nearest", "eq11"])
def test_inputs_above_the_bound_of_a_relu6_fire_as_the_bound_does(levels: str, rule: str) -> None:
    neuron = rate_neuron(f"sfn:{levels}:rule={rule}")
    assert isinstance(neuron, SFN)
    *_, spiking = stages(clipped("r = Clip(h, zero, six)"), RAMP, neuron=neuron, scale=0.13)
    (only,) = spiking.neurons
    assert op_types(spiking) == ["MatMul", "Neuron", "MatMul"]
    assert isinstance(only.model, SFN)
    assert only.model.bound == 6
    step = float(spiking.consts[only.inputs[1]])
    found = Session(spiking).run(RAMP)["y"]
    wanted = neuron.step(np.clip(RAMP["x"], 0, 6), step, 0.0)
    np.testing.assert_array_equal(found, wanted)
    assert len(np.unique(found[RAMP["x"] > 6])) == 1


@pytest.mark.parametrize(
    ("body", "bound"),
    [("r = Relu(h)", np.inf), ("r = Clip(h, zero)", np.inf), ("r = Clip(h, zero, six)", 6.0)],
    ids=["relu", "clip from 0", "relu6"],
)
def test_rectifiers_that_a_neuron_absorbs(body: str, bound: float) -> None:
    spiking = every_stage_runs(clipped(body), RAMP)
    (neuron,) = spiking.neurons
    assert op_types(spiking) == ["MatMul", "Neuron", "MatMul"]
    assert neuron.model.parameters["bound"] == bound
    assert neuron.sides == "positive"


@pytest.mark.parametrize(
    "body",
    [
        "r = Clip(h, minus, one)",
        "r = Clip(h, , six)",
        "r = LeakyRelu(h)",
        "t = Tanh(h) u = Exp(t) r = Clip(h, zero, u)",
    ],
    ids=["clip from -1", "clip without a lower bound", "leaky relu", "computed bound"],
)
def test_rectifiers_that_stay(body: str) -> None:
    source = clipped(body)
    if "Exp" in body:  # a bound must be one number
        source = clipped("t = ReduceMax<keepdims = 0>(h) u = Abs(t) r = Clip(h, zero, u)")
    spiking = every_stage_runs(source, RAMP)
    assert {"Clip", "LeakyRelu"} & set(op_types(spiking))
    assert spiking.neurons[0].model.parameters["bound"] == np.inf


def test_the_neuron_in_place_of_a_relu_computes_the_sfn_of_the_relu() -> None:
    source = rows("h = MatMul(x, w0) r = Relu(h) y = MatMul(r, eye)", IDENTITY)
    neuron = SFN(M=3)
    *_, spiking = stages(source, X, neuron=neuron, scale=0.2)
    h = X["x"] @ W4["w0"]
    step = float(spiking.consts[spiking.neurons[0].inputs[1]])
    assert step == np.float32(0.2 * h.max())
    found = Session(spiking).run(X)["y"]
    np.testing.assert_array_equal(found, neuron.step(np.maximum(h, 0), step, 0.0))


# --- Branches -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "sides"),
    [
        ("t = Tanh(h)", "both"),
        ("t = Abs(h)", "positive"),
        ("u = Abs(h) t = Neg(u)", "negative"),
        ("t = Mul(h, zero)", "silent"),
    ],
    ids=["both", "positive", "negative", "silent"],
)
def test_a_branch_without_samples_is_dead(activation: str, sides: str) -> None:
    weights = {"zero": np.array(0, np.float32)}
    body = f"h = MatMul(x, w0) {activation} y = Gemm(t, wq, b)"
    (neuron,) = every_stage_runs(rows(body, weights), X).neurons
    assert neuron.sides == sides
    assert [bool(name) for name in neuron.inputs[1:]] == [
        sides in ("both", "positive"),
        sides in ("both", "negative"),
    ]


# --- Products of two activations and softmax ----------------------------------------------------

SEQUENCE = arrays(7, x=(2, 6, 4))
QKV = (
    "h = MatMul(x, w0) t = Tanh(h) q = MatMul(t, wq) k = MatMul(t, wk) v = MatMul(t, wv)"
    " kt = Transpose<perm = [0,2,1]>(k) "
)


def sequences(
    body: str,
    weights: Mapping[str, Array] | None = None,
    inputs: str = "",
    out: str = "float[N,T,?] y",
) -> ModelProto:
    everything = {
        **W4,
        **IDENTITY,
        "half": np.array(0.5, np.float32),
        "zero": np.array(0, np.float32),
        "zeros": np.zeros(6, np.float32),
        "numbers": np.arange(6, dtype=np.float32),
        "zeroth": np.array([0]),
        "first": np.array([1]),
        "most": np.array([100]),
        **(weights or {}),
    }
    return model(f"g (float[N,T,4] x{inputs}) => ({out}) {{ {QKV} {body} }}", everything)


def test_both_operands_of_a_product_of_activations_are_sites() -> None:
    source = sequences("y = MatMul(q, kt)", out="float[N,T,T] y")
    assert places(sited(source)) == [("t", "activation"), ("q", "product"), ("kt", "product")]
    spiking = every_stage_runs(source, SEQUENCE)
    (product,) = (n for n in spiking.nodes if n.outputs == ("y",))
    assert all(spiking.types[v].coding is Coding.SPIKE for v in product.inputs)


def test_a_product_of_a_value_with_itself_has_one_site() -> None:
    body = "h = MatMul(x, w0) t = Tanh(h) f = Softmax(t) y = MatMul(f, f)"
    source = model(f"g (float[4,4] x) => (float[4,4] y) {{ {body} }}", W4)
    assert len(sited(source).sites) == 1
    every_stage_runs(source, arrays(1, x=(4, 4)))


PROBABILITIES = {
    "softmax": "p = Softmax(s)",
    "where, masked": "a = Softmax(s) nan = IsNaN(a) p = Where(nan, zero, a)",
    "where, the other way": "a = Softmax(s) nan = IsNaN(a) not = Not(nan) p = Where(not, a, zero)",
    "cast": "c = Cast<to = 11>(s) a = Softmax(c) p = Cast<to = 1>(a)",
    "reshape": "a = Softmax(s) shape = Shape(a) p = Reshape(a, shape)",
    "dropout": "a = Softmax(s) p, mask = Dropout(a) m = Cast<to = 1>(mask) extra = Neg(m)",
    "expand": "a = Softmax(s) shape = Shape(a) p = Expand(a, shape)",
    "where, zeros": "a = Softmax(s) nan = IsNaN(a) p = Where(nan, zeros, a)",
    "where, expanded zero": (
        "a = Softmax(s) nan = IsNaN(a) size = Shape(a) none = Expand(zero, size)"
        " p = Where(nan, none, a)"
    ),
    "masked": "a = Softmax(s) above = Greater(s, zero) m = Cast<to = 1>(above) p = Mul(a, m)",
    "quantised": (
        "a = Softmax(s) step = ReduceMax<keepdims = 0>(a) i = QuantizeLinear(a, step)"
        " p = DequantizeLinear(i, step)"
    ),
    "sliced": "a = Softmax(s) p = Slice(a, zeroth, most, first)",
    "two guards": (
        "a = Softmax(s) nan = IsNaN(a) d = Where(nan, zero, a) c = Identity(d)"
        " inf = IsInf(c) p = Where(inf, zero, c)"
    ),
}


@pytest.mark.parametrize("probabilities", PROBABILITIES.values(), ids=PROBABILITIES)
def test_the_role_of_attention_probabilities(probabilities: str) -> None:
    source = sequences(f"z = MatMul(q, kt) s = Mul(z, half) {probabilities} y = MatMul(p, v)")
    roles = [role for _, role in places(sited(source))]
    assert roles == ["activation", "product", "product", "softmax", "product"]
    spiking = every_stage_runs(source, SEQUENCE)
    assert spiking.neurons[3].sides == "positive"


# q, k, v: [N, T, 4], whatever stands between the projections and the two products
FORMS = {
    "scaled queries": "a = Mul(q, half) s = MatMul(a, kt) p = Softmax(s)",
    "scaled keys": "a = Mul(kt, half) s = MatMul(q, a) p = Softmax(s)",
    "scaled on both sides": ("a = Mul(q, half) c = Mul(kt, half) s = MatMul(a, c) p = Softmax(s)"),
    "divided scores": "z = MatMul(q, kt) s = Div(z, half) p = Softmax(s)",
    "additive mask": "z = MatMul(q, kt) s = Add(z, bias) p = Softmax(s)",
    "masked scores": "z = MatMul(q, kt) s = Where(allowed, z, minus) p = Softmax(s)",
    "masked scores, the other way": (
        "z = MatMul(q, kt) n = Not(allowed) s = Where(n, minus, z) p = Softmax(s)"
    ),
    "causal mask by ranges": (
        "d = Shape(x) n = Gather(d, one) r = Range(naught, n, one) c = Unsqueeze(r, first)"
        " keep = LessOrEqual(r, c) z = MatMul(q, kt) s = Where(keep, z, minus) p = Softmax(s)"
    ),
    "causal mask by a triangle": (
        "d = Shape(x) n = Gather(d, one) u = Unsqueeze(n, zeroth) e = Concat<axis = 0>(u, u)"
        " f = Expand(minus, e) m = Trilu<upper = 1>(f, one) z = MatMul(q, kt) w = Where(allowed,"
        " zero, minus) s = Add(z, w) p = Softmax(s)"
    ),
    "rotated halves": (
        "a, o = Split<axis = 2>(q) n = Neg(o) r = Concat<axis = 2>(n, a) c = Mul(q, cos)"
        " e = Mul(r, sin) f = Add(c, e) s = MatMul(f, kt) p = Softmax(s)"
    ),
    "rotated neighbours": (
        "a = Slice(q, zeroth, most, two, two) o = Slice(q, first, most, two, two)"
        " c = Mul(a, cos2) d = Mul(o, sin2) e = Sub(c, d) f = Mul(o, cos2) g1 = Mul(a, sin2)"
        " h1 = Add(f, g1) i = Unsqueeze(e, last) j = Unsqueeze(h1, last)"
        " l = Concat<axis = -1>(i, j) m = Reshape(l, joined) s = MatMul(m, kt) p = Softmax(s)"
    ),
    "softmax written out": (
        "s = MatMul(q, kt) m = ReduceMax<axes = [2]>(s) z = Sub(s, m) e = Exp(z)"
        " u = ReduceSum(e, two) p = Div(e, u)"
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_attention_in_every_form_has_its_four_sites(form: str) -> None:
    weights: dict[str, Array] = {
        **arrays(9, cos=(6, 4), sin=(6, 4), cos2=(6, 2), sin2=(6, 2)),
        "bias": np.where(np.tri(6), 0, -np.inf).astype(np.float32),
        "allowed": np.tri(6, dtype=bool),
        "minus": np.array(-np.inf, np.float32),
        "naught": np.array(0),
        "one": np.array(1),
        "two": np.array([2]),
        "last": np.array([3]),
        "joined": np.array([0, 0, 4]),
    }
    source = sequences(f"{form} y = MatMul(p, v)", weights)
    graph = sited(source)
    assert sorted(role for _, role in places(graph)) == [
        "activation", "product", "product", "product", "softmax",
    ]  # fmt: skip
    assert coverage_of(graph, SEQUENCE).spiking_fraction == 1.0
    every_stage_runs(source, SEQUENCE)


def test_shared_keys_and_values_have_their_sites() -> None:
    """Grouped queries: two heads of queries read one head of keys and values, expanded."""
    text = (
        "g (float[N,T,4] x) => (float[N,T,4] y) { h = MatMul(x, w0) t = Tanh(h) q0 = MatMul(t, wq)"
        " k0 = MatMul(t, narrow) v0 = MatMul(t, narrow2) q1 = Reshape(q0, heads)"
        " q = Transpose<perm = [0,2,1,3]>(q1) k1 = Reshape(k0, shared)"
        " k2 = Transpose<perm = [0,2,3,1]>(k1) d = Shape(k2) e = Mul(d, twice) k = Expand(k2, e)"
        " v1 = Reshape(v0, shared) v2 = Transpose<perm = [0,2,1,3]>(v1) f = Shape(v2)"
        " g1 = Mul(f, twice) v = Expand(v2, g1) s = MatMul(q, k) p = Softmax(s) o = MatMul(p, v)"
        " o1 = Transpose<perm = [0,2,1,3]>(o) y = Reshape(o1, joined) }"
    )
    weights = {
        **W4,
        **arrays(9, narrow=(4, 2), narrow2=(4, 2)),
        "heads": np.array([0, 0, 2, 2]),
        "shared": np.array([0, 0, 1, 2]),
        "twice": np.array([1, 2, 1, 1]),
        "joined": np.array([0, 0, 4]),
    }
    source = model(text, weights)
    roles = sorted(role for _, role in places(sited(source)))
    assert roles == ["activation", "product", "product", "product", "softmax"]
    every_stage_runs(source, SEQUENCE)


NO_PROBABILITIES = {
    "sigmoid": "p = Sigmoid(s)",
    "scaled": "a = Softmax(s) p = Mul(a, half)",
    "log": "p = LogSoftmax(s)",
    "masked by numbers": "a = Softmax(s) n = Sigmoid(s) m = Cast<to = 1>(n) p = Mul(a, m)",
    "guard by numbers": "a = Softmax(s) nan = IsNaN(a) p = Where(nan, numbers, a)",
    "squared": "a = Softmax(s) p = Mul(a, a)",
    "guard by another number": "a = Softmax(s) nan = IsNaN(a) p = Where(nan, half, a)",
    "one of two": "a = Softmax(s) g = Sigmoid(s) nan = IsNaN(a) p = Where(nan, a, g)",
    "condition alone": "a = Softmax(s) c = Greater(a, half) p = Where(c, s, zero)",
}


@pytest.mark.parametrize("probabilities", NO_PROBABILITIES.values(), ids=NO_PROBABILITIES)
def test_what_is_no_softmax(probabilities: str) -> None:
    source = sequences(f"z = MatMul(q, kt) s = Mul(z, half) {probabilities} y = MatMul(p, v)")
    assert "softmax" not in [role for _, role in places(sited(source))]


def test_a_softmax_before_constant_weights_is_an_activation() -> None:
    body = "h = MatMul(x, w0) p = Softmax(h) y = MatMul(p, wq)"
    assert places(sited(rows(body))) == [("p", "activation")]


def test_the_threshold_of_a_softmax_site_has_no_lambda() -> None:
    source = sequences("z = MatMul(q, kt) p = Softmax(z) y = MatMul(p, v)")
    steps = []
    for scale in (0.1, 0.9):
        *_, thresholded, _ = stages(source, SEQUENCE, neuron=SFN(), scale=scale)
        (site,) = (s for s in thresholded.sites if s.role == "softmax")
        assert site.statistics is not None
        assert site.step == (float(np.float32(site.statistics.maximum / SFN().top)), 0.0)
        steps.append(site.step)
    assert steps[0] == steps[1]


@pytest.mark.parametrize("opset", [23, 24])
def test_the_attention_operation_has_its_four_sites(opset: int) -> None:
    text = (
        "g (float[2,3,6,4] x) => (float[2,3,6,4] y) { h = MatMul(x, w0) t = Tanh(h)"
        " q = MatMul(t, wq) k = MatMul(t, wk) v = MatMul(t, wv) y = Attention(q, k, v) }"
    )
    source = model(text, W4, opset=opset, ir_version=10)
    feeds = arrays(8, x=(2, 3, 6, 4))
    roles = [role for _, role in places(sited(source))]
    assert roles == ["activation", "product", "product", "softmax", "product"]
    graph = load(source)
    *before, spiking = stages(source, feeds)
    wanted = Session(graph, optimize=False).run(feeds)
    for form in before:
        assert_same_outputs(Session(form, optimize=False).run(feeds), wanted)
    found = Session(spiking).run(feeds)
    assert np.abs(found["y"] - wanted["y"]).max() < 0.01 * np.abs(wanted["y"]).max()


# --- Kinds of layers ----------------------------------------------------------------------------

IMAGES = arrays(9, x=(3, 4, 8, 8))
CONVOLUTIONS = {
    "plain": ("Conv<pads = [1,1,1,1]>(t, w)", (5, 4, 3, 3)),
    "strided, with bias": ("Conv<strides = [2,2], pads = [0,1,1,0]>(t, w, b5)", (5, 4, 3, 3)),
    "grouped": ("Conv<group = 2>(t, w)", (6, 2, 3, 3)),
    "depthwise": ("Conv<group = 4>(t, w)", (4, 1, 3, 3)),
    "dilated": ("Conv<dilations = [2,3]>(t, w)", (5, 4, 2, 2)),
    "transposed": ("ConvTranspose<strides = [2,2]>(t, w)", (4, 5, 2, 2)),
    "transposed, grouped": ("ConvTranspose<group = 2>(t, w)", (4, 3, 3, 3)),
    "same": ('Conv<auto_pad = "SAME_UPPER">(t, w)', (5, 4, 3, 3)),
}


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_read_spikes(layer: str, shape: tuple[int, ...]) -> None:
    source = model(
        "g (float[N,4,8,8] x) => (float[N,?,?,?] y)"
        f" {{ h = Conv(x, first) t = Tanh(h) y = {layer} }}",
        arrays(10, first=(4, 4, 1, 1), w=shape, b5=(5,)),
    )
    assert places(sited(source)) == [("t", "activation")]
    spiking = every_stage_runs(source, IMAGES)
    assert fates(sited(source))[spiking.nodes[-1].loc.names[0]][1] == "spiking"


def test_one_dimensional_convolutions_read_spikes() -> None:
    source = model(
        "g (float[N,4,9] x) => (float[N,?,?] y)"
        " { h = Conv(x, first) t = Tanh(h) y = Conv<dilations = [2], group = 2>(t, w) }",
        arrays(10, first=(4, 4, 1), w=(6, 2, 3)),
    )
    every_stage_runs(source, arrays(11, x=(3, 4, 9)))


def test_a_convolution_with_computed_weights_is_a_product() -> None:
    source = model(
        "g (float[N,4,8,8] x, float[5,4,3,3] k) => (float[N,?,?,?] y)"
        " { a = Tanh(x) c = Tanh(k) y = Conv(a, c) }"
    )
    assert places(sited(source)) == [("a", "product"), ("c", "product")]
    feeds = {**arrays(9, x=(5, 4, 8, 8)), **arrays(12, k=(5, 4, 3, 3))}
    every_stage_runs(source, feeds)


GEMMS = {
    "plain": "y = Gemm(a, c)",
    "transposed": "y = Gemm<transA = 1, transB = 1, alpha = 0.5>(a, c)",
    "with a third activation": "d = Tanh(a) y = Gemm<beta = 2.0>(a, c, d)",
}


@pytest.mark.parametrize("body", GEMMS.values(), ids=GEMMS)
def test_a_gemm_of_two_activations(body: str) -> None:
    source = model(
        f"g (float[4,4] x, float[4,4] u) => (float[4,4] y) {{ a = Tanh(x) c = Tanh(u) {body} }}"
    )
    assert places(sited(source)) == [("a", "product"), ("c", "product")]
    every_stage_runs(source, arrays(13, x=(4, 4), u=(4, 4)))


EINSUMS = {
    "constant weights": ('y = Einsum<equation = "bij,jk->bik">(t, wq)', ["activation"]),
    "constant on the left": ('y = Einsum<equation = "jk,bij->bik">(wq, t)', ["activation"]),
    "two activations": ('y = Einsum<equation = "bij,bkj->bik">(t, u)', ["product", "product"]),
    "ellipsis": ('y = Einsum<equation = "...ij,jk->...ik">(t, wq)', ["activation"]),
    "three operands": (
        'y = Einsum<equation = "bij,jk,bik->bik">(t, wq, u)',
        ["product", "product"],
    ),
}


@pytest.mark.parametrize(("layer", "roles"), EINSUMS.values(), ids=EINSUMS)
def test_einsum(layer: str, roles: list[str]) -> None:
    body = f"h = MatMul(x, w0) t = Tanh(h) u = Sin(h) {layer}"
    source = model(f"g (float[2,4,4] x) => (float[2,4,4] y) {{ {body} }}", W4)
    assert [role for _, role in places(sited(source))] == roles
    every_stage_runs(source, arrays(14, x=(2, 4, 4)))


# --- Direct-coded layers ------------------------------------------------------------------------

RAW = {
    "at once": "r = Identity(x)",
    "transposed": "a = Transpose<perm = [0,1,3,2]>(x) r = Transpose<perm = [0,1,3,2]>(a)",
    "padded": "r = Pad(x, pads)",
    "scaled": "a = Mul(x, scale) r = Sub(a, shift)",
    "divided": "a = Sub(x, shift) r = Div(a, scale)",
    "subtracted from": "r = Sub(shift, x)",
    "batch norm": "r = BatchNormalization(x, gamma, beta, mean, var)",
    "reshaped": "a = Reshape(x, flat) r = Reshape(a, square)",
    "sliced": "r = Slice(x, first, last, spatial)",
    "gathered": "r = Gather<axis = 1>(x, order)",
    "concatenated": (
        "a = Mul(x, scale) c = Concat<axis = 1>(a, x) r = Slice(c, zero0, four, one1)"
    ),
}
NOT_RAW = {
    "relu": "r = Relu(x)",
    "divisor": "r = Div(shift, x)",
    "square": "r = Mul(x, x)",
    "residual": "a = Tanh(x) r = Add(x, a)",
    "pooled": "r = AveragePool<kernel_shape = [1,1]>(x)",
    "normalised": "r = LpNormalization<axis = 1>(x)",
}
RAW_WEIGHTS: dict[str, Array] = {
    **arrays(
        15, w=(5, 4, 3, 3), gamma=(4,), beta=(4,), mean=(4,), shift=(1, 4, 1, 1), v=(2, 5, 1, 1)
    ),
    "var": np.array([0.5, 1, 2, 3], np.float32),
    "scale": np.array([0.5, 2, 1, 3], np.float32).reshape(4, 1, 1),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "flat": np.array([0, -1]),
    "square": np.array([0, 4, 8, 8]),
    "first": np.array([1, 1]),
    "last": np.array([8, 7]),
    "spatial": np.array([2, 3]),
    "order": np.array([3, 1, 0, 2]),
    "zero0": np.array([0]),
    "four": np.array([4]),
    "one1": np.array([1]),
}


def raw_model(body: str) -> ModelProto:
    layers = "h = Conv(r, w) t = Tanh(h) y = Conv(t, v)"
    return model(f"g (float[N,4,8,8] x) => (float[N,?,?,?] y) {{ {body} {layers} }}", RAW_WEIGHTS)


@pytest.mark.parametrize("body", RAW.values(), ids=RAW)
def test_layers_that_read_the_raw_input_are_direct_coded(body: str) -> None:
    source = raw_model(body)
    graph = sited(source)
    assert places(graph) == [("t", "activation")]
    every_stage_runs(source, IMAGES)
    coverage = coverage_of(graph)
    assert len(coverage.names("direct-coded")) == 1
    assert 0 < (coverage.direct_coded_fraction or 0.0) < 1
    assert coverage.spiking_fraction == 1.0


@pytest.mark.parametrize("body", RAW.values(), ids=RAW)
def test_encode_input_gives_them_a_neuron(body: str) -> None:
    source = raw_model(body)
    graph = sited(source, encode_input=True)
    assert [role for _, role in places(graph)] == ["activation", "activation"]
    every_stage_runs(source, IMAGES, encode_input=True)


@pytest.mark.parametrize("body", NOT_RAW.values(), ids=NOT_RAW)
def test_layers_behind_anything_else_read_spikes(body: str) -> None:
    source = raw_model(body)
    assert len(sited(source).sites) == 2
    every_stage_runs(source, {"x": np.abs(IMAGES["x"]) + 0.5}, near=0.02)


def test_a_product_of_raw_inputs_is_no_direct_coded_layer() -> None:
    source = model("g (float[4,4] x, float[4,4] u) => (float[4,4] y) { y = MatMul(x, u) }")
    assert places(sited(source)) == [("x", "product"), ("u", "product")]


def test_an_encoded_input_is_named_after_the_input() -> None:
    graph = sited(rows("y = MatMul(x, w0)"), encode_input=True)
    assert graph.sites[0].loc.names == ("x",)


def test_embedded_integers_are_no_raw_input() -> None:
    source = model(
        "g (int64[N,T] ids) => (float[N,T,3] y) { e = Gather(table, ids) y = MatMul(e, narrow) }",
        {**W4, **arrays(16, table=(7, 4))},
    )
    assert places(sited(source)) == [("e", "activation")]
    every_stage_runs(source, {"ids": np.array([[0, 3, 6], [1, 1, 2]])})


def test_integer_and_float_inputs_together() -> None:
    source = model(
        "g (int64[N] ids, float[N,4] x) => (float[N,3] y) {"
        " e = Gather(table, ids) c = Concat<axis = 1>(e, x) h = MatMul(c, wide)"
        " k = MatMul(x, narrow) y = Add(h, k) }",
        {**W4, **arrays(16, table=(7, 4), wide=(8, 3))},
    )
    graph = sited(source)
    assert places(graph) == [("c", "activation")]
    feeds = {"ids": np.array([0, 3, 6]), **arrays(17, x=(3, 4))}
    every_stage_runs(source, feeds)


def test_products_of_integers_stay() -> None:
    source = model(
        "g (int64[N,2] ids) => (float[N,3] y) {"
        " m = MatMul(ids, mix) e = Cast<to = 1>(m) s = Sin(e) y = MatMul(s, narrow) }",
        {**W4, "mix": np.arange(8).reshape(2, 4)},
    )
    assert places(sited(source)) == [("s", "activation")]
    every_stage_runs(source, {"ids": np.array([[0, 3], [1, 2]])})


# --- Keep ---------------------------------------------------------------------------------------


def three_layers() -> ModelProto:
    source = rows("h = MatMul(x, w0) t = Tanh(h) k = MatMul(t, wq) u = Tanh(k) y = MatMul(u, wk)")
    names = ("/0/Linear", "/0/act", "/1/Linear", "/1/act", "/head[0]")
    for node, name in zip(source.graph.node, names, strict=True):
        node.name = name
    return source


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ((), ["t", "u"]),
        (("/1/Linear",), ["u"]),
        (("/1/*",), ["u"]),
        (("/head*",), ["t"]),
        (("/head[0]",), ["t"]),
        (("*Linear", "/0/*"), ["u"]),
    ],
)
def test_kept_nodes_read_no_spikes(keep: tuple[str, ...], expected: list[str]) -> None:
    source = three_layers()
    assert [value for value, _ in places(sited(source, keep=keep))] == expected
    every_stage_runs(source, X, keep=keep)


def test_a_kept_reader_of_a_shared_tensor_keeps_the_tensor() -> None:
    source = rows("h = MatMul(x, w0) r = Relu(h) p = MatMul(r, wq) q = MatMul(r, wk) y = Add(p, q)")
    source.graph.node[2].name = "kept"
    spiking = every_stage_runs(source, X, keep=("kept",))
    assert op_types(spiking) == ["MatMul", "Relu", "MatMul", "Neuron", "MatMul", "Add"]
    coverage = coverage_of(sited(source, keep=("kept",)))
    assert {"op": "MatMul", "name": "kept", "why": "kept analog as asked"} in coverage.analog
    assert coverage.spiking_fraction == 0.5


def test_a_pattern_that_matches_nothing() -> None:
    with pytest.raises(CompileError) as caught:
        sited(three_layers(), keep=("/1/Liner",))
    assert caught.value.render() == (
        "error: unknown node in --keep '/1/Liner'; did you mean '/1/Linear'?\n"
        "  in pass place-sites\n"
        "  help: node names: snnc inspect MODEL"
    )


def test_a_pattern_that_matches_nothing_with_weights() -> None:
    with pytest.raises(CompileError) as caught:
        sited(three_layers(), keep=("*act",))
    assert caught.value.message == "--keep '*act' matches no operation that multiplies"
    assert caught.value.help


READS_RAW = "layers that read the raw input are direct-coded; --encode-input encodes it"
KNOWS_NONE = "snnc converts MatMul, Gemm, Conv, ConvTranspose and Einsum that are not kept"


@pytest.mark.parametrize(
    ("body", "keep", "help"),
    [
        ("y = MatMul(x, w0)", (), READS_RAW),
        ("y = Relu(x)", (), KNOWS_NONE),
        ("h = MatMul(x, w0) t = Tanh(h) y = MatMul(t, wq)", ("*",), KNOWS_NONE),
    ],
    ids=["direct-coded alone", "no weights", "all kept"],
)
def test_nothing_to_convert(body: str, keep: tuple[str, ...], help: str) -> None:
    error = nothing_to_convert(sited(rows(body), keep=keep), keep)
    assert error is not None
    assert error.render() == (
        "error: there is nothing to convert: no layer with weights computes on an activation\n"
        f"  in pass place-sites\n  help: {help}"
    )


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "an infinity")])
def test_weights_that_are_not_finite_are_refused(value: float, what: str) -> None:
    bad = W4["wq"].copy()
    bad[1, 2] = value
    with pytest.raises(CompileError) as caught:
        sited(rows("t = Tanh(x) y = MatMul(t, wq)", {"wq": bad}))
    assert caught.value.message == f"%wq holds {what}"
    assert caught.value.at == "node 'MatMul#1' (MatMul)"


def test_a_mask_may_hold_infinities() -> None:
    mask = np.where(np.eye(4) > 0, 0, -np.inf).astype(np.float32)
    source = model(
        "g (float[4,4] x) => (float[4,4] y)"
        " { h = MatMul(x, w0) m = Add(h, mask) p = Softmax(m) y = MatMul(p, wq) }",
        {**W4, "mask": mask},
    )
    every_stage_runs(source, arrays(1, x=(4, 4)))


# --- Coverage -----------------------------------------------------------------------------------


def test_what_stays_analog_is_listed_with_a_reason() -> None:
    body = (
        "h = MatMul(x, w0) g = Sigmoid(h) m = Mul(h, g) n = LayerNormalization(m, scale)"
        " k = MatMul(n, wq) e = Mul(k, scale) s = Softmax(e) a = Add(s, k) r = Relu(a)"
        " z = ReduceMean<axes = [1]>(r) y = Add(r, z)"
    )
    graph = sited(rows(body, arrays(18, scale=(4,))))
    assert reasons(coverage_of(graph)) == {
        "ai.snnc.Silu": "activation function",
        "LayerNormalization": "normalisation over real activations",
        "Mul": "elementwise product: no neuron on gates",
        "Softmax": "softmax",
        "Add": "sum of real activations",
        "Relu": "activation function not directly before a neuron",
        "ReduceMean": "reduction over real activations",
    }


def test_squeeze_and_excite_stays_analog_but_for_its_layers() -> None:
    source = model(
        "g (float[N,4,8,8] x) => (float[N,5,?,?] y) {"
        " h = Conv(x, first) p = GlobalAveragePool(h) q = Conv(p, down) r = Relu(q)"
        " s = Conv(r, up) gate = Sigmoid(s) m = Mul(h, gate) y = Conv(m, last) }",
        arrays(19, first=(4, 4, 3, 3), down=(2, 4, 1, 1), up=(4, 2, 1, 1), last=(5, 4, 1, 1)),
    )
    graph = sited(source)
    assert [value for value, _ in places(graph)] == ["p", "r", "m"]
    assert reasons(coverage_of(graph)) == {
        "GlobalAveragePool": "pooling over real activations",
        "Sigmoid": "activation function",
        "Mul": "elementwise product: no neuron on gates",
    }
    spiking = every_stage_runs(source, IMAGES)
    (product,) = (n for n in spiking.nodes if isinstance(n, Op) and n.op_type == "Mul")
    assert all(spiking.types[v].coding is Coding.REAL for v in product.inputs)


def test_layout_is_never_listed() -> None:
    body = "r = Relu(h) f = Flatten(r) y = MatMul(f, long)"
    coverage = coverage_of(sited(boxes(body)))
    assert coverage.analog == []
    assert coverage.names("layout") == ["Flatten#2"]
    assert coverage.names("direct-coded") == ["MatMul#0"]
    assert coverage.names("spiking") == ["Relu#1", "MatMul#3"]


def recurrent(body: str) -> Graph:
    text = f"g (float[3,N,4] x) => (float[3,N,2] y) {{ {body} }}"
    weights = arrays(20, W=(1, 20, 4), R=(1, 20, 5), out=(5, 2))
    return sited(model(text, {**weights, "one": np.array([1])}))


def test_recurrent_layers_stay_analog() -> None:
    graph = recurrent(
        "t = Tanh(x) a = LSTM<hidden_size = 5>(t, W, R) s = Squeeze(a, one) y = MatMul(s, out)"
    )
    assert [value for value, _ in places(graph)] == ["s"]
    coverage = coverage_of(graph)
    assert reasons(coverage) == {
        "Tanh": "activation function",
        "LSTM": "recurrent operator: its weights stay real",
    }
    assert 0 < (coverage.spiking_fraction or 0.0) < 1


def test_recurrent_layers_on_the_raw_input_stay_analog() -> None:
    graph = recurrent("a = LSTM<hidden_size = 5>(x, W, R) s = Squeeze(a, one) y = MatMul(s, out)")
    assert reasons(coverage_of(graph)) == {"LSTM": "recurrent operator: its weights stay real"}


# --- Other float types --------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "dtype"), [("double", np.float64), ("float16", np.float16)])
def test_networks_of_other_float_types(text: str, dtype: type) -> None:
    body = "h = MatMul(x, w0) r = Relu(h) k = MatMul(r, wq) t = Tanh(k) y = MatMul(t, wk)"
    weights: dict[str, Array] = {name: array.astype(dtype) for name, array in W4.items()}
    source = model(f"g ({text}[N,4] x) => ({text}[N,4] y) {{ {body} }}", weights)
    feeds: dict[str, Array] = {"x": X["x"].astype(dtype)}
    half = dtype is np.float16
    spiking = every_stage_runs(source, feeds, tolerance=2e-2 if half else 1e-9, near=0.02)
    assert op_types(spiking) == [
        "MatMul",
        *("Cast", "Neuron", "Cast", "MatMul", "Tanh"),
        *("Cast", "Neuron", "Cast", "MatMul"),
    ]
    for neuron in spiking.neurons:
        assert spiking.types[neuron.inputs[0]].dtype == "float32"
        (cast,) = spiking.readers[neuron.outputs[0]]
        assert spiking.types[cast.outputs[0]].dtype == np.dtype(dtype).name
        assert spiking.types[cast.outputs[0]].coding is Coding.SPIKE


# --- Whole networks -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_stage_of_the_examples_runs(path: Path) -> None:
    graph = load(path)
    feeds = random_feeds(graph, 8, 6)
    wanted = Session(graph, optimize=False).run(feeds)
    steps: list[Callable[[Graph], Graph]] = [
        Normalize(),
        PlaceSites(),
        lambda sited: calibrate_sites(graph, sited, samples_of(feeds, graph)).graph(),
        AssignThresholds(SFN(), 0.1),
        SoftmaxMax(SFN()),
    ]
    for step in steps:
        graph = step(graph)
        found = Session(graph, optimize=False).run(feeds)
        assert_same_outputs(found, wanted, 1e-3)
    spiking = Substitute(SFN())(graph)
    assert all(isinstance(spiking.producer[s.outputs[0]], Neuron) for s in graph.sites)
    assert list(Session(spiking).run(feeds)) == list(wanted)


def test_a_small_transformer_comes_near_its_ann() -> None:
    text = (
        "g (float[N,6,4] x) => (float[N,6,3] y) {"
        " e = MatMul(x, w0) n = LayerNormalization(e, scale)"
        " q = MatMul(n, wq) k = MatMul(n, wk) v = MatMul(n, wv)"
        " kt = Transpose<perm = [0,2,1]>(k) z = MatMul(q, kt) s = Mul(z, half) p = Softmax(s)"
        " c = MatMul(p, v) o = MatMul(c, wo) a = Add(e, o) m = LayerNormalization(a, scale)"
        " u = MatMul(m, up) g1 = Gelu(u) d = MatMul(g1, down) f = Add(a, d) y = MatMul(f, narrow) }"
    )
    weights = {
        **W4,
        **arrays(21, wo=(4, 4), up=(4, 8), down=(8, 4)),
        "scale": np.ones(4, np.float32),
        "half": np.array(0.5, np.float32),
    }
    source = model(text, weights, opset=20, ir_version=10)
    spiking = every_stage_runs(source, SEQUENCE, near=0.02)
    assert [n.loc.names[0] for n in spiking.neurons] == [
        "LayerNormalization#1",
        "MatMul#2",
        "Transpose#5",
        "Softmax#8",
        "MatMul#4",
        "MatMul#9",
        "LayerNormalization#12",
        "Gelu#14",
        "Add#16",
    ]


# --- What reaches a value -----------------------------------------------------------------------


def test_what_does_not_depend_on_the_data_has_no_neuron() -> None:
    """Rotary angles as a product of positions and frequencies; learned queries keep theirs."""
    source = model(
        """g (float[N,4] x) => (float[N,4] y) {
        h = MatMul(x, w0) s = Shape(h) n = Gather(s, zero) r = Range(zero, n, one)
        f = Cast<to = 1>(r) p = Unsqueeze(f, last) a = MatMul(p, w1) c = Cos(a)
        m = Mul(h, c) y = MatMul(m, w2) }""",
        {
            **arrays(0, w0=(4, 4), w1=(1, 4), w2=(4, 4)),
            "zero": np.array(0),
            "one": np.array(1),
            "last": np.array([-1]),
        },
    )
    graph = sited(source)
    assert places(graph) == [("m", "activation")]
    fates = {e.name: (e.fate, e.why) for e in coverage_of(graph).entries}
    assert fates["MatMul#6"] == ("analog", "the same for all data: nothing to encode")
    assert fates["Cos#7"] == ("layout", "")


def test_integers_retyped_are_raw_but_not_one_hot() -> None:
    source = model(
        """g (int64[N,4] i) => (float[N,4] y, float[N,4,3] z) {
        f = Cast<to = 1>(i) h = MatMul(f, w0) t = Tanh(h) y = MatMul(t, w1)
        o = OneHot(i, depth, values) z = MatMul(o, w2) }""",
        {
            **arrays(0, w0=(4, 4), w1=(4, 4), w2=(5, 3)),
            "depth": np.array(5),
            "values": np.array([0, 1], np.float32),
        },
    )
    assert {value for value, _ in places(sited(source))} == {"t", "o"}


def test_interpolation_keeps_an_image_raw() -> None:
    source = model(
        """g (float[N,3,8,8] x) => (y) { r = Resize<mode = "linear">(x, none, scales)
        c = Conv(r, w0) t = Tanh(c) y = Conv(t, w1) }""",
        {
            **arrays(0, w0=(4, 3, 3, 3), w1=(2, 4, 3, 3)),
            "none": np.zeros(0, np.float32),
            "scales": np.array([1, 1, 2, 2], np.float32),
        },
    )
    assert [value for value, _ in places(sited(source))] == ["t"]


def test_an_operand_that_does_not_depend_on_the_data_has_no_neuron() -> None:
    source = model(
        """g (float[N,4] x) => (y) { h = MatMul(x, w0) r = Relu(h) s = Shape(h)
        t = Slice(s, zero, one) f = Cast<to = 1>(t) u = Expand(f, four) k = Unsqueeze(u, zero)
        p = Transpose(k) y = MatMul(r, p) }""",
        {
            **arrays(0, w0=(4, 4)),
            "zero": np.array([0]),
            "one": np.array([1]),
            "four": np.array([4]),
        },
    )
    assert places(sited(source)) == [("r", "activation")]
