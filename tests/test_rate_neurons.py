"""Rate neurons, over one timestep and many: numpy == function body == kernels, value for value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from snnc.export import export
from snnc.ir.composed import Composed, neuron_attributes
from snnc.ir.functions import FUNCTIONS
from snnc.ir.graph import DOMAIN, Graph, Stage
from snnc.ir.node import Array, Coding, Loc, Neuron, Op, Sides, Type, real
from snnc.ir.rate_neuron import LARGEST_COUNT, ZERO_POINT, RateNeuron
from snnc.kernels import instruction_sets, using_instruction_set
from snnc.neurons.aif import AIF
from snnc.neurons.dual_if import DualIF
from snnc.neurons.dual_mtn import DualMTN
from snnc.neurons.integrate_fire import IF
from snnc.neurons.mtn import MTN
from snnc.neurons.sfn import SFN
from snnc.runtime import Session
from tests.single_operations import fire, needs_library, neuron_model, refusal

Run: TypeAlias = Callable[[Mapping[str, Array]], dict[str, Array]]
StepShape: TypeAlias = tuple[int, ...]

INF = float("inf")
MAX = float(np.finfo(np.float32).max)
NEURONS = (3, 19)  # of one sample: channels, and positions that are no multiple of a vector

MODELS: tuple[RateNeuron, ...] = (
    IF(),
    IF(potential=0.0),
    IF(potential=0.25, reset="hard"),
    IF(bound=0.75),
    IF(reset="hard", bound=0.75),
    MTN(),
    MTN(3, potential=0.25),
    MTN(5, bound=1.0),
    DualIF(),
    DualIF(potential=0.0, bound=0.75),
    DualMTN(5),
    DualMTN(3, potential=255 / 256, bound=1.0),
    AIF(),
    AIF(n_min=-2, n_max=5),
    AIF(n_min=0, n_max=300),
    AIF(n_min=-300, n_max=0),
    AIF(n_min=-3, bound=1.0),
    AIF(n_min=-3, n_max=12, rounding="half-even"),
    AIF(n_min=-3, n_max=12, rounding="half-even", bound=1.0),
    SFN(3),
    SFN(8, limit=127),
    SFN(3, levels="linear", bound=1.0),
    SFN(3, levels="sformer"),
    SFN(3, "eq11", "sformer", bound=1.0),
    SFN(3, "eq11", "exponential"),
    SFN(levels="fitted", N=7, K=2, S=2),
    SFN(rule="eq11", levels="fitted", N=7, K=2, S=2, bound=1.0),
)


@dataclass(frozen=True)
class Case:
    """A neuron of a battery: value of the graph that it computes."""

    value: str
    model: RateNeuron
    sides: Sides


def every_side(model: RateNeuron) -> tuple[Sides, ...]:
    if "negative" not in model.signs:
        return ("positive", "silent")
    return ("both", "positive", "negative", "silent")


CASES = tuple(
    Case(f"y{number}_{sides}", model, sides)
    for number, model in enumerate(MODELS)
    for sides in every_side(model)
)


# --- many neurons in one graph, its steps fed at every run ---------------------------------------


def alive(sides: Sides) -> tuple[str, str]:
    """The step inputs of a neuron, '' for a dead branch."""
    return (
        "positive" if sides in ("both", "positive") else "",
        "negative" if sides in ("both", "negative") else "",
    )


def battery(
    timesteps: int, positive: StepShape, negative: StepShape, *, counts: bool = False
) -> Graph:
    """Every case reading x [T * N, *NEURONS]; counts: of those whose counts fit 8 bits."""
    shape = ("N", *NEURONS)
    nodes: list[Neuron | Op] = []
    types = {"x": real("float32", shape)}
    for case in counting() if counts else CASES:
        inputs, loc = ("x", *alive(case.sides)), Loc((case.value,))
        neuron = Neuron((case.value,), inputs, loc, case.model, timesteps=timesteps)
        if counts:
            name = Composed(neuron=case.model, sides=case.sides, count=True).name
            attributes = neuron_attributes(neuron)
            nodes.append(Op((case.value,), inputs, loc, f"{DOMAIN}.{name}", attributes))
            types[case.value] = real("uint8", shape)
        else:
            nodes.append(neuron)
            types[case.value] = Type(Coding.SPIKE, "float32", shape)
    steps = {"positive": np.ones(positive, np.float32), "negative": np.ones(negative, np.float32)}
    outputs = tuple(node.outputs[0] for node in nodes)
    return Graph("g", ("x",), outputs, tuple(nodes), types, steps, Stage.SPIKING, timesteps)


def counting() -> tuple[Case, ...]:
    return tuple(case for case in CASES if case.model.top <= LARGEST_COUNT[case.sides])


def implementations(graph: Graph, *, reference: bool = True) -> dict[str, Run]:
    """onnxruntime with the kernels of every instruction set, by function bodies with and without
    optimisations, and ONNX's own evaluator; without `reference` not the two slowest."""
    free = ("positive", "negative")
    runs = kernels(graph, free)
    runs["bodies"] = Session(graph, free=free, kernels=False).run
    if reference:
        runs["bodies, not optimised"] = Session(graph, free=free, optimize=False, kernels=False).run
        evaluator = ReferenceEvaluator(export(graph, free=free).model)
        runs["onnx.reference"] = lambda feeds: dict(
            zip(graph.outputs, as_list(evaluator.run(None, dict(feeds))), strict=True)
        )
    return runs


