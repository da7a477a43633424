"""Integer weights: their form as a matrix, their rounding, the pass, the networks it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import pytest

import snnc
from snnc.calibrated import with_scale
from snnc.calibrating import Watch, calibrate
from snnc.data import samples_of
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Attribute, Loc, Op
from snnc.ir.rate_neuron import RateNeuron
from snnc.ir.rounding import nearest
from snnc.ir.verify import verify
from snnc.passes import quantize_synapses
from snnc.passes.integer_weights import integer_layers
from snnc.passes.linear_layer import LinearLayer, scattered
from snnc.passes.quantize_synapses import QuantizeSynapses, Rounding
from snnc.passes.rounding import output_error, sequential
from snnc.runtime import Session
from snnc.search.grid import Reference
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model, run_onnx

Shape: TypeAlias = tuple[int, ...]

SHAPES: dict[str, tuple[str, dict[str, Attribute], Shape, Shape]] = {
    "Conv 2-D": ("Conv", {"pads": (1, 0, 2, 1), "strides": (2, 1)}, (3, 4, 7, 6), (5, 4, 3, 2)),
    "Conv dilated": ("Conv", {"dilations": (2, 3)}, (2, 3, 9, 9), (4, 3, 2, 2)),
    "Conv grouped": ("Conv", {"group": 2, "pads": (1, 1, 1, 1)}, (2, 6, 5, 5), (4, 3, 3, 3)),
    "Conv same": (
        "Conv",
        {"auto_pad": "SAME_LOWER", "strides": (2, 2)},
        (2, 3, 7, 7),
        (4, 3, 4, 3),
    ),
    "Conv 1-D": ("Conv", {"pads": (2, 1), "strides": (3,)}, (2, 3, 11), (4, 3, 5)),
    "MatMul": ("MatMul", {}, (2, 5, 6), (6, 4)),
    "Gemm": ("Gemm", {"transB": 1}, (7, 6), (4, 6)),
}


@pytest.mark.parametrize("case", SHAPES)
def test_rows_times_the_matrix_are_the_layers_outputs(case: str) -> None:
    op_type, attrs, x_shape, w_shape = SHAPES[case]
    data = arrays(1, x=x_shape, w=w_shape)
    keys = ", ".join(f"{k} = {_text(v)}" for k, v in attrs.items())
    source = model(
        f"g (float{list(x_shape)} x, float{list(w_shape)} w) => (float y) "
        f"{{ y = {op_type} <{keys}> (x, w) }}".replace("<>", "")
    )
    y = run_onnx(source, data)["y"]
    op = Op(("y",), ("x", "w"), Loc(("layer",)), op_type, attrs)
    axis = 1 if op_type == "MatMul" else 0
    kernel = w_shape[2:] if op_type == "Conv" else ()
    layer = LinearLayer(op, "x", "w", axis, op.integer("group", 1), kernel)
    matrix = layer.matrix(data["w"])
    every = np.arange(layer.count(y.shape))
    rows = layer.rows(data["x"], y.shape, every)
    products = rows @ np.swapaxes(matrix, 1, 2)
    np.testing.assert_allclose(products, layer.results(y, every), rtol=1e-4, atol=1e-4)
    found = np.concatenate(list(products), axis=-1)
    wanted = np.moveaxis(y, 1, -1) if kernel else y
    np.testing.assert_allclose(found, wanted.reshape(found.shape), rtol=1e-4, atol=1e-4)
    assert np.array_equal(layer.restored(matrix, data["w"]), data["w"])
    few = scattered(len(every), 5)
    assert len(few) == 5
    assert np.array_equal(layer.rows(data["x"], y.shape, few), rows[:, few])


def _text(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(list(value)) if isinstance(value, tuple) else str(value)


def correlated(count: int, width: int, seed: int = 0) -> Array:
    """Inputs that a few directions explain, as those of trained networks are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(1).standard_normal((8, width))
    hidden = rng.standard_normal((count, 8))
    return np.asarray(hidden @ mixing + 0.1 * rng.standard_normal((count, width)), np.float32)


