"""Networks of spike times as a user meets them: reports, files, JSON, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import Result

import snnc
from snnc.calibrating import Watch
from snnc.data import samples_of
from snnc.errors import CompileError
from snnc.frontend import load
from snnc.ir.node import Array, Op
from snnc.ir.spike_times import fires
from snnc.neurons.ttfs import TTFS
from snnc.pipeline import SPIKE_TIME_PASS_NAMES
from snnc.precision import layer_precisions
from snnc.runtime import Session, held_between
from snnc.spike_recording import record_spikes
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model
from tests.test_cli import MLP_DATA, call, compile_mlp, document, inside

__all__ = ["inside"]

TEST = str(held_out_path("digits_mlp"))
TTFS_MLP = ("--neuron", "ttfs", "-o", "out.onnx")


@pytest.fixture(scope="module")
def encoder() -> snnc.SpikeTimeNetwork:
    return snnc.compile_spike_times(
        model_path("digits_encoder"), calibration=calibration_path("digits_encoder")
    )


def rows(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.stderr
    return [line.split(maxsplit=1) for line in result.stdout.splitlines()]


# --- compile and check ---------------------------------------------------------------------------


def test_compile_says_what_it_made(inside: Path) -> None:
    precise = ("--time-precision", "256", "--time-precision", "Relu1=4096")
    result = compile_mlp(*TTFS_MLP, *precise, "--products", "logexp")
    assert result.stdout == (
        "compiled        mlp.onnx\n"
        "--------------  ------------------------------------------------------\n"
        "neuron          ttfs (rule=causal, products=logexp)\n"
        "time precision  256 ticks a window, Relu1: 4096\n"
        "layers          7, and 1 of relays, in 7 windows\n"
        "agreement       argmax 1.0000 on 128 samples of calibration\n"
        "ranges          extremes with a margin of 2 %, 300 calibration samples\n"
        "spiking         100.00 % of all MACs\n"
        "analog          none\n"
        "written         out.onnx\n"
    )
    ticks = {op.loc.names[0]: op.attrs["ticks"] for op in neurons_of("out.onnx")}
    assert ticks["Relu1"] == 4096 and ticks["Relu"] == 256


def test_compile_as_json(inside: Path) -> None:
    words = ("--emission", "nearest", "--percentile", "1", "--keep", "Relu2")
    report = document(compile_mlp(*TTFS_MLP, *words, "--json"))
    assert report == {
        "neuron": "ttfs",
        "parameters": {"p": 1024, "rule": "nearest", "products": "quarter"},
        "time_precision": [],
        "layers": 5,
        "relay_layers": 0,
        "windows": 5,
        "percentile": 1.0,
        "agreement": report["agreement"],
        "calibration_samples": 300,
        "host": [],
        "spiking_fraction": 1.0,
        "direct_coded_fraction": 0.0,
        "direct_coded": [],
        "analog": [{"op": "Softmax", "name": "Relu2", "why": report["analog"][0]["why"]}],
        "open_dimensions_counted_as": None,
        "uncounted_macs": [],
        "warnings": [],
        "verified": False,
        "output": "out.onnx",
    }
    agreement = report["agreement"]
    assert agreement.pop("reached") > 0.98
    assert agreement == {"measure": "argmax", "output": "probabilities", "samples": 128}
    checked = document(call("check", "mlp.onnx", "--neuron", "ttfs", "--keep", "Relu2", "--json"))
    shared = checked.keys() & report.keys()
    assert {"spiking_fraction", "analog", "uncounted_macs"} <= shared
    assert {k: checked[k] for k in shared} == {k: report[k] for k in shared}
    assert checked["sites"] == report["layers"] and checked["refused"] is None


def test_check_lists_what_is_computed_before_encoding() -> None:
    result = call("check", str(model_path("digits_encoder")), "--neuron", "ttfs")
    assert "computed from integers and masks before encoding" in result.stdout
    assert "\nhost      10 operations on integers and masks, before encoding\n" in result.stdout
    assert "direct-coded" not in result.stdout
    assert "direct-coded" in call("check", str(model_path("digits_encoder"))).stdout


def test_check_of_what_is_refused(inside: Path) -> None:
    words = ("check", "mlp.onnx", "--neuron", "ttfs", "--keep", "*")
    result = call(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: there is nothing to convert")
    assert '"message": "there is nothing to convert' in call(*words, "--json").stdout


@pytest.mark.parametrize("name", SPIKE_TIME_PASS_NAMES)
def test_dump_after_every_pass(inside: Path, name: str) -> None:
    result = compile_mlp(*TTFS_MLP, "--dump-after", name)
    assert result.exit_code == 0 and result.stdout.count("graph @") == 1
    with_json = compile_mlp(*TTFS_MLP, "--dump-after", name, "--json")
    assert document(with_json)["neuron"] == "ttfs"
    assert "graph @" in with_json.stderr


def test_random_calibration_says_that_its_ranges_are_meaningless(inside: Path) -> None:
    words = ("compile", "mlp.onnx", "--calibration", "random", *TTFS_MLP, "--json")
    warning = "calibrated on random numbers: the ranges are meaningless"
    assert document(call(*words))["warnings"] == [warning]
    curve = ("eval", "mlp.onnx", "--data", TEST, "--calibration", "random")
    assert f"warning: {warning}" in call(*curve, "--precision-curve", "16").stderr


def test_statistics_in_place_of_samples(inside: Path) -> None:
    assert compile_mlp(*TTFS_MLP, "--save-statistics", "s.npz").exit_code == 0
    words = ("compile", "mlp.onnx", "--neuron", "ttfs", "--statistics", "s.npz", "-o", "same.onnx")
    assert document(call(*words, "--json"))["calibration_samples"] == 300
    assert Path("same.onnx").read_bytes() == Path("out.onnx").read_bytes()
    other = call("compile", "mlp.onnx", "--statistics", "s.npz", "-o", "counts.onnx")
    assert other.exit_code == 1
    assert "are of other sites than 'mlp.onnx'" in other.stderr
    assert "and --neuron ttfs, as in calibration" in other.stderr
    assert not Path("counts.onnx").exists()


def test_what_is_interrupted_leaves_files_alone(inside: Path) -> None:
    for name in ("out.onnx", "s.npz"):
        Path(name).write_text("before")

    def interrupt(phase: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        snnc.compile_spike_times(
            "mlp.onnx", calibration=MLP_DATA, save_statistics="s.npz", watch=Watch(interrupt)
        ).save("out.onnx")
    assert Path("out.onnx").read_text() == Path("s.npz").read_text() == "before"
    assert {file.name for file in inside.iterdir()} == {"mlp.onnx", "out.onnx", "s.npz"}


def test_the_artifact_needs_no_library(inside: Path) -> None:
    assert compile_mlp(*TTFS_MLP).exit_code == 0
    with np.load(TEST) as file:
        feeds = {"input": file["input"]}
    session = onnxruntime.InferenceSession("out.onnx", providers=["CPUExecutionProvider"])
    plain = session.run(["probabilities"], feeds)[0]
    native = snnc.session("out.onnx").run(["probabilities"], feeds)[0]
    np.testing.assert_allclose(plain, native, atol=2e-3)


# --- eval ----------------------------------------------------------------------------------------

EVAL = ("eval", "mlp.onnx", "out.onnx", "--data", TEST)


def test_eval_prints_the_comparison(inside: Path) -> None:
    compile_mlp(*TTFS_MLP)
    result = call(*EVAL)
    for row in (
        "top-1",
        "by the earliest spike",
        "energy by Table 3 (eq. 28)",
        "of them silent",
        "windows",
    ):
        assert row in result.stdout
    report = document(call(*EVAL, "--json"))
    assert set(report) == {"samples", "output", "ann", "snn", "agreement", "cosine", "energy"}
    assert set(report["snn"]) == {"top1", "top1_by_earliest_spike", "undecided"}
    assert report["samples"] == 450 and report["cosine"] > 0.999
    energy = report["energy"]
    assert energy["windows"] == 7 and len(energy["layers"]) == 10
    assert sum(x["spikes"] for x in energy["layers"] if x["kind"] != "relay") == pytest.approx(
        energy["spikes"]
    )
    dearer = document(call(*EVAL, "--json", "--pj-ac", "1.8"))["energy"]
    for ratio in ("ratio_table3", "ratio_consistent", "ratio_operations", "ratio_events"):
        assert dearer[ratio] == pytest.approx(2 * energy[ratio])


def test_eval_layer_by_layer(inside: Path) -> None:
    compile_mlp(*TTFS_MLP, "--time-precision", "1024", "--time-precision", "Relu1=4")
    words = (*EVAL, "--per-layer", "--samples", "50")
    shown = call(*words).stdout
    assert "ai.snnc." not in shown
    assert shown.rstrip().splitlines()[-1].split() == ["windows", "7"]
    assert "% of the squared error: --time-precision 'Relu1=16'" in shown
    layers = document(call(*words, "--json"))["time_precision"]
    worst = max(layers, key=lambda layer: layer["error"])
    assert (worst["name"], worst["window"], worst["ticks"]) == ("Relu1", 2, 4)
    assert sum(layer["error"] for layer in layers if layer is not worst) < worst["error"]


def test_errors_of_layers_do_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    network = snnc.compile_spike_times(model_path("digits_mlp"), calibration=MLP_DATA)
    data = samples_of(held_out_path("digits_mlp"), network.graph)

    def errors() -> list[float]:
        return [x.error for x in layer_precisions(network.graph, data, "probabilities", 6)]

    whole = errors()
    monkeypatch.setattr("snnc.runtime.BATCH_ELEMENTS", 1)
    assert errors() == pytest.approx(whole, rel=0.05)


def test_what_a_product_holds_where_no_kernel_computes_it(
    encoder: snnc.SpikeTimeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snnc.runtime.kernel_library", lambda: None)
    assert held_between(encoder.graph) == 4 * 64 * 64 * 12
    assert held_between(load(model_path("digits_encoder"))) == 0


def test_precision_curve(inside: Path) -> None:
    words = ("eval", "mlp.onnx", "--data", TEST, "--calibration", MLP_DATA)
    curve = document(call(*words, "--precision-curve", "16,1024,16", "--plot", "c.svg", "--json"))
    assert set(curve) == {"samples", "output", "measure", "ann", "points", "plot"}
    found = [(x["parameters"]["rule"], x["parameters"]["p"]) for x in curve["points"]]
    assert found == [("causal", 16), ("causal", 1024), ("nearest", 16), ("nearest", 1024)]
    cosines = [point["cosine"] for point in curve["points"]]
    assert cosines[0] < cosines[2] < min(cosines[1], cosines[3])
    assert Path("c.svg").read_text().count("<svg") == 1
    one = (*words, "--precision-curve", "16", "--neuron", "ttfs:rule=nearest:products=ideal")
    shown = rows(call(*one))
    assert [row[1].split()[:2] for row in shown if row[0] == "16"] == [["nearest", "ideal"]]


# --- spike times ---------------------------------------------------------------------------------


def neurons_of(file: str) -> list[Op]:
    return [node for node in load(file).nodes if isinstance(node, Op) and fires(node)]


def test_recorded_spikes_are_those_of_the_neuron(inside: Path) -> None:
    """Every layer's ticks are what numpy makes of its membrane potentials, sample by sample."""
    compile_mlp(*TTFS_MLP, "--emission", "nearest", "--time-precision", "Relu1=64")
    words = ("run", "out.onnx", "--data", TEST, "-o", "y.npz", "--spikes", "s.npz")
    report = document(call(*words, "--json"))
    ops = neurons_of("out.onnx")
    assert [layer["name"] for layer in report["layers"]] == [op.outputs[0] for op in ops]
    with np.load(TEST) as file:
        feeds = {"input": file["input"]}
    values = Session(load("out.onnx"), taps=[v for op in ops for v in op.inputs[:1]]).run(feeds)
    values |= feeds
    with np.load("s.npz") as spikes, np.load("y.npz") as outputs:
        assert list(spikes["layers"]) == [op.outputs[0] for op in ops]
        assert set(spikes.files) == {"layers", "window", "ticks", "low", "high", *spikes["layers"]}
        for i, op in enumerate(ops):
            neuron = TTFS(int(spikes["ticks"][i]), "nearest")
            ends = float(spikes["low"][i]), float(spikes["high"][i])
            assert ends == (op.attrs["low"], op.attrs["high"])
            assert spikes["window"][i] == op.attrs["window"]
            found, x = spikes[op.outputs[0]], values[op.inputs[0]]
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, neuron.ticks(neuron.emit(x, *ends), *ends))
        last = spikes[ops[-1].outputs[0]]
        decoded = np.where(last < 0, ends[0], ends[1] - last * (ends[1] - ends[0]) / neuron.p)
        np.testing.assert_allclose(outputs["probabilities"], decoded, atol=1e-6)


