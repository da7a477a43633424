"""If, Loop, Scan and sequences: folded, kept analog with all that they run, or refused."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

import snnc
from snnc.coverage import coverage_of
from snnc.errors import CompileError
from snnc.export import export
from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Body, Op
from snnc.ir.parse import parse_graph
from snnc.ir.text import format_graph
from snnc.ir.verify import verify
from snnc.passes.normalize import Normalize
from snnc.prepare import prepare
from snnc.runtime import Session
from tests.onnx_models import arrays, model, run_onnx

X = arrays(0, x=(3, 4))["x"]
TRUE, FALSE = np.array(True), np.array(False)

IF = """g (float[N,4] x, bool c) => (float[N,5] y) {
    h = MatMul(x, w0)
    b = If(c) <
        then_branch = t () => (float[N,4] a) { v = MatMul(h, w1) a = Relu(v) },
        else_branch = e () => (float[N,4] b) { b = Neg(h) }>
    y = MatMul(b, w2)
}"""
NESTED = """g (float[N,4] x, bool c, bool d) => (float[N,4] y) {
    h = Neg(x)
    y = If(c) <
        then_branch = t () => (float[N,4] a) {
            k = MatMul(x, w0)
            a = If(d) <
                then_branch = tt () => (float[N,4] aa) { aa = Add(k, h) },
                else_branch = te () => (float[N,4] ab) { ab = MatMul(k, w1) }>
        },
        else_branch = e () => (float[N,4] b) { b = Identity(h) }>
}"""
LOOP = """g (float[N,4] x, int64 n) => (float[N,4] y, float[K,N,4] z) {
    c = Constant<value = bool {1}>()
    y, z = Loop(n, c, x) <body = l (int64 i, bool ci, float[N,4] s) => (bool co, float[N,4] so,
        float[N,4] sn) { co = Identity(ci) m = MatMul(s, w0) so = Tanh(m) sn = Identity(so) }>
}"""
SCAN = """g (float[3,4] x) => (float[4] y, float[3,4] z) {
    i = Constant<value = float[4] {0, 0, 0, 0}>()
    y, z = Scan<num_scan_inputs = 1, body = l (float[4] s, float[4] e) => (float[4] so, float[4] o)
        { p = MatMul(e, w0) so = Add(s, p) o = Identity(so) }>(i, x)
}"""
FUNCTION = """<domain: "local", opset_import: ["" : 17]>
choose (x, c) => (y) {
    y = If(c) <then_branch = t () => (a) { a = Relu(x) }, else_branch = e () => (b) { b = Neg(x) }>
}"""
SQUARE = arrays(1, w0=(4, 4), w1=(4, 4), w2=(4, 5))
LARGE = arrays(2, w0=(4, 400), w1=(400, 4))

CASES: dict[str, tuple[ModelProto, list[dict[str, Array]]]] = {
    "if": (model(IF, SQUARE), [{"x": X, "c": TRUE}, {"x": X, "c": FALSE}]),
    "nested": (
        model(NESTED, {k: SQUARE[k] for k in ("w0", "w1")}),
        [{"x": X, "c": c, "d": d} for c in (TRUE, FALSE) for d in (TRUE, FALSE)],
    ),
    "loop": (
        model(LOOP, {"w0": SQUARE["w0"]}),
        [{"x": X, "n": np.array(n, np.int64)} for n in (0, 1, 5)],
    ),
    "scan": (model(SCAN, {"w0": SQUARE["w0"]}), [{"x": X}]),
    "old opset": (model(IF, SQUARE, opset=11), [{"x": X, "c": TRUE}, {"x": X, "c": FALSE}]),
    "function": (
        model(
            "g (float[N,4] x, bool c) => (float[N,4] y) { y = local.choose(x, c) }",
            domains={"local": 1},
            functions=FUNCTION,
        ),
        [{"x": X, "c": TRUE}, {"x": X, "c": FALSE}],
    ),
    "constants inside": (
        model(
            """g (float[N,4] x, bool c) => (float[N,4] y) {
            y = If(c) <
                then_branch = t () => (a) { k = Constant<value = float[4] {1, 2, 3, 4}>()
                    a = Add(x, k) },
                else_branch = e () => (b) { k = Constant<value_float = 2.0>() b = Mul(x, k) }>
            }"""
        ),
        [{"x": X, "c": TRUE}, {"x": X, "c": FALSE}],
    ),
    "large weights": (
        model(
            """g (float[N,4] x, bool c) => (float[N,4] y) {
            y = If(c) <then_branch = t () => (a) { h = MatMul(x, w0) a = MatMul(h, w1) },
                else_branch = e () => (b) { b = Neg(x) }> }""",
            LARGE,
        ),
        [{"x": X, "c": TRUE}, {"x": X, "c": FALSE}],
    ),
}


def outputs(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    return Session(graph, optimize=False).run(feeds)


def assert_equal(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("name", CASES)
def test_the_graph_computes_what_the_model_does(name: str) -> None:
    source, samples = CASES[name]
    graph = load(source)
    assert any(isinstance(n, Op) and n.bodies for n in graph.nodes)
    for feeds in samples:
        assert_equal(outputs(graph, feeds), run_onnx(source, feeds))
        assert_equal(outputs(Normalize()(graph), feeds), run_onnx(source, feeds))


@pytest.mark.parametrize("name", CASES)
def test_text_and_file_give_the_graph_back(name: str) -> None:
    source, samples = CASES[name]
    graph = load(source)
    assert parse_graph(format_graph(graph), graph.consts) == graph
    again = load(export(graph).model)
    assert format_graph(load(export(again).model)) == format_graph(again)
    for feeds in samples:
        assert_equal(outputs(again, feeds), outputs(graph, feeds))
    ops = [n.op_type for n in graph.nodes if isinstance(n, Op)]
    assert [n.op_type for n in again.nodes if isinstance(n, Op)] == ops
    locs = [n.loc for n in graph.nodes]
    assert [n.loc for n in again.nodes] == locs


def test_a_body_reads_nothing_unseen() -> None:
    graph = load(CASES["nested"][0])
    (op,) = (n for n in graph.nodes if isinstance(n, Op) and n.bodies)
    assert set(op.inputs) >= {"c", "d", "x", "h", "w0", "w1"}
    for body in op.bodies.values():
        assert body.graph.consts == {}
        assert len(body.graph.inputs) == body.captures


@pytest.mark.parametrize("condition", [TRUE, FALSE])
@pytest.mark.parametrize("name", ["if", "nested"])
def test_a_constant_condition_is_folded(name: str, condition: Array) -> None:
    source, samples = CASES[name]
    proto = ModelProto()
    proto.CopyFrom(source)
    fixed = {"c": condition, "d": condition}
    for value in [v for v in proto.graph.input if v.name in fixed]:
        proto.graph.input.remove(value)
        proto.graph.initializer.append(numpy_helper.from_array(condition, value.name))
    graph = Normalize()(load(proto))
    assert not any(isinstance(n, Op) and n.bodies for n in graph.nodes)
    feeds = {"x": samples[0]["x"]}
    assert_equal(outputs(graph, feeds), run_onnx(proto, feeds))
    verify(graph, Stage.ANN)


def test_a_condition_on_a_static_shape_is_folded() -> None:
    source = model(
        """g (float[N,4,1] x) => (y) {
        s = Shape(x) two = Constant<value_ints = [2]>() d = Gather(s, two)
        one = Constant<value_ints = [1]>() c = Equal(d, one)
        y = If(c) <then_branch = t () => (a) { a = Squeeze(x, two) },
            else_branch = e () => (b) { b = Identity(x) }> }"""
    )
    graph = Normalize()(load(source))
    assert [n.op_type for n in graph.nodes if isinstance(n, Op)] == ["Squeeze"]
    feeds = {"x": X[..., None]}
    assert_equal(outputs(graph, feeds), run_onnx(source, feeds))


def test_what_a_branch_runs_is_listed() -> None:
    _, sited = prepare(CASES["if"][0])
    coverage = coverage_of(sited)
    fates = {e.name: (e.fate, e.why) for e in coverage.entries}
    assert fates["If#1"] == ("analog", "control flow: what it runs stays real")
    assert fates["If#1/MatMul#0"] == ("analog", "inside If 'If#1'")
    assert fates["If#1/Neg#0"] == ("analog", "inside If 'If#1'")
    assert fates["MatMul#2"] == ("spiking", "")
    assert coverage.uncounted == ("If#1",)


def test_layers_that_all_lie_in_branches_ask_for_a_fixed_input() -> None:
    refusal = snnc.check(CASES["large weights"][0]).refusal
    assert refusal is not None
    assert refusal.help is not None
    assert refusal.help.startswith("layers lie inside If 'If#0': ")


def test_a_branch_that_only_moves_numbers_is_layout() -> None:
    source = model(
        """g (float[N,4] x, bool c) => (float[?,?] y) { h = MatMul(x, w0)
        f = If(c) <then_branch = t () => (float[?,?] a) { a = Transpose<perm = [1, 0]>(h) },
            else_branch = e () => (float[?,?] b) { b = Identity(h) }>
        y = MatMul(f, w1) }""",
        {k: SQUARE[k] for k in ("w0", "w1")},
    )
    _, sited = prepare(source)
    coverage = coverage_of(sited)
    assert {e.name: e.fate for e in coverage.entries}["If#1"] == "layout"
    assert coverage.uncounted == ()


def test_a_network_with_control_flow_compiles(tmp_path: Path) -> None:
    source, samples = CASES["if"]
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((64, 4)).astype(np.float32), "c": rng.random(64) < 0.5}
    network = snnc.compile(source, calibration=data, scale=0.02)
    network.save(tmp_path / "if.onnx")
    saved = load(tmp_path / "if.onnx")
    for feeds in samples:
        wanted = run_onnx(source, feeds)["y"]
        found = outputs(network.graph, feeds)["y"]
        assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)
        np.testing.assert_array_equal(run_onnx(tmp_path / "if.onnx", feeds)["y"], found)
    assert format_graph(saved).count("body then_branch") == 1


def test_verify_looks_into_bodies() -> None:
    graph = load(CASES["if"][0])

    def broken(change: Body) -> Graph:
        nodes = tuple(
            n
            if not (isinstance(n, Op) and n.bodies)
            else Op(n.outputs, n.inputs, n.loc, n.op_type, {**n.attrs, "then_branch": change})
            for n in graph.nodes
        )
        return Graph(graph.name, graph.inputs, graph.outputs, nodes, graph.types, graph.consts)

    (body,) = (n.bodies["then_branch"] for n in graph.nodes if isinstance(n, Op) and n.bodies)
    inner = body.graph
    for change, message in (
        (Body(inner, 99), "capture 99"),
        (Body(Graph("t", (), inner.outputs, inner.nodes, inner.types, {}), 0), "read before"),
        (Body(Graph("t", inner.inputs, (), (), inner.types, {"k": X}), body.captures), "only"),
    ):
        with pytest.raises(CompileError, match=message):
            verify(broken(change), Stage.ANN)


def test_scan_of_opset_8_is_refused() -> None:
    source = model(
        """g (float[1,3,4] x) => (float[1,4] y, float[1,3,4] z) {
        y, z = Scan<num_scan_inputs = 1, body = l (float[4] s, float[4] e) =>
            (float[4] so, float[4] o) { so = Add(s, e) o = Identity(so) }>(none, i, x) }""",
        {"i": np.zeros((1, 4), np.float32), "none": np.array([3])},
        opset=8,
    )
    with pytest.raises(CompileError, match="Scan of opset 8"):
        load(source)


# --- Sequences ----------------------------------------------------------------------------------

SEQUENCES = {
    "unbind": "s = SplitToSequence<axis = 1, keepdims = 0>(x) y = SequenceAt(s, two)",
    "unbind from the end": "s = SplitToSequence<axis = 1, keepdims = 0>(x) y = SequenceAt(s, last)",
    "single rows": "s = SplitToSequence<axis = 0>(x) y = SequenceAt(s, two)",
    "last row": "s = SplitToSequence<axis = 0>(x) y = SequenceAt(s, last)",
    "chunks": "s = SplitToSequence<axis = 1>(x, two) y = SequenceAt(s, one)",
    "sizes": "s = SplitToSequence<axis = 1>(x, sizes) y = SequenceAt(s, last)",
    "first size": "s = SplitToSequence<axis = -1>(x, sizes) y = SequenceAt(s, zero)",
    "built": "n = Neg(x) s = SequenceConstruct(x, n) y = SequenceAt(s, one)",
    "concatenated": "n = Neg(x) s = SequenceConstruct(x, n) y = ConcatFromSequence<axis = 1>(s)",
    "stacked": (
        "n = Neg(x) s = SequenceConstruct(x, n) y = ConcatFromSequence<axis = 1, new_axis = 1>(s)"
    ),
}
POSITIONS = {
    "zero": np.array(0),
    "one": np.array(1),
    "two": np.array(2),
    "last": np.array(-1),
    "sizes": np.array([1, 3]),
}


@pytest.mark.parametrize("opset", [11, 17, 21])
@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_are_taken_apart(name: str, opset: int) -> None:
    body = SEQUENCES[name]
    used = {key: value for key, value in POSITIONS.items() if f"{key})" in body}
    source = model(f"g (float[3,4] x) => (y) {{ {body} }}", used, opset=opset)
    graph = load(source)
    assert_equal(outputs(graph, {"x": X}), run_onnx(source, {"x": X}))
    last = source.graph.node[-1].op_type
    assert graph.nodes[-1].loc.names == (f"{last}#{len(source.graph.node) - 1}",)


def test_a_position_that_is_computed_is_refused() -> None:
    source = model(
        "g (float[3,4] x, int64 i) => (y) { s = SplitToSequence<axis = 1>(x, two)"
        " y = SequenceAt(s, i) }",
        {"two": np.array(2)},
    )
    with pytest.raises(CompileError, match="not a tensor"):
        load(source)


# --- Names inside and outside -------------------------------------------------------------------


def test_sizes_that_inference_names_alike_inside_and_outside_are_not_one() -> None:
    source = model(
        """g (float[N,4] x) => (y) { a = Compress<axis = 0>(x, one)
        b = If(true) <then_branch = t () => (c) { c = Compress<axis = 0>(x, two) },
            else_branch = e () => (d) { d = Neg(x) }>
        s = Shape(b) e = Expand(a, s) y = Neg(e) }""",
        {"true": TRUE, "one": np.array([True, False, False]), "two": np.array([True, True, True])},
    )
    graph = load(source)
    for form in (graph, Normalize()(graph)):
        assert_equal(outputs(form, {"x": X}), run_onnx(source, {"x": X}))


def test_nodes_of_one_name_inside_a_body_keep_their_own_graphs() -> None:
    inner = (
        "If(d) <then_branch = {0} () => ({0}a) {{ {0}a = {1}(x) }},"
        " else_branch = {0}e () => ({0}b) {{ {0}b = {2}(x) }}>"
    )
    source = model(
        f"""g (float[N,4] x, bool c, bool d) => (y) {{
        y = If(c) <then_branch = t () => (s) {{ p = {inner.format("p1", "Neg", "Abs")}
            q = {inner.format("q1", "Exp", "Sin")} s = Add(p, q) }},
            else_branch = e () => (z) {{ z = Identity(x) }}> }}"""
    )
    wanted = [run_onnx(source, {"x": X, "c": TRUE, "d": d}) for d in (TRUE, FALSE)]
    for node in source.graph.node[0].attribute[0].g.node[:2]:
        node.name = "same"
    graph = load(source)
    for d, expected in zip((TRUE, FALSE), wanted, strict=True):
        assert_equal(outputs(graph, {"x": X, "c": TRUE, "d": d}), expected)


def test_what_expansion_names_alike_inside_and_outside_stays_apart() -> None:
    source = model(
        """g (float[N,4] x, bool c) => (y) { h = Swish(x)
        y = If(c) <then_branch = t () => (a) { a = Swish(h) },
            else_branch = e () => (b) { b = Neg(h) }> }""",
        opset=24,
        ir_version=11,
    )
    graph = load(source)
    for c in (TRUE, FALSE):
        found = Session(graph).run({"x": X, "c": c})["y"]
        h = X / (1 + np.exp(-X))
        wanted = h / (1 + np.exp(-h)) if c else -h
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_state_that_starts_from_a_constant_keeps_its_type() -> None:
    source = model(
        LOOP.replace("Loop(n, c, x)", "Loop(n, c, start)"), {"w0": SQUARE["w0"], "start": X}
    )
    (attribute,) = (a for n in source.graph.node for a in n.attribute if a.name == "body")
    attribute.g.input[2].ClearField("type")
    feeds = {"x": X, "n": np.array(2, np.int64)}
    assert outputs(load(source), feeds)["y"].shape == (3, 4)
