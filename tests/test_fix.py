"""`snnc fix`: inputs become constants, and what depends on them is folded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import save

import snnc
from snnc.cli import main
from snnc.prepare import check, fix_inputs
from tests.onnx_models import arrays, model, run_onnx

SOURCE = model(
    """g (float[N,4] x, int64 rate, float[2] gain) => (float[N,4] y) {
    c = Equal(rate, high) h = MatMul(x, w)
    f = If(c) <then_branch = t () => (float[N,4] a) { m = MatMul(h, v) a = Relu(m) },
        else_branch = e () => (float[N,4] b) { b = Neg(h) }>
    g = ReduceSum(gain)
    y = Mul(f, g) }""",
    {**arrays(0, w=(4, 4), v=(4, 4)), "high": np.array(16000)},
)
X = arrays(1, x=(3, 4))["x"]
GAIN = np.ones(2, np.float32)


@pytest.mark.parametrize("rate", [16000, 8000])
def test_the_fixed_network_computes_the_same(rate: int, tmp_path: Path) -> None:
    save(SOURCE, tmp_path / "m.onnx")
    out = tmp_path / "fixed.onnx"
    words = ["fix", str(tmp_path / "m.onnx"), f"rate={rate}", "gain=1", "-o", str(out)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.stderr
    wanted = run_onnx(SOURCE, {"x": X, "rate": np.array(rate), "gain": GAIN})["y"]
    np.testing.assert_array_equal(run_onnx(out, {"x": X})["y"], wanted)
    ops = {e.op for e in check(out).entries if e.fate != "refused"}
    assert ("Relu" in ops, "Neg" in ops, "If" in ops) == (rate == 16000, rate != 16000, False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speed": 1.0}, "unknown input 'speed'"),
        ({"x": 1.0}, "which one number does not fit"),
        ({"rate": 0.5}, "i64.*, which cannot hold 0.5"),
        ({"gain": np.ones(3, np.float32)}, "does not fit"),
        ({"rate": float("nan")}, "cannot hold nan"),
    ],
)
def test_what_cannot_be_fixed_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(snnc.CompileError, match=message):
        fix_inputs(snnc.load(SOURCE), values)


def test_an_array_fixes_an_input_of_its_shape(tmp_path: Path) -> None:
    save(SOURCE, tmp_path / "m.onnx")
    gain, out = np.array([0.25, 0.5], np.float32), tmp_path / "fixed.onnx"
    np.save(tmp_path / "gain.npy", gain)
    words = ["fix", str(tmp_path / "m.onnx"), f"gain={tmp_path / 'gain.npy'}", "-o", str(out)]
    assert CliRunner().invoke(main, words).exit_code == 0
    feeds = {"x": X, "rate": np.array(16000)}
    wanted = run_onnx(SOURCE, {**feeds, "gain": gain})["y"]
    np.testing.assert_array_equal(run_onnx(out, feeds)["y"], wanted)


def test_an_array_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    save(SOURCE, tmp_path / "m.onnx")
    (tmp_path / "bad.npy").write_bytes(b"no array")
    for name in ("bad.npy", "absent.npy"):
        words = ["fix", str(tmp_path / "m.onnx"), f"gain={tmp_path / name}", "-o", "x.onnx"]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")


def test_random_samples_suit_inputs_without_an_axis_of_samples() -> None:
    source = model(
        """g (float[N,4] x, float s, float[2,N,4] state) => (float[2,N,4] y) {
        a = Mul(x, s) h = MatMul(a, w) r = Relu(h) p = MatMul(r, v) y = Add(p, state) }""",
        arrays(0, w=(4, 4), v=(4, 4)),
    )
    report = snnc.compile(source, calibration="random", scale=0.1).report
    assert (report.sites, report.calibration_samples) == (2, 16)


@pytest.mark.parametrize("word", ["rate", "rate=fast", "=3"])
def test_wrong_words_are_usage_errors(word: str, tmp_path: Path) -> None:
    save(SOURCE, tmp_path / "m.onnx")
    out = tmp_path / "fixed.onnx"
    result = CliRunner().invoke(main, ["fix", str(tmp_path / "m.onnx"), word, "-o", str(out)])
    assert result.exit_code == 2
    assert not out.exists()


def test_an_input_is_fixed_once(tmp_path: Path) -> None:
    save(SOURCE, tmp_path / "m.onnx")
    out = tmp_path / "fixed.onnx"
    words = ["fix", str(tmp_path / "m.onnx"), "rate=8000", "rate=16000", "-o", str(out)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2 and "'rate' is given twice" in result.stderr
    assert not out.exists()
