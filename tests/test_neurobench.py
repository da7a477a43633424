"""What NeuroBench would count, without NeuroBench: layers, steps, refusals. The counts themselves
are compared by benchmarks/neurobench_counts.py, in an environment with torch."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import snnc
from snnc.energy import estimate
from snnc.ir.graph import Graph
from snnc.neurobench import neurobench_model
from snnc.neurobench.layers import Synapses, Window, layers_of
from tests.conftest import calibration_path, model_path


@cache
def compiled(name: str) -> Graph:
    return snnc.compile(model_path(name), calibration=calibration_path(name), scale=0.3).graph


def test_every_layer_of_a_classifier_is_found_with_the_step_of_its_spikes() -> None:
    graph = compiled("digits_mlp")
    layers, left_out = layers_of(graph)
    assert not left_out
    assert [layer.op.outputs[0] for layer in layers] == [
        layer for layer in graph.producer if graph.op(layer, "MatMul", "Gemm")
    ]
    first, *others = layers
    assert first.step is None
    steps = [graph.scalar(neuron.inputs[1]) for neuron in graph.neurons]
    assert [float(layer.step) for layer in others if layer.step is not None] == steps


def test_linear_layers_compute_what_their_operations_do() -> None:
    graph = compiled("digits_mlp")
    for layer in layers_of(graph)[0]:
        x = np.random.default_rng(0).normal(size=(3, layer.weight.shape[1])).astype(np.float32)
        held = graph.consts[layer.op.inputs[1]]
        own = held.T if layer.op.integer("transB", 0) else held
        assert np.array_equal(x @ layer.weight.T, x @ own)


def test_convolutions_keep_their_window() -> None:
    graph = compiled("digits_cnn")
    layers, left_out = layers_of(graph)
    assert not left_out
    windows = [layer for layer in layers if layer.window is not None]
    assert [layer.op.op_type for layer in windows] == ["Conv"] * len(windows) != []
    for layer in windows:
        assert layer.window is not None
        assert layer.weight.ndim == 2 + len(layer.window.strides)
        assert layer.op.ints("pads", ()) == tuple(np.array(layer.window.pads).T.reshape(-1))


def test_steps_of_channels_are_folded_into_the_weights_of_their_inputs() -> None:
    name = "digits_cnn"
    network = snnc.compile(
        model_path(name), calibration=calibration_path(name), neuron="if", timesteps=4, scale=1.0
    )
    layers = layers_of(network.graph)[0]
    steps = {layer.op.op_type: layer.step for layer in layers if layer.step is not None}
    assert set(steps) == {"Conv", "Gemm"}
    assert all(step.ndim == 1 for step in steps.values())
    for layer in layers:
        if layer.step is not None and layer.window is None:
            assert layer.weight_of_spikes == pytest.approx(layer.weight * layer.step, rel=1e-6)


def test_groups_read_the_steps_of_their_own_inputs() -> None:
    weight, step = np.ones((4, 2, 3, 3), np.float32), np.arange(1, 5, dtype=np.float32)
    window = Window((1, 1), (1, 1), ((1, 1), (1, 1)), groups=2)
    op = next(layer.op for layer in layers_of(compiled("digits_cnn"))[0] if layer.window)
    folded = Synapses(op, "", weight, None, step, window).weight_of_spikes
    assert folded[:, :, 0, 0].tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]


def test_products_of_activations_are_named_and_refused() -> None:
    graph = compiled("digits_vit")
    layers, left_out = layers_of(graph)
    products = [node for node in left_out if "product of two activations" in node.why]
    assert len(products) == len(left_out) > 0
    assert len(layers) + len(left_out) == len(estimate_layers(graph))
    with pytest.raises(snnc.CompileError, match=f"no layer for {len(left_out)} operations") as e:
        neurobench_model(graph)
    assert e.value.refused == left_out
    assert products[0].name in e.value.render()


def estimate_layers(graph: Graph) -> tuple[str, ...]:
    shapes = {
        v: tuple(64 if not isinstance(d, int) else d for d in t.shape or ())
        for v, t in graph.types.items()
    }
    return tuple(layer.name for layer in estimate(graph, shapes).layers)


def test_spikes_of_two_sizes_have_no_step_and_no_unary_reading() -> None:
    graph = compiled("digits_vit")
    assert all(layer.step is None for layer in layers_of(graph)[0][:2])
    with pytest.raises(snnc.CompileError, match="spikes of several sizes"):
        layers_of(graph, "unary")


def test_what_is_no_network_of_spike_counts_is_refused() -> None:
    with pytest.raises(snnc.CompileError, match="no spiking neurons"):
        neurobench_model(model_path("digits_mlp"))
    times = snnc.compile_spike_times(
        model_path("digits_mlp"), calibration=calibration_path("digits_mlp")
    )
    with pytest.raises(snnc.CompileError, match="spike times, no spike counts"):
        neurobench_model(times.graph)
    with pytest.raises(snnc.CompileError, match="did you mean 'unary'"):
        layers_of(compiled("digits_mlp"), "unari")  # type: ignore[arg-type]


def test_a_missing_package_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "snnc.neurobench.mirror", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(snnc.CompileError, match="package torch, which is not installed") as refused:
        neurobench_model(compiled("digits_mlp"))
    assert "pip install 'snnc[neurobench]'" in str(refused.value)


def test_the_package_is_imported_without_torch() -> None:
    code = "import sys, snnc.neurobench; sys.exit('torch' in sys.modules)"
    here = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=here).returncode == 0
