"""The frontend: every exporter's file becomes a graph that computes what the file computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from snnc.errors import CompileError
from snnc.frontend import load
from snnc.frontend.read import HOIST_ELEMENTS
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.passes.normalize import Normalize
from snnc.runtime import Session
from tests.onnx_models import (
    EXAMPLES,
    arrays,
    assert_computes,
    assert_same_outputs,
    model,
    op_types,
)

X = arrays(0, x=(3, 4))
IMAGES = arrays(1, x=(2, 3, 8, 8))
SMALL = arrays(2, w=(4, 4), b=(4,), v=(4, 5))


def rows(body: str, weights: Mapping[str, Array] | None = None, *, opset: int = 17) -> ModelProto:
    """A model of one input x [N,4] and one output y [N,?] whose weights are w, b and v."""
    text = f"g (float[N,4] x) => (float[N,?] y) {{ {body} }}"
    ir_version = 8 if opset < 19 else 10
    return model(text, {**SMALL, **(weights or {})}, opset=opset, ir_version=ir_version)


def loaded(source: ModelProto, feeds: Mapping[str, Array] = X) -> Graph:
    """The graph of a model, once it is known to compute the same."""
    graph = load(source)
    assert_computes(graph, source, feeds)
    return graph


def refusal(source: ModelProto | Path) -> CompileError:
    with pytest.raises(CompileError) as caught:
        load(source)
    return caught.value


# --- Weights ------------------------------------------------------------------------------------


def test_weights_as_initializers() -> None:
    graph = loaded(rows("h = Gemm(x, w, b) y = Relu(h)"))
    assert op_types(graph) == ["Gemm", "Relu"]
    assert set(graph.consts) == {"w", "b"}
    assert graph.inputs == ("x",)


CONSTANTS = {
    "value": "c = Constant<value = float[4] {1.0, -2.0, 0.5, 3.0}>()",
    "value_floats": "c = Constant<value_floats = [1.0, -2.0, 0.5, 3.0]>()",
    "value_float": "c = Constant<value_float = 2.5>()",
    "value_int": "i = Constant<value_int = 3>() c = Cast<to = 1>(i)",
    "value_ints": "i = Constant<value_ints = [3, 1, 4, 1]>() c = Cast<to = 1>(i)",
}


@pytest.mark.parametrize("constant", CONSTANTS.values(), ids=CONSTANTS)
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_weights_as_constant_nodes(constant: str, opset: int) -> None:
    graph = loaded(rows(f"{constant} y = Mul(x, c)", opset=opset))
    assert "Constant" not in op_types(graph)


def test_a_weight_that_several_nodes_share() -> None:
    graph = loaded(rows("h = MatMul(x, w) y = Gemm<transB = 1>(h, w)"))
    assert [node.inputs[1] for node in graph.nodes] == ["w", "w"]
    assert set(graph.consts) == {"w"}


def test_a_constant_node_that_several_nodes_share() -> None:
    body = "c = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>() h = Add(x, c) y = Mul(h, c)"
    assert op_types(loaded(rows(body))) == ["Add", "Mul"]


@pytest.mark.parametrize("width", [4, HOIST_ELEMENTS])
def test_weights_that_are_graph_inputs_too(width: int) -> None:
    """IR version 3 wants every initializer listed as an input."""
    source = model(
        "g (float[N,4] x) => (float[N,?] y) { y = MatMul(x, w) }",
        arrays(1, w=(4, width)),
        opset=9,
        ir_version=3,
    )
    for tensor in source.graph.initializer:
        source.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    assert loaded(source).inputs == ("x",)


def test_unused_weights_are_dropped() -> None:
    assert set(loaded(rows("y = Relu(x)")).consts) == set()


def test_an_output_that_is_a_weight() -> None:
    text = "g (float[N,4] x) => (float[N,4] y, float[4] b) { y = Add(x, b) }"
    graph = loaded(model(text, SMALL))
    assert graph.outputs == ("y", "b")


# --- Inputs and outputs -------------------------------------------------------------------------


def test_several_inputs_and_outputs_of_several_types() -> None:
    text = (
        "g (int64[N,T] ids, float[N,4] x, bool[N] on)"
        " => (float[N,4] y, int64[N,T] echo, int64[N] best, bool[N] off) {"
        " e = Gather(v, ids) m = ReduceMean<axes = [1], keepdims = 0>(e) p = MatMul(m, w)"
        " s = Add(p, x) y = Relu(s) echo = Identity(ids)"
        " best = ArgMax<axis = 1, keepdims = 0>(s) off = Not(on) }"
    )
    source = model(text, {**arrays(1, v=(7, 5), w=(5, 4))})
    feeds: dict[str, Array] = {
        "ids": np.array([[0, 6, 3], [1, 1, 2]]),
        "x": arrays(2, x=(2, 4))["x"],
        "on": np.array([True, False]),
    }
    graph = loaded(source, feeds)
    assert graph.inputs == ("ids", "x", "on")
    assert graph.outputs == ("y", "echo", "best", "off")
    assert [graph.types[v].dtype for v in graph.inputs] == ["int64", "float32", "bool"]
    assert_computes(Normalize()(graph), source, feeds)


def test_an_input_that_nothing_reads_stays() -> None:
    text = "g (float[N,4] x, float[N,2] unused) => (float[N,4] y) { y = Relu(x) }"
    graph = loaded(model(text), {**X, **arrays(1, unused=(3, 2))})
    assert graph.inputs == ("x", "unused")


def test_an_output_that_is_an_input() -> None:
    text = "g (float[N,4] x) => (float[N,4] y, float[N,4] x) { y = Relu(x) }"
    assert loaded(model(text)).outputs == ("y", "x")


def test_texts_as_outputs() -> None:
    text = (
        "g (float[N,4] x) => (string[N] y)"
        " { i = ArgMax<axis = 1, keepdims = 0>(x) y = Gather(names, i) }"
    )
    source = model(text)
    words = np.array(["no", "yes", "per haps", "ähm"], object)
    source.graph.initializer.append(numpy_helper.from_array(words, "names"))
    graph = loaded(source)
    assert graph.types["y"].dtype == "str"
    assert_computes(Normalize()(graph), source, X)


# --- Shapes -------------------------------------------------------------------------------------


def test_symbolic_dimensions_stay_open() -> None:
    text = "g (float[N,T,4] x) => (float[N,T,5] y) { h = MatMul(x, w) y = MatMul(h, v) }"
    source = model(text, SMALL)
    graph = load(source)
    assert graph.types["x"].shape == ("N", "T", 4)
    assert graph.types["h"].shape == ("N", "T", 4)
    assert graph.types["y"].shape == ("N", "T", 5)
    for n, t in ((1, 1), (3, 7)):
        assert_computes(graph, source, arrays(1, x=(n, t, 4)))


def test_unknown_dimensions_stay_open() -> None:
    source = model("g (float[?,4] x) => (float[?,4] y) { h = MatMul(x, w) y = Relu(h) }", SMALL)
    graph = load(source)
    assert graph.types["x"].shape == (None, 4)
    assert not isinstance((graph.types["y"].shape or ())[0], int)
    for n in (1, 3):
        assert_computes(graph, source, arrays(1, x=(n, 4)))


def test_an_unknown_rank_stays_unknown() -> None:
    source = model("g (float[N] x) => (float[N] y) { h = Neg(x) y = Relu(h) }")
    for value in (*source.graph.input, *source.graph.output):
        value.type.tensor_type.ClearField("shape")
    graph = load(source)
    assert graph.types["x"].shape is None
    for shape in ((3,), (2, 3), (2, 3, 4)):
        assert_computes(graph, source, arrays(1, x=shape))


def test_dimensions_of_zero_are_unknown() -> None:
    source = model("g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }")
    for value in (*source.graph.input, *source.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 0
    graph = load(source)
    assert graph.types["x"].shape == (None, 4)
    np.testing.assert_array_equal(Session(graph).run(X)["y"], np.maximum(X["x"], 0))


def test_shapes_that_the_exporter_stored_are_kept() -> None:
    """What onnx cannot infer (a reshape by computed numbers), the file may know."""
    text = (
        "g (float[N,4] x, int64[2] s) => (float[A,B] y) <float[N,2] h>"
        " { h = Reshape(x, s) y = Relu(h) }"
    )
    feeds = {**X, "s": np.array([6, 2])}
    assert loaded(model(text), feeds).types["h"].shape == ("N", 2)


# --- Names and order ----------------------------------------------------------------------------


def test_unnamed_nodes_are_named_after_type_and_place() -> None:
    graph = loaded(rows("h = MatMul(x, w) r = Relu(h) y = Relu(r)"))
    assert [n.loc.names for n in graph.nodes] == [("MatMul#0",), ("Relu#1",), ("Relu#2",)]


def test_nodes_of_the_same_name_are_told_apart() -> None:
    source = rows("h = MatMul(x, w) r = Relu(h) s = Relu(r) y = Relu(s)")
    for node, name in zip(source.graph.node, ("a", "a", "a#1", "a"), strict=True):
        node.name = name
    names = [n.loc.names[0] for n in load(source).nodes]
    assert names[0] == "a"
    assert len(set(names)) == 4


@pytest.mark.parametrize("opset", [9, 13, 21, 23])
def test_nodes_in_the_wrong_order_are_sorted(opset: int) -> None:
    source = rows("h = MatMul(x, w) r = Relu(h) s = Add(h, r) y = Neg(s)", opset=opset)
    shuffled = ModelProto.FromString(source.SerializeToString())
    nodes = list(shuffled.graph.node)
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(nodes[i] for i in (3, 1, 2, 0))
    graph = load(shuffled)
    assert op_types(graph) == ["MatMul", "Relu", "Add", "Neg"]
    assert all(kind.shape == ("N", 4) for kind in graph.types.values())
    if opset <= 21:
        assert_computes(graph, source, X)


# --- Functions ----------------------------------------------------------------------------------

FUNCTIONS = """
<domain: "local", opset_import: ["" : 17]>
Act <slope, offset> (x) => (y) {
    s = Constant<value_float: float = @slope>()
    o = Constant<value_float: float = @offset>()
    h = Mul(x, s)
    k = Add(h, o)
    y = Relu(k)
}
<domain: "local", opset_import: ["" : 17, "local" : 1]>
Block <slope> (x, w) => (y, z) {
    h = MatMul(x, w)
    y = local.Act<slope: float = @slope, offset = 0.25>(h)
    z = Neg(h)
}
"""


def test_functions_are_inlined_with_their_attributes() -> None:
    text = (
        "g (float[N,4] x) => (float[N,4] y, float[N,4] z) {"
        " f, n = local.Block<slope = 2.0>(x, w) h, z = local.Block<slope = -0.5>(f, w)"
        " y = Add(n, h) }"
    )
    graph = loaded(model(text, SMALL, domains={"local": 1}, functions=FUNCTIONS))
    block = ["MatMul", "Mul", "Add", "Relu", "Neg"]
    assert sorted(op_types(graph)) == sorted([*block, *block, "Add"])
    names = [node.loc.names[0] for node in graph.nodes]
    assert all(names)
    assert len(set(names)) == len(names)


def test_functions_nobody_calls_do_not_matter() -> None:
    source = model(
        "g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }",
        domains={"local": 1},
        functions=FUNCTIONS,
    )
    assert op_types(loaded(source)) == ["Relu"]


# --- External data ------------------------------------------------------------------------------


@pytest.fixture
def external(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    onnx.save(
        rows("h = MatMul(x, w) y = MatMul(h, v)"),
        str(path),
        save_as_external_data=True,
        location="net.bin",
        size_threshold=0,
    )
    return path


def test_external_data_is_read(external: Path) -> None:
    graph = load(external)
    assert graph.source == "net.onnx"
    np.testing.assert_array_equal(graph.consts["w"], SMALL["w"])
    assert_computes(graph, external, X)


def test_missing_external_data(external: Path) -> None:
    (external.parent / "net.bin").unlink()
    error = refusal(external)
    assert error.message == (
        f"weights of '{external}' lie in another file that cannot be read: no file 'net.bin'"
    )
    assert error.help == "keep the external data file beside the model, under its original name"


def test_truncated_external_data(external: Path) -> None:
    data = external.parent / "net.bin"
    data.write_bytes(data.read_bytes()[:70])
    assert "cannot be read" in refusal(external).message


def test_a_message_whose_external_data_was_not_loaded(external: Path) -> None:
    error = refusal(onnx.load(str(external), load_external_data=False))
    assert error.message == "weight 'w' is stored in another file that was not loaded"


# --- Opsets -------------------------------------------------------------------------------------

V = {
    **arrays(3, k=(3, 3, 3, 3), s=(3,), bb=(3,), mm=(3,), slope=(3, 1, 1)),
    "vv": np.abs(arrays(4, vv=(3,))["vv"]) + 0.5,
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
    "two": np.array([2]),
    "axes": np.array([2, 3]),
    "first": np.array([1, 1]),
    "last": np.array([5, 6]),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "none": np.zeros(0, np.float32),
}

OPSETS: dict[str, tuple[tuple[int, ...], str]] = {
    "batch norm": (
        (9, 11, 13, 17, 18, 20),
        "h = Conv<pads = [1,1,1,1]>(x, k) n = BatchNormalization(h, s, bb, mm, vv) y = Relu(n)",
    ),
    "softmax over the last axes": ((9, 11), "y = Softmax<axis = 1>(x)"),
    "softmax over what was the default": ((9, 11, 13), "y = Softmax(x)"),
    "log softmax": ((9, 11, 13, 18), "y = LogSoftmax<axis = 3>(x)"),
    "squeeze by attribute": (
        (9, 11),
        "h = ReduceMean<axes = [2,3]>(x) i = Squeeze<axes = [2,3]>(h)"
        " y = Unsqueeze<axes = [2,3]>(i)",
    ),
    "squeeze by input": (
        (13, 17),
        "h = ReduceMean<axes = [2,3]>(x) i = Squeeze(h, axes) y = Unsqueeze(i, axes)",
    ),
    "split": ((9, 11), "a, b, c = Split<axis = 1>(x) y = Add(a, b)"),
    "split by number": ((18, 20), "a, b, c = Split<axis = 1, num_outputs = 3>(x) y = Add(a, b)"),
    "slice by attribute": ((9,), "y = Slice<axes = [2,3], starts = [1,1], ends = [5,6]>(x)"),
    "slice by input": ((11, 13, 17), "y = Slice(x, first, last, axes)"),
    "pad by attribute": ((9,), "y = Pad<pads = [0,0,1,1,0,0,1,1]>(x)"),
    "pad by input": ((11, 13, 18), "y = Pad(x, pads)"),
    "clip by attribute": ((9,), "y = Clip<min = 0.0, max = 6.0>(x)"),
    "clip by input": ((11, 13, 17), "y = Clip(x, zero, six)"),
    "upsample": ((9,), 'y = Upsample<mode = "nearest">(x, scales)'),
    "resize": ((11, 13, 18), 'y = Resize<mode = "nearest">(x, none, scales)'),
    "top k by attribute": ((9,), "y, i = TopK<axis = 1, k = 2>(x)"),
    "top k by input": ((11, 13, 18), "y, i = TopK<axis = 1>(x, two)"),
    "reduce": ((9, 11), "y = ReduceSum<axes = [2], keepdims = 1>(x)"),
    "reduce by input": ((13, 18, 20), "y = ReduceSum(x, two)"),
    "pools": (
        (9, 11, 13, 17, 18, 20),
        "h = MaxPool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]>(x)"
        " y = AveragePool<kernel_shape = [2,2]>(h)",
    ),
    "dropout": ((9, 11, 13, 17), "h = Dropout(x) y = Relu(h)"),
    "prelu": ((9, 13, 17), "y = PRelu(x, slope)"),
    "transposed conv": ((9, 11, 13, 17), "y = ConvTranspose<strides = [2,2]>(x, k)"),
    "group norm": ((18, 20), "y = GroupNormalization<num_groups = 3>(x, s, bb)"),
    "gelu": ((20, 21), "y = Gelu(x)"),
    "mish": ((18, 21), "y = Mish(x)"),
}


def ranked(body: str, rank: int, opset: int, weights: Mapping[str, Array]) -> ModelProto:
    out = ",".join("?" * rank)
    return model(
        f"g (float[N,3,8,8] x) => (float[{out}] y) {{ {body} }}",
        weights,
        opset=opset,
        ir_version=4 if opset < 15 else 8 if opset < 19 else 10,
    )


@pytest.mark.parametrize(
    ("body", "opset"),
    [(body, opset) for opsets, body in OPSETS.values() for opset in opsets],
    ids=[f"{name}-{opset}" for name, (opsets, _) in OPSETS.items() for opset in opsets],
)
def test_operations_of_old_opsets(body: str, opset: int) -> None:
    source = ranked(body, 4, opset, V)
    assert_computes(Normalize()(loaded(source, IMAGES)), source, IMAGES)


def test_group_normalisation_with_a_scale_for_each_group() -> None:
    """Before opset 21 the scale is per group; onnx's own converter forgets that."""
    text = (
        "g (float[N,4,H] x) => (float[N,4,H] y) { y = GroupNormalization<num_groups = 2>(x, s, b) }"
    )
    loaded(model(text, arrays(1, s=(2,), b=(2,)), opset=18), arrays(2, x=(3, 4, 5)))