def as_list(results: Any) -> list[Array]:
    return [np.asarray(result) for result in results]


def kernels(graph: Graph, free: tuple[str, ...] = ()) -> dict[str, Run]:
    runs: dict[str, Run] = {}
    for name in instruction_sets():
        with using_instruction_set(name):
            runs[f"kernels for {name}"] = Session(graph, free=free).run
    return runs


SCALAR: StepShape = ()
CHANNEL: StepShape = (NEURONS[0], 1)
EACH: StepShape = (NEURONS[1],)


@cache
def compared(timesteps: int, positive: StepShape, negative: StepShape) -> dict[str, Run]:
    return implementations(battery(timesteps, positive, negative), reference=False)


def numpy_outputs(case: Case, x: Array, timesteps: int, feeds: Mapping[str, Array]) -> Array:
    steps = [feeds[name] if name else 0.0 for name in alive(case.sides)]
    with np.errstate(all="ignore"):
        if timesteps == 1:
            return case.model.step(x, *steps)
        unfolded = x.reshape(timesteps, -1, *x.shape[1:])
        return case.model.over_time(unfolded, *steps).reshape(x.shape)


def assert_same_bits(actual: Array, expected: Array, x: Array, who: str) -> None:
    """Any NaN is as good as another."""
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    apart = actual.view(np.uint32) != expected.view(np.uint32)
    apart &= ~(np.isnan(actual) & np.isnan(expected))
    shown = [v[apart][:5].tolist() for v in (x, actual, expected)]
    assert not apart.any(), "{}: x {}, got {}, numpy {}".format(who, *shown)


def assert_all_agree(
    runs: Mapping[str, Run], timesteps: int, x: Array, positive: Any, negative: Any
) -> dict[str, Array]:
    steps = {"positive": positive, "negative": negative}
    feeds = {"x": x} | {name: np.array(step, np.float32) for name, step in steps.items()}
    expected = {case.value: numpy_outputs(case, x, timesteps, feeds) for case in CASES}
    for who, run in runs.items():
        results = run(feeds)
        for case in CASES:
            where = f"{who}, {case}, {timesteps} timesteps, steps {positive}, {negative}"
            assert_same_bits(results[case.value], expected[case.value], x, where)
    return expected


def filled(values: Any, samples: int) -> Array:
    """[samples, *NEURONS] from values, repeated."""
    return np.resize(np.asarray(values, np.float32), (samples, *NEURONS))


