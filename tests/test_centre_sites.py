"""Zero points of sites: the same function, exactly made up for, and spikes that stay spikes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnc
from snnc.backends.onnx_model import save_onnx
from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.centred import centred
from snnc.data import Samples, samples_of
from snnc.drives import classify
from snnc.energy import EnergyMeter
from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Neuron, Op
from snnc.ir.verify import verify
from snnc.neurons.sfn import SFN
from snnc.passes.centre_sites import CentreSites
from snnc.passes.centring import entries
from snnc.passes.centring.centres import Kind, centres_of
from snnc.prepare import prepare
from snnc.replay import replay
from snnc.reservoir import Reservoir
from snnc.runtime import Session
from snnc.scheduling import for_target, schedule
from snnc.streams import spike_counts
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model

ALL: tuple[Kind, ...] = ("linear", "keys", "values", "queries")
BY_KIND = {
    "digits_vit": {"linear": 13, "keys": 3, "values": 3, "queries": 3},
    "digits_vit_dynamo": {"linear": 13, "keys": 3, "values": 3, "queries": 3},
    "digits_encoder": {"linear": 9, "keys": 2, "values": 2, "queries": 2},
    "digits_cnn": {"linear": 4},
    "digits_mlp": {"linear": 2},
}


@cache
def calibrated(name: str) -> CalibratedNetwork:
    mask = "attention_mask" if name == "digits_encoder" else None
    return snnc.calibrate(
        model_path(name), calibration=few(calibration_path(name)), mask_input=mask
    )


def few(path: Path, count: int = 32) -> dict[str, Array]:
    with np.load(path) as data:
        return {name: data[name][:count] for name in data.files if name != "labels"}


def moved(before: Graph, after: Graph, feeds: Mapping[str, Array]) -> set[str]:
    """The sites that see something else than they did."""
    taps = [{s.outputs[0]: s.inputs[0] for s in graph.open_sites} for graph in (before, after)]
    sees = [
        Session(graph, taps=tapped.values()).run(feeds)
        for graph, tapped in zip((before, after), taps, strict=True)
    ]
    pairs = {site: (sees[0][taps[0][site]], sees[1][taps[1][site]]) for site in taps[0]}
    return {site for site, (a, b) in pairs.items() if not np.allclose(a, b, atol=1e-3, rtol=0)}


def assert_same(
    before: Graph, after: Graph, feeds: Mapping[str, Array], share: float = 2e-5
) -> None:
    """Equal up to float32 rounding, as a share of the largest number."""
    wanted, found = Session(before).run(feeds), Session(after).run(feeds)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=share * np.abs(array).max())


@pytest.mark.parametrize("kinds", [*((k,) for k in ALL), ALL], ids="+".join)
@pytest.mark.parametrize("name", BY_KIND)
def test_the_network_computes_what_it_did(name: str, kinds: tuple[Kind, ...]) -> None:
    network = calibrated(name)
    mask = network.calibration.mask_input
    for by_entry in (False, True):
        found = CentreSites(network.samples, kinds, by_entry, mask)(network.sited)
        verify(found, Stage.SITED)
        assert_same(network.ann, found, few(held_out_path(name)))


@pytest.mark.parametrize("name", BY_KIND)
def test_which_sites_are_centred(name: str) -> None:
    network = calibrated(name)
    kinds = [c.kind for c in centres_of(network.sited)]
    assert {kind: kinds.count(kind) for kind in ALL if kind in kinds} == BY_KIND[name]


Medians: TypeAlias = Callable[
    [Graph, Mapping[str, tuple[int, ...]], Samples, str | None], dict[str, Array]
]


@pytest.fixture
def medians(monkeypatch: pytest.MonkeyPatch) -> Medians:
    """Medians of channels, whether they pay or not."""

    def found(
        graph: Graph, axes: Mapping[str, tuple[int, ...]], samples: Samples, mask: str | None
    ) -> dict[str, Array]:
        with monkeypatch.context() as patch:
            patch.setattr(entries, "GAIN", np.inf)
            seen = entries.entries_of(graph, axes, samples, mask, lambda done: None)
            return {site: each.zero_points() for site, each in seen.items()}

    return found


@pytest.mark.parametrize("name", ["digits_vit", "digits_encoder"])
def test_sites_see_medians_of_zero_or_what_they_saw(name: str, medians: Medians) -> None:
    network = calibrated(name)
    mask = network.calibration.mask_input
    centres = centres_of(network.sited)
    found = CentreSites(network.samples, ALL, False, mask)(network.sited)
    axes = {centre.site: centre.axes for centre in centres}
    before, after = (
        medians(graph, axes, network.samples, mask) for graph in (network.sited, found)
    )
    feeds = few(calibration_path(name), 4)
    centred = moved(network.sited, found, feeds)
    assert len(centred) > 0.7 * len(axes)
    assert centred <= set(axes)
    for site, left in after.items():
        kept = 0.0 if site in centred else before[site]
        assert np.abs(left - kept).max() <= 1e-5 * np.abs(before[site]).max(), site


def test_masked_positions_do_not_move_medians(medians: Medians) -> None:
    network = calibrated("digits_encoder")
    mask = "attention_mask"
    feeds = few(calibration_path("digits_encoder"))
    other = {**feeds, "input_ids": np.where(feeds[mask] == 0, 3, feeds["input_ids"])}
    assert (other["input_ids"] != feeds["input_ids"]).any()
    axes = {centre.site: centre.axes for centre in centres_of(network.sited)}
    one, two, plain = (
        medians(network.sited, axes, samples_of(each, network.ann), used)
        for each, used in ((feeds, mask), (other, mask), (other, None))
    )
    first = next(iter(axes))
    np.testing.assert_array_equal(one[first], two[first])
    assert (one[first] != plain[first]).any()


@cache
def spiking(name: str) -> tuple[CalibratedNetwork, Graph]:
    network = centred(calibrated(name), ALL)
    return network, with_scale(network.graph(), SFN(), 0.2, "shared")


@pytest.mark.parametrize("name", ["digits_vit", "digits_encoder"])
def test_numpy_body_and_kernel_agree(name: str, tmp_path: Path) -> None:
    _, graph = spiking(name)
    feeds = few(held_out_path(name), 7)
    save_onnx(graph, tmp_path / "out.onnx")
    providers = ["CPUExecutionProvider"]
    stock = onnxruntime.InferenceSession(str(tmp_path / "out.onnx"), providers=providers)
    reads = {n.outputs[0]: n.inputs[0] for n in graph.neurons}
    kernel = Session(graph, taps=(*reads, *reads.values())).run(feeds)
    alone = Session(graph).run(feeds)
    for value, found in zip(graph.outputs, stock.run(None, feeds), strict=True):
        np.testing.assert_array_equal(found, alone[value])
    for neuron in graph.neurons:
        positive, negative = (graph.consts[s] if s else 0.0 for s in neuron.inputs[1:])
        counted = neuron.model.step(kernel[neuron.inputs[0]], positive, negative)
        np.testing.assert_array_equal(counted, kernel[neuron.outputs[0]])


@pytest.mark.parametrize("name", ["digits_vit", "digits_encoder"])
def test_every_layer_stays_spiking_and_queries_are_counted(name: str) -> None:
    _, graph = spiking(name)
    plain = with_scale(calibrated(name).graph(), SFN(), 0.2, "shared")
    kinds = [[kind for _, kind in classify(g)] for g in (plain, graph)]
    attentions = BY_KIND[name]["queries"]
    assert len(kinds[1]) == len(kinds[0]) + attentions
    assert sorted(kinds[1]) == sorted([*kinds[0], *attentions * ["spiking"]])
    feeds = few(held_out_path(name), 8)
    meter = EnergyMeter(graph)
    session = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of)
    values = session.run(feeds)
    meter.update(values, 8)
    pairs = zip(classify(graph), meter.energy().layers, strict=True)
    extra = [(op, layer) for (op, _), layer in pairs if op.inputs[0] in graph.consts]
    assert len(extra) == attentions
    for op, layer in extra:
        neuron = graph.producer[op.inputs[1]]
        assert isinstance(neuron, Neuron)
        fired = spike_counts(graph, neuron, values[neuron.outputs[0]])
        assert layer.spikes == pytest.approx(float(fired.sum()) / 8)
        assert layer.macs == pytest.approx(fired.size / 8)


def test_a_replayed_schedule_has_no_differing_spike_count() -> None:
    _, graph = spiking("digits_vit")
    made = schedule(graph, "generic")
    samples = samples_of(few(held_out_path("digits_vit"), 6), graph)
    found = replay(made, samples, for_target(graph, made.target)).comparison
    assert found is not None
    assert found.neurons > 1000
    assert found.differing == 0
    assert not found.differs


HEADS = """
    h = Tanh (x)
    qm = MatMul (h, wq)  qb = Add (qm, bq)  q4 = Reshape (qb, split)
    km = MatMul (h, wk)  kb = Add (km, bk)  k4 = Reshape (kb, split)
    vm = MatMul (h, wv)  vb = Add (vm, bv)  v4 = Reshape (vb, split)
    q = Transpose <perm = [0, 2, 1, 3]> (q4)  qt = Transpose <perm = [0, 2, 3, 1]> (q4)
    k = Transpose <perm = [0, 2, 1, 3]> (k4)  kt = Transpose <perm = [0, 2, 3, 1]> (k4)
    v = Transpose <perm = [0, 2, 1, 3]> (v4)  vt = Transpose <perm = [0, 2, 3, 1]> (v4)