NEW = {
    "swish": "y = Swish(x)",
    "swish with a factor": "y = Swish<alpha = 1.5>(x)",
    "conv": "h = Conv(x, k) y = Relu(h)",
    "batch norm": "y = BatchNormalization(x, s, bb, mm, vv)",
    "group norm": "y = GroupNormalization<num_groups = 1>(x, s, bb)",
    "rms norm": "y = RMSNormalization(x, g)",
    "rms norm of more axes": "y = RMSNormalization<axis = 2, epsilon = 0.001>(x, gg)",
    "pad": "y = Pad(x, pads)",
    "resize": 'y = Resize<mode = "nearest">(x, , scales)',
    "reduce": "y = ReduceMean(x, two)",
}


@pytest.mark.parametrize(
    ("body", "opset"),
    [(b, o) for b in NEW.values() for o in (23, 24) if o == 24 or "Swish" not in b],
    ids=[f"{n}-{o}" for n in NEW for o in (23, 24) if o == 24 or "Swish" not in NEW[n]],
)
def test_operations_of_new_opsets(body: str, opset: int) -> None:
    source = ranked(body, 4, opset, {**V, **arrays(1, g=(8,), gg=(8, 8))})
    wanted = dict(zip(["y"], ReferenceEvaluator(source).run(None, IMAGES), strict=True))
    graph = load(source)
    for form in (graph, Normalize()(graph)):
        assert_same_outputs(Session(form, optimize=False).run(IMAGES), wanted)


