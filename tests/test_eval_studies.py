"""`snnc eval` beyond the comparison: curves, ablation, histograms, sites; tables, JSON, errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import calibration_path, held_out_path, model_path
from tests.test_cli import GOLDEN, call, compile_mlp, document, inside

__all__ = ["inside"]

CALIBRATION = str(calibration_path("digits_mlp"))
TEST = str(held_out_path("digits_mlp"))
STUDY = ("eval", "mlp.onnx", "--data", TEST, "--calibration", CALIBRATION)


def test_a_lambda_curve_as_table_json_and_picture(inside: Path) -> None:
    words = (*STUDY, "--lambda-curve", "--lambdas", "0.5,0.1", "--plot", "a.svg")
    report = document(call(*words, "--json"))
    assert report["over"] == "lambda"
    assert report["metric"] == "top-1"
    assert report["samples"] == 450
    assert report["plot"] == "a.svg"
    assert [point["lambda"] for point in report["points"]] == [0.5, 0.1]
    assert report["points"][0]["top1"] < report["points"][1]["top1"]
    assert (inside / "a.svg").read_bytes().startswith(b"<?xml")
    shown = call(*words)
    assert shown.exit_code == 0
    assert f"{100 * report['points'][1]['top1']:.2f} %" in shown.stdout
    assert shown.stdout.splitlines()[3].startswith("ANN")


def test_a_point_of_the_curve_is_what_compile_and_eval_say(inside: Path) -> None:
    compile_mlp("-o", "out.onnx", "--lambda", "0.1", "--rule", "eq11", "--levels", "sformer")
    wanted = document(call("eval", "mlp.onnx", "out.onnx", "--data", TEST, "--json"))
    words = ("--lambda-curve", "--lambdas", "0.3,0.1", "--rule", "eq11", "--levels", "sformer")
    point = document(call(*STUDY, *words, "--json"))["points"][1]
    assert point["top1"] == wanted["snn"]["top1"]
    assert point["agreement"] == wanted["agreement"]
    assert point["energy"] == pytest.approx(wanted["energy"])


def test_a_percentile_curve_with_and_without_lambda(inside: Path) -> None:
    words = (*STUDY, "--percentile-curve", "--percentiles", "0,1", "--json")
    fixed = document(call(*words, "--lambda", "0.2"))
    assert [(p["percentile"], p["lambda"]) for p in fixed["points"]] == [(0, 0.2), (1, 0.2)]
    chosen = document(call(*words))
    at_one = document(compile_mlp("-o", "out.onnx", "--json"))["lambda"]
    assert chosen["points"][1]["lambda"] == at_one
    assert "p (%)" in call(*words[:-1]).stdout


def test_studies_take_a_threshold_rule(inside: Path) -> None:
    rule = ("--neuron", "if", "--threshold-rule", "tensor-percentile")
    words = (*STUDY, "--percentile-curve", "--percentiles", "0,5", "--lambda", "0.5")
    points = document(call(*words, *rule, "--json"))["points"]
    compile_mlp("-o", "out.onnx", *rule, "--percentile", "5", "--lambda", "0.5")
    wanted = document(call("eval", "mlp.onnx", "out.onnx", "--data", TEST, "--json"))
    assert points[1]["energy"] == pytest.approx(wanted["energy"])
    assert points[0]["energy"] != pytest.approx(wanted["energy"])
    refused = call(*words, "--neuron", "if")
    assert refused.exit_code == 1
    assert "--percentile does not apply to the rule channel-mse\n" in refused.stderr
    assert "take --threshold-rule tensor-percentile" in refused.stderr


def test_a_curve_over_timesteps_of_two_neurons(inside: Path) -> None:
    neurons = ("--neuron", "if", "--against", "mtn:N=T@1")
    words = (*STUDY, "--timesteps-curve", "1,4", *neurons, "--lambda", "1", "--plot", "t.svg")
    report = document(call(*words, "--json"))
    assert report["over"] == "timesteps"
    found = [(p["neuron"], p["series"], p["at"], p["timesteps"]) for p in report["points"]]
    assert found == [
        ("if", "if", 1, 1),
        ("if@4", "if", 4, 4),
        ("mtn:N=1", "mtn:N=T@1", 1, 1),
        ("mtn:N=4", "mtn:N=T@1", 4, 1),
    ]
    picture = (inside / "t.svg").read_text()
    assert "timesteps T" in picture and "mtn:N=T@1" in picture
    assert call(*STUDY, "--lambda-curve", "--lambdas", "1", "--neuron", "if").exit_code == 0
    lines = call(*words).stdout.splitlines()
    assert lines[1].split()[:3] == ["neuron", "T", "lambda"]
    assert lines[5].split()[:3] == ["if@4", "4", "1"], lines


def test_a_lambda_that_misses_the_fidelity_is_marked(inside: Path) -> None:
    words = (*STUDY, "--percentile-curve", "--percentiles", "1", "--m", "1")
    points = document(call(*words, "--json"))["points"]
    assert points[0]["fidelity_reached"] is False
    shown = call(*words).stdout
    assert "* no lambda keeps --fidelity" in shown
    kept = document(call(*words[:-2], "--json"))["points"]
    assert kept[0]["fidelity_reached"] is True


def test_the_ablation_lists_every_fire_function_twice(inside: Path) -> None:
    shown = call(*STUDY, "--ablation", "--rule", "eq11")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    for name in ("linear", "exponential", "sformer", "dense"):
        assert len([line for line in lines if line.startswith(name)]) == 2


def test_a_histogram_as_table_and_json(inside: Path) -> None:
    words = (*STUDY, "--histogram", "Relu", "--lambda", "0.2")
    report = document(call(*words, "--json", "--plot", "h.png"))
    assert report["site"] == "Relu"
    assert sum(report["activation"]["entries"]) == report["entries"] == 450 * 64
    assert sum(report["counts"].values()) == report["entries"]
    assert (inside / "h.png").exists()
    assert "mean |spike count|" in call(*words).stdout


def test_per_layer_says_where_accuracy_is_lost(inside: Path) -> None:
    compile_mlp("-o", "out.onnx", "--lambda", "0.5")
    words = ("eval", "mlp.onnx", "out.onnx", "--data", TEST, "--per-layer", "--samples", "100")
    errors = document(call(*words, "--json"))["errors"]
    assert errors["samples"] == 100
    costs = [site["output_error"] for site in errors["sites"]]
    assert costs == sorted(costs, reverse=True)
    assert {site["site"] for site in errors["sites"]} == {"Relu", "Relu1"}
    assert "--lambda" in errors["sites"][0]["advice"]
    text = call(*words).stdout
    assert "advice for " in text
    assert "MACs" in text


BAD = {
    "site": (*STUDY, "--histogram", "Relu2"),
    "plot_suffix": (*STUDY, "--ablation", "--plot", "a.gif"),
    "plot_over_model": (*STUDY, "--ablation", "--plot", "link.svg"),
    "curve_lambda": (*STUDY, "--lambda-curve", "--lambdas", "0.5,2"),
    "curve_percentile": (*STUDY, "--percentile-curve", "--percentiles", "0,60"),
    "curve_timesteps": (*STUDY, "--timesteps-curve", "1,0"),
    "curve_against": (*STUDY, "--timesteps-curve", "2", "--against", "mtn:N=2@two"),
    "curve_fidelity": (*STUDY, "--percentile-curve", "--fidelity", "2"),
    "other_network": ("eval", "mlp.onnx", "other.onnx", "--data", TEST, "--per-layer"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_error(inside: Path, case: str) -> None:
    compile_mlp("-o", "other.onnx", "--lambda", "0.5", "--encode-input")
    (inside / "link.svg").symlink_to(inside / "mlp.onnx")
    if case == "other_network":
        _train_again(inside / "mlp.onnx")
    before = {f.name: f.read_bytes() for f in inside.iterdir()}
    result = call(*BAD[case])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert {f.name: f.read_bytes() for f in inside.iterdir()} == before
    assert result.stderr == (GOLDEN / "errors" / f"{case}.txt").read_text()


def _train_again(path: Path) -> None:
    """Other weights in the same network."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(str(path))
    weights = next(t for t in proto.graph.initializer if list(t.dims) == [64, 32])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 2, weights.name))
    onnx.save(proto, str(path))


