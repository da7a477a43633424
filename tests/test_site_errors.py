"""Errors of sites against networks computed by hand, and the advice that follows from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import snnc
from snnc.diagnosis import CAUSES, Diagnosis, SiteError
from snnc.frontend import load
from snnc.ir.node import Array
from snnc.site_errors import causes_of
from snnc.sites import find_site, layers_of, pair, site_names
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import EXAMPLES, arrays, model

WEIGHTS = arrays(3, w1=(6, 8), w2=(8, 8), w3=(8, 4))
DATA = arrays(4, x=(200, 6))


def two_sites(first: str = "Tanh") -> snnc.Graph:
    """Two sites: the first layer reads the raw input."""
    return load(
        model(
            f"""g (float[N, 6] x) => (float[N, 4] y) {{
                h1 = MatMul (x, w1)  a1 = {first} (h1)
                h2 = MatMul (a1, w2) a2 = Tanh (h2)
                y = MatMul (a2, w3) }}""",
            WEIGHTS,
        )
    )


def relative(wrong: Array, real: Array) -> float:
    return float(np.linalg.norm(wrong - real) / np.linalg.norm(real))


def by_name(diagnosis: Diagnosis) -> dict[str, SiteError]:
    return {site.name: site for site in diagnosis.sites}


@pytest.mark.parametrize("first", ["Tanh", "Relu"])
def test_errors_are_those_computed_by_hand(first: str) -> None:
    """With a ReLU the first neuron reads the value before it and performs it itself."""
    ann = two_sites(first)
    network = snnc.compile(ann, calibration=DATA, scale=0.37)  # .4 ties where tanh saturates
    function = np.tanh if first == "Tanh" else lambda h: np.maximum(h, 0)
    w1, w2, w3 = (WEIGHTS[name] for name in ("w1", "w2", "w3"))

    def fire(layer: int, value: Array) -> Array:
        neuron = network.graph.neurons[layer]
        steps = [float(network.graph.consts[s]) if s else 0.0 for s in neuron.inputs[1:]]
        return neuron.model.step(value, *steps)

    a1 = function(DATA["x"] @ w1)
    a2 = np.tanh(a1 @ w2)
    y = a2 @ w3
    s1 = fire(0, a1)
    t2 = np.tanh(s1 @ w2)
    wanted = {
        "first": (relative(s1, a1), relative(s1, a1), relative(t2 @ w3, y)),
        "second": (
            relative(fire(1, t2), a2),
            relative(fire(1, a2), a2),
            relative(fire(1, a2) @ w3, y),
        ),
    }
    found = snnc.diagnose(ann, network.graph, DATA)
    assert found.samples == 200
    assert found.output_error == pytest.approx(relative(fire(1, t2) @ w3, y), rel=1e-4)
    names = [site.loc.names[0] for site in pair(ann, network.graph).sited.sites]
    for name, numbers in zip(names, wanted.values(), strict=True):
        site = by_name(found)[name]
        assert (site.error, site.own_error, site.output_error) == pytest.approx(numbers, rel=1e-4)
    costs = [site.output_error for site in found.sites]
    assert costs == sorted(costs, reverse=True)
    assert sum(site.share for site in found.sites) == pytest.approx(1)
    for site in found.sites:
        assert sum(site.blame.values()) == pytest.approx(1)


def test_a_kept_site_is_not_measured_and_its_layer_stays_exact() -> None:
    ann = two_sites()
    layers = [n.loc.names[0] for n in ann.nodes if n.outputs[0] == "h2"]
    network = snnc.compile(ann, calibration=DATA, scale=0.4, keep=layers)
    found = snnc.diagnose(ann, network.graph, DATA)
    assert len(found.sites) == 1
    assert found.sites[0].share == 1
    assert found.sites[0].error == found.sites[0].own_error
    assert found.sites[0].output_error == pytest.approx(found.output_error)


def test_a_site_that_only_one_of_two_layers_reads() -> None:
    ann = load(
        model(
            """g (float[N, 6] x) => (float[N, 4] y) {
                h = MatMul (x, w1)  a = Tanh (h)
                p = MatMul (a, w3)  q = MatMul (a, v)  y = Add (p, q) }""",
            {"w1": WEIGHTS["w1"], "w3": WEIGHTS["w3"], **arrays(5, v=(8, 4))},
        )
    )
    kept = next(n.loc.names[0] for n in ann.nodes if n.outputs[0] == "q")
    network = snnc.compile(ann, calibration=DATA, scale=0.4, keep=kept)
    found = snnc.diagnose(ann, network.graph, DATA)
    assert found.sites[0].layers == tuple(n.loc.names[0] for n in ann.nodes if n.outputs[0] == "p")
    assert found.sites[0].output_error == pytest.approx(found.output_error, rel=1e-6)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_every_included_network_pairs_with_its_artifact(path: Path, tmp_path: Path) -> None:
    with np.load(calibration_path(path.stem)) as loaded:
        data = {name: loaded[name][:8] for name in loaded.files}
    network = snnc.compile(path, calibration=data, scale=0.3)
    network.save(tmp_path / "out.onnx")
    stored = load(tmp_path / "out.onnx")
    found = pair(load(path), stored)
    assert len(found.neurons) == len(stored.neurons)
    names = site_names(found.sited)
    assert len(set(names.values())) == len(found.neurons)
    for site in found.sited.sites:
        assert find_site(found.sited, names[site.outputs[0]]) == site
        assert layers_of(found.sited, site)


def test_half_precision_sites_stand_between_casts() -> None:
    weights = {name: array.astype(np.float16) for name, array in WEIGHTS.items()}
    ann = load(
        model(
            """g (float16[N, 6] x) => (float16[N, 8] y) {
                h = MatMul (x, w1)  a = Tanh (h)  y = MatMul (a, w2) }""",
            {name: weights[name] for name in ("w1", "w2")},
        )
    )
    data = {"x": DATA["x"].astype(np.float16)}
    network = snnc.compile(ann, calibration=data, scale=0.3)
    found = snnc.diagnose(ann, network.graph, data)
    assert found.sites[0].output_error == pytest.approx(found.output_error)
    assert found.output_error > 0.01


def test_sites_whose_channels_have_thresholds_of_their_own() -> None:
    """Nothing spikes before the first site: alone it errs as it does in the network."""
    ann, data = load(model_path("digits_cnn")), held_out_path("digits_cnn")
    network = snnc.compile(
        ann, neuron="mtn:N=8", calibration=calibration_path("digits_cnn"), scale=1.0
    )
    first = network.graph.neurons[0]
    assert network.graph.consts[first.inputs[1]].size > 1
    found = snnc.diagnose(ann, network.graph, data, limit=32)
    name = site_names(pair(ann, network.graph).sited)[first.outputs[0]]
    site = by_name(found)[name]
    assert site.own_error == pytest.approx(site.error)


def test_sites_over_several_timesteps_are_refused() -> None:
    ann = two_sites()
    network = snnc.compile(ann, calibration=DATA, scale=0.3, timesteps=2)
    with pytest.raises(snnc.CompileError, match="at one timestep, and this network runs 2"):
        snnc.diagnose(ann, network.graph, DATA)


def test_samples_are_bounded_and_spread_over_the_data() -> None:
    ann = two_sites()
    network = snnc.compile(ann, calibration=DATA, scale=0.4)
    found = snnc.diagnose(ann, network.graph, DATA, limit=32)
    assert found.samples == 32
    first = snnc.diagnose(ann, network.graph, {"x": DATA["x"][:32]})
    assert found.output_error != first.output_error


def test_a_network_of_another_model_is_refused() -> None:
    spiking = snnc.compile(two_sites(), calibration=DATA, scale=0.4).graph
    with pytest.raises(snnc.CompileError, match="neurons are not at the sites"):
        snnc.diagnose(_with_another_layer(), spiking, DATA)
    trained_again = model(
        """g (float[N, 6] x) => (float[N, 4] y) {
            h1 = MatMul (x, w1)  a1 = Tanh (h1)
            h2 = MatMul (a1, w2) a2 = Tanh (h2)
            y = MatMul (a2, w3) }""",
        WEIGHTS | arrays(9, w2=(8, 8)),
    )
    with pytest.raises(snnc.CompileError, match=r"the weights of .* differ"):
        snnc.diagnose(load(trained_again), spiking, DATA)


def test_an_output_that_is_not_finite_is_named() -> None:
    ann = load(
        model(
            """g (float[N, 6] x) => (float[N, 4] y) {
                h = MatMul (x, w1)  a = Tanh (h)  r = MatMul (a, w3)  y = Log (r) }""",
            {name: WEIGHTS[name] for name in ("w1", "w3")},
        )
    )
    network = snnc.compile(ann, calibration=DATA, scale=0.4)
    with pytest.raises(snnc.CompileError, match="not finite on a sample"):
        snnc.diagnose(ann, network.graph, DATA)


def _with_another_layer() -> snnc.Graph:
    return load(
        model(
            """g (float[N, 6] x) => (float[N, 4] y) {
                h1 = MatMul (x, w1)  a1 = Tanh (h1)  b1 = Sigmoid (a1)
                h2 = MatMul (b1, w2) a2 = Tanh (h2)
                y = MatMul (a2, w3) }""",
            WEIGHTS,
        )
    )


def test_every_inexact_entry_has_one_cause() -> None:
    """Step 1 (positive only), levels 1, 2, 3, 5: gaps of one, then of two."""
    neuron = snnc.SFN(M=2, levels="sformer", rule="nearest")
    assert neuron.level_values.tolist() == [1, 2, 3, 5]
    x = np.array([-1, 0, 0.2, 1, 1.3, 3.9, 4.6, 5.4, 5.6, 9], np.float32)
    out = neuron.step(x, 1.0, 0.0)
    assert out.tolist() == [0, 0, 0, 1, 1, 3, 5, 5, 5, 5]
    masks = causes_of(x, out, neuron, (1.0, 0.0))
    found = {cause: np.flatnonzero(mask).tolist() for cause, mask in masks.items()}
    assert found == {
        "unseen": [0],
        "saturated": [8, 9],
        "silent": [2],
        "gap": [5],
        "rounding": [4, 6, 7],
    }


def test_an_input_capped_by_an_absorbed_relu6_does_not_saturate() -> None:
    neuron = snnc.SFN().bounded(6.0)
    x = np.array([5.9, 6.0], np.float32)
    masks = causes_of(x, neuron.step(x, 0.7, 0.0), neuron, (0.7, 0.0))
    assert not masks["saturated"].any()


TENTHS = dict.fromkeys(CAUSES, 0.1)
PLAIN = SiteError("site", "activation", ("fc",), 0.2, 0.2, 0.2, 1.0, TENTHS, {}, snnc.SFN())


def caused_by(cause: str, **changes: object) -> SiteError:
    blame = dict.fromkeys(CAUSES, 0.05) | {cause: 0.8}
    return replace(PLAIN, blame=blame, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cause", "role", "remedy"),
    [
        ("saturated", "activation", "lower --percentile"),
        ("saturated", "softmax", "calibrate on more samples"),
        ("silent", "product", "smaller --lambda"),
        ("silent", "softmax", "raise --m"),
        ("gap", "softmax", "--levels dense --rule nearest"),
        ("rounding", "activation", "smaller --lambda"),
        ("unseen", "activation", "calibrate on more samples"),
    ],
)
def test_advice_follows_the_main_cause(cause: str, role: str, remedy: str) -> None:
    (advice,) = Diagnosis(10, "y", 0.2, (caused_by(cause, role=role),)).advice
    assert remedy in advice
    assert "80 % of its error" in advice
    assert "--keep 'fc'" in advice


@pytest.mark.parametrize(
    ("neuron", "saturated", "rounding"),
    [
        (snnc.IF(), "raise --timesteps", "raise --timesteps"),
        (snnc.DualMTN(), "raise N (--neuron dual-mtn:N=...)", "raise N (--neuron dual-mtn:N=...)"),
        (snnc.AIF(), "raise L (--neuron aif:L=...)", "smaller --lambda"),
        (snnc.SFN(), "lower --percentile, or raise --m", "smaller --lambda"),
    ],
)
def test_advice_is_of_the_neuron(neuron: snnc.RateNeuron, saturated: str, rounding: str) -> None:
    for cause, remedy in (("saturated", saturated), ("rounding", rounding)):
        site = caused_by(cause, neuron=neuron)
        (advice,) = Diagnosis(10, "y", 0.2, (site,)).advice
        assert f"of its error: {remedy}; or --keep" in advice


def test_advice_to_integrate_and_fire_can_be_followed() -> None:
    network = snnc.calibrate(model_path("digits_cnn"), calibration=calibration_path("digits_cnn"))
    data = held_out_path("digits_cnn")
    found = [snnc.compile(network, neuron="if", scale=1.0, timesteps=t) for t in (1, 4)]
    diagnosis = snnc.diagnose(network.ann, found[0].graph, data, limit=64)
    assert "raise --timesteps" in diagnosis.advice[0]
    one, four = (spiking.evaluate(data).cosine for spiking in found)
    assert four > one + 0.1


def test_advice_goes_only_where_it_pays() -> None:
    sites = tuple(caused_by("silent", share=share) for share in (0.45, 0.3, 0.15, 0.1))
    found = Diagnosis(10, "y", 0.2, sites)
    assert [bool(advice) for advice in found.advice] == [True, True, False, False]
    assert "--keep" not in found.advice[1]
    assert set(replace(found, output_error=0.001).advice) == {""}


def test_the_papers_rule_loses_accuracy_at_the_softmax() -> None:
    """Spec 2.6: gapped levels fire too little for large probabilities; the advice says so."""
    ann = load(EXAMPLES[3])
    data = held_out_path("digits_vit")
    with np.load(data) as loaded:
        images = {"input": loaded["input"][:48]}
    neuron = snnc.SFN(levels="sformer", rule="eq11")
    network = snnc.compile(ann, neuron=neuron, calibration=images, scale=0.1)
    found = snnc.diagnose(ann, network.graph, images)
    assert found.sites[0].role == "softmax"
    assert found.sites[0].cause == "gap"
    assert "--levels dense --rule nearest" in found.advice[0]
