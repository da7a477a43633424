"""The picture of a schedule: it says what it shows, in every size, the same bytes every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

import snnc
from snnc.plots import ScheduleFigures, schedule_picture
from snnc.plots.raster import SPIKES, _drawn
from snnc.plots.schedule_figures import short_names


def figures(
    layers: int = 12,
    cores: int = 17,
    events: int = 500,
    between: Literal["cores", "layers"] = "cores",
) -> ScheduleFigures:
    """A layer a tick; the third layer is empty and takes no energy."""
    random = np.random.default_rng(0)
    layer = random.integers(0, layers, events)
    layer[layer == 2] = 0
    energy = random.random(layers) * 1e-9
    energy[2:3] = 0
    rows = cores if between == "cores" else layers
    return ScheduleFigures(
        title="digits on a chip",
        layers=[f"/net/block.{i}/Conv" for i in range(layers)],
        neurons=[0 if i == 2 else 100 for i in range(layers)],
        ticks=layers,
        tick=layer,
        layer=layer,
        neuron=random.integers(0, 100, events),
        polarity=np.where(random.random(events) < 0.3, -1, 1),
        synops=random.integers(0, 1000, cores).astype(float),
        columns=0,
        traffic=np.diag(np.arange(1.0, rows), 1),
        energy=energy,
        hot=(0,),
        between=between,
    )


def words(found: ScheduleFigures, path: Path) -> list[str]:
    """Text is drawn as outlines; matplotlib leaves it beside them as comments."""
    schedule_picture(found, path)
    lines = path.read_text().splitlines()
    marks = [line.strip() for line in lines if line.strip().startswith("<!-- ")]
    return [mark.removeprefix("<!-- ").removesuffix(" -->") for mark in marks]


@pytest.mark.parametrize("form", ["svg", "png"])
def test_a_picture_is_valid_and_always_the_same(form: str, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    first, second = tmp_path / f"a.{form}", tmp_path / f"b.{form}"
    schedule_picture(figures(), first)
    schedule_picture(figures(), second)
    assert first.read_bytes() == second.read_bytes()
    assert dict(matplotlib.rcParams) == before
    if form == "svg":
        assert ElementTree.parse(first).getroot().tag.endswith("svg")


def test_it_says_what_it_shows(tmp_path: Path) -> None:
    found = figures()
    shown = words(found, tmp_path / "a.svg")
    negative = int(np.sum(found.polarity < 0))
    for text in (
        "digits on a chip",
        "Spikes of one sample in 12 layers",
        "block.7/Conv",
        f"{500 - negative} positive",
        f"{negative} negative",
        "of 500 spikes",
        "Load of 17 cores",
        "hot: 0",
        "Packets between cores",
        "to core",
        "0 %",
    ):
        assert text in shown, text
    total = float(np.sum(found.energy))
    assert f"{total * 1e9:.3g} nJ an inference" in shown


def test_many_layers_and_cores_are_drawn_in_part_and_say_so(tmp_path: Path) -> None:
    found = figures(layers=150, cores=3000, events=40_000)
    shown = words(found, tmp_path / "a.svg")
    assert "Spikes of one sample in 150 layers, one of 5 named" in shown
    assert any(text.startswith("of 40,000 spikes, ") and "drawn" in text for text in shown)
    assert "Load of 3,000 cores" in shown
    assert "15 cores a cell" in shown
    assert "136 others" in shown
    hot = replace(found, hot=range(5))
    assert "5 hot: 0, 1, …" in words(hot, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").stat().st_size < 1_000_000


def test_one_core_no_packets_no_spikes_no_energy(tmp_path: Path) -> None:
    found = replace(
        figures(layers=1, cores=1, events=0), traffic=np.zeros((1, 1)), energy=np.zeros(1), hot=()
    )
    shown = words(found, tmp_path / "a.svg")
    for text in (
        "Spikes of one sample in 1 layer",
        "of 0 spikes",
        "Load of 1 core",
        "no packets between cores",
        "no energy counted",
    ):
        assert text in shown, text
    assert not any("positive" in text or "hot" in text for text in shown)


def test_traffic_between_layers_and_a_mesh_of_idle_cores(tmp_path: Path) -> None:
    found = replace(figures(between="layers", cores=120), columns=16, synops=np.zeros(120))
    shown = words(found, tmp_path / "a.svg")
    assert {"from layer", "to layer", "column of the mesh"} <= set(shown)


def test_thinning_keeps_shares_and_quiet_layers() -> None:
    layer = np.repeat([0, 1, 2], [90_000, 30_000, 5])
    kept = layer[_drawn(layer, 3, SPIKES)]
    busy, half, quiet = (int(np.sum(kept == index)) for index in range(3))
    assert busy == pytest.approx(3 * half, rel=0.01)
    assert quiet == 5
    assert len(set(_drawn(layer, 3, SPIKES).tolist())) == len(kept)


def test_names_keep_what_tells_them_apart() -> None:
    names = ["/net/a.1/Conv", "/net/a.2/Conv"]
    assert short_names(names, 20) == ["a.1/Conv", "a.2/Conv"]
    assert short_names(["/net/a/Conv"], 20) == ["/net/a/Conv"]
    assert short_names(["x" * 30, "y" * 30], 11) == ["xxxxx…xxxxx", "yyyyy…yyyyy"]


def test_figures_that_do_not_belong_together_and_old_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="energy differ in length"):
        replace(figures(), energy=np.zeros(3))
    with pytest.raises(ValueError, match="polarity differ in length"):
        replace(figures(), polarity=np.zeros(3))
    with pytest.raises(snnc.CompileError, match="unknown suffix"):
        schedule_picture(figures(), tmp_path / "a.gif")
    old = tmp_path / "old.png"
    old.write_bytes(b"old")
    with pytest.raises(IndexError):
        schedule_picture(replace(figures(), layers=(), neurons=(), energy=np.zeros(0)), old)
    assert old.read_bytes() == b"old"