def test_nearest_integers() -> None:
    weights = arrays(2, w=(6, 40))["w"]
    weights[3] = 0
    weights[4] *= 1e-42
    integers, scales = nearest(weights)
    assert integers.dtype == np.int8 and scales.dtype == np.float32
    assert integers.min() >= -127
    assert scales[3] == 1 and not integers[3].any()
    assert scales[4] >= np.finfo(np.float32).tiny
    errors = np.abs(integers * scales[:, None] - weights)
    assert (errors <= scales[:, None] * 0.50001).all()
    others = [0, 1, 2, 5]
    assert (np.abs(integers[others].astype(int)).max(axis=1) == 127).all()


def test_sequential_rounding_changes_the_output_less_on_inputs_it_did_not_see() -> None:
    weights = arrays(3, w=(20, 64))["w"]
    seen, unseen = correlated(2000, 64), correlated(500, 64, seed=9)
    errors = {}
    for name, (integers, scales) in {
        "nearest": nearest(weights),
        "sequential": sequential(weights, seen.T @ seen),
    }.items():
        assert np.abs(integers.astype(int)).max() <= 127
        errors[name] = output_error(weights, integers, scales, unseen.T @ unseen).sum()
    assert errors["sequential"] < 0.2 * errors["nearest"]


@pytest.mark.parametrize("count", [0, 1, 30])
def test_sequential_rounding_never_loses_on_the_inputs_it_saw(count: int) -> None:
    """Also where they are too few to know all directions."""
    weights = arrays(4, w=(10, 300))["w"]
    weights[2] = 0
    x = correlated(count, 300)
    moments = x.T @ x
    plain, scales = nearest(weights)
    found, same = sequential(weights, moments)
    assert np.array_equal(scales, same)
    assert (
        output_error(weights, found, scales, moments)
        <= output_error(weights, plain, scales, moments)
    ).all()
    assert not found[2].any()


@pytest.mark.parametrize("count", [0, 30, 2000])
def test_weights_that_are_8_bit_integers_already_stay_exactly_what_they_are(count: int) -> None:
    rng = np.random.default_rng(2)
    wanted = rng.integers(-127, 128, (10, 64)).astype(np.int8)
    wanted[:, 5] = 127  # the largest weight of every channel
    steps = np.ldexp(np.float32(1), rng.integers(-20, 3, 10)).astype(np.float32)
    x = correlated(count, 64)
    for integers, scales in (
        nearest(wanted * steps[:, None]),
        sequential(wanted * steps[:, None], x.T @ x),
    ):
        assert np.array_equal(integers, wanted)
        assert np.array_equal(scales, steps)


def spiking(graph: str, weights: Mapping[str, Array], x: Array, synapses: Any = "int8") -> Graph:
    """The spiking network of a small model, its weights still float."""
    network = calibrate(model(graph, weights), calibration=x, encode_input=True)
    return with_scale(network.graph(), snnc.SFN(), 0.1, "shared", synapses=synapses)


def quantized(graph: Graph, x: Array, rounding: Rounding = "sequential") -> Graph:
    found = QuantizeSynapses(samples_of(x, graph), rounding)(graph)
    verify(found, found.stage)
    return found


def dequantizations(graph: Graph) -> list[Op]:
    return [n for n in graph.nodes if isinstance(n, Op) and n.op_type == "DequantizeLinear"]


def assert_near(graph: Graph, other: Graph, x: Array) -> None:
    (output,), feeds = graph.outputs, {graph.inputs[0]: x}
    a, b = (Session(g).run(feeds)[output] for g in (graph, other))
    assert np.linalg.norm(a - b) < 0.1 * np.linalg.norm(a)  # decisions move


def test_layers_that_share_weights_share_the_integers() -> None:
    x = arrays(5, x=(64, 8))["x"]
    before = spiking(
        """g (float[N, 8] x) => (float[N, 8] y) {
            a = MatMul (x, w)
            r = Relu (a)
            y = MatMul (r, w)
        }""",
        arrays(6, w=(8, 8)),
        x,
    )
    after = quantized(before, x)
    (node,) = dequantizations(after)
    assert node.attrs["axis"] == 1
    assert [after.consts[v].dtype for v in node.inputs] == [np.int8, np.float32]
    assert after.consts[node.inputs[1]].shape == (8,)
    assert len(after.readers[node.outputs[0]]) == 2
    assert "w" not in after.consts
    assert_near(before, after, x)


