"""Lowering to operations on spike counts, and raising: the same network in both forms."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

import snnc
from snnc.backends.lowering import lower
from snnc.backends.lowering.batches import name_batches
from snnc.backends.lowering.hoist import hoist_neurons
from snnc.backends.lowering.rectifiers import share_rectifiers
from snnc.backends.onnx_model import save_onnx
from snnc.data import samples_of
from snnc.errors import CompileError
from snnc.evaluation import measure
from snnc.frontend import load
from snnc.ir.composed import Composed, composed
from snnc.ir.graph import DOMAIN, Graph, Replacement
from snnc.ir.node import Activity, Array, Neuron, Node, Op
from snnc.ir.ops import PERMUTING
from snnc.ir.verify import verify
from snnc.neurons.sfn import SFN
from snnc.runtime import Session
from snnc.sites import pair
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model

Feeds = Mapping[str, Array]

ATTENTION = """
g (float[N,5,8] x) => (float[N,5,8] y) {
  q_flat = MatMul (x, wq)
  k_flat = MatMul (x, wk)
  v_flat = MatMul (x, wv)
  q_bias = Add (q_flat, b)
  k_bias = Add (b, k_flat)
  q_heads = Reshape (q_bias, heads)
  k_heads = Reshape (k_bias, heads)
  v_heads = Reshape (v_flat, heads)
  q = Transpose <perm = [0, 2, 1, 3]> (q_heads)
  k_rows = Transpose <perm = [0, 2, 1, 3]> (k_heads)
  k = Transpose <perm = [0, 1, 3, 2]> (k_rows)
  v = Transpose <perm = [0, 2, 1, 3]> (v_heads)
  products = MatMul (q, k)
  scores = Div (products, root)
  p = Softmax <axis = -1> (scores)
  mixed = MatMul (p, v)
  rows = Transpose <perm = [0, 2, 1, 3]> (mixed)
  joined = Reshape (rows, flat)
  projected = MatMul (joined, wo)
  projected_bias = Add (projected, b)
  residual = Add (x, projected_bias)
  hidden = MatMul (residual, wm)
  hidden_bias = Add (hidden, bm)
  active = Gelu (hidden_bias)
  y0 = MatMul (active, wn)
  y = Add (y0, residual)
}"""

CONVOLUTIONS = """
g (float[N,3,9,9] x) => (float[N,6] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
  ra = Relu (a)
  c = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (ra, w2, b1)
  d = Conv <kernel_shape = [1, 1], strides = [2, 2]> (ra, w3)
  sum = Add (c, d)
  rs = Relu (sum)
  e = Conv <group = 2, pads = [0, 1, 1, 0]> (rs, w4)
  re = Clip (e, zero, six)
  f = Flatten (re)
  h = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (f, w5, b5)
  rh = Relu (h)
  y = Gemm (rh, w6)
}"""


RESIDUAL = """
g (float[N,3,8,8] x) => (float[N,4] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b)
  ra = Relu (a)
  c = Conv <pads = [1, 1, 1, 1]> (ra, w2)
  rc = Relu (c)
  d = Conv <pads = [1, 1, 1, 1]> (rc, w3, b)
  s = Add (d, ra)
  e = Conv (s, w4)
  re = Relu (e)
  f = Conv (re, w5, b)
  t = Add (s, f)
  rt = Relu (t)
  h = Conv (rt, w6)
  rh = Relu (h)
  i = Conv (rh, w7)
  u = Add (i, rt)
  p = GlobalAveragePool (u)
  q = Flatten (p)
  y = Gemm (q, w8)
}"""


def attention() -> tuple[ModelProto, Feeds]:
    square = dict.fromkeys(("wq", "wk", "wv", "wo"), (8, 8))
    weights = arrays(1, **square, b=(8,), wm=(8, 12), bm=(12,), wn=(12, 8))
    weights |= {
        "heads": np.array([0, 5, 2, 4]),
        "flat": np.array([0, 5, 8]),
        "root": np.array(2.0, np.float32),
    }
    return model(ATTENTION, weights, opset=20, ir_version=9), arrays(2, x=(40, 5, 8))


def convolutions() -> tuple[ModelProto, Feeds]:
    kernels = {"w1": (4, 3, 3, 3), "w2": (4, 4, 3, 3), "w3": (4, 4, 1, 1), "w4": (6, 2, 2, 2)}
    weights = arrays(3, **kernels, b1=(4,), w5=(10, 150), b5=(1, 10), w6=(10, 6))
    weights |= {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
    return model(CONVOLUTIONS, weights), arrays(4, x=(40, 3, 9, 9))


def residual() -> tuple[ModelProto, Feeds]:
    kernels = {"w1": (6, 3, 3, 3), "w2": (6, 6, 3, 3), "w3": (6, 6, 3, 3)}
    points = {f"w{i}": (6, 6, 1, 1) for i in (4, 5, 6, 7)}
    weights = arrays(13, **kernels, **points, b=(6,), w8=(6, 4))
    return model(RESIDUAL, weights), arrays(14, x=(40, 3, 8, 8))


@cache
def integer_network(name: str) -> tuple[snnc.SpikingNetwork, Feeds]:
    """A network with int8 synapses, and samples."""
    if name in MADE:
        source, feeds = MADE[name]()
        network = snnc.compile(
            source, calibration=dict(feeds), scale=0.1, synapses="int8", encode_input=True
        )
        return network, feeds
    network = snnc.compile(
        model_path(name), calibration=calibration_path(name), scale=0.1, synapses="int8"
    )
    with np.load(held_out_path(name)) as data:
        return network, {key: data[key][:40] for key in network.graph.inputs}


MADE = {"attention": attention, "convolutions": convolutions, "residual": residual}
NAMES = [*MADE, "digits_vit", "digits_cnn"]
every_network = pytest.mark.parametrize("name", NAMES)


def composed_ops(graph: Graph) -> list[tuple[Op, Composed]]:
    found = [(node, composed(node)) for node in graph.nodes if isinstance(node, Op)]
    return [(op, made) for op, made in found if made is not None]


@every_network
def test_every_operation_computes_what_its_layers_do(name: str) -> None:
    """Each on the values that the network in layers and neurons has there."""
    network, feeds = integer_network(name)
    hoisted, lowered = hoist_neurons(network.graph), lower(network.graph)
    verify(lowered, lowered.stage)
    ops = composed_ops(lowered)
    potentials = {op.outputs[0]: potential(hoisted, op) for op, made in ops if made.neuron}
    taps = {base(v) for op, _ in ops for v in (*op.inputs, *op.outputs)} & set(hoisted.types)
    taps = (taps | set(potentials.values())) - set(hoisted.inputs)
    values = Session(hoisted, taps=sorted(taps)).run(feeds) | dict(feeds)
    compared = 0
    for op, _ in ops:
        read = [v for v in op.inputs if v in lowered.types]
        given = {v: as_stored(hoisted, lowered, v, values) for v in read}
        single = replace(lowered, inputs=tuple(given), outputs=op.outputs, nodes=(op,)).pruned()
        results = Session(single).run(given)
        for value, found in results.items():
            wanted = as_stored(hoisted, lowered, value, values)
            assert found.dtype == wanted.dtype
            if wanted.dtype == np.float32:
                scale = np.abs(wanted).max()
                np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6 * scale)
            else:
                x = in_layout(hoisted, lowered, value, values[potentials[value]])
                assert_same_counts(found, wanted, x, step_at(hoisted, value))
        compared += 1
    assert compared == len(ops) > 0


def potential(graph: Graph, op: Op) -> str:
    """The input of the neuron that is part of an operation."""
    neuron = graph.producer[op.outputs[0]]
    assert isinstance(neuron, Neuron)
    return neuron.inputs[0]


def step_at(graph: Graph, value: str) -> np.float32:
    """The threshold of the spikes that a value holds."""
    node = graph.producer[value]
    while not isinstance(node, Neuron):
        node = graph.producer[node.inputs[0]]
    return np.float32(graph.consts[next(filter(None, node.inputs[1:]))])


def base(value: str) -> str:
    """The value of the network that a value of the lowered one holds in another layout, or is."""
    return value.removesuffix(".channels_last").removesuffix(".channels_first")


def in_layout(graph: Graph, lowered: Graph, value: str, array: Array) -> Array:
    """A value of the network in the layout that it has in the lowered one."""
    wanted = lowered.types[value].shape
    if wanted == graph.types[base(value)].shape:
        return array
    return np.moveaxis(array, 1, -1)


def as_stored(graph: Graph, lowered: Graph, value: str, values: Feeds) -> Array:
    """A value as the lowered network holds it: in its layout, spikes as counts."""
    array = in_layout(graph, lowered, value, values[base(value)])
    if value not in lowered.types or lowered.types[value].dtype != "uint8":
        return array
    value = base(value)
    node: Node = graph.producer[value]
    while not isinstance(node, Neuron):
        node = graph.producer[node.inputs[0]]
    zero = 128 if node.sides in ("both", "negative") else 0
    return np.asarray(np.rint(array / step_at(graph, value)) + zero, np.uint8)


def assert_same_counts(found: Array, wanted: Array, x: Array, step: np.float32) -> None:
    """Equal but where the potential lies within float rounding of a threshold, by 1 at most."""
    half_steps = np.abs(x.astype(np.float64)) / step - 0.5
    rounding = 1e-5 * (np.abs(x).max() / step + 1)
    decided = np.abs(half_steps - np.rint(half_steps)) > rounding
    difference = np.abs(found.astype(int) - wanted.astype(int)).reshape(x.shape)
    assert difference.max(initial=0) <= 1
    assert not difference[decided].any()
    assert decided.mean() > 0.9


@every_network
def test_an_artifact_is_read_as_the_network_that_was_written(name: str, tmp_path: Path) -> None:
    network, feeds = integer_network(name)
    path = tmp_path / "out.onnx"
    network.save(path)
    again = snnc.load(path)
    verify(again, again.stage)
    assert not composed_ops(again)
    hoisted = hoist_neurons(share_rectifiers(network.graph))
    assert set(map(identity, again.neurons)) == set(map(identity, hoisted.neurons))
    layers = {"MatMul", "Gemm", "Conv"}
    assert {n.loc for n in again.nodes if isinstance(n, Op) and n.op_type in layers} == {
        n.loc for n in network.graph.nodes if isinstance(n, Op) and n.op_type in layers
    }
    stored = [n for n in lower(again).nodes if isinstance(n, Op)]
    written = [n for n in lower(network.graph).nodes if isinstance(n, Op)]
    assert [(n.op_type, n.outputs, n.loc) for n in stored] == [
        (n.op_type, n.outputs, n.loc) for n in written
    ]
    found, wanted = (Session(graph).run(feeds) for graph in (again, network.graph))
    for output, array in wanted.items():
        error = np.linalg.norm(found[output] - array) / np.linalg.norm(array)
        assert error < 0.02, output
    samples = samples_of(dict(feeds), network.graph)
    mine, theirs = (measure(graph, samples).energy() for graph in (again, network.graph))
    assert {(x.name, x.kind, x.macs) for x in mine.layers} == {
        (x.name, x.kind, x.macs) for x in theirs.layers
    }
    np.testing.assert_allclose(mine.ratio_spikes, theirs.ratio_spikes, rtol=1e-3)
    assert len(pair(network.ann, again).neurons) == len(network.graph.neurons)


def identity(neuron: Neuron) -> tuple[object, ...]:
    return neuron.outputs, neuron.inputs, neuron.loc, neuron.model, neuron.activity


def drives_of(graph: Graph) -> list[str]:
    """What drives neurons and what is fused behind it, without the name of the neuron."""
    made = [made for _, made in composed_ops(graph) if made.drive]
    short = [
        f"{m.drive}{'Add' * m.add}{m.activation}{'Kept' * m.kept}{' neuron' * bool(m.neuron)}"
        for m in made
    ]
    assert all(m.count for m in made if m.neuron)
    return short


def test_what_attention_and_a_perceptron_become() -> None:
    network, _ = integer_network("attention")
    lowered = lower(network.graph)
    assert drives_of(lowered) == [
        *["SpikeLinear neuron"] * 3,
        "SpikeMatMul",
        "SpikeMatMul neuron",
        "SpikeLinearAddKept neuron",
        "SpikeLinearGelu neuron",
        "SpikeLinearAdd",
    ]
    products = [op for op, made in composed_ops(lowered) if made.drive == "SpikeMatMul"]
    assert [op.integer("trans_b", 0) for op in products] == [1, 0]
    computed = {n.op_type for n in lowered.nodes if isinstance(n, Op) and composed(n) is None}
    assert computed == {"Softmax", "Reshape", "Transpose"}


def test_what_convolutions_become() -> None:
    network, _ = integer_network("convolutions")
    assert drives_of(lower(network.graph)) == [
        "SpikeConv neuron",
        "SpikeConv",
        "SpikeConvAdd neuron",
        "SpikeConv neuron",
        "SpikeLinear neuron",
        "SpikeLinear",
    ]


def test_sums_that_neurons_and_an_addition_read() -> None:
    network, _ = integer_network("residual")
    assert drives_of(lower(network.graph)) == [
        "SpikeConvReluKept neuron",
        "SpikeConv neuron",
        "SpikeConvAddKept neuron",
        "SpikeConv neuron",
        "SpikeConvAddReluKept neuron",
        "SpikeConv neuron",
        "SpikeConvAdd",
        "SpikeLinear",
    ]


def test_batches_that_exporters_name_anew_for_each_value() -> None:
    graph = integer_network("residual")[0].graph
    types = {
        v: replace(t, shape=(f"{v}.batch", *t.shape[1:]))
        if t.shape and t.shape[0] == "N" and v not in (*graph.inputs, *graph.outputs)
        else t
        for v, t in graph.types.items()
    }
    assert drives_of(lower(replace(graph, types=types))) == drives_of(lower(graph))


def test_batches_of_different_inputs_keep_their_names() -> None:
    text = """g (float[N,3] x, float[K,3] z) => (float[P,3] y) {
        a = Relu (x)
        b = Relu (z)
        c = Add (a, one)
        d = Add (b, one)
        s = Mul (c, d)
        y = Abs (s)
    }"""
    graph = load(model(text, {"one": np.ones((1, 3), np.float32)}))
    types = dict(graph.types)
    for value in "abcds":
        types[value] = replace(types[value], shape=(f"{value}.batch", 3))
    named = name_batches(replace(graph, types=types)).types
    assert [(named[v].shape or ("",))[0] for v in "abcdsy"] == ["N", "K", "N", "K", "s.batch", "P"]


def test_spikes_that_a_float_layer_reads_too() -> None:
    text = """g (float[N,4,6,6] x) => (float[N,4,6,6] y) {
        r = Relu (x)
        a = Conv <pads = [1, 1, 1, 1]> (r, w)
        d = ConvTranspose <pads = [1, 1, 1, 1]> (r, turned)
        y = Add (a, d)
    }"""
    weights = arrays(5, w=(4, 4, 3, 3), turned=(4, 4, 3, 3))
    feeds = arrays(6, x=(30, 4, 6, 6))
    network = snnc.compile(
        model(text, weights),
        calibration=dict(feeds),
        scale=0.1,
        synapses="int8",
        encode_input=True,
    )
    lowered = lower(network.graph)
    types = [node.op_type for node in lowered.nodes if isinstance(node, Op)]
    assert types.count("DequantizeLinear") == 1
    assert f"{DOMAIN}.SpikeConvAdd" in types
    found, wanted = (Session(graph).run(feeds)["y"] for graph in (lowered, network.graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert len(written_and_read(network.graph).neurons) == len(network.graph.neurons)


def written_and_read(graph: Graph) -> Graph:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.onnx"
        save_onnx(graph, path)
        return snnc.load(path)


def with_neurons(graph: Graph, **changes: int | str) -> Graph:
    """The graph with other parameters of all neurons."""

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Neuron) or not isinstance(node.model, SFN):
            return None
        return Replacement((replace(node, model=replace(node.model, **changes)),))  # type: ignore[arg-type]

    return graph.rewrite(rule)


@pytest.mark.parametrize(
    ("changes", "message", "help"),
    [
        ({"limit": 0}, r"spike counts reach 263, which does not fit 8 bits", "--levels dense"),
        ({"limit": 0, "levels": "exponential", "M": 5}, "reach 512", "smaller --m"),
    ],
)
def test_counts_that_do_not_fit_are_refused(
    changes: dict[str, int | str], message: str, help: str, tmp_path: Path
) -> None:
    network, _ = integer_network("convolutions")
    with pytest.raises(snnc.CompileError, match=message) as caught:
        save_onnx(with_neurons(network.graph, **changes), tmp_path / "out.onnx")
    assert help in str(caught.value)
    assert "integer layer" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_thresholds_that_differ_by_sign_are_refused() -> None:
    graph = integer_network("attention")[0].graph
    neuron = next(n for n in graph.neurons if n.sides == "both")
    step = neuron.inputs[2]
    other = replace(graph, consts={**graph.consts, step: graph.consts[step] * np.float32(2)})
    with pytest.raises(snnc.CompileError, match="different thresholds") as caught:
        lower(other)
    assert "--polarity shared" in str(caught.value)


def test_only_the_exact_gelu_is_fused() -> None:
    graph = integer_network("attention")[0].graph

    def approximate(node: Node) -> Replacement | None:
        if isinstance(node, Op) and node.op_type == "Gelu":
            return Replacement((replace(node, attrs={"approximate": "tanh"}),))
        return None

    lowered = lower(graph.rewrite(approximate))
    assert "Gelu" in {n.op_type for n in lowered.nodes if isinstance(n, Op)}
    assert "SpikeLinearGelu neuron" not in drives_of(lowered)


def test_an_addend_of_unknown_size_is_not_fused() -> None:
    """It may be one row that is added to all."""
    graph = integer_network("attention")[0].graph
    types = dict(graph.types)
    types["projected_bias"] = replace(types["projected_bias"], shape=(None, 5, 8))
    assert drives_of(lower(replace(graph, types=types))).count("SpikeLinearAdd") == 1


@pytest.mark.parametrize(
    ("rows", "events", "fused"), [("1", 0.375, True), ("1", 0.5, False), ("N", 0.1, False)]
)
def test_one_row_of_mostly_silent_neurons(rows: str, events: float, fused: bool) -> None:
    text = f"""g (float[{rows},6] x) => (float[{rows},3] y) {{
        h = Gemm (x, w1, b)
        r = Relu (h)
        y = Gemm <transB = 1, beta = 0.5> (r, w2, c)
    }}"""
    weights = arrays(7, w1=(6, 5), b=(5,), w2=(3, 5), c=(3,))
    feeds = arrays(8, x=(1, 6))
    network = snnc.compile(model(text, weights), calibration=dict(feeds), scale=0.1)

    def active(node: Node) -> Replacement | None:
        known = Activity(1.0, float(np.float32(events)))
        return Replacement((replace(node, activity=known),)) if isinstance(node, Neuron) else None

    graph = network.graph.rewrite(active)
    lowered = lower(graph)
    assert drives_of(lowered) == (["FloatLinear"] if fused else [])
    found, wanted, again = (
        Session(g).run(feeds)["y"] for g in (lowered, graph, written_and_read(graph))
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(again, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("events", "attributes", "skips"),
    [
        (0.3, "pads = [1,1,1,1]", True),
        (0.8, "pads = [1,1,1,1]", False),
        (0.3, "pads = [1,1,1,1], group = 2", False),
        (0.3, 'auto_pad = "SAME_LOWER", strides = [2,2]', True),
    ],
)
def test_convolutions_of_mostly_silent_neurons(events: float, attributes: str, skips: bool) -> None:
    """Over several timesteps spikes are counted together; what all timesteps have in common is
    not repeated."""
    text = f"""g (float[N,3,6,6] x) => (float[N,4,O,P] y) {{
        h = Conv (x, w1, b)
        r = Relu (h)
        c = Conv <{attributes}> (r, w2)
        s = Relu (c)
        d = Conv <{attributes}> (s, w2)
        y = Relu (d)
    }}"""
    groups = 2 if "group" in attributes else 1
    weights = arrays(7, w1=(4, 3, 3, 3), b=(4,), w2=(4, 4 // groups, 3, 3))
    feeds = arrays(8, x=(3, 3, 6, 6))
    network = snnc.compile(
        model(text, weights), calibration=dict(feeds), neuron="if", timesteps=4, scale=0.9
    )

    def active(node: Node) -> Replacement | None:
        known = Activity(events, events)
        return Replacement((replace(node, activity=known),)) if isinstance(node, Neuron) else None

    graph = network.graph.rewrite(active)
    lowered = lower(graph)
    kinds = [node.op_type for node in lowered.nodes if isinstance(node, Op)]
    fused = {"ai.snnc.FloatConvIntegrateFirePositiveOverTime", "ai.snnc.FloatConvMeanRelu"}
    assert fused & set(kinds) == (fused if skips else set())
    assert "ai.snnc.Repeat" not in kinds
    assert "ai.snnc.RepeatIntegrateFirePositiveOverTime" in kinds
    again = written_and_read(graph)
    assert [n.op_type for n in again.nodes if isinstance(n, Op)] == [
        n.op_type for n in graph.nodes if isinstance(n, Op)
    ]
    runs = [Session(g, kernels=k) for g in (lowered, graph, again) for k in (True, False)]
    found = [session.run(feeds)["y"] for session in runs]
    for one in found[1:]:
        np.testing.assert_allclose(one, found[0], rtol=1e-5, atol=1e-6)


def mostly_silent(graph: Graph) -> Graph:
    """The graph as if a tenth of its neurons had fired on calibration data."""

    def rule(node: Node) -> Replacement | None:
        known = Activity(0.1, 0.1)
        return Replacement((replace(node, activity=known),)) if isinstance(node, Neuron) else None

    return graph.rewrite(rule)


def lowered_kinds(text: str, weights: Feeds, feeds: Feeds) -> list[str]:
    """The operations of a network over several timesteps, most of whose neurons are silent."""
    network = snnc.compile(
        model(text, dict(weights)), calibration=dict(feeds), neuron="if", timesteps=4, scale=0.9
    )
    lowered = lower(mostly_silent(network.graph))
    found, wanted = (Session(g).run(feeds)["y"] for g in (lowered, network.graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    return [node.op_type for node in lowered.nodes if isinstance(node, Op)]


@pytest.mark.parametrize("most", [4 * 4 * 9, 4 * 4 * 9 - 1])
def test_kernels_that_no_cache_holds(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,4,4] y) {
        h = Conv <pads = [1,1,1,1]> (x, w1)
        r = Relu (h)
        y = Conv (r, w2)
    }"""
    monkeypatch.setattr("snnc.backends.lowering.float_layers.LARGEST_KERNEL", most)
    weights = arrays(7, w1=(4, 3, 3, 3), w2=(4, 4, 3, 3))
    kinds = lowered_kinds(text, weights, arrays(8, x=(3, 3, 6, 6)))
    assert ("ai.snnc.FloatConvMean" in kinds) == (most == weights["w2"].size)


