"""Neuron models side by side: rows are what compiling gives, refusals are rows, integer energy."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snnc
import snnc.fits
from snnc import comparison
from snnc.fitted import fitted
from snnc.integer_energy import bits_for, levels_of
from snnc.ir.graph import Graph
from snnc.ir.neuron_spec import NeuronSpec
from snnc.ir.node import Array
from snnc.runtime import Session
from snnc.streams import spike_counts
from tests.conftest import calibration_path, held_out_path, model_path
from tests.test_cli import GOLDEN, call, compile_mlp, document, inside

__all__ = ["inside"]

CALIBRATION = str(calibration_path("digits_mlp"))
TEST = str(held_out_path("digits_mlp"))
WORDS = ("compare", "mlp.onnx", "--data", TEST, "--calibration", CALIBRATION)


@cache
def calibrated(name: str) -> snnc.CalibratedNetwork:
    return snnc.calibrate(model_path(name), calibration=calibration_path(name))


def test_what_is_timed_is_what_compile_deploys(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the activity that layers which skip silent inputs are chosen by."""
    timed: list[Graph] = []

    def noted(_: Graph, spiking: Graph, *__: Any) -> float:
        timed.append(spiking)
        return 1.0

    monkeypatch.setattr(comparison, "latency_ratio", noted)
    snnc.compare(calibrated("digits_mlp"), few("digits_mlp"), neurons="if@4", scale=0.5)
    network = snnc.compile(
        model_path("digits_mlp"), calibration=CALIBRATION, neuron="if", timesteps=4, scale=0.5
    )
    assert [n.activity for n in timed[0].neurons] == [n.activity for n in network.graph.neurons]
    assert all(neuron.activity is not None for neuron in timed[0].neurons)


@cache
def few(name: str) -> dict[str, Array]:
    with np.load(held_out_path(name)) as loaded:
        return {key: array[:40] for key, array in loaded.items()}


def test_a_row_is_what_compiling_and_evaluating_gives() -> None:
    found = snnc.compare(
        calibrated("digits_mlp"), few("digits_mlp"), neurons=("aif", snnc.IF(), "if@4"), seconds=0
    )
    assert [str(row.spec) for row in found.rows] == ["aif", "if", "if@4"]
    for row in (found.rows[0], found.rows[2]):
        assert row.point is not None and row.integers is not None and row.time is None
        network = snnc.compile(
            model_path("digits_mlp"),
            calibration=CALIBRATION,
            neuron=row.spec.neuron,
            timesteps=row.spec.timesteps,
        )
        wanted, result = network.evaluate(few("digits_mlp")), row.point.result
        assert row.point.scale == network.report.scale
        assert (result.snn_top1, result.agreement) == (wanted.snn_top1, wanted.agreement)
        assert result.energy.summary() == pytest.approx(wanted.energy.summary())
        spikes = [n.outputs[0] for n in network.graph.neurons]
        values = Session(network.graph, taps=spikes).run({"input": few("digits_mlp")["input"]})
        counts = (
            spike_counts(network.graph, neuron, values[neuron.outputs[0]])
            for neuron in network.graph.neurons
        )
        fired = sum(float(count.sum()) for count in counts)
        assert result.energy.fired_spikes == pytest.approx(fired / 40, rel=1e-5)
        power = fired / 40 * 0.9e-12 / (row.spec.timesteps * 1e-3)  # watt
        assert row.power_mw == pytest.approx(1e3 * power, rel=1e-5)


def test_the_integers_that_match_a_network() -> None:
    found = snnc.compare(
        calibrated("digits_mlp"),
        few("digits_mlp"),
        neurons=("sfn:levels=sformer", "if@32", "aif", "mtn:N=2"),
        scale=0.5,
        seconds=0,
    )
    matched = [row.integers for row in found.rows]
    # behind a ReLU there are only positive levels, and 0
    levels = [(i.levels, i.bits) for i in matched if i is not None]
    sformer = snnc.SFN(levels="sformer")
    reached = 0
    for site in calibrated("digits_mlp").graph().sites:
        assert site.statistics is not None
        step = sformer.steps_of(site.statistics, 0.5, "separate")[0]
        top = sformer.count(np.array([site.statistics.maximum], np.float32), step)[0]
        reached = max(reached, 1 + int((sformer.level_values <= top).sum()))
    assert 1 < reached < 16  # not all that the neuron has
    assert levels == [(reached, 4), (33, 8), (9, 4), (3, 4)]
    total, spiking = 64 * 64 + 64 * 32 + 32 * 10, 64 * 32 + 32 * 10
    for integers, pj in zip(matched, (0.15, 0.3, 0.15, 0.15), strict=True):
        assert integers is not None
        wanted = (spiking * pj + (total - spiking) * 4.6) / (total * 4.6)
        assert integers.ratio == pytest.approx(wanted)
    assert [bits_for(n) for n in (1, 2, 16, 17, 256, 257, 2**16, 2**16 + 1)] == [
        *(4, 4, 4, 8, 8, 16, 16, 32)
    ]