def test_an_operation_too_new_to_expand_is_refused() -> None:
    text = (
        "g (float[2,4,3] x, float[2,1,3] u, int64[2] i) => (float[2,4,3] y)"
        " { y = TensorScatter(x, u, i) }"
    )
    error = refusal(model(text, opset=24, ir_version=10))
    assert error.message == "TensorScatter exists only from opset 24 on"
    assert error.at == "node 'TensorScatter#0' (TensorScatter)"


# --- Attention ----------------------------------------------------------------------------------

Q4 = arrays(1, q=(2, 3, 4, 8), k=(2, 3, 5, 8), v=(2, 3, 5, 8))
Q3 = arrays(2, q=(2, 4, 24), k=(2, 5, 24), v=(2, 5, 24))
GROUPED = arrays(3, q=(2, 6, 4, 8), k=(2, 3, 5, 8), v=(2, 3, 5, 8))
MASK = arrays(4, m=(4, 5))
PAST = arrays(5, pk=(2, 3, 2, 8), pv=(2, 3, 2, 8))
BOOLEAN = {"m": np.array(MASK["m"] > -0.5)}
Attention = tuple[str, Mapping[str, Array], str, str]

ATTENTION: dict[str, Attention] = {
    "4-D": ("", Q4, "q, k, v", "y"),
    "causal": ("<is_causal = 1>", Q4, "q, k, v", "y"),
    "scale": ("<scale = 0.3>", Q4, "q, k, v", "y"),
    "softcap": ("<softcap = 2.0>", Q4, "q, k, v", "y"),
    "mask": ("", {**Q4, **MASK}, "q, k, v, m", "y"),
    "mask of every head": ("", {**Q4, **arrays(6, m=(2, 1, 4, 5))}, "q, k, v, m", "y"),
    "boolean mask": ("", {**Q4, **BOOLEAN}, "q, k, v, m", "y"),
    "causal with mask": ("<is_causal = 1>", {**Q4, **MASK}, "q, k, v, m", "y"),
    "3-D": ("<q_num_heads = 3, kv_num_heads = 3>", Q3, "q, k, v", "y"),
    "grouped queries": ("", GROUPED, "q, k, v", "y"),
    "grouped queries, 3-D": (
        "<q_num_heads = 6, kv_num_heads = 3>",
        arrays(7, q=(2, 4, 48), k=(2, 5, 24), v=(2, 5, 24)),
        "q, k, v",
        "y",
    ),
    "values of another width": ("", {**Q4, **arrays(8, v=(2, 3, 5, 6))}, "q, k, v", "y"),
    "past": ("", {**Q4, **PAST, **arrays(9, m=(4, 7))}, "q, k, v, m, pk, pv", "y, a, b"),
    "past without mask": ("", {**Q4, **PAST}, "q, k, v, , pk, pv", "y, a, b"),
}


