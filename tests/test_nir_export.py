"""NIR graphs compute what the networks do; what NIR cannot say is named."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
import onnx
import pytest

import snnc
from snnc.backends.schedule.export.branches import branches
from snnc.backends.schedule.export.nir_graph import nir_graph, nir_names, write_nir
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.neuron import parse_neuron
from snnc.ir.node import Array, Neuron, Op
from snnc.ir.rate_neuron import RateNeuron
from snnc.ir.time import REPEAT
from snnc.membrane.reference import Reference
from snnc.neurons.integrate_fire import IF
from tests.conftest import calibration_path, held_out_path, model_path
from tests.onnx_models import arrays, model

SAMPLES = 40


class Interpreter:
    """Executes a NIR graph in float64 as docs/exports.md reads it: edges are summed, nodes run once
    a timestep, a Delay of 1 hands on what it read at the timestep before."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
        for source, target in graph.edges:
            self.sources[target].append(source)
        self.state: dict[str, Array] = {}
        self.held: dict[str, Array] = {}

    def run(self, x: Array, timesteps: int) -> list[dict[str, Array]]:
        """Values of all nodes at every timestep; x [N, ...] is shown at each."""
        found = []
        for _ in range(timesteps):
            values = {
                name: self.held.get(name, np.zeros(()))
                for name, node in self.graph.nodes.items()
                if isinstance(node, nir.Delay)
            }
            left = [name for name in self.graph.nodes if name not in values]
            while left:
                ready = [n for n in left if all(s in values for s in self.sources[n])]
                assert ready, f"no order for {left}"
                for name in ready:
                    read = [values[s] for s in self.sources[name]]
                    values[name] = self.node(name, self.graph.nodes[name], read or [x])
                left = [name for name in left if name not in values]
            for name, node in self.graph.nodes.items():
                if isinstance(node, nir.Delay):
                    assert (node.delay == 1).all()
                    self.held[name] = values[self.sources[name][0]]
            found.append(values)
        return found

    def node(self, name: str, node: Any, read: list[Array]) -> Any:
        kept = self.state.get(name, np.zeros(()))
        if isinstance(node, nir.I):
            for each in read:  # one by one, as a membrane integrates
                kept = kept + node.r * each
            self.state[name] = kept
            return kept
        x: Array = np.asarray(sum(read), np.float64)
        if isinstance(node, nir.IF):
            kept = kept + node.r * x
            fired = kept.astype(np.float32) > node.v_threshold
            self.state[name] = np.where(fired, node.v_reset, kept)
            return fired.astype(np.float64)
        if isinstance(node, nir.Threshold):
            return (x.astype(np.float32) > node.threshold).astype(np.float64)
        if isinstance(node, nir.Scale):
            return x * node.scale
        if isinstance(node, nir.Linear):
            return x @ node.weight.T.astype(np.float64)
        if isinstance(node, nir.Affine):
            return x @ node.weight.T.astype(np.float64) + node.bias
        if isinstance(node, nir.Flatten):
            assert (node.start_dim, node.end_dim) == (0, -1)
            return x.reshape(len(x), -1)
        if isinstance(node, nir.AvgPool2d):
            return windows(x, node.kernel_size, node.stride, node.padding).mean(axis=(-2, -1))
        if isinstance(node, nir.SumPool2d):
            return windows(x, node.kernel_size, node.stride, node.padding).sum(axis=(-2, -1))
        if isinstance(node, nir.Conv2d):
            assert node.groups == 1
            kernel = node.weight.astype(np.float64)
            seen = windows(x, kernel.shape[2:], node.stride, node.padding, node.dilation)
            sums = np.einsum("bchwij,ocij->bohw", seen, kernel)
            return sums + node.bias[:, None, None]
        assert isinstance(node, nir.Input | nir.Output), type(node)
        return x


