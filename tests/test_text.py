"""The text form at every stage, its round trip, and what verify refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (numpy's names for bfloat16 and the 8-bit floats)
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.calibrated import calibrate_sites, with_scale
from snnc.data import samples_of
from snnc.errors import CompileError
from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import (
    Activity,
    Array,
    Attribute,
    Coding,
    Loc,
    Neuron,
    Op,
    Site,
    Statistics,
    Type,
    real,
)
from snnc.ir.parse import parse_graph
from snnc.ir.text import digest, format_graph
from snnc.ir.verify import verify
from snnc.neurons.sfn import SFN
from snnc.passes.normalize import Normalize
from snnc.passes.place_sites import PlaceSites
from snnc.pipeline import run_passes
from snnc.random_data import random_feeds
from tests.onnx_models import EXAMPLES, model


def pipeline(graph: Graph, feeds: Mapping[str, Array], scale: float) -> dict[str, Graph]:
    """The graph after every pass, by the name of the pass."""
    neuron, seen = SFN(), dict[str, Graph]()
    watch = seen.__setitem__
    sited = run_passes(graph, (Normalize(), PlaceSites()), watch)
    network = calibrate_sites(graph, sited, samples_of(feeds, graph))
    with_scale(network.graph(watch=watch), neuron, scale, watch=watch)
    return seen


def same(graph: Graph) -> bool:
    return parse_graph(format_graph(graph), graph.consts) == graph


# --- Golden -------------------------------------------------------------------------------------


@cache
def tiny() -> dict[str, Graph]:
    source = model(
        "tiny (float[batch,2] x) => (float[batch,4] logits)"
        " { h = Gemm(x, w1, b1) a = Relu(h) logits = MatMul(a, w2) }",
        {
            "w1": np.array([[1, -1, 0.5], [0, 2, -0.25]], np.float32),
            "b1": np.array([0, 0.5, -1], np.float32),
            "w2": np.arange(12, dtype=np.float32).reshape(3, 4) / 4,
        },
    )
    for node, name in zip(
        source.graph.node, ("/fc1/Gemm", "/act/Relu", "/fc2/MatMul"), strict=True
    ):
        node.name = name
    x = np.array([[0, 0], [1, 2], [-1, 1], [3, -2]], np.float32)
    return pipeline(load(source), {"x": x}, 0.25)


WEIGHTS = """\
const %w1 : f32[2,3] = [1.0, -1.0, 0.5, 0.0, 2.0, -0.25]
const %b1 : f32[3] = [0.0, 0.5, -1.0]
const %w2 : f32[3,4] = #640468aa
"""
SEEN = "count=12, zeros=0.5, minimum=0.0, maximum=3.5, mean=1.0416666, low=0.0, high=3.5"
GOLDEN = {
    "normalize": f"""\
graph @tiny {{stage="ann", timesteps=1}}
{WEIGHTS}in %x : real[batch,2]
%h : real[batch,3] = Gemm(%x, %w1, %b1)  @ /fc1/Gemm
%a : real[batch,3] = Relu(%h)  @ /act/Relu
%logits : real[batch,4] = MatMul(%a, %w2)  @ /fc2/MatMul
out %logits
""",
    "place-sites": f"""\
graph @tiny {{stage="sited", timesteps=1}}
{WEIGHTS}in %x : real[batch,2]
%h : real[batch,3] = Gemm(%x, %w1, %b1)  @ /fc1/Gemm
%a : real[batch,3] = Relu(%h)  @ /act/Relu
%a.spikes : real[batch,3] = site(%a) {{role="activation"}}  @ /act/Relu
%logits : real[batch,4] = MatMul(%a.spikes, %w2)  @ /fc2/MatMul
out %logits
""",
    "calibrate": f"""\
graph @tiny {{stage="calibrated", timesteps=1}}
{WEIGHTS}in %x : real[batch,2]
%h : real[batch,3] = Gemm(%x, %w1, %b1)  @ /fc1/Gemm
%a : real[batch,3] = Relu(%h)  @ /act/Relu
%a.spikes : real[batch,3] = site(%a) {{role="activation", {SEEN}}}  @ /act/Relu
%logits : real[batch,4] = MatMul(%a.spikes, %w2)  @ /fc2/MatMul
out %logits
""",
    "assign-thresholds": f"""\