def attention_model(case: Attention, opset: int) -> ModelProto:
    attributes, feeds, arguments, results = case
    names = {"f": "float", "b": "bool"}
    inputs = ", ".join(
        f"{names[a.dtype.kind]}[{','.join(map(str, a.shape))}] {n}" for n, a in feeds.items()
    )
    rank = feeds["q"].ndim
    outputs = ", ".join(
        f"float[{','.join('?' * (rank if name == 'y' else 4))}] {name}"
        for name in results.split(", ")
    )
    text = f"g ({inputs}) => ({outputs}) {{ {results} = Attention{attributes}({arguments}) }}"
    return model(text, opset=opset, ir_version=10)


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize("case", ATTENTION.values(), ids=ATTENTION)
def test_attention_is_expanded(case: Attention, opset: int) -> None:
    source, feeds = attention_model(case, opset), case[1]
    values = ReferenceEvaluator(source).run(None, dict(feeds))
    wanted = dict(zip(case[3].split(", "), map(np.asarray, values), strict=True))
    graph = load(source)
    assert "Attention" not in op_types(graph)
    assert op_types(graph).count("MatMul") == 2
    assert op_types(graph).count("Softmax") == 1
    for form in (graph, Normalize()(graph)):
        assert_same_outputs(Session(form, optimize=False).run(feeds), wanted)


