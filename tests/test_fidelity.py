"""Agreement of two networks: the running score, the output that counts, and how to compare it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.errors import CompileError
from snnc.fidelity import Agreement, measure_of, primary_output
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Dim, Loc, Op, Type, real

Shape = tuple[Dim, ...]


def agreement(*batches: tuple[Array, Array]) -> Agreement:
    score = Agreement()
    for mine, theirs in batches:
        score.update(mine, theirs)
    return score


# --- the running score --------------------------------------------------------------------------


def test_argmax_is_the_share_of_equal_decisions() -> None:
    mine = np.array([[1.0, 2.0, 0.0], [5.0, 1.0, 1.0], [0.0, 0.1, 0.2], [3.0, 2.0, 1.0]])
    theirs = np.array([[0.0, 9.0, 1.0], [1.0, 5.0, 1.0], [0.0, 0.1, 7.0], [3.0, 2.0, 1.0]])
    score = agreement((mine, theirs))
    assert score.samples == 4
    assert score.argmax == score.value("argmax") == 0.75


def test_first_of_equal_entries_decides() -> None:
    score = agreement((np.array([[1.0, 1.0]]), np.array([[2.0, 1.0]])))
    assert score.argmax == 1.0
    score = agreement((np.array([[1.0, 1.0]]), np.array([[1.0, 2.0]])))
    assert score.argmax == 0.0


@pytest.mark.parametrize(
    ("mine", "theirs", "cosine"),
    [
        ([1.0, 0.0], [3.0, 0.0], 1.0),
        ([1.0, 0.0], [-3.0, 0.0], -1.0),
        ([1.0, 0.0], [0.0, 2.0], 0.0),
        ([3.0, 4.0], [4.0, 3.0], 0.96),
        ([0.0, 0.0], [0.0, 0.0], 1.0),
        ([0.0, 0.0], [1.0, 0.0], 0.0),
        ([1.0, 0.0], [0.0, 0.0], 0.0),
        ([1e30, 0.0], [1e-30, 0.0], 1.0),
    ],
)
def test_cosine_of_one_sample(mine: list[float], theirs: list[float], cosine: float) -> None:
    score = agreement((np.array([mine], np.float32), np.array([theirs], np.float32)))
    assert score.cosine == score.value("cosine") == pytest.approx(cosine, abs=1e-7)


def test_cosine_is_the_mean_over_samples_not_of_all_entries() -> None:
    mine = np.array([[1.0, 0.0], [100.0, 0.0]])
    theirs = np.array([[1.0, 0.0], [0.0, 100.0]])
    assert agreement((mine, theirs)).cosine == 0.5


def test_tensors_are_compared_sample_by_sample_but_decide_nothing() -> None:
    mine = np.zeros((2, 3, 4))
    mine[0, 1, 2] = mine[1, 0, 3] = 1
    theirs = mine.copy()
    theirs[1] *= -1
    score = agreement((mine, theirs))
    assert (score.samples, score.argmax, score.cosine) == (2, None, 0.0)
    flat = agreement((mine.reshape(2, 12, 1, 1), theirs.reshape(2, 12, 1, 1)))
    assert flat.argmax == 0.5


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_batches_do_not_matter(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    mine, theirs = (rng.integers(-2, 3, (sum(sizes), 4)).astype(np.float64) for _ in range(2))
    ends = np.cumsum(sizes)[:-1]
    split = agreement(*zip(np.split(mine, ends), np.split(theirs, ends), strict=True))
    whole = agreement((mine, theirs))
    assert (split.samples, split.argmax) == (whole.samples, whole.argmax)
    assert split.cosine == pytest.approx(whole.cosine, abs=1e-12)
    assert agreement((theirs, mine)).value("cosine") == pytest.approx(whole.cosine, abs=1e-12)
    same = agreement((mine, mine))
    assert same.argmax == 1.0
    assert same.cosine == pytest.approx(1.0)


# --- which output -------------------------------------------------------------------------------


def op(op_type: str, output: str, *inputs: str) -> Op:
    return Op((output,), inputs, Loc((f"/{output}",)), op_type)


def graph_of(
    nodes: list[Op], shapes: dict[str, Shape | None], *outputs: str, integers: tuple[str, ...] = ()
) -> Graph:
    """Values without a shape are constants; the first value is the input."""
    types: dict[str, Type] = {
        name: real("int64" if name in integers else "float32", shape)
        for name, shape in shapes.items()
    }
    read = {name for node in nodes for name in node.inputs}
    computed = {name for node in nodes for name in node.outputs}
    consts = {name: np.ones((2, 2), np.float32) for name in read - computed - {"x"}}
    return Graph("g", ("x",), outputs, tuple(nodes), types, consts)


def classifier() -> Graph:
    """Scores, then probabilities and a label from them."""
    shapes: dict[str, Shape | None] = dict.fromkeys(("x", "scores", "probabilities"), ("N", 3))
    return graph_of(
        [
            op("Gemm", "scores", "x", "w"),
            op("Softmax", "probabilities", "scores"),
            op("ArgMax", "label", "probabilities"),
        ],
        shapes | {"label": ("N",)},
        "label",
        "scores",
        "probabilities",
        integers=("label",),
    )


def test_primary_output_is_the_deepest_of_real_numbers() -> None:
    assert primary_output(classifier()) == "probabilities"


def test_depth_is_the_longest_way_from_an_input() -> None:
    """The pooled embedding is deeper than the token embeddings, though listed first."""
    graph = graph_of(
        [
            op("MatMul", "tokens", "x", "w"),
            op("Relu", "side", "x"),
            op("ReduceMean", "pooled", "tokens"),
            op("Add", "both", "pooled", "side"),
        ],
        dict.fromkeys(("x", "tokens", "side", "pooled", "both"), ("N", 3)),
        "side",
        "both",
        "tokens",
        "pooled",
    )
    assert primary_output(graph) == "both"


def test_first_listed_of_equally_deep_outputs() -> None:
    shapes: dict[str, Shape | None] = dict.fromkeys(("x", "a", "b"), ("N", 3))
    nodes = [op("Relu", "a", "x"), op("Tanh", "b", "x")]
    assert primary_output(graph_of(nodes, shapes, "b", "a")) == "b"
    assert primary_output(graph_of(nodes, shapes, "a", "b")) == "a"


def test_without_real_outputs_the_first_one_counts() -> None:
    graph = graph_of(
        [op("ArgMax", "label", "x"), op("ArgMin", "least", "x")],
        {"x": ("N", 3), "label": ("N",), "least": ("N",)},
        "least",
        "label",
        integers=("label", "least"),
    )
    assert primary_output(graph) == "least"


def test_a_named_output() -> None:
    assert primary_output(classifier(), "scores") == "scores"
    assert primary_output(classifier(), "label") == "label"
    with pytest.raises(CompileError) as caught:
        primary_output(classifier(), "score")
    assert caught.value.render() == (
        "error: unknown output 'score'; did you mean 'scores'?\n"
        "  known: label, probabilities, scores"
    )


# --- argmax or cosine ---------------------------------------------------------------------------


def measured(nodes: list[Op], shape: Shape | None = ("N", 10)) -> str:
    return measure_of(graph_of(nodes, {"x": ("N", 4), "y": shape}, "y"), "y")


GEMM = op("Gemm", "h", "x", "w", "b")


@pytest.mark.parametrize(
    "nodes",
    [
        [op("Gemm", "y", "x", "w")],
        [op("MatMul", "y", "x", "w")],
        [op("Conv", "h", "x", "w"), op("Flatten", "y", "h")],
        [op("Einsum", "y", "x", "w")],
        [GEMM, op("Softmax", "y", "h")],
        [GEMM, op("LogSoftmax", "y", "h")],
        [GEMM, op("Sigmoid", "y", "h")],
        [GEMM, op("Add", "y", "h", "b")],
        [GEMM, op("Add", "y", "b", "h")],
        [GEMM, op("Add", "a", "b", "h"), op("Reshape", "r", "a", "s"), op("Softmax", "y", "r")],
        [op("Conv", "h", "x", "w"), op("GlobalAveragePool", "g", "h"), op("Flatten", "y", "g")],
        [GEMM, op("Identity", "i", "h"), op("Cast", "c", "i"), op("Squeeze", "y", "c", "s")],
    ],
)
def test_class_scores_are_compared_by_argmax(nodes: list[Op]) -> None:
    assert measured(nodes) == "argmax"


@pytest.mark.parametrize(
    "nodes",
    [
        [GEMM, op("Tanh", "y", "h")],
        [GEMM, op("Relu", "y", "h")],
        [GEMM, op("LpNormalization", "y", "h")],
        [GEMM, op("LayerNormalization", "y", "h", "g")],
        [op("MatMul", "h", "x", "w"), op("ReduceMean", "y", "h")],
        [op("Softmax", "y", "x")],
        [op("Identity", "y", "x")],
    ],
)
def test_embeddings_are_compared_by_cosine(nodes: list[Op]) -> None:
    assert measured(nodes) == "cosine"


@pytest.mark.parametrize(
    ("shape", "measure"),
    [
        (("N", 10), "argmax"),
        (("N", "C"), "argmax"),
        (("N", 2), "argmax"),
        (("N", 1), "cosine"),
        (("N",), "cosine"),
        (("N", 10, 7), "cosine"),
        (None, "cosine"),
    ],
)
def test_only_rows_of_several_scores_have_an_argmax(shape: Shape | None, measure: str) -> None:
    assert measured([op("Gemm", "y", "x", "w")], shape) == measure


def test_labels_have_no_argmax() -> None:
    graph = classifier()
    assert measure_of(graph, "label") == "argmax"  # whole numbers decide as they are
    assert measure_of(graph, "probabilities") == measure_of(graph, "scores") == "argmax"
