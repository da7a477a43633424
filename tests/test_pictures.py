"""Histograms of a site against numpy, and pictures: valid files, the same bytes, whole or not."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

import snnc
from snnc.calibrated import with_scale
from snnc.runtime import Session
from snnc.sites import steps_at
from tests.conftest import calibration_path, held_out_path, model_path


@cache
def calibrated(name: str = "digits_mlp") -> snnc.CalibratedNetwork:
    return snnc.calibrate(model_path(name), calibration=calibration_path(name))


@cache
def relu() -> snnc.Histogram:
    return snnc.histogram(calibrated(), held_out_path("digits_mlp"), "Relu1", scale=0.1)


@cache
def studies() -> tuple[snnc.Study, ...]:
    data = held_out_path("digits_mlp")
    return (
        snnc.lambda_curve(calibrated(), data, scales=(1.0, 0.3, 0.1)),
        snnc.percentile_curve(calibrated(), data, percentiles=(0, 1, 2), scale=0.2),
        snnc.ablation(calibrated(), data),
    )


def test_a_histogram_counts_what_both_networks_hold() -> None:
    network, found = calibrated(), relu()
    site = next(s for s in network.sited.sites if s.loc.names == ("Relu1",))
    with np.load(held_out_path("digits_mlp")) as loaded:
        feeds = {"input": loaded["input"]}
    real = Session(network.sited, taps=site.outputs).run(feeds)[site.outputs[0]]
    snn = with_scale(network.graph(), snnc.SFN(), 0.1)
    spikes = Session(snn, taps=site.outputs).run(feeds)[site.outputs[0]]
    tally, _ = np.histogram(np.clip(real, found.edges[0], found.edges[-1]), found.edges)
    assert list(found.activations) == tally.tolist()
    assert found.entries == real.size
    assert found.beyond == np.count_nonzero((real < found.edges[0]) | (real > found.edges[-1]))
    counts = np.rint(spikes / found.step[0]).astype(int)
    assert found.counts == {y: int(np.count_nonzero(counts == y)) for y in np.unique(counts)}
    assert found.mean_count == pytest.approx(np.abs(counts).mean())
    assert found.silent == pytest.approx(np.mean(counts == 0))
    assert found.step[0] == pytest.approx(0.1 * found.theta[0])
    assert found.theta[1] == found.step[1] == 0  # a ReLU has no negative branch
    assert sum(n for _, n in found.by_size()) == found.entries
    assert found.summary()["entries"] == real.size


def test_a_histogram_of_both_signs_and_of_a_softmax() -> None:
    network = calibrated("digits_vit")
    data = {"input": np.load(held_out_path("digits_vit"))["input"][:20]}
    both = next(s for s in network.sited.sites if s.role == "product")
    found = snnc.histogram(network, data, both.inputs[0], scale=0.3)
    assert min(found.counts) < 0 < max(found.counts)
    assert min(found.theta) > 0
    softmax = next(s for s in network.sited.sites if s.role == "softmax")
    found = snnc.histogram(network, data, softmax.inputs[0], scale=0.3)
    assert found.theta[0] == pytest.approx(found.step[0] * snnc.SFN().top)


@pytest.mark.parametrize(("neuron", "rule"), [("if", None), ("aif", None), ("sfn", "kim2020")])
def test_a_histogram_shows_the_thresholds_of_its_rule(neuron: str, rule: str | None) -> None:
    data, recipe = held_out_path("digits_mlp"), snnc.Recipe(threshold_rule=rule)
    found = snnc.histogram(calibrated(), data, "Relu1", neuron=neuron, scale=0.5, recipe=recipe)
    spiking = snnc.compile(calibrated(), neuron=neuron, scale=0.5, threshold_rule=rule).graph
    assert found.step == steps_at(spiking, spiking.neurons[1])
    if neuron != "if":  # whose thresholds are fitted anew for every lambda
        assert found.theta == pytest.approx(np.array(found.step) / 0.5)


def test_a_site_is_found_by_the_layer_it_alone_drives() -> None:
    data = held_out_path("digits_mlp")
    by_layer = snnc.histogram(calibrated(), data, "MatMul2", scale=0.1)
    assert by_layer == relu()
    with pytest.raises(snnc.CompileError, match="did you mean 'Relu1'"):
        snnc.histogram(calibrated(), data, "Rellu1")
    product = next(
        n.loc.names[0]
        for n in calibrated("digits_vit").sited.nodes
        if len([s for s in calibrated("digits_vit").sited.sites if s.outputs[0] in n.inputs]) == 2
    )
    with pytest.raises(snnc.CompileError, match=f"'{product}' has 2 sites"):
        snnc.histogram(calibrated("digits_vit"), {}, product)


@pytest.mark.parametrize("which", [0, 1, 2, "histogram"])
def test_pictures_are_valid_and_always_the_same(which: int | str, tmp_path: Path) -> None:
    result = relu() if isinstance(which, str) else studies()[which]
    before = dict(matplotlib.rcParams)
    forms = {"svg": b"<?xml", "png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF"}
    for form in forms if which == 0 else ("svg",):
        first, second = tmp_path / f"a.{form}", tmp_path / f"b.{form}"
        snnc.plot(result, first)
        snnc.plot(result, second)
        assert first.read_bytes().startswith(forms[form])
        assert first.read_bytes() == second.read_bytes()
        assert len(first.read_bytes()) < 100_000
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert root.tag.endswith("svg")
    assert dict(matplotlib.rcParams) == before


def test_the_axes_say_what_they_show(tmp_path: Path) -> None:
    """Text is drawn as outlines; matplotlib leaves it beside them as comments."""
    wanted = {
        0: ("scale factor λ", "top-1 accuracy (%)", "ANN"),
        1: ("percentile p (%)", "energy / energy of ANN"),
        2: ("exponential", "without scaling (λ = 1)"),
    }
    for which, words in wanted.items():
        snnc.plot(studies()[which], tmp_path / "a.svg")
        text = (tmp_path / "a.svg").read_text()
        assert all(f"<!-- {word} -->" in text for word in words)


def test_an_unknown_suffix_is_refused_and_old_pictures_stay(tmp_path: Path) -> None:
    for name in ("a.gif", "a"):
        with pytest.raises(snnc.CompileError, match="unknown suffix") as refused:
            snnc.plot(relu(), tmp_path / name)
        assert refused.value.known == ("png", "svg", "pdf")
    old = tmp_path / "old.png"
    old.write_bytes(b"old")
    broken = snnc.Study("lambda", ())
    with pytest.raises(IndexError):
        snnc.plot(broken, old)
    assert old.read_bytes() == b"old"
    assert [f.name for f in tmp_path.iterdir()] == ["old.png"]


def test_the_command_line_starts_without_matplotlib() -> None:
    code = "import sys, snnc.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
