"""Fused attention becomes the products, softmax and masks that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from snnc.frontend import load
from snnc.ir.node import Array, Op
from snnc.passes.normalize import Normalize
from snnc.passes.normalize.fused import SPELLINGS
from snnc.passes.place_sites import PlaceSites
from snnc.pipeline import run_passes
from tests.fused_models import feeds_of, fused, left_alone, spelled
from tests.onnx_models import arrays, op_types

# --- Attention with its projections -------------------------------------------------------------

PROJECTION = arrays(12, w=(8, 24), b=(24,), narrow=(8, 20), narrow_b=(20,))
PROJECTION = {name: array / 2 for name, array in PROJECTION.items()}

MASKS: dict[str, tuple[str, Array]] = {
    "none": ("", np.zeros(0)),
    "ends": ("B", np.array([5, 2])),
    "ends and starts": ("M", np.array([5, 4, 1, 2])),
    "padding": ("B,S", np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]])),
    "padding of another symbol": ("B,T", np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]])),
    "one column": ("B,1", np.array([[0], [1]])),
    "one column, as it turns out": ("B,T", np.array([[0], [1]])),
    "pairs": ("B,S,T", np.random.default_rng(0).integers(0, 2, (2, 5, 5))),
    "everything masked": ("B,S", np.array([[0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])),
}
SELF_ATTENTION = [
    "MatMul", "Add", "Split", *["Reshape", "Transpose"] * 3,
    "Transpose", "MatMul", "Mul", "Softmax", "MatMul", "Transpose", "Reshape",
]  # fmt: skip


def attention(
    call: str, inputs: str = "", outputs: str = "", weights: Mapping[str, Array] = PROJECTION
) -> ModelProto:
    return fused(call, f"float[B,S,8] x{inputs}", f"float[B,S,D] y{outputs}", weights)


@pytest.mark.parametrize(("dims", "mask"), MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("causal", [0, 1], ids=["both ways", "causal"])
@pytest.mark.parametrize("bias", ["", "B,2,S,T", "1,1,S,T"], ids=["", "bias", "shared bias"])
def test_attention_masks(dims: str, mask: Array, causal: int, bias: str) -> None:
    given = ", b, mask" if dims else ", b, "
    call = (
        f"y = com.microsoft.Attention<num_heads = 2, unidirectional = {causal}>"
        f"(x, w{given}{', , add' if bias else ''})"
    )
    inputs = (f", int32[{dims}] mask" if dims else "") + (f", float[{bias}] add" if bias else "")
    feeds = arrays(13, x=(2, 5, 8)) | ({"mask": mask.astype(np.int32)} if dims else {})
    if bias:
        shape = (2, 2, 5, 5) if "B" in bias else (1, 1, 5, 5)
        feeds |= arrays(14, add=shape)
    # where all keys of a query are masked, adding -10000 leaves three digits of the scores
    graph = spelled(attention(call, inputs), feeds, 1e-3 if bias else 1e-5)
    kinds = op_types(graph)
    assert [kinds.count(kind) for kind in ("MatMul", "Softmax", "Split")] == [3, 1, 1]
    if not (dims or causal or bias):
        assert kinds == SELF_ATTENTION


@pytest.mark.parametrize(
    ("attributes", "weight", "bias"),
    [
        ("", "w", "b"),
        ("scale = 0.2, ", "w", "b"),
        ("scale = 0.0, ", "w", "b"),
        ("qkv_hidden_sizes = [8, 8, 4], ", "narrow", "narrow_b"),
        ("qkv_hidden_sizes = [8, 8, 8], mask_filter_value = -2.0, ", "w", "b"),
    ],
)
def test_attention_attributes(attributes: str, weight: str, bias: str) -> None:
    call = f"y = com.microsoft.Attention<{attributes}num_heads = 4>(x, {weight}, {bias}, mask)"
    feeds = arrays(15, x=(2, 5, 8)) | {
        "mask": np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]], np.int32)
    }
    graph = spelled(attention(call, ", int32[B,S] mask"), feeds)
    (split,) = [n for n in graph.nodes if isinstance(n, Op) and n.op_type == "Split"]
    assert graph.consts[split.inputs[1]].tolist() == [8, 8, 4 if weight == "narrow" else 8]


@pytest.mark.parametrize("causal", [0, 1], ids=["both ways", "causal"])
@pytest.mark.parametrize("mask", ["", "B,T", "B", "B,S,T"])
@pytest.mark.parametrize("past", [0, 3], ids=["no past", "past"])
def test_attention_with_a_cache(past: int, mask: str, causal: int) -> None:
    call = (
        f"y, new = com.microsoft.Attention<num_heads = 2, unidirectional = {causal}>"
        f"(x, w, b, {'mask' if mask else ''}{', old' if past else ''})"
    )
    inputs = (f", int32[{mask}] mask" if mask else "") + (", float[2,B,2,P,4] old" if past else "")
    feeds = arrays(16, x=(2, 4, 8)) | (arrays(17, old=(2, 2, 2, past, 4)) if past else {})
    total = 4 + past
    values = {
        "B": np.array([total, 2]),
        "B,T": np.arange(2 * total).reshape(2, total) % 3,
        "B,S,T": np.arange(2 * 4 * total).reshape(2, 4, total) % 3,
    }
    if mask:
        feeds["mask"] = values[mask].astype(np.int32)
    graph = spelled(attention(call, inputs, ", float[2,B,2,T,4] new"), feeds)
    assert op_types(graph).count("Softmax") == 1


def test_fixed_shapes_leave_no_shape_arithmetic() -> None:
    source = fused(
        "y = com.microsoft.Attention<num_heads = 2, unidirectional = 1>(x, w, b, mask)",
        "float[2,5,8] x, int32[2,5] mask",
        "float[2,5,8] y",
        PROJECTION,
    )
    mask = {"mask": np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]], np.int32)}
    kinds = op_types(spelled(source, arrays(13, x=(2, 5, 8)) | mask))
    assert not {"Shape", "Range", "LessOrEqual"} & set(kinds)


def test_attention_has_its_four_sites() -> None:
    """As the same network would have, had it not been fused."""
    source = attention("h = Relu(x) y = com.microsoft.Attention<num_heads = 2>(h, w, b)")
    graph = run_passes(load(source), (Normalize(), PlaceSites()))
    roles = [site.role for site in graph.sites]
    assert roles == ["activation", "product", "product", "softmax", "product"]


UNCERTAIN = {
    "four-axis mask": ("x, w, b, mask", ", int32[B,1,M,M] mask", ""),
    "mask of unknown rank": ("x, w, b, mask", ", int32 mask", ""),
    "shared buffer": (
        "x, w, b, , old, , n",
        ", float[2,B,2,P,4] old, int32[1] n",
        ", past_present_share_buffer = 1",
    ),
    "rotary": ("x, w, b", "", ", do_rotary = 1"),
    "weights of unknown width": ("x, v, b", ", float[8,W] v", ""),
}


@pytest.mark.parametrize(("inputs", "more", "attributes"), UNCERTAIN.values(), ids=UNCERTAIN)
def test_attention_that_is_not_certain_stays(inputs: str, more: str, attributes: str) -> None:
    out = "y, new" if "old" in inputs else "y"
    source = attention(
        f"{out} = com.microsoft.Attention<num_heads = 2{attributes}>({inputs})",
        more,
        ", float[2,B,2,P,4] new" if "old" in inputs else "",
    )
    if "unknown rank" in inputs or more == ", int32 mask":
        source.graph.input[1].type.tensor_type.ClearField("shape")
    left_alone(source, "Attention")


# --- Attention without projections --------------------------------------------------------------

SEPARATE = arrays(18, bias=(24,), narrow=(20,))
QUERIES = "float[B,S,8] q, float[B,L,8] k, float[B,L,8] v"


MULTI_HEAD = {
    "plain": ("q, k, v", QUERIES, ""),
    "bias": ("q, k, v, bias", QUERIES, ""),
    "narrow values": ("q, k, v, narrow", "float[B,S,8] q, float[B,L,8] k, float[B,L,4] v", ""),
    "padding": ("q, k, v, bias, m", f"{QUERIES}, int32[B,L] m", ""),
    "padding of another symbol": ("q, k, v, bias, m", f"{QUERIES}, int32[B,T] m", ""),
    "ends": ("q, k, v, bias, m", f"{QUERIES}, int32[B] m", ""),
    "pairs": ("q, k, v, , m", f"{QUERIES}, int32[B,S,L] m", ""),
    "added": ("q, k, v, , , add", f"{QUERIES}, float[B,2,S,L] add", ""),
    "added to all": ("q, k, v, , , add", f"{QUERIES}, float[1,1,S,L] add", ""),
    "scale": ("q, k, v", QUERIES, ", scale = 0.3"),
    "heads apart": ("q, k, v", "float[B,S,8] q, float[B,2,L,4] k, float[B,2,L,4] v", ""),
}


@pytest.mark.parametrize(("given", "inputs", "attributes"), MULTI_HEAD.values(), ids=MULTI_HEAD)
def test_multi_head_attention(given: str, inputs: str, attributes: str) -> None:
    call = f"y = com.microsoft.MultiHeadAttention<num_heads = 2{attributes}>({given})"
    source = fused(call, inputs, "float[B,S,D] y", SEPARATE)
    graph = spelled(source, feeds_of(inputs, B=2, S=3, L=5, T=5), 1e-4)
    kinds = op_types(graph)
    assert [kinds.count(kind) for kind in ("MatMul", "Softmax")] == [2, 1]


@pytest.mark.parametrize("past", [0, 4], ids=["no past", "past"])
@pytest.mark.parametrize("mask", ["", ", , m"])
@pytest.mark.parametrize("causal", [0, 1], ids=["both ways", "causal"])
def test_multi_head_attention_with_a_cache(causal: int, mask: str, past: int) -> None:
    inputs = "float[B,S,8] q, float[B,S,8] k, float[B,S,8] v"
    inputs += ", int32[B,T] m" if mask else ""
    inputs += ", float[B,2,P,4] pk, float[B,2,P,4] pv" if past else ""
    given = ["q", "k", "v", "", "m" if mask else "", "", *(("pk", "pv") if past else ())]
    call = (
        f"y, nk, nv = com.microsoft.MultiHeadAttention<num_heads = 2, unidirectional = {causal}>"
        f"({', '.join(given).rstrip(', ')})"
    )
    outputs = "float[B,S,8] y, float[B,2,T,4] nk, float[B,2,T,4] nv"
    graph = spelled(
        fused(call, inputs, outputs), feeds_of(inputs, B=2, S=3, P=past, T=3 + past), 1e-4
    )
    assert op_types(graph).count("Softmax") == 1


UNCERTAIN_HEADS = {
    "the scores as a result": ("q, k, v", QUERIES, "", "y, , , scores"),
    "causal, keys of another number": ("q, k, v", QUERIES, ", unidirectional = 1", "y"),
    "queries of unknown width": ("q, k, v", QUERIES.replace("8", "D"), "", "y"),
    "queries of unknown rank": ("q, k, v", "float q, float[B,L,8] k, float[B,L,8] v", "", "y"),
    "packed": ("q", "float[B,S,2,3,4] q", "", "y"),
}


@pytest.mark.parametrize(
    ("given", "inputs", "attributes", "results"), UNCERTAIN_HEADS.values(), ids=UNCERTAIN_HEADS
)
def test_multi_head_attention_that_is_not_certain_stays(
    given: str, inputs: str, attributes: str, results: str
) -> None:
    call = f"{results} = com.microsoft.MultiHeadAttention<num_heads = 2{attributes}>({given})"
    outputs = "float[B,S,8] y" + (", float[B,2,S,L] scores" if "scores" in results else "")
    source = fused(call, inputs, outputs)
    if "float q" in inputs:
        source.graph.input[0].type.tensor_type.ClearField("shape")
    left_alone(source, "MultiHeadAttention")


# --- Rotary embedding ---------------------------------------------------------------------------


@pytest.mark.parametrize("interleaved", [0, 1], ids=["halves", "neighbours"])
@pytest.mark.parametrize("positions", ["B,S", "1"])
@pytest.mark.parametrize("dims", ["B,S,24", "B,3,S,8"])
@pytest.mark.parametrize("pairs", [4, 2], ids=["whole head", "a part"])
def test_rotary_embedding(pairs: int, dims: str, positions: str, interleaved: int) -> None:
    attributes = f"interleaved = {interleaved}"
    if pairs < 4:
        attributes += f", num_heads = 3, rotary_embedding_dim = {2 * pairs}"
    inputs = f"float[{dims}] x, int64[{positions}] p"
    source = fused(
        f"y = com.microsoft.RotaryEmbedding<{attributes}>(x, p, cos, sin)",
        inputs,
        f"float[{dims}] y",
        arrays(20, cos=(16, pairs), sin=(16, pairs)),
    )
    kinds = op_types(spelled(source, feeds_of(inputs, B=2, S=5)))
    assert [kinds.count(kind) for kind in ("Mul", "Sub", "Gather")] == [4, 1, 2]


@pytest.mark.parametrize(
    ("dims", "attributes", "positions", "cache"),
    [
        ("B,S,24", "is_packed_batching = 1", "int64[B,S]", "float[16,4]"),
        ("B,S,24", "scale = 2.0", "int64[B,S]", "float[16,4]"),
        ("B,S,24", "interleaved = 0", "int64[B,S]", "float[16,H]"),
        ("B,S,D", "num_heads = 3, rotary_embedding_dim = 4", "int64[B,S]", "float[16,2]"),
    ],
)
def test_rotary_embedding_that_is_not_certain_stays(
    dims: str, attributes: str, positions: str, cache: str
) -> None:
    source = fused(
        f"y = com.microsoft.RotaryEmbedding<{attributes}>(x, p, cos, sin)",
        f"float[{dims}] x, {positions} p, {cache} cos, {cache} sin",
        f"float[{dims}] y",
    )
    left_alone(source, "RotaryEmbedding")


# --- Attention with shared keys -----------------------------------------------------------------

N, K, H = 4, 2, 32
APART = f"float[B,S,{N * H}] q, float[B,S,{K * H}] k, float[B,S,{K * H}] v"
PACKED = f"float[B,S,{(N + 2 * K) * H}] q"
CACHE = f", float[B,{K},P,{H}] pk, float[B,{K},P,{H}] pv"
CALLS = {
    "first call": {"S": 5, "P": 0, "last": [4, 4], "total": 5},
    "first call, padded": {"S": 5, "P": 0, "last": [4, 2], "total": 5},
    "first call into a buffer": {"S": 5, "P": 10, "last": [4, 4], "total": 5},
    "next token": {"S": 1, "P": 6, "last": [6, 6], "total": 7},
    "next tokens of several lengths": {"S": 1, "P": 6, "last": [6, 3], "total": 7},
    "next token into a buffer": {"S": 1, "P": 10, "last": [6, 3], "total": 7},
}


def group_query(
    attributes: str = "",
    *,
    packed: bool = False,
    past: bool = True,
    more: str = "",
    inputs: str = "",
    weights: Mapping[str, Array] | None = None,
) -> ModelProto:
    given = "q, , " if packed else "q, k, v"
    cache = "pk, pv" if past else ", "
    return fused(
        f"y, nk, nv = com.microsoft.GroupQueryAttention<num_heads = {N}, kv_num_heads = {K}"
        f"{attributes}>({given}, {cache}, last, total{more})",
        (PACKED if packed else APART) + (CACHE if past else "")
        + f", int32[B] last, int32 total{inputs}",
        f"float[B,S,{N * H}] y, float[B,{K},T,{H}] nk, float[B,{K},T,{H}] nv",
        weights,
    )  # fmt: skip


def group_feeds(call: dict[str, Any], *, packed: bool, past: bool) -> dict[str, Array]:
    inputs = (PACKED if packed else APART) + (CACHE if past else "")
    return feeds_of(inputs, B=len(call["last"]), S=call["S"], P=call["P"]) | {
        "last": np.array(call["last"], np.int32),
        "total": np.array(call["total"], np.int32),
    }


@pytest.mark.parametrize("packed", [False, True], ids=["apart", "packed"])
@pytest.mark.parametrize(
    "attributes",
    ["", ", scale = 0.3", ", softcap = 1.5", ", causal = 0", ", local_window_size = 2"],
)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_group_query_attention(call: dict[str, Any], attributes: str, packed: bool) -> None:
    for past in (True, False) if not call["P"] else (True,):
        source = group_query(attributes, packed=packed, past=past)
        graph = spelled(source, group_feeds(call, packed=packed, past=past), 1e-5)
        kinds = op_types(graph)
        assert [kinds.count(kind) for kind in ("MatMul", "Softmax")] == [2, 1]


@pytest.mark.parametrize("packed", [False, True], ids=["apart", "packed"])
@pytest.mark.parametrize("interleaved", [0, 1], ids=["halves", "neighbours"])
@pytest.mark.parametrize("pairs", [16, 8], ids=["whole head", "a part"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_group_query_attention_with_rotary_embedding(
    call: dict[str, Any], pairs: int, interleaved: int, packed: bool
) -> None:
    source = group_query(
        f", do_rotary = 1, rotary_interleaved = {interleaved}", packed=packed, more=", cos, sin",
        weights=arrays(21, cos=(16, pairs), sin=(16, pairs)),
    )  # fmt: skip
    spelled(source, group_feeds(call, packed=packed, past=True), 1e-5)


def test_several_tokens_behind_a_cache() -> None:
    call = {"S": 3, "P": 6, "last": [8], "total": 9}
    spelled(group_query(", local_window_size = 4"), group_feeds(call, packed=False, past=True))


@pytest.mark.parametrize("dims", [(1, 1), (2, 4)], ids=["shared", "for each head"])
def test_group_query_attention_with_a_bias(dims: tuple[int, int]) -> None:
    call = CALLS["next token into a buffer"]
    source = group_query(", softcap = 1.5", more=", , , , add", inputs=", float[A,C,S,T] add")
    feeds = group_feeds(call, packed=False, past=True) | arrays(22, add=(*dims, 1, 7))
    spelled(source, feeds)


def test_group_query_attention_has_its_four_sites() -> None:
    source = group_query(past=False)
    graph = run_passes(load(source), (Normalize(), PlaceSites()))
    assert sorted(s.role for s in graph.sites) == ["product", "product", "product", "softmax"]


UNCERTAIN_GROUPS = {
    "smooth softmax": (", smooth_softmax = 1", ""),
    "sinks": ("", ", , , , , sinks"),
    "positions": (", do_rotary = 1", ", cos, sin, p"),
    "an attribute of tomorrow": (", tomorrow = 1", ""),
}


@pytest.mark.parametrize(("attributes", "more"), UNCERTAIN_GROUPS.values(), ids=UNCERTAIN_GROUPS)
def test_group_query_attention_that_is_not_certain_stays(attributes: str, more: str) -> None:
    call = group_query(attributes if "tomorrow" not in attributes else "", past=False, more=more,
                       inputs=", int64[B,S] p" if "p" in more.split(", ") else "",
                       weights=arrays(21, cos=(16, 8), sin=(16, 8), sinks=(N,)))  # fmt: skip
    graph = load(call)
    node = graph.nodes[0]
    assert isinstance(node, Op)
    if "tomorrow" in attributes:
        node = replace(node, attrs={**node.attrs, "tomorrow": 1})
    op_type = "com.microsoft.GroupQueryAttention"
    assert SPELLINGS[op_type](graph, node) is None