def firing() -> set[str]:
    """The cases that have a spike to emit."""
    never = {c.value for c in CASES if c.sides == "silent"}
    for case in CASES:
        if isinstance(case.model, AIF):
            most = {"positive": case.model.n_max, "negative": case.model.n_min}
            never |= {case.value} if most.get(case.sides) == 0 else set()
    return {case.value for case in CASES} - never


# --- inputs where decisions turn -----------------------------------------------------------------

SPECIAL = [INF, -INF, np.nan, 0.0, -0.0, MAX, -MAX, 1e-45, -1e-45, 1.1754944e-38, 1e30, -3.0]


def around(step: float) -> Iterator[float]:
    """Multiples of a quarter step to beyond every level's threshold, and their neighbours."""
    with np.errstate(all="ignore"):
        at = np.arange(-52, 53, dtype=np.float32) * np.float32(step) / np.float32(4)
        for end in (-INF, INF):
            yield from np.nextafter(at, np.float32(end)).tolist()
    yield from at.tolist()


STEPS = (0.25, 0.3, 1.0)
DEAD = (0.0, 1e-45, 1e-40)
EXTREME = (2.0**-119, 1e-30, 1e30, MAX)


@pytest.mark.parametrize("timesteps", [1, 2, 5])
def test_every_quarter_step_is_the_same_everywhere(timesteps: int) -> None:
    """Every value a first input, and one behind others."""
    runs = implementations(battery(timesteps, SCALAR, SCALAR))
    for positive, negative in ((0.25, 0.25), (0.3, 0.7)):
        values = [*around(positive), *around(-negative), *SPECIAL]
        samples = -(-len(values) * timesteps // (NEURONS[0] * NEURONS[1]))
        x = filled(values, samples * timesteps)
        shuffled = np.random.default_rng(0).permutation(x.ravel()).reshape(x.shape)
        for one in (x, shuffled):
            expected = assert_all_agree(runs, timesteps, one, positive, negative)
        assert {c.value for c in CASES if expected[c.value].any()} == firing()
        assert not any(np.signbit(y[y == 0]).any() for y in expected.values())


@pytest.mark.parametrize("timesteps", [1, 3])
def test_dead_and_extreme_steps(timesteps: int) -> None:
    runs = implementations(battery(timesteps, CHANNEL, CHANNEL), reference=False)
    x = filled([*SPECIAL, *around(0.3), 5e-39, 2e-37, -2e-37], 4 * timesteps)
    for steps in ((0.0, 1e-45, 0.3), (1e-40, 0.0, MAX), EXTREME[:3], EXTREME[1:]):
        positive = np.array(steps, np.float32)[:, None]
        expected = assert_all_agree(runs, timesteps, x, positive, positive[::-1])
        for case in CASES:
            if case.sides == "positive":
                assert not expected[case.value][:, positive[:, 0] < 1e-39].any()


floats = st.floats(width=32)
plain_steps = st.floats(2.0**-10, 2.0**10, width=32)
steps = plain_steps | st.sampled_from((*DEAD, *EXTREME)) | st.floats(0.0, MAX, width=32)
in_quarters = st.integers(-80, 80).map(lambda k: k / 4)


@st.composite
def problems(draw: st.DrawFn) -> tuple[int, StepShape, Array, Array, Array]:
    """Timesteps, shape of the positive steps, x and the steps: mostly inputs of a few steps."""
    timesteps = draw(st.sampled_from((1, 5)))
    shape = draw(st.sampled_from((SCALAR, CHANNEL)))
    size = int(np.prod(shape))
    sizes = draw(st.lists(steps, min_size=1, max_size=size + 1))
    positive: Array = np.resize(np.array(sizes, np.float32), shape)
    negative = np.array(draw(st.sampled_from(sizes) | steps), np.float32)
    unit = np.array(draw(st.sampled_from(sizes)), np.float32)
    parts = np.array(draw(st.lists(in_quarters, min_size=1, max_size=40)), np.float32)
    with np.errstate(all="ignore"):
        near = np.nextafter(parts * unit, np.float32(draw(st.sampled_from((-INF, 0.0, INF)))))
        values = np.concatenate([parts * unit, near, np.array(draw(st.lists(floats)), np.float32)])
    order = np.random.default_rng(draw(st.integers(0, 99))).permutation(values.size)
    return timesteps, shape, filled(values[order], 2 * timesteps), positive, negative


@settings(deadline=None, max_examples=30)
@given(problems())
def test_arbitrary_inputs_are_the_same_everywhere(
    problem: tuple[int, StepShape, Array, Array, Array],
) -> None:
    timesteps, shape, x, positive, negative = problem
    runs = compared(timesteps, shape, SCALAR)
    assert_all_agree(runs, timesteps, x, positive, negative)


def test_constant_steps_are_those_that_are_fed() -> None:
    """Steps that a kernel keeps from its making on."""
    graph = battery(4, CHANNEL, EACH)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, *NEURONS)).astype(np.float32)
    consts = {
        name: np.asarray(rng.uniform(0.1, 0.5, v.shape), np.float32)
        for name, v in graph.consts.items()
    }
    runs: dict[str, Run] = {}
    for who, run in kernels(replace(graph, consts=consts)).items():
        runs[who] = lambda feeds, run=run: run({"x": feeds["x"]})  # type: ignore[misc]
    assert_all_agree(runs, 4, x, *consts.values())


