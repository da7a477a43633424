"""Theorems 1 and 3 on rate neurons, in exact rationals and on real layers, and counter-examples."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import snnc
from snnc import equivalence, runtime
from snnc.ir.graph import Graph
from snnc.runtime import Session
from snnc.theorems import Theta, compare_layer
from tests.conftest import calibration_path, model_path
from tests.test_cli import GOLDEN, call, document, inside

__all__ = ["inside"]

Q: TypeAlias = Fraction


def integrate_and_fire(x: list[Q], theta: Q, v: Q) -> tuple[Q, Q]:
    """Mean output over the timesteps and v(T) (eqs. 1-4)."""
    spikes = 0
    for now in x:
        v += now
        if v >= theta:
            v, spikes = v - theta, spikes + 1
    return theta * spikes / len(x), v


def multi_threshold(x: Q, theta: Q, v: Q, levels: int) -> Q:
    """Output (eq. 6)."""
    return theta * min(max(floor((x + v) / theta), 0), levels)


def dual(x: Q, thetas: tuple[Q, Q], v: tuple[Q, Q], levels: int) -> Q:
    """Output (eq. 38)."""
    if x >= 0:
        return multi_threshold(x, thetas[0], v[0], levels)
    return -multi_threshold(-x, thetas[1], v[1], levels)


def mean(x: list[Q]) -> Q:
    return sum(x, Q(0)) / len(x)


shares = st.fractions(0, 1, max_denominator=64)
sizes = st.fractions(Q(1, 16), 8, max_denominator=64)
below_one = shares.filter(lambda s: s < 1)


@given(st.lists(shares, min_size=1, max_size=24), sizes, below_one, st.integers(0, 3))
def test_theorem_1_is_exact(x: list[Q], theta: Q, start: Q, more: int) -> None:
    x, v, steps = [theta * share for share in x], theta * start, len(x)
    found, _ = integrate_and_fire(x, theta, v)
    assert found == multi_threshold(mean(x), theta / steps, v / steps, steps + more)


@given(st.lists(shares, min_size=1, max_size=16), sizes, below_one, st.booleans())
def test_so_it_is_where_neither_or_both_fire_all_the_time(
    x: list[Q], theta: Q, start: Q, over: bool
) -> None:
    x = [theta * (1 + 3 * share) if over else -theta * share for share in x]
    v, steps = theta * start, len(x)
    found, _ = integrate_and_fire(x, theta, v)
    assert found == multi_threshold(mean(x), theta / steps, v / steps, steps)
    assert found == (theta if over else 0)


signed = st.fractions(-1, 1, max_denominator=64)


@given(
    st.lists(signed, min_size=1, max_size=24),
    st.tuples(sizes, sizes),
    st.tuples(below_one, below_one),
    st.integers(1, 4),
)
def test_theorem_3_bounds_the_error_and_its_constants_do_not_grow_with_time(
    x: list[Q], thetas: tuple[Q, Q], start: tuple[Q, Q], reach: int
) -> None:
    """reach: how many thresholds inputs span; beyond 1 the bound holds, but depends on T."""
    x = [reach * s * (thetas[0] if s > 0 else thetas[1]) for s in x]
    v, steps = (thetas[0] * start[0], thetas[1] * start[1]), len(x)
    up, up_end = integrate_and_fire([max(s, Q(0)) for s in x], thetas[0], v[0])
    down, down_end = integrate_and_fire([max(-s, Q(0)) for s in x], thetas[1], v[1])
    wanted = dual(
        mean(x), (thetas[0] / steps, thetas[1] / steps), (v[0] / steps, v[1] / steps), steps
    )
    error = steps * abs(up - down - wanted)
    if mean(x) >= 0:
        constant, theta = down_end - v[1] - up_end, thetas[0]
    else:
        constant, theta = up_end - v[0] - down_end, thetas[1]
    assert error <= abs(constant) + theta
    if reach == 1:
        assert error < 2 * theta + (thetas[0] + thetas[1] - theta)


def test_an_initial_potential_of_theta_breaks_theorem_1() -> None:
    x = [Q(1)] * 4
    assert integrate_and_fire(x, Q(1), Q(1))[0] == 1
    assert multi_threshold(Q(1), Q(1, 4), Q(1, 4), 5) == Q(5, 4)


def test_signed_weights_break_theorem_2_in_two_timesteps() -> None:
    """Means are in [0, theta] in both layers; x(t) of the second one is not."""
    theta, v = Q(1), Q(0)
    first = [Q(1), Q(0)], [Q(0), Q(1)]
    outputs = [[Q(1), Q(0)], [Q(0), Q(1)]]
    for x, spikes in zip(first, outputs, strict=True):
        assert integrate_and_fire(x, theta, v)[0] == mean(spikes)
    drive = [a - b for a, b in zip(*outputs, strict=True)]  # 1, -1
    assert integrate_and_fire(drive, theta, v)[0] == Q(1, 2)
    assert multi_threshold(mean(drive), theta / 2, v, 2) == 0


@pytest.mark.parametrize("steps", [1, 2, 8, 64])
def test_over_the_threshold_the_error_does_not_fall_with_time(steps: int) -> None:
    x, theta = [Q(3)] * steps, Q(1)
    fired, end = integrate_and_fire(x, theta, Q(0))
    assert multi_threshold(Q(3), theta / steps, Q(0), 10 * steps) - fired == 2
    assert end == 2 * steps  # so that the bound says nothing
    assert multi_threshold(Q(3), theta / steps, Q(0), steps) == fired  # N = T clips alike


def floats(x: list[Q]) -> list[float]:
    return [float(s) for s in x]


@settings(deadline=None)
@given(st.lists(signed, min_size=1, max_size=12), st.integers(1, 3), st.booleans())
def test_layers_of_floats_are_compared_as_rationals_are(x: list[Q], reach: int, two: bool) -> None:
    """On numbers that floats hold exactly."""
    x = [Q(round(64 * reach * s), 64) for s in x]
    x = x[: 1 << (len(x).bit_length() - 1)]  # theta / T is a power of two
    thetas, start, steps = (Q(1), Q(1, 2) if two else Q(0)), Q(1, 4), len(x)
    model = snnc.DualIF(potential=0.25) if two else snnc.IF(potential=0.25)
    array = np.array(floats(x), np.float32)[:, None]
    out = model.over_time(array, *floats(list(thetas)))
    found = compare_layer(array, out, Theta(1.0, float(thetas[1]), 0.25))
    if two:
        up, _ = integrate_and_fire([max(s, Q(0)) for s in x], thetas[0], start)
        down, _ = integrate_and_fire([max(-s, Q(0)) for s in x], thetas[1], start / 2)
        fired = up - down
        sizes = thetas[0] / steps, thetas[1] / steps
        wanted = dual(mean(x), sizes, (start / steps, start / 2 / steps), steps)
    else:
        fired, _ = integrate_and_fire(x, thetas[0], start)
        wanted = multi_threshold(mean(x), thetas[0] / steps, start / steps, steps)
    assert found.error[0] == pytest.approx(float(abs(fired - wanted)), abs=1e-6)
    assert found.holds
    if found.exact[0]:
        assert fired == wanted
    assert found.within[0] == all(-thetas[1] <= s <= thetas[0] for s in x)
    assert (found.beyond == 0) == bool(found.exact[0] or found.within[0])


def test_a_wrong_layer_is_found() -> None:
    x = np.full((4, 1), 0.5, np.float32)
    right = snnc.IF().over_time(x, 1.0)
    assert compare_layer(x, right, Theta(1.0, 0.0, 0.5)).holds
    assert not compare_layer(x, np.zeros_like(x), Theta(1.0, 0.0, 0.5)).holds


@pytest.mark.parametrize("wrong", [0.0, 1.0, 10.0])
def test_a_wrong_layer_is_found_where_nothing_is_exact(wrong: float) -> None:
    """Theorem 3's bound follows from what came out, so that it allows anything; its limit not."""
    x = np.random.default_rng(0).uniform(-0.5, 1, (8, 1000)).astype(np.float32)
    theta = Theta(1.0, 0.5, 0.5)
    right = compare_layer(x, snnc.DualIF().over_time(x, 1.0, 0.5), theta)
    assert right.holds and right.within.all() and not right.exact.all()
    found = compare_layer(x[:, ~right.exact], np.full_like(x[:, ~right.exact], wrong), theta)
    assert not found.holds