def windows(x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any = (1, 1)) -> Array:
    """[B, C, H, W] -> [B, C, rows, columns, kernel, kernel]."""
    padded = np.pad(x, ((0, 0), (0, 0), *((int(p), int(p)) for p in padding)))
    reach = [(int(k) - 1) * int(d) + 1 for k, d in zip(kernel, dilation, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    seen = seen[:, :, :: int(stride[0]), :: int(stride[1])]
    return np.asarray(seen[..., :: int(dilation[0]), :: int(dilation[1])])


def ours(graph: Graph, feeds: Mapping[str, Array], wanted: tuple[str, ...]) -> dict[str, Array]:
    """Values of a spiking graph in float64, neurons by their own numpy semantics in float32."""
    values: dict[str, Array] = {**graph.consts}
    values |= {name: array.astype(np.float64) for name, array in feeds.items()}
    graph = replace(graph, outputs=wanted).pruned()
    perform = Reference(graph)
    for node in graph.nodes:
        read = [values[v] if v else None for v in node.inputs]
        first = read[0]
        assert first is not None
        if isinstance(node, Neuron):
            pair = [np.zeros((), np.float32) if s is None else s for s in read[1:]]
            folded = first.reshape(node.timesteps, -1, *first.shape[1:])
            values[node.outputs[0]] = over_time(node.model, folded, *pair).reshape(first.shape)
        elif isinstance(node, Op) and node.op_type == REPEAT:
            values[node.outputs[0]] = np.concatenate([first] * graph.timesteps)
        else:
            assert isinstance(node, Op)
            values[node.outputs[0]] = perform(node, read)[0]
    return values


def over_time(model: RateNeuron, x: Array, positive: Array, negative: Array) -> Array:
    kept, out = np.zeros(x.shape[1:]), np.empty_like(x)
    for t, now in enumerate(x):
        membrane = kept + now
        out[t] = model.step(membrane.astype(np.float32), positive, negative)
        kept = membrane - out[t]
        if isinstance(model, IF) and model.reset == "hard":
            kept = np.where(out[t] > 0, 0, membrane)
    return out


def digits(name: str) -> dict[str, Array]:
    with np.load(held_out_path(name)) as held:
        return {"input": held["input"][:SAMPLES]}


def compiled(path: Any, calibration: Path, **settings: Any) -> Graph:
    return snnc.compile(path, calibration=calibration, **settings).graph


def read_back(graph: Graph, path: Path) -> Any:
    write_nir(graph, path)
    return nir.read(path)


def require_equal(graph: Graph, path: Path, feeds: dict[str, Array]) -> None:
    """The NIR graph, read from its file, emits the spikes and outputs of ours."""
    written = read_back(graph, path)
    values = Interpreter(written).run(feeds["input"], graph.timesteps)
    nodes = {node.metadata["value"]: name for name, node in written.outputs.items()}
    nodes |= nir_names(graph)
    expected = ours(graph, feeds, tuple(nodes))
    assert len(nodes) > len(graph.neurons) > 0
    for value, node in nodes.items():
        found = np.concatenate([step[node] for step in values])
        assert np.count_nonzero(found) > 0
        np.testing.assert_allclose(found, expected[value], rtol=1e-6, atol=1e-6, err_msg=value)


MLP = model_path("digits_mlp"), calibration_path("digits_mlp")


@pytest.mark.parametrize(
    "settings",
    [
        {"neuron": "sfn:levels=linear:M=4"},
        {"neuron": "sfn:levels=sformer:M=4:rule=eq11"},
        {"neuron": "mtn:N=8"},
        {"neuron": "aif:L=8"},
        {"neuron": "if", "timesteps": 16},
        {"neuron": "if:reset=hard:potential=0", "timesteps": 8},
        {"neuron": "sfn:levels=linear:M=2", "timesteps": 4},
    ],
    ids=str,
)
def test_the_mlp_computes_the_same_in_nir(settings: dict[str, Any], tmp_path: Path) -> None:
    graph = compiled(*MLP, **settings)
    require_equal(graph, tmp_path / "mlp.nir", digits("digits_mlp"))


def small_cnn(path: Path) -> Path:
    """Convolutions with groups, strides and dilation, an average in front of a Relu, a sum of two
    layers; activations of both signs in front of the last layer."""
    weights = arrays(3, a=(8, 1, 3, 3), b=(8,), c=(8, 4, 3, 3), d=(8,), e=(8, 8, 1, 1), f=(72, 16))
    weights |= arrays(4, g=(16, 10), h=(10,))
    text = """g (float[N,1,8,8] input) => (float[N,10] logits) {
        x = Conv <pads = [1,1,1,1]> (input, a, b)
        p = AveragePool <kernel_shape=[2,2], pads=[1,1,1,1], count_include_pad=1> (x)
        r = Relu (p)
        y = Conv <group = 2, strides = [3,3], dilations = [2,2], pads = [1,1,1,1]> (r, c, d)
        z = Conv <strides = [3,3]> (r, e)
        s = Add (y, z)
        q = Relu (s)
        l = Flatten (q)
        m = MatMul (l, f)
        n = MatMul (m, g)
        logits = Add (n, h)
    }"""
    scaled = {k: (v / np.sqrt(v[0].size)).astype(np.float32) for k, v in weights.items()}
    onnx.save(model(text, scaled), path)
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {"neuron": "sfn:levels=linear:M=4"},
        {"neuron": "dual-mtn:N=4"},
        {"neuron": "aif:L=4"},
        {"neuron": "aif:L=4:n_min=0", "timesteps": 3},
        {"neuron": "aif:L=4", "timesteps": 3},
    ],
    ids=str,
)
def test_convolutions_pools_sums_and_both_signs(settings: dict[str, Any], tmp_path: Path) -> None:
    graph = compiled(small_cnn(tmp_path / "cnn.onnx"), calibration_path("digits_cnn"), **settings)
    assert any(neuron.sides == "both" for neuron in graph.neurons)
    require_equal(graph, tmp_path / "cnn.nir", digits("digits_cnn"))