# --- Reading what was loaded --------------------------------------------------------------------


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_example_networks(path: Path) -> None:
    graph = load(path)
    shapes = {
        v: [d if isinstance(d, int) else 4 for d in graph.types[v].shape or ()]
        for v in graph.inputs
    }
    feeds: dict[str, Array] = {
        name: np.ones(shape, np.int64)
        if graph.types[name].dtype == "int64"
        else np.random.default_rng(0).random(shape, np.float32)
        for name, shape in shapes.items()
    }
    assert_computes(graph, path, feeds, 1e-4)
    assert graph.source == path.name


def test_loading_does_not_change_the_message() -> None:
    source = rows("c = Constant<value_float = 2.5>() h = Mul(x, c) y = Relu(h)")
    before = source.SerializeToString()
    load(source)
    assert source.SerializeToString() == before


def test_other_domains_of_onnxruntime() -> None:
    body = (
        "h = com.microsoft.FusedMatMul<alpha = 0.5>(x, w)"
        " y = com.microsoft.QuickGelu<alpha = 1.702>(h)"
    )
    source = model(
        f"g (float[N,4] x) => (float[N,4] y) {{ {body} }}", SMALL, domains={"com.microsoft": 1}
    )
    graph = loaded(source)
    assert op_types(graph) == ["com.microsoft.FusedMatMul", "com.microsoft.QuickGelu"]
    assert dict(graph.domains) == {"com.microsoft": 1}


