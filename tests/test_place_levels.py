"""PlaceLevels: the levels of least error at every site, and what other passes make of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import snnc
from snnc.calibrated import CalibratedNetwork, step_constants, with_scale
from snnc.data import samples_of
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Site
from snnc.ir.parse import parse_graph
from snnc.ir.rate_neuron import RateNeuron
from snnc.ir.text import format_graph
from snnc.neurons.sfn import SFN
from snnc.passes.assign_thresholds import AssignThresholds
from snnc.passes.place_levels import PlaceLevels
from snnc.passes.softmax_max import SoftmaxMax
from snnc.pipeline import run_passes
from snnc.runtime import Session
from tests.conftest import calibration_path, model_path
from tests.onnx_models import arrays, model

SCALE = 0.25


def data() -> Array:
    """Heavy tails: most activations lie within a few steps, some far beyond."""
    return np.random.default_rng(1).standard_t(2, (200, 5)).astype(np.float32)


@cache
def network() -> CalibratedNetwork:
    """A site of both signs, and one of positive ones."""
    weights = arrays(2, first=(5, 6), second=(6, 7), last=(7, 3))
    text = """g (float[b, 5] x) => (float[b, 3] y) {
        a = MatMul (x, first)
        l = LeakyRelu <alpha = 0.5> (a)
        c = MatMul (l, second)
        r = Relu (c)
        y = MatMul (r, last)
    }"""
    return snnc.calibrate(model(text, weights), calibration=data())


def placed(
    n: int, neuron: SFN | None = None, graph: Graph | None = None, **options: Any
) -> tuple[Graph, PlaceLevels]:
    calibrated = network().graph(2.0) if graph is None else graph
    samples = samples_of(data(), network().ann)
    place = PlaceLevels(neuron or SFN(), n, samples, **{"scale": SCALE, **options})
    return run_passes(calibrated, [place]), place


def activations(site: Site) -> Array:
    tapped = Session(network().graph(), taps=(site.inputs[0],)).run({"x": data()})
    return tapped[site.inputs[0]]


def stepped(graph: Graph, neuron: RateNeuron, polarity: Any = "separate") -> list[Any]:
    assigned = AssignThresholds(neuron, SCALE, polarity)(graph)
    return [site.step for site in SoftmaxMax(neuron)(assigned).open_sites]


def error(model: RateNeuron, x: Array, step: Any, factor: float = 1.0) -> float:
    positive, negative = (np.array(s, np.float32) * np.float32(factor) for s in step)
    found = model.step(x, positive, negative)
    return float(((found.astype(np.float64) - x) ** 2)[(x > 0) | np.any(negative)].sum())


def every(n: int, rule: Any) -> list[SFN]:
    return [
        SFN(rule=rule, levels="fitted", N=n, K=k, S=s) for k in range(1, n + 1) for s in (1, 2, 4)
    ]


@pytest.mark.parametrize("rule", ["nearest", "eq11"])
@pytest.mark.parametrize("polarity", ["separate", "shared"])
def test_no_other_levels_have_less_error(rule: Any, polarity: Any) -> None:
    graph, _ = placed(8, SFN(rule=rule), polarity=polarity)
    steps = stepped(network().graph(2.0), SFN(rule=rule), polarity)
    assert len(graph.sites) == 2
    for site, step in zip(graph.sites, steps, strict=True):
        x = activations(site)
        assert isinstance(site.neuron, SFN) and site.neuron.rule == rule
        least = min(error(other, x, step) for other in every(8, rule))
        assert error(site.neuron, x, step) == pytest.approx(least, rel=1e-4)
        worst = max(error(other, x, step) for other in every(8, rule))
        assert worst > 1.5 * least


def test_steps_stay_those_of_the_neuron_that_was_asked_for() -> None:
    for polarity in ("separate", "shared"):
        graph, _ = placed(8, polarity=polarity)
        assert stepped(graph, SFN(), polarity) == stepped(network().graph(2.0), SFN(), polarity)


def test_thresholds_of_channels_stay() -> None:
    def rule(site: Site) -> Site:
        x = activations(site)
        own = tuple(np.abs(x).max(0).tolist())
        negative = own if x.min() < 0 else (0.0,) * len(own)
        return replace(site, thresholds=(own, negative), axis=-1)

    plain = network().graph(2.0)
    nodes = tuple(rule(node) if isinstance(node, Site) else node for node in plain.nodes)
    graph, _ = placed(6, graph=replace(plain, nodes=nodes))
    for before, site in zip(replace(plain, nodes=nodes).sites, graph.sites, strict=True):
        assert site == replace(before, neuron=site.neuron)
        x, step = (
            activations(site),
            [SCALE * np.array(t, np.float32) for t in site.thresholds or ()],
        )
        least = min(error(other, x, step) for other in every(6, "nearest"))
        assert site.neuron is not None
        assert error(site.neuron, x, step) == pytest.approx(least, rel=1e-4)


def test_a_factor_of_the_step_is_chosen_with_the_levels() -> None:
    factors = (0.5, 1.0, 3.0)
    graph, _ = placed(4, factors=factors)
    steps = stepped(network().graph(2.0), SFN())
    chosen = stepped(graph, SFN())
    for site, step, new in zip(graph.sites, steps, chosen, strict=True):
        x = activations(site)
        assert site.neuron is not None
        tried = [error(other, x, step, f) for f in factors for other in every(4, "nearest")]
        assert error(site.neuron, x, new) == pytest.approx(min(tried), rel=1e-4)
    assert chosen != steps


@pytest.mark.parametrize("kernels", [True, False])
def test_neurons_of_different_sizes_emit_what_numpy_says(kernels: bool) -> None:
    graph = with_scale(placed(8)[0], SFN(), SCALE)
    assert len({n.model for n in graph.neurons}) == len(graph.neurons) == 2
    taps = [v for n in graph.neurons for v in (n.inputs[0], n.outputs[0])]
    found = Session(graph, taps=taps, kernels=kernels).run({"x": data()})
    for neuron in graph.neurons:
        steps = [graph.consts[s] if s else 0.0 for s in neuron.inputs[1:]]
        expected = neuron.model.step(found[neuron.inputs[0]], *steps)
        np.testing.assert_array_equal(found[neuron.outputs[0]], expected)


def test_more_levels_are_nearer_to_all_of_them() -> None:
    x = {"x": data()}
    wanted = Session(network().ann).run(x)["y"]

    def missed(graph: Graph) -> float:
        found = Session(with_scale(graph, SFN(), SCALE)).run(x)["y"]
        return float(((found - wanted) ** 2).mean())

    errors = [missed(placed(n)[0]) for n in (3, 8, 60)]
    dense = missed(network().graph(2.0))
    assert errors[0] > 2 * errors[1] > 2 * errors[2]
    assert errors[2] < 1.2 * dense


def test_levels_reach_twice_as_far_as_what_was_seen_if_that_costs_nothing() -> None:
    graph, _ = placed(50)
    site, step = graph.sites[0], stepped(graph, SFN())[0]
    assert isinstance(site.neuron, SFN)
    x = activations(site)
    largest = max(x.max() / step[0], -x.min() / step[1])
    assert 2 * largest - 1 <= site.neuron.top < 4 * largest
    assert error(site.neuron, x, step) == error(SFN(), x, step)


def test_a_site_that_saw_nothing_keeps_what_it_has() -> None:
    graph = network().graph(2.0)
    nothing = PlaceLevels(SFN(), 8, samples_of(np.zeros((4, 5), np.float32), network().ann), SCALE)
    assert nothing(graph) == graph


def test_the_text_form_reads_back() -> None:
    graph, _ = placed(8)
    assert parse_graph(format_graph(graph), graph.consts) == graph


def test_a_transformer_with_levels_of_8_bits() -> None:
    calibrated = snnc.calibrate(
        model_path("digits_vit"), calibration=calibration_path("digits_vit")
    )
    plain = calibrated.graph()
    samples = calibrated.calibration.reservoir.samples(20)
    place = PlaceLevels(SFN(), 16, samples, SCALE, "shared", "int8")
    graph = run_passes(plain, [place])
    softmax = [site for site in graph.open_sites if site.role == "softmax"]
    assert softmax and all(site.neuron and site.thresholds for site in softmax)
    spiking = with_scale(graph, SFN(), SCALE, "shared", synapses="int8")
    limits = {True: 127, False: 255}
    assert all(n.model.top <= limits[bool(n.inputs[2])] for n in spiking.neurons)
    before = with_scale(plain, SFN(), SCALE, "shared", synapses="int8")
    steps = [{s: float(g.consts[s]) for s in step_constants(g)} for g in (before, spiking)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"N": 0}, "error: N must be from 1 to 1024 levels, not 0"),
        ({"N": 2.0}, "error: N must be from 1 to 1024 levels, not 2.0"),
        ({"factors": ()}, "error: factors of a step must be positive, not ()"),
        ({"factors": (1.0, -1.0)}, "error: factors of a step must be positive, not (1.0, -1.0)"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    samples = samples_of(data(), network().ann)
    with pytest.raises(CompileError) as caught:
        PlaceLevels(**{"neuron": SFN(), "N": 8, "samples": samples, **options})
    assert caught.value.render() == message