def pooling_cnn(path: Path, end: str = "logits = MatMul (l, e)") -> Path:
    """Largest entries in front of a convolution and of a flattening, before and behind a Relu."""
    weights = arrays(6, a=(6, 1, 3, 3), b=(6,), c=(4, 6, 3, 3), d=(4,), e=(16, 10))
    text = f"""g (float[N,1,8,8] input) => (float[N,10] logits) {{
        x = Conv <pads=[1,1,1,1]> (input, a, b)
        r = Relu (x)
        p = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (r)
        y = Conv <pads=[1,1,1,1]> (p, c, d)
        q = MaxPool <kernel_shape=[2,2], strides=[2,2]> (y)
        s = Relu (q)
        l = Flatten (s)
        {end}
    }}"""
    scaled = {k: (v / np.sqrt(v[0].size)).astype(np.float32) for k, v in weights.items()}
    onnx.save(model(text, scaled), path)
    return path


@pytest.mark.parametrize("neuron", ["sfn:levels=sformer:M=3", "sfn:levels=linear:M=2:rule=eq11"])
def test_a_max_pool_in_front_of_neurons_is_said_by_their_thresholds(
    neuron: str, tmp_path: Path
) -> None:
    source = pooling_cnn(tmp_path / "cnn.onnx")
    graph = compiled(source, calibration_path("digits_cnn"), neuron=neuron)
    assert sum(isinstance(n, Op) and n.op_type == "MaxPool" for n in graph.nodes) == 2
    require_equal(graph, tmp_path / "cnn.nir", digits("digits_cnn"))


def test_a_pooled_value_that_is_also_read_out_is_refused(tmp_path: Path) -> None:
    source = pooling_cnn(
        tmp_path / "cnn.onnx", "m = MatMul (l, e) z = ReduceSum (l) logits = Add (m, z)"
    )
    error = refusal(source, "digits_cnn", neuron="sfn:levels=linear:M=2")
    assert [node.op for node in error.refused] == ["MaxPool", "Relu"]


def test_the_artifact_decides_as_the_nir_graph_does() -> None:
    network = snnc.compile(MLP[0], calibration=MLP[1], neuron="mtn:N=8")
    feeds = digits("digits_mlp")
    (values,) = Interpreter(nir_graph(network.graph)).run(feeds["input"], 1)
    assert (
        values["add_result2_output"].argmax(axis=1) == network.run(feeds)["label"]
    ).mean() > 0.97