@pytest.mark.parametrize("elem", [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8])
def test_quantised_weights(elem: int) -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { h = DequantizeLinear(c, scale) y = MatMul(x, h) }"
    source = model(text, {"scale": np.array(0.5, np.float32)}, opset=21, ir_version=10)
    source.graph.initializer.append(helper.make_tensor("c", elem, [4, 4], [1, 2, 3, 4] * 4))
    graph = loaded(source)
    assert_computes(Normalize()(graph), source, X)


def test_types_that_numpy_lacks_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    text = "g (float[N,4] x) => (bfloat16[N,4] y) { h = Cast<to = 16>(x) y = Mul(h, c) }"
    source = model(text)
    source.graph.initializer.append(
        helper.make_tensor("c", TensorProto.BFLOAT16, [4], [1.0, 2.0, 3.0, 4.0])
    )
    assert str(load(source).consts["c"].dtype) == "bfloat16"
    assert capfd.readouterr() == ("", "")


# --- Refusals -----------------------------------------------------------------------------------

ZIPMAP = (
    "g (float[N,4] x) => (seq(map(int64, float)) y)"
    " { h = Relu(x) y = ai.onnx.ml.ZipMap<classlabels_int64s = [0, 1, 2, 3]>(h) }"
)


def sparse_initializer() -> ModelProto:
    source = rows("y = MatMul(x, sparse)")
    source.graph.sparse_initializer.append(sparse_tensor())
    return source


