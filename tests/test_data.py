"""Samples: where they come from, how they are cut into batches, what is refused."""

from pathlib import Path

import numpy as np
import pytest
from onnx import parser

import snnc
from snnc.data import Feeds, samples_of
from snnc.evaluation import evaluate, run
from snnc.ir.graph import Graph
from snnc.ir.node import Array

WEIGHTS = "float[4,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}"


def network(inputs: str, body: str, outputs: str) -> Graph:
    text = (
        f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({outputs}) <{WEIGHTS}> {body}'
    )
    return snnc.load(parser.parse_model(text))


DYNAMIC = ("float[n,4] x", "{ y = MatMul (x, w) }", "float[n,3] y")


@pytest.fixture
def rows() -> Array:
    return np.random.default_rng(0).random((11, 4), np.float32)


def collect(graph: Graph, source: object, size: int) -> list[Feeds]:
    return list(samples_of(source, graph).batches(size))  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("size", [1, 4, 64])
def test_an_npz_file_is_read_by_the_batch(
    tmp_path: Path, rows: Array, order: str, compressed: bool, size: int
) -> None:
    array = np.asfortranarray(rows) if order == "F" else rows
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "x.npz", x=array, labels=np.arange(11))
    graph = network(*DYNAMIC)
    samples = samples_of(tmp_path / "x.npz", graph)
    batches = list(samples.batches(size))
    assert samples.count == 11
    assert samples.labels is not None
    np.testing.assert_array_equal(samples.labels, np.arange(11))
    assert max(len(b["x"]) for b in batches) <= size
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in batches]), rows)


def test_a_fixed_batch_is_kept_and_a_remainder_refused(rows: Array) -> None:
    graph = network("float[2,4] x", DYNAMIC[1], "float[2,3] y")
    assert [len(b["x"]) for b in collect(graph, rows[:10], 64)] == [2] * 5
    with pytest.raises(snnc.CompileError, match="exactly 2 at a time"):
        collect(graph, rows, 64)
    outputs = run(graph, samples_of(rows[:10], graph))
    assert outputs["y"].shape == (10, 3)


def test_a_model_without_a_batch_axis_takes_one_sample_at_a_time(rows: Array) -> None:
    graph = network("float[4] x", DYNAMIC[1], "float[3] y")
    samples = samples_of(rows, graph)
    assert samples.single
    assert [b["x"].shape for b in samples.batches(64)] == [(4,)] * 11
    assert run(graph, samples)["y"].shape == (11, 3)
    assert evaluate(graph, graph, samples).agreement == 1.0


def test_a_scalar_input_has_one_value_a_sample(rows: Array) -> None:
    graph = network("float[n,4] x, float s", "{ p = MatMul (x, w) y = Mul (p, s) }", DYNAMIC[2])
    scales = np.arange(11, dtype=np.float32)
    outputs = run(graph, samples_of({"x": rows, "s": scales}, graph))["y"]
    weight = np.arange(1, 13, dtype=np.float32).reshape(4, 3)
    np.testing.assert_allclose(outputs.reshape(11, 3), (rows @ weight) * scales[:, None], rtol=1e-5)


def test_samples_lie_along_the_axis_with_the_batch_symbol(rows: Array) -> None:
    body = "{ y = MatMul (x, w) z = Transpose <perm = [1, 0]> (y) }"
    graph = network("float[n,4] x", body, "float[3,n] z")
    assert run(graph, samples_of(rows, graph))["z"].shape == (3, 11)
    assert evaluate(graph, graph, samples_of(rows, graph)).samples == 11


def test_extra_arrays_are_no_mistake_but_a_missing_one_is(rows: Array) -> None:
    graph = network(*DYNAMIC)
    assert collect(graph, {"x": rows, "f0": np.zeros(11)}, 64)
    assert collect(graph, {"pictures": rows, "labels": np.zeros(11, np.int64)}, 64)
    with pytest.raises(snnc.CompileError, match="has no array for input 'x'"):
        collect(graph, {"a": rows, "b": rows}, 64)
    two = network("float[n,4] x, float[n,3] b", "{ p = MatMul (x, w) y = Add (p, b) }", DYNAMIC[2])
    with pytest.raises(snnc.CompileError, match="one array cannot serve"):
        collect(two, rows, 64)
    with pytest.raises(snnc.CompileError, match="differ in their number of samples"):
        collect(two, {"x": rows, "b": rows[:5, :3]}, 64)


def test_labels_decide_the_accuracy(rows: Array) -> None:
    graph = network(*DYNAMIC)
    truth = run(graph, samples_of(rows, graph))["y"].argmax(axis=1)
    right = evaluate(graph, graph, samples_of({"x": rows, "labels": truth}, graph))
    assert (right.ann_top1, right.snn_top1) == (1.0, 1.0)
    wrong = evaluate(graph, graph, samples_of({"x": rows, "labels": (truth + 1) % 3}, graph))
    assert wrong.ann_top1 == 0.0
    unknown = evaluate(graph, graph, samples_of({"x": rows}, graph))
    assert unknown.ann_top1 is None


def test_a_damaged_file_is_refused(tmp_path: Path, rows: Array) -> None:
    graph = network(*DYNAMIC)
    path = tmp_path / "x.npz"
    np.savez(path, x=np.tile(rows, (20_000, 1)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(snnc.CompileError, match="is not a readable"):
        collect(graph, path, 64)
    damaged = bytearray(whole)
    damaged[-2000] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(snnc.CompileError, match="is damaged"):
        collect(graph, path, 64)