def test_levels_count_both_signs_and_every_timestep() -> None:
    network, plain = calibrated("digits_vit"), "tensor-percentile"
    for spec, levels in (
        (snnc.SFN(levels="sformer"), 33),
        (snnc.SFN(levels="fitted"), 65),
        (snnc.SFN(), 527),
        (snnc.DualMTN(N=16), 33),
        (snnc.AIF(n_min=-2), 11),
    ):
        graph = snnc.compile(network, neuron=spec, scale=0.5, threshold_rule=plain).graph
        assert levels_of(graph, {}) == levels
    asked: dict[str, Any] = {"neuron": snnc.DualIF(), "timesteps": 4, "threshold_rule": plain}
    graph = snnc.compile(network, scale=0.5, **asked).graph
    assert levels_of(graph, {}) == 9


def test_no_neuron_takes_over_what_was_fitted_for_another() -> None:
    """Bounds by entropy are of one model: whatever stands beside it, a row is what it is alone."""
    neurons: tuple[Any, ...] = ("aif:L=4", "sfn", "aif", "aif:n_min=-8:n_max=8", snnc.AIF())
    data = few("digits_mlp")
    found = snnc.compare(calibrated("digits_mlp"), data, neurons=neurons, scale=0.5, seconds=0)
    written = ["aif:L=4", "sfn", "aif", "aif:n_min=-8:n_max=8", "aif"]
    assert [str(row.spec) for row in found.rows] == written
    for row, neuron in zip(found.rows, neurons, strict=True):
        network = snnc.compile(calibrated("digits_mlp"), neuron=neuron, scale=0.5)
        wanted = network.evaluate(data)
        assert row.point is not None
        assert row.point.result.cosine == pytest.approx(wanted.cosine, abs=1e-6)
        assert row.point.result.energy.summary() == pytest.approx(wanted.energy.summary())


