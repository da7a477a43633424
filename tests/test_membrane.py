"""A simulation of single spikes agrees with the numbers that they stand for, to the tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from snnc.errors import CompileError
from snnc.ir.graph import DOMAIN, Graph, Stage
from snnc.ir.node import Array, Loc, Op, real
from snnc.ir.spike_times import GATED_SPIKE_TIME, RELAY, SPIKE_TIME, TOLERANCE, Products, balance
from snnc.membrane import Run, decoded, simulate
from snnc.neurons.ttfs import TTFS
from snnc.runtime import Session
from tests.conftest import calibration_path, held_out_path, model_path
from tests.spike_time_models import sited
from tests.spike_time_models import spiking as spiking_of

P = 64
Ends = tuple[float, float]


def op(result: str, op_type: str, *inputs: str, **attrs: Any) -> Op:
    return Op((result,), inputs, Loc((result,)), op_type, attrs)


def fire(result: str, x: str, ends: Ends, window: int, alive: str = "", **attrs: Any) -> Op:
    low, high = (float(np.float32(end)) for end in ends)
    timing = {"ticks": P, "early": TOLERANCE, "window": window} | attrs
    inputs = (x, alive) if alive else (x,)
    kind = GATED_SPIKE_TIME if alive else SPIKE_TIME
    return op(result, kind, *inputs, low=low, high=high, **timing)


def product(result: str, kind: str, a: str, b: str, ends: tuple[Ends, Ends], window: int) -> Op:
    (a_low, a_high), (b_low, b_high) = np.array(ends, np.float32).tolist()
    ranges = {"a_low": a_low, "a_high": a_high, "b_low": b_low, "b_high": b_high}
    scaled = {"balance": balance(*ends)} if kind.startswith("QuarterSquare") else {}
    timing = {"ticks": P, "early": TOLERANCE, "window": window}
    return op(result, f"{DOMAIN}.{kind}", a, b, **ranges, **scaled, **timing)


def network(
    nodes: Sequence[Op],
    outputs: Sequence[str],
    consts: Mapping[str, Array] | None = None,
    inputs: Mapping[str, str] | None = None,
    others: Mapping[str, str] | None = None,
) -> Graph:
    """inputs: types of the inputs, x alone if not given; others: of results that are no floats."""
    kinds = dict(inputs or {"x": "float32"})
    types = {name: real(kind, None) for name, kind in kinds.items()}
    for node in nodes:
        types |= {v: real((others or {}).get(v, "float32"), None) for v in node.outputs}
    return Graph(
        "g", tuple(kinds), tuple(outputs), tuple(nodes), types, dict(consts or {}), Stage.SPIKING
    )


def assert_agree(graph: Graph, feeds: Mapping[str, Array], *, active: float = 0.2) -> Run:
    """Same ticks and outputs. active: least share of neurons that fire, over all layers."""
    run, wanted = simulate(graph, feeds), decoded(graph, feeds)
    assert run.ticks.keys() == wanted.ticks.keys()
    assert run.between.keys() == wanted.between.keys()
    for name, ticks in wanted.ticks.items():
        assert run.ticks[name].dtype == np.int32
        np.testing.assert_array_equal(run.ticks[name], ticks, err_msg=name)
    for name, inside in wanted.between.items():
        for found, ticks in zip(run.between[name], inside, strict=True):
            np.testing.assert_array_equal(found, ticks, err_msg=name)
    for name, numbers in wanted.outputs.items():
        np.testing.assert_allclose(run.outputs[name], numbers, rtol=0, atol=1e-9, err_msg=name)
    fired = np.concatenate([ticks.ravel() >= 0 for ticks in run.ticks.values()])
    assert active <= fired.mean()
    return run


EXAMPLES = {"digits_mlp": 20, "digits_cnn": 10, "digits_vit": 5, "digits_encoder": 1}
"""Samples to simulate."""


@pytest.mark.parametrize("products", ["quarter", "logexp"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_whole_networks(name: str, products: Products) -> None:
    neuron = TTFS(p=256, products=products)
    with np.load(calibration_path(name)) as data:
        seen = {v: data[v][:100] for v in data.files if v != "labels"}
    spiking = spiking_of(sited(model_path(name)), seen, neuron)
    with np.load(held_out_path(name)) as data:
        feeds = {v: data[v][: EXAMPLES[name]] for v in spiking.inputs}
    run = assert_agree(spiking, feeds, active=0.4)
    assert bool(run.between) == (name in ("digits_vit", "digits_encoder"))
    assert not [v for v in run.analog if spiking.types[v].is_float]


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def two_layers() -> Graph:
    """Linear, GELU, linear, ReLU."""
    nodes = [
        fire("x1", "x", (-2, 2), 0),
        op("h", "Gemm", "x1", "w1", "b1", transB=1),
        fire("h1", "h", (-3, 2.5), 1),
        op("g", "Gelu", "h1"),
        op("v", "MatMul", "g", "w2"),
        op("u", "Add", "v", "b2"),
        op("r", "Relu", "u"),
        fire("y", "r", (0, 2), 2),
    ]
    consts = {
        "w1": normal(1, 6, 5) * np.float32(0.5),
        "b1": normal(2, 6),
        "w2": normal(3, 6, 4) * np.float32(0.7),
        "b2": normal(4, 4),
    }
    return network(nodes, ["y", "u"], consts)


@pytest.mark.parametrize("ticks", [1, 3, 64, 1024])
@pytest.mark.parametrize("early", [0.0, TOLERANCE, 0.5 + TOLERANCE])
def test_linear_gelu_linear(ticks: int, early: float) -> None:
    graph = two_layers()
    nodes = tuple(
        op(n.outputs[0], n.op_type, *n.inputs, **{**n.attrs, "ticks": ticks, "early": early})
        if n.op_type == SPIKE_TIME
        else n
        for n in graph.nodes
        if isinstance(n, Op)
    )
    graph = network(nodes, graph.outputs, graph.consts)
    run = assert_agree(graph, {"x": normal(0, 200, 5)}, active=0.1)
    assert {*run.ticks} == {"x1", "h1", "y"}
    assert max(ticks_.max() for ticks_ in run.ticks.values()) >= 0.98 * (ticks - 1)
    assert min(ticks_.min() for ticks_ in run.ticks.values()) == -1


def test_numbers_are_those_of_the_artifact() -> None:
    graph, x = two_layers(), normal(0, 300, 5)
    found, wanted = decoded(graph, {"x": x}).outputs["y"], Session(graph).run({"x": x})["y"]
    assert np.mean(np.abs(found - wanted) < 1e-5) > 0.99
    assert np.abs(found - wanted).max() <= 2.001 * 2 / P


def test_single_events_one_by_one() -> None:
    """A literal loop over the ticks of each window and the spikes in it."""
    graph, x = two_layers(), normal(5, 5)
    run = simulate(graph, {"x": x[None]})
    c = {name: array.astype(np.float64) for name, array in graph.consts.items()}
    ranges = {"x1": (-2.0, 2.0), "h1": (-3.0, 2.5), "y": (0.0, 2.0)}

    def integral(rate: Any, start: float, end: float) -> float:
        nodes, weights = np.polynomial.legendre.leggauss(30)
        half = (end - start) / 2
        return float(
            half
            * sum(w * rate(start + half * (1 + n)) for n, w in zip(nodes, weights, strict=True))
        )

    def gelu_slope(u: float) -> float:
        from math import erf, exp, pi, sqrt

        return 0.5 * (1 + erf(u / sqrt(2))) + u * exp(-u * u / 2) / sqrt(2 * pi)

    def gelu(u: float) -> float:
        from math import erf, sqrt

        return 0.5 * u * (1 + erf(u / sqrt(2)))

    def receive(spikes: Sequence[int], sender: str, w: Array, b: Array, gelus: bool) -> list[float]:
        low, high = ranges[sender]
        tau = 1 / (high - low)
        potential = [0.0] * len(b)
        for i in range(len(b)):
            potential[i] += integral(lambda t, i=i: b[i], 0, 1)
            for j in range(len(spikes)):
                held = gelu(low) if gelus else low
                drive = w[i, j] * held / (high - low)
                potential[i] += integral(lambda t, d=drive: d / tau, 0, 1)
        for tick in range(P):
            for j in (j for j, k in enumerate(spikes) if k == tick):
                for i in range(len(b)):

                    def rate(t: float, i: int = i, j: int = j, start: float = tick / P) -> float:
                        slope = gelu_slope((t - start) / tau + low) if gelus else 1.0
                        return float(w[i, j] * slope / tau)

                    potential[i] += integral(rate, tick / P, 1)
        return potential

    def emit(potential: Sequence[float], layer: str) -> list[int]:
        low, high = ranges[layer]
        fired = [-1] * len(potential)
        for i, start in enumerate(potential):
            for tick in range(P):
                now = start + (high - low) * (tick + TOLERANCE) / P
                if fired[i] < 0 and now >= high:
                    fired[i] = tick
        return fired

    x1 = emit(x.tolist(), "x1")
    h1 = emit(receive(x1, "x1", c["w1"], c["b1"], gelus=False), "h1")
    u = receive(h1, "h1", c["w2"].T, c["b2"], gelus=True)
    assert x1 == run.ticks["x1"][0].tolist()
    assert h1 == run.ticks["h1"][0].tolist()
    assert emit(u, "y") == run.ticks["y"][0].tolist()
    np.testing.assert_allclose(u, run.outputs["u"][0], rtol=0, atol=1e-12)


def test_convolution_and_pools() -> None:
    nodes = [
        fire("x1", "x", (0, 1), 0),
        op("c", "Conv", "x1", "w", "b", pads=(1, 1, 1, 1), kernel_shape=(3, 3)),
        op("r", "Relu", "c"),
        fire("c1", "r", (0, 1.5), 1),
        op("m", "MaxPool", "c1", kernel_shape=(2, 2), strides=(2, 2)),
        op("a", "AveragePool", "m", kernel_shape=(2, 2)),
        fire("a1", "a", (0, 1.5), 2),
        op("f", "Flatten", "a1"),
        op("l", "Gemm", "f", "v"),
        fire("y", "l", (-2, 2), 3),
        op("class", "ArgMax", "y", axis=1),
    ]
    consts = {"w": normal(1, 3, 2, 3, 3) / 3, "b": normal(2, 3) / 9, "v": normal(3, 27, 4) / 4}
    graph = network(nodes, ["y", "class"], consts, others={"class": "int64"})
    x = np.random.default_rng(0).uniform(-0.1, 1.1, (5, 2, 8, 8)).astype(np.float32)
    run = assert_agree(graph, {"x": x})
    np.testing.assert_array_equal(
        run.outputs["class"][:, 0], np.where(run.ticks["y"] < 0, P, run.ticks["y"]).argmin(1)
    )


FUNCTIONS: dict[str, list[Op]] = {
    "silu": [op("f", f"{DOMAIN}.Silu", "h")],
    "silu in parts": [op("s", "Sigmoid", "h"), op("f", "Mul", "h", "s")],
    "square": [op("f", "Mul", "h", "h")],
    "relu of affine": [op("m", "Mul", "h", "two"), op("a", "Add", "m", "c"), op("f", "Relu", "a")],
    "by channel": [op("m", "Mul", "h", "scales"), op("a", "Add", "m", "c"), op("f", "Gelu", "a")],
    "by channel in parts": [
        op("m", "Mul", "h", "scales"),
        op("s", "Sigmoid", "m"),
        op("f", "Mul", "h", "s"),
    ],
    "slopes by channel": [op("f", "PRelu", "h", "scales")],
    "batch norm": [
        op("n", "BatchNormalization", "h", "scales", "c5", "c5", "positive", epsilon=1e-3),
        op("f", "Tanh", "n"),
    ],
    "positions": [op("f", "Add", "h", "scales")],
    "moved": [
        op("t", "Reshape", "h", "wide"),
        op("e", "Exp", "t"),
        op("q", "Mul", "e", "e"),
        op("f", "Reshape", "q", "narrow"),
    ],
    "moved potentials": [
        op("m", "Mul", "h", "scales"),
        op("t", "Reshape", "m", "wide"),
        op("e", "Gelu", "t"),
        op("f", "Reshape", "e", "narrow"),
    ],
    "joined": [
        op("g", "Gelu", "h"),
        op("e", "Exp", "h"),
        op("j", "Concat", "g", "e", "one_row", axis=0),
        op("k", "Sigmoid", "j"),
        op("f", "Slice", "k", "from", "to", "axes"),
    ],
    "padded": [
        op("q", "Pad", "h", "pads", "two"),
        op("e", "Erf", "q"),
        op("f", "Slice", "e", "none", "five", "axes1"),
    ],
    "chosen": [op("g", "Gelu", "h"), op("k", "Where", "mask", "g", "c"), op("f", "Abs", "k")],
    "clip": [op("f", "Clip", "h", "low", "two")],
    "no lower bound": [op("f", "Clip", "h", "", "two")],
    "reciprocal root": [
        op("q", "Mul", "h", "h"),
        op("a", "Add", "q", "positive_one"),
        op("s", "Sqrt", "a"),
        op("f", "Reciprocal", "s"),
    ],
    "quotient": [
        op("q", "Mul", "h", "h"),
        op("a", "Add", "q", "positive_one"),
        op("f", "Div", "h", "a"),
    ],
    "cast": [op("k", "Cast", "h", to=11), op("e", "Exp", "k"), op("f", "Cast", "e", to=1)],
    "between": [op("e", "Exp", "h"), op("q", "Add", "h", "e"), op("f", "Max", "q", "c")],
}
CONSTS = {
    "two": np.array(1.25, np.float32),
    "low": np.array(-0.3, np.float32),
    "c": np.array([0.1], np.float32),
    "c5": normal(7, 5),
    "scales": normal(8, 5),
    "positive": np.array([0.5, 1, 2, 0.25, 1.5], np.float32),
    "positive_one": np.array(1e-2, np.float32),
    "one_row": normal(9, 1, 5),
    "wide": np.array([-1, 5, 2]),
    "narrow": np.array([-1, 5]),
    "from": np.array([3]),
    "to": np.array([1000]),
    "axes": np.array([0]),
    "axes1": np.array([1]),
    "none": np.array([1]),
    "five": np.array([6]),
    "pads": np.array([0, 2, 0, 1]),
    "mask": np.array([True, False, True, True, False]),
    "w": normal(10, 5, 3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_on_synapses(name: str) -> None:
    nodes = [
        fire("h", "x", (-2, 1.75), 0),
        *FUNCTIONS[name],
        op("v", "MatMul", "f", "w"),
        fire("y", "v", (-3, 3), 1),
        fire("z", "f", (-1, 2), 1),
    ]
    assert_agree(network(nodes, ["y", "z", "v"], CONSTS), {"x": normal(0, 40, 5)})


@pytest.mark.parametrize("kind", ["QuarterSquare", "LogExp", "Ideal"])
@pytest.mark.parametrize("matrices", [False, True])
def test_products(kind: str, matrices: bool) -> None:
    ends = (-1.5, 2.0), (0.25, 6.0)
    right = "t" if matrices else "b1"
    nodes = [
        fire("a1", "a", ends[0], 0),
        fire("b1", "b", ends[1], 0),
        op("t", "Transpose", "b1", perm=(0, 2, 1)),
        product("p", kind + ("MatMul" if matrices else "Mul"), "a1", right, ends, 1),
        op("s", "Mul", "p", "gamma"),
        fire("y", "s", (-6, 9), 2),
    ]
    consts = {"gamma": np.array(0.75, np.float32)}
    inputs = {"a": "float32", "b": "float32"}
    graph = network(nodes, ["y", "p"], consts, inputs).pruned()
    run = assert_agree(graph, {"a": normal(0, 3, 4, 5), "b": 2 + 2 * normal(1, 3, 4, 5)})
    size = 4 * 4 * 5 if matrices else 4 * 5
    inside = {"QuarterSquare": 2, "LogExp": 1, "Ideal": 0}[kind]
    assert [ticks.size for ticks in run.between["p"]] == [3 * size] * inside


def softmax(gated: bool) -> list[Op]:
    alive = "alive" if gated else ""
    masked = [op("k", "Cast", "alive", to=1), op("e", "Mul", "e0", "k")]
    return [
        fire("x1", "x", (-4, 3), 0, alive),
        op("m", "ReduceMax", "x1", "axes"),
        op("d", "Sub", "x1", "m"),
        fire("z", "d", (-7, 0), 1, alive),
        op("e0" if gated else "e", "Exp", "z"),
        *(masked if gated else []),
        op("t", "ReduceSum", "e", "axes"),
        op("l", "Log", "t"),
        fire("l1", "l", (0, float(np.log(6))), 2),
        op("z2", RELAY, "z", windows=1, window=2),
        op("q", "Sub", "z2", "l1"),
        op("r", "Exp", "q"),
        op("r1", "Reshape", "r", "flat"),
        op("r2", "Reshape", "r1", "back"),
        fire("p", "r2", (0, 1), 3, alive),
    ]


@pytest.mark.parametrize("ticks", [16, 1024])
@pytest.mark.parametrize("gated", [False, True])
def test_softmax(gated: bool, ticks: int) -> None:
    nodes = [
        op(n.outputs[0], n.op_type, *n.inputs, **{**n.attrs, "ticks": ticks})
        if "ticks" in n.attrs
        else n
        for n in softmax(gated)
    ]
    consts = {"axes": np.array([-1]), "flat": np.array([-1]), "back": np.array([20, 6])}
    inputs = {"x": "float32", "alive": "bool"} if gated else {"x": "float32"}
    graph = network(nodes, ["p", "q"], consts, inputs)
    x, alive = normal(0, 20, 6) * np.float32(1.5), np.arange(120).reshape(20, 6) % 5 != 2
    feeds = {"x": x, "alive": alive} if gated else {"x": x}
    run = assert_agree(graph, feeds)
    powers = np.exp(np.clip(x, -4, 3)) * (alive if gated else True)
    shares = powers / powers.sum(-1, keepdims=True)
    np.testing.assert_allclose(run.outputs["p"], shares, rtol=0, atol=20 / ticks)
    if gated:
        assert (run.ticks["p"][~alive] == -1).all() and (run.ticks["z"][~alive] == -1).all()


def test_layer_norm() -> None:
    ends = (-4.0, 4.0), (0.3, 3.0)
    nodes = [
        fire("x1", "x", (-3, 3), 0),
        op("a", "ReduceMean", "x1", "axes"),
        fire("mean", "a", (-1.5, 1.5), 1),
        op("x2", RELAY, "x1", windows=1, window=1),
        op("d", "Sub", "x2", "mean"),
        fire("c", "d", ends[0], 2),
        op("s", "Mul", "c", "c"),
        op("v", "ReduceMean", "s", "axes"),
        fire("var", "v", (0.1, 4), 3),
        op("i", "Add", "var", "eps"),
        op("j", "Sqrt", "i"),
        op("k", "Reciprocal", "j"),
        fire("r", "k", ends[1], 4),
        op("c4", RELAY, "c", windows=2, window=4),
        product("n", "QuarterSquareMul", "c4", "r", ends, 5),
        op("g", "Mul", "n", "gamma"),
        op("o", "Add", "g", "beta"),
        fire("y", "o", (-3, 3), 6),
    ]
    consts = {
        "axes": np.array([-1]),
        "eps": np.array(1e-5, np.float32),
        "gamma": normal(1, 8),
        "beta": normal(2, 8),
    }
    run = assert_agree(network(nodes, ["y", "o"], consts), {"x": normal(0, 30, 8)})
    np.testing.assert_array_equal(run.ticks["x1"], run.ticks["x2"])


def test_numbers_of_the_host_are_encoded() -> None:
    """Look-ups and masks come from integers: no membrane computes them."""
    nodes = [
        op("e", "Gather", "table", "ids"),
        op("i", "Add", "e", "e"),
        fire("e1", "i", (-3, 3), 0),
        op("q", "Equal", "ids", "pad"),
        op("alive", "Not", "q"),
        op("wide", "Unsqueeze", "alive", "last"),
        op("v", "MatMul", "e1", "w"),
        fire("y", "v", (-4, 4), 1, "wide"),
        op("n", "Shape", "y"),
    ]
    consts = {
        "table": normal(0, 9, 4),
        "w": normal(1, 4, 3),
        "pad": np.array(0),
        "last": np.array([-1]),
    }
    others = {"q": "bool", "alive": "bool", "wide": "bool", "n": "int64"}
    graph = network(nodes, ["y", "n"], consts, {"ids": "int64"}, others)
    run = assert_agree(graph, {"ids": np.array([[1, 5, 0], [8, 0, 0]])})
    assert (run.ticks["y"][[0, 1, 1], [2, 1, 2]] == -1).all()
    assert run.outputs["n"].tolist() == [2, 3, 3]


def test_analog_operations_read_numbers() -> None:
    nodes = [
        fire("a", "x", (-2, 2), 0),
        op("s", "Softmax", "a"),
        fire("b", "s", (0, 1), 1),
        op("r", "Round", "b"),
    ]
    run = assert_agree(network(nodes, ["b", "r"]), {"x": normal(0, 30, 5)})
    assert run.analog == ("s", "r")


def test_nan_is_silent_and_infinities_are_at_the_ends() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    run = simulate(network([fire("y", "x", (-1, 1), 0)], ["y"]), {"x": x})
    assert run.ticks["y"].tolist() == [-1, 0, -1, P // 2]
    assert run.outputs["y"].tolist() == [-1, 1, -1, 0]


def test_bounds_above_a_range_hold_neurons_back() -> None:
    nodes = [op("c", "Clip", "v", "low", "high"), fire("y", "c", (-1, 2), 1)]
    head = [fire("h", "x", (-2, 2), 0), op("v", "MatMul", "h", "w")]
    consts = {
        "low": np.array(-0.25, np.float32),
        "high": np.array(1.25, np.float32),
        "w": normal(1, 5, 5),
    }
    run = assert_agree(network([*head, *nodes], ["y", "c"], consts), {"x": normal(0, 50, 5)})
    assert run.outputs["y"].max() <= 1.25


def refused(nodes: Sequence[Op], **feeds: Array) -> str:
    graph = network(nodes, [nodes[-1].outputs[0]], CONSTS)
    with pytest.raises(CompileError) as caught:
        simulate(graph, {"x": normal(0, 2, 5), **feeds})
    return caught.value.message


def test_what_no_membrane_does_is_refused() -> None:
    h = fire("h", "x", (-2, 2), 0)
    v = op("v", "Sub", "h", "i")
    i = fire("i", "x", (-1, 2), 0)
    assert "no synapse" in refused([h, i, v, op("u", "Tanh", "v"), fire("y", "u", (-1, 1), 1)])
    assert "no synapse" in refused([h, i, v, op("u", "Mul", "v", "v"), fire("y", "u", (0, 1), 1)])
    late = [h, op("g", "Gelu", "h"), fire("y", "g", (-1, 1), 2)]
    assert "window 2" in refused(late)
    meeting = [h, fire("j", "h", (-2, 2), 1), op("v", "Add", "h", "j"), fire("y", "v", (0, 1), 2)]
    assert "[0, 1]" in refused(meeting)
    assert "relayed" in refused([h, op("r", RELAY, "h", windows=2, window=1)])
