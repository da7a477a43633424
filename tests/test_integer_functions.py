"""Bodies of the composed operations: value for value what their definition says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from snnc.export import export
from snnc.ir.channels_last import channels_first, channels_last
from snnc.ir.composed import Activation, Composed, composed, neuron_attributes
from snnc.ir.graph import DOMAIN, Graph, Stage
from snnc.ir.node import Array, Attribute, Coding, Loc, Neuron, Op, Sides, Type, real
from snnc.ir.rate_neuron import ZERO_POINT
from snnc.neurons.sfn import SFN
from snnc.runtime import Session

LOC = Loc(("layer",))


def operation(
    made: Composed,
    feeds: Mapping[str, Array],
    consts: Mapping[str, Array],
    attrs: Mapping[str, Attribute],
) -> Graph:
    """A network of one operation. feeds: its inputs at run time."""
    inputs = tuple(v if v in feeds or v in consts else "" for v in made.inputs)
    assert set(consts) <= set(inputs)
    attrs = dict(attrs)
    if made.neuron is not None:
        attrs |= neuron_attributes(Neuron(("y",), ("x", "", ""), LOC, made.neuron))
    op = Op(made.outputs, inputs, LOC, f"{DOMAIN}.{made.name}", attrs)
    assert composed(op) == made
    result = Type(Coding.SPIKE, "uint8", None) if made.count else real("float32", None)
    types = {v: real(str(a.dtype), a.shape) for v, a in feeds.items()}
    types |= {"kept": real("float32", None), "y": result}
    return Graph("g", tuple(feeds), made.outputs, (op,), types, consts, stage=Stage.SPIKING)


def run(
    made: Composed,
    feeds: Mapping[str, Array],
    consts: Mapping[str, Array] | None = None,
    attrs: Mapping[str, Attribute] | None = None,
) -> Array:
    """The first result, see `results`."""
    return results(made, feeds, consts, attrs)[0]


def results(
    made: Composed,
    feeds: Mapping[str, Array],
    consts: Mapping[str, Array] | None = None,
    attrs: Mapping[str, Attribute] | None = None,
) -> list[Array]:
    """All results, the same with and without graph optimisations and in onnx's own evaluator."""
    graph = operation(made, feeds, consts or {}, attrs or {})
    runs = [Session(graph, optimize=optimize).run(feeds) for optimize in (False, True)]
    found = [[values[name] for name in made.outputs] for values in runs]
    found.append(ReferenceEvaluator(export(graph).model).run(None, dict(feeds)))  # type: ignore[arg-type]
    for others in found[1:]:
        for mine, other in zip(found[0], others, strict=True):
            if made.drive.startswith("Spike") or not made.drive:
                np.testing.assert_array_equal(mine, other)
            else:
                np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)
    return found[0]


def gelu(z: Array) -> Array:
    """x/2 (1 + erf(x/sqrt 2)) in the order of roundings that bodies and kernels share."""
    f = np.float32
    s = np.abs(z) * f(0.70710678118654752)
    p = np.full_like(s, f(0.0000430638))
    for a in (0.0002765672, 0.0001520143, 0.0092705272, 0.0422820123, 0.0705230784, 1.0):
        p = p * s + f(a)
    with np.errstate(over="ignore"):
        for _ in range(4):
            p = p * p
    r = f(1) / p
    return np.asarray((f(0.5) * z) * np.where(z < 0, r, f(2) - r), np.float32)


def counts_of(model: SFN, v: Array, sides: Sides, positive: float, negative: float) -> Array:
    living = {"both": (1, 1), "positive": (1, 0), "negative": (0, 1), "silent": (0, 0)}[sides]
    count = model.count(v, positive * living[0], negative * living[1])
    return np.asarray(count + ZERO_POINT[sides], np.uint8)


def steps_of(sides: Sides, positive: float, negative: float) -> dict[str, Array]:
    steps = {"positive": positive, "negative": negative}
    return {k: np.array(v, np.float32) for k, v in steps.items() if sides in (k, "both")}


