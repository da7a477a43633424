"""What people are told who ask for something that cannot be: the reason, and a way out."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

import snnc
from snnc.runtime import words_of
from tests.conftest import calibration_path, held_out_path, model_path
from tests.test_cli import MLP_DATA, call, compile_mlp, inside

__all__ = ["inside"]

NETWORK = snnc.calibrate(model_path("digits_mlp"), calibration=calibration_path("digits_mlp"))
TEST = str(held_out_path("digits_mlp"))
STUDY = ("eval", "mlp.onnx", "--data", TEST, "--calibration", MLP_DATA)
ANYTHING: Any = 3
TEXT: Any = "a"


def data() -> dict[str, Any]:
    with np.load(TEST) as loaded:
        return {name: array[:20] for name, array in loaded.items()}


def test_numbers_of_numpy_are_numbers() -> None:
    four: Any = np.int64(4)
    quarter: Any = np.float32(0.25)
    assert snnc.MTN(N=four) == snnc.MTN(N=4)
    assert snnc.AIF(L=four, n_min=-four) == snnc.AIF(L=4, n_min=-4)
    assert snnc.SFN(M=four, limit=four) == snnc.SFN(M=4, limit=4)
    assert snnc.IF(potential=quarter) == snnc.IF(potential=0.25)
    assert type(snnc.MTN(N=four).N) is int
    spiking = snnc.compile(NETWORK, neuron="if", timesteps=four, scale=quarter)
    assert spiking.graph.timesteps == 4
    curve = snnc.timesteps_curve(NETWORK, data(), timesteps=np.array([2]), scale=1.0)
    assert [point.timesteps for point in curve.points] == [2]


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "potential": (lambda: snnc.IF(potential=TEXT), "if: potential must be a number, not 'a'"),
    "bound": (lambda: snnc.SFN(bound=TEXT), "sfn: bound must be a number, not 'a'"),
    "boolean": (lambda: snnc.MTN(N=True), "mtn: N must be an integer"),
    "lambda": (lambda: snnc.compile(NETWORK, scale=TEXT), "lambda must be a number, not 'a'"),
    "percentile": (lambda: snnc.compile(NETWORK, percentile=TEXT), "percentile must be a number"),
    "fidelity": (lambda: snnc.compile(NETWORK, fidelity=TEXT), "fidelity must be a number"),
    "timesteps": (
        lambda: snnc.timesteps_curve(NETWORK, data(), timesteps=ANYTHING),
        "a curve goes over a list, not over 3\n  help: pass (3,)",
    ),
    "neurons": (lambda: snnc.compare(NETWORK, data(), neurons=ANYTHING), "3 is no list of neurons"),
    "picture": (lambda: snnc.plot(ANYTHING, "a.svg"), "there is no picture of 3"),
    "fixed timesteps": (
        lambda: snnc.timesteps_curve(NETWORK, data(), neurons="if@4", timesteps=(1, 2)),
        "'if@4' is the same network at every number of timesteps\n  help: leave @4 out",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_refused_in_words(case: str) -> None:
    attempt, message = WRONG[case]
    with pytest.raises(snnc.CompileError) as refused:
        attempt()
    assert refused.value.render().startswith(f"error: {message}")


def test_neurons_between_commas_or_one_alone() -> None:
    lists: list[Any] = ["sfn,mtn:N=4", ("sfn", "mtn:N=4"), ["sfn", snnc.MTN(N=4)]]
    for neurons in lists:
        found = snnc.compare(NETWORK, data(), neurons=neurons, scale=0.5, seconds=0)
        assert [str(row.spec) for row in found.rows] == ["sfn", "mtn:N=4"]
    alone = snnc.compare(NETWORK, data(), neurons=snnc.SFN(), scale=0.5, seconds=0)
    assert [str(row.spec) for row in alone.rows] == ["sfn"]


def test_a_number_of_timesteps_given_twice_is_one() -> None:
    curve = snnc.timesteps_curve(NETWORK, data(), neurons="if", timesteps=(4, 1, 1), scale=1.0)
    assert [point.at for point in curve.points] == [4, 1]


@pytest.mark.parametrize("shift", [10, -1])
def test_labels_of_no_class_are_refused(shift: int) -> None:
    moved = data()
    moved["labels"] = moved["labels"] + shift
    with pytest.raises(snnc.CompileError, match=r"labels go from .* the output has 10 classes"):
        snnc.lambda_curve(NETWORK, moved, scales=(0.5,))
    with pytest.raises(snnc.CompileError, match="labels go from"):
        snnc.tune(NETWORK, data=moved, trials=1)


def test_several_timesteps_with_integer_synapses_are_what_is_refused(inside: Path) -> None:
    words = ("--synapses", "int8", "--neuron", "dual-if", "--timesteps", "2")
    assert compile_mlp(*words).stderr.startswith("error: integer synapses work at one timestep\n")


def test_what_an_option_of_eval_lacks(inside: Path) -> None:
    lacking = call(*STUDY, "--against", "mtn")
    assert lacking.exit_code == 2
    assert "Error: --against goes with --timesteps-curve, which is missing\n" in lacking.stderr
    assert "Error: --calibration goes with --lambda-curve, " in call(*STUDY).stderr


def test_the_calibration_that_is_missing_is_named_as_people_type_it(inside: Path) -> None:
    result = call("compile", "mlp.onnx")
    assert result.exit_code == 1
    assert "help: pass --calibration F.npz, or --statistics S.npz" in result.stderr


def test_a_file_without_arrays_says_so(inside: Path) -> None:
    zipfile.ZipFile("empty.npz", "w").close()
    result = call("compile", "mlp.onnx", "--calibration", "empty.npz")
    assert result.exit_code == 1
    assert result.stderr.endswith("the model's inputs are 'input'; the arrays are none\n")


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        with np.load(calibration_path("digits_cnn")) as arrays:
            self._left: Iterator[Any] = iter([{"input": arrays["input"][:16]}])

    def get_next(self) -> Any:
        return next(self._left, None)


def test_a_network_of_quantised_operators_is_asked_for_as_qdq(tmp_path: Path) -> None:
    quantised = tmp_path / "q.onnx"
    format = QuantFormat.QOperator
    quantize_static(model_path("digits_cnn"), quantised, _Images(), quant_format=format)
    with pytest.raises(snnc.CompileError) as refused:
        snnc.compile(onnx.load(quantised))
    assert "layers of QLinearConv, com.microsoft.QGemm stay" in str(refused.value)
    assert "export the network as QDQ" in str(refused.value)


def test_onnxruntimes_words_are_cut_to_the_reason() -> None:
    said = (
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running If node. "
        "Name:'If#5' Status Message: Non-zero status code returned while running Mul node. "
        "Name:'If#5/Mul#0' Status Message: /onnxruntime_src/core/framework/op_kernel.cc:87 virtual "
        "OrtValue* onnxruntime::OpKernelContext::OutputMLValue(int, const TensorShape&) "
        "[ONNXRuntimeError] : 1 : FAIL : Shape mismatch attempting to re-use buffer. "
        "{1,8} != {2,8}."
    )
    reason = "Mul 'If#5/Mul#0': Shape mismatch attempting to re-use buffer. {1,8} != {2,8}."
    assert words_of(RuntimeError(said)) == reason
    assert words_of(RuntimeError("no such\n node")) == "no such node"
    assert len(words_of(RuntimeError("long " * 100))) < 170