# --- counts of 8 bits ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [SCALAR, CHANNEL])
def test_counts_are_bytes_around_a_zero_point(shape: StepShape) -> None:
    runs = implementations(battery(1, shape, shape, counts=True))
    positive, negative = (np.full(shape, step, np.float32) for step in (0.25, 0.3))
    if shape:
        positive[1] = 0.0
    x = filled([*around(0.25), *around(0.3), *SPECIAL, 70.0, -80.0], 8)
    feeds = {"x": x, "positive": positive, "negative": negative}
    for who, run in runs.items():
        results = run(feeds)
        for case in counting():
            step = [feeds[name] if name else 0.0 for name in alive(case.sides)]
            expected = case.model.count(x, *step) + ZERO_POINT[case.sides]
            assert results[case.value].dtype == np.uint8
            assert (results[case.value] == expected).all(), f"{who}, {case}"


# --- over time -----------------------------------------------------------------------------------


def single(op_type: str, timesteps: Any, steps: tuple[Any, ...] = (0.5,), **attrs: Any) -> bytes:
    attributes = {"N": 32, "potential": 0.5, "n_min": -8, "n_max": 8, "timesteps": timesteps}
    return neuron_model(steps, op_type, **(attributes | attrs))


@needs_library
def test_a_membrane_keeps_what_no_spike_carried() -> None:
    x = np.full((6, 1), 0.2, np.float32)
    soft = fire(single("IntegrateFirePositiveOverTime", 6), x)[:, 0].tolist()
    assert soft == [0.0, 0.5, 0.0, 0.5, 0.0, 0.0]
    hard = fire(single("IntegrateFirePositiveHardOverTime", 6), x)[:, 0].tolist()
    assert hard == [0.0, 0.5, 0.0, 0.0, 0.5, 0.0]


@needs_library
def test_two_membranes_never_cancel() -> None:
    x = np.array([[0.2], [-0.2], [0.2], [-0.2]], np.float32)
    dual = fire(single("DualIntegrateFireBothOverTime", 4, (0.5, 0.5)), x)[:, 0].tolist()
    assert dual == [0.0, 0.0, 0.5, -0.5]
    one = fire(single("AugmentedIntegrateFireBothOverTime", 4, (0.5, 0.5)), x)
    assert not one.any()