def test_a_negative_mean_of_a_sign_that_never_fires_is_bounded() -> None:
    x = np.array([[3.0], [-5.0]], np.float32)
    out = snnc.IF(potential=0).over_time(x, 1.0)
    found = compare_layer(x, out, Theta(1.0, 0.0, 0.0))
    assert (found.error[0], found.bound[0]) == (0.5, 1.5)
    assert (found.beyond, found.worst) == (2, -5.0)


CNN, CALIBRATION = model_path("digits_cnn"), calibration_path("digits_cnn")


@pytest.mark.parametrize("neuron", ["if", "dual-if:potential=0.25"])
def test_the_layers_of_a_network(neuron: str) -> None:
    network = snnc.calibrate(CNN, calibration=CALIBRATION)
    with np.load(CALIBRATION) as loaded:
        images = loaded["input"][:40]
    for steps in (1, 8):
        found = snnc.verify_equivalence(network, images, timesteps=steps, neuron=neuron, scale=1.0)
        assert found.samples == 40
        assert len(found.layers) == len(network.sited.sites)
        for layer in found.layers:
            assert layer.holds
            assert layer.error <= layer.bound
            assert (layer.verdict == "exact") == (layer.exact == 1.0)
            if layer.verdict == "exact":
                assert layer.error == 0
        # the first one has the same input at every timestep
        assert found.layers[0].verdict == "exact"
        if steps == 1:
            assert all(layer.verdict == "exact" for layer in found.layers)
        else:
            deep = found.layers[-1]
            assert deep.verdict == "violated"
            assert deep.beyond > 0 and deep.error > 0 and deep.worst != 0