def test_spikes_of_a_quantiser_that_are_moved() -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,4,4] y) {
        h = Conv <pads = [1,1,1,1]> (x, w1)
        q = QuantizeLinear (h, s, z)
        d = DequantizeLinear (q, s, z)
        t = Transpose <perm = [0,1,3,2]> (d)
        y = Conv (t, w2)
    }"""
    weights = arrays(7, w1=(4, 3, 3, 3), w2=(4, 4, 3, 3))
    weights |= {"s": np.array(0.25, np.float32), "z": np.array(0, np.uint8)}
    feeds = arrays(8, x=(3, 3, 6, 6))
    network = snnc.compile(model(text, weights), calibration=dict(feeds))

    def silent(node: Node) -> Replacement | None:
        known = Activity(0.1, 0.1)
        return Replacement((replace(node, activity=known),)) if isinstance(node, Neuron) else None

    graph = network.graph.rewrite(silent)
    lowered = lower(graph)
    assert "FloatConv" in drives_of(lowered)
    found, wanted = (Session(g).run(feeds)["y"] for g in (lowered, graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


def test_repeated_inputs_that_others_read_too() -> None:
    """They are written out anyway."""
    text = """g (float[N,3,6,6] x) => (float[N,3,6,6] y) {
        h = Conv (x, w1)
        r = Relu (h)
        c = Conv (r, w2)
        y = Add (c, h)
    }"""
    weights = arrays(7, w1=(3, 3, 1, 1), w2=(3, 3, 1, 1))
    kinds = lowered_kinds(text, weights, arrays(8, x=(3, 3, 6, 6)))
    assert "ai.snnc.Repeat" in kinds and "ai.snnc.FloatConv" in kinds
    assert not any(kind.endswith("OverTime") for kind in kinds)


@pytest.mark.parametrize("layer", ["Conv (r, w2)", "Gemm (row, w2)"])
@pytest.mark.parametrize("weight", [np.inf, np.nan])
def test_weights_that_silence_does_not_make_nothing_of(layer: str, weight: float) -> None:
    """0 times what is no finite number is NaN, also where kernels could leave it out."""
    text = f"""g (float[1,3,2,2] x) => (y) {{
        h = Conv (x, w1)
        r = Relu (h)
        row = Flatten (r)
        y = {layer}
    }}"""
    shape = (4, 3, 1, 1) if "Conv" in layer else (12, 4)
    feeds = arrays(8, x=(1, 3, 2, 2))
    network = snnc.compile(
        model(text, arrays(7, w1=(3, 3, 1, 1), w2=shape)), calibration=dict(feeds), scale=0.1
    )
    graph = mostly_silent(network.graph)
    assert drives_of(lower(graph))
    (name,) = (v for v, array in graph.consts.items() if array.shape == shape)
    changed = graph.consts[name].copy()
    changed[0, 0] = weight
    graph = replace(graph, consts={**graph.consts, name: changed})
    silent = {"x": np.zeros((1, 3, 2, 2), np.float32)}
    found, wanted = (Session(g).run(silent)["y"] for g in (lower(graph), graph))
    assert np.isnan(wanted).any()
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("attributes", [{}, {"timesteps": 0}, {"timesteps": "4"}])
@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("FloatConvMeanRelu", {}),
        ("RepeatIntegrateFirePositiveOverTime", {"model": "if"}),
        ("IntegrateFirePositiveOverTime", {"model": "if"}),
        *((name, {}) for name in ("RunningMean", "Telescope", "Repeat", "LastTimestep")),
    ],
)
def test_timesteps_that_are_no_number_are_refused(
    tmp_path: Path, name: str, others: dict[str, str], attributes: dict[str, Any]
) -> None:
    network = model("g (float[N,3,6,6] x) => (float[N,3,6,6] y) { y = Relu (x) }", {})
    weights = arrays(7, w=(3, 3, 1, 1), bias=(3,)) if name.startswith("Float") else {}
    step = {"step": np.array(1, np.float32)} if others else {}
    node = helper.make_node(
        name, ["x", *weights, *step], ["y"], "odd", domain="ai.snnc", **attributes, **others
    )
    network.graph.node[0].CopyFrom(node)
    network.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, key) for key, array in (weights | step).items()
    )
    network.opset_import.append(helper.make_opsetid("ai.snnc", 1))
    onnx.save(network, tmp_path / "odd.onnx")
    with pytest.raises(CompileError, match=r"'timesteps' of node 'odd' .* is no positive integer"):
        snnc.load(tmp_path / "odd.onnx")


def test_attributes_of_a_neuron_that_is_none_are_read_over(tmp_path: Path) -> None:
    network = model("g (float[N,3,6,6] x) => (float[N,3,6,6] y) { y = Relu (x) }", {})
    geometry: dict[str, Any] = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1}
    weights = arrays(7, w=(3, 3, 1, 1), bias=(3,))
    node = helper.make_node(
        "FloatConv", ["x", *weights], ["y"], "odd", domain=DOMAIN, model="of another", **geometry
    )
    network.graph.node[0].CopyFrom(node)
    network.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, key) for key, array in weights.items()
    )
    network.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    onnx.save(network, tmp_path / "odd.onnx")
    (op,) = snnc.load(tmp_path / "odd.onnx").nodes
    assert isinstance(op, Op) and op.op_type == "Conv"


def test_numbers_without_axes_are_lowered() -> None:
    text = """g (float[N,6] x) => (float[N,3] y) {
        h = MatMul (x, w1)
        n = Size (h)
        rows = Div (n, two)
        real = Cast <to = 1> (rows)
        part = Div (real, real)
        s = Mul (h, part)
        r = Relu (s)
        y = MatMul (r, w2)
    }"""
    weights = arrays(7, w1=(6, 5), w2=(5, 3)) | {"two": np.array(2, np.int64)}
    network = snnc.compile(model(text, weights), calibration=dict(arrays(8, x=(9, 6))), scale=0.1)
    feeds = arrays(9, x=(4, 6))
    found, wanted = (Session(g).run(feeds)["y"] for g in (lower(network.graph), network.graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_neurons_move_before_layout_and_keep_their_names() -> None:
    graph = integer_network("attention")[0].graph
    hoisted = hoist_neurons(graph)
    verify(hoisted, hoisted.stage)
    behind = [hoisted.producer[n.inputs[0]] for n in hoisted.neurons if n.inputs[0] != "x"]
    assert not any(isinstance(n, Op) and n.op_type in PERMUTING for n in behind)
    assert {v for n in graph.neurons for v in n.outputs} <= hoisted.types.keys()
    feeds = integer_network("attention")[1]
    found, wanted = (Session(g, optimize=False).run(feeds)["y"] for g in (hoisted, graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    samples = samples_of(dict(feeds), graph)
    mine, theirs = (measure(g, samples).energy() for g in (hoisted, graph))
    assert [(x.name, x.macs, x.events) for x in mine.layers] == [
        (x.name, x.macs, x.events) for x in theirs.layers
    ]


@pytest.mark.parametrize("name", ["SpikeLinearTanh", "SpikeTensor", "SfnDenseNearestBothTwice"])
def test_an_unknown_operation_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    integer_network("convolutions")[0].save(path)
    proto = onnx.load(path)
    for node in proto.graph.node:
        if node.op_type == "SpikeLinear":
            node.op_type = name
    onnx.save(proto, path)
    with pytest.raises(snnc.CompileError, match=name):
        snnc.load(path)


def test_counts_that_are_read_as_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    integer_network("convolutions")[0].save(path)
    proto = onnx.load(path)
    counts = next(n.output[0] for n in proto.graph.node if n.op_type.endswith("Count"))
    proto.graph.node.append(helper.make_node("Cast", [counts], ["stray"], to=1, name="stray"))
    proto.graph.output.append(helper.make_tensor_value_info("stray", 1, None))
    onnx.save(proto, path)
    with pytest.raises(snnc.CompileError, match="as if they were numbers"):
        snnc.load(path)


def test_networks_of_other_stages_stay_as_they_are() -> None:
    graph = snnc.load(model_path("digits_cnn"))
    assert lower(graph) is graph