@needs_library
@pytest.mark.parametrize(
    ("timesteps", "shape"), [(1, (5,)), (3, (0, 4)), (3, (6, 0)), (4, (4,)), (3, (9, 2, 1, 5))]
)
def test_inputs_of_any_shape(timesteps: int, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    unfolded = x.reshape(timesteps, shape[0] // timesteps, *shape[1:])
    expected = MTN().over_time(unfolded, 0.5).reshape(shape)
    y = fire(single("MultiThresholdPositiveOverTime", timesteps), x)
    assert y.shape == shape and y.tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [SCALAR, CHANNEL, EACH])
def test_an_input_that_is_the_same_at_every_timestep(shape: StepShape) -> None:
    """Neurons that a Repeat is a part of, of every model: as behind a Repeat."""
    timesteps = 3
    graph = battery(timesteps, shape, SCALAR)
    nodes = []
    for case, neuron in zip(CASES, graph.neurons, strict=True):
        made = Composed(neuron=case.model, sides=case.sides, over_time=True, repeated=True)
        attributes = neuron_attributes(neuron)
        nodes.append(
            Op(neuron.outputs, neuron.inputs[:3], neuron.loc, f"{DOMAIN}.{made.name}", attributes)
        )
    runs = implementations(replace(graph, nodes=tuple(nodes)))
    x = filled([*around(0.3), *SPECIAL], 4)
    positive, negative = np.full(shape, 0.3, np.float32), np.array(0.7, np.float32)
    feeds: dict[str, Array] = {"x": x, "positive": positive, "negative": negative}
    repeated = np.concatenate([x] * timesteps)
    for who, run in runs.items():
        results = run(feeds)
        for case in CASES:
            expected = numpy_outputs(case, repeated, timesteps, feeds)
            assert_same_bits(results[case.value], expected, repeated, f"{who}, {case}")


@needs_library
def test_more_neurons_than_a_block_and_odd_rows() -> None:
    """Rows of steps that end inside blocks, on several threads."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3 * 2, 7, 1001)).astype(np.float32)
    steps = tuple(rng.uniform(0.1, 0.4, (7, 1)).astype(np.float32) for _ in range(2))
    y = fire(single("DualMultiThresholdBothOverTime", 3, steps), x)
    expected = DualMTN().over_time(x.reshape(3, 2, 7, 1001), *steps).reshape(x.shape)
    assert y.tobytes() == expected.tobytes()


@needs_library
@pytest.mark.parametrize("row", [1, 5, 49, 255, 256])
def test_short_rows_of_one_step(row: int) -> None:
    """Maps whose steps are written out for every input, and those just long enough."""
    rng = np.random.default_rng(row)
    x = rng.normal(size=(3 * 2, 300, row)).astype(np.float32)
    steps = tuple(rng.uniform(0.1, 0.4, (300, 1)).astype(np.float32) for _ in range(2))
    y = fire(single("AugmentedIntegrateFireBothOverTime", 3, steps), x)
    expected = AIF(n_min=-8, n_max=8).over_time(x.reshape(3, 2, 300, row), *steps).reshape(x.shape)
    assert y.tobytes() == expected.tobytes()


@needs_library
def test_bad_nodes_are_refused_with_their_name() -> None:
    name = "IntegrateFirePositiveOverTime"
    assert "'layer': timesteps must be at least 1, not 0" in refusal(single(name, 0))
    assert "timesteps must be at least 1, not -3" in refusal(single(name, -3))
    for kind in (name, f"Repeat{name}"):  # 2^62 times four rows are none
        many = refusal(single(kind, 2**62), np.zeros((4, 1), np.float32))
        assert "'layer': timesteps of 4611686018427387904 are too many" in many
    uneven = refusal(single(name, 2), np.zeros((3, 4), np.float32))
    assert "inputs of shape [3,4] are not 2 timesteps: the first axis does not divide" in uneven
    scalar = refusal(single(name, 2), np.zeros((), np.float32))
    assert "the input is a single number: its first axis holds time" in scalar
    one_timestep = single(name, 2, (np.ones((6, 1), np.float32),))
    wide = refusal(one_timestep, np.zeros((6, 4), np.float32))
    assert "steps of shape [6,1] do not broadcast to inputs of shape [3,4]" in wide
    assert "the integer attribute 'timesteps' is missing" in refusal(
        neuron_model((0.5,), name, potential=0.5)
    )
    assert "the number 'potential' is missing" in refusal(
        neuron_model((0.5,), "IntegrateFirePositive")
    )


@needs_library
@pytest.mark.parametrize(
    ("op_type", "attributes", "message"),
    [
        ("IntegrateFirePositive", {"potential": 1.0}, "from 0 to below 1, in steps of 1/256"),
        ("IntegrateFirePositive", {"potential": -0.5}, "from 0 to below 1, in steps of 1/256"),
        ("IntegrateFirePositive", {"potential": 0.3}, "potential must be from 0 to below 1"),
        ("IntegrateFirePositive", {"potential": float("nan")}, "potential must be from 0"),
        ("IntegrateFirePositive", {"bound": 0.0}, "bound must be positive"),
        ("MultiThresholdPositive", {"N": 0}, "N must be from 1 to 32768, not 0"),
        ("MultiThresholdPositive", {"N": 32769}, "N must be from 1 to 32768, not 32769"),
        ("AugmentedIntegrateFirePositive", {"n_max": -1}, "n_max must be from 0 to 32768, not -1"),
        ("AugmentedIntegrateFirePositive", {"n_min": 1}, "n_min must be from -32768 to 0, not 1"),
    ],
)
def test_parameters_out_of_range(op_type: str, attributes: dict[str, Any], message: str) -> None:
    assert message in refusal(single(op_type, 1, **attributes))


@needs_library
@pytest.mark.parametrize(
    ("op_type", "attributes", "message"),
    [
        (
            "MultiThresholdPositiveCount",
            {"N": 256},
            "levels up to 256 do not fit a byte: at most 255",
        ),
        (
            "DualMultiThresholdBothCount",
            {"N": 128},
            "levels up to 128 do not fit a byte: at most 127",
        ),
        ("AugmentedIntegrateFireBothCount", {"n_min": -128}, "levels up to 128 do not fit"),
        ("AugmentedIntegrateFireNegativeCount", {"n_max": 128}, "levels up to 128 do not fit"),
    ],
)
def test_counts_that_do_not_fit_a_byte(
    op_type: str, attributes: dict[str, Any], message: str
) -> None:
    steps = (0.5,) if "Positive" in op_type else (0.5, 0.5)
    model = single(op_type, 1, steps, output=TensorProto.UINT8, **attributes)
    assert message in refusal(model)


# --- means and differences over time -------------------------------------------------------------


def running_mean(x: Array) -> Array:
    sums = np.stack(list(np.add.accumulate(x, dtype=np.float32)))
    return np.stack([total / np.float32(t + 1) for t, total in enumerate(sums)])


def telescope(x: Array) -> Array:
    """(t + 1) x[t] - t x[t - 1], each product rounded; what is no finite number counts 0."""
    x = np.where(np.isfinite(x), x, np.float32(0))
    later = [np.float32(t + 1) * x[t] - np.float32(t) * x[t - 1] for t in range(1, len(x))]
    return np.stack([x[0], *later])


Entrywise: TypeAlias = Literal["RunningMean", "Telescope"]
ENTRYWISE: dict[Entrywise, Callable[[Array], Array]] = {
    "RunningMean": running_mean,
    "Telescope": telescope,
}


@needs_library
@pytest.mark.parametrize("name", ENTRYWISE)
@pytest.mark.parametrize("timesteps", [1, 2, 7])
@pytest.mark.parametrize("sample", [(), (2,), (5, 3, 331)])
def test_means_and_differences(name: Entrywise, timesteps: int, sample: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(timesteps, 2, *sample)).astype(np.float32)
    x[0].flat[:2], x[-1].flat[1] = (np.nan, -0.0), INF
    with np.errstate(all="ignore"):
        expected = ENTRYWISE[name](x)
    folded = x.reshape(2 * timesteps, *sample)
    for instructions in instruction_sets():
        with using_instruction_set(instructions):
            y = fire(neuron_model((), name, timesteps=timesteps), folded)
        assert_same_bits(y, expected.reshape(folded.shape), folded, f"{name}, {instructions}")


@pytest.mark.parametrize("name", [name for name in ENTRYWISE if name in FUNCTIONS])
@pytest.mark.parametrize("timesteps", [1, 2, 7])
def test_means_and_differences_by_function_bodies(name: Entrywise, timesteps: int) -> None:
    x = np.random.default_rng(0).normal(size=(timesteps, 2, *NEURONS)).astype(np.float32)
    x[:, 0, 0, :6] = [-0.0, np.nan, INF, -INF, MAX, 1e-45]
    folded = x.reshape(2 * timesteps, *NEURONS)
    op = Op(("y",), ("x",), Loc(("a",)), f"{DOMAIN}.{name}", {"timesteps": timesteps})
    types = {value: real("float32", ("N", *NEURONS)) for value in ("x", "y")}
    graph = Graph("g", ("x",), ("y",), (op,), types, {}, Stage.SPIKING, timesteps)
    runs = kernels(graph)
    for optimize in (True, False):
        runs[f"bodies, {optimize}"] = Session(graph, optimize=optimize, kernels=False).run
    with np.errstate(all="ignore"):
        expected = ENTRYWISE[name](x).reshape(folded.shape)
    for who, run in runs.items():
        assert_same_bits(run({"x": folded})["y"], expected, folded, f"{name}, {who}")


@needs_library
def test_means_and_differences_are_inverse_where_exact() -> None:
    x = np.random.default_rng(0).integers(-9, 9, (4 * 3, 5)).astype(np.float32)
    means = fire(neuron_model((), "RunningMean", timesteps=4), x)
    back = fire(neuron_model((), "Telescope", timesteps=4), means)
    np.testing.assert_allclose(back, x, atol=1e-5)


@needs_library
@pytest.mark.parametrize("name", ENTRYWISE)
def test_bad_timesteps_are_refused(name: str) -> None:
    assert "timesteps must be at least 1, not 0" in refusal(neuron_model((), name, timesteps=0))
    odd = refusal(neuron_model((), name, timesteps=2), np.zeros((3, 4), np.float32))
    assert "inputs of shape [3,4] are not 2 timesteps" in odd
    number = refusal(neuron_model((), name, timesteps=2), np.zeros((), np.float32))
    assert "the input is a single number" in number
    for shape in ((0, 4), (2, 0)):
        y = fire(neuron_model((), name, timesteps=2), np.zeros(shape, np.float32))
        assert y.shape == shape


@needs_library
def test_results_may_take_the_memory_of_inputs() -> None:
    """A chain of operations each of which alone reads what the one before it computed."""
    chain = ("RunningMean", "Telescope", "IntegrateFirePositiveOverTime", "RunningMean")
    model = onnx.load_from_string(neuron_model((), "RunningMean"))
    del model.graph.node[:]
    for place, op_type in enumerate(chain):
        names = [("x", *"abc", "y")[i] for i in (place, place + 1)]
        steps = ["x_step"] if "Fire" in op_type else []
        attributes: dict[str, Any] = {"timesteps": 3, "potential": 0.5}
        node = helper.make_node(
            op_type, [names[0], *steps], [names[1]], domain=DOMAIN, **attributes
        )
        model.graph.node.append(node)
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array(0.5, np.float32), "x_step")
    )
    x = np.random.default_rng(0).normal(size=(3, 4, 1000)).astype(np.float32)
    instants = telescope(running_mean(x))
    expected = running_mean(IF().over_time(instants, 0.5)).reshape(12, 1000)
    assert expected.any()
    assert fire(model.SerializeToString(), x.reshape(12, 1000)).tobytes() == expected.tobytes()
