"""--verify: a rule that changes what the network computes is caught, rounding is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import ModelProto

import snnc
from snnc.cli import main
from snnc.errors import CompileError
from snnc.frontend import load
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Node, Op
from snnc.passes import normalize
from snnc.passes.normalize import Normalize
from snnc.passes.normalize.equivalence import Equivalence, difference
from tests.conftest import calibration_path, model_path
from tests.onnx_models import EXAMPLES, arrays, model

NETWORK = model(
    "g (float[N,6] x) => (float[N,4] y) { a = MatMul(x, w) h = Gelu(a) y = MatMul(h, v) }",
    arrays(1, w=(6, 8), v=(8, 4)),
    opset=20,
)


def rewriting(op_type: str, change: Callable[[Op], Op]) -> Callable[[Graph], Graph]:
    """A rule that changes every operation of a type (once: the changed one has `changed` set)."""

    def the_wrong_rule(graph: Graph) -> Graph:
        def rule(node: Node) -> Replacement | None:
            if isinstance(node, Op) and node.op_type == op_type and node != change(node):
                return Replacement((change(node),))
            return None

        return graph.rewrite(rule)

    return the_wrong_rule


WRONG = {
    "another function": ("Gelu", lambda op: replace(op, op_type="Relu", attrs={})),
    "the other form of gelu": ("Gelu", lambda op: replace(op, attrs={"approximate": "tanh"})),
    "no function": ("Gelu", lambda op: replace(op, op_type="Identity", attrs={})),
}


@pytest.mark.parametrize(("op_type", "change"), WRONG.values(), ids=WRONG)
def test_a_wrong_rule_is_caught(
    op_type: str, change: Callable[[Op], Op], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(normalize, "RULES", (rewriting(op_type, change),))
    graph = load(NETWORK)
    Normalize()(graph)
    with pytest.raises(CompileError) as raised:
        Normalize(verify=True)(graph)
    text = str(raised.value)
    assert "the rule the-wrong-rule changes output 'y': by " in text
    assert "Gelu ->" in text or "nothing -> nothing" in text
    assert "report it" in text


def test_a_wrong_shape_is_caught() -> None:
    graph = load(NETWORK)
    last = graph.nodes[-1]
    assert isinstance(last, Op)
    narrow = {**graph.consts, "narrow": np.ones((8, 3), np.float32)}
    wrong = replace(
        graph, nodes=(*graph.nodes[:-1], replace(last, inputs=("h", "narrow"))), consts=narrow
    )
    equivalence = Equivalence(graph)
    wrong = replace(wrong, types={**wrong.types, "y": replace(wrong.types["y"], shape=None)})
    with pytest.raises(CompileError, match=r"float32\[2, 4\] became float32\[2, 3\]"):
        equivalence.check(wrong, "rule")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_rules_pass_on_the_examples(path: Path) -> None:
    graph = load(path)
    assert Normalize(verify=True)(graph) == Normalize()(graph)


def classifier(weights: dict[str, Array]) -> ModelProto:
    return model(
        "g (float[N,6] x) => (int64[N] label) { a = MatMul(x, w) h = Relu(a) s = MatMul(h, v)"
        " label = ArgMax<axis = 1, keepdims = 0>(s) }",
        weights,
    )


def test_a_label_may_change_where_its_scores_tie() -> None:
    weights = arrays(2, w=(6, 8), v=(8, 4))
    weights["v"][:, 1] = weights["v"][:, 0]
    graph = load(classifier(weights))
    nudged = weights["v"].copy()
    nudged[:, 1] *= np.float32(1 + 2e-7)
    equivalence = Equivalence(graph)
    equivalence.check(replace(graph, consts={**graph.consts, "v": nudged}), "rule")


def test_a_label_may_not_change_otherwise() -> None:
    weights = arrays(2, w=(6, 8), v=(8, 4))
    graph = load(classifier(weights))
    equivalence = Equivalence(graph)
    other = replace(graph, consts={**graph.consts, "v": weights["v"][:, ::-1].copy()})
    with pytest.raises(CompileError, match=r"'label': [0-9.]+ of its entries"):
        equivalence.check(other, "rule")


def test_a_label_decided_in_another_way_may_not_change() -> None:
    """Even at a tie: the steps from the scores to the label are not the same."""
    weights = arrays(2, w=(6, 8), v=(8, 4))
    weights["v"][:, 1] = weights["v"][:, 0]
    graph = load(classifier(weights))
    *rest, last = graph.nodes
    assert isinstance(last, Op)
    attrs = {**last.attrs, "select_last_index": 1}
    equivalence = Equivalence(graph)
    with pytest.raises(CompileError, match="label"):
        equivalence.check(replace(graph, nodes=(*rest, replace(last, attrs=attrs))), "rule")


def cancelling(offset: float) -> Graph:
    """(x w + offset) - offset: an offset of 1e4 costs four of seven digits."""
    text = "g (float[N,6] x) => (float[N,4] y) { a = MatMul(x, w) b = Add(a, big) y = Sub(b, big) }"
    weights = {**arrays(3, w=(6, 4)), "big": np.full(4, offset, np.float32)}
    return load(model(text, weights))


def without_offset(graph: Graph) -> Graph:
    product = graph.nodes[0]
    return replace(graph, nodes=(replace(product, outputs=("y",)),)).pruned()


def test_a_network_that_exaggerates_rounding_is_forgiven() -> None:
    graph = cancelling(1e4)
    equivalence = Equivalence(graph)
    equivalence.check(without_offset(graph), "rule")


def test_a_network_that_exaggerates_rounding_is_not_forgiven_everything() -> None:
    graph = cancelling(1e4)
    equivalence = Equivalence(graph)
    wrong = {**graph.consts, "big": np.array([1e4, 1e4, 1e4, 1e4 + 1], np.float32)}
    shifted = replace(graph, consts={**wrong, "other": graph.consts["big"]})
    nodes = list(graph.nodes)
    nodes[2] = replace(nodes[2], inputs=("b", "other"))
    with pytest.raises(CompileError, match="changes output 'y'"):
        equivalence.check(replace(shifted, nodes=tuple(nodes)), "rule")


DIFFERENCES = {
    "same": ([1.0, 2.0], [1.0, 2.0], 0.0),
    "relative to the largest": ([1.0, -4.0], [1.5, -4.0], 0.125),
    "not a number": ([np.nan, 1.0], [np.nan, 1.0], 0.0),
    "infinities": ([np.inf, -np.inf, 1.0], [np.inf, -np.inf, 1.0], 0.0),
    "the other infinity": ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
    "no longer finite": ([2.0, 1.0], [np.inf, 1.0], np.inf),
    "no longer infinite": ([np.inf, 1.0], [3e38, 1.0], np.inf),
    "a number that was none": ([np.nan, 1.0], [0.0, 1.0], np.inf),
    "nothing": ([], [], 0.0),
    "zeros": ([0.0, 0.0], [0.0, 0.0], 0.0),
    "zeros that became something": ([0.0, 0.0], [0.0, 1.0], np.inf),
}


@pytest.mark.parametrize(("before", "after", "wanted"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_the_size_of_a_difference(before: list[float], after: list[float], wanted: float) -> None:
    a, b = (np.array(values, np.float32) for values in (before, after))
    assert difference(a, b) == wanted


def test_the_size_of_a_difference_of_integers() -> None:
    assert difference(np.arange(4), np.array([0, 1, 2, 4])) == 0.25
    assert difference(np.array([True, False]), np.array([True, False])) == 0.0


def test_a_network_that_draws_random_numbers_cannot_be_verified() -> None:
    text = "g (float[N,6] x) => (float[N,6] y) { r = RandomNormalLike(x) y = Add(x, r) }"
    with pytest.raises(CompileError, match="random numbers cannot be verified") as raised:
        Normalize(verify=True)(load(model(text)))
    assert "without --verify" in str(raised.value)


def test_a_network_that_does_not_run_cannot_be_verified() -> None:
    text = "g (float[N,T] x) => (float[N,3] y) { y = MatMul(x, w) }"
    with pytest.raises(CompileError, match="cannot be verified") as raised:
        Normalize(verify=True)(load(model(text, arrays(1, w=(777, 3)))))
    assert "random data of no common size" in str(raised.value)
    assert "onnxruntime" in str(raised.value)


def test_sizes_at_which_nothing_is_computed_are_passed_over() -> None:
    """32 columns less 40 leave none to multiply; 64 less 40 leave 24."""
    text = (
        "g (float[N,T] x) => (float[N,3] y)"
        " { s = Slice(x, skip, end, axis) u = Unsqueeze(s, last) a = MatMul(u, w)"
        " y = ReduceSum<keepdims = 0>(a, axis) }"
    )
    weights = {
        **arrays(1, w=(1, 3)),
        "skip": np.array([40]),
        "end": np.array([1000]),
        "axis": np.array([1]),
        "last": np.array([2]),
    }
    graph = load(model(text, weights))
    equivalence = Equivalence(graph)
    wrong = {**graph.consts, "w": np.ones((1, 3), np.float32)}
    with pytest.raises(CompileError, match="changes output 'y'"):
        equivalence.check(replace(graph, consts=wrong), "rule")


def test_check_says_that_it_verified() -> None:
    path = str(model_path("digits_cnn"))
    shown = CliRunner().invoke(main, ["check", path, "--verify"])
    assert shown.exit_code == 0
    assert "no rewriting changes an output on random data" in shown.output
    found = json.loads(CliRunner().invoke(main, ["check", path, "--verify", "--json"]).stdout)
    assert found["verified"] is True
    assert "verified" not in CliRunner().invoke(main, ["check", path]).output


def test_compile_verifies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = rewriting("Relu", lambda op: replace(op, op_type="Abs"))
    monkeypatch.setattr(normalize, "RULES", (*normalize.RULES, wrong))
    arguments = ["compile", str(model_path("digits_cnn")), "--calibration"]
    arguments += [str(calibration_path("digits_cnn")), "-o", str(tmp_path / "o.onnx"), "--verify"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "the rule the-wrong-rule changes output 'logits'" in result.stderr
    assert not (tmp_path / "o.onnx").exists()
    with pytest.raises(CompileError, match="the-wrong-rule"):
        snnc.compile(
            model_path("digits_cnn"), calibration=calibration_path("digits_cnn"), verify=True
        )
