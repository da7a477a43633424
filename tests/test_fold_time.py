"""Several timesteps: what is folded, compensated and refused, against a loop in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

import snnc
from snnc import energy
from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.export import export
from snnc.ir.functions import FUNCTIONS, INTEGER_WEIGHTS, MAX_POOL_COUNTS
from snnc.ir.graph import DOMAIN, Graph, Replacement
from snnc.ir.node import Array, Loc, Neuron, Op, real
from snnc.ir.parse import parse_graph
from snnc.ir.spike_times import BODIES as SPIKE_TIMES
from snnc.ir.text import format_graph
from snnc.ir.time import LAST, REPEAT, RUNNING_MEAN, TELESCOPE, Form, forms
from snnc.ir.verify import verify
from snnc.passes.fold_time import FoldTime, require_foldable
from snnc.runtime import Session
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model

SFN = snnc.SFN()


def spiking(network: CalibratedNetwork, timesteps: int, scale: float = 0.2) -> Graph:
    return with_scale(network.graph(), SFN, scale, timesteps=timesteps)


def types_of(graph: Graph) -> list[str]:
    return [node.op_type for node in graph.nodes if isinstance(node, Op)]


# --- the operations ---------------------------------------------------------------------------


def applied(kind: str, x: Array, timesteps: int) -> Array:
    """An operation's function body in onnxruntime, with and without optimisations, and in
    onnx.reference; all three give the same."""
    op = Op(("y",), ("x",), Loc(("n",)), kind, {"timesteps": timesteps})
    types = {"x": real("float32", (None,) * x.ndim), "y": real("float32", (None,) * x.ndim)}
    graph = Graph("g", ("x",), ("y",), (op,), types, {})
    found = Session(graph, kernels=False).run({"x": x})["y"]
    plain = Session(graph, kernels=False, optimize=False).run({"x": x})["y"]
    np.testing.assert_array_equal(plain, found)
    reference = ReferenceEvaluator(export(graph).model).run(None, {"x": x})
    np.testing.assert_array_equal(np.asarray(reference[0]), found)  # type: ignore[index]
    return found


@pytest.mark.parametrize("shape", [(6,), (6, 3), (12, 2, 2), (0, 4)])
def test_operations_in_time_against_numpy(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    steps = x.reshape(3, -1)
    numbers = np.arange(1, 4, dtype=np.float32)[:, None]
    means = np.add.accumulate(steps, axis=0, dtype=np.float32) / numbers
    np.testing.assert_array_equal(applied(RUNNING_MEAN, x, 3), means.reshape(shape))
    before = np.concatenate([np.zeros((1, steps.shape[1]), np.float32), (steps * numbers)[:-1]])
    instants = steps * numbers - before
    np.testing.assert_array_equal(applied(TELESCOPE, x, 3), instants.reshape(shape))
    np.testing.assert_array_equal(applied(REPEAT, x, 3), np.concatenate([x, x, x]))
    np.testing.assert_array_equal(applied(LAST, x, 3), x[len(x) - len(x) // 3 :])


def test_what_is_undefined_before_the_first_spikes_is_made_up_for() -> None:
    """0/0 while nothing has fired: the mean of what neurons read is that of the defined means."""
    text = """g (float[N,6] x) => (float[N,3] y) {
        h = MatMul (x, w1)
        r = Relu (h)
        s = MatMul (r, w2)
        low = ReduceMin <axes = [1]> (s)
        high = ReduceMax <axes = [1]> (s)
        above = Sub (s, low)
        range = Sub (high, low)
        part = Div (above, range)
        z = Relu (part)
        y = MatMul (z, w3)
    }"""
    weights = arrays(3, w1=(6, 20), w2=(20, 9), w3=(9, 3))
    feeds = arrays(4, x=(40, 6))
    net = snnc.calibrate(model(text, weights), calibration=dict(feeds))
    settings = {"scale": 1.0, "threshold_rule": "tensor-percentile"}
    network = snnc.compile(net, neuron="if:potential=0", timesteps=64, **settings)  # type: ignore[arg-type]
    wanted = Session(net.ann).run(feeds)["y"]
    for kernels in (True, False):
        found = Session(network.graph, kernels=kernels).run(feeds)["y"]
        assert np.abs(found - wanted).max() < 0.2 * np.abs(wanted).max()


def test_a_telescope_undoes_a_running_mean() -> None:
    x = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)
    np.testing.assert_allclose(applied(TELESCOPE, applied(RUNNING_MEAN, x, 4), 4), x, atol=1e-5)


def test_every_operation_in_time_is_tested() -> None:
    in_time = {RUNNING_MEAN, TELESCOPE, REPEAT, LAST}
    others = {f"{DOMAIN}.Silu", INTEGER_WEIGHTS, MAX_POOL_COUNTS}
    kinds = {f"{DOMAIN}.{name}" for name in FUNCTIONS if name not in SPIKE_TIMES}
    assert kinds - others == in_time


# --- folded networks --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vit() -> CalibratedNetwork:
    return snnc.calibrate(model_path("digits_vit"), calibration=calibration_path("digits_vit"))


@pytest.fixture(scope="module")
def cnn() -> CalibratedNetwork:
    return snnc.calibrate(model_path("digits_cnn"), calibration=calibration_path("digits_cnn"))


def test_one_timestep_is_the_network_itself(vit: CalibratedNetwork) -> None:
    assert spiking(vit, 1) == with_scale(vit.graph(), SFN, 0.2)


def test_nonlinear_operations_compute_on_means_and_neurons_on_instants(
    vit: CalibratedNetwork,
) -> None:
    graph = spiking(vit, 3)
    found = forms(graph)
    for node in graph.nodes:
        read = {found[name] for name in node.inputs if name in found}
        if isinstance(node, Neuron):
            assert read <= {Form.INSTANT} and node.timesteps == 3
        elif isinstance(node, Op) and node.op_type in ("Softmax", "LayerNormalization", "Gelu"):
            assert read <= {Form.MEAN}
    products = [n for n in graph.nodes if isinstance(n, Op) and n.op_type == "MatMul"]
    of_two = [n for n in products if all(v in found for v in n.inputs)]
    assert of_two and all({found[v] for v in n.inputs} == {Form.MEAN} for n in of_two)


def test_layers_on_the_raw_input_run_once(cnn: CalibratedNetwork) -> None:
    graph = spiking(cnn, 5)
    assert types_of(graph).count(REPEAT) == 1
    first = next(n for n in graph.nodes if isinstance(n, Op) and n.op_type == "Conv")
    assert first.inputs[0] in graph.inputs


@pytest.mark.parametrize("name", ["vit", "cnn"])
def test_the_first_timestep_is_the_network_of_one(
    name: str, request: pytest.FixtureRequest
) -> None:
    """At T = 1 nothing is left over and a mean is its instant: the first block equals it."""
    network: CalibratedNetwork = request.getfixturevalue(name)
    feeds = next(network.calibration.reservoir.batches(7))
    once, folded = spiking(network, 1), spiking(network, 4)
    taps = [neuron.outputs[0] for neuron in once.neurons]
    single = Session(once, taps=taps).run(feeds)
    several = Session(folded, taps=taps).run(feeds)
    for tap in taps:
        first = several[tap][: len(single[tap])]
        assert np.mean(~np.isclose(first, single[tap], rtol=1e-3, atol=1e-6)) < 0.01
    require_foldable(network.graph(), folded, feeds, feeds)


def test_sizes_that_are_read_make_no_means() -> None:
    """A Reshape to sizes of its input is linear in it: instants stay instants."""
    source = model(
        """g (float[N, 4, 8] x) => (float[N, 4, 8] y) {
            h = MatMul (x, w0)
            r = Relu (h)
            a = MatMul (r, w0)
            sizes = Shape <start = 0, end = 2> (a)
            halves = Constant <value_ints = [2, 4]> ()
            target = Concat <axis = 0> (sizes, halves)
            b = Reshape (a, target)
            c = MatMul (b, w1)
            eight = Constant <value_ints = [8]> ()
            again = Concat <axis = 0> (sizes, eight)
            d = Reshape (c, again)
            y = MatMul (d, w0)
        }""",
        arrays(7, w0=(8, 8), w1=(4, 4)),
    )
    x = arrays(8, x=(30, 4, 8))["x"]
    network = snnc.compile(source, neuron=SFN, scale=0.1, calibration={"x": x}, timesteps=3)
    kinds = types_of(network.graph)
    assert TELESCOPE not in kinds and kinds.count(RUNNING_MEAN) == 1  # of the output
    (wanted,) = Session(snnc.load(source)).run({"x": x}).values()
    found = network.run({"x": x})["y"]
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)


OPERATIONS = {
    "a leaky ReLU": ("b = LeakyRelu (a)", Form.MEAN),
    "pooling of maxima": ("b = MaxPool <kernel_shape = [2, 2]> (a)", Form.MEAN),
    "a product with itself": ("b = Mul (a, a)", Form.MEAN),
    "a choice by its sign": ("p = Relu (a) c = Cast <to = 9> (p) b = Where (c, a, k)", Form.MEAN),
    "a divisor": ("b = Div (k, a)", Form.MEAN),
    "a maximum": ("b = Max (a, k)", Form.MEAN),
    "a scale": ("b = Mul (a, k)", Form.INSTANT),
    "a sum": ("b = Sub (k, a)", Form.INSTANT),
    "an average": ("b = AveragePool <kernel_shape = [2, 2]> (a)", Form.INSTANT),
    "layout": ("b = Transpose <perm = [0, 1, 3, 2]> (a)", Form.INSTANT),
}


@pytest.mark.parametrize(("text", "form"), OPERATIONS.values(), ids=OPERATIONS)
def test_what_an_operation_behind_spikes_computes_on(text: str, form: Form) -> None:
    """Nonlinear ones on means, where nothing else is legal; linear ones on what is there."""
    source = model(
        f"""g (float[N, 1, 4, 4] x) => (float[N, 2, H, W] y) {{
            h = Conv (x, w) r = Relu (h) a = Conv (r, v) {text} y = Conv (b, v) }}""",
        arrays(9, w=(2, 1, 1, 1), v=(2, 2, 1, 1), k=(1,)),
    )
    data = arrays(10, x=(40, 1, 4, 4))
    graph = snnc.compile(source, neuron=SFN, scale=0.1, calibration=data, timesteps=4).graph
    found = forms(graph)
    (node,) = (n for n in graph.nodes if isinstance(n, Op) and "b" in n.outputs)
    assert {found[v] for v in node.inputs if v in found} == {form}
    means = {
        n.outputs[0]: n.inputs[0]
        for n in graph.nodes
        if isinstance(n, Op) and n.op_type == RUNNING_MEAN
    }
    bare = replace(node, inputs=tuple(means.get(v, v) for v in node.inputs))
    if form is Form.MEAN:
        with pytest.raises(snnc.CompileError, match="a nonlinear operation reads means only"):
            verify(
                graph.rewrite(lambda n: Replacement((bare,)) if n == node else None), graph.stage
            )


ATTENTION = """g (float[N, 6, 8] x) => (float[N, 6, 6] scores) {
    h = MatMul (x, w0)
    g = Gelu (h)
    q = MatMul (g, wq)
    k = MatMul (g, wk)
    kt = Transpose <perm = [0, 2, 1]> (k)
    product = MatMul (q, kt)
    scores = Softmax <axis = -1> (product)
}"""


def test_the_folded_network_is_the_compensated_recurrence() -> None:
    """Spec 2.7 step by step: u = r + x, o = SFN(u), r = u - o; t f(mean_t) - (t-1) f(mean_(t-1));
    S_A S_B / t for products; every neuron fed with instants."""
    weights = arrays(3, w0=(8, 8), wq=(8, 8), wk=(8, 8))
    source = model(ATTENTION, weights, opset=20)
    x = arrays(4, x=(16, 6, 8))["x"]
    timesteps = 3
    network = snnc.calibrate(source, calibration={"x": x})
    graph = spiking(network, timesteps, 0.25)
    found = Session(graph).run({"x": x})["scores"]

    steps = {n.loc.names: [float(graph.consts[s]) for s in n.inputs[1:]] for n in graph.neurons}
    assert len(steps) == 3
    at_g, at_q, at_k = steps.values()
    session = Session(snnc.load(source), taps=("g",))
    gelu = session.run({"x": x})["g"]

    def neuron(left: Array, x: Array, step: list[float]) -> tuple[Array, Array]:
        membrane = (left + x).astype(np.float32)
        spikes = SFN.step(membrane, *step)
        return membrane - spikes, spikes

    zero = np.zeros_like(gelu)
    left_g, left_q, left_k, sum_q, sum_k = zero, zero, zero, zero, zero
    for _ in range(timesteps):
        left_g, spiking_input = neuron(left_g, gelu, at_g)
        left_q, q = neuron(left_q, spiking_input @ weights["wq"], at_q)
        left_k, k = neuron(left_k, spiking_input @ weights["wk"], at_k)
        sum_q, sum_k = sum_q + q, sum_k + k
    product = np.einsum("nik,njk->nij", sum_q / timesteps, sum_k / timesteps)
    e = np.exp(product - product.max(-1, keepdims=True))
    wanted = e / e.sum(-1, keepdims=True)
    apart = np.abs(found - wanted).max(axis=(1, 2))
    assert np.mean(apart < 1e-4) > 0.8  # a decision at a threshold may fall otherwise


def test_an_artifact_of_several_timesteps_is_read_back(
    cnn: CalibratedNetwork, tmp_path: Path
) -> None:
    network = snnc.compile(cnn, neuron="if", scale=0.5, timesteps=4)
    path = tmp_path / "snn.onnx"
    network.save(path)
    again = snnc.load(path)
    assert again.timesteps == 4
    assert again.nodes == network.graph.nodes
    text = format_graph(again)
    assert "timesteps=4" in text and parse_graph(text, again.consts) == again
    with np.load(held_out_path("digits_cnn")) as data:
        x = data[again.inputs[0]][:9]
    for kernels in (False, True):
        values = snnc.session(path, kernels=kernels).run(None, {again.inputs[0]: x})
        want = network.run({again.inputs[0]: x})
        np.testing.assert_allclose(values[0], want[again.outputs[0]], rtol=1e-4, atol=1e-4)


def test_energy_adds_up_over_timesteps(cnn: CalibratedNetwork) -> None:
    """The trained network's MACs stay; layers on the raw input multiply once; spikes add up."""
    data = held_out_path("digits_cnn")
    once = snnc.compile(cnn, neuron=SFN, scale=0.2).energy(data)
    thrice = snnc.compile(cnn, neuron=SFN, scale=0.2, timesteps=3).energy(data)
    assert thrice.ann_macs == once.ann_macs
    assert thrice.analog_macs == once.analog_macs
    assert 2 < thrice.ratio_spikes_eq44 / once.ratio_spikes_eq44 < 4


