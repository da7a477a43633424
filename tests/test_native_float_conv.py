"""FloatConv of the native library, which reads the weights of spikes only, against numpy.

Spikes, weights and biases are multiples of powers of two, so that every order of sums is exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnc.ir.node import Array
from snnc.kernels import using_instruction_set
from snnc.neurons.dual_if import DualIF
from snnc.neurons.integrate_fire import IF
from tests.conv_cases import (
    EACH_SET,
    NEEDS_LIBRARY,
    SETTINGS,
    Case,
    Geometry,
    Node,
    cases,
    convolve,
    plain,
    random_case,
)

pytestmark = NEEDS_LIBRARY

SHAPES = [
    ((3, 28, 28, 24), 24, plain(3, 3, pad=1)),
    ((2, 14, 13, 48), 130, plain(3, 3, pad=1)),
    ((1, 9, 9, 40), 17, Geometry((3, 3), (1, 1), (1, 1), (0, 2, 2, 1))),
    ((1, 7, 7, 70), 33, plain(3, 3)),
    ((2, 20, 21, 16), 40, plain(3, 3, pad=1, stride=2)),
    ((20, 1, 1, 35), 200, plain(1, 1)),
    ((2, 30, 31, 5), 7, plain(7, 5, pad=3, stride=2)),
    ((2, 300, 40), 24, plain(5, pad=2)),
    ((1, 64, 64, 3), 8, plain(3, 3, pad=3)),
]
"""3x3 windows with every padding, other kernels, more outputs than fit in registers, one axis."""


def spikes(case: Case, share: float) -> Array:
    """As many entries of x that are not zero, channels first."""
    random = np.random.default_rng(3)
    counts = random.integers(1, 5, case.x.shape) * random.choice([-0.25, 0.25], case.x.shape)
    x = np.where(random.random(counts.shape) < share, counts, 0).astype(np.float32)
    return np.moveaxis(x, -1, 1)


def in_parts(shape: tuple[int, ...]) -> Array:
    """Random numbers of 1/64 each."""
    return np.asarray(np.random.default_rng(4).integers(-127, 128, shape) / 64, np.float32)


def float_conv(case: Case, share: float, **changes: Array) -> Node:
    inputs = {
        "x": spikes(case, share),
        "w": in_parts(case.w.shape),
        "bias": in_parts((len(case.w),)),
    }
    attributes = {k: v for k, v in case.geometry.attributes.items() if not k.startswith("channels")}
    return Node("FloatConv", inputs | changes, attributes)


def expected(case: Case, node: Node) -> Array:
    x, w, bias = (node.inputs[key].astype(np.float64) for key in ("x", "w", "bias"))
    y = convolve(np.moveaxis(x, 1, -1), w, case.geometry) + bias
    return np.asarray(np.moveaxis(y, -1, 1), np.float32)


@EACH_SET
@SETTINGS
@given(case=cases())
def test_any_geometry(instructions: str, case: Case) -> None:
    one = replace(case.geometry, group=1)
    w = np.zeros((case.w.shape[0], case.x.shape[-1], *case.w.shape[2:]), np.int8)
    case = Case(one, case.x, w)
    for share in (0.2, 1.0):
        node = float_conv(case, share)
        with using_instruction_set(instructions):
            assert np.array_equal(node.run(), expected(case, node))


@st.composite
def windows(draw: Callable[..., Any]) -> Case:
    """What goes by windows: 3x3 by one, padded by two at most, on maps of one place and more."""
    pads = draw(st.tuples(*[st.integers(0, 2)] * 4))
    least = [max(0, 3 - pads[i] - pads[2 + i]) for i in range(2)]
    size = [draw(st.sampled_from([n, n + 1, n + 2, n + 3, 15, 16, 17, 33])) for n in least]
    channels = draw(st.sampled_from([1, 3, 15, 16, 17, 40]))
    outputs = draw(st.sampled_from([1, 3, 4, 5, 16, 17, 33, 49, 70, 97]))
    x_shape = (draw(st.sampled_from([1, 2, 17])), *size, channels)
    return random_case(x_shape, outputs, Geometry((3, 3), (1, 1), (1, 1), pads))


@EACH_SET
@SETTINGS
@given(case=windows())
def test_any_window(instructions: str, case: Case) -> None:
    for share in (0.2, 1.0):
        node = float_conv(case, share)
        with using_instruction_set(instructions):
            assert np.array_equal(node.run(threads=2), expected(case, node))


@EACH_SET
@pytest.mark.parametrize(("x_shape", "outputs", "geometry"), SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_layers_of_networks(
    instructions: str, x_shape: tuple[int, ...], outputs: int, geometry: Geometry, share: float
) -> None:
    case = random_case(x_shape, outputs, geometry)
    node = float_conv(case, share)
    with using_instruction_set(instructions):
        result = node.run(threads=2)
        assert np.array_equal(result, expected(case, node))
        node.fed = ("x", "w")
        assert np.array_equal(node.run(), result)  # weights that are packed at every run
        if share == 0:
            bias = node.inputs["bias"].reshape(-1, *[1] * len(geometry.kernel))
            assert np.array_equal(result, np.broadcast_to(bias, result.shape))


@EACH_SET
def test_what_is_no_number_stays_where_it_reaches(instructions: str) -> None:
    case = random_case((1, 9, 9, 3), 5, plain(3, 3, pad=1))
    node = float_conv(case, 0.1)
    node.inputs["x"][0, 1, 4, 4] = np.nan
    node.inputs["x"][0, 2, 0, 0] = np.inf
    with using_instruction_set(instructions):
        found = node.run()
    wrong = ~np.isfinite(found)
    assert wrong[:, :, 3:6, 3:6].all()
    assert wrong[:, :, :2, :2].all()
    assert wrong.sum() == 5 * (9 + 4)


@EACH_SET
def test_empty_maps(instructions: str) -> None:
    """No samples; no rows but the padding."""
    case = random_case((1, 5, 5, 3), 4, plain(3, 3, pad=2))
    with using_instruction_set(instructions):
        assert float_conv(case, 0, x=np.zeros((0, 3, 5, 5), np.float32)).run().size == 0
        node = float_conv(case, 0, x=np.zeros((2, 3, 0, 5), np.float32))
        bias = node.inputs["bias"].reshape(-1, 1, 1)
        assert np.array_equal(node.run(), np.broadcast_to(bias, (2, 4, 2, 7)))
        node = float_conv(case, 0, x=np.zeros((2, 3, 5, 0), np.float32))
        assert np.array_equal(node.run(), np.broadcast_to(bias, (2, 4, 7, 2)))


def behind(node: Node, suffix: str, steps: dict[str, Array], **attributes: Any) -> Array:
    """The result of the same convolution with something behind it."""
    inputs = node.inputs | steps
    fused = Node(node.op_type + suffix, inputs, node.attributes | attributes)
    return fused.run(threads=2)


def check_integrate_and_fire(node: Node, unfolded: Array, step: Array) -> None:
    """Behind a convolution whose results [T, N, ...] are `unfolded`: as numpy has it."""
    steps, name = {"positive": step}, "IntegrateFirePositiveOverTime"
    found = behind(node, name, steps, timesteps=len(unfolded), potential=0.5)
    wanted = IF().over_time(unfolded, step)
    assert np.array_equal(found, wanted.reshape(-1, *unfolded.shape[2:]))


@EACH_SET
@pytest.mark.parametrize("samples", [2, 17])
def test_what_follows_over_time(instructions: str, samples: int) -> None:
    """Few samples, whose images are tasks, and many, each a task: as without fusion, to the bit."""
    case = random_case((3 * samples, 7, 9, 5), 6, plain(3, 3, pad=1))
    node = float_conv(case, 0.2)
    with using_instruction_set(instructions):
        drive = node.run()
        unfolded = drive.reshape(3, samples, 6, 7, 9)
        numbers = np.arange(1, 4, dtype=np.float32).reshape(3, 1, 1, 1, 1)
        mean = (np.add.accumulate(unfolded, axis=0) / numbers).reshape(drive.shape)
        assert np.array_equal(behind(node, "Mean", {}, timesteps=3), mean)
        assert np.array_equal(behind(node, "MeanRelu", {}, timesteps=3), np.maximum(mean, 0))
        for step in (np.array(0.7, np.float32), np.linspace(0.2, 3, 6, dtype=np.float32)):
            step = step.reshape(-1, 1, 1)
            check_integrate_and_fire(node, unfolded, step)
            steps = {"positive": step, "negative": np.array(0.9, np.float32)}
            found = behind(node, "DualIntegrateFireBothOverTime", steps, timesteps=3, potential=0.5)
            wanted = DualIF().over_time(unfolded, step, steps["negative"])
            assert np.array_equal(found, wanted.reshape(drive.shape))


@EACH_SET
@pytest.mark.parametrize("samples", [2, 17])
@pytest.mark.parametrize(
    ("size", "geometry"),
    [((300,), plain(5, pad=2)), ((9, 8), plain(5, 3, pad=2, stride=2)), ((1, 1), plain(1, 1))],
)
def test_steps_of_any_shape_over_time(
    instructions: str, samples: int, size: tuple[int, ...], geometry: Geometry
) -> None:
    """Rows of one step that are longer than a block's least, and shorter; a step for each entry."""
    case = random_case((3 * samples, *size, 5), 6, geometry)
    node = float_conv(case, 0.2)
    with using_instruction_set(instructions):
        drive = node.run()
        unfolded = drive.reshape(3, samples, *drive.shape[1:])
        for shape in ((), (6, *[1] * len(size)), unfolded.shape[2:], unfolded.shape[1:]):
            step = np.random.default_rng(5).uniform(0.2, 3, shape).astype(np.float32)
            check_integrate_and_fire(node, unfolded, step)


