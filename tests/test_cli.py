"""The command line as a user meets it: results, one JSON document, errors, exit codes."""

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

import snnc
from snnc.cli import main
from snnc.pipeline import PASS_NAMES
from snnc.search.objective import Objective
from snnc.search.scaled import AtScale
from tests.conftest import MODELS, calibration_path, held_out_path, model_path

GOLDEN = Path(__file__).parent / "golden"
MLP = str(model_path("digits_mlp"))
MLP_DATA = str(calibration_path("digits_mlp"))


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    loaded: dict[str, Any] = json.loads(result.stdout)
    return loaded


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(MLP, "mlp.onnx")
    return tmp_path


def compile_mlp(*words: str) -> Result:
    return call("compile", "mlp.onnx", "--calibration", MLP_DATA, *words)


def test_compile_writes_a_model_and_says_what_it_did(inside: Path) -> None:
    report = document(compile_mlp("-o", "out.onnx", "--json"))
    assert report["neuron"] == "sfn"
    assert report["sites"] == 2
    assert report["output"] == "out.onnx"
    assert report["spiking_fraction"] == 1.0
    assert report["fidelity"]["reached"] >= 0.98
    assert {entry["op"] for entry in report["analog"]} == {"Add", "Softmax", "ArgMax"}
    assert all(entry.keys() == {"op", "name", "why"} for entry in report["analog"])
    assert (inside / "out.onnx").exists()


def test_integer_synapses(inside: Path) -> None:
    report = document(compile_mlp("-o", "out.onnx", "--synapses", "int8", "--json"))
    assert report["synapses"] == "int8"
    assert report["polarity"] == "shared"
    assert len(report["integer"]["layers"]) == 2
    assert report["integer"]["products"] == []
    assert [layer["why"] for layer in report["integer"]["float"]] == ["direct-coded"]
    assert 0 < report["integer"]["share"] < 1
    assert report["integer"]["agreement"] >= 0.95
    shown = compile_mlp("-o", "out.onnx", "--synapses", "int8", "--lambda", "0.2")
    assert "shared steps" in shown.stdout
    assert "int8 in 2 layers" in shown.stdout
    assert "(direct-coded)" in shown.stdout
    plain = document(compile_mlp("-o", "out.onnx", "--lambda", "0.2", "--json"))
    assert plain["synapses"] == "float" and plain["integer"] is None
    assert plain["polarity"] == "separate"


def test_compile_says_what_was_decided(inside: Path) -> None:
    report = document(compile_mlp("-o", "out.onnx", "--json"))
    rule = ("threshold_rule", "percentile", "timesteps")
    assert [report[key] for key in rule] == ["tensor-percentile", 1.0, 1]
    assert [n["neuron"] for n in report["site_neurons"]] == ["sfn", "sfn"]
    words = ("-o", "out.onnx", "--neuron", "if", "--timesteps", "2", "--lambda", "1")
    report = document(compile_mlp(*words, "--json"))
    assert [report[key] for key in rule] == ["channel-mse", None, 2]
    shown = [line.split() for line in compile_mlp(*words).stdout.splitlines()]
    assert ["thresholds", "channel-mse"] in shown and ["timesteps", "2"] in shown


def test_bounds_that_sites_have_of_their_own_are_shown(inside: Path) -> None:
    words = ("-o", "out.onnx", "--neuron", "aif", "--lambda", "1")
    found = [n["neuron"] for n in document(compile_mlp(*words, "--json"))["site_neurons"]]
    assert all(":n_min=0:n_max=" in neuron for neuron in found)
    assert "aif (L=8, n_min=0, n_max=" in compile_mlp(*words).stdout
    rows = document(call("inspect", "out.onnx", "--layers", "--json"))["layers"]
    assert [row["neuron"] for row in rows if row["neuron"]] == found


def test_a_percentile_that_no_rule_takes_is_refused_before_any_work(inside: Path) -> None:
    for verb in ("compile", "tune"):
        data = () if verb == "compile" else ("--data", MLP_DATA)
        words = (verb, "mlp.onnx", "--calibration", MLP_DATA, *data, "--neuron", "if")
        result = call(*words, "--percentile", "2")
        assert result.exit_code == 1
        assert result.stderr.endswith(
            "error: --percentile does not apply to the rule channel-mse\n"
            "  help: leave it out, or take --threshold-rule tensor-percentile\n"
        )
    assert compile_mlp("--neuron", "if", "--percentile", "2").stderr.startswith("error")
    taken = ("--threshold-rule", "channel-percentile", "--lambda", "0.5")
    assert compile_mlp("--neuron", "if", "--percentile", "2", *taken).exit_code == 0


