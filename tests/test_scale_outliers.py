"""Outlier channels scaled between what computes them and what reads them."""

from __future__ import annotations

import numpy as np
import pytest

import snnc
from snnc.calibrated import CalibratedNetwork
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.verify import verify
from snnc.passes.scale_outliers import ScaleOutliers
from snnc.runtime import Session
from tests.conftest import calibration_path, model_path
from tests.onnx_models import arrays, model

SIZES = np.array([1, 1, 40, 1, 0.5, 1, 1, 90], np.float32)


def network(text: str, x: tuple[int, ...], **shapes: tuple[int, ...]) -> CalibratedNetwork:
    """`gain` are sizes of 8 channels, two of them outliers."""
    onnx = model(text, {**arrays(0, **shapes), "gain": SIZES})
    return snnc.calibrate(onnx, calibration=arrays(1, x=x)["x"])


NORM = """g (float[b, 5, 8] x) => (float[b, 5, 3] y) {
    n = LayerNormalization (x, gain, beta)
    y = MatMul (n, w)
}"""

BRANCHES = """g (float[b, 8] x) => (float[b, 3] y) {
    a = Gemm <transB = 1> (x, first, bias)
    s = Mul (a, gain)
    m = Add (s, beta)
    r = Relu (m)
    u = MatMul (r, w)
    v = Gemm <transB = 1> (r, v_weights)
    y = Sub (u, v)
}"""

CONVOLUTIONS = """g (float[b, 2, 8, 8] x) => (float[b, 6, 4, 4] y) {
    c = Conv <pads = [1, 1, 1, 1]> (x, first, bias)
    r = Relu (c)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
    y = Conv <group = 2, pads = [1, 1, 1, 1]> (p, w)
}"""

GEMMS = """g (float[b, 8] x) => (float[b, 3] y) {
    a = Gemm (x, first, bias)
    r = Relu (a)
    y = MatMul (r, w)
}"""


def cases() -> dict[str, CalibratedNetwork]:
    first = arrays(2, first=(8, 2, 3, 3))["first"] * SIZES.reshape(-1, 1, 1, 1)
    convolutions = model(
        CONVOLUTIONS,
        {**arrays(3, w=(6, 4, 3, 3), bias=(8,)), "first": np.asarray(first, np.float32)},
    )
    last = arrays(2, first=(8, 8))["first"] * SIZES
    gemms = model(GEMMS, {**arrays(3, w=(8, 3), bias=(8,)), "first": np.asarray(last, np.float32)})
    return {
        "norm": network(NORM, (64, 5, 8), beta=(8,), w=(8, 3)),
        "branches": network(
            BRANCHES, (64, 8), first=(8, 8), bias=(8,), beta=(8,), w=(8, 3), v_weights=(3, 8)
        ),
        "conv": snnc.calibrate(convolutions, calibration=arrays(1, x=(16, 2, 8, 8))["x"]),
        "gemm": snnc.calibrate(gemms, calibration=arrays(1, x=(64, 8))["x"]),
    }


def scaled(network: CalibratedNetwork, sigmas: float = 1.5) -> Graph:
    verify(network.sited, ScaleOutliers.before)
    graph = ScaleOutliers(network.samples, sigmas)(network.sited)
    verify(graph, ScaleOutliers.after)
    return graph


def at_sites(graph: Graph, network: CalibratedNetwork) -> tuple[Array, Array]:
    """What the only site sees, channels last, and the output."""
    (site,) = graph.open_sites
    value = site.inputs[0]
    found = Session(graph, taps=(value,)).run(next(network.samples.batches(1000)))
    x = found[value]
    return (np.moveaxis(x, 1, -1) if x.ndim == 4 else x), found["y"]


@pytest.mark.parametrize("case", ["norm", "branches", "conv", "gemm"])
def test_outliers_come_down_and_the_network_stays(case: str) -> None:
    calibrated = cases()[case]
    graph = scaled(calibrated)
    (before, wanted), (after, found) = (at_sites(g, calibrated) for g in (calibrated.sited, graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-5 * np.abs(wanted).max())
    limit = 1.5 * np.sqrt(np.square(before).mean())
    assert np.abs(before).max() > 2 * limit
    assert np.abs(after).max() <= limit * 1.0001
    ordinary = np.abs(before).reshape(-1, 8).max(0) <= limit
    assert ordinary.any() and not ordinary.all()
    np.testing.assert_array_equal(after[..., ordinary], before[..., ordinary])


@pytest.mark.parametrize(
    "text",
    [
        "n = Tanh (m)\n y = MatMul (n, w)",
        "n = Clip (m, low, high)\n y = MatMul (n, w)",
        "n = Relu (m)\n p = MatMul (n, w)\n q = ReduceSum (n, axes)\n y = Add (p, q)",
    ],
)
def test_where_the_scale_does_not_pass_nothing_changes(text: str) -> None:
    """A function, a bound, another reader."""
    weights = {
        **arrays(0, w=(8, 3)),
        "gain": SIZES,
        "low": np.array(0, np.float32),
        "high": np.array(50, np.float32),
        "axes": np.array([1], np.int64),
    }
    onnx = model(f"g (float[b, 8] x) => (float[b, 3] y) {{ m = Mul (x, gain)\n {text} }}", weights)
    calibrated = snnc.calibrate(onnx, calibration=arrays(1, x=(64, 8))["x"])
    assert scaled(calibrated, 0.5) == calibrated.sited


def test_without_outliers_nothing_changes() -> None:
    calibrated = cases()["norm"]
    assert scaled(calibrated, 1000.0) == calibrated.sited


def test_a_trained_network_computes_the_same() -> None:
    with np.load(calibration_path("digits_vit")) as loaded:
        data = {name: loaded[name][:32] for name in loaded if name != "labels"}
    calibrated = snnc.calibrate(model_path("digits_vit"), calibration=data)
    graph = scaled(calibrated, 3.0)
    assert graph != calibrated.sited
    feeds = next(calibrated.samples.batches(32))
    (output,) = graph.outputs
    wanted, found = (Session(g).run(feeds)[output] for g in (calibrated.sited, graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sigmas", [0, -1.0, float("nan")])
def test_sigmas_that_cannot_be(sigmas: float) -> None:
    with pytest.raises(CompileError):
        ScaleOutliers(cases()["norm"].samples, sigmas)
