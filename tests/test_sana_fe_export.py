"""The files for SANA-FE hold the network: executed tick by tick, they spike as ours does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import snnc
from snnc.backends.schedule.cells import chip_layers
from snnc.backends.schedule.export.populations import populations
from snnc.backends.schedule.export.sana_fe import write_sana_fe
from snnc.backends.schedule.layers import Network
from snnc.backends.schedule.mapping import HOST
from snnc.backends.schedule.mapping import Mapping as CoreMapping
from snnc.coverage import shapes_at
from snnc.errors import CompileError
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Coding, Loc, Neuron, Op, Type, real
from snnc.ir.time import REPEAT
from snnc.neurons.integrate_fire import IF
from snnc.simulator import simulate
from snnc.targets import load_target
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model

GENERIC = load_target("generic")


def network_of(graph: Graph, feeds: Mapping[str, Array]) -> Network:
    shapes, _ = shapes_at(graph, list(graph.types), dict(feeds))
    return chip_layers(graph, shapes)


def mapped(network: Network, cells_per_core: int = 40) -> CoreMapping:
    """Layers on cores of so many cells, one after the other."""
    cores = np.full(network.cells, HOST, np.int32)
    core = 0
    for layer in network.layers:
        if not layer.is_input and layer.cells:
            own = core + np.arange(layer.cells) // cells_per_core
            cores[layer.start : layer.start + layer.cells] = own
            core = int(own.max()) + 1
    return CoreMapping(cores, (), (), (), (), 1, 1)


class Files:
    """What the written files say, and the spikes that follow from it.

    In a tick each neuron adds what was sent to it in the one before, fires where it reaches its
    threshold, and subtracts that (soft) or goes to 0 (hard): SANA-FE's `truenorth` soma behind a
    buffer. An `input` soma fires as its train says.
    """

    def __init__(self, directory: Path) -> None:
        self.told = json.loads((directory / "groups.json").read_text())
        self.groups: list[dict[str, str]] = []
        self.sizes: list[int] = []
        self.thresholds: dict[tuple[int, int], float] = {}
        self.trains: dict[int, list[int]] = {}
        self.edges: list[tuple[int, int, int, int, float]] = []
        self.tiles: dict[tuple[int, int], int] = {}
        for line in (directory / "network.net").read_text().splitlines():
            kind, first, *rest = line.split(" ")
            if kind == "g":
                self.sizes.append(int(first))
                self.groups.append(dict(field.split("=") for field in rest))
            elif kind == "n":
                group, neuron = map(int, first.split("."))
                if rest[0].startswith("{"):
                    found = re.fullmatch(r"\{spikes: (\[.*\])\}", " ".join(rest))
                    assert found and neuron == 0
                    self.trains[group] = json.loads(found[1])
                else:
                    key, value = rest[0].split("=")
                    assert key == "threshold" and len(rest) == 1
                    self.thresholds[group, neuron] = float(value)
            elif kind == "e":
                ends = re.fullmatch(r"(\d+)\.(\d+)->(\d+)\.(\d+)", first)
                assert ends and rest[0].startswith("w=")
                a, b, c, d = map(int, ends.groups())
                self.edges.append((a, b, c, d, float(rest[0][2:])))
            else:
                assert kind == "&"
                place = re.fullmatch(r"(\d+)\.(\d+)@(\d+)\.0", first)
                assert place
                self.tiles[int(place[1]), int(place[2])] = int(place[3])

    def run(self) -> list[Array]:
        """Spikes of each group, [ticks, neurons]."""
        ticks = self.told["ticks"]
        fired = [np.zeros((ticks, size)) for size in self.sizes]
        arriving = [np.zeros(size) for size in self.sizes]
        potentials = [np.zeros(size) for size in self.sizes]
        for tick in range(ticks):
            for group, size in enumerate(self.sizes):
                if group in self.trains:
                    train = self.trains[group]
                    fired[group][tick] = train[tick] if tick < len(train) else 0
                    continue
                limits = np.array([self.thresholds[group, n] for n in range(size)])
                potential = potentials[group] + arriving[group]
                fires = potential >= limits
                left = potential - limits if self.groups[group]["reset_mode"] == "soft" else 0.0
                potentials[group] = np.where(fires, left, potential)
                fired[group][tick] = fires
            arriving = [np.zeros(size) for size in self.sizes]
            for source, neuron, group, cell, weight in self.edges:
                arriving[group][cell] += weight * fired[source][tick, neuron]
        self.potentials = potentials
        return fired


def small_cnn(path: Path) -> Path:
    weights = arrays(5, a=(4, 1, 3, 3), b=(4,), c=(3, 4, 3, 3), d=(3,), e=(27, 10))
    text = """g (float[N,1,8,8] input) => (float[N,10] logits) {
        x = Conv <strides=[2,2], pads=[1,1,1,1]> (input, a, b)
        r = Relu (x)
        y = Conv <pads=[1,1,1,1]> (r, c, d)
        p = AveragePool <kernel_shape=[2,2]> (y)
        q = Relu (p)
        l = Flatten (q)
        logits = MatMul (l, e)
    }"""
    scaled = {k: (v / np.sqrt(v[0].size)).astype(np.float32) for k, v in weights.items()}
    onnx.save(model(text, scaled), path)
    return path


def sample(name: str, number: int) -> dict[str, Array]:
    with np.load(held_out_path(name)) as held:
        return {"input": held["input"][number : number + 1]}


@pytest.mark.parametrize(
    ("name", "neuron", "timesteps"),
    [
        ("digits_mlp", "if", 16),
        ("digits_mlp", "if:reset=hard", 6),
        ("digits_mlp", "mtn:N=1:potential=0.25", 5),
        ("cnn", "if", 4),
    ],
)
def test_the_files_spike_as_the_network_does(
    name: str, neuron: str, timesteps: int, tmp_path: Path
) -> None:
    data = "digits_cnn" if name == "cnn" else name
    source = small_cnn(tmp_path / "cnn.onnx") if name == "cnn" else model_path(name)
    graph = snnc.compile(
        source, calibration=calibration_path(data), neuron=neuron, timesteps=timesteps
    ).graph
    network = network_of(graph, sample(data, 0))
    for number in (0, 7):
        feeds = sample(data, number)
        write_sana_fe(network, mapped(network), GENERIC, feeds, tmp_path / "files")
        files = Files(tmp_path / "files")
        fired, ours = files.run(), simulate(graph, feeds)
        spiking = [group for group in files.told["groups"] if group["fires"]]
        assert [group["value"] for group in spiking] == [n.outputs[0] for n in graph.neurons]
        for group in spiking:
            counts = ours.spikes[group["value"]].counts.reshape(timesteps, -1)
            window = slice(group["first_tick"] - 1, group["last_tick"])
            assert counts.sum() > 0
            assert np.array_equal(fired[group["group"]][window], counts), group["layer"]
    (read_out,) = (group for group in files.told["groups"] if not group["fires"])
    logits = files.potentials[read_out["group"]] / timesteps
    if "logits" in ours.outputs:
        np.testing.assert_allclose(logits, ours.outputs["logits"][0], atol=1e-5)
    else:
        assert logits.argmax() == ours.outputs["label"][0]


def tiny() -> Graph:
    """Two inputs, two neurons of different thresholds, one number read out, two timesteps."""
    loc = Loc
    step = {"step": np.array([0.5, 2.0], np.float32)}
    weights = {"w": np.array([[1, 0], [0.25, -1]], np.float32), "v": np.ones((2, 1), np.float32)}
    shapes = {"x": (None, 2), "h": (None, 2), "t": (None, 2), "s": (None, 2), "y": (None, 1)}
    types: dict[str, Type] = {name: real("float32", shape) for name, shape in shapes.items()}
    types["s"] = Type(Coding.SPIKE, "float32", shapes["s"])
    nodes = (
        Op(("h",), ("x", "w"), loc(("hidden",)), "MatMul"),
        Op(("t",), ("h",), loc(("hidden",)), REPEAT, {"timesteps": 2}),
        Neuron(("s",), ("t", "step", ""), loc(("act",)), IF(), None, 2),
        Op(("y",), ("s", "v"), loc(("out",)), "MatMul"),
    )
    return Graph("tiny", ("x",), ("y",), nodes, types, step | weights, Stage.SPIKING, 2)


FEEDS = {"x": np.array([[1.0, 2.0]], np.float32)}


def tiny_network() -> Network:
    shapes = {"x": (1, 2), "h": (1, 2), "t": (2, 2), "s": (2, 2), "y": (2, 1)}
    return chip_layers(tiny(), shapes)


GOLDEN = """\
g 2 synapse_hw_name=synapses dendrite_hw_name=dendrites soma_hw_name=cells log_spikes=1 \
reset_mode=soft
g 1 synapse_hw_name=synapses dendrite_hw_name=dendrites soma_hw_name=cells log_spikes=1 \
reset_mode=soft
g 1 synapse_hw_name=synapses dendrite_hw_name=dendrites soma_hw_name=sources[0]
g 1 synapse_hw_name=synapses dendrite_hw_name=dendrites soma_hw_name=sources[1]
g 1 synapse_hw_name=synapses dendrite_hw_name=dendrites soma_hw_name=sources[2]
g 1 synapse_hw_name=synapses dendrite_hw_name=dendrites soma_hw_name=sources[3]
n 0.0 threshold=0.5
n 0.1 threshold=2.0
n 2.0 {spikes: [1]}
n 3.0 {spikes: [1, 1]}
n 1.0 threshold=1e+30
n 4.0 {spikes: [0, 1]}
n 5.0 {spikes: [0, 1, 1]}
e 2.0->0.0 w=0.25
e 2.0->0.1 w=1.0
e 3.0->0.0 w=1.5
e 3.0->0.1 w=-2.0
e 0.0->1.0 w=0.5
e 0.1->1.0 w=2.0
& 0.0@0.0
& 0.1@0.0
& 1.0@1.0
& 2.0@16.0
& 3.0@16.0
& 4.0@16.0
& 5.0@16.0
"""


def test_the_network_file_of_a_tiny_network(tmp_path: Path) -> None:
    network = tiny_network()
    write_sana_fe(network, mapped(network), GENERIC, FEEDS, tmp_path)
    assert (tmp_path / "network.net").read_text() == GOLDEN
    told = json.loads((tmp_path / "groups.json").read_text())
    assert (told["timesteps"], told["ticks"]) == (2, 4)
    assert [(g["layer"], g["first_tick"], g["last_tick"]) for g in told["groups"]] == [
        ("hidden", 2, 3),
        ("out", 3, 4),
    ]


def yaml_value(text: str, key: str) -> list[str]:
    return re.findall(rf"^\s*(?:- )?{key}: (.*)$", text, re.MULTILINE)


def test_the_architecture_has_the_targets_mesh_and_figures(tmp_path: Path) -> None:
    network = tiny_network()
    mapping = mapped(network)
    mapping = replace(mapping, cores=np.where(mapping.cores > 0, 21, mapping.cores))
    write_sana_fe(network, mapping, GENERIC, FEEDS, tmp_path)
    text = (tmp_path / "architecture.yaml").read_text()
    assert yaml_value(text, "width") == ["17"] and yaml_value(text, "height") == ["2"]
    assert "tile[0..31]" in text and "sources[0..3]" in text
    assert [float(v) for v in yaml_value(text, "energy_process_spike")] == [0.9e-12, 0]
    # core 21 of 16 columns stands in column 5, row 1; SANA-FE counts tiles column by column
    assert Files(tmp_path).tiles[1, 0] == 5 * 2 + 1


def refusal(graph: Graph, feeds: Mapping[str, Array], path: Path, **mapping: Any) -> CompileError:
    network = network_of(graph, feeds)
    path.mkdir()
    with pytest.raises(CompileError) as caught:
        write_sana_fe(network, mapped(network, **mapping), GENERIC, feeds, path)
    assert not list(path.iterdir())
    return caught.value


def test_what_sana_fe_cannot_say_is_named(tmp_path: Path) -> None:
    source, calibration = model_path("digits_mlp"), calibration_path("digits_mlp")
    graph = snnc.compile(source, calibration=calibration, neuron="sfn:M=2").graph
    error = refusal(graph, sample("digits_mlp", 0), tmp_path / "levels")
    assert "one spike a tick" in str(error) and "--neuron if --timesteps" in str(error)
    assert [node.name for node in error.refused] == ["Relu", "Relu1"]
    source, calibration = model_path("digits_cnn"), calibration_path("digits_cnn")
    graph = snnc.compile(source, calibration=calibration, neuron="if", timesteps=2).graph
    error = refusal(graph, sample("digits_cnn", 0), tmp_path / "pools")
    assert {"MaxPool", "Relu"} <= {node.op for node in error.refused}
    graph = snnc.compile(
        model_path("digits_mlp"),
        calibration=calibration_path("digits_mlp"),
        neuron="if",
        timesteps=2,
    ).graph
    with np.load(held_out_path("digits_mlp")) as held:
        two = {"input": held["input"][:2]}
    network = network_of(graph, sample("digits_mlp", 0))
    with pytest.raises(CompileError, match="one sample of input"):
        write_sana_fe(network, mapped(network), GENERIC, two, tmp_path)


def test_cores_that_sana_fe_cannot_hold(tmp_path: Path) -> None:
    shapes = {"x": (1, 2), "h": (1, 2), "t": (2, 2), "s": (2, 2), "y": (2, 1)}
    network = chip_layers(tiny(), shapes)
    (layer, _) = populations(network, FEEDS)
    assert layer.synapses == {} and layer.drive.tolist() == [1.5, -2.0]
    from snnc.backends.schedule.export.sana_fe_chip import Chip

    with pytest.raises(CompileError, match="holds 1025 neurons"):
        Chip(GENERIC, {0: 1025}, 2)


def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, limited: None) -> None:
    network = tiny_network()
    with pytest.raises(CompileError, match="cannot write"):
        write_sana_fe(network, mapped(network), GENERIC, FEEDS, tmp_path / "new")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(CompileError, match="cannot write"):
        write_sana_fe(network, mapped(network), GENERIC, FEEDS, tmp_path / "file")