SIDES: tuple[Sides, ...] = ("both", "positive", "negative", "silent")


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize(
    "model",
    [
        SFN(M=6),
        SFN(M=6, rule="eq11"),
        SFN(M=8, limit=127),
        SFN(M=5, bound=6.0),
        SFN(M=6, levels="sformer"),
        SFN(M=3, levels="exponential", rule="eq11"),
        SFN(levels="fitted", N=20, K=6, S=4),
        SFN(M=10, levels="linear", limit=7, bound=3.0),
    ],
    ids=str,
)
def test_a_neuron_that_emits_counts(model: SFN, sides: Sides) -> None:
    positive, negative = 0.25, 0.3
    ties = np.arange(-600, 601, dtype=np.float32) * np.float32(0.125)
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3e38, -3e38, 1e-40], np.float32)
    x = np.concatenate([ties, special, np.random.default_rng(0).normal(0, 9, 500)])
    x = x.astype(np.float32)
    made = Composed(neuron=model, sides=sides, count=True)
    found = run(made, {"x": x}, steps_of(sides, positive, negative))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, counts_of(model, x, sides, positive, negative))


@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 7), (7,), (0, 7), (1, 7)])
@pytest.mark.parametrize("zero_point", [0, 128])
@pytest.mark.parametrize("scalar", [False, True])
def test_linear(shape: tuple[int, ...], zero_point: int, scalar: bool) -> None:
    rng = np.random.default_rng(1)
    feeds = {"x": rng.integers(0, 256, shape).astype(np.uint8)}
    consts = linear_constants(rng, scalar)
    found = run(Composed("SpikeLinear"), feeds, consts, {"zero_point": zero_point})
    np.testing.assert_array_equal(found, linear(feeds["x"], consts, zero_point))


def linear_constants(rng: np.random.Generator, scalar: bool = False) -> dict[str, Array]:
    w = rng.integers(-128, 128, (7, 5)).astype(np.int8)
    w[:, 0] = -128  # a column that saturates where pairs of products are added in 16 bits
    scale = rng.uniform(0.001, 0.01, () if scalar else 5).astype(np.float32)
    return {"w": w, "scale": np.asarray(scale), "bias": rng.normal(size=5).astype(np.float32)}


def linear(x: Array, consts: Mapping[str, Array], zero_point: int) -> Array:
    sums = (x.astype(np.int64) - zero_point) @ consts["w"].astype(np.int64)
    return np.asarray(sums.astype(np.float32) * consts["scale"] + consts["bias"])


CONVOLUTIONS = [
    ((2, 4, 6, 5), (6, 4, 3, 3), {}),
    ((1, 4, 7, 7), (6, 2, 3, 2), {"strides": (2, 1), "pads": (1, 0, 2, 1), "group": 2}),
    ((2, 4, 5, 5), (4, 1, 3, 3), {"pads": (1, 1, 1, 1), "group": 4}),
    ((1, 4, 9, 9), (3, 4, 3, 3), {"dilations": (2, 3), "pads": (2, 2, 2, 2)}),
    ((2, 4, 8), (6, 4, 3), {"strides": (2,), "pads": (1, 1)}),
]


@pytest.mark.parametrize(("shape", "kernel", "given"), CONVOLUTIONS)
@pytest.mark.parametrize("zero_point", [0, 128])
def test_convolution(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    given: Mapping[str, tuple[int, ...] | int],
    zero_point: int,
) -> None:
    rng = np.random.default_rng(2)
    rank = len(shape) - 2
    attrs: dict[str, Attribute] = {
        "strides": (1,) * rank,
        "dilations": (1,) * rank,
        "pads": (0,) * 2 * rank,
        "group": 1,
        **given,
    }
    consts: dict[str, Array] = {
        "w": rng.integers(-128, 128, kernel).astype(np.int8),
        "scale": rng.uniform(0.001, 0.01, kernel[0]).astype(np.float32),
        "bias": rng.normal(size=kernel[0]).astype(np.float32),
    }
    x = rng.integers(0, 256, shape).astype(np.uint8)
    attrs |= {"zero_point": zero_point, **permutations(rank + 2)}
    found = run(Composed("SpikeConv"), {"x": np.moveaxis(x, 1, -1)}, consts, attrs)
    sums = convolution(x.astype(np.int64) - zero_point, consts["w"].astype(np.int64), attrs)
    sums = np.moveaxis(sums, 1, -1)
    wanted = sums.astype(np.float32) * consts["scale"] + consts["bias"]
    np.testing.assert_array_equal(found, wanted)