def test_files_hold_the_graph_that_was_written(tmp_path: Path) -> None:
    graph = compiled(*MLP, neuron="sfn:levels=sformer:M=3")
    written, read = nir_graph(graph), read_back(graph, tmp_path / "mlp.nir")
    assert sorted(written.edges) == sorted(read.edges)
    assert written.nodes.keys() == read.nodes.keys()
    for name, node in written.nodes.items():
        assert type(node) is type(read.nodes[name])
        mine, theirs = node.to_dict(), read.nodes[name].to_dict()
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            assert np.array_equal(value, theirs[key]), (name, key)
    assert read.metadata["timesteps"] == 1
    assert "Softmax" in read.metadata["left_out"]


@pytest.mark.parametrize(
    "text",
    [
        "sfn:M=3",
        "sfn:levels=sformer:M=4",
        "sfn:levels=fitted:N=6:K=2:S=2",
        "mtn:N=5",
        "aif:L=3:n_min=-2",
        "sfn:bound=0.5:M=2",
    ],
)
def test_a_branch_fires_exactly_where_its_level_does(text: str) -> None:
    neuron = parse_neuron(text)
    assert isinstance(neuron, RateNeuron)
    steps = np.array([[0.1, 0.37], [1.0, 0.0]], np.float32)
    for sign in (1, -1):
        found = branches(neuron, steps, sign, 100)
        assert found is not None
        finite = np.concatenate([b.below[np.isfinite(b.below)] for b in found] or [np.zeros(0)])
        edges = np.unique(np.concatenate([finite, np.nextafter(finite, np.float32(9)), [0, 1e30]]))
        x = edges.astype(np.float32)[:, None, None] * np.ones_like(steps)
        counts = sum((np.where(x > b.below, b.gap, 0) for b in found), np.zeros(x.shape))
        silent = np.zeros_like(steps)
        pair = (steps, silent) if sign > 0 else (silent, steps)
        assert np.array_equal(counts, np.abs(neuron.count(sign * x, *pair)))


def refusal(source: Any, name: str, **settings: Any) -> CompileError:
    graph = compiled(source, calibration_path(name), **settings)
    with pytest.raises(CompileError) as caught:
        nir_graph(graph)
    return caught.value


def test_what_nir_cannot_say_is_named_in_one_error() -> None:
    error = refusal(model_path("digits_cnn"), "digits_cnn", neuron="mtn:N=8")
    assert [(node.name, node.op) for node in error.refused] == [
        ("/stem/stem.5/Relu", "Relu"),
        ("/stem/stem.6/MaxPool", "MaxPool"),
        ("/relu_1/Relu", "Relu"),
    ]
    assert "no node for Relu" in str(error) and "whose real result goes on" in str(error)


def test_a_transformer_is_refused_for_its_softmax_its_norms_and_its_products() -> None:
    error = refusal(model_path("digits_vit"), "digits_vit", neuron="aif:L=4")
    kinds = {node.op for node in error.refused}
    assert {"Softmax", "LayerNormalization", "MatMul"} <= kinds


def test_many_levels_are_refused_with_the_way_out() -> None:
    error = refusal(MLP[0], "digits_mlp")
    assert "more than 64 levels" in str(error) and "fewer levels" in str(error)
    assert len(error.refused) == 2


@pytest.mark.parametrize(
    ("neuron", "why"), [("if:reset=hard", "0.5 thresholds"), ("dual-if", "rectifier")]
)
def test_membranes_that_nir_does_not_know(neuron: str, why: str, tmp_path: Path) -> None:
    source = small_cnn(tmp_path / "cnn.onnx") if neuron == "dual-if" else MLP[0]
    name = "digits_cnn" if neuron == "dual-if" else "digits_mlp"
    assert why in str(refusal(source, name, neuron=neuron, timesteps=4))


def test_without_the_package_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    graph = compiled(*MLP, neuron="mtn:N=2")
    path = tmp_path / "mlp.nir"
    path.write_bytes(b"older")
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(CompileError, match=r"snnc\[nir\]"):
        write_nir(graph, path)
    assert path.read_bytes() == b"older"


def test_a_disk_that_is_full(tmp_path: Path, limited: None) -> None:
    path = tmp_path / "mlp.nir"
    path.write_bytes(b"older")
    with pytest.raises(CompileError, match="cannot write"):
        write_nir(compiled(*MLP, neuron="mtn:N=2"), path)
    assert path.read_bytes() == b"older"
    assert [each.name for each in tmp_path.iterdir()] == ["mlp.nir"]