def test_a_reader_without_spikes_keeps_the_float_weights() -> None:
    x = arrays(5, x=(64, 8))["x"]
    before = spiking(
        """g (float[N, 8] x) => (float[N, 8] y) {
            a = MatMul (x, w)
            b = Gemm <transB = 1> (x, w)
            c = ReduceMean <axes = [0]> (w)
            s = Add (a, b)
            y = Add (s, c)
        }""",
        arrays(6, w=(8, 8)),
        x,
    )
    after = quantized(before, x)
    assert {node.attrs["axis"] for node in dequantizations(after)} == {0, 1}
    assert len({name for node in dequantizations(after) for name in node.inputs}) == 4
    assert_near(before, after, x)


FLOAT = {
    "transposed": ("ConvTranspose (x, w)", (4, 2, 3, 3), "no integer form of ConvTranspose"),
    "stack": ("MatMul (x, w)", (4, 6, 5), "its weights are no plain matrix"),
    "left": ("MatMul (w, x)", (6, 6), "its weights stand on the left"),
}


@pytest.mark.parametrize("case", FLOAT)
def test_what_stays_float_and_why(case: str) -> None:
    call, shape, why = FLOAT[case]
    x = np.abs(arrays(5, x=(16, 4, 6, 6))["x"])
    graph = f"g (float[N, 4, 6, 6] x) => (float y) {{ y = {call} }}"
    before = spiking(graph, arrays(6, w=shape), x)
    ((_, found),) = integer_layers(before)
    assert isinstance(found, str) and found.startswith(why)
    assert quantized(before, x) == before


def test_a_convolution_over_three_axes_stays_float() -> None:
    x = np.abs(arrays(5, x=(8, 2, 4, 4, 4))["x"])
    graph = "g (float[N, 2, 4, 4, 4] x) => (float y) { y = Conv (x, w) }"
    before = spiking(graph, arrays(6, w=(3, 2, 2, 2, 2)), x)
    assert quantized(before, x) == before


CNN = """g (float[N, 4, 8, 8] x) => (float[N, 6, 6, 6] y) {
    a = Conv <pads = [1, 1, 1, 1], group = 2> (x, v)
    r = Relu (a)
    y = Conv (r, w)
}"""
CNN_WEIGHTS = arrays(7, v=(8, 2, 3, 3), w=(6, 8, 3, 3))


@pytest.mark.parametrize("rounding", ["nearest", "sequential"])
def test_convolutions(rounding: Rounding) -> None:
    x = arrays(5, x=(32, 4, 8, 8))["x"]
    before = spiking(CNN, CNN_WEIGHTS, x)
    after = quantized(before, x, rounding)
    assert [node.attrs["axis"] for node in dequantizations(after)] == [0, 0]
    assert_near(before, after, x)