@pytest.mark.parametrize("scale", [None, 0.5])
def test_each_neuron_is_fitted_once_and_shown(
    scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    phases: dict[str, int] = {}

    def counting(network: Any, neuron: snnc.RateNeuron, *words: Any, **options: Any) -> Graph:
        made.append(str(NeuronSpec(neuron, options["timesteps"])))
        return fitted(network, neuron, *words, **options)

    monkeypatch.setattr(snnc.fits, "fitted", counting)
    recipe = snnc.Recipe(progress=lambda phase, done, total: phases.update({phase: done}))
    specs = ("sfn", "if", "if@2", "sfn:M=6")
    data, network = few("digits_mlp"), calibrated("digits_mlp")
    snnc.compare(network, data, neurons=specs, scale=scale, seconds=0.01, recipe=recipe)
    assert made == ["sfn", "if", "if@2"]  # thresholds of sfn are quantiles, whatever its M
    assert list(phases)[:2] == ["fitting thresholds of if", "fitting thresholds of if@2"]


def test_a_rule_and_a_percentile_for_all_neurons() -> None:
    recipe = snnc.Recipe(threshold_rule="tensor-percentile")
    data, network = few("digits_mlp"), calibrated("digits_mlp")
    found = snnc.compare(
        network, data, neurons=("if", "aif"), scale=0.5, percentile=5, seconds=0, recipe=recipe
    )
    for row in found.rows:
        spiking = snnc.compile(
            network,
            neuron=row.spec.neuron,
            scale=0.5,
            percentile=5,
            threshold_rule="tensor-percentile",
        )
        assert row.point is not None
        assert row.point.result.cosine == pytest.approx(spiking.evaluate(data).cosine, abs=1e-6)
    with pytest.raises(snnc.CompileError, match=r"the rule channel-mse or pmsm2025\n"):
        snnc.compare(network, data, neurons=("if", "aif"), percentile=5)
    snnc.compare(network, data, neurons=("sfn", "if"), scale=0.5, percentile=5, seconds=0)


def test_a_neuron_that_refuses_the_network_is_a_row_with_the_reason() -> None:
    data = {key: array[:5] for key, array in few("digits_vit").items()}
    found = snnc.compare(
        calibrated("digits_vit"), data, neurons=("if@2", "aif"), scale=0.5, seconds=0
    )
    refused, taken = found.rows
    assert refused.point is None and refused.refusal is not None
    assert "fires for positive inputs only" in refused.refusal.message
    assert taken.point is not None and taken.point.result.samples == 5
    assert found.summary()["rows"][0]["refused"]["help"].startswith("take dual-if")
    with pytest.raises(snnc.CompileError, match=r"no neuron takes this network: if: .*; mtn: "):
        snnc.compare(calibrated("digits_vit"), data, neurons=("if", "mtn"), scale=0.5)


def test_each_network_is_timed_against_the_ann() -> None:
    found = snnc.compare(
        calibrated("digits_mlp"), few("digits_mlp"), neurons=("if@64",), scale=1.0, seconds=0.01
    )
    assert found.rows[0].time is not None
    assert found.rows[0].time > 1.5  # 64 times as many rows


def test_bad_comparisons_are_refused() -> None:
    network, data = calibrated("digits_mlp"), few("digits_mlp")
    for neurons, options in (
        ((), {}),
        (("sfm",), {}),
        (("if@0",), {}),
        (("if@",), {}),
        (("sfn",), {"scale": 2.0}),
        (("sfn",), {"percentile": 99.0}),
    ):
        with pytest.raises(snnc.CompileError):
            snnc.compare(network, data, neurons=neurons, **options)  # type: ignore[arg-type]


def test_the_command_as_table_json_and_picture(inside: Path) -> None:
    words = (*WORDS, "--neurons", "sfn,if@4", "--lambda", "0.5", "--seconds", "0.01")
    report = document(call(*words, "--json", "--plot", "c.svg"))
    assert report["samples"] == 450 and report["metric"] == "top-1"
    sfn, spiking = report["rows"]
    assert (spiking["neuron"], spiking["timesteps"]) == ("if@4", 4)
    assert sfn["energy"]["ratio_events"] < sfn["energy"]["ratio_spikes"]
    assert spiking["integers"]["bits"] == 4
    assert spiking["time_ratio"] > 0
    picture = (inside / "c.svg").read_text()
    assert picture.startswith("<?xml") and "if@4" in picture
    dear = document(call(*words, "--json", "--pj-ac", "1.8", "--polarity", "shared"))
    ratios = [found["rows"][0]["energy"]["ratio_spikes_eq44"] for found in (report, dear)]
    assert ratios[1] == pytest.approx(2 * ratios[0])
    shown = call(*words).stdout.splitlines()
    assert shown[1].split()[:3] == ["neuron", "T", "lambda"]
    assert shown[3].startswith("ANN")
    assert shown[6].split()[:3] == ["if", "4", "0.5"]
    assert shown[7].startswith("  5 levels as int4")


def test_the_command_leaves_bounds_to_the_sites(inside: Path) -> None:
    """Written out, they would be bounds that were asked for."""
    words = (*WORDS, "--neurons", "aif:L=4", "--lambda", "1", "--seconds", "0")
    (row,) = document(call(*words, "--json"))["rows"]
    compile_mlp("--neuron", "aif:L=4", "--lambda", "1")
    wanted = document(call("eval", "mlp.onnx", "mlp.snn.onnx", "--data", TEST, "--json"))
    assert row["neuron"] == "aif:L=4"
    assert row["energy"] == pytest.approx(wanted["energy"])


def test_the_command_lists_refusals(inside: Path) -> None:
    network = str(model_path("digits_vit"))
    data = str(calibration_path("digits_vit"))
    np.savez("few.npz", **{k: v[:4] for k, v in np.load(data).items()})
    words = ("compare", network, "--data", "few.npz", "--calibration", "few.npz", "--seconds", "0")
    shown = call(*words, "--neurons", "if,aif", "--lambda", "0.5")
    assert shown.exit_code == 0, shown.stderr
    assert "refused: if: neuron 'if' fires for positive inputs only" in shown.stdout
    alone = call(*words, "--neurons", "if")
    assert alone.exit_code == 1
    assert "error: no neuron takes this network: if: " in alone.stderr


BAD = {
    "compare_neuron": (*WORDS, "--neurons", "sfn,mtm"),
    "compare_timesteps": (*WORDS, "--neurons", "if@many"),
    "compare_plot_over_model": (*WORDS, "--neurons", "sfn", "--plot", "link.svg"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_error(inside: Path, case: str) -> None:
    (inside / "link.svg").symlink_to(inside / "mlp.onnx")
    before = {f.name: f.read_bytes() for f in inside.iterdir()}
    result = call(*BAD[case])
    assert (result.exit_code, result.stdout) == (1, "")
    assert {f.name: f.read_bytes() for f in inside.iterdir()} == before
    assert result.stderr == (GOLDEN / "errors" / f"{case}.txt").read_text()


USAGE = {
    "no_neurons": WORDS,
    "no_calibration": (*WORDS[:4], "--neurons", "sfn"),
    "negative_seconds": (*WORDS, "--neurons", "sfn", "--seconds", "-1"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_exits_with_2(inside: Path, case: str) -> None:
    result = call(*USAGE[case])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error:" in result.stderr