"""
SHAPES = {"wq": (8, 8), "wk": (8, 8), "wv": (8, 8), "bq": (8,), "bk": (8,), "bv": (8,)}
CONSTANTS = {
    **arrays(1, **SHAPES),
    "split": np.array([0, 0, 2, 4]),
    "merge": np.array([0, 0, 8]),
    "flat": np.array([-1, 5, 5]),
    "pairs": np.array([-1, 2, 25]),
    "whole": np.array([-1, 2, 5, 5]),
    "half": np.array([0.5], np.float32),
    "by_head": np.array([0.5, 2], np.float32).reshape(2, 1, 1),
    "by_key": np.array([1, 2, 1, 1, 1], np.float32),
    "mask": np.triu(np.full((5, 5), -np.inf, np.float32), 1),
    "later": np.triu(np.ones((5, 5), bool), 1),
    "minus_inf": np.array(-np.inf, np.float32),
    "minus_9": np.array(-9, np.float32),
    "nine": np.array(9, np.float32),
    "lower": np.tril(np.ones((5, 5), bool)),
}

PROVEN = {
    "scale behind": "s = MatMul (q, kt)  t = Mul (s, half)  p = Softmax <axis = -1> (t)",
    "scale by head": "s = MatMul (q, kt)  t = Div (s, by_head)  p = Softmax <axis = 3> (t)",
    "mask": "s = MatMul (q, kt)  t = Add (s, mask)  p = Softmax <axis = -1> (t)",
    "minus a bias": "s = MatMul (q, kt)  t = Sub (mask, s)  p = Softmax <axis = -1> (t)",
    "where": "s = MatMul (q, kt)  t = Where (later, minus_inf, s)  p = Softmax <axis = -1> (t)",
    "keys first": """s = MatMul (k, qt)  t = Transpose <perm = [0, 1, 3, 2]> (s)
        p = Softmax <axis = -1> (t)""",
    "laid out": """s = MatMul (q, kt)  t = Reshape (s, flat)  u = Softmax <axis = -1> (t)
        p = Reshape (u, whole)""",
    "along another axis": """s = MatMul (k, qt)  u = Softmax <axis = -2> (s)
        p = Transpose <perm = [0, 1, 3, 2]> (u)""",
}
"""Attention probabilities p of which it can be proven what keys and values add."""

UNPROVEN = {
    "clipped": ("s = MatMul (q, kt)  t = Clip (s, minus_9, nine)  p = Softmax <axis = -1> (t)", 1),
    "one key weighs more": (
        "s = MatMul (q, kt)  t = Mul (s, by_key)  p = Softmax <axis = -1> (t)",
        1,
    ),
    "masked by a small number": (
        "s = MatMul (q, kt)  t = Where (later, minus_9, s)  p = Softmax <axis = -1> (t)",
        1,
    ),
    "scores multiplied": ("s = MatMul (q, kt)  t = Mul (s, s)  p = Softmax <axis = -1> (t)", 1),
    "read elsewhere": (
        "s = MatMul (q, kt)  u = Softmax <axis = -1> (s)  t = Sigmoid (s)  p = Mul (u, t)",
        0,
    ),
    "queries share a softmax": (
        """s = MatMul (q, kt)  t = Reshape (s, pairs)  u = Softmax <axis = -1> (t)
        p = Reshape (u, whole)""",
        0,
    ),
    "keys of two products": (
        """s = MatMul (q, kt)  u = Softmax <axis = -1> (s)
        z = MatMul (v, kt)  t = Softmax <axis = -1> (z)  p = Add (u, t)""",
        3,
    ),
    "rows lose probability": (
        """s = MatMul (q, kt)  u = Softmax <axis = -1> (s)  t = Cast <to = 1> (lower)
        p = Mul (u, t)""",
        2,
    ),
}
"""The same where it cannot, and what remains provable (KNOWN)."""

KNOWN: dict[int, set[Kind]] = {
    0: set(),
    1: {"values"},
    2: {"keys", "queries"},
    3: {"queries"},
}


def attention(probabilities: str, more: str = "") -> Graph:
    """Two heads over five positions, sited."""
    text = f"""g (float[N, 5, 8] x) => (float[N, 5, 8] y{more}) {{ {HEADS} {probabilities}
        o = MatMul (p, v)  o4 = Transpose <perm = [0, 2, 1, 3]> (o)  y = Reshape (o4, merge) }}"""
    return prepare(load(model(text, CONSTANTS)))[1]


def normal(seed: int, *shape: int) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).normal(0.7, 1, shape).astype(np.float32)}


def given_samples(graph: Graph, feeds: Mapping[str, Array]) -> Samples:
    return samples_of(dict(feeds), graph)


def kinds_in(graph: Graph) -> set[Kind]:
    return {centre.kind for centre in centres_of(graph)} - {"linear"}


@pytest.mark.parametrize("case", PROVEN)
def test_attention_of_any_spelling_is_centred(case: str) -> None:
    graph = attention(PROVEN[case])
    assert kinds_in(graph) == {"keys", "queries", "values"}
    feeds = normal(2, 6, 5, 8)
    for kinds in (*((kind,) for kind in ALL), ALL):
        assert_same(graph, CentreSites(given_samples(graph, feeds), kinds)(graph), feeds)


@pytest.mark.parametrize("case", UNPROVEN)
def test_what_cannot_be_proven_stays(case: str) -> None:
    text, which = UNPROVEN[case]
    graph = attention(text)
    assert kinds_in(graph) == KNOWN[which]
    feeds = normal(2, 6, 5, 8)
    assert_same(graph, CentreSites(given_samples(graph, feeds), ALL)(graph), feeds)


def test_scores_that_are_an_output_keep_their_keys() -> None:
    graph = attention(PROVEN["scale behind"], ", float[N, 2, 5, 5] s")
    assert kinds_in(graph) == {"values"}


def test_attention_of_one_vector_stays() -> None:
    text = """g (float[N, 5, 8] x) => (float[N, 5] y) {
        h = Tanh (x)  k = MatMul (h, wk)  q = ReduceMean <axes = [0, 1], keepdims = 0> (h)
        s = MatMul (k, q)  y = Softmax <axis = -1> (s) }"""
    graph = prepare(load(model(text, CONSTANTS)))[1]
    assert not kinds_in(graph)
    feeds = normal(2, 6, 5, 8)
    assert_same(graph, CentreSites(given_samples(graph, feeds), ALL)(graph), feeds)


LAYERS: dict[str, tuple[str, dict[str, tuple[int, ...]], tuple[int, ...]]] = {
    "gemm": ("Gemm <alpha = 0.5, transB = 1> (a, w, b)", {"w": (6, 8), "b": (6,)}, (9, 8)),
    "gemm without a bias": ("Gemm (a, w)", {"w": (8, 6)}, (9, 8)),
    "gemm with a scaled bias": ("Gemm <beta = 2.0> (a, w, b)", {"w": (8, 6), "b": (6,)}, (9, 8)),
    "matrices": ("MatMul (a, w)", {"w": (3, 8, 6)}, (9, 3, 5, 8)),
    "1 x 1": ('Conv <auto_pad = "SAME_UPPER"> (a, w)', {"w": (6, 8, 1, 1)}, (9, 8, 5, 5)),
    "groups": ("Conv <group = 4> (a, w, b)", {"w": (8, 2, 3, 2), "b": (8,)}, (9, 8, 5, 5)),
}
PADDED = ("Conv <pads = [1, 1, 1, 1]> (a, w, b)", {"w": (6, 8, 3, 3), "b": (6,)}, (9, 8, 5, 5))


def layer(form: str, weights: Mapping[str, tuple[int, ...]], shape: tuple[int, ...]) -> Graph:
    """One layer behind an activation function."""
    sizes = ", ".join(["N", *map(str, shape[1:])])
    text = f"g (float[{sizes}] x) => (float[] y) {{ a = Sigmoid (x)  y = {form} }}"
    proto = model(text, arrays(5, **weights))
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return prepare(load(proto))[1]


@pytest.mark.parametrize("case", LAYERS)
def test_layers_take_zero_points_up(case: str) -> None:
    form, weights, shape = LAYERS[case]
    graph, feeds = layer(form, weights, shape), normal(6, *shape)
    found = CentreSites(given_samples(graph, feeds))(graph)
    assert moved(graph, found, feeds) == {site.outputs[0] for site in graph.open_sites}
    assert_same(graph, found, feeds)


def test_zeros_around_an_image_count_where_its_size_is_fixed() -> None:
    graph = layer(*PADDED)
    feeds = normal(6, *PADDED[2])
    for by_entry in (False, True):
        found = CentreSites(given_samples(graph, feeds), entries=by_entry)(graph)
        assert moved(graph, found, feeds) == {site.outputs[0] for site in graph.open_sites}
        assert_same(graph, found, feeds)
    text = "g (float[N, 8, h, w] x) => (float[] y) { a = Sigmoid (x)  y = " + PADDED[0] + " }"
    weights = arrays(5, **PADDED[1])
    proto = model(text.replace("(a, w, b)", "(a, k, b)"), {"k": weights["w"], "b": weights["b"]})
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    assert not centres_of(prepare(load(proto))[1])


@pytest.mark.parametrize("rectifier", ["Sigmoid", "Relu"])
def test_entries_of_a_fixed_place_have_zero_points_of_their_own(rectifier: str) -> None:
    text = (
        f"g (float[N, 5, 8] x) => (float[N, 5, 6] y) {{ a = {rectifier} (x)  y = MatMul (a, w) }}"
    )
    graph = prepare(load(model(text, arrays(7, w=(8, 6)))))[1]
    place = np.random.default_rng(1).uniform(0, 4, (1, 5, 8)).astype(np.float32)
    feeds = {"x": place + normal(2, 400, 5, 8)["x"] / 10}
    samples = given_samples(graph, feeds)
    found = CentreSites(samples)(graph)
    assert_same(graph, found, feeds)
    by_channel = CentreSites(samples, entries=False)(graph)
    size = {}
    for name, each in (("entries", found), ("channels", by_channel)):
        site = each.open_sites[0].inputs[0]
        size[name] = np.abs(Session(each, taps=(site,)).run(feeds)[site]).mean()
    assert size["entries"] < 0.3 * size["channels"]


def test_few_samples_say_little_about_single_entries(medians: Medians) -> None:
    graph = prepare(load(model(PLACES, arrays(7, w=(8, 6)))))[1]
    for count, near in ((4, 0.5), (300, 0.2)):
        feeds = normal(count, count, 5, 8)
        samples, site = given_samples(graph, feeds), graph.open_sites[0].outputs[0]
        axes = {site: (-2, -1)}
        seen = entries.entries_of(graph, axes, samples, None, lambda done: None)[site]
        alone, drawn = medians(graph, axes, samples, None)[site], seen.zero_points(-1)
        assert drawn.var(axis=0).mean() < near * alone.var(axis=0).mean()


@pytest.mark.parametrize("by_entry", [False, True])
def test_zero_points_that_do_not_pay_on_other_samples_are_left_out(by_entry: bool) -> None:
    """Nearly all of what the site sees is 0 or far off; its medians are what the samples happen to
    have half of."""
    graph = prepare(load(model(PLACES.replace("Tanh", "Relu"), arrays(7, w=(8, 6)))))[1]
    rng = np.random.default_rng(3)
    shape = (40, 5, 8)
    x = np.where(rng.random(shape) < 0.5, 0, rng.exponential(1, shape)).astype(np.float32)
    samples = given_samples(graph, {"x": x})
    assert CentreSites(samples, entries=by_entry)(graph) == graph


def test_places_that_are_alike_have_the_zero_points_of_their_channels() -> None:
    graph = prepare(load(model(PLACES, arrays(7, w=(8, 6)))))[1]
    rng = np.random.default_rng(5)
    channel = rng.uniform(-1, 1, 8)
    samples = given_samples(graph, {"x": (rng.normal(0, 0.4, (64, 5, 8)) + channel).astype("f")})
    one, other = (CentreSites(samples, entries=each)(graph) for each in (False, True))
    assert one != graph
    assert [n.outputs for n in one.nodes] == [n.outputs for n in other.nodes]
    for name, array in one.consts.items():
        np.testing.assert_allclose(other.consts[name], array, atol=1e-6)


def test_a_rectifier_that_is_never_silent_is_centred() -> None:
    graph = prepare(load(model(PLACES.replace("Tanh", "Relu"), arrays(7, w=(8, 6)))))[1]
    feeds = {"x": normal(4, 200, 5, 8)["x"] / 4 + 3}
    found = CentreSites(given_samples(graph, feeds), entries=False)(graph)
    assert moved(graph, found, feeds) == {graph.open_sites[0].outputs[0]}
    assert_same(graph, found, feeds)


PLACES = "g (float[N, 5, 8] x) => (float[N, 5, 6] y) { a = Tanh (x)  y = MatMul (a, w) }"


def test_sparse_rectifiers_half_floats_and_medians_of_zero_stay() -> None:
    rectified = "g (float[N, 8] x) => (float[N, 6] y) { a = Relu (x)  y = MatMul (a, w) }"
    half = "g (float16[N, 8] x) => (float16[N, 6] y) { a = Sigmoid (x)  y = MatMul (a, w) }"
    weights = arrays(7, w=(8, 6))
    graph = prepare(load(model(rectified, weights)))[1]
    sparse = given_samples(graph, {"x": normal(8, 200, 8)["x"] - 1})
    assert CentreSites(sparse)(graph) == graph
    halves = {"w": weights["w"].astype(np.float16)}
    assert not centres_of(prepare(load(model(half, halves)))[1])
    odd = prepare(load(model(rectified.replace("Relu", "Tanh"), weights)))[1]
    x = normal(8, 4, 8)["x"]
    both = {"x": np.concatenate([x, -x, np.zeros_like(x)])}
    assert CentreSites(given_samples(odd, both))(odd) == odd


def test_what_is_not_finite_moves_no_site() -> None:
    graph = layer(*LAYERS["gemm"])
    text = "g (float[N, 8] x) => (float[N, 6] y) { a = Exp (x)  y = MatMul (a, w) }"
    graph = prepare(load(model(text, arrays(7, w=(8, 6)))))[1]
    feeds = {"x": np.full((5, 8), 89, np.float32)}  # exp(89) is beyond float32
    assert CentreSites(given_samples(graph, feeds))(graph) == graph
    feeds = {"x": np.full((5, 8), 88.7, np.float32)}  # exp(88.7) is not, W m is
    assert CentreSites(given_samples(graph, feeds))(graph) == graph


def test_a_bias_of_a_norm_and_biases_that_others_read_are_not_shared() -> None:
    """The site alone reads the first norm; the second is read by the residual sum as well."""
    text = """g (float[N, 8] x) => (float[N, 8] y) {
        a = LayerNormalization (x, g, b)  c = MatMul (a, w)  d = Add (c, b)
        e = LayerNormalization (d, g, b)  f = MatMul (e, w)  h = Add (f, b)  y = Add (h, e) }"""
    graph = prepare(load(model(text, arrays(9, g=(8,), b=(8,), w=(8, 8)))))[1]
    feeds = normal(10, 12, 8)
    found = CentreSites(given_samples(graph, feeds))(graph)
    assert_same(graph, found, feeds)
    kinds = [node.op_type for node in found.nodes if isinstance(node, Op)]
    assert kinds.count("Sub") == 1
    assert kinds.count("Add") == 3


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.booleans()
)
def test_convolutions_of_any_form(
    seed: int, group: int, inner: int, kernel: int, two: bool
) -> None:
    rng = np.random.default_rng(seed)
    channels, out = group * inner, group * int(rng.integers(1, 4))
    strides, dilations = (int(n) for n in rng.integers(1, 3, 2))
    spatial = (7, 6) if two else (7,)
    shape = (5, channels, *spatial)
    each = "Conv <group = {}, strides = [{}], dilations = [{}]> (a, w)"
    form = each.format(
        group, ", ".join([str(strides)] * len(spatial)), ", ".join([str(dilations)] * len(spatial))
    )
    graph = layer(form, {"w": (out, inner, *[kernel] * len(spatial))}, shape)
    feeds = normal(seed, *shape)
    found = CentreSites(given_samples(graph, feeds))(graph)
    assert moved(graph, found, feeds)
    assert_same(graph, found, feeds, 1e-4)


def test_entries_that_are_kept_do_not_grow_with_the_samples(medians: Medians) -> None:
    graph = layer(*LAYERS["gemm"])
    feeds = normal(11, 40_000, 8)
    site = graph.open_sites[0].outputs[0]
    found = medians(graph, {site: (-1,)}, given_samples(graph, feeds), None)
    real = np.median(1 / (1 + np.exp(-feeds["x"])), axis=0)
    np.testing.assert_allclose(found[site], real, atol=0.02)


def test_unknown_kinds_and_missing_samples_are_refused() -> None:
    network = calibrated("digits_cnn")
    with pytest.raises(snnc.CompileError, match=r"unknown kind of site to centre 'value'"):
        CentreSites(network.samples, ("value",))  # type: ignore[arg-type]
    empty = replace(network, calibration=replace(network.calibration, reservoir=Reservoir()))
    with pytest.raises(snnc.CompileError, match=r"none were kept"):
        centred(empty)


def test_a_centred_network_compiles_at_several_timesteps() -> None:
    network, _ = spiking("digits_vit")
    feeds = few(held_out_path("digits_vit"), 8)
    wanted = Session(network.ann).run(feeds)["logits"]
    found = [
        Session(with_scale(network.graph(), SFN(), 0.3, "shared", timesteps=t)).run(feeds)["logits"]
        for t in (1, 4)
    ]
    errors = [np.abs(logits - wanted).mean() for logits in found]
    assert errors[1] < errors[0] / 2