@pytest.mark.parametrize("network, neuron", [("cnn", "if"), ("cnn", SFN), ("vit", SFN)])
def test_sums_of_spikes_give_the_energy_of_all_spikes(
    network: str,
    neuron: snnc.RateNeuron | str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where products of spikes need all of them."""
    calibrated, rule = request.getfixturevalue(network), "tensor-percentile"
    spiking = snnc.compile(calibrated, neuron=neuron, scale=0.3, timesteps=3, threshold_rule=rule)
    data = next(calibrated.calibration.reservoir.batches(20))
    found = spiking.energy(data)
    monkeypatch.setattr(energy, "with_spike_sums", lambda graph, *values: (graph, {}))
    assert found == spiking.energy(data)


def test_spikes_of_both_signs_at_one_timestep_both_count(vit: CalibratedNetwork) -> None:
    """Two membranes may fire at once, so that the output holds the difference."""
    graph = with_scale(vit.graph(), snnc.DualIF(), 0.3, timesteps=4)
    feeds = next(vit.samples.batches(10))
    drives = Session(graph, taps=[n.inputs[0] for n in graph.neurons]).run(feeds)
    spikes, both = 0.0, 0
    for neuron in graph.neurons:
        x = drives[neuron.inputs[0]]
        x = x.reshape(4, -1, *x.shape[1:])
        fired = []
        for place, sign in ((1, "positive"), (2, "negative")):
            step = graph.consts[neuron.inputs[place]] if neuron.inputs[place] else None
            if step is not None:
                fired.append(np.abs(neuron.model.over_time(x, **{sign: step})) > 0)
        spikes += sum(each.sum() for each in fired)
        both += (fired[0] & fired[-1]).sum() if len(fired) == 2 else 0
    energy = snnc.compile(
        vit, neuron="dual-if", scale=0.3, timesteps=4, threshold_rule="tensor-percentile"
    ).energy(feeds)
    assert both > 0
    assert energy.fired_spikes == energy.fired_events == pytest.approx(spikes / 10)


def test_the_meter_of_a_convolutional_network_holds_one_row_for_all_timesteps(
    cnn: CalibratedNetwork,
) -> None:
    meter = energy.EnergyMeter(spiking(cnn, 5))
    session = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of)
    values = session.run(next(cnn.samples.batches(4)))
    assert meter.taps and {len(values[v]) for v in meter.taps} == {1}


def test_two_membranes_are_one_where_only_positive_spikes_exist(cnn: CalibratedNetwork) -> None:
    """Behind a ReLU: the mean of max(x(t), 0) is not what max(x, 0) makes of the mean."""
    single = snnc.compile(cnn, neuron="if", scale=1.0, timesteps=16)
    both = snnc.compile(cnn, neuron="dual-if", scale=1.0, timesteps=16)
    assert both.graph.nodes == single.graph.nodes
    assert both.report.neuron.name == "dual-if"
    once = snnc.compile(cnn, neuron="dual-mtn", scale=1.0).graph
    x = np.linspace(-1, 9, 4001, dtype=np.float32)
    for neuron in once.neurons:
        assert neuron.model == snnc.MTN(bound=neuron.model.parameters["bound"])  # type: ignore[arg-type]
        np.testing.assert_array_equal(neuron.model.step(x, 0.3), snnc.DualMTN().step(x, 0.3))


def test_integrate_and_fire_equals_a_multi_threshold_neuron_on_constant_input(
    cnn: CalibratedNetwork,
) -> None:
    """Theorem 1: the first layer of neurons, behind the raw input, gets the same at every step."""
    data = held_out_path("digits_cnn")
    rule = "tensor-percentile"  # the same thresholds for both
    rate = snnc.compile(cnn, neuron="if", scale=1.0, timesteps=8, threshold_rule=rule)
    many = snnc.compile(cnn, neuron="mtn:N=8", scale=1.0, threshold_rule=rule)
    outputs = []
    for network in (rate, many):
        first = network.graph.neurons[0].outputs[0]
        session = Session(network.graph, taps=(first,))
        with np.load(data) as samples:
            feeds = {network.graph.inputs[0]: samples[network.graph.inputs[0]][:20]}
        outputs.append(session.run(feeds)[first])
    mean = outputs[0].reshape(8, *outputs[1].shape).mean(axis=0)
    inside = outputs[1] < outputs[1].max()  # beyond theta an IF fires at every step, as it does
    np.testing.assert_allclose(mean[inside], outputs[1][inside], rtol=1e-5)


# --- refusals ---------------------------------------------------------------------------------


def first_axis(graph: str) -> Callable[[], snnc.SpikingNetwork]:
    source = model(graph, arrays(5, w0=(8, 8), w1=(8, 8)), opset=20)
    x = arrays(6, x=(60, 4, 8))["x"]
    return lambda: snnc.compile(source, neuron=SFN, scale=0.2, calibration={"x": x}, timesteps=2)


def test_a_network_with_its_samples_elsewhere_is_refused() -> None:
    refused = first_axis("""g (float[N, 4, 8] x) => (float[N, 4, 8] y) {
        h = MatMul (x, w0)
        moved = Transpose <perm = [1, 0, 2]> (h)
        r = Relu (moved)
        s = MatMul (r, w1)
        y = Transpose <perm = [1, 0, 2]> (s)
    }""")
    with pytest.raises(snnc.CompileError, match="first axis of what these neurons read"):
        refused()


def test_samples_that_depend_on_each_other_are_refused() -> None:
    refused = first_axis("""g (float[N, 4, 8] x) => (float[N, 4, 8] y) {
        h = MatMul (x, w0)
        mean = ReduceMean <keepdims = 1> (h)
        centred = Sub (h, mean)
        r = Relu (centred)
        a = MatMul (r, w1)
        squared = Mul (a, a)
        total = ReduceSum <keepdims = 1> (squared)
        scaled = Div (a, total)
        y = MatMul (scaled, w1)
    }""")
    with pytest.raises(snnc.CompileError, match="samples of a batch depend on each other"):
        refused()


def test_means_over_the_samples_of_a_batch_are_refused() -> None:
    """The mean of a sample and itself is that sample: it takes another one to see it."""
    refused = first_axis("""g (float[N, 4, 8] x) => (float[N, 4, 8] y) {
        h = MatMul (x, w0)
        axes = Constant <value_ints = [0]> ()
        mean = ReduceMean <keepdims = 1> (h, axes)
        centred = Sub (h, mean)
        y = MatMul (centred, w1)
    }""")
    with pytest.raises(snnc.CompileError, match="samples of a batch depend on each other"):
        refused()


def test_steps_of_whole_batches_are_refused() -> None:
    refused = first_axis("""g (float[N, 4, 8] x) => (float[N, 4, 8] y) {
        h = MatMul (x, w0)
        r = Relu (h)
        a = MatMul (r, w1)
        q, s, z = DynamicQuantizeLinear (a)
        y = DequantizeLinear (q, s, z)
    }""")
    with pytest.raises(snnc.CompileError, match="its step comes from all samples of a batch"):
        refused()


OUTPUTS = {
    "elsewhere": ("float[4, N, 8] y", "y = Transpose <perm = [1, 0, 2]> (s)"),
    "all samples": ("float[4, 8] y", "y = ReduceSum <keepdims = 0> (s, axes)"),
    "one number": ("float y", "y = ReduceSum <keepdims = 0> (s)"),
    "dependent": ("float[N, 4, 8] y", "y = Softmax <axis = 0> (s)"),
}


@pytest.mark.parametrize(("kind", "last"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_without_samples_along_their_first_axis_are_refused(kind: str, last: str) -> None:
    refused = first_axis(f"""g (float[N, 4, 8] x) => ({kind}) {{
        h = MatMul (x, w0)
        r = Relu (h)
        s = MatMul (r, w1)
        axes = Constant <value_ints = [0]> ()
        {last}
    }}""")
    with pytest.raises(snnc.CompileError, match="the first axis of output 'y' is not that of"):
        refused()


@pytest.mark.parametrize("timesteps", [0, -1, 5000, 1.5, True])
def test_timesteps_out_of_range_are_refused(timesteps: int) -> None:
    with pytest.raises(snnc.CompileError, match="timesteps must be an integer from 1"):
        FoldTime(timesteps)


def test_integer_synapses_over_timesteps_are_refused(cnn: CalibratedNetwork) -> None:
    with pytest.raises(snnc.CompileError, match="integer synapses work at one timestep"):
        snnc.compile(cnn, synapses="int8", timesteps=2)


def test_a_bound_over_timesteps_is_refused(cnn: CalibratedNetwork) -> None:
    with pytest.raises(snnc.CompileError, match="if: a bound holds inputs of one timestep"):
        snnc.compile(cnn, neuron="if:bound=0.3", scale=1.0, timesteps=4)
    snnc.compile(cnn, neuron="if:bound=0.3", scale=1.0)


def test_neurons_of_one_sign_refuse_signed_activations(vit: CalibratedNetwork) -> None:
    with pytest.raises(snnc.CompileError, match="fires for positive inputs only") as caught:
        snnc.compile(vit, neuron="if", scale=1.0, timesteps=2)
    assert "dual-if" in (caught.value.help or "")


def test_outputs_approach_those_of_the_trained_network(vit: CalibratedNetwork) -> None:
    data = held_out_path("digits_vit")
    cosines = []
    for timesteps in (1, 2, 4):
        network = snnc.compile(vit, neuron=SFN, scale=0.3, timesteps=timesteps)
        cosines.append(network.evaluate(data).cosine)
    assert cosines == sorted(cosines) and cosines[0] < cosines[-1] - 0.001