def test_check_agrees_with_compile(inside: Path) -> None:
    checked = document(call("check", "mlp.onnx", "--json"))
    compiled = document(compile_mlp("-o", "out.onnx", "--json"))
    shared = checked.keys() & compiled.keys()
    assert {"sites", "spiking_fraction", "direct_coded_fraction", "analog"} <= shared
    assert {k: checked[k] for k in shared} == {k: compiled[k] for k in shared}


def test_the_default_output_stands_beside_the_user_not_over_the_model(inside: Path) -> None:
    before = (inside / "mlp.onnx").read_bytes()
    assert compile_mlp().exit_code == 0
    assert (inside / "mlp.snn.onnx").exists()
    assert (inside / "mlp.onnx").read_bytes() == before
    refused = compile_mlp("-o", "mlp.onnx")
    assert refused.exit_code == 1
    assert "is read as input and would be overwritten" in refused.stderr
    assert (inside / "mlp.onnx").read_bytes() == before


def test_eval_prints_the_comparison(inside: Path) -> None:
    compile_mlp("-o", "out.onnx")
    words = ("eval", "mlp.onnx", "out.onnx", "--data", str(held_out_path("digits_mlp")))
    report = document(call(*words, "--json", "--per-layer"))
    assert report["samples"] == 450
    assert report["output"] == "probabilities"
    assert report["ann"]["top1"] > 0.97
    assert report["agreement"] > 0.95
    assert set(report["energy"]) == {
        "ratio_spikes",
        "ratio_events",
        "ratio_spikes_eq44",
        "analog_macs",
    }
    assert sum(layer["macs"] for layer in report["layers"]) == 64 * 64 + 64 * 32 + 32 * 10
    text = call(*words)
    assert "top-1" in text.stdout
    dearer = document(call(*words, "--json", "--pj-ac", "1.8"))
    assert dearer["energy"]["ratio_spikes_eq44"] == pytest.approx(
        2 * report["energy"]["ratio_spikes_eq44"]
    )


def test_run_writes_every_output(inside: Path) -> None:
    compile_mlp("-o", "out.onnx")
    report = document(call("run", "out.onnx", "--data", MLP_DATA, "-o", "y.npz", "--json"))
    assert report["outputs"] == {"label": [300], "probabilities": [300, 10]}
    with np.load("y.npz") as outputs:
        assert outputs["probabilities"].shape == (300, 10)


@pytest.mark.parametrize("name", PASS_NAMES)
def test_dump_after_every_pass(inside: Path, name: str) -> None:
    runs = {
        "fit-thresholds": ("--threshold-rule", "kim2020"),
        "fold-time": ("--timesteps", "2"),
        "site-neurons": ("--neuron", "aif", "--threshold-rule", "pmsm2025"),
    }.get(name, ("--synapses", "int8"))
    words = ["--lambda", "0.25", *runs, "--dump-after", name]
    assert compile_mlp(*words).stdout.startswith("graph @")
    with_json = compile_mlp(*words, "--json")
    assert document(with_json)["lambda"] == 0.25
    assert "graph @" in with_json.stderr


def test_inspect_in_every_form(inside: Path) -> None:
    compile_mlp("-o", "out.onnx", "--lambda", "0.25")
    for file, stage in (("mlp.onnx", "ann"), ("out.onnx", "spiking")):
        assert f'stage="{stage}"' in call("inspect", file).stdout
        assert document(call("inspect", file, "--format", "json"))["stage"] == stage
        assert call("inspect", file, "--format", "dot").stdout.startswith("digraph")
        assert "MatMul" in call("inspect", file, "--layers").stdout
    layers = document(call("inspect", "out.onnx", "--layers", "--json"))["layers"]
    spiking = [layer for layer in layers if layer["neuron"]]
    assert len(spiking) == 2
    assert all(layer["spikes/neuron"] > 0 and layer["step+"] > 0 for layer in spiking)
    assert sum(layer["energy %"] for layer in layers) == pytest.approx(100, abs=0.1)