@pytest.mark.parametrize("suffix", ["Mean", "IntegrateFirePositiveOverTime"])
def test_timesteps_that_do_not_divide_are_refused(suffix: str) -> None:
    node = float_conv(random_case((4, 5, 5, 3), 4, plain(3, 3)), 0.1)
    step = {"positive": np.array(1, np.float32)} if suffix != "Mean" else {}
    with pytest.raises(Exception, match="are not 3 timesteps: the first axis does not divide"):
        behind(node, suffix, step, timesteps=3, potential=0.5)
    with pytest.raises(Exception, match="timesteps must be at least 1, not 0"):
        behind(node, suffix, step, timesteps=0, potential=0.5)


@pytest.mark.parametrize(
    ("changes", "attributes", "message"),
    [
        (
            {"x": np.zeros((0, 3, 40000, 40000), np.float32)},
            {},
            "an image of 3 channels of 1600000000 places is too large",
        ),
        ({"x": np.zeros((1, 2, 5, 5), np.float32)}, {}, "x has 2 channels, but weights of shape"),
        ({"x": np.zeros((1, 3, 5), np.float32)}, {}, "differ in rank"),
        ({"bias": np.zeros(3, np.float32)}, {}, "bias must have one entry for each of 4"),
        ({}, {"group": 3}, "group must be 1, not 3"),
        ({}, {"pads": (0, 0, 0)}, "pads must have 4 entries, not 3"),
        ({"x": np.zeros((1, 3, 1, 5), np.float32)}, {"pads": (0,) * 4}, "larger than the padded"),
    ],
)
def test_bad_nodes_are_refused(
    changes: dict[str, Array], attributes: dict[str, Any], message: str
) -> None:
    node = float_conv(random_case((1, 5, 5, 3), 4, plain(3, 3, pad=1)), 0.1, **changes)
    node.attributes |= attributes
    with pytest.raises(Exception, match=message) as caught:
        node.run()
    assert "FloatConv" in str(caught.value)
