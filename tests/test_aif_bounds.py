"""Entropy of PQA, and the bounds of AIF at a site (arXiv 2508.14520; spec 3.3)."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

import snnc
from snnc.errors import CompileError
from snnc.ir.node import Array
from snnc.ir.parse import parse_graph
from snnc.ir.text import format_graph
from snnc.neurons.aif import AIF
from snnc.neurons.entropy import (
    GAUSSIAN,
    RECTIFIED,
    best_bounds,
    fitted_normal,
    level_entropy,
    level_probabilities,
)
from snnc.neurons.sfn import SFN
from snnc.passes.site_neurons import PROBABILITIES, SiteNeurons
from snnc.pipeline import run_passes
from tests.conftest import calibration_path, model_path
from tests.onnx_models import arrays, model

NORMAL = np.array([NormalDist().inv_cdf(float(p)) for p in PROBABILITIES], np.float32)


def ratio(theta: float, n: float, m: float = 1.0, levels: int = 8) -> float:
    """Entropy of PQA for a standard normal input against that of the input."""
    return level_entropy(theta / levels, round(n * levels), round(m * levels)) / GAUSSIAN


def test_entropies_of_the_inputs() -> None:
    assert pytest.approx(1.4189, abs=1e-4) == GAUSSIAN
    assert pytest.approx(1.0560, abs=1e-4) == RECTIFIED


@pytest.mark.parametrize(
    ("n", "wanted"), [(-0.125, 0.899), (-0.25, 1.013), (-0.375, 1.027), (-1, 1.028)]
)
def test_entropy_at_the_published_threshold(n: float, wanted: float) -> None:
    assert ratio(8, n) == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize(
    ("theta", "wanted"), [(1, 1.35), (2, 1.46), (4, 1.31), (6, 1.16), (8, 1.01), (12, 0.77)]
)
def test_entropy_over_thresholds(theta: float, wanted: float) -> None:
    assert ratio(theta, -0.25) == pytest.approx(wanted, abs=6e-3)


def test_limits_of_the_entropy() -> None:
    assert level_entropy(1e-6, -2, 8) == pytest.approx(math.log(2), abs=1e-4)
    assert level_entropy(100.0, -2, 8) == 0
    assert level_probabilities(0.7, -3, 5, 0.2).sum() == pytest.approx(1)


def test_probabilities_are_those_of_the_neuron() -> None:
    x = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    counts = AIF(n_min=-2, n_max=3).count(x, 0.8, 0.8)
    found = [(counts == k).mean() for k in range(-2, 4)]
    np.testing.assert_allclose(found, level_probabilities(0.8, -2, 3), atol=5e-3)


def test_bounds_of_a_gaussian() -> None:
    """theta = L sigma; -0.25 and 3/8 come nearest to the Gaussian's own entropy."""
    model, theta = AIF().at_site(PROBABILITIES, 3 * NORMAL, 0.0)
    assert theta == pytest.approx(8 * 3, rel=0.02)
    lowest, highest = tuple(range(-1, -9, -1)), tuple(range(1, 9))
    assert (model.n_min, model.n_max) == best_bounds(1.0, 0.0, lowest, highest)
    every = {(a, b): abs(level_entropy(1.0, a, b) / GAUSSIAN - 1) for a in lowest for b in highest}
    assert every[model.n_min, model.n_max] <= min(every.values()) + 1e-3


def test_bounds_that_are_given_stay() -> None:
    model, _ = AIF(n_min=-5).at_site(PROBABILITIES, NORMAL, 0.0)
    assert model.n_min == -5
    assert model.n_max < 8
    both, _ = AIF(n_min=-8, n_max=8).at_site(PROBABILITIES, NORMAL, 0.0)
    assert (both.n_min, both.n_max) == (-8, 8)


def test_a_rectified_gaussian_has_no_negative_spikes() -> None:
    rectified = np.maximum(NORMAL, 0)
    fitted = fitted_normal(PROBABILITIES, rectified, 0.5)
    assert fitted == pytest.approx((0, 1), abs=0.02)
    model, theta = AIF().at_site(PROBABILITIES, rectified, 0.5)
    assert model.n_min == 0
    assert theta == pytest.approx(8, rel=0.02)


def test_other_distributions_take_the_least_error() -> None:
    x = np.sort(np.random.default_rng(0).laplace(size=256)).astype(np.float32) ** 3
    assert fitted_normal(PROBABILITIES, x, 0.0) is None
    model, theta = AIF().at_site(PROBABILITIES, x, 0.0)

    def error(theta: float) -> float:
        return float(np.square(x - AIF().step(x, theta / 8, theta / 8)).mean())

    assert error(theta) <= min(map(error, np.linspace(0.02, 1, 50) * np.abs(x).max())) * 1.02
    same = model.step(x, theta / 8, theta / 8)
    np.testing.assert_array_equal(same, AIF().step(x, theta / 8, theta / 8))


def test_neurons_of_their_own_at_every_site() -> None:
    calibrated = snnc.calibrate(
        model_path("digits_mlp"), calibration=calibration_path("digits_mlp")
    )
    given = run_passes(calibrated.graph(), (SiteNeurons(AIF(), calibrated.calibration),))
    assert all(isinstance(site.neuron, AIF) for site in given.sites)
    assert parse_graph(format_graph(given), given.consts) == given
    network = snnc.compile(calibrated, neuron="aif", threshold_rule="pmsm2025", scale=0.5)
    for site, neuron in zip(given.sites, network.graph.neurons, strict=True):
        assert isinstance(site.neuron, AIF)
        assert isinstance(neuron.model, AIF)
        assert (neuron.model.n_min, neuron.model.n_max) == (site.neuron.n_min, site.neuron.n_max)
        assert site.thresholds is not None
        theta = max(*site.thresholds[0], *site.thresholds[1])
        step: Array = network.graph.consts[next(filter(None, neuron.inputs[1:]))]
        assert float(step) == pytest.approx(0.5 * theta / 8)


def test_of_equal_bounds_those_with_fewest_spikes() -> None:
    """At steps next to nothing only the ends are ever emitted: all bounds have one entropy."""
    assert best_bounds(1e-6, 0.0, (-1, -2, -3), (1, 2, 3)) == (-1, 1)


def test_a_site_of_both_signs_fires_for_both() -> None:
    x = np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32)
    source = model(
        "g (float[N, 6] x) => (float[N, 6] y) { a = MatMul (x, w) s = Tanh (a) y = MatMul (s, w) }",
        arrays(1, w=(6, 6)),
    )
    calibrated = snnc.calibrate(source, calibration=x)
    (site,) = run_passes(calibrated.graph(), (SiteNeurons(AIF(), calibrated.calibration),)).sites
    assert site.thresholds is not None
    assert site.thresholds[0] == site.thresholds[1] and site.thresholds[0][0] > 0


def test_the_rule_goes_with_aif() -> None:
    calibrated = snnc.calibrate(
        model_path("digits_mlp"), calibration=calibration_path("digits_mlp")
    )
    with pytest.raises(CompileError, match="no parameters of its own"):
        snnc.compile(calibrated, neuron=SFN(), threshold_rule="pmsm2025", scale=0.5)