def test_neurons_lists_equation_and_parameters() -> None:
    listed = document(call("neurons", "--json"))["neurons"]
    sfn = next(neuron for neuron in listed if neuron["name"] == "sfn")
    assert sfn["equation"]
    assert sfn["parameters"]["M"]["default"] == 8
    assert sfn["parameters"]["rule"]["choices"] == ["nearest", "eq11"]
    assert "sfn" in call("neurons").stdout


def test_random_calibration_says_that_its_thresholds_are_meaningless(inside: Path) -> None:
    result = call("compile", "mlp.onnx", "--calibration", "random", "--lambda", "0.5", "--json")
    assert document(result)["warnings"] == [
        "calibrated on random numbers: the thresholds are meaningless"
    ]
    assert "meaningless" in result.stderr


def test_shards_calibrated_apart_compile_as_one(inside: Path) -> None:
    direct = document(compile_mlp("-o", "direct.onnx", "--save-statistics", "whole.npz", "--json"))
    for i in (1, 2, 3, 4):
        words = ("--calibration", MLP_DATA, "--shard", f"{i}/4", "-o", f"{i}.npz")
        report = document(call("calibrate", "mlp.onnx", *words, "--json"))
        assert report["samples"] == report["kept"] == report["parts"][0]["samples"]
        assert (report["sites"], report["output"]) == (2, f"{i}.npz")
        assert report["bytes"] == Path(f"{i}.npz").stat().st_size
        assert len(report["missing"]) == 3
    partial = call("calibrate", "--merge", "4.npz", "2.npz", "-o", "24.npz")
    assert partial.exit_code == 0
    assert partial.stderr == "warning: shards are missing: 1/4, 3/4\n"
    assert "samples  128, 128 of them kept" in partial.stdout
    merged = call("calibrate", "--merge", "1.npz", "24.npz", "3.npz", "-o", "all.npz", "--json")
    assert document(merged)["missing"] == []
    assert document(merged)["samples"] == 300
    assert merged.stderr == ""
    for statistics in ("whole.npz", "all.npz"):
        found = document(call("compile", "mlp.onnx", "--statistics", statistics, "--json"))
        assert found | {"output": "direct.onnx"} == direct
        assert Path("mlp.snn.onnx").read_bytes() == Path("direct.onnx").read_bytes()
    lacking = call("compile", "mlp.onnx", "--statistics", "24.npz")
    assert "warning: the statistics lack shards of the samples: 1/4, 3/4" in lacking.stderr


def test_calibrate_says_what_it_did(inside: Path) -> None:
    result = call("calibrate", "mlp.onnx", "--calibration", "random", "--shard", "2/2", "-o", "s")
    assert result.exit_code == 0
    assert "samples     8 (shard 2/2), 8 of them kept to choose lambda on" in result.stdout
    assert "warning: random numbers: the statistics are meaningless" in result.stderr
    assert "missing" not in result.stderr


TUNE = ("tune", "mlp.onnx", "--calibration", MLP_DATA, "--data", str(held_out_path("digits_mlp")))


def test_tune_finds_lambda_and_compiles_with_it(inside: Path) -> None:
    kept = ("--storage", "journal:study.log", "--study", "mlp")
    found = document(call(*TUNE, *kept, "--trials", "8", "-o", "out.onnx", "--json"))
    assert set(found) == {
        *("lambda", "value", "trials", "study", "evaluations", "metric", "ann", "samples"),
        *("objective", "output"),
    }
    assert (found["trials"], found["study"], found["evaluations"]) == (8, "mlp", 9)
    compile_mlp("-o", "same.onnx", "--lambda", repr(found["lambda"]))
    assert (inside / "out.onnx").read_bytes() == (inside / "same.onnx").read_bytes()
    words = ("eval", "mlp.onnx", "out.onnx", "--data", str(held_out_path("digits_mlp")), "--json")
    assert document(call(*words))["snn"]["top1"] == found["value"]
    text = call(*TUNE, *kept, "--trials", "8")
    assert "8 of study 'mlp', 1 evaluations" in text.stdout
    assert text.stderr.splitlines() == ["calibrating: 300 done", "searching lambda: 8 done"]


