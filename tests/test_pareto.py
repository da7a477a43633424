"""Metric against energy: points are what compiling gives, refusals are points, integers beside."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import snnc
from snnc.evaluation import evaluate_each, measure
from snnc.ir.node import Array
from snnc.pareto import budgets_for
from snnc.pareto_front import Pareto
from snnc.quantized_ann import quantized_ann
from snnc.recipes.record import CurveRecord
from tests.conftest import calibration_path, held_out_path, model_path
from tests.test_cli import GOLDEN, call, document, inside

__all__ = ["inside"]

CALIBRATION = str(calibration_path("digits_mlp"))
TEST = str(held_out_path("digits_mlp"))
WORDS = ("pareto", "mlp.onnx", "--data", TEST, "--calibration", CALIBRATION)
FLOOR = 64 * 64 / (64 * 64 + 64 * 32 + 32 * 10)
"""Share of the first layer, which reads pixels and stays real, in all multiply-accumulates."""
REACHED, BELOW = 0.72, FLOOR


@cache
def calibrated() -> snnc.CalibratedNetwork:
    return snnc.calibrate(model_path("digits_mlp"), calibration=calibration_path("digits_mlp"))


@cache
def few() -> dict[str, Array]:
    with np.load(held_out_path("digits_mlp")) as loaded:
        return {key: array[:80] for key, array in loaded.items()}


@cache
def found() -> Pareto:
    return snnc.pareto(calibrated(), few(), budgets=(REACHED, BELOW), bits=(8, 4))


def test_a_point_is_what_compiling_and_evaluating_gives() -> None:
    pareto = found()
    reached = [point for point in pareto.points if point.result is not None]
    assert [(p.recipe, p.budget) for p in reached] == [
        (recipe, REACHED) for recipe in ("paper", "balanced", "best")
    ]
    for point in reached[::2]:
        network = snnc.compile(calibrated(), recipe=point.recipe, energy_budget=REACHED)
        wanted, result = network.evaluate(few()), point.result
        assert result is not None
        assert (result.snn_top1, result.agreement) == (wanted.snn_top1, wanted.agreement)
        assert result.energy.summary() == pytest.approx(wanted.energy.summary())
        assert result.relative_error == pytest.approx(wanted.relative_error)
        at_calibration = measure(network.graph, calibrated().samples).energy().ratio_spikes
        assert FLOOR < at_calibration == pytest.approx(REACHED, rel=0.03)


def test_the_relative_error_is_that_of_the_outputs() -> None:
    network = snnc.compile(calibrated(), scale=0.5)
    output = network.report.output
    ann, spiking = (snnc.run(g, snnc.samples_of(few(), g)) for g in (network.ann, network.graph))
    away = np.linalg.norm((spiking[output] - ann[output]).ravel())
    wanted = away / np.linalg.norm(ann[output].ravel())
    assert network.evaluate(few()).relative_error == pytest.approx(wanted, rel=1e-5)


def test_a_budget_that_cannot_be_met_is_a_point_that_says_so() -> None:
    refused = [point for point in found().points if point.result is None]
    assert [point.recipe for point in refused] == ["paper", "balanced", "best"]
    for point in refused:
        assert point.budget == BELOW and point.refusal is not None
        assert "cannot be met" in point.refusal.message
    shown = [p for p in found().summary()["points"] if p["refused"] is not None]
    assert len(shown) == 3 and all(p["refused"]["help"] for p in shown)
    with pytest.raises(snnc.CompileError, match=r"no point to draw: the energy budget 0.01"):
        snnc.pareto(calibrated(), few(), budgets=(0.01,), bits=())


def test_integers_stand_beside_them() -> None:
    pareto = found()
    assert [point.bits for point in pareto.integers] == [8, 4]
    for point, pj in zip(pareto.integers, (0.3, 0.15), strict=True):
        assert point.result is not None
        graph = quantized_ann(calibrated(), point.bits)
        samples = snnc.samples_of(few(), calibrated().ann)
        (wanted,) = evaluate_each(calibrated().ann, [graph], samples)
        assert point.result.cosine == pytest.approx(wanted.cosine)
        energy = pareto.integer_energy(point.bits, point.result)
        assert energy == pytest.approx(FLOOR + (1 - FLOOR) * pj / 4.6)


def test_both_can_be_counted_as_integers() -> None:
    """An accumulate of 0.1 pJ instead of 0.9, and the same in a multiply-accumulate."""
    pareto = found()
    result = pareto.points[0].result
    assert result is not None
    spikes = result.energy.ratio_spikes_eq44
    assert pareto.energy(result) == pytest.approx(FLOOR + spikes)
    assert pareto.energy(result, 0.1) == pytest.approx(FLOOR + spikes / 9)
    dearer = replace(pareto, pj_integer_add=0.9)
    assert dearer.pj_mac(8) == pytest.approx(0.2 + 0.9)
    summary = pareto.summary()
    integer = summary["points"][0]["energy"]["ratio_integer_additions"]
    assert integer == pytest.approx(FLOOR + spikes / 9)
    assert summary["pj"] == {
        "accumulate": 0.9,
        "multiply_accumulate": 4.6,
        "integer_addition": 0.1,
    }


def test_events_are_budgeted_and_counted() -> None:
    pareto = snnc.pareto(
        calibrated(), few(), recipes="balanced", budgets=(0.68,), count="events", bits=()
    )
    (point,) = pareto.points
    assert point.result is not None
    assert pareto.energy(point.result) == point.result.energy.ratio_events < 0.7
    assert point.result.energy.ratio_spikes > point.result.energy.ratio_events


def test_the_trained_network_runs_once_and_sensitivities_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[int] = []
    measured: list[str] = []
    add = CurveRecord.add

    def counting(ann: Any, graphs: Any, *words: Any, **options: Any) -> Any:
        evaluated.append(len(graphs))
        return evaluate_each(ann, graphs, *words, **options)

    def noting(record: CurveRecord, curve: Any) -> None:
        measured.append(curve.name)
        add(record, curve)

    monkeypatch.setattr(sys.modules["snnc.pareto"], "evaluate_each", counting)
    monkeypatch.setattr(CurveRecord, "add", noting)
    kept = tmp_path / "curves.npz"
    options: dict[str, Any] = {"recipes": ("best",), "bits": (4,), "sensitivities": kept}
    snnc.pareto(calibrated(), few(), budgets=(0.7, 0.75), **options)
    assert evaluated == [3]
    sites = len(calibrated().sited.open_sites)
    assert len(measured) == len(set(measured)) == sites and kept.exists()
    snnc.pareto(calibrated(), few(), budgets=(0.72,), **options)
    assert len(measured) == sites


def test_budgets_suit_the_network() -> None:
    spikes, events = (budgets_for(calibrated(), count) for count in ("spikes", "events"))
    for budgets in (spikes, events):
        assert list(budgets) == sorted(budgets)
        assert budgets[0] > FLOOR and budgets[-1] < 1
    assert events[-1] < FLOOR + (1 - FLOOR) * 0.9 / 4.6 < spikes[-1]


def test_a_network_with_integers_of_its_own_gets_no_others() -> None:
    network = calibrated()
    sites = network.sited.sites
    own = replace(sites[0], role="quantizer")
    nodes = tuple(own if node is sites[0] else node for node in network.sited.nodes)
    quantised = replace(network, sited=replace(network.sited, nodes=nodes))
    with pytest.raises(snnc.CompileError, match="is quantised already"):
        quantized_ann(quantised, 8)


def test_bad_questions_are_refused() -> None:
    for options in (
        {"recipes": ()},
        {"recipes": ("better",)},
        {"budgets": ()},
        {"budgets": (0.0,)},
        {"budgets": ("0.5",)},
        {"bits": (1,)},
        {"count": "neurons"},
        {"output": "none"},
        {"sensitivities": "/no/such/place.npz"},
    ):
        with pytest.raises(snnc.CompileError):
            snnc.pareto(calibrated(), few(), **options)


def test_sensitivities_that_cannot_be_used_end_it(tmp_path: Path) -> None:
    kept = tmp_path / "curves.npz"
    with pytest.raises(snnc.CompileError, match="paper measure no sensitivities"):
        snnc.pareto(calibrated(), few(), recipes="paper", sensitivities=kept)
    kept.write_bytes(b"none")
    with pytest.raises(snnc.CompileError, match="not a readable file of sensitivities"):
        snnc.pareto(calibrated(), few(), recipes="best", budgets=(0.7,), sensitivities=kept)


def test_data_are_read_before_the_work(tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    arrays = {name: array.copy() for name, array in few().items() if name != "labels"}
    next(iter(arrays.values()))[-1] = np.nan
    np.savez(data, **arrays)  # type: ignore[arg-type]

    def progress(phase: str, done: int, total: int | None) -> None:
        raise AssertionError(phase)

    with pytest.raises(snnc.CompileError, match=r"(?i)nan"):
        snnc.pareto(calibrated(), data, progress=progress)


def test_the_command_as_table_json_and_picture(inside: Path) -> None:
    words = (*WORDS, "--recipes", "paper,balanced", "--budgets", "0.7,0.001", "--bits", "8")
    report = document(call(*words, "--json", "--plot", "p.svg"))
    assert (report["samples"], report["metric"], report["plot"]) == (450, "top-1", "p.svg")
    assert [(p["recipe"], p["budget"]) for p in report["points"]] == [
        (recipe, budget) for recipe in ("paper", "balanced") for budget in (0.7, 0.001)
    ]
    assert report["points"][0]["energy"]["ratio_spikes"] == pytest.approx(0.7, rel=0.05)
    assert report["points"][1]["refused"]["message"].startswith("the energy budget 0.001")
    assert report["integers"][0]["agreement"] > 0.98
    picture = (inside / "p.svg").read_text()
    texts = ("recipe paper", "recipe balanced", "8 bit", "ANN in integers", "top-1 accuracy (%)")
    assert all(text in picture for text in (*texts, "each addition 0.1 pJ (integers)"))
    alike = call(*words, "--pj-ac", "0.1", "--plot", "q.svg")
    assert "(integers)" not in (inside / "q.svg").read_text()
    shown = alike.stdout.splitlines()
    assert shown[1].split()[:3] == ["network", "budget", "top-1"]
    assert shown[3].startswith("ANN") and shown[8].startswith("int8")
    assert "refused: paper at 0.10 %: the energy budget 0.001 cannot be met" in alike.stdout
    paper, spikes, integer = (re.split(r" {2,}", shown[4])[i] for i in (0, 6, -1))
    assert paper == "paper" and spikes == integer  # counted alike


def test_a_picture_of_integers_alone(tmp_path: Path) -> None:
    pareto = snnc.pareto(calibrated(), few(), budgets=(0.001,), recipes="paper", bits=(4,))
    snnc.plot(pareto, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


BAD = {
    "pareto_recipe": (*WORDS, "--recipes", "paper,bst"),
    "pareto_no_recipe": (*WORDS, "--recipes", ","),
    "pareto_budget": (*WORDS, "--budgets", "0.5,0"),
    "pareto_bits": (*WORDS, "--bits", "8,1"),
    "pareto_plot_suffix": (*WORDS, "--plot", "p.bmp"),
    "pareto_plot_over_model": (*WORDS, "--plot", "mlp.onnx.svg"),
    "pareto_plot_nowhere": (*WORDS, "--plot", "no/p.svg"),
    "pareto_same_data": (*WORDS[:3], "calibration.npz", "--calibration", "calibration.npz"),
    "pareto_no_data": (*WORDS[:3], "none.npz", *WORDS[4:]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_error(
    inside: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(*words: Any, **options: Any) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr("snnc.cli.pareto.calibrate", worked)
    (inside / "mlp.onnx.svg").symlink_to(inside / "mlp.onnx")
    (inside / "calibration.npz").write_bytes(Path(CALIBRATION).read_bytes())
    before = {f.name: f.read_bytes() for f in inside.iterdir()}
    result = call(*BAD[case])
    assert (result.exit_code, result.stdout) == (1, "")
    assert {f.name: f.read_bytes() for f in inside.iterdir()} == before
    assert result.stderr == (GOLDEN / "errors" / f"{case}.txt").read_text()


USAGE = {
    "no_data": ("pareto", "mlp.onnx", "--calibration", CALIBRATION),
    "no_calibration": WORDS[:4],
    "no_numbers": (*WORDS, "--budgets", "low"),
    "no_whole_numbers": (*WORDS, "--bits", "4.5"),
    "count": (*WORDS, "--count", "neurons"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_exits_with_2(inside: Path, case: str) -> None:
    result = call(*USAGE[case])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error:" in result.stderr
