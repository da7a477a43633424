"""The speed benchmark: what it times, how it compares, what it writes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import speed_models
from benchmarks.speed import Settings, measure
from benchmarks.speed_kernels import KernelRow, kernel_rows
from benchmarks.speed_networks import SOURCES, Network, silent_share
from benchmarks.speed_report import BEGIN, END, LIMITS, Measured, NetworkRow, write
from benchmarks.speed_timing import Ratio, bound_run, ratios, session
from benchmarks.speed_variants import ANN, BODIES, ENCODED, FLOAT, INT8, PEER, variants
from snnc.frontend import load


class Clock:
    """Time that only passes while something runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def run(self, *durations: float) -> Callable[[], None]:
        """Takes each of the durations in turn."""
        left = itertools.cycle(durations)

        def work() -> None:
            self.now += next(left)

        return work


def test_ratios_are_times_over_those_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    runs = {"a": clock.run(1.0), "b": clock.run(2.0, 3.0, 4.0)}
    found = ratios(runs, "a", 100.0)
    monkeypatch.undo()
    assert found["a"] == Ratio(1.0, 1.0, 1.0, found["a"].rounds, 1.0)
    assert (found["b"].low, found["b"].median, found["b"].high) == (2.0, 3.0, 4.0)
    assert found["b"].rounds == pytest.approx(50, abs=2)


def test_a_short_run_is_repeated_and_the_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    found = ratios({"a": clock.run(0.001), "b": clock.run(0.001, 0.001, 0.001, 9.0)}, "a", 0.1)
    monkeypatch.undo()
    assert found["b"].median == pytest.approx(1.0)


def test_forms_of_an_included_network(tmp_path: Path) -> None:
    network = SOURCES["digits_cnn"](tmp_path, None)
    forms = {form.name: form for form in variants(network, tmp_path)}
    assert list(forms) == [ANN, BODIES, FLOAT, INT8, ENCODED, PEER]
    assert all(form.path or form.note for form in forms.values())
    operators = {}
    for name in (BODIES, PEER):
        path = forms[name].path
        assert path is not None, forms[name].note
        operators[name] = {node.op_type for node in onnx.load(path).graph.node}
        feeds = network.feeds(2)
        bound_run(session(path, 1), feeds)()
    assert any(name.startswith("Sfn") for name in operators[BODIES])
    assert "QuantizeLinear" in operators[PEER]


def test_a_form_that_cannot_be_made_leaves_a_reason(tmp_path: Path) -> None:
    forms = variants(Network(tmp_path / "missing.onnx", {"x": np.zeros((1, 2))}), tmp_path)
    assert all(form.path is None and form.note for form in forms[1:])


def test_a_network_of_the_zoo_without_the_zoo_is_said_to_be_skipped(tmp_path: Path) -> None:
    measured = Measured({})
    measure("fmnist_cnn", Settings([1], 0.1, None), measured, tmp_path)
    assert measured.networks == []
    assert "fmnist_cnn" in measured.skipped[0] and "--zoo" in measured.markdown()


@pytest.mark.parametrize("make", [speed_models.vit_b16, speed_models.resnet50])
def test_generated_networks_have_the_size_of_their_models(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed_models, "BLOCKS", 1)
    parameters = {"vit_b16": 86.57e6 - 11 * 7.088e6, "resnet50": 25.53e6}
    graph = load(make(tmp_path / "model.onnx"))
    count = sum(array.size for array in graph.consts.values())
    assert count == pytest.approx(parameters[make.__name__], rel=0.01)


def test_hidden_units_of_the_perceptron_are_silent_as_often_as_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed_models, "UNITS", 256)
    path = speed_models.sparse_mlp(tmp_path / "mlp.onnx", 0.8)
    samples = speed_models.mlp_inputs(64)[:4]
    share = np.mean([silent_share(path, {"input": sample[None]}) for sample in samples])
    assert share == pytest.approx(0.8, abs=0.05)


def test_the_neuron_alone_against_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.speed_kernels.SHAPES", ((64, 64),))
    (row,) = kernel_rows(tmp_path, None, 1, 0.01)
    assert row.kernel == "neuron, body, 64x64" and row.ratio.median > 1


def ratio(median: float) -> Ratio:
    return Ratio(median, median, median, 5, 1.0)


def test_limits_stand_beside_the_median_of_one_thread() -> None:
    measured = Measured({"onnxruntime": "1.0"})
    for threads, median in ((1, 1.4), (2, 1.2)):
        found = {ANN: ratio(1.0), BODIES: ratio(median)}
        measured.networks.append(NetworkRow("vit_b16", 1, threads, found))
    name = "one row x 4096x4096, 80 % zeros, int8"
    measured.kernels.append(KernelRow(name, "MatMul of the ANN", 1, ratio(0.2)))
    lines = measured.markdown().splitlines()
    assert "| ViT-B/16, function bodies | 1.40 | 1.20 | 1.30 | 1.15 | NO |" in lines
    assert "| one row, 80 % zeros, int8 | 0.20 | - | 0.25 | 0.15 | yes |" in lines
    assert sum(line.endswith("| - |") for line in lines) >= len(LIMITS) - 2


def test_only_the_tables_are_rewritten(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="no lines"):
        write(page, "new")
