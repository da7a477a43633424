"""Biases corrected on the spiking network's own activations; networks run part by part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

import snnc
from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.data import Samples, samples_of
from snnc.energy import EnergyMeter
from snnc.errors import CompileError
from snnc.frontend import load
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Node, Op
from snnc.ir.ops import rectifier_bound
from snnc.ir.verify import verify
from snnc.neurons.sfn import SFN
from snnc.passes import partwise, side_by_side
from snnc.passes.bias_shifts import SHIFTS, BiasShift
from snnc.passes.correct_biases import CorrectBiases
from snnc.passes.own_biases import with_own_biases
from snnc.passes.partwise import Partwise
from snnc.passes.side_by_side import spiking_of
from snnc.prepare import prepare
from snnc.runtime import Session
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model


def residual() -> tuple[ModelProto, Array]:
    """Two branches on one site, one without a bias, a residual stream, a rectifier, a Gemm."""
    weights = arrays(0, first=(6, 8), left=(8, 8), lift=(8,), right=(8, 8), out=(8, 8), last=(8, 3))
    text = """g (float[b, 6] x) => (float[b, 3] y) {
        a = MatMul (x, first)
        t = Tanh (a)
        l0 = MatMul (t, left)
        l = Add (l0, lift)
        u = Relu (l)
        r = MatMul (t, right)
        v = Tanh (r)
        w = Mul (u, v)
        o = MatMul (w, out)
        s = Add (t, o)
        y = Gemm (s, last)
    }"""
    return model(text, weights), arrays(1, x=(96, 6))["x"] + 0.5


@pytest.fixture(scope="module")
def network() -> CalibratedNetwork:
    onnx, x = residual()
    return snnc.calibrate(onnx, calibration=x)


def corrected(network: CalibratedNetwork, scale: float = 0.5, timesteps: int = 1) -> Graph:
    graph = network.graph(1.0)
    verify(graph, CorrectBiases.before)
    graph = CorrectBiases(SFN(), network.samples, scale, "shared", timesteps)(graph)
    verify(graph, CorrectBiases.after)
    return graph


def outputs(graph: Graph, value: str, samples: Samples) -> Array:
    return Session(graph, taps=(value,)).run(next(samples.batches(1000)))[value]


HALF = np.isin(np.arange(96) // 16, (0, 3, 4))
"""Of 96 samples in batches of 32 whose halves take turns."""


def agreed(wanted: Array, found: Array, least: float) -> Array:
    """The shift of [samples, channels] in front of max(., least), -inf for nothing; 0 where that of
    each half is wrong for the other."""

    def errors(shift: Array, some: Array) -> Array:
        behind = np.maximum(found[some] + shift, least) - np.maximum(wanted[some], least)
        return np.asarray(np.square(behind).mean(0))

    def best(some: Array) -> Array:
        if least == -np.inf:
            return np.asarray((wanted - found)[some].mean(0))
        tried = SHIFTS[:, None] * wanted.std(0)
        error = np.stack([errors(shift, some) for shift in tried])
        return np.asarray(tried[error.argmin(0), np.arange(wanted.shape[1])])

    gain = sum(
        (errors(np.zeros(()), new) - errors(best(old), new)).sum()
        for old, new in ((HALF, ~HALF), (~HALF, HALF))
    )
    return best(HALF | ~HALF) if gain > 0 else np.zeros(wanted.shape[1])


def one_by_one(network: CalibratedNetwork, scale: float) -> dict[str, Array]:
    """The same biases, from both networks run whole for every layer."""
    trained, biases = with_own_biases(network.graph(1.0))
    graph = trained
    for bias in biases.values():
        spiking = spiking_of(graph, SFN(), scale, "shared", 1)
        wanted = outputs(trained, bias.value, network.samples)
        found = outputs(spiking, bias.value, network.samples)
        reader = trained.only_reader(bias.value)
        bound = rectifier_bound(trained, reader) if isinstance(reader, Op) else None
        shift = agreed(wanted, found, -np.inf if bound is None else 0)
        consts = {**graph.consts, bias.name: (graph.consts[bias.name] + shift).astype(np.float32)}
        graph = replace(graph, consts=consts)
    return {bias.value: graph.consts[bias.name] for bias in biases.values()}


@pytest.mark.parametrize("held", [0, partwise.BYTES])
def test_as_if_every_layer_ran_both_networks(
    network: CalibratedNetwork, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether what lies between is held or computed again."""
    monkeypatch.setattr(partwise, "BYTES", held)
    monkeypatch.setattr(side_by_side, "batch_size", lambda graph, values: 32)
    graph, wanted = corrected(network), one_by_one(network, 0.5)
    assert set(wanted) == {"l", "r", "o", "y"}
    for value, bias in wanted.items():
        node = graph.producer[value]
        found = graph.consts[
            node.inputs[2 if isinstance(node, Op) and node.op_type == "Gemm" else 1]
        ]
        np.testing.assert_allclose(found, bias, atol=2e-5)