def test_tune_takes_a_threshold_rule(inside: Path) -> None:
    words = (*TUNE, "--neuron", "if", "--trials", "1", "--storage", "journal:s.log", "--study", "s")
    found = document(call(*words, "--threshold-rule", "kim2020", "--json"))
    words_of_rule = ("--neuron", "if", "--threshold-rule", "kim2020")
    compile_mlp("-o", "same.onnx", "--lambda", repr(found["lambda"]), *words_of_rule)
    again = ("eval", "mlp.onnx", "same.onnx", "--data", str(held_out_path("digits_mlp")), "--json")
    assert document(call(*again))["snn"]["top1"] == found["value"]
    other = call(*words)
    assert other.exit_code == 1 and "made with another threshold rule" in other.stderr
    assert "fitting thresholds: " in call(*TUNE, "--neuron", "if", "--trials", "1").stderr


def test_tune_lists_the_pareto_front(inside: Path) -> None:
    words = (*TUNE, "--objective", "pareto", "--trials", "6", "--tolerance", "0.05")
    found = document(call(*words, "--json"))
    energies = [trial["energy"] for trial in found["front"]]
    assert len(energies) > 1
    assert energies == sorted(energies)
    assert {k: found[k] for k in ("lambda", "value", "energy")} in found["front"]
    assert call(*words).stdout.count("\n") == 9 + len(energies)


def test_tune_says_what_it_found_before_an_interruption(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, scored = Objective._score, 0

    def interrupted(self: Objective, network: AtScale) -> tuple[float, ...]:
        nonlocal scored
        scored += 1
        if scored == 4:
            raise KeyboardInterrupt
        return score(self, network)

    monkeypatch.setattr(Objective, "_score", interrupted)
    result = call(*TUNE, "--storage", "journal:study.log", "--study", "mlp")
    assert result.exit_code == 1
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line]
    assert lines[-2:] == [
        "interrupted: lambda 0.2091 (value 0.9622) has the best metric of the 3 trials of this "
        "run; "
        "the same command resumes the study",
        "Aborted!",
    ]
    assert document(call(*TUNE, "--trials", "3", "--json"))["lambda"] == pytest.approx(0.2091, 1e-3)


VERBS = ("compile", "tune", "check", "fix", "calibrate", "inspect", "run", "eval", "neurons")


@pytest.mark.parametrize("verb", [*VERBS, "compare", "verify-equivalence"])
def test_help_shows_an_example(verb: str) -> None:
    shown = call(verb, "--help")
    assert shown.exit_code == 0
    assert f"snnc {verb}" in shown.stdout


def make_bad_files(digits: Path) -> None:
    with np.load(digits) as arrays:
        x = arrays["input"][:6]
    np.savez("good.npz", input=x)
    np.savez("names.npz", a=x, b=x)
    np.savez("shape.npz", input=x[:, :60])
    np.savez("dtype.npz", input=x.astype(np.float64))
    np.savez("empty.npz", input=x[:0])
    np.savez("labels.npz", input=x, labels=np.zeros(4, np.int64))
    broken = x.copy()
    broken[4, 0] = np.nan
    np.savez("nan.npz", input=broken)
    np.savez("objects.npz", input=np.array([{}], dtype=object))
    Path("notzip.npz").write_text("no zip file")
    Path("text.onnx").write_text("hello\n")
    Path("empty.onnx").write_bytes(b"")
    Path("cut.onnx").write_bytes(Path(MLP).read_bytes()[:5000])
    cnn = onnx.load(str(model_path("digits_cnn")))
    onnx.save(cnn, "external.onnx", save_as_external_data=True, location="gone.data")
    Path("gone.data").unlink()


@cache
def statistics_files() -> dict[str, bytes]:
    """Files of statistics of the MLP on six samples, of its shards, and of the CNN."""
    with np.load(MLP_DATA) as arrays:
        x = arrays["input"][:6]
    found: dict[str, bytes] = {}

    def keep(name: str, network: snnc.CalibratedNetwork) -> None:
        with TemporaryDirectory() as directory:
            path = Path(directory) / name
            network.save_statistics(path)
            found[name] = path.read_bytes()

    keep("s.npz", snnc.calibrate(MLP, calibration=x))
    for shard in ("1/2", "2/2", "1/3"):
        name = f"s{shard.replace('/', 'of')}.npz"
        keep(name, snnc.calibrate(MLP, calibration=x, shard=shard))
    cnn = model_path("digits_cnn")
    keep("cnn.npz", snnc.calibrate(cnn, calibration=x.reshape(-1, 1, 8, 8)))
    found["cut.npz"] = found["s.npz"][:2000]
    return found