def sparse_constant() -> ModelProto:
    source = rows("y = MatMul(x, sparse)")
    node = helper.make_node("Constant", [], ["sparse"], sparse_value=sparse_tensor())
    source.graph.node.insert(0, node)
    return source


def sparse_tensor() -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(
        helper.make_tensor("sparse", TensorProto.FLOAT, [1], [2.0]),
        helper.make_tensor("indices", TensorProto.INT64, [1], [5]),
        [4, 4],
    )


def damaged(size: int) -> ModelProto:
    text = f"g (float[N,{size}] x) => (float[N,{size}] y) {{ y = MatMul(x, w) }}"
    source = model(text, arrays(0, w=(size, size)))
    tensor = source.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-3]
    return source


def damaged_constant() -> ModelProto:
    source = rows("c = Constant<value = float[2,2] {1, 2, 3, 4}>() y = Mul(x, c)")
    source.graph.node[0].attribute[0].t.float_data.pop()
    return source


REFUSED: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "a graph of another domain": (
        lambda: model(
            "g (float[N,4] x) => (float[N,4] y) { y = com.microsoft.Each<body = t () => (a)"
            " { a = Relu(x) }>(x) }",
            domains={"com.microsoft": 1},
        ),
        "error: Each runs a subgraph, which snnc does not convert\n"
        "  at node 'Each#0' (Each)\n"
        "  help: export the model without control flow (fixed options, torch.export)",
    ),
    "zip map": (
        lambda: model(ZIPMAP, domains={"ai.onnx.ml": 1}),
        "error: 'y' is not a tensor but a sequence_type\n"
        "  help: export plain tensors (skl2onnx: options={'zipmap': False})",
    ),
    "sequence inside": (
        lambda: rows(
            "s = SplitToSequence<axis = 1>(x, two) zero = Constant<value_int = 0>()"
            " e = SequenceErase(s, zero) y = SequenceAt(e, zero)",
            {"two": np.array(2)},
        ),
        "error: 's' is not a tensor but a sequence_type\n"
        "  at node 'SplitToSequence#0' (SplitToSequence)\n"
        "  help: export the model with plain tensors (Split in place of SplitToSequence)",
    ),
    "sparse initializer": (
        sparse_initializer,
        "error: the model stores sparse weights\n  help: store them as dense initializers",
    ),
    "sparse constant": (
        sparse_constant,
        "error: the model stores sparse weights\n"
        "  at node 'Constant#0' (Constant)\n"
        "  help: store them as dense constants",
    ),
    "damaged weight": (
        lambda: damaged(4),
        "error: weight 'w' is damaged: buffer size must be a multiple of element size\n"
        "  help: export the model again",
    ),
    "damaged large weight": (
        lambda: damaged(64),
        "error: weight 'w' is damaged: buffer size must be a multiple of element size\n"
        "  help: export the model again",
    ),
    "damaged constant": (
        damaged_constant,
        "error: weight 'c' is damaged: cannot reshape array of size 3 into shape (2,2)\n"
        "  help: export the model again",
    ),
    "unknown operation": (
        lambda: rows("h = Rleu(x) y = Relu(h)"),
        "error: neither onnx nor the model defines the operation Rleu\n"
        "  at node 'Rleu#0' (Rleu)\n"
        "  help: export the model with standard operations, or with a function that defines this "
        "one",
    ),
    "unknown domain": (
        lambda: model(
            "g (float[N,4] x) => (float[N,4] y) { y = mine.Act(x) }", domains={"mine": 1}
        ),
        "error: neither onnx nor the model defines the operation Act\n"
        "  at node 'Act#0' (Act)\n"
        "  help: export the model with standard operations, or with a function that defines this "
        "one",
    ),
    "nothing computes an input": (
        lambda: rows("y = MatMul(x, nowhere)"),
        "error: 'nowhere' is read, but nothing computes it\n  at node 'MatMul#0' (MatMul)",
    ),
    "nothing computes an output": (
        lambda: model("g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Relu(x) }"),
        "error: nothing computes output 'z'",
    ),
    "a cycle": (
        lambda: rows("h = Add(x, k) k = Relu(h) y = Neg(k)"),
        "error: the node reads what is computed from its own result\n  at node 'Add#0' (Add)",
    ),
    "two assignments": (
        lambda: rows("y = Neg(x) y = Relu(x)"),
        "error: 'y' is computed twice\n  at node 'Relu#1' (Relu)",
    ),
    "a weight assigned to": (
        lambda: rows("w = Neg(x) y = MatMul(x, w)"),
        "error: 'w' is computed twice\n  at node 'Neg#0' (Neg)",
    ),
}


