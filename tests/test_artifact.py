"""The ONNX artifact: what stock onnxruntime, onnx and our own frontend make of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import snnc
from snnc.backends.onnx_model import save_onnx
from snnc.ir.node import Node, Op
from snnc.ir.parse import parse_graph
from snnc.ir.text import format_graph
from snnc.runtime import Session
from tests.conftest import DATA, held_out_path, model_path

Compiled = Callable[[str], snnc.SpikingNetwork]


@pytest.fixture(params=DATA)
def saved(request: pytest.FixtureRequest, compiled: Compiled, tmp_path: Path) -> tuple[str, Path]:
    path = tmp_path / "out.onnx"
    compiled(request.param).save(path)
    return request.param, path


def stock_session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_stock_onnxruntime_runs_it(saved: tuple[str, Path], compiled: Compiled) -> None:
    name, path = saved
    network = compiled(name)
    with np.load(held_out_path(name)) as arrays:
        feeds = {i: arrays[i][:7] for i in network.graph.inputs}
    session = stock_session(path)
    outputs = session.run(None, feeds)
    expected = Session(network.graph).run(feeds)
    for info, value in zip(session.get_outputs(), outputs, strict=True):
        np.testing.assert_array_equal(value, expected[info.name])


def test_it_passes_the_checker_and_old_runtimes_can_load_it(saved: tuple[str, Path]) -> None:
    _, path = saved
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path))
    assert model.ir_version <= 10
    assert {o.domain: o.version for o in model.opset_import}[""] <= 21
    assert {o.version for o in model.opset_import if o.domain == "ai.snnc"} == {1}
    inside = [node for function in model.functions for node in function.node]
    own = {n.op_type for n in (*model.graph.node, *inside) if n.domain == "ai.snnc"}
    assert own
    assert own == {f.name for f in model.functions if f.domain == "ai.snnc"}
    standard = {schema.name for schema in onnx.defs.get_all_schemas()}
    assert not own & standard


def test_names_types_order_and_dynamic_axes_are_the_originals(saved: tuple[str, Path]) -> None:
    name, path = saved
    before, after = (onnx.load(str(p)).graph for p in (model_path(name), path))
    for mine, theirs in ((after.input, before.input), (after.output, before.output)):
        assert [v.name for v in mine] == [v.name for v in theirs]
        for new, old in zip(mine, theirs, strict=True):
            new_type, old_type = new.type.tensor_type, old.type.tensor_type
            assert new_type.elem_type == old_type.elem_type
            dims = zip(new_type.shape.dim, old_type.shape.dim, strict=True)
            assert all(a.dim_value == b.dim_value for a, b in dims)


def test_the_frontend_reads_back_what_was_written(
    saved: tuple[str, Path], compiled: Compiled
) -> None:
    name, path = saved
    graph = compiled(name).graph
    again = snnc.load(path)
    assert again.source == path.name
    assert parse_graph(format_graph(again), again.consts) == again
    same = [[replace(g, source="", nodes=tuple(map(plain, g.nodes)))] for g in (again, graph)]
    assert same[0] == same[1]


def plain(node: Node) -> Node:
    """A node without attributes that have their default, and with the operands of a sum sorted."""
    if not isinstance(node, Op):
        return node
    attrs = {key: value for key, value in node.attrs.items() if value != "NOTSET"}
    inputs = tuple(sorted(node.inputs)) if node.op_type == "Add" else node.inputs
    return replace(node, attrs=attrs, inputs=inputs)


def test_the_original_is_never_touched(compiled: Compiled, tmp_path: Path) -> None:
    before = model_path("digits_cnn").read_bytes()
    compiled("digits_cnn").save(tmp_path / "out.onnx")
    assert model_path("digits_cnn").read_bytes() == before


def test_large_weights_go_to_a_file_beside_the_model(compiled: Compiled, tmp_path: Path) -> None:
    network = compiled("digits_vit")
    plain, large = tmp_path / "plain.onnx", tmp_path / "large.onnx"
    save_onnx(network.graph, plain)
    save_onnx(network.graph, large, limit=1000)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "large.onnx",
        "large.onnx.data",
        "plain.onnx",
    ]
    assert large.stat().st_size < plain.stat().st_size / 2
    feeds = {"input": np.random.default_rng(0).random((3, 1, 8, 8), np.float32)}
    outputs = [stock_session(p).run(None, feeds)[0] for p in (plain, large)]
    np.testing.assert_array_equal(*outputs)
    assert replace(snnc.load(large), source=network.graph.source) == network.graph


def test_a_failed_write_leaves_the_old_file(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.onnx"
    path.write_bytes(b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save", full)
    with pytest.raises(snnc.CompileError, match=r"cannot write .* No space left on device"):
        compiled("digits_cnn").save(path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]


def test_a_defect_of_ours_is_called_one(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(*_: object, **__: object) -> None:
        raise onnx.checker.ValidationError("bad node")

    monkeypatch.setattr(onnx.checker, "check_model", reject)
    with pytest.raises(snnc.CompileError, match=r"does not pass onnx\.checker: bad node"):
        compiled("digits_cnn").save(tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_neuron_parameters_and_origins_are_in_the_file(compiled: Compiled, tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    compiled("digits_cnn").save(path)
    model = onnx.load(str(path))
    neurons = [n for n in model.graph.node if n.op_type.startswith("Sfn")]
    assert neurons
    for node in neurons:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert attributes["model"] == b"sfn"
        assert attributes["M"] == 8
        assert attributes["rule"] == b"nearest"
        assert attributes["spikes"] > 0
    assert all(
        any(p.key == "ai.snnc.loc" and p.value for p in node.metadata_props)
        for node in model.graph.node
    )