BAD = {
    "no_model": "compile none.onnx --calibration good.npz",
    "text_model": "compile text.onnx --calibration good.npz",
    "empty_model": "compile empty.onnx --calibration good.npz",
    "cut_model": "compile cut.onnx --calibration good.npz",
    "external_data": "compile external.onnx --calibration good.npz",
    "model_is_directory": "compile . --calibration good.npz",
    "no_data": "compile mlp.onnx --calibration none.npz",
    "data_not_npz": "compile mlp.onnx --calibration notzip.npz",
    "data_names": "compile mlp.onnx --calibration names.npz",
    "data_shape": "compile mlp.onnx --calibration shape.npz",
    "data_dtype": "compile mlp.onnx --calibration dtype.npz",
    "data_empty": "compile mlp.onnx --calibration empty.npz",
    "data_nan": "compile mlp.onnx --calibration nan.npz",
    "data_objects": "compile mlp.onnx --calibration objects.npz",
    "data_labels": "compile mlp.onnx --calibration labels.npz",
    "neuron": "compile mlp.onnx --calibration good.npz --neuron snf",
    "lambda_zero": "compile mlp.onnx --calibration good.npz --lambda 0",
    "lambda_large": "compile mlp.onnx --calibration good.npz --lambda 1.5",
    "lambda_nan": "compile mlp.onnx --calibration good.npz --lambda nan",
    "fidelity": "compile mlp.onnx --calibration good.npz --fidelity 0",
    "percentile": "compile mlp.onnx --calibration good.npz --percentile 50",
    "m": "compile mlp.onnx --calibration good.npz --m 0",
    "keep": "compile mlp.onnx --calibration good.npz --keep MatMull",
    "keep_all": "compile mlp.onnx --calibration good.npz --keep MatMul*",
    "mask_input": "compile mlp.onnx --calibration good.npz --mask-input imput",
    "synapses_polarity": (
        "compile mlp.onnx --calibration good.npz --synapses int8 --polarity separate"
    ),
    "synapses_levels": (
        "compile mlp.onnx --calibration good.npz --synapses int8 --levels sformer --m 7"
    ),
    "synapses_m": "compile mlp.onnx --calibration good.npz --synapses int8 --m 9",
    "output": "compile mlp.onnx --calibration good.npz --output probabilites",
    "out_directory": "compile mlp.onnx --calibration good.npz -o none/out.onnx",
    "out_is_directory": "compile mlp.onnx --calibration good.npz -o .",
    "statistics_missing": "compile mlp.onnx --statistics none.npz",
    "statistics_are_samples": "compile mlp.onnx --statistics good.npz",
    "samples_are_statistics": "compile mlp.onnx --calibration s.npz",
    "statistics_not_npz": "compile mlp.onnx --statistics notzip.npz",
    "statistics_cut": "compile mlp.onnx --statistics cut.npz",
    "statistics_network": "compile mlp.onnx --statistics cnn.npz",
    "statistics_sites": "compile mlp.onnx --statistics s.npz --encode-input",
    "statistics_mask": "compile mlp.onnx --statistics s.npz --mask-input input",
    "statistics_over_samples": "calibrate mlp.onnx --calibration good.npz -o good.npz",
    "save_over_samples": "compile mlp.onnx --calibration good.npz --save-statistics good.npz",
    "shard_text": "calibrate mlp.onnx --calibration good.npz --shard two -o new.npz",
    "shard_range": "calibrate mlp.onnx --calibration good.npz --shard 3/2 -o new.npz",
    "shard_empty": "calibrate mlp.onnx --calibration good.npz --shard 1/7 -o new.npz",
    "merge_twice": "calibrate --merge s1of2.npz s2of2.npz s1of2.npz -o new.npz",
    "merge_overlap": "calibrate --merge s1of2.npz s1of3.npz -o new.npz",
    "merge_network": "calibrate --merge s1of2.npz cnn.npz -o new.npz",
    "merge_samples": "calibrate --merge s1of2.npz good.npz -o new.npz",
    "merge_over_input": "calibrate --merge s1of2.npz s2of2.npz -o s1of2.npz",
    "tune_trials": "tune mlp.onnx --calibration good.npz --data good.npz --trials 0",
    "tune_range": "tune mlp.onnx --calibration good.npz --data good.npz --range 0.5 0.2",
    "tune_tolerance": "tune mlp.onnx --calibration good.npz --data good.npz --tolerance -1",
    "tune_subsample": "tune mlp.onnx --calibration good.npz --data good.npz --subsample 1.5",
    "tune_no_study": "tune mlp.onnx --calibration good.npz --data good.npz --storage journal:x",
    "tune_storage": "tune mlp.onnx --calibration good.npz --data good.npz --study s --storage x",
    "tune_journal": (
        "tune mlp.onnx --calibration good.npz --data good.npz --study s --storage journal:mlp.onnx"
    ),
    "tune_data": "tune mlp.onnx --calibration good.npz --data shape.npz",
    "tune_out": "tune mlp.onnx --calibration good.npz --data good.npz -o mlp.onnx",
    "run_nan": "run mlp.onnx --data nan.npz -o y.npz",
    "eval_pair": "eval mlp.onnx cnn.onnx --data good.npz",
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_error(inside: Path, case: str) -> None:
    make_bad_files(Path(MLP_DATA))
    for name, data in statistics_files().items():
        Path(name).write_bytes(data)
    shutil.copy(model_path("digits_cnn"), "cnn.onnx")
    before = {f.name: f.read_bytes() for f in inside.iterdir()}
    result = call(*BAD[case].split())
    assert result.exit_code == 1
    assert result.stdout == ""
    assert {f.name: f.read_bytes() for f in inside.iterdir()} == before
    golden = GOLDEN / "errors" / f"{case}.txt"
    assert result.stderr == golden.read_text()


USAGE = {
    "no_command": "bogus",
    "two_calibrations": "compile mlp.onnx --calibration random --statistics s.npz",
    "samples_and_statistics": "compile mlp.onnx --calibration random --statistics s.npz",
    "save_from_statistics": "compile mlp.onnx --statistics s.npz --save-statistics t.npz",
    "save_over_model": "compile mlp.onnx --calibration random -o a --save-statistics ./a",
    "calibrate_without_samples": "calibrate mlp.onnx -o s.npz",
    "calibrate_without_out": "calibrate mlp.onnx --calibration random",
    "calibrate_two_models": "calibrate mlp.onnx mlp.onnx --calibration random -o s.npz",
    "merge_nothing": "calibrate --merge -o s.npz",
    "merge_and_calibrate": "calibrate --merge s.npz --calibration random -o t.npz",
    "lambda_and_fidelity": "compile mlp.onnx --calibration random --lambda .3 --fidelity .9",
    "fidelity_and_lambda": "compile mlp.onnx --calibration random --fidelity .9 --lambda .3",
    "no_model": "compile",
    "option": "compile mlp.onnx --calibration random --bogus",
    "rule": "compile mlp.onnx --calibration random --rule eq12",
    "number": "compile mlp.onnx --calibration random --lambda much",
    "pass_not_run": "compile mlp.onnx --calibration random --dump-after quantize-synapses",
    "pass": "compile mlp.onnx --calibration random --dump-after norm",
    "objective": "tune mlp.onnx --calibration x.npz --data x.npz --objective energy",
    "no_data": "tune mlp.onnx --calibration x.npz",
    "energy": "eval mlp.onnx mlp.onnx --data x.npz --pj-ac 0",
}


def test_a_spiking_network_of_another_one_is_refused(inside: Path) -> None:
    """Of one with inputs and outputs of the same names."""
    words = ("--calibration", str(calibration_path("digits_cnn")), "--lambda", "0.5")
    assert call("compile", str(model_path("digits_cnn")), *words, "-o", "s.onnx").exit_code == 0
    data = str(held_out_path("digits_cnn"))
    result = call("eval", str(model_path("digits_vit")), "s.onnx", "--data", data)
    assert result.exit_code == 1 and result.stdout == ""
    assert "the spiking network comes from another one: this one has no node" in result.stderr


def test_the_package_is_a_command() -> None:
    words = (sys.executable, "-m", "snnc", "--version")
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert done.stdout == f"snnc, version {snnc.__version__}\n"


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage_exits_with_2(inside: Path, case: str) -> None:
    result = call(*USAGE[case].split())
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error:" in result.stderr


def test_the_included_networks_are_those_the_readme_names() -> None:
    readme = (MODELS.parent / "README.md").read_text()
    assert "models/digits_vit.onnx" in readme
    assert model_path("digits_vit").exists()
