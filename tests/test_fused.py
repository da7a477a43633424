"""Operators that onnxruntime's optimisers write become the standard operations they stand for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto

from snnc.coverage import coverage_of
from snnc.errors import CompileError
from snnc.frontend import load
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Attribute, Loc, Op
from snnc.ir.ops import why_analog
from snnc.passes.normalize import Normalize
from snnc.passes.place_sites import PlaceSites
from snnc.pipeline import run_passes
from snnc.runtime import Session
from tests.fused_models import MICROSOFT, fused, left_alone, spelled
from tests.onnx_models import arrays, assert_same_outputs, model, op_types

# --- Activation functions -----------------------------------------------------------------------

ACTIVATIONS = {
    "Gelu": ("com.microsoft.Gelu(x)", ["Gelu"]),
    "BiasGelu": ("com.microsoft.BiasGelu(x, b)", ["Add", "Gelu"]),
    "FastGelu": ("com.microsoft.FastGelu(x)", ["Gelu"]),
    "FastGelu with a bias": ("com.microsoft.FastGelu(x, b)", ["Add", "Gelu"]),
    "QuickGelu": ("com.microsoft.QuickGelu(x)", ["Mul", "Sigmoid", "Mul"]),
    "QuickGelu of 0.5": ("com.microsoft.QuickGelu<alpha = 0.5>(x)", ["Mul", "Sigmoid", "Mul"]),
    "QuickGelu of 1": ("com.microsoft.QuickGelu<alpha = 1.0>(x)", ["ai.snnc.Silu"]),
}


@pytest.mark.parametrize(("call", "expected"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activation_functions(call: str, expected: list[str]) -> None:
    source = fused(f"y = {call}", "float[N,T,6] x", "float[N,T,6] y", arrays(1, b=(6,)))
    assert op_types(spelled(source, arrays(2, x=(2, 3, 6)))) == expected


@pytest.mark.parametrize(
    ("call", "form"),
    [("Gelu(x)", "none"), ("BiasGelu(x, b)", "none"), ("FastGelu(x, b)", "tanh")],
)
def test_the_two_forms_of_gelu_are_kept_apart(call: str, form: str) -> None:
    source = fused(f"y = com.microsoft.{call}", "float[N,6] x", "float[N,6] y", arrays(1, b=(6,)))
    gelu = spelled(source, {"x": np.linspace(-4, 4, 60, dtype=np.float32).reshape(10, 6)}, 1e-6)
    assert gelu.nodes[-1].outputs == ("y",)
    assert isinstance(gelu.nodes[-1], Op)
    assert gelu.nodes[-1].attrs.get("approximate", "none") == form


# --- Residual sums with a normalisation ---------------------------------------------------------

NORMS = arrays(3, gamma=(6,), beta=(6,), bias=(6,))

SKIP_NORMS = {
    "layer": ("SkipLayerNormalization(x, s, gamma, beta)", ["Add", "LayerNormalization"]),
    "without beta": ("SkipLayerNormalization(x, s, gamma)", ["Add", "LayerNormalization"]),
    "with a bias": (
        "SkipLayerNormalization(x, s, gamma, beta, bias)",
        ["Add", "Add", "LayerNormalization"],
    ),
    "with a bias, without beta": (
        "SkipLayerNormalization(x, s, gamma, , bias)",
        ["Add", "Add", "LayerNormalization"],
    ),
    "with an epsilon": (
        "SkipLayerNormalization<epsilon = 0.5>(x, s, gamma, beta)",
        ["Add", "LayerNormalization"],
    ),
    "root mean square": (
        "SkipSimplifiedLayerNormalization(x, s, gamma)",
        ["Add", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"],
    ),
    "root mean square, bias and epsilon": (
        "SkipSimplifiedLayerNormalization<epsilon = 0.5>(x, s, gamma, bias)",
        ["Add", "Add", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"],
    ),
}


@pytest.mark.parametrize(("call", "expected"), SKIP_NORMS.values(), ids=SKIP_NORMS)
@pytest.mark.parametrize("skip", ["N,T,6", "1,T,6", "T,6"])
@pytest.mark.parametrize("results", ["y", "y, , , z"])
def test_skip_norms(call: str, expected: list[str], skip: str, results: str) -> None:
    outputs = "float[N,T,6] y" + (", float[N,T,6] z" if "z" in results else "")
    source = fused(
        f"{results} = com.microsoft.{call}", f"float[N,T,6] x, float[{skip}] s", outputs, NORMS
    )
    shape = {"N,T,6": (2, 3, 6), "1,T,6": (1, 3, 6), "T,6": (3, 6)}[skip]
    graph = spelled(source, arrays(4, x=(2, 3, 6), s=shape))
    assert op_types(graph) == expected


@pytest.mark.parametrize("axis", [-1, 2])
def test_root_mean_square_norm(axis: int) -> None:
    """onnxruntime writes this one in the default domain, where ONNX does not know it."""
    text = "g (float[N,T,6] x) => (float[N,T,6] y) { y = Identity(x) }"
    loaded = load(model(text, opset=17))
    norm = Op(
        ("y",), ("x", "gamma"), Loc(("norm",)), "SimplifiedLayerNormalization",
        {"axis": axis, "epsilon": 0.25, "stash_type": 1},
    )  # fmt: skip
    graph = replace(loaded, nodes=(norm,), consts={"gamma": NORMS["gamma"]})
    after = Normalize(verify=True)(graph)
    assert op_types(after) == ["Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]
    feeds = arrays(4, x=(2, 3, 6))
    found, wanted = (Session(g, optimize=False).run(feeds) for g in (after, graph))
    assert_same_outputs(found, wanted)


@pytest.mark.parametrize("change", ["axis", "second result"])
def test_root_mean_square_norms_of_other_forms_stay(change: str) -> None:
    loaded = load(model("g (float[N,T,6] x) => (float[N,T,6] y) { y = Identity(x) }", opset=17))
    outputs = ("y", "inverse") if change == "second result" else ("y",)
    norm = Op(
        outputs, ("x", "gamma"), Loc(("norm",)), "SimplifiedLayerNormalization",
        {"axis": 1 if change == "axis" else -1},
    )  # fmt: skip
    gamma = np.ones((3, 6) if change == "axis" else 6, np.float32)
    types = {**loaded.types, "inverse": loaded.types["y"]}
    graph = replace(loaded, nodes=(norm,), consts={"gamma": gamma}, types=types)
    assert op_types(Normalize()(graph)) == ["SimplifiedLayerNormalization"]


# --- Embeddings ---------------------------------------------------------------------------------

EMBEDDING = arrays(5, words=(9, 6), places=(7, 6), kinds=(2, 6), gamma=(6,), beta=(6,))
EMBEDDINGS = {
    "all": "i, k, words, places, kinds, gamma, beta, m, p",
    "no mask": "i, k, words, places, kinds, gamma, beta, , p",
    "no positions": "i, k, words, places, kinds, gamma, beta, m",
    "no segments": "i, , words, places, , gamma, beta, m, p",
    "no segments, no positions": "i, , words, places, , gamma, beta",
}


@pytest.mark.parametrize("results", ["y, n", "y, n, e", "y, , e", "y"])
@pytest.mark.parametrize("inputs", EMBEDDINGS.values(), ids=EMBEDDINGS)
def test_embeddings(inputs: str, results: str) -> None:
    names = [name for name in ("i", "k", "m", "p") if f"{name}," in f"{inputs},"]
    source = fused(
        f"{results} = com.microsoft.EmbedLayerNormalization<epsilon = 0.01, mask_index_type = "
        f"{int('n' in results)}>({inputs})",
        ", ".join(f"int32[N,S] {name}" for name in names),
        "float[N,S,6] y"
        + (", int32[N] n" if "n" in results else "")
        + (", float[N,S,6] e" if "e" in results else ""),
        EMBEDDING,
    )
    rng = np.random.default_rng(0)
    top = {"i": 9, "k": 2, "m": 2, "p": 7}
    feeds = {name: rng.integers(0, top[name], (3, 5)).astype(np.int32) for name in names}
    kinds = op_types(spelled(source, feeds))
    assert kinds.count("Gather") == 1 + ("k" in names) + ("p" in names)
    assert kinds.count("LayerNormalization") == 1
    assert kinds.count("ReduceSum") == ("m" in names and "n" in results)


# --- Matrix products ----------------------------------------------------------------------------

TURNS = [
    (),
    ("transA",),
    ("transB",),
    ("transA", "transB"),
    ("transBatchA",),
    ("transBatchB",),
    ("transBatchA", "transBatchB"),
    ("transA", "transBatchA"),
    ("transB", "transBatchB"),
    ("transA", "transB", "transBatchA", "transBatchB"),
]


def written(shape: tuple[int, ...], swap: bool, batch: bool) -> tuple[int, ...]:
    """The shape of an operand before it is transposed to `shape`."""
    dims = list(shape)
    if swap:
        dims[-2:] = dims[:-3:-1]
    if batch:
        dims.insert(0, dims.pop(-2))
    return tuple(dims)


# only operands of three axes or more have a batch to transpose
MATMULS = [
    pytest.param(flags, rank, id=f"{'+'.join(flags) or 'plain'}-{rank}")
    for flags in TURNS
    for rank in (2, 3, 4)
    if rank > 2 or not any("Batch" in flag for flag in flags)
]


@pytest.mark.parametrize("alpha", [1.0, 0.25])
@pytest.mark.parametrize("constant", [False, True], ids=["computed", "weights"])
@pytest.mark.parametrize(("flags", "rank"), MATMULS)
def test_matmul(flags: tuple[str, ...], constant: bool, alpha: float, rank: int) -> None:
    batch = (2, 3)[: rank - 2]
    a = written((*batch, 4, 5), "transA" in flags, "transBatchA" in flags)
    b = written((*batch, 5, 6), "transB" in flags, "transBatchB" in flags)
    attributes = ", ".join([f"alpha = {alpha}", *(f"{flag} = 1" for flag in flags)])
    operands = arrays(6, a=a, b=b)
    inputs = f"float[{','.join(map(str, a))}] a"
    if not constant:
        inputs += f", float[{','.join(map(str, b))}] b"
    source = fused(
        f"y = com.microsoft.FusedMatMul<{attributes}>(a, b)",
        inputs,
        "float y",
        {"b": operands.pop("b")} if constant else None,
    )
    source.graph.output[0].type.tensor_type.ClearField("shape")
    kinds = op_types(spelled(source, operands))
    assert kinds.count("MatMul") == 1
    assert kinds.count("Mul") == (alpha != 1 and not constant)
    assert set(kinds) <= {"MatMul", "Mul", "Transpose"}


def test_a_transposed_operand_of_unknown_rank_stays() -> None:
    source = fused(
        "y = com.microsoft.FusedMatMul<transB = 1>(a, b)", "float[4,5] a, float b", "float y"
    )
    for value in (source.graph.input[1], source.graph.output[0]):
        value.type.tensor_type.ClearField("shape")
    left_alone(source, "FusedMatMul")


GEMM_ACTIVATIONS = {
    "relu": 'activation = "Relu"',
    "sigmoid": 'activation = "Sigmoid"',
    "tanh": 'activation = "Tanh"',
    "softplus": 'activation = "Softplus"',
    "softsign": 'activation = "Softsign"',
    "leaky": 'activation = "LeakyRelu", activation_alpha = 0.3',
    "elu": 'activation = "Elu", activation_alpha = 0.7',
    "thresholded": 'activation = "ThresholdedRelu", activation_alpha = 0.4',
    "hard": 'activation = "HardSigmoid", activation_alpha = 0.3, activation_beta = 0.4',
    "selu": 'activation = "Selu", activation_alpha = 1.5, activation_gamma = 1.1',
}


@pytest.mark.parametrize("activation", GEMM_ACTIVATIONS.values(), ids=GEMM_ACTIVATIONS)
@pytest.mark.parametrize(
    ("attributes", "weight", "bias"),
    [
        ("", (5, 6), ", c"),
        ("transB = 1, alpha = 0.5, beta = 2.0, ", (6, 5), ", c"),
        ("", (5, 6), ""),
    ],
)
def test_gemm(activation: str, attributes: str, weight: tuple[int, ...], bias: str) -> None:
    source = fused(
        f"y = com.microsoft.FusedGemm<{attributes}{activation}>(x, w{bias})",
        "float[N,5] x",
        "float[N,6] y",
        arrays(7, w=weight, c=(6,)),
    )
    kinds = op_types(spelled(source, arrays(8, x=(4, 5))))
    assert kinds == ["Gemm", activation.split('"')[1]]


def unfused(op: Op) -> Graph:
    """A graph of this operation alone, which no runtime need accept: x[N,5] -> y[N,6]."""
    text = "g (float[N,5] x) => (float[N,6] y) { y = Gemm(x, w) }"
    graph = load(model(text, arrays(7, w=(5, 6))))
    return replace(graph, nodes=(op,), domains=MICROSOFT)


@pytest.mark.parametrize(
    "attributes",
    [
        {"activation": "LeakyRelu"},
        {"activation": "ScaledTanh", "activation_alpha": 0.1, "activation_beta": 0.2},
        {"activation": "Relu", "activation_alpha": 0.1},
        {},
    ],
)
def test_gemm_with_an_activation_that_is_not_certain_stays(
    attributes: dict[str, Attribute],
) -> None:
    op = Op(("y",), ("x", "w"), Loc(("gemm",)), "com.microsoft.FusedGemm", attributes)
    assert Normalize()(unfused(op)).nodes == (op,)


# --- Convolutions -------------------------------------------------------------------------------

CONV_ACTIVATIONS = {
    "none": ("", []),
    "relu": ('activation = "Relu"', ["Relu"]),
    "sigmoid": ('activation = "Sigmoid"', ["Sigmoid"]),
    "tanh": ('activation = "Tanh"', ["Tanh"]),
    "hard swish": ('activation = "HardSwish"', ["HardSwish"]),
    "leaky": ('activation = "LeakyRelu", activation_params = [0.3]', ["LeakyRelu"]),
    "clip": ('activation = "Clip", activation_params = [-0.5, 1.5]', ["Clip"]),
    "hard sigmoid": ('activation = "HardSigmoid", activation_params = [0.3, 0.4]', ["HardSigmoid"]),
}
CONV_INPUTS = {"x, w": [], "x, w, b": [], "x, w, b, z": ["Add"], "x, w, , z": ["Add"]}


@pytest.mark.parametrize(("inputs", "sums"), CONV_INPUTS.items(), ids=CONV_INPUTS)
@pytest.mark.parametrize(("activation", "kind"), CONV_ACTIVATIONS.values(), ids=CONV_ACTIVATIONS)
def test_conv(activation: str, kind: list[str], inputs: str, sums: list[str]) -> None:
    listed = ", ".join(filter(None, ("strides = [2,2], pads = [1,0,1,0], group = 2", activation)))
    source = fused(
        f"y = com.microsoft.FusedConv<{listed}>({inputs})",
        "float[N,4,7,7] x" + (", float[N,6,4,3] z" if sums else ""),
        "float[N,6,4,3] y",
        arrays(9, w=(6, 2, 3, 3), b=(6,)),
    )
    feeds = arrays(10, x=(2, 4, 7, 7), **({"z": (2, 6, 4, 3)} if sums else {}))
    assert op_types(spelled(source, feeds)) == ["Conv", *sums, *kind]


@pytest.mark.parametrize(
    "attributes",
    [
        {"activation": "Clip"},
        {"activation": "LeakyRelu"},
        {"activation": "LeakyRelu", "activation_params": (0.1, 0.2)},
        {"activation": "Swish"},
        {"activation": ""},
    ],
)
def test_conv_with_an_activation_that_is_not_certain_stays(
    attributes: dict[str, Attribute],
) -> None:
    op = Op(("y",), ("x", "w"), Loc(("conv",)), "com.microsoft.FusedConv", attributes)
    assert Normalize()(unfused(op)).nodes == (op,)


def test_a_relu_out_of_a_fused_convolution_becomes_part_of_the_neuron() -> None:
    source = fused(
        'h = com.microsoft.FusedConv<activation = "Relu">(x, w)'
        ' i = com.microsoft.FusedConv<activation = "Clip", activation_params = [0.0, 6.0]>(h, v)'
        " y = com.microsoft.FusedConv(i, v)",
        "float[N,3,9,9] x",
        "float[N,4,3,3] y",
        arrays(11, w=(4, 3, 3, 3), v=(4, 4, 3, 3)),
    )
    graph = run_passes(load(source), (Normalize(), PlaceSites()))
    assert [site.role for site in graph.sites] == ["activation", "activation"]
    assert coverage_of(graph).spiking_fraction == 1.0
    assert coverage_of(graph).analog == []


# --- Weights of few bits ------------------------------------------------------------------------


def nbits_model(
    bits: int, depth: int, size: int, zeros: str, *, level: int = 0, bias: bool = False
) -> ModelProto:
    """A product with 5 outputs; zeros: 'packed', 'float' or ''."""
    rng, blocks = np.random.default_rng(bits), -(-depth // size)
    weights: dict[str, Array] = {
        "q": rng.integers(0, 256, (5, blocks, size * bits // 8), np.uint8),
        "s": rng.random(5 * blocks).astype(np.float32),
        "packed": rng.integers(0, 256, 5 * -(-blocks * bits // 8), np.uint8),
        "float": rng.random((5, blocks)).astype(np.float32),
        "b": rng.random(5).astype(np.float32),
    }
    given = f"x, q, s, {zeros}, , b" if bias else f"x, q, s, {zeros}".rstrip(", ")
    return fused(
        f"y = com.microsoft.MatMulNBits<K = {depth}, N = 5, bits = {bits}, block_size = {size},"
        f" accuracy_level = {level}>({given})",
        f"float[N,{depth}] x",
        "float[N,5] y",
        weights,
    )


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize(("depth", "size"), [(32, 16), (40, 16), (64, 32)])
@pytest.mark.parametrize(
    ("bits", "zeros"),
    [(2, ""), (2, "packed"), (4, ""), (4, "packed"), (4, "float"), (8, ""), (8, "packed")],
)
def test_weights_of_few_bits(bits: int, zeros: str, depth: int, size: int, bias: bool) -> None:
    source = nbits_model(bits, depth, size, zeros, level=1, bias=bias)
    graph = spelled(source, arrays(23, x=(3, depth)))
    assert op_types(graph) == ["MatMul", "Add"][: 1 + bias]


def test_products_that_quantise_activations_stay() -> None:
    source = nbits_model(4, 32, 16, "", level=4)
    left_alone(source, "MatMulNBits")
    graph = Normalize()(load(source))
    (why,) = {why_analog(kind) for kind in op_types(graph)}
    assert why == "quantised operator: its weights stay as they are"


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("given", ["x", "x, one"])
def test_triangles(given: str, upper: int) -> None:
    call = f"y = com.microsoft.Trilu<upper = {upper}>({given})"
    source = fused(call, "float[4,5] x", "float[4,5] y", {"one": np.array(1)})
    assert op_types(spelled(source, arrays(25, x=(4, 5)))) == ["Trilu"]


# --- What stays ---------------------------------------------------------------------------------


def test_layers_in_the_layout_of_one_processor_are_refused() -> None:
    op = Op(("y",), ("x", "w"), Loc(("reordered",)), "com.microsoft.nchwc.Conv")
    graph = replace(unfused(op), domains={**MICROSOFT, "com.microsoft.nchwc": 1})
    with pytest.raises(CompileError, match="memory layout") as raised:
        Normalize()(graph)
    assert "reordered" in str(raised.value)
    assert "ORT_ENABLE_EXTENDED" in str(raised.value)


def test_a_fused_operator_that_stays_is_counted_and_listed() -> None:
    """The scores of 2 heads of 4, of 5 positions: 3 projections of 8 x 8 and 2 products."""
    source = fused(
        "h = com.microsoft.Attention<num_heads = 2, past_present_share_buffer = 1>(x, w, b)"
        " y = MatMul(h, v)",
        "float[1,5,8] x",
        "float[1,5,3] y",
        arrays(24, w=(8, 24), b=(24,), v=(8, 3)),
    )
    coverage = coverage_of(run_passes(load(source), (Normalize(), PlaceSites())))
    assert [entry["op"] for entry in coverage.analog] == ["com.microsoft.Attention"]
    assert coverage.macs == {
        "spiking": 5 * 8 * 3,
        "direct-coded": 0,
        "analog": 5 * (8 * 24 + 5 * 8 + 5 * 8),
    }