MIXING = """
g (float[N,4] x) => (float[1,3] window) {
  mean = ReduceMean <axes = [0]> (x)
  window = MatMul (mean, w)
}"""


def test_layers_that_mix_a_batch_are_recorded_sample_by_sample(tmp_path: Path) -> None:
    data = arrays(2, x=(5, 4))
    network = snnc.compile_spike_times(
        model(MIXING, arrays(1, w=(4, 3))), calibration=arrays(1, x=(20, 4))
    )
    layers = record_spikes(network.graph, samples_of(data, network.graph), tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as spikes:
        assert {len(spikes[layer.key]) for layer in layers} == {5}
        assert "window" in [layer.name for layer in layers]
        assert list(spikes["window"]) == [layer.window for layer in layers]
        found = spikes["window.spikes"]
    alone = [network.run({"x": x[None]})["window"] for x in data["x"]]
    wanted = [layers[-1].times(np.asarray(y)).ravel() for y in alone]
    np.testing.assert_array_equal(found.reshape(5, 3), wanted)


ONE_AT_A_TIME = """
g (float[1,4,3] x) => (float[1,3,2] y) {
  t = Transpose <perm = [1, 0, 2]> (x)
  r = Relu (t)
  h = MatMul (r, w)
  u = Transpose <perm = [1, 0, 2]> (h)
  y = MatMul (v, u)
}"""


def test_samples_lie_first_where_a_model_takes_one_at_a_time(tmp_path: Path) -> None:
    network = snnc.compile_spike_times(
        model(ONE_AT_A_TIME, arrays(1, w=(3, 2), v=(3, 4))), calibration=arrays(1, x=(20, 4, 3))
    )
    samples = samples_of(arrays(2, x=(5, 4, 3)), network.graph)
    layers = record_spikes(network.graph, samples, tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as spikes:
        assert {len(spikes[layer.key]) for layer in layers} == {5}
        assert (5, 4, 1, 3) in {spikes[layer.key].shape for layer in layers}


CONSTANT = """
g (float[N,4] x) => (float[N,4] y) {
  sizes = Shape (x)
  real = Cast <to = 1> (sizes)
  first = Constant <value_ints = [1]> ()
  width = Gather (real, first)
  s = Mul (x, width)
  h = MatMul (s, w)
  y = Add (h, width)
}"""


def test_what_depends_on_no_data_is_recorded_once(tmp_path: Path) -> None:
    network = snnc.compile_spike_times(
        model(CONSTANT, arrays(1, w=(4, 4))), calibration=arrays(1, x=(20, 4))
    )
    samples = samples_of(arrays(2, x=(5, 4)), network.graph)
    layers = record_spikes(network.graph, samples, tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as spikes:
        assert {len(spikes[layer.key]) for layer in layers} <= {1, 5}
        assert len(spikes["y"]) == 5


def test_samples_of_different_lengths(encoder: snnc.SpikeTimeNetwork, tmp_path: Path) -> None:
    with np.load(held_out_path("digits_encoder")) as file:
        held = {key: file[key][:4] for key in ("input_ids", "attention_mask")}

    def parts(*lengths: int) -> list[dict[str, Array]]:
        return [{k: a[i : i + 1, :n] for k, a in held.items()} for i, n in enumerate(lengths)]

    path = tmp_path / "s.npz"
    layers = record_spikes(encoder.graph, samples_of(parts(64, 64), encoder.graph), path)
    with np.load(path) as spikes:
        assert spikes[layers[0].key].shape == (2, 64, 48)
    before = path.read_bytes()
    with pytest.raises(CompileError, match="neurons for some samples and") as raised:
        record_spikes(encoder.graph, samples_of(parts(64, 60), encoder.graph), path)
    assert raised.value.help == "record samples of one length at a time"
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# --- inspect -------------------------------------------------------------------------------------


def test_inspect_in_every_form(inside: Path) -> None:
    compile_mlp(*TTFS_MLP)
    text = call("inspect", "out.onnx").stdout
    assert "%input.spikes : time[" in text and "ticks=1024" in text
    nodes = document(call("inspect", "out.onnx", "--format", "json"))["nodes"]
    parameters = [node["parameters"] for node in nodes if "parameters" in node]
    assert len(parameters) == 8 and parameters[0]["low"] == 0.0
    dot = call("inspect", "out.onnx", "--format", "dot").stdout
    assert dot.count("fillcolor=gold") == 7 and "[style=bold]" in dot
    shown = rows(call("inspect", "out.onnx", "--layers"))
    assert " ".join(shown[0]).split() == ["layer", "op", "shape", "window", "ticks", "low", "high"]
    layers = document(call("inspect", "out.onnx", "--layers", "--json"))["layers"]
    assert [layer["window"] for layer in layers] == [0, 1, 2, 3, 4, 5, 5, 6]
    assert layers[0] == {
        **{"layer": "input", "op": "TimeToFirstSpike", "shape": "64", "window": 0},
        **{"ticks": 1024, "low": 0.0, "high": pytest.approx(1.02)},
    }
    assert layers[6]["op"] == "Relay" and layers[6]["ticks"] is None


def test_neurons_lists_it() -> None:
    listed = document(call("neurons", "--json"))["neurons"]
    ttfs = next(neuron for neuron in listed if neuron["name"] == "ttfs")
    assert ttfs["parameters"] == {
        "p": {"default": 1024, "choices": []},
        "rule": {"default": "causal", "choices": ["causal", "nearest"]},
        "products": {"default": "quarter", "choices": ["quarter", "logexp", "ideal"]},
    }


def test_help_says_which_options_are_for_it() -> None:
    shown = " ".join(call("compile", "--help").stdout.split())
    assert "--time-precision [LAYER=]P Ticks in a window of ttfs neurons" in shown
    assert f"with ttfs {', '.join(SPIKE_TIME_PASS_NAMES)}." in shown.replace("- ", "-")
    assert "ttfs" in call("run", "--help").stdout and "ttfs" in call("eval", "--help").stdout


# --- what is refused -----------------------------------------------------------------------------

COMPILE = f"compile mlp.onnx --neuron ttfs --calibration {MLP_DATA} -o new.onnx"
CURVE = f"eval mlp.onnx --data {TEST} --calibration {MLP_DATA} --precision-curve"
RUN = f"run ttfs.onnx --data {TEST} -o y.npz --spikes"

SPIKES = "the model is a spiking network already"
COUNTS = "'ttfs' codes numbers as spike times, not as spike counts"

REFUSED: dict[str, str] = {
    "compile mlp.onnx --neuron ttfs:p=abc": "neuron 'ttfs:p=abc': p is no whole number: 'abc'",
    "compile mlp.onnx --neuron ttfs:p=0": "time precision p = 0 is out of range",
    "compile mlp.onnx --neuron ttfs@4": "unknown neuron model 'ttfs@4'; did you mean 'ttfs'?",
    f"{COMPILE} --time-precision x": "'x' is no time precision",
    f"{COMPILE} --time-precision =64": "'=64' is no time precision",
    f"{COMPILE} --time-precision 65537": "time precision p = 65537 is out of range",
    f"{COMPILE} --time-precision *=0": "time precision p = 0 is out of range",
    f"{COMPILE} --time-precision nope=64": "unknown layer in --time-precision 'nope'",
    f"{COMPILE} --time-precision 64 --time-precision 128": (
        "the time precision of all layers is given twice"
    ),
    f"{COMPILE} --time-precision R*=64 --time-precision R*=64": (
        "the time precision of the layers 'R*' is given twice"
    ),
    f"{COMPILE} --percentile 50": "percentile 50.0 is out of range",
    f"{COMPILE} --mask-input nope": "unknown input for --mask-input 'nope'",
    f"{COMPILE} --keep nope": "unknown node in --keep 'nope'",
    "compile mlp.onnx --neuron ttfs": "calibration takes samples, or statistics of them",
    "compile mlp.onnx --neuron ttfs --calibration nan.npz": (
        "array 'input' of 'nan.npz' holds NaN or an infinity at sample 1"
    ),
    "compile mlp.onnx --neuron ttfs --calibration none.npz": "there is no file 'none.npz'",
    "compile mlp.onnx --neuron ttfs --calibration empty.npz": "'empty.npz' holds no samples",
    "compile mlp.onnx --neuron ttfs --calibration shape.npz": (
        "array 'input' of 'shape.npz' has shape [3, 5], the model takes [?, 64]"
    ),
    "compile mlp.onnx --neuron ttfs --calibration damaged.npz": (
        "'damaged.npz' is not a readable .npz file"
    ),
    "compile ttfs.onnx --neuron ttfs --calibration random": SPIKES,
    f"compile mlp.onnx --neuron ttfs --calibration {MLP_DATA} -o mlp.onnx": (
        "'mlp.onnx' is read as input and would be overwritten"
    ),
    "check ttfs.onnx --neuron ttfs": SPIKES,
    f"tune mlp.onnx --calibration {MLP_DATA} --data {TEST} --neuron ttfs": COUNTS,
    f"compare mlp.onnx --calibration {MLP_DATA} --data {TEST} --neurons ttfs": COUNTS,
    f"verify-equivalence mlp.onnx --calibration {MLP_DATA} --timesteps 2 --neuron ttfs": COUNTS,
    f"eval mlp.onnx --data {TEST} --calibration {MLP_DATA} --lambda-curve --neuron ttfs": COUNTS,
    f"eval mlp.onnx ttfs.onnx --data {TEST} --output nope": "unknown output 'nope'",
    "eval mlp.onnx ttfs.onnx --data nan.npz": "array 'input' of 'nan.npz' holds NaN",
    f"eval ttfs.onnx mlp.onnx --data {TEST}": "'ttfs.onnx' is not the trained network",
    f"{CURVE} 64,0": "time precision p = 0 is out of range",
    f"{CURVE} 64 --plot c.bmp": "cannot draw 'c.bmp': unknown suffix '.bmp'",
    f"{CURVE} 64 --plot none/c.svg": "cannot write 'none/c.svg'",
    f"run mlp.onnx --data {TEST} -o y.npz --spikes s.npz": "the network has no spike times",
    f"{RUN} ttfs.onnx": "'ttfs.onnx' is read as input and would be overwritten",
    f"{RUN} none/s.npz": "cannot write 'none/s.npz': there is no directory 'none'",
    "run ttfs.onnx --data nan.npz -o y.npz --spikes s.npz": "array 'input' of 'nan.npz' holds NaN",
}

OTHER = "compile mlp.onnx --calibration random"
ELSEWHERE = "goes with neurons that count spikes, not with ttfs"
COUNTING = (
    *("--lambda 0.5", "--fidelity 0.9", "--m 4", "--rule eq11", "--levels dense"),
    *("--polarity shared", "--threshold-rule kim2020", "--synapses int8"),
    *("--timesteps 2", "--encode-input"),
)
TIMING = ("--time-precision 64", "--emission nearest", "--products ideal")

MISUSED: dict[str, str] = {
    **{f"{COMPILE} {words}": f"{words.split()[0]} {ELSEWHERE}" for words in COUNTING},
    **{f"{OTHER} {words}": f"{words.split()[0]} goes with --neuron ttfs" for words in TIMING},
    f"{COMPILE} --dump-after substitute": "--dump-after substitute is no pass with --neuron ttfs",
    f"{OTHER} --dump-after emit-spikes": ("--dump-after emit-spikes is no pass with --neuron sfn"),
    f"{COMPILE} --neuron ttfs:p=8 --time-precision 9": (
        "--time-precision and p in --neuron: pass one"
    ),
    f"{COMPILE} --neuron ttfs:rule=nearest --emission causal": (
        "--emission and rule in --neuron: pass one"
    ),
    f"{COMPILE} --emission late": "'late' is not one of 'causal', 'nearest'",
    "check mlp.onnx --neuron ttfs --encode-input": "--encode-input: ttfs always encodes the input",
    f"{CURVE} abc": "'abc' is no list of whole numbers between commas",
    f"{CURVE} 64 --neuron sfn": "--precision-curve goes with --neuron ttfs, not with sfn",
    f"{CURVE} 64 --neuron ttfs:p=8": "--precision-curve goes over p: leave it out of --neuron",
    f"{CURVE} 64 --lambda 0.5": "--lambda goes with",
    f"eval mlp.onnx ttfs.onnx --data {TEST} --products ideal": "goes with --precision-curve",
    f"{RUN} ./y.npz": "--spikes and --out name the same file",
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ttfs") / "ttfs.onnx"
    snnc.compile_spike_times(model_path("digits_mlp"), calibration=MLP_DATA).save(file)
    return file


def refused(inside: Path, artifact: Path, words: str) -> Result:
    """The result of a command that must leave all files as they are."""
    shutil.copy(artifact, "ttfs.onnx")
    x = arrays(0, x=(3, 64))["x"]
    bad: dict[str, Any] = {"nan": x.copy(), "empty": x[:0], "shape": x[:, :5]}
    bad["nan"][1, 0] = np.nan
    for name, array in bad.items():
        np.savez(f"{name}.npz", input=array)
    Path("damaged.npz").write_bytes(Path("nan.npz").read_bytes()[:99])
    before = {f.name: f.read_bytes() for f in inside.iterdir()}
    result = call(*words.split())
    assert result.stdout == ""
    assert {f.name: f.read_bytes() for f in inside.iterdir()} == before
    return result


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_gets_one_message(inside: Path, artifact: Path, words: str) -> None:
    result = refused(inside, artifact, words)
    assert result.exit_code == 1
    assert result.stderr.count("error: ") == 1
    message = result.stderr[result.stderr.index("error: ") :]
    assert message.startswith(f"error: {REFUSED[words]}")


@pytest.mark.parametrize("words", MISUSED)
def test_options_that_do_not_fit_are_wrong_usage(inside: Path, artifact: Path, words: str) -> None:
    result = refused(inside, artifact, words)
    assert result.exit_code == 2
    assert result.stderr.count("Error: ") == 1 and MISUSED[words] in result.stderr
