"""Energy accounting against small networks whose spikes and synapses are counted by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snnc.drives import classify, coverage_macs, shaped_values
from snnc.energy import PJ_AC, PJ_MAC, Energy, EnergyMeter, Layer, estimate
from snnc.errors import CompileError
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Activity, Array, Coding, Dim, Loc, Neuron, Node, Op, Site, Type, real
from snnc.ir.verify import verify
from snnc.neurons.level_sets import MAX_M
from snnc.neurons.sfn import SFN
from snnc.passes.fold_time import FoldTime
from snnc.runtime import Session
from snnc.spike_sums import with_spike_sums
from snnc.streams import spike_counts

DENSE = SFN(8)
Shape = tuple[Dim, ...]


def op(op_type: str, output: str, *inputs: str, **attrs: int | str | tuple[int, ...]) -> Op:
    return Op((output,), inputs, Loc((f"/{output}",)), op_type, attrs)


def neuron(output: str, x: str, positive: str = "", negative: str = "") -> Neuron:
    return Neuron((output,), (x, positive, negative), Loc((f"/{output}",)), DENSE)


def spiking_graph(
    nodes: list[Node], shapes: Mapping[str, Shape], consts: Mapping[str, Array | float]
) -> Graph:
    """Graph inputs are the values no node computes; results of neurons are spikes."""
    types = {name: real("float32", shape) for name, shape in shapes.items()}
    for node in nodes:
        if isinstance(node, Neuron):
            name = node.outputs[0]
            types[name] = Type(Coding.SPIKE, "float32", shapes[name])
    computed = {name for node in nodes for name in node.outputs}
    read = {name for node in nodes for name in node.inputs}
    graph = Graph(
        "g",
        tuple(name for name in shapes if name not in computed),
        tuple(name for name in shapes if name not in read),
        tuple(nodes),
        types,
        {name: np.array(value, np.float32) for name, value in consts.items()},
        Stage.SPIKING,
    )
    verify(graph, Stage.SPIKING)
    return graph


def metered(graph: Graph, *batches: Mapping[str, Array]) -> EnergyMeter:
    meter = EnergyMeter(graph)
    session = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of)
    for feeds in batches:
        feeds = {name: np.asarray(array, np.float32) for name, array in feeds.items()}
        meter.update(session.run(feeds), len(next(iter(feeds.values()))))
    return meter


def only_layer(graph: Graph, feeds: Mapping[str, Array]) -> Layer:
    layers = metered(graph, feeds).energy().layers
    assert len(layers) == 1
    return layers[0]


# --- a direct-coded, a spiking and an analog layer ----------------------------------------------


def three_layers() -> Graph:
    return spiking_graph(
        [
            op("MatMul", "h0", "x", "w0"),
            neuron("s0", "h0", "half", "quarter"),
            op("MatMul", "h1", "s0", "w1"),
            op("Tanh", "t", "h1"),
            op("MatMul", "y", "t", "w2"),
        ],
        {
            "x": ("N", 2),
            "h0": ("N", 3),
            "s0": ("N", 3),
            "h1": ("N", 4),
            "t": ("N", 4),
            "y": ("N", 1),
        },
        {
            "w0": np.array([[1, 0, -1], [0, 1, 0]]),
            "w1": np.ones((3, 4)),
            "w2": np.ones((4, 1)),
            "half": 0.5,
            "quarter": 0.25,
        },
    )


BUSY, QUIET = np.array([[1.0, -0.5]]), np.array([[0.3, 0.0]])
"""Counts of s0: 2, 2, 4 and 1, 0, 1; h0 is x0, x1, -x0, negative steps are half as large."""


def test_layers_of_three_kinds() -> None:
    energy = metered(three_layers(), {"x": np.concatenate([BUSY, QUIET])}).energy()
    assert energy.samples == 2
    assert energy.layers == (
        Layer("/h0", "MatMul", "direct-coded", 6.0, 0.0, 0.0),
        Layer("/h1", "MatMul", "spiking", 12.0, (8 * 4 + 2 * 4) / 2, (3 * 4 + 2 * 4) / 2),
        Layer("/y", "MatMul", "analog", 4.0, 0.0, 0.0),
    )
    assert energy.ann_macs == 22
    assert energy.analog_macs == 10


def test_ratios_of_equations_43_and_44() -> None:
    energy = metered(three_layers(), {"x": np.concatenate([BUSY, QUIET])}).energy()
    assert (PJ_AC, PJ_MAC) == (0.9, 4.6)
    expected = {
        "ratio_spikes": (20 * 0.9 + 10 * 4.6) / (22 * 4.6),
        "ratio_events": (10 * 0.9 + 10 * 4.6) / (22 * 4.6),
        "ratio_spikes_eq44": 20 * 0.9 / (22 * 4.6),
        "analog_macs": 10.0,
    }
    assert energy.summary() == pytest.approx(expected, rel=1e-14)
    assert list(energy.summary()) == list(expected)
    assert [energy.picojoule(layer) for layer in energy.layers] == pytest.approx(
        [6 * 4.6, 20 * 0.9, 4 * 4.6], rel=1e-14
    )


def test_other_energies_per_operation() -> None:
    energy = metered(three_layers(), {"x": BUSY}).energy(pj_ac=2.0, pj_mac=5.0)
    assert energy.ratio_spikes == (32 * 2.0 + 10 * 5.0) / (22 * 5.0)
    assert energy.ratio_events == (12 * 2.0 + 10 * 5.0) / (22 * 5.0)
    assert energy.ratio_spikes_eq44 == 32 * 2.0 / (22 * 5.0)
    assert [energy.picojoule(layer) for layer in energy.layers] == [30.0, 64.0, 20.0]


def test_batches_add_up() -> None:
    together = metered(three_layers(), {"x": np.concatenate([BUSY, QUIET, QUIET])})
    apart = metered(three_layers(), {"x": BUSY}, {"x": np.concatenate([QUIET, QUIET])})
    assert together.energy() == apart.energy()
    assert together.activity() == apart.activity()
    assert together.energy().layers[1].spikes == pytest.approx((32 + 8 + 8) / 3)


def test_activity_is_per_neuron_and_inference() -> None:
    meter = metered(three_layers(), {"x": np.concatenate([BUSY, QUIET])})
    single = (float(np.float32(v)) for v in (10 / 6, 5 / 6))
    assert meter.activity() == {"s0": Activity(*single)}


def test_estimate_from_stored_activity_is_what_was_measured() -> None:
    graph = three_layers()
    meter = metered(graph, {"x": np.concatenate([BUSY, QUIET])})
    nodes = tuple(
        replace(n, activity=meter.activity()["s0"]) if isinstance(n, Neuron) else n
        for n in graph.nodes
    )
    shapes = {"x": (1, 2), "h0": (1, 3), "s0": (1, 3), "h1": (1, 4), "t": (1, 4), "y": (1, 1)}
    estimated = estimate(replace(graph, nodes=nodes), shapes)
    measured = meter.energy()
    assert [layer.kind for layer in estimated.layers] == ["direct-coded", "spiking", "analog"]
    for mine, theirs in zip(estimated.layers, measured.layers, strict=True):
        assert (mine.macs, mine.spikes, mine.events) == pytest.approx(
            (theirs.macs, theirs.spikes, theirs.events)
        )
    assert estimated.summary() == pytest.approx(measured.summary())


def test_coverage_by_kind() -> None:
    graph = three_layers()
    assert set(shaped_values(graph)) == {"x", "h0", "s0", "h1", "t", "y"}
    shapes = {"x": (1, 2), "h0": (1, 3), "s0": (1, 3), "h1": (1, 4), "t": (1, 4), "y": (1, 1)}
    assert coverage_macs(graph, shapes) == {"spiking": 12.0, "direct-coded": 6.0, "analog": 4.0}


def test_a_site_counts_as_the_neuron_it_will_become() -> None:
    graph = three_layers()
    site = Site(("s0",), ("h0",), Loc(("/s0",)), "activation")
    nodes = tuple(site if isinstance(n, Neuron) else n for n in graph.nodes)
    sited = replace(
        graph,
        nodes=nodes,
        types=dict(graph.types) | {"s0": graph.types["h0"]},
        stage=Stage.SITED,
    )
    assert [kind for _, kind in classify(sited)] == ["direct-coded", "spiking", "analog"]


def test_a_meter_that_saw_no_sample() -> None:
    meter = EnergyMeter(three_layers())
    assert meter.activity() == {}
    with pytest.raises(CompileError) as caught:
        meter.energy()
    assert caught.value.render() == "error: no sample was run, so there is no energy to report"


def test_network_without_layers_costs_nothing() -> None:
    energy = Energy(1, ())
    assert energy.summary() == {
        "ratio_spikes": 0.0,
        "ratio_events": 0.0,
        "ratio_spikes_eq44": 0.0,
        "analog_macs": 0.0,
    }


def test_one_layer_of_neurons_drives_two_layers() -> None:
    graph = spiking_graph(
        [neuron("s", "x", "one"), op("MatMul", "y", "s", "w"), op("Gemm", "z", "s", "v", transB=1)],
        {"x": ("N", 2), "s": ("N", 2), "y": ("N", 3), "z": ("N", 5)},
        {"one": 1.0, "w": np.ones((2, 3)), "v": np.ones((5, 2))},
    )
    meter = metered(graph, {"x": np.array([[4.0, -7.0]])})
    assert meter.taps == ("s",)
    assert [(la.macs, la.spikes, la.events) for la in meter.energy().layers] == [
        (6.0, 12.0, 3.0),
        (10.0, 20.0, 5.0),
    ]


# --- convolutions -------------------------------------------------------------------------------


def test_padding_has_no_synapses() -> None:
    graph = spiking_graph(
        [neuron("s", "x", "one", "one"), op("Conv", "y", "s", "w", pads=(1, 1))],
        {"x": ("N", 1, 3), "s": ("N", 1, 3), "y": ("N", 2, 3)},
        {"one": 1.0, "w": np.ones((2, 1, 3))},
    )
    layer = only_layer(graph, {"x": np.array([[[1.0, -2.0, 3.0]]])})
    fan = np.array([2, 3, 2]) * 2
    assert layer.macs == fan.sum() == 14
    assert layer.spikes == 1 * 4 + 2 * 6 + 3 * 4
    assert layer.events == 14


def test_strided_convolution_by_channel_and_position() -> None:
    """Of 4 entries at stride 3, kernel 1, only the first and the last are read."""
    graph = spiking_graph(
        [neuron("s", "x", "one"), op("Conv", "y", "s", "w", strides=(3,))],
        {"x": ("N", 2, 4), "s": ("N", 2, 4), "y": ("N", 5, 2)},
        {"one": 1.0, "w": np.ones((5, 2, 1))},
    )
    x = np.array([[[1.0, 100.0, 100.0, 0.0], [2.0, 100.0, 100.0, 3.0]]])
    layer = only_layer(graph, {"x": x})
    assert (layer.macs, layer.spikes, layer.events) == (20.0, 6 * 5.0, 3 * 5.0)


def test_computed_weights_alone_as_spikes() -> None:
    """Padding leaves the outer taps of the kernel one step less."""
    graph = spiking_graph(
        [neuron("s", "k", "one"), op("Conv", "y", "x", "s", pads=(1, 1))],
        {"k": (2, 1, 3), "s": (2, 1, 3), "x": ("N", 1, 4), "y": ("N", 2, 4)},
        {"one": 1.0},
    )
    kernel = np.array([[[1.0, 5.0, 0.0]], [[2.0, 0.0, 1.0]]])
    meter = EnergyMeter(graph)
    session = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of)
    feeds = {"k": kernel.astype(np.float32), "x": np.ones((1, 1, 4), np.float32)}
    meter.update(session.run(feeds), 1)
    layer = meter.energy().layers[0]
    assert layer.macs == 2 * (3 + 4 + 3)
    assert layer.spikes == 3 * (1 + 2) + 4 * 5 + 3 * 1
    assert layer.events == 3 * 2 + 4 + 3


# --- products of two activations ----------------------------------------------------------------

LEFT = np.array([[[3.0, 0.0], [1.0, 2.0]]])
RIGHT = np.array([[[1.0, 1.0], [0.0, 4.0]]])


def product(trans: bool = False) -> Graph:
    square = ("N", 2, 2)
    inputs = ("b", "a") if trans else ("a", "b")
    return spiking_graph(
        [neuron("a", "p", "one"), neuron("b", "q", "one"), op("MatMul", "y", *inputs)],
        {"p": square, "q": square, "a": square, "b": square, "y": square},
        {"one": 1.0},
    )


def test_product_takes_the_cheaper_stream() -> None:
    """Columns of LEFT: 4, 2 spikes in 2, 1 events; rows of RIGHT: 2, 4 spikes in 2, 1 events."""
    layer = only_layer(product(), {"p": LEFT, "q": RIGHT})
    of_left, of_right = 4 * 2 + 2 * 1, 2 * 2 + 1 * 4
    assert of_right < of_left
    assert layer == Layer("/y", "MatMul", "spiking", 8.0, of_right, 2 * 2 + 1 * 1)


def test_product_takes_the_cheaper_stream_wherever_it_stands() -> None:
    """Rows of LEFT: 3, 3 spikes in 1, 2 events; columns of RIGHT: 1, 5 spikes in 1, 2 events."""
    layer = only_layer(product(trans=True), {"p": LEFT, "q": RIGHT})
    of_left, of_right = 3 * 1 + 3 * 2, 1 * 1 + 5 * 2
    assert of_left < of_right
    assert layer == Layer("/y", "MatMul", "spiking", 8.0, of_left, 1 * 1 + 2 * 2)


def test_stream_is_chosen_for_the_whole_run_not_by_batch() -> None:
    quiet = {"p": LEFT, "q": np.minimum(RIGHT, 1)}
    loud = {"p": np.minimum(LEFT, 1), "q": 9 * RIGHT}
    layer = metered(product(), quiet, loud).energy().layers[0]
    of_left = (4 * 2 + 2 * 1) + (2 * 2 + 1 * 1)
    of_right = (2 * 2 + 1 * 1) + 9 * (2 * 2 + 1 * 4)
    assert of_left < of_right
    assert layer.spikes == of_left / 2


def test_square_of_a_spiking_activation() -> None:
    square = ("N", 2, 2)
    graph = spiking_graph(
        [neuron("a", "p", "one"), op("MatMul", "y", "a", "a")],
        {"p": square, "a": square, "y": square},
        {"one": 1.0},
    )
    layer = only_layer(graph, {"p": LEFT})
    by_columns, by_rows = 4 * 1 + 2 * 2, 2 * 3 + 1 * 3
    assert layer.spikes == min(by_columns, by_rows)
    assert layer.events == 2 * 1 + 1 * 2


def test_product_over_timesteps() -> None:
    """A_t B_t + A_t S_B + S_A B_t, product by product: S is whether spikes were emitted before."""
    steps, weights = 3, np.full((4, 4), 0.7, np.float32)
    nodes: list[Node] = [
        neuron("a.1", "a", "half", "half"),
        neuron("b.1", "b", "half", "half"),
        op("MatMul", "y", "a.1", "b.1"),
        neuron("y.1", "y", "half", "half"),
        op("MatMul", "z", "y.1", "w"),
        op("MatMul", "kept", "y", "w"),
    ]
    shapes: dict[str, Shape] = dict.fromkeys(("a", "b", "a.1", "b.1", "y", "y.1", "z"), ("N", 4, 4))
    consts: dict[str, Array | float] = {"half": 0.5, "w": weights}
    once = spiking_graph(nodes, shapes | {"kept": ("N", 4, 4)}, consts)
    graph = FoldTime(steps)(once)
    x = {
        name: np.random.default_rng(seed).normal(0, 0.4, (2, 4, 4)).astype(np.float32)
        for seed, name in enumerate("ab")
    }
    meter = metered(graph, x)
    product, layer, kept = meter.energy().layers
    a, b = (np.abs(DENSE.over_time(np.stack([x[v]] * steps), 0.5, 0.5) / 0.5).round() for v in "ab")
    assert (a == 0).any() and (b == 0).any()
    by_a = by_b = events = 0.0
    for t in range(steps):
        held_a, held_b = ((v[:t] > 0).any(0).astype(float) for v in (a, b))
        for n in range(2):
            earlier = (a[t, n] @ held_b[n]).sum() + (held_a[n] @ b[t, n]).sum()
            by_a += earlier + (a[t, n] @ (b[t, n] > 0)).sum()
            by_b += earlier + ((a[t, n] > 0) @ b[t, n]).sum()
            events += ((a[t, n] > 0).astype(float) @ (b[t, n] > 0)).sum()
            events += ((a[t, n] > 0) @ held_b[n]).sum() + (held_a[n] @ (b[t, n] > 0)).sum()
    assert product.spikes == pytest.approx(min(by_a, by_b) / 2)
    assert product.events == pytest.approx(events / 2)
    assert product.macs == layer.macs == kept.macs == 64
    assert (product.real_macs, layer.real_macs, kept.real_macs) == (0, 0, 64 * steps)


def test_product_with_one_real_operand() -> None:
    """A stored real operand: every spike of the other is an addition at every synapse."""
    square = ("N", 2, 2)
    graph = spiking_graph(
        [neuron("a", "p", "one"), op("Tanh", "t", "q"), op("MatMul", "y", "a", "t")],
        {"p": square, "q": square, "a": square, "t": square, "y": square},
        {"one": 1.0},
    )
    layer = only_layer(graph, {"p": LEFT, "q": RIGHT})
    assert layer == Layer("/y", "MatMul", "spiking", 8.0, 6 * 2.0, 3 * 2.0)


def test_product_of_two_real_activations_is_analog() -> None:
    square = ("N", 2, 2)
    for left in ("t", "p"):
        graph = spiking_graph(
            [op("Tanh", "t", "p"), op("MatMul", "y", left, "t")],
            {"p": square, "t": square, "y": square},
            {},
        )
        assert only_layer(graph, {"p": LEFT}) == Layer("/y", "MatMul", "analog", 8.0, 0.0, 0.0)


def test_product_of_three_activations() -> None:
    """Every spike of the stream adds where both others are not silent."""
    row = ("N", 2)
    graph = spiking_graph(
        [
            *(neuron(s, x, "one") for s, x in (("a", "p"), ("b", "q"), ("c", "r"))),
            op("Einsum", "y", "a", "b", "c", equation="ni,ni,ni->n"),
        ],
        {"p": row, "q": row, "r": row, "a": row, "b": row, "c": row, "y": ("N",)},
        {"one": 1.0},
    )
    feeds = {
        "p": np.array([[5.0, 1.0]]),
        "q": np.array([[2.0, 9.0]]),
        "r": np.array([[4.0, 0.0]]),
    }
    layer = only_layer(graph, feeds)
    assert layer == Layer("/y", "Einsum", "spiking", 2.0, 2.0, 1.0)


def test_product_of_two_activations_and_a_constant() -> None:
    row = ("N", 2)
    graph = spiking_graph(
        [
            neuron("a", "p", "one"),
            neuron("b", "q", "one"),
            op("Einsum", "y", "a", "b", "w", equation="ni,ni,ij->nj"),
        ],
        {"p": row, "q": row, "a": row, "b": row, "y": ("N", 3)},
        {"one": 1.0, "w": np.ones((2, 3))},
    )
    layer = only_layer(graph, {"p": np.array([[5.0, 1.0]]), "q": np.array([[2.0, 0.0]])})
    assert layer == Layer("/y", "Einsum", "spiking", 6.0, 2 * 3.0, 3.0)


def test_estimate_of_a_product_takes_activities_as_independent() -> None:
    graph = product()
    activity = {"a": Activity(1.5, 0.75), "b": Activity(2.0, 0.5)}
    nodes = tuple(
        replace(n, activity=activity[n.outputs[0]]) if isinstance(n, Neuron) else n
        for n in graph.nodes
    )
    shapes = dict.fromkeys(graph.types, (1, 2, 2))
    layer = estimate(replace(graph, nodes=nodes), shapes).layers[0]
    assert layer.spikes == 8 * min(1.5 * 0.5, 0.75 * 2.0)
    assert layer.events == 8 * 0.75 * 0.5


# --- spike counts from outputs ------------------------------------------------------------------


def test_spikes_behind_a_cast_and_a_reshape() -> None:
    x, flat = ("N", 1, 2), ("N", 2)
    spikes, rows = (Type(Coding.SPIKE, "float64", s) for s in (x, flat))
    graph = Graph(
        "g",
        ("x",),
        ("y",),
        (
            neuron("s", "x", "one"),
            op("Cast", "wide", "s", to=11),
            op("Reshape", "flat", "wide", "two"),
            op("MatMul", "y", "flat", "w"),
        ),
        {
            "x": real("float32", x),
            "s": replace(spikes, dtype="float32"),
            "wide": spikes,
            "flat": rows,
            "y": real("float64", ("N", 3)),
        },
        {"one": np.array(1, np.float32), "two": np.array([-1, 2]), "w": np.ones((2, 3))},
        Stage.SPIKING,
    )
    verify(graph, Stage.SPIKING)
    layer = only_layer(graph, {"x": np.array([[[5.0, 1.0]]])})
    assert layer == Layer("/y", "MatMul", "spiking", 6.0, 18.0, 6.0)


def counted(model: SFN, x: Array, positive: Array | float, negative: Array | float) -> Array:
    """Spike counts recovered from the output of a neuron alone."""
    consts = {"p": np.array(positive, np.float32), "n": np.array(negative, np.float32)}
    alive = {name: value for name, value in consts.items() if value.any()}
    layer = Neuron(("y",), ("x", *(n if n in alive else "" for n in consts)), Loc(("y",)), model)
    types = {"x": real("float32", None), "y": Type(Coding.SPIKE, "float32", None)}
    graph = Graph("g", ("x",), ("y",), (layer,), types, alive, Stage.SPIKING)
    return spike_counts(graph, layer, model.step(x, positive, negative))


sizes = st.integers(1, 30)
levels = st.sampled_from(("dense", "sformer", "linear", "exponential"))
fitted = st.builds(lambda n, k: SFN(levels="fitted", N=n, K=min(n, k), S=2), sizes, sizes)
models = fitted | st.builds(SFN, st.integers(1, MAX_M), levels=levels)
steps = st.just(0.0) | st.floats(2.0**-100, 2.0**60, width=32)


@settings(deadline=None, max_examples=100)
@given(models, steps, steps)
def test_counts_are_recovered_from_outputs(model: SFN, positive: float, negative: float) -> None:
    count = np.concatenate([-model.level_values, [0], model.level_values])
    x = count * np.where(count < 0, np.float32(negative), np.float32(positive))
    expected = np.abs(model.count(x, positive, negative))
    assert counted(model, x, positive, negative).tolist() == expected.tolist()


def test_counts_of_channels_with_their_own_steps() -> None:
    positive, negative = np.array([[0.5], [0.0], [2.0]]), np.array([[0.25], [1.0], [0.0]])
    x = np.array([[1.0, -1.0], [4.0, -4.0], [6.0, -6.0]])
    found = counted(DENSE, x, positive, negative)
    assert found.tolist() == [[2.0, 4.0], [0.0, 4.0], [3.0, 0.0]]


def test_sums_of_spikes_are_those_of_their_counts() -> None:
    """Steps of their own for channels, one of which never fires; one sign; no sign at all."""
    shape = ("N", 3, 2)
    steps = {"p": np.array([[0.5], [0.0], [2.0]]), "n": np.array([[0.25], [1.0], [0.0]])}
    signs = {"a": ("p", "n"), "b": ("p", ""), "c": ("", "n"), "d": ("", "")}
    neurons: list[Node] = [neuron(name, "x", *each) for name, each in signs.items()]
    graph = spiking_graph(neurons, {"x": shape, **dict.fromkeys(signs, shape)}, steps)
    summed, names = with_spike_sums(graph, signs)
    x = np.random.default_rng(0).normal(0, 3, (7, 3, 2)).astype(np.float32)
    found = Session(summed, taps=[v for each in names.values() for v in each]).run({"x": x})
    for layer in graph.neurons:
        counts = spike_counts(graph, layer, found[layer.outputs[0]])
        sums = names[layer.outputs[0]]
        assert found[sums.spikes].tolist() == counts.sum(0, keepdims=True).tolist()
        assert found[sums.events].tolist() == (counts != 0).sum(0, keepdims=True).tolist()