def test_inputs_within_the_thresholds_make_a_layer_bounded() -> None:
    network = snnc.calibrate(model_path("digits_vit"), calibration=calibration_path("digits_vit"))
    with np.load(CALIBRATION) as loaded:
        images = loaded["input"][:4]
    found = snnc.verify_equivalence(
        network,
        images,
        timesteps=4,
        neuron="dual-if",
        scale=1.0,
        percentile=0.0,
        recipe=snnc.Recipe(threshold_rule="tensor-percentile"),
    )
    verdicts = {layer.verdict for layer in found.layers}
    assert {"exact", "violated"} & verdicts
    for layer in found.layers:
        assert layer.holds
        if layer.verdict == "bounded":
            assert layer.limit is not None and layer.error <= layer.limit


def test_layers_are_compared_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit at all timesteps, which changes nothing."""
    network = snnc.calibrate(CNN, calibration=CALIBRATION)
    with np.load(CALIBRATION) as loaded:
        images = loaded["input"][:4]
    tapped: list[int] = []

    class Noted(Session):
        def __init__(self, graph: Graph, *, taps: Sequence[str] = (), **options: Any) -> None:
            tapped.append(len(taps))
            super().__init__(graph, taps=taps, **options)

    monkeypatch.setattr(equivalence, "Session", Noted)
    found = []
    for numbers in (runtime.BATCH_ELEMENTS, 1):

        def groups(graph: Graph, taps: list[tuple[str, ...]], numbers: int = numbers) -> Any:
            with monkeypatch.context() as patched:
                patched.setattr(runtime, "BATCH_ELEMENTS", numbers)
                return runtime.batch_groups(graph, taps)

        monkeypatch.setattr(equivalence, "batch_groups", groups)
        found.append(snnc.verify_equivalence(network, images, timesteps=4, scale=1.0))
    assert found[0] == found[1]
    layers = len(found[0].layers)
    assert layers > 1 and tapped == [2 * layers] + [2] * layers


def test_other_neurons_are_refused() -> None:
    network = snnc.calibrate(CNN, calibration=CALIBRATION)
    for neuron in ("sfn", "if:reset=hard", "mtn"):
        with pytest.raises(snnc.CompileError):
            snnc.verify_equivalence(network, CALIBRATION, timesteps=2, neuron=neuron)
    with pytest.raises(snnc.CompileError, match="timesteps"):
        snnc.verify_equivalence(network, CALIBRATION, timesteps=0)


WORDS = ("verify-equivalence", "mlp.onnx", "--calibration", str(calibration_path("digits_mlp")))


def test_the_command_as_table_and_json(inside: Path) -> None:
    words = (*WORDS, "--timesteps", "4", "--lambda", "1")
    report = document(call(*words, "--json"))
    assert (report["neuron"], report["samples"], report["lambda"]) == ("if@4", 300, 1.0)
    first, second = report["layers"]
    assert (first["verdict"], first["error"], first["exact_share"]) == ("exact", 0.0, 1.0)
    assert second["verdict"] == "violated"
    assert 0 < second["mean_error"] < second["error"] <= second["bound"]
    assert second["within_bound"] is True
    shown = call(*words)
    assert shown.exit_code == 0
    assert f"{100 * second['exact_share']:.2f} %" in shown.stdout
    assert "premises violated" in shown.stdout


BAD = {
    "equivalence_neuron": (*WORDS, "--timesteps", "4", "--neuron", "mtn"),
    "equivalence_reset": (*WORDS, "--timesteps", "4", "--neuron", "if:reset=hard"),
    "equivalence_timesteps": (*WORDS, "--timesteps", "0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_error(inside: Path, case: str) -> None:
    result = call(*BAD[case])
    assert (result.exit_code, result.stdout) == (1, "")
    golden = (GOLDEN / "errors" / f"{case}.txt").read_text()
    assert result.stderr == golden


@pytest.mark.parametrize("words", [WORDS, (*WORDS[:2], "--timesteps", "4")])
def test_wrong_usage_exits_with_2(inside: Path, words: tuple[str, ...]) -> None:
    result = call(*words)
    assert (result.exit_code, result.stdout) == (2, "")