def test_little_memory_takes_more_runs_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = arrays(5, x=(32, 4, 8, 8))["x"]
    before = spiking(CNN, CNN_WEIGHTS, x)
    wanted = quantized(before, x)
    monkeypatch.setattr(quantize_synapses, "MEGABYTES", 0)
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))

    assert QuantizeSynapses(samples_of(x, before), progress=progress)(before) == wanted
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("count", [16, 32, 160])
def test_how_many_inputs_of_a_layer_are_looked_at_does_not_grow_with_the_samples(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does how many of them are held at a time: each batch gives its share."""
    x = arrays(5, x=(count, 4, 8, 8))["x"]
    before = spiking(CNN, CNN_WEIGHTS, x)
    taken: dict[str, list[int]] = {}
    plain = LinearLayer.rows

    def rows(self: LinearLayer, spikes: Array, out: tuple[int, ...], some: Array) -> Array:
        found = plain(self, spikes, out, some)
        taken.setdefault(self.weights, []).append(found.shape[1])
        return found

    monkeypatch.setattr(LinearLayer, "rows", rows)
    monkeypatch.setattr(quantize_synapses, "ROWS", 320)
    quantized(before, x)
    assert {name: sum(seen) for name, seen in taken.items()} == pytest.approx(
        {"v": 320, "w": 320}, abs=3
    )
    assert all(max(seen) <= 320 * min(64, count) / count + 1 for seen in taken.values())


@pytest.mark.parametrize(
    ("width", "expected"), [(0, 16384), (100, 16384), (2048, 16384), (4608, 9216), (4000, 8388)]
)
def test_wide_layers_are_seen_less_often_but_twice_their_width(width: int, expected: int) -> None:
    assert quantize_synapses.rows_for(width) == expected


def test_wide_layers_are_rounded_to_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    x = arrays(5, x=(32, 4, 8, 8))["x"]
    before = spiking(CNN, CNN_WEIGHTS, x)
    wanted = quantized(before, x, "nearest")
    monkeypatch.setattr(quantize_synapses, "WIDEST", 1)
    found = quantized(before, x)
    assert found.consts.keys() == wanted.consts.keys()
    for name, array in wanted.consts.items():
        if array.dtype == np.int8:
            assert np.array_equal(found.consts[name], array)


# --- levels of 8 bits -------------------------------------------------------------------------


def test_every_neuron_counts_within_8_bits_and_calibration_never_saturates() -> None:
    network = calibrate(model_path("digits_vit"), calibration=calibration_path("digits_vit"))
    graph = with_scale(network.graph(), snnc.SFN(), 0.02, "shared", synapses="int8")
    limits = {"both": 127, "positive": 255}
    tops = {(n.sides, n.model.parameters.get("limit")) for n in graph.neurons}
    assert tops == set(limits.items())
    feeds = next(iter(network.samples.batches(300)))
    values = Session(graph, taps=[n.inputs[0] for n in graph.neurons]).run(feeds)
    sited = Session(network.sited, taps=[n.inputs[0] for n in network.sited.sites]).run(feeds)
    for neuron in graph.neurons:
        steps = [float(graph.consts[s]) for s in neuron.inputs[1:] if s]
        assert len(set(steps)) == 1
        if neuron.inputs[0] in sited:  # what calibration saw, before any spike
            seen = np.abs(sited[neuron.inputs[0]]).max()
            assert seen <= limits[neuron.sides] * steps[0] * (1 + 1e-5)
        counts = neuron.model.count(values[neuron.inputs[0]], steps[0], steps[-1])
        assert np.abs(counts).max() <= limits[neuron.sides]


def test_a_site_of_one_sign_gets_its_own_step() -> None:
    """Negative values were never seen: 255 positive counts, and no negative branch."""
    x = np.abs(arrays(5, x=(64, 8))["x"])
    graph = spiking("g (float[N, 8] x) => (float y) { y = MatMul (x, w) }", arrays(6, w=(8, 8)), x)
    (neuron,) = graph.neurons
    assert neuron.sides == "positive"
    assert neuron.model == snnc.SFN(limit=255)
    mirrored = spiking(
        "g (float[N, 8] x) => (float y) { y = MatMul (x, w) }", arrays(6, w=(8, 8)), -x
    )
    assert mirrored.neurons[0].sides == "negative"
    assert mirrored.neurons[0].model == snnc.SFN(limit=127)


@pytest.mark.parametrize(
    ("neuron", "sides", "expected"),
    [
        (snnc.SFN(), "both", snnc.SFN(limit=127)),
        (snnc.SFN(), "positive", snnc.SFN(limit=255)),
        (snnc.SFN(7), "positive", snnc.SFN(7)),
        (snnc.SFN(7), "both", snnc.SFN(7, limit=127)),
        (snnc.SFN(6), "both", snnc.SFN(6)),
        (snnc.SFN(8, limit=100), "both", snnc.SFN(8, limit=100)),
        (snnc.SFN(6, levels="sformer"), "both", snnc.SFN(6, levels="sformer")),
        (snnc.SFN(10, levels="linear"), "both", snnc.SFN(10, levels="linear")),
        (
            snnc.SFN(levels="fitted"),
            "both",
            snnc.SFN(levels="fitted", N=27, K=12, S=4),
        ),
        (snnc.DualMTN(127), "both", snnc.DualMTN(127)),
        (snnc.AIF(n_min=-127), "both", snnc.AIF(n_min=-127)),
    ],
)
def test_models_of_8_bits(neuron: RateNeuron, sides: Any, expected: RateNeuron) -> None:
    assert neuron.at(sides, "float") == neuron
    assert neuron.at(sides, "int8") == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"polarity": "separate"}, "integer synapses need one step for both signs"),
        ({"neuron": snnc.SFN(7, levels="sformer")}, "sformer levels of M = 7 reach 134"),
        ({"neuron": snnc.SFN(4, levels="exponential")}, "exponential levels of M = 4 reach 128"),
        ({"neuron": snnc.SFN(9)}, "dense levels of M = 9 reach 520"),
        (
            {"neuron": snnc.MTN(128)},
            "mtn counts up to 128 spikes, integer synapses take up to 127",
        ),
        ({"synapses": "int4"}, "unknown synapses 'int4'"),
    ],
)
def test_what_does_not_fit_8_bits_is_refused_before_any_work(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(snnc.CompileError) as caught:
        snnc.compile("none.onnx", calibration="none.npz", **{"synapses": "int8"} | options)
    assert message in caught.value.message


# --- whole networks ---------------------------------------------------------------------------


@pytest.mark.parametrize("neuron", ["mtn:N=16", "aif"])
def test_rate_neurons_have_integer_synapses_too(neuron: str, tmp_path: Path) -> None:
    name = "digits_cnn"
    network = snnc.compile(
        model_path(name),
        calibration=calibration_path(name),
        neuron=neuron,
        synapses="int8",
        scale=1.0,
    )
    network.save(tmp_path / "integer.onnx")
    (x,) = network.graph.inputs
    with np.load(held_out_path(name)) as data:
        feeds = {x: data[x][:50]}
    session = snnc.session(tmp_path / "integer.onnx")
    assert any(
        "SpikeConv" in node.op_type for node in onnx.load(tmp_path / "integer.onnx").graph.node
    )
    found, wanted = session.run(None, feeds)[0], Session(network.graph).run(feeds)["logits"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    assert network.evaluate(held_out_path(name)).cosine > 0.95


@pytest.fixture(scope="module")
def integer() -> Callable[[str], snnc.SpikingNetwork]:
    made: dict[str, snnc.SpikingNetwork] = {}

    def compiled(name: str) -> snnc.SpikingNetwork:
        if name not in made:
            mask = "attention_mask" if name == "digits_encoder" else None
            made[name] = snnc.compile(
                model_path(name),
                calibration=calibration_path(name),
                mask_input=mask,
                synapses="int8",
            )
        return made[name]

    return compiled


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn", "digits_vit", "digits_encoder"])
def test_integer_weights_keep_what_the_network_knows(
    name: str, integer: Callable[[str], snnc.SpikingNetwork]
) -> None:
    network = integer(name)
    report = network.report.integer
    assert report is not None and report.agreement is not None
    assert report.agreement >= 0.97
    assert len(report.layers) == len(dequantizations(network.graph))
    assert {layer.why for layer in report.floats} <= {"direct-coded"}
    assert report.share is not None and report.share > 0.3
    result = network.evaluate(held_out_path(name))
    assert result.snn_top1 is not None and result.ann_top1 is not None
    assert result.snn_top1 >= result.ann_top1 - 0.035
    assert result.cosine >= 0.93
    assert 0 < result.energy.ratio_spikes < 1


def test_energy_counts_integer_weights_as_it_counts_float_ones(
    integer: Callable[[str], snnc.SpikingNetwork],
) -> None:
    network = integer("digits_vit")
    calibrated = calibrate(model_path("digits_vit"), calibration=calibration_path("digits_vit"))
    scale = network.report.scale
    plain = with_scale(calibrated.graph(), snnc.SFN(), scale, "shared", synapses="int8")
    x = held_out_path("digits_vit")
    mine = network.energy(x)
    other = snnc.evaluate(network.ann, plain, samples_of(x, plain)).energy
    assert [layer.macs for layer in mine.layers] == [layer.macs for layer in other.layers]
    assert [layer.kind for layer in mine.layers] == [layer.kind for layer in other.layers]
    assert mine.ratio_spikes == pytest.approx(other.ratio_spikes, rel=0.02)


def test_sformer_levels_of_six(integer: Callable[[str], snnc.SpikingNetwork]) -> None:
    network = snnc.compile(
        model_path("digits_cnn"),
        neuron=snnc.SFN(6, levels="sformer"),
        calibration=calibration_path("digits_cnn"),
        scale=0.1,
        synapses="int8",
    )
    assert {n.model for n in network.graph.neurons} == {snnc.SFN(6, levels="sformer")}
    assert network.report.polarity == "shared"
    assert network.report.integer is not None and network.report.integer.agreement is None


def test_no_more_levels_are_sought_for_integer_synapses() -> None:
    """No lambda reaches the fidelity: with float synapses M would grow to 10."""
    network = snnc.compile(
        model_path("digits_cnn"),
        calibration=calibration_path("digits_cnn"),
        fidelity=1.0,
        synapses="int8",
    )
    assert network.report.neuron == snnc.SFN()


def test_the_reported_agreement_is_that_of_the_network_with_integer_weights(
    integer: Callable[[str], snnc.SpikingNetwork],
) -> None:
    report = integer("digits_vit").report
    assert report.choice is not None and report.integer is not None
    assert report.choice.reached
    calibrated = calibrate(model_path("digits_vit"), calibration=calibration_path("digits_vit"))
    graph = integer("digits_vit").graph
    reference = Reference(calibrated.ann, graph, calibrated.samples, report.output)
    assert reference.agreement(Session(graph).run) == report.integer.agreement
    assert report.integer.agreement == report.choice.finished
    assert report.choice.agreement >= 0.98


def test_who_watches_sees_the_integer_network_once() -> None:
    seen: list[tuple[str, Graph]] = []
    network = snnc.compile(
        model_path("digits_mlp"),
        calibration=calibration_path("digits_mlp"),
        synapses="int8",
        watch=Watch(graph=lambda name, graph: seen.append((name, graph))),
    )
    (graph,) = (graph for name, graph in seen if name == QuantizeSynapses.name)
    assert dict(graph.consts).keys() == dict(network.graph.consts).keys()
    assert len(dequantizations(graph)) == len(dequantizations(network.graph)) > 0
    assert [name for name, _ in seen].count("substitute") == 1


def test_a_network_that_loses_by_integer_weights_says_so(
    integer: Callable[[str], snnc.SpikingNetwork],
) -> None:
    from snnc.compile_report import warnings_of

    network = integer("digits_mlp")
    report = network.report
    assert report.integer is not None
    calibration = calibrate(model_path("digits_mlp"), calibration=calibration_path("digits_mlp"))
    found = warnings_of(
        network.graph,
        report.choice,
        0.98,
        calibration.calibration,
        report.neuron,
        report.neuron,
        replace(report.integer, agreement=0.5),
    )
    assert any("the integer weights bring the argmax agreement" in line for line in found)


def test_every_site_of_an_integer_network_can_be_measured(
    integer: Callable[[str], snnc.SpikingNetwork],
) -> None:
    network = integer("digits_vit")
    found = snnc.diagnose(network.ann, network.graph, held_out_path("digits_vit"), limit=16)
    assert len(found.sites) == 25
    name = next(n for n, a in network.ann.consts.items() if a.ndim == 2 and a.size > 1000)
    other = {**network.ann.consts, name: -network.ann.consts[name]}
    with pytest.raises(snnc.CompileError, match="weights of"):
        snnc.diagnose(replace(network.ann, consts=other), network.graph, np.zeros((1, 1, 8, 8)))
