"""SpikeLinear, SpikeMatMul, FloatLinear: equal to numpy on every instruction set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from snnc.ir.node import Array
from snnc.kernels import instruction_sets, kernel_library, using_instruction_set
from snnc.neurons.sfn import SFN

LIBRARY = kernel_library()
pytestmark = pytest.mark.skipif(
    LIBRARY is None, reason="the native kernels are not built (no C++ compiler at installation)"
)

ELEMENT = {
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.float32): TensorProto.FLOAT,
}


def open_node(
    op_type: str,
    inputs: Mapping[str, Array],
    constants: Mapping[str, Array],
    order: tuple[str, ...],
    attributes: Mapping[str, Any],
    threads: int = 1,
) -> Any:
    """A session of one node without a function body: only the library can run it."""
    output = TensorProto.UINT8 if op_type.endswith("Count") else TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(op_type, order, ["y"], domain="ai.snnc", name="layer", **attributes)],
        "g",
        [
            helper.make_tensor_value_info(name, ELEMENT[value.dtype], [None] * value.ndim)
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info("y", output, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.snnc", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(LIBRARY))
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


LINEAR = ("x", "w", "scale", "bias", "addend", "positive", "negative")
FLOAT_LINEAR = ("x", "w", "bias")
MATMUL = ("a", "b", "scale", "addend", "positive", "negative")


def run_everywhere(
    op_type: str,
    values: Mapping[str, Array],
    order: tuple[str, ...],
    constants: frozenset[str] = frozenset(),
    threads: int = 1,
    **attributes: Any,
) -> dict[str, Array]:
    """The result of the node on each instruction set."""
    order = tuple(name for name in order if name in values)
    fed = {name: value for name, value in values.items() if name not in constants}
    kept = {name: value for name, value in values.items() if name in constants}
    results = {}
    for name in instruction_sets():
        with using_instruction_set(name):
            session = open_node(op_type, fed, kept, order, attributes, threads)
            results[name] = np.asarray(session.run(None, fed)[0])
    assert results
    return results


def assert_all_equal(results: Mapping[str, Array], expected: Array) -> None:
    for name, result in results.items():
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected, err_msg=name)


def single(value: float) -> Array:
    return np.asarray(value, np.float32)


def gelu(z: Array) -> Array:
    """The formula of the kernels in float32, each operation rounded."""
    one, two, half = np.float32(1), np.float32(2), np.float32(0.5)
    s = np.abs(z) * np.float32(0.70710678118654752)
    p = np.full_like(s, np.float32(0.0000430638))
    for coefficient in (0.0002765672, 0.0001520143, 0.0092705272, 0.0422820123, 0.0705230784, 1.0):
        p = p * s + np.float32(coefficient)
    with np.errstate(over="ignore"):
        for _ in range(4):
            p = p * p
    r = one / p
    return np.asarray((half * z) * np.where(z < 0, r, two - r))


def finished(y: Array, addend: Array | None, with_gelu: bool) -> Array:
    if addend is not None:
        y = y + addend
    return gelu(y) if with_gelu else y


def counted(y: Array, model: SFN, steps: Mapping[str, Array]) -> Array:
    zero_point = 128 if "negative" in steps else 0
    count = model.count(y, steps["positive"], steps.get("negative", single(0)))
    return np.asarray(count + zero_point).astype(np.uint8)


def random_bytes(rng: np.random.Generator, shape: tuple[int, ...], silent: int | None) -> Array:
    """Counts, most of them silent where a zero point is given."""
    counts = rng.integers(0, 256, shape, np.uint8)
    if silent is not None:
        counts[rng.random(shape) < 0.7] = silent
    return counts


def linear_values(
    rng: np.random.Generator, leading: tuple[int, ...], k: int, n: int, silent: int | None
) -> dict[str, Array]:
    return {
        "x": random_bytes(rng, (*leading, k), silent),
        "w": rng.integers(-128, 128, (k, n)).astype(np.int8),
        "scale": (rng.random(n) * 2e-4).astype(np.float32),
        "bias": rng.normal(size=n).astype(np.float32),
    }


def linear_drive(values: Mapping[str, Array], zero_point: int) -> Array:
    product = (values["x"].astype(np.int64) - zero_point) @ values["w"].astype(np.int64)
    return np.asarray(
        product.astype(np.int32).astype(np.float32) * values["scale"] + values["bias"]
    )


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 40),
    k=st.integers(0, 150),
    n=st.integers(1, 140),
    zero_point=st.sampled_from([0, 128]),
    sparse=st.booleans(),
    constant=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_spike_linear_is_numpy(
    rows: int, k: int, n: int, zero_point: int, sparse: bool, constant: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = linear_values(rng, (rows,), k, n, zero_point if sparse else None)
    constants = frozenset({"w", "scale", "bias"} if constant else ())
    results = run_everywhere("SpikeLinear", values, LINEAR, constants, zero_point=zero_point)
    assert_all_equal(results, linear_drive(values, zero_point))


@pytest.mark.parametrize("zero_point", [0, 128])
@pytest.mark.parametrize("rows", [1, 4, 13])
@pytest.mark.parametrize("weight", [-128, 127])
def test_sums_do_not_saturate(rows: int, zero_point: int, weight: int) -> None:
    values = {
        "x": np.full((rows, 3072), 255, np.uint8),
        "w": np.full((3072, 33), weight, np.int8),
        "scale": single(1),
        "bias": np.zeros(33, np.float32),
    }
    results = run_everywhere("SpikeLinear", values, LINEAR, frozenset({"w"}), zero_point=zero_point)
    expected = np.full((rows, 33), (255 - zero_point) * weight * 3072, np.float32)
    assert_all_equal(results, expected)


@pytest.mark.parametrize("n", [64, 100, 2049, 4500])
@pytest.mark.parametrize("zero_point", [0, 128])
@pytest.mark.parametrize("threads", [1, 2])
def test_few_rows_are_worked_off_by_events(n: int, zero_point: int, threads: int) -> None:
    values = linear_values(np.random.default_rng(n), (2, 1), 203, n, zero_point)
    results = run_everywhere(
        "SpikeLinear", values, LINEAR, frozenset({"w"}), threads, zero_point=zero_point
    )
    assert_all_equal(results, linear_drive(values, zero_point))


@pytest.mark.parametrize("threads", [1, 2])
def test_work_in_many_tasks_is_numpy(threads: int) -> None:
    values = linear_values(np.random.default_rng(5), (3, 211), 515, 290, None)
    results = run_everywhere(
        "SpikeLinear", values, LINEAR, frozenset({"w"}), threads, zero_point=128
    )
    assert_all_equal(results, linear_drive(values, 128))


def neurons() -> list[tuple[str, SFN, dict[str, Any], dict[str, Array]]]:
    both = {"positive": single(0.04), "negative": single(0.03)}
    one = {"positive": single(0.02)}
    return [
        ("SfnDenseNearestBoth", SFN(M=6), {"M": 6}, both),
        ("SfnDenseEq11Both", SFN(M=6, rule="eq11"), {"M": 6}, both),
        ("SfnDenseNearestPositive", SFN(M=7), {"M": 7}, one),
        ("SfnDenseNearestPositiveCapped", SFN(M=7, bound=1.5), {"M": 7, "bound": 1.5}, one),
        ("SfnDenseNearestBothLimited", SFN(M=8, limit=127), {"M": 8, "limit": 127}, both),
        ("SfnDenseNearestBoth", SFN(M=4), {"M": 4}, both | {"negative": single(0)}),
    ]


@pytest.mark.parametrize("neuron", neurons(), ids=lambda neuron: neuron[0])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("with_gelu", [False, True])
def test_what_is_fused_is_numpy_op_by_op(neuron: Any, add: bool, with_gelu: bool) -> None:
    name, model, attributes, steps = neuron
    rng = np.random.default_rng(7)
    middle = f"{'Add' if add else ''}{'Gelu' if with_gelu else ''}"
    for rows in (2, 21):
        values = linear_values(rng, (rows,), 70, 45, 128 if rows == 2 else None)
        values["bias"][:3] = [np.inf, -np.inf, np.nan]
        if add:
            values["addend"] = rng.normal(size=(rows, 45)).astype(np.float32)
        with np.errstate(invalid="ignore"):
            drive = finished(linear_drive(values, 128), values.get("addend"), with_gelu)
        shared: dict[str, Any] = {"zero_point": 128}
        results = run_everywhere(f"SpikeLinear{middle}", values, LINEAR, **shared)
        assert_all_equal(results, drive)
        results = run_everywhere(
            f"SpikeLinear{middle}{name}Count",
            values | steps,
            LINEAR,
            frozenset({"w", "positive", "negative"} if rows == 2 else ()),
            **shared,
            **attributes,
        )
        assert_all_equal(results, counted(drive, model, steps))


BATCHES = [((), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((1,), (4,)), ((4,), (1,))]


@settings(max_examples=20, deadline=None)
@given(
    batches=st.sampled_from(BATCHES),
    sizes=st.tuples(st.integers(1, 30), st.integers(0, 70), st.integers(1, 70)),
    zero_points=st.tuples(st.sampled_from([0, 128]), st.sampled_from([0, 128])),
    transposed=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_spike_matmul_is_numpy(
    batches: tuple[tuple[int, ...], tuple[int, ...]],
    sizes: tuple[int, int, int],
    zero_points: tuple[int, int],
    transposed: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    rows, k, columns = sizes
    a = rng.integers(0, 256, (*batches[0], rows, k), np.uint8)
    b = rng.integers(0, 256, (*batches[1], k, columns), np.uint8)
    scale = single(0.013)
    product = (a.astype(np.int64) - zero_points[0]) @ (b.astype(np.int64) - zero_points[1])
    fed = np.ascontiguousarray(b.swapaxes(-1, -2)) if transposed else b
    results = run_everywhere(
        "SpikeMatMul",
        {"a": a, "b": fed, "scale": scale},
        MATMUL,
        a_zero_point=zero_points[0],
        b_zero_point=zero_points[1],
        trans_b=int(transposed),
    )
    assert_all_equal(results, product.astype(np.int32).astype(np.float32) * scale)


@pytest.mark.parametrize("zero_points", [(0, 0), (0, 128), (128, 0), (128, 128)])
def test_products_of_counts_do_not_saturate(zero_points: tuple[int, int]) -> None:
    values = {
        "a": np.full((7, 3072), 255, np.uint8),
        "b": np.full((3072, 33), 255, np.uint8),
        "scale": single(1),
    }
    results = run_everywhere(
        "SpikeMatMul", values, MATMUL, a_zero_point=zero_points[0], b_zero_point=zero_points[1]
    )
    expected = (255 - zero_points[0]) * (255 - zero_points[1]) * 3072
    assert_all_equal(results, np.full((7, 33), expected, np.float32))


@pytest.mark.parametrize("threads", [1, 2])
def test_fused_spike_matmul_is_numpy(threads: int) -> None:
    rng = np.random.default_rng(3)
    a = rng.integers(0, 256, (2, 5, 40, 33), np.uint8)
    b = rng.integers(0, 256, (2, 5, 50, 33), np.uint8)
    steps = {"positive": single(0.7), "negative": single(0.9)}
    scale, addend = single(1e-3), rng.normal(size=(2, 5, 40, 50))
    values = {"a": a, "b": b, "scale": scale, "addend": addend.astype(np.float32), **steps}
    product = (a.astype(np.int64) - 128) @ (b.astype(np.int64) - 128).swapaxes(-1, -2)
    drive = finished(product.astype(np.float32) * scale, values["addend"], True)
    results = run_everywhere(
        "SpikeMatMulAddGeluSfnDenseNearestBothCount",
        values,
        MATMUL,
        threads=threads,
        a_zero_point=128,
        b_zero_point=128,
        trans_b=1,
        M=6,
    )
    assert_all_equal(results, counted(drive, SFN(M=6), steps))


@pytest.mark.parametrize("rows", [1, 3, 5, 70])
@pytest.mark.parametrize("n", [1, 9, 64, 77, 1030])
@pytest.mark.parametrize("silent", [0.0, 0.9])
def test_float_linear_is_near_numpy(rows: int, n: int, silent: float) -> None:
    rng = np.random.default_rng(rows * n)
    x = rng.normal(size=(rows, 123)).astype(np.float32)
    x[rng.random(x.shape) < silent] = 0
    values = {
        "x": x,
        "w": rng.normal(size=(123, n)).astype(np.float32),
        "bias": rng.normal(size=n).astype(np.float32),
    }
    expected = x.astype(np.float64) @ values["w"].astype(np.float64) + values["bias"]
    for name, result in run_everywhere("FloatLinear", values, FLOAT_LINEAR).items():
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5), (0,), (3, 0)])
def test_empty_tensors(shape: tuple[int, ...]) -> None:
    k = shape[-1]
    values = linear_values(np.random.default_rng(0), shape[:-1], k, 6, None)
    results = run_everywhere("SpikeLinear", values, LINEAR, zero_point=128)
    assert_all_equal(results, linear_drive(values, 128))
    nothing: dict[str, Array] = {
        "w": np.zeros((k, 0), np.int8),
        "bias": np.zeros(0, np.float32),
        "scale": single(1),
    }
    results = run_everywhere("SpikeLinear", values | nothing, LINEAR, zero_point=0)
    assert_all_equal(results, np.zeros((*shape[:-1], 0), np.float32))
    floats = {"x": np.ones(shape, np.float32), "w": np.ones((k, 6), np.float32)}
    results = run_everywhere("FloatLinear", floats | {"bias": values["bias"]}, FLOAT_LINEAR)
    expected = np.broadcast_to(k + values["bias"], (*shape[:-1], 6))
    for result in results.values():
        np.testing.assert_allclose(result, expected, rtol=1e-6)


def refusal(
    op_type: str, values: Mapping[str, Array], constants: frozenset[str], **attributes: Any
) -> str:
    orders = {"SpikeLinear": LINEAR, "SpikeMatMul": MATMUL, "FloatLinear": FLOAT_LINEAR}
    order = next(order for drive, order in orders.items() if op_type.startswith(drive))
    with pytest.raises(Exception, match=r"ai\.snnc") as caught:
        run_everywhere(op_type, values, order, constants, **attributes)
    return str(caught.value)


GOOD: dict[str, Array] = {
    "x": np.zeros((2, 3), np.uint8),
    "w": np.zeros((3, 4), np.int8),
    "scale": np.ones(4, np.float32),
    "bias": np.zeros(4, np.float32),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((2, 5), np.uint8)}, r"x of shape [2,5] and weights of shape [3,4]"),
        ({"x": np.zeros((), np.uint8)}, "x of shape [] and weights of shape [3,4]"),
        ({"w": np.zeros((1, 3, 4), np.int8)}, "weights must be of rank 2, not of shape [1,3,4]"),
        ({"scale": np.ones(3, np.float32)}, "scale must have one entry for each of 4 columns"),
        ({"bias": np.ones((4, 1), np.float32)}, "bias must have one entry for each of 4 columns"),
    ],
)
@pytest.mark.parametrize("constant", [False, True])
def test_shapes_that_do_not_fit_are_refused(
    changes: Mapping[str, Array], message: str, constant: bool
) -> None:
    constants = frozenset({"w", "scale", "bias"} if constant else ())
    text = refusal("SpikeLinear", GOOD | dict(changes), constants, zero_point=0)
    assert f"ai.snnc.SpikeLinear 'layer': {message}" in text


def test_bad_attributes_and_steps_are_refused() -> None:
    none = frozenset[str]()
    assert "zero_point must be 0 or 128, not 7" in refusal("SpikeLinear", GOOD, none, zero_point=7)
    assert "'zero_point' is missing" in refusal("SpikeLinear", GOOD, none)
    steps = {"positive": np.ones(4, np.float32), "negative": single(1)}
    count = "SpikeLinearSfnDenseNearestBothCount"
    for constants in (none, frozenset({"positive", "negative"})):
        assert "steps must be single numbers, not of shape [4]" in refusal(
            count, GOOD | steps, constants, zero_point=0, M=6
        )
    good = steps | {"positive": single(1)}
    assert "do not fit a byte" in refusal(count, GOOD | good, none, zero_point=0, M=8)
    addend = {"addend": np.zeros((1, 4), np.float32)}
    assert "the addend is of shape [1,4], not of the result's shape [2,4]" in refusal(
        "SpikeLinearAdd", GOOD | addend, none, zero_point=0
    )


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((2, 3), (4, 5), "do not multiply"),
        ((3,), (3, 5), "operands must be matrices"),
        ((2, 2, 3), (3, 3, 5), "do not broadcast"),
    ],
)
def test_operands_that_do_not_fit_are_refused(
    a: tuple[int, ...], b: tuple[int, ...], message: str
) -> None:
    values = {
        "a": np.zeros(a, np.uint8),
        "b": np.zeros(b, np.uint8),
        "scale": single(1),
    }
    zero_points = {"a_zero_point": 0, "b_zero_point": 0}
    assert message in refusal("SpikeMatMul", values, frozenset(), **zero_points)
    values = {name: np.zeros((2, 2), np.uint8) for name in "ab"}
    two = {"scale": np.ones(2, np.float32)}
    assert "scale must be a single number" in refusal(
        "SpikeMatMul", values | two, frozenset(), **zero_points
    )