def permutations(rank: int) -> dict[str, Attribute]:
    """What the body of a SpikeConv needs to convolve channels-first."""
    return {"channels_first": channels_first(rank), "channels_last": channels_last(rank)}


def test_a_convolution_with_an_addend_and_its_neuron() -> None:
    rng = np.random.default_rng(5)
    made = Composed("SpikeConv", True, "", SFN(M=8, limit=127), "both", True)
    x = rng.integers(0, 256, (2, 6, 5, 3)).astype(np.uint8)
    addend = rng.normal(size=(2, 6, 5, 4)).astype(np.float32)
    consts: dict[str, Array] = {
        "w": rng.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8),
        "scale": np.array(0.003, np.float32),
        "bias": rng.normal(size=4).astype(np.float32),
    }
    attrs: dict[str, Attribute] = {
        "strides": (1, 1),
        "dilations": (1, 1),
        "pads": (1, 1, 1, 1),
        "group": 1,
        "zero_point": 128,
        **permutations(4),
    }
    steps = steps_of("both", 0.1, 0.1)
    found = run(made, {"x": x, "addend": addend}, {**consts, **steps}, attrs)
    planes = np.moveaxis(x.astype(np.int64) - 128, -1, 1)
    sums = np.moveaxis(convolution(planes, consts["w"].astype(np.int64), attrs), 1, -1)
    driven = sums.astype(np.float32) * consts["scale"] + consts["bias"] + addend
    wanted = counts_of(SFN(M=8, limit=127), driven, "both", 0.1, 0.1)
    np.testing.assert_array_equal(found, wanted)


def convolution(x: Array, w: Array, attrs: Mapping[str, Attribute]) -> Array:
    """The definition, entry by entry."""
    op = Op(("y",), ("x", "w"), LOC, "Conv", dict(attrs))
    rank = x.ndim - 2
    pads, strides = op.ints("pads", ()) or (0,) * 2 * rank, op.ints("strides", ())
    dilations, group = op.ints("dilations", ()), op.integer("group", 1)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    sizes = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], w.shape[2:], strides, dilations, strict=True)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *sizes), x.dtype)
    each = w.shape[0] // group
    for place in np.ndindex(*sizes):
        spots = [
            slice(p * s, p * s + d * k, d)
            for p, s, d, k in zip(place, strides, dilations, w.shape[2:], strict=True)
        ]
        patch = x[(slice(None), slice(None), *spots)]
        for o in range(w.shape[0]):
            first = o // each * w.shape[1]
            part = patch[:, first : first + w.shape[1]]
            y[(slice(None), o, *place)] = (part * w[o]).sum(axis=tuple(range(1, part.ndim)))
    return y


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 5), (5, 4)),
        ((2, 3, 6, 5), (2, 3, 5, 4)),
        ((2, 1, 6, 5), (3, 5, 4)),
        ((6, 5), (2, 5, 1)),
    ],
)
@pytest.mark.parametrize("trans_b", [0, 1])
def test_product(left: tuple[int, ...], right: tuple[int, ...], trans_b: int) -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.integers(0, 256, shape).astype(np.uint8) for shape in (left, right))
    scale = np.array(0.0123, np.float32)
    attrs: dict[str, Attribute] = {"a_zero_point": 128, "b_zero_point": 0, "trans_b": trans_b}
    stored = np.ascontiguousarray(np.swapaxes(b, -1, -2)) if trans_b else b
    found = run(Composed("SpikeMatMul"), {"a": a, "b": stored}, {"scale": scale}, attrs)
    sums = (a.astype(np.int64) - 128) @ b.astype(np.int64)
    np.testing.assert_array_equal(found, sums.astype(np.float32) * scale)