@pytest.mark.parametrize(("make", "text"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_represented_is_refused(make: Callable[[], ModelProto], text: str) -> None:
    assert refusal(make()).render() == text


def test_an_opset_from_the_future() -> None:
    error = refusal(rows("y = Relu(x)", opset=17 + 983))
    assert error.message.startswith("the model is of opset 1000, the installed onnx knows up to ")
    assert error.help


def test_functions_of_another_opset_are_refused() -> None:
    function = '<domain: "local", opset_import: ["" : 11]>\nF (x) => (y) { y = Softmax(x) }'
    text = "g (float[N,4] x) => (float[N,4] y) { y = local.F(x) }"
    error = refusal(model(text, domains={"local": 1}, functions=function))
    assert "functions with incompatible opset versions" in error.message


def no_onnx_file(name: str) -> str:
    return (
        f"error: '{name}' is not an ONNX file, or it is damaged\n"
        "  help: export the model again, or check that the download is complete"
    )


CONTENTS = {
    "text": b"this is a note, not a network\n" * 20,
    "random": np.random.default_rng(1).bytes(3000),
    "archive": b"PK\x03\x04" + bytes(200),
}


@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("name", ["a.onnx", "a.json", "a.textproto", "a.onnxtxt", "a"])
def test_files_that_are_no_models(tmp_path: Path, contents: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(contents)
    assert refusal(path).render() == no_onnx_file(str(path))


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"")
    assert refusal(path).render() == (
        f"error: '{path}' holds no ONNX network: it has no nodes\n"
        "  help: pass a model exported to ONNX"
    )


def test_a_directory_and_a_path_to_nothing(tmp_path: Path) -> None:
    assert refusal(tmp_path).render() == f"error: cannot read '{tmp_path}': Is a directory"
    missing = tmp_path / "a.onnx"
    assert refusal(missing).render() == f"error: there is no file '{missing}'"
    beyond = tmp_path / "nowhere" / "a.onnx"
    assert refusal(beyond).render() == f"error: there is no file '{beyond}'"


def test_every_truncation_is_an_error_of_ours(tmp_path: Path) -> None:
    whole = rows("h = MatMul(x, w) y = Relu(h)").SerializeToString()
    path = tmp_path / "a.onnx"
    messages = set()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        messages.add(refusal(path).message)
    assert f"'{path}' is not an ONNX file, or it is damaged" in messages


# --- What onnxruntime's optimiser and tf2onnx write ---------------------------------------------


@pytest.mark.parametrize("opset", [11, 14, 16, 17])
def test_layer_norm_of_onnxruntime_in_old_opsets(opset: int) -> None:
    body = "n = LayerNormalization<axis = -1>(x, g, b) y = MatMul(n, v)"
    source = rows(body, arrays(3, g=(4,)), opset=opset)
    graph = loaded(source)
    assert op_types(graph) == ["LayerNormalization", "MatMul"]


def test_simplified_layer_norm_of_onnxruntime() -> None:
    body = "n = SimplifiedLayerNormalization<axis = -1>(x, g) y = MatMul(n, v)"
    source = rows(body, arrays(3, g=(4,)), opset=14)
    graph = Normalize()(load(source))
    assert "SimplifiedLayerNormalization" not in op_types(graph)
    assert_computes(graph, source, X)


def test_bytes_in_an_attribute_are_no_damage() -> None:
    source = rows("h = StatefulPartitionedCall(x) y = MatMul(h, v)")
    source.graph.node[0].attribute.add(name="config", type=3, s=b"\xff\xfe\x00")
    assert refusal(source).message.startswith("neither onnx nor the model defines")
    known = rows("h = Relu(x) y = MatMul(h, v)")
    known.graph.node[0].attribute.add(name="config", type=3, s=b"\xff\xfe\x00")
    assert refusal(known).message == "an attribute of Relu is neither text nor numbers"