graph @tiny {{stage="thresholded", timesteps=1}}
{WEIGHTS}in %x : real[batch,2]
%h : real[batch,3] = Gemm(%x, %w1, %b1)  @ /fc1/Gemm
%a : real[batch,3] = Relu(%h)  @ /act/Relu
%a.spikes : real[batch,3] = site(%a) {{role="activation", {SEEN}, step=[0.875, 0.0]}}  @ /act/Relu
%logits : real[batch,4] = MatMul(%a.spikes, %w2)  @ /fc2/MatMul
out %logits
""",
    "substitute": f"""\
graph @tiny {{stage="spiking", timesteps=1}}
{WEIGHTS}const %a.spikes.step+ : f32[] = [0.875]
in %x : real[batch,2]
%h : real[batch,3] = Gemm(%x, %w1, %b1)  @ /fc1/Gemm
%a.spikes : spike[batch,3] = sfn(%h, %a.spikes.step+, _) {{PARAMETERS}}  @ /act/Relu
%logits : real[batch,4] = MatMul(%a.spikes, %w2)  @ /fc2/MatMul
out %logits
""".replace("PARAMETERS", 'M=8, rule="nearest", levels="dense", bound=inf'),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_text(name: str) -> None:
    assert format_graph(tiny()[name]) == GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_text_is_read_back(name: str) -> None:
    graph = tiny()[name]
    assert parse_graph(GOLDEN[name], graph.consts) == graph
    verify(parse_graph(GOLDEN[name], graph.consts), graph.stage)


def test_the_text_form_may_be_laid_out_freely() -> None:
    graph = tiny()["substitute"]
    spaced = "\n\n".join(
        re.sub(r"([(){}\[\],=])", r" \1 ", line) for line in GOLDEN["substitute"].splitlines()
    )
    assert parse_graph(spaced, graph.consts) == graph


# --- Round trip ---------------------------------------------------------------------------------


@cache
def example(path: Path) -> dict[str, Graph]:
    graph = load(path)
    return pipeline(graph, random_feeds(graph, 4, 6), 0.1)


@pytest.mark.parametrize(
    "stage", ["normalize", "place-sites", "calibrate", "softmax-max", "substitute"]
)
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_round_trip_of_the_examples(path: Path, stage: str) -> None:
    graph = example(path)[stage]
    assert len(graph.nodes) > 5
    assert same(graph)


def small(
    *,
    name: str = "g",
    value: str = "x",
    loc: tuple[str, ...] = ("n",),
    op_type: str = "Foo",
    inputs: tuple[str, ...] = ("in0",),
    attrs: Mapping[str, Attribute] | None = None,
    kind: Type | None = None,
    consts: Mapping[str, Array] | None = None,
    **head: Any,
) -> Graph:
    """One operation of everything that can be odd."""
    kind = kind or real("float32", ("N", 4))
    return Graph(
        name,
        ("in0",),
        (value,),
        (Op((value,), inputs, Loc(loc), op_type, attrs or {}),),
        {"in0": kind, value: kind},
        consts or {},
        **head,
    )


ODD = (
    *("a b", " ", 'q"uote', "c:olon", ":", "::", "%x", "_", "é", "日本", "a,b", "a=b", "a{b}", "}"),
    *("{}", "[x]", "(y)", "12", "-1", "*", "?", "@", "#12", "in", "out", "graph", "const", "site"),
    *("sfn", "tensor", "real", "true", "nan", "1e5", "\n", "\t", "\\", "a\\", "'", "=", "stage="),
    *('x {stage="ann"}', "a\u2028b", "a\x85b", "\x1c", "/blocks.0/attn/q:0", "a//b", "-", "+"),
)


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_odd_names(name: str) -> None:
    assert same(small(name=name))
    assert same(small(value=name))
    assert same(small(loc=(name, "other", name)))
    assert same(small(kind=real("float32", (name, 3, None))))
    assert same(small(source=name, domains={name: 3, "com.microsoft": 1}))
    assert same(small(attrs={"text": name, "texts": (name, "x")}))
    assert same(small(consts={name: np.arange(3), f"{name}2": np.arange(40)}))


def test_empty_names() -> None:
    assert same(small(name=""))
    assert format_graph(small(name="")).startswith('graph @"" {stage="ann"')
    assert same(small(loc=("", "x")))
    assert same(small(attrs={"text": "", "texts": ("",)}))


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=6),
    st.text(min_size=1, max_size=6).filter(lambda name: name != "in0"),
    st.dictionaries(
        st.text(min_size=1, max_size=4),
        st.one_of(
            st.integers(-(2**63), 2**63 - 1),
            st.floats(width=32, allow_nan=False),
            st.text(max_size=5),
            st.lists(st.integers(-9, 9), max_size=3).map(tuple),
            st.lists(st.floats(width=32, allow_nan=False), max_size=3).map(tuple),
            st.lists(st.text(max_size=3), max_size=3).map(tuple),
        ),
        max_size=3,
    ),
)
def test_round_trip_of_any_names_and_attributes(
    name: str, value: str, attrs: dict[str, Attribute]
) -> None:
    encodable = "".join(c for c in value if not 0xD800 <= ord(c) < 0xE000)
    assert same(small(name=name, value=encodable or "v", loc=(name,), attrs=attrs))


DTYPES = (
    *("float16", "float32", "float64", "bfloat16", "bool", "int4", "uint4", "complex64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float8_e4m3fn", "float8_e5m2"),
)
SHORT = {"float16": "real.f16", "float64": "real.f64", "bfloat16": "real.bf16", "int64": "i64"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0, 1, 3, 20])
def test_constants_of_every_type(dtype: str, size: int) -> None:
    array = np.arange(size).astype(dtype)
    assert same(small(kind=real(dtype, ("N",)), consts={"c": array, "d": array.reshape(1, -1)}))


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "complex64"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5)])
def test_attributes_that_are_tensors(dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(int(np.prod(shape))) % 7).astype(dtype).reshape(shape)
    assert same(small(attrs={"value": array, "axis": 1}))


@pytest.mark.parametrize("dtype", SHORT)
def test_types_as_they_are_printed(dtype: str) -> None:
    text = format_graph(small(kind=real(dtype, ("N", 3, None))))
    assert f"in %in0 : {SHORT[dtype]}[N,3,?]" in text


@pytest.mark.parametrize(
    "values",
    [
        [0.0, -0.0, 1e-45, 3.4028235e38],
        [np.inf, -np.inf, np.nan, 1.0],
        [0.1, 1 / 3, 1e20, 16777217.0],
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_survive_bit_by_bit(values: list[float], dtype: str) -> None:
    array = np.array(values, dtype)
    assert same(small(consts={"c": array}, attrs={"t": array}))


@pytest.mark.parametrize(
    "value", [np.inf, -np.inf, -0.0, 1e-45, float(np.float32(0.1)), 2**62, -5, ()]
)
def test_attributes_that_are_numbers(value: float) -> None:
    found = parse_graph(format_graph(small(attrs={"v": value})), {}).nodes[0]
    assert isinstance(found, Op)
    assert type(found.attrs["v"]) is type(value)
    assert str(found.attrs["v"]) == str(value) or found.attrs["v"] == np.float32(value)


@pytest.mark.parametrize("shape", [None, (), (None,), ("N", 3), (1, 2, 3, 4, 5)])
def test_shapes(shape: tuple[int | str | None, ...] | None) -> None:
    assert same(small(kind=real("float32", shape)))


def test_absent_inputs_and_outputs() -> None:
    kind = real("float32", ("N",))
    nodes = (
        Op(("a", "", "b"), ("in0", "", "in0"), Loc(("n",)), "Split"),
        Op(("y",), ("a", "", "", "b"), Loc(("m",)), "Foo"),
    )
    graph = Graph("g", ("in0",), ("y",), nodes, dict.fromkeys(("in0", "a", "b", "y"), kind), {})
    assert "%a : real[N], _, %b : real[N] = Split(%in0, _, %in0)" in format_graph(graph)
    assert same(graph)


def test_a_neuron_with_its_activity() -> None:
    graph = tiny()["substitute"]
    nodes = tuple(
        replace(n, activity=Activity(0.5, 0.25)) if isinstance(n, Neuron) else n
        for n in graph.nodes
    )
    active = replace(graph, nodes=nodes)
    assert "spikes=0.5, events=0.25}" in format_graph(active)
    assert same(active)
    assert parse_graph(format_graph(active), active.consts) != graph


def test_a_source_and_domains() -> None:
    graph = small(source='a "b".onnx', domains={"com.microsoft": 1, "ai.onnx.ml": 3})
    head = format_graph(graph).splitlines()[0]
    assert head == (
        r'graph @g {stage="ann", timesteps=1, source="a \"b\".onnx", '
        r'domains={"com.microsoft": 1, "ai.onnx.ml": 3}}'
    )
    assert same(graph)


# --- Digests ------------------------------------------------------------------------------------


def test_digests_tell_contents_types_and_shapes_apart() -> None:
    array = np.arange(12, dtype=np.int32)
    others = (array + 1, array.astype(np.float32), array.reshape(3, 4), array.view(np.uint32))
    assert len({digest(a) for a in (array, *others)}) == 5
    assert digest(array) == digest(array.copy())
    matrix = array.reshape(3, 4)
    assert digest(np.asfortranarray(matrix)) == digest(matrix)


def test_digests_of_texts_do_not_depend_on_the_process() -> None:
    assert digest(np.array(["no", "yes"] * 5, object)) == "60215354"


def test_a_tensor_that_is_not_the_one_printed() -> None:
    graph = small(consts={"c": np.arange(20)})
    text = format_graph(graph)
    for tensors in ({}, {"c": np.arange(1, 21)}, {"c": np.arange(20).astype(np.int32)}):
        with pytest.raises(CompileError) as caught:
            parse_graph(text, tensors)
        assert caught.value.message == (
            f"line 2 of the text form: no tensor with digest #{digest(np.arange(20))} was given"
        )
        assert caught.value.line == text.splitlines()[1]


# --- Syntax errors ------------------------------------------------------------------------------

SYNTAX = {
    "%x = Foo(%in0)  @ n": "expected ':' before '='",
    "%x : real[N = Foo(%in0)  @ n": "expected ']' before '='",
    "%x : real[N] = Foo(%in0  @ n": "expected ')' before '@'",
    "%x : real[N] = Foo(%in0)": "expected '@' before ''",
    "%x : real[N] = Foo(in0)  @ n": "expected '%' before 'in0'",
    "%x : real[N] = Foo(%in0) {a}  @ n": "expected '=' before '}'",
    "%x : real[N] = Foo(%in0) {a=b}  @ n": "could not convert string to float: 'b'",
    "%x : real[N] = Foo(%in0)  @ n o": "unexpected 'o'",
    "%x : real[N] = Foo(%in0)  @": "expected a name before ''",
    "%x : real.q7[N] = Foo(%in0)  @ n": "cannot be read ('q7')",
    "%x : real[N] = site(%in0)  @ n": "cannot be read ('role')",
    "const %c : f32[3] = [1.0, 2.0]": (
        "cannot be read (cannot reshape array of size 2 into shape (3,))"
    ),
    "const %c : f32[a] = [1.0]": "cannot be read (invalid literal for int() with base 10: 'a')",
    "const %c : q7[1] = [1.0]": "cannot be read (data type 'q7' not understood)",
    "const %c : i64[1] = [1.5]": "cannot be read (invalid literal for int() with base 10: '1.5')",
    "const %c : i8[1] = [300]": "cannot be read (Python integer 300 out of bounds for int8)",
    "out %x %y": "unexpected '%'",
    "in %in1": "expected ':' before ''",
    "nonsense": "expected '%' before 'nonsense'",
    '%"unfinished : real[N] = Foo(%in0)  @ n': "cannot be read",
}


@pytest.mark.parametrize(("line", "problem"), SYNTAX.items(), ids=SYNTAX)
def test_syntax_errors_name_the_line(line: str, problem: str) -> None:
    text = f'graph @g {{stage="ann", timesteps=1}}\nin %in0 : real[N]\n{line}\nout %x\n'
    with pytest.raises(CompileError) as caught:
        parse_graph(text, {})
    assert caught.value.message.startswith("line 3 of the text form")
    assert problem in caught.value.message
    assert caught.value.line == line


HEADS = {
    "in %x : real[N]\nout %x\n": "the text form has no line 'graph @name {...}'",
    "": "the text form has no line 'graph @name {...}'",
    'graph @g {stage="annn", timesteps=1}': "cannot be read ('ANNN')",
    'graph @g {stage="ann", timesteps=x}': "invalid literal for int()",
    'graph @g {stage="ann", steps=1}': "unknown key of the graph 'steps'",
    "graph @g": "expected '{' before ''",
    'graph g {stage="ann"}': "expected '@' before 'g'",
}


@pytest.mark.parametrize(("text", "problem"), HEADS.items(), ids=range(len(HEADS)))
def test_errors_in_the_head(text: str, problem: str) -> None:
    with pytest.raises(CompileError) as caught:
        parse_graph(text, {})
    assert problem in caught.value.render()


def test_errors_of_the_neuron_name_the_line() -> None:
    graph = tiny()["substitute"]
    text = GOLDEN["substitute"].replace("M=8", "M=99")
    with pytest.raises(CompileError) as caught:
        parse_graph(text, graph.consts)
    assert caught.value.message == "sfn: M must be an integer from 1 to 10, not 99"
    assert caught.value.line is not None
    assert "sfn(%h" in caught.value.line


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 2**20), st.integers(1, 4), st.sampled_from(["", "x", " ", '"', "{", "%", "1"])
)
def test_any_damage_is_an_error_of_ours(at: int, width: int, other: str) -> None:
    graph, text = tiny()["substitute"], GOLDEN["substitute"]
    at %= len(text)
    damaged = text[:at] + other + text[at + width :]
    try:
        parsed = parse_graph(damaged, graph.consts)
        verify(parsed, parsed.stage)
    except CompileError as error:
        assert error.render().startswith("error: ")


# --- Verify -------------------------------------------------------------------------------------

KIND = real("float32", ("N", 4))
SPIKES = replace(KIND, coding=Coding.SPIKE)
LOC = Loc(("n",))
SEEN_BY = Statistics(8, 0.5, -1.0, 1.0, 0.0, -0.75, 0.75)


def step(value: object, dtype: str = "float32") -> Array:
    return np.array(value, dtype)


def chain(*nodes: Op | Site | Neuron, stage: Stage = Stage.ANN, **changes: Any) -> Graph:
    """x -> nodes -> the first result of the last one; constants: w and the step s."""
    computed = {name: KIND for node in nodes for name in node.outputs}
    consts = {"w": step(np.eye(4)), "s": step(0.5), **changes.pop("consts", {})}
    types = {"x": KIND, **computed, **changes.pop("types", {})}
    last = nodes[-1].outputs[0]
    return replace(Graph("g", ("x",), (last,), nodes, types, consts, stage), **changes)


RELU = Op(("y",), ("x",), LOC, "Relu")
SITE = Site(("p",), ("x",), LOC, "activation")
PRODUCT = Op(("y",), ("p", "w"), LOC, "MatMul")
CELL = Neuron(("p",), ("x", "s", ""), LOC, SFN())


def sited(site: Site, stage: Stage) -> Graph:
    return chain(site, PRODUCT, stage=stage)


def spiking(neuron: Neuron, **changes: Any) -> Graph:
    types = {"p": SPIKES, **changes.pop("types", {})}
    return chain(neuron, PRODUCT, stage=Stage.SPIKING, types=types, **changes)


LEGAL: dict[str, Graph] = {
    "ann": chain(RELU),
    "sited": sited(SITE, Stage.SITED),
    "calibrated": sited(replace(SITE, statistics=SEEN_BY), Stage.CALIBRATED),
    "thresholded": sited(replace(SITE, statistics=SEEN_BY, step=(0.5, 0.0)), Stage.THRESHOLDED),
    "spiking": spiking(CELL),
    "a step for each channel, one of them dead": spiking(CELL, consts={"s": step([[0.5], [0.0]])}),
    "silent": spiking(replace(CELL, inputs=("x", "", ""))),
    "spikes through layout": chain(
        CELL,
        Op(("q",), ("p",), LOC, "Reshape"),
        Op(("y",), ("q", "w"), LOC, "MatMul"),
        stage=Stage.SPIKING,
        types={"p": SPIKES, "q": SPIKES},
    ),
}


@pytest.mark.parametrize("graph", LEGAL.values(), ids=LEGAL)
def test_legal_graphs(graph: Graph) -> None:
    verify(graph, graph.stage)
    assert same(graph)


def writeable() -> Graph:
    graph = chain(RELU)
    array = step(1.0)
    object.__setattr__(graph, "consts", {"w": array})
    return graph


def without_type(name: str) -> Graph:
    graph = chain(RELU)
    return replace(graph, types={n: t for n, t in graph.types.items() if n != name})


THRESHOLDED = replace(SITE, statistics=SEEN_BY, step=(0.5, 0.5))
ILLEGAL: dict[str, tuple[Callable[[], Graph], Stage, str]] = {
    "another stage": (lambda: chain(RELU), Stage.SITED, "graph is at stage ANN, expected SITED"),
    "double assignment": (
        lambda: chain(RELU, Op(("y",), ("x",), LOC, "Neg")),
        Stage.ANN,
        "%y is assigned twice",
    ),
    "an input assigned to": (
        lambda: chain(Op(("x",), ("x",), LOC, "Neg")),
        Stage.ANN,
        "%x is assigned twice",
    ),
    "a constant assigned to": (
        lambda: chain(Op(("w",), ("x",), LOC, "Neg")),
        Stage.ANN,
        "%w is assigned twice",
    ),
    "use before definition": (
        lambda: chain(Op(("y",), ("z",), LOC, "Neg"), Op(("z",), ("x",), LOC, "Relu")),
        Stage.ANN,
        "%z is read before it is computed",
    ),
    "use of nothing": (
        lambda: chain(Op(("y",), ("nowhere",), LOC, "Neg")),
        Stage.ANN,
        "%nowhere is read before it is computed",
    ),
    "an output of nothing": (
        lambda: chain(RELU, outputs=("y", "z")),
        Stage.ANN,
        "output %z is never computed",
    ),
    "an untyped value": (lambda: without_type("y"), Stage.ANN, "%y has no type"),
    "an untyped input": (lambda: without_type("x"), Stage.ANN, "input %x has no type"),
    "no origin": (
        lambda: chain(replace(RELU, loc=Loc(()))),
        Stage.ANN,
        "the node names no original ONNX node",
    ),
    "spikes from no neuron": (
        lambda: chain(RELU, types={"y": SPIKES}),
        Stage.ANN,
        "%y is typed as spikes but comes from no neuron",
    ),
    "spikes from a sum of spikes": (
        lambda: chain(
            CELL,
            Op(("y",), ("p", "p"), LOC, "Add"),
            stage=Stage.SPIKING,
            types={"p": SPIKES, "y": SPIKES},
        ),
        Stage.SPIKING,
        "%y is typed as spikes but comes from no neuron",
    ),
    "layout of real numbers typed as spikes": (
        lambda: chain(Op(("y",), ("x",), LOC, "Reshape"), types={"y": SPIKES}),
        Stage.ANN,
        "%y is typed as spikes but comes from no neuron",
    ),
    "a site in an ANN": (
        lambda: sited(SITE, Stage.ANN),
        Stage.ANN,
        "a site has no place at stage ANN",
    ),
    "a site in a spiking network": (
        lambda: sited(THRESHOLDED, Stage.SPIKING),
        Stage.SPIKING,
        "a site has no place at stage SPIKING",
    ),
    "statistics too early": (
        lambda: sited(replace(SITE, statistics=SEEN_BY), Stage.SITED),
        Stage.SITED,
        "statistics do not belong to stage SITED",
    ),
    "no statistics": (
        lambda: sited(SITE, Stage.CALIBRATED),
        Stage.CALIBRATED,
        "statistics do not belong to stage CALIBRATED",
    ),
    "thresholds too early": (
        lambda: sited(THRESHOLDED, Stage.CALIBRATED),
        Stage.CALIBRATED,
        "thresholds do not belong to stage CALIBRATED",
    ),
    "no thresholds": (
        lambda: sited(replace(SITE, statistics=SEEN_BY), Stage.THRESHOLDED),
        Stage.THRESHOLDED,
        "thresholds do not belong to stage THRESHOLDED",
    ),
    "a site that changes the type": (
        lambda: replace(
            sited(SITE, Stage.SITED),
            types={"x": KIND, "p": real("float64", ("N", 4)), "y": KIND},
        ),
        Stage.SITED,
        "a site keeps the type of its input",
    ),
    "a site of nothing": (
        lambda: sited(replace(SITE, inputs=()), Stage.SITED),
        Stage.SITED,
        "a site has one input and one result",
    ),
    "a site of two values": (
        lambda: sited(replace(SITE, inputs=("x", "x")), Stage.SITED),
        Stage.SITED,
        "a site has one input and one result",
    ),
    "an unknown role": (
        lambda: sited(replace(SITE, role="gate"), Stage.SITED),  # type: ignore[arg-type]
        Stage.SITED,
        "a site has no role 'gate'",
    ),
    "a neuron of nothing": (
        lambda: spiking(replace(CELL, inputs=("", "s", ""))),
        Stage.SPIKING,
        "a neuron has an input, two steps and one result",
    ),
    "a neuron of three steps": (
        lambda: spiking(replace(CELL, inputs=("x", "s", "s", "s"))),
        Stage.SPIKING,
        "a neuron has an input, two steps and one result",
    ),
    "a neuron before its stage": (
        lambda: chain(CELL, PRODUCT, stage=Stage.SITED, types={"p": SPIKES}),
        Stage.SITED,
        "a neuron has no place at stage SITED",
    ),
    "a neuron that emits reals": (
        lambda: spiking(CELL, types={"p": KIND}),
        Stage.SPIKING,
        "a neuron emits float32 spikes",
    ),
    "a neuron that emits doubles": (
        lambda: spiking(CELL, types={"p": replace(SPIKES, dtype="float64")}),
        Stage.SPIKING,
        "a neuron emits float32 spikes",
    ),
    "a step that is computed": (
        lambda: spiking(replace(CELL, inputs=("x", "x", ""))),
        Stage.SPIKING,
        "threshold %x is not a constant > 0 and finite",
    ),
    "a step of doubles": (
        lambda: spiking(CELL, consts={"s": step(0.5, "float64")}),
        Stage.SPIKING,
        "threshold %s is not a constant > 0 and finite",
    ),
    "a writeable constant": (writeable, Stage.ANN, "constant %w can be written to"),
    "neurons of one timestep among two": (
        lambda: spiking(CELL, timesteps=2),
        Stage.SPIKING,
        "a neuron of 1 timesteps in 2",
    ),
    "a bare nonlinear operation over timesteps": (
        lambda: chain(
            replace(CELL, timesteps=2),
            replace(RELU, inputs=("p",)),
            stage=Stage.SPIKING,
            types={"p": SPIKES},
            timesteps=2,
        ),
        Stage.SPIKING,
        "over 2 timesteps a nonlinear operation reads means only",
    ),
}
for _value in (np.nan, np.inf, -0.5):
    ILLEGAL[f"a site's step of {_value}"] = (
        lambda value=_value: sited(replace(THRESHOLDED, step=(0.5, value)), Stage.THRESHOLDED),  # type: ignore[misc]
        Stage.THRESHOLDED,
        f"threshold {_value} is not a finite number >= 0",
    )
for _value in (np.nan, np.inf, -0.5, 0.0):
    ILLEGAL[f"a neuron's step of {_value}"] = (
        lambda value=_value: spiking(CELL, consts={"s": step(value)}),  # type: ignore[misc]
        Stage.SPIKING,
        "threshold %s is not a constant > 0 and finite",
    )


@pytest.mark.parametrize(("make", "stage", "message"), ILLEGAL.values(), ids=ILLEGAL)
def test_illegal_graphs_are_refused(make: Callable[[], Graph], stage: Stage, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        verify(make(), stage)
    assert caught.value.message == message


def test_the_error_shows_the_node_in_text() -> None:
    graph = chain(RELU, Op(("y",), ("x",), Loc(("/act/Neg",)), "Neg"), source="net.onnx")
    with pytest.raises(CompileError) as caught:
        verify(graph, Stage.ANN)
    assert caught.value.render() == (
        "error: %y is assigned twice\n"
        "  at node '/act/Neg' (Neg) of net.onnx\n"
        "    %y : real[N,4] = Neg(%x)  @ /act/Neg"
    )