NEURONS: list[tuple[SFN | None, Sides]] = [
    (None, "silent"),
    (SFN(M=8, limit=127), "both"),
    (SFN(M=6, rule="eq11", bound=2.0), "positive"),
]
ACTIVATIONS: tuple[Activation, ...] = ("", "Gelu", "Relu")
FUSED = [
    Composed("SpikeLinear", add, activation, model, sides, model is not None, kept)
    for add, activation in itertools.product((False, True), ACTIVATIONS)
    for model, sides in NEURONS
    for kept in ((False, True) if model else (False,))
]


@pytest.mark.parametrize("made", FUSED, ids=lambda made: made.name)
def test_what_is_fused_behind_a_drive(made: Composed) -> None:
    rng = np.random.default_rng(4)
    feeds = {"x": rng.integers(0, 256, (3, 4, 7)).astype(np.uint8)}
    consts = linear_constants(rng)
    wanted = linear(feeds["x"], consts, 128)
    if made.add:
        feeds["addend"] = np.asarray(rng.normal(size=wanted.shape), np.float32)
        wanted = wanted + feeds["addend"]
    if made.activation == "Gelu":
        wanted = gelu(wanted)
    if made.activation == "Relu":
        wanted = np.maximum(wanted, 0)
    expected = [wanted]
    if isinstance(made.neuron, SFN):
        step = 0.02
        counts = counts_of(made.neuron, wanted, made.sides, step, step)
        expected = [counts, wanted] if made.kept else [counts]
        consts |= steps_of(made.sides, step, step)
    found = results(made, feeds, consts, {"zero_point": 128})
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_float_layer() -> None:
    rng = np.random.default_rng(6)
    x, w, bias = (rng.normal(size=s).astype(np.float32) for s in ((1, 9), (9, 4), (4,)))
    found = run(Composed("FloatLinear"), {"x": x}, {"w": w, "bias": bias})
    np.testing.assert_allclose(found, x @ w + bias, rtol=1e-5, atol=1e-5)


def test_a_float_convolution() -> None:
    rng = np.random.default_rng(7)
    arrays = {"x": (2, 3, 6, 5), "w": (4, 3, 3, 2), "bias": (4,)}
    x, w, bias = (rng.normal(size=s).astype(np.float32) for s in arrays.values())
    geometry: dict[str, Attribute] = {
        "strides": (1, 2),
        "dilations": (2, 1),
        "pads": (1, 0, 2, 1),
        "group": 1,
    }
    found = run(Composed("FloatConv"), {"x": x}, {"w": w, "bias": bias}, geometry)
    plain = Graph(
        "g",
        ("x", "w", "bias"),
        ("y",),
        (Op(("y",), ("x", "w", "bias"), LOC, "Conv", geometry),),
        {name: real("float32", None) for name in ("x", "w", "bias", "y")},
        {},
    )
    expected = Session(plain).run({"x": x, "w": w, "bias": bias})["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_gelu_is_the_exact_one_to_float_rounding() -> None:
    z = np.concatenate([np.linspace(-6, 6, 4001), [-40, 40, 0]]).astype(np.float32)
    exact = np.array([v / 2 * math.erfc(-v / math.sqrt(2)) for v in z.astype(np.float64)])
    np.testing.assert_allclose(gelu(z), exact, atol=1.5e-6)


def test_a_name_promises_its_results() -> None:
    made = Composed("SpikeLinear", neuron=SFN(M=6), sides="positive", count=True, kept=True)
    attrs = neuron_attributes(Neuron(("y",), ("x", "", ""), LOC, SFN(M=6)))
    inputs = ("x", "w", "s", "b", "p")
    kept = Op(("y", "kept"), inputs, LOC, f"{DOMAIN}.{made.name}", attrs)
    assert composed(kept) == made
    assert composed(Op(("y",), inputs, LOC, f"{DOMAIN}.{made.name}", attrs)) is None


@pytest.mark.parametrize(
    "name",
    ["SpikeLinearTanh", "SfnDenseNearestBoth", "SpikeLinearSfnDenseNearestPositiveCount", "Count"],
)
def test_names_that_do_not_fit_their_attributes_are_unknown(name: str) -> None:
    attrs = neuron_attributes(Neuron(("y",), ("x", "", ""), LOC, SFN(levels="linear")))
    op = Op(("y",), ("x", "w", "s", "b", "p"), LOC, f"{DOMAIN}.{name}", attrs)
    assert composed(op) is None