def test_what_is_held_is_not_computed_again(
    network: CalibratedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trained network runs once in all, the spiking one once and its corrected layers twice."""
    ran: list[Node] = []

    class Counted(Session):
        def __init__(self, graph: Graph) -> None:
            ran.extend(graph.nodes)
            super().__init__(graph)

    monkeypatch.setattr(partwise, "Session", Counted)
    graph = corrected(network)
    spiking = spiking_of(graph, SFN(), 0.5, "shared", 1)
    layers = 4
    assert len(ran) <= len(graph.nodes) + len(spiking.nodes) + 2 * layers


@pytest.mark.parametrize("timesteps", [1, 3])
def test_means_of_outputs_are_those_of_the_trained_network(
    timesteps: int,
) -> None:
    """Of samples that are all the same, so that no shift does harm."""
    onnx, x = residual()
    network = snnc.calibrate(onnx, calibration=np.repeat(x[:1], 64, 0))
    errors = []
    for graph in (network.graph(1.0), corrected(network, timesteps=timesteps)):
        spiking = with_scale(graph, SFN(), 0.5, "shared", timesteps=timesteps)
        feeds = next(network.samples.batches(1000))
        found, wanted = Session(spiking).run(feeds)["y"], Session(network.ann).run(feeds)["y"]
        errors.append(np.abs((found - wanted).mean(0)).max())
    assert errors[1] < 1e-5 < 1e-2 < errors[0]


def test_biases_cost_no_energy(network: CalibratedNetwork) -> None:
    feeds = next(network.samples.batches(1000))
    macs = []
    for graph in (network.graph(1.0), corrected(network)):
        meter = EnergyMeter(with_scale(graph, SFN(), 0.5, "shared"))
        session = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of)
        meter.update(session.run(feeds), 96)
        energy = meter.energy()
        macs.append((energy.ann_macs, energy.analog_macs))
    assert macs[0] == macs[1]


def test_what_is_not_trained_on_spikes_stays(network: CalibratedNetwork) -> None:
    """The layer on the raw input has no neuron in front."""
    graph = corrected(network)
    node = graph.producer["a"]
    np.testing.assert_array_equal(graph.consts[node.inputs[1]], network.sited.consts["first"])
    assert not any(isinstance(n, Op) and n.op_type == "Add" for n in graph.readers["a"])


def test_padding_is_left_out() -> None:
    """What stands at masked positions changes nothing; without the mask it does."""
    path = model_path("digits_encoder")
    with np.load(calibration_path("digits_encoder")) as loaded:
        data = {name: loaded[name][:8] for name in ("input_ids", "attention_mask")}
    calibrated = snnc.calibrate(path, calibration=data, mask_input="attention_mask")
    graph = calibrated.graph(1.0)
    other = {**data, "input_ids": np.where(data["attention_mask"] == 0, 1, data["input_ids"])}
    found = []
    for mask in ("attention_mask", None):
        both = [
            CorrectBiases(SFN(), samples_of(d, calibrated.ann), 0.3, "shared", mask_input=mask)
            for d in (data, other)
        ]
        a, b = (fit(graph) for fit in both)
        found.append(max(float(np.abs(a.consts[n] - b.consts[n]).max()) for n in _biases(graph)))
    assert found[0] < 1e-4 < found[1]


@pytest.mark.parametrize("behind", ["", "Relu", "Sigmoid"])
def test_a_shift_that_harms_other_samples_is_left_out(behind: str) -> None:
    """Halves that err to opposite sides, and halves that err alike."""
    layer = "l = MatMul (t, w)  b = Add (l, v)"
    outer = behind or "Neg"
    text = f"g (float[b, 4] x) => (float[b, 4] y) {{ t = Tanh (x) {layer} y = {outer} (b) }}"
    graph = prepare(load(model(text, arrays(0, w=(4, 4), v=(4,)))))[1]
    graph, biases = with_own_biases(graph)
    wanted = arrays(1, x=(4, 64))["x"]
    for sign, shifts in ((-1, False), (1, True)):
        shift = BiasShift(graph, biases["b"])
        apart = np.where(np.arange(64) < 32, 0.5, 0.5 * sign).astype(np.float32)
        shift.add(wanted, wanted - apart, 1.0, 64)
        np.testing.assert_allclose(shift.shift(), 0.5 * shifts, atol=0.03)


@pytest.mark.parametrize("behind", ["Neg", "Relu"])
def test_batches_of_one_entry_take_turns(behind: str) -> None:
    nodes = f"t = Tanh (x)  b = MatMul (t, w)  y = {behind} (b)"
    text = f"g (float[b, 4] x) => (float[b, 4] y) {{ {nodes} }}"
    graph = prepare(load(model(text, arrays(0, w=(4, 4)))))[1]
    graph, biases = with_own_biases(graph)
    shift = BiasShift(graph, biases["b"])
    wanted = arrays(1, x=(4, 64))["x"]
    for entry in np.split(wanted, 64, axis=1):
        shift.add(entry, entry - 0.5, 1 / 64, 1)
    np.testing.assert_allclose(shift.shift(), 0.5, atol=0.03)


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("behind", ["Neg", "Relu"])
def test_places_of_one_sample_do_not_confirm_each_other(behind: str, batch: int) -> None:
    """Each sample errs by chance, the same at all of its 16 places."""
    nodes = f"t = Tanh (x)  b = MatMul (t, w)  y = {behind} (b)"
    text = f"g (float[b, 16, 4] x) => (float[b, 16, 4] y) {{ {nodes} }}"
    graph = prepare(load(model(text, arrays(0, w=(4, 4)))))[1]
    graph, biases = with_own_biases(graph)
    rng, kept = np.random.default_rng(0), 0
    for _ in range(100):
        shift = BiasShift(graph, biases["b"])
        wanted = rng.normal(1, 1, (4, 8, 16)).astype(np.float32)
        found = wanted + rng.normal(0, 1, (4, 8, 1)).astype(np.float32)
        for start in range(0, 8, batch):
            some = [each[:, start : start + batch] for each in (wanted, found)]
            count = some[0].shape[1]
            shift.add(some[0].reshape(4, -1), some[1].reshape(4, -1), count / 8, count)
        kept += bool(shift.shift().any())
    assert kept < 60


STRETCHED = {
    "a longer one": np.ones(3),
    "minus infinity": np.array([-np.inf]),
    "one more axis": np.ones((2, 1, 1)),
}


@pytest.mark.parametrize("case", STRETCHED)
def test_constants_that_stretch_or_suppress_are_no_part_of_a_layer(case: str) -> None:
    shape = "2, b, 1" if STRETCHED[case].ndim == 3 else f"b, {STRETCHED[case].size}"
    text = f"""g (float[b, 4] x) => (float[{shape}] y) {{
        t = Tanh (x)  l = Gemm (t, w, c)  y = Add (l, k) }}"""
    weights = arrays(0, w=(4, 1), c=(1,)) | {"k": STRETCHED[case].astype(np.float32)}
    biases = with_own_biases(prepare(load(model(text, weights)))[1])[1]
    assert [bias.value for bias in biases.values()] == ["l"]


def test_a_rectifier_is_seen_behind_zero_points_by_place() -> None:
    text = """g (float[b, 3, 4] x) => (float[b, 3, 4] y) {
        t = Tanh (x)  l = MatMul (t, w)  m = Add (l, p)  y = Relu (m) }"""
    graph = prepare(load(model(text, arrays(0, w=(4, 4), p=(3, 4)))))[1]
    (bias,) = with_own_biases(graph)[1].values()
    assert bias.value == "m"


def _biases(graph: Graph) -> list[str]:
    return [bias.name for bias in with_own_biases(graph)[1].values()]


def test_a_mask_that_is_no_input(network: CalibratedNetwork) -> None:
    with pytest.raises(CompileError, match="mask"):
        CorrectBiases(SFN(), network.samples, mask_input="m")(network.graph(1.0))


def test_a_trained_network_is_nearer_on_images_not_seen() -> None:
    with np.load(calibration_path("digits_vit")) as loaded:
        data = {name: loaded[name][:128] for name in loaded if name != "labels"}
    calibrated = snnc.calibrate(model_path("digits_vit"), calibration=data)
    graph, samples = calibrated.graph(1.0), calibrated.samples
    with np.load(held_out_path("digits_vit")) as loaded:
        held_out = {name: loaded[name][:128] for name in graph.inputs}
    (output,) = graph.outputs
    wanted = Session(graph).run(held_out)[output]
    errors = []
    for each in (graph, CorrectBiases(SFN(), samples, 0.4, "shared")(graph)):
        found = Session(with_scale(each, SFN(), 0.4, "shared")).run(held_out)[output]
        errors.append(float(np.square(found - wanted).mean()))
    assert errors[1] < 0.7 * errors[0]


@settings(deadline=None, max_examples=10)
@given(st.data())
def test_parts_compute_what_the_whole_computes(data: st.DataObject) -> None:
    """Sums of earlier values, each with a constant of its own, some of which change in between."""
    size = data.draw(st.integers(3, 9))
    lines, names = [], ["x"]
    for i in range(size):
        a, b = (data.draw(st.sampled_from(names)) for _ in range(2))
        lines += [f"p{i} = Add ({a}, c{i})", f"v{i} = Mul (p{i}, {b})"]
        names += [f"p{i}", f"v{i}"]
    text = f"g (float[b, 2] x) => (float[b, 2] v{size - 1}) {{ {' '.join(lines)} }}"
    consts = arrays(size, **{f"c{i}": (2,) for i in range(size)})
    graph = load(model(text, consts))
    alive = [i for i in range(size) if f"p{i}" in graph.producer]
    x = arrays(7, x=(10, 2))["x"]
    parts = Partwise(samples_of(x, graph), 4)
    for i in alive:
        value, later = f"p{i}", [f"p{j}" for j in alive if j > i]
        found = [values[value] for values in parts.run(graph, [value], later, {f"c{i}"})]
        whole = Session(graph, taps=(value,)).run({"x": x})[value]
        np.testing.assert_array_equal(np.concatenate(found), whole)
        graph = replace(graph, consts={**graph.consts, f"c{i}": graph.consts[f"c{i}"] + 1})


def test_absent_results_are_no_values() -> None:
    """A node without all of its results in one part, one without all of its inputs in the next."""
    text = """g (float[b, 4] x) => (float[b, 4] y) {
        n, , d = LayerNormalization (x, scale)
        a = Add (n, c)
        m = Clip (a, , high)
        s = Mul (m, d)
        y = Add (s, e)
    }"""
    consts = {**arrays(0, scale=(4,), c=(4,), e=(4,)), "high": np.array(1, np.float32)}
    graph = load(model(text, consts))
    x = arrays(1, x=(6, 4))["x"]
    parts = Partwise(samples_of(x, graph), 4)
    assert len(list(parts.run(graph, ["a"], ["y"], {"c"}))) == 2
    found = [values["y"] for values in parts.run(graph, ["y"])]
    np.testing.assert_allclose(np.concatenate(found), Session(graph).run({"x": x})["y"], rtol=1e-6)
