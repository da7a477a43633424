"""`snnc check`: every operation has a fate, and what compile would refuse is refused here, too."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from onnx import ModelProto, save

import snnc
from snnc.cli import main
from tests.onnx_models import arrays, model

W = arrays(0, w=(4, 4), v=(4, 4))
UNKNOWN = {
    "h = MatMul(x, w) a = mine.Act(h) b = mine.Gate(a) y = MatMul(b, v)": ["Act#1", "Gate#2"],
    "h = MatMul(x, w) s = com.microsoft.Each<body = t () => (a) { a = Relu(x) }>(h)"
    " y = mine.Act(s)": ["Each#1", "Act#2"],
}


def rows(body: str) -> ModelProto:
    return model(
        f"g (float[N,4] x) => (float[N,4] y) {{ {body} }}",
        W,
        domains={"mine": 1, "com.microsoft": 1},
    )


def test_a_network_that_compiles_is_not_refused() -> None:
    coverage = snnc.check(rows("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)"))
    assert coverage.refusal is None
    assert coverage.sites == 1
    assert {e.fate for e in coverage.entries} == {"direct-coded", "spiking"}


@pytest.mark.parametrize("body", UNKNOWN)
def test_every_refused_node_is_named(body: str) -> None:
    coverage = snnc.check(rows(body))
    assert coverage.names("refused") == UNKNOWN[body]
    assert all(e.why and e.help for e in coverage.entries)
    assert coverage.refusal is not None
    assert "also refused: " in coverage.refusal.render()
    with pytest.raises(snnc.CompileError) as caught:
        snnc.compile(rows(body), calibration="random")
    assert caught.value.render() == coverage.refusal.render()


def test_nothing_to_convert_is_coverage_and_a_refusal() -> None:
    source = rows("y = Tanh(x)")
    coverage = snnc.check(source)
    assert [(e.op, e.fate) for e in coverage.entries] == [("Tanh", "analog")]
    assert coverage.refusal is not None
    with pytest.raises(snnc.CompileError) as caught:
        snnc.compile(source, calibration="random")
    assert caught.value.render() == coverage.refusal.render()


def test_many_refused_nodes_are_counted() -> None:
    body = " ".join(f"h{i} = mine.Act(x)" for i in range(6)) + " y = MatMul(h0, w)"
    coverage = snnc.check(rows(body))
    assert coverage.refusal is not None
    assert "'Act#1' (Act), 'Act#2' (Act), 'Act#3' (Act) and 2 more" in coverage.refusal.render()


@pytest.mark.parametrize("body", ["y = Tanh(x)", *UNKNOWN])
def test_the_command_prints_both_and_exits_with_1(body: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save(rows(body), path)
    runner = CliRunner()
    plain = runner.invoke(main, ["check", str(path)])
    assert plain.exit_code == 1
    assert plain.stderr.startswith("error: ")
    assert "analog" in plain.stdout or "refused" in plain.stdout
    document = json.loads(runner.invoke(main, ["check", str(path), "--json"]).stdout)
    assert document["refused"]["message"] in plain.stderr
    assert {o["fate"] for o in document["operations"]} <= {"analog", "refused"}


@pytest.mark.parametrize(
    ("dtype", "word"), [(22, None), (25, "UINT2"), (26, "INT2"), (23, "FLOAT4E2M1")]
)
def test_element_types_of_newer_opsets_are_refused_by_name(dtype: int, word: str | None) -> None:
    source = model(f"g (float[N,4] x) => (y) {{ y = Cast<to = {dtype}>(x) }}", opset=25)
    if word is None:
        assert snnc.check(source).entries
        return
    with pytest.raises(snnc.CompileError, match=f"numbers of type {word}, which came after"):
        snnc.check(source)


def test_what_a_newer_opset_did_not_change_is_taken_as_it_is() -> None:
    source = model("g (float[N,4,6] x) => (y) { y = GlobalMaxPool(x) }", opset=23, ir_version=11)
    assert [e.op for e in snnc.check(source).entries] == ["GlobalMaxPool"]


def test_weights_that_are_not_finite_are_a_refusal() -> None:
    source = rows("h = MatMul(x, w) r = Relu(h) y = MatMul(r, v)")
    bad = source.graph.initializer[0]
    bad.raw_data = b"\x00\x00\xc0\x7f" * 16
    refusal = snnc.check(source).refusal
    assert refusal is not None
    assert "holds NaN" in refusal.message