USAGE = {
    "no_snn": ("eval", "mlp.onnx", "--data", TEST),
    "snn_and_study": ("eval", "mlp.onnx", "x.onnx", *STUDY[2:], "--ablation"),
    "no_calibration": ("eval", "mlp.onnx", "--data", TEST, "--lambda-curve"),
    "two_modes": (*STUDY, "--lambda-curve", "--ablation"),
    "calibration_alone": ("eval", "mlp.onnx", "x.onnx", *STUDY[2:]),
    "lambda_of_ablation": (*STUDY, "--ablation", "--lambda", "0.2"),
    "lambdas_of_percentiles": (*STUDY, "--percentile-curve", "--lambdas", "1"),
    "per_layer_of_study": (*STUDY, "--ablation", "--per-layer"),
    "samples_alone": ("eval", "mlp.onnx", "x.onnx", "--data", TEST, "--samples", "5"),
    "against_of_lambdas": (*STUDY, "--lambda-curve", "--against", "if"),
    "parts_of_timesteps": (*STUDY, "--timesteps-curve", "1,2.5"),
    "no_numbers": (*STUDY, "--lambda-curve", "--lambdas", "1,much"),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_exits_with_2(inside: Path, case: str) -> None:
    result = call(*USAGE[case])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error:" in result.stderr


def test_the_example_of_the_help_exists() -> None:
    assert "--lambda-curve --plot" in call("eval", "--help").stdout
    assert model_path("digits_mlp").exists()


def test_a_study_on_random_numbers_says_that_it_means_nothing(inside: Path) -> None:
    words = ("eval", "mlp.onnx", "--data", TEST, "--calibration", "random")
    result = call(*words, "--lambda-curve", "--lambdas", "0.5")
    assert result.exit_code == 0
    assert "warning: calibrated on random numbers" in result.stderr
