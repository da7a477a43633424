"""The main job on the included networks: fidelity, stages, exporters, library."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import snnc
from snnc.calibrated import calibrate_sites, with_scale
from snnc.data import Feeds, Source, samples_of
from snnc.ir.node import Array
from snnc.ir.rate_neuron import rate_neuron
from snnc.prepare import prepare
from snnc.runtime import Session
from tests.conftest import DATA, calibration_path, held_out_path, model_path

Compiled = Callable[[str], snnc.SpikingNetwork]


def arrays(path: Path) -> dict[str, Array]:
    with np.load(path) as loaded:
        return dict(loaded)


def feeds(name: str, count: int) -> dict[str, Array]:
    held_out = arrays(held_out_path(name))
    return {key: value[:count] for key, value in held_out.items() if key != "labels"}


@pytest.mark.parametrize("name", DATA)
def test_the_default_keeps_what_the_network_knows(name: str, compiled: Compiled) -> None:
    network = compiled(name)
    assert network.report.coverage.spiking_fraction == 1.0
    assert network.report.choice is not None
    assert network.report.choice.fidelity >= 0.98
    result = network.evaluate(held_out_path(name))
    assert result.samples == 450
    assert result.ann_top1 is not None
    assert result.snn_top1 is not None
    assert result.snn_top1 >= result.ann_top1 - 0.035
    assert (result.agreement or 0.0) >= 0.94
    assert result.cosine >= 0.93


@pytest.mark.parametrize("name", DATA)
def test_with_sites_as_identity_the_network_is_the_ann(name: str) -> None:
    ann, sited = prepare(model_path(name))
    data = feeds(name, 16)
    expected = Session(ann).run(data)
    calibrated = calibrate_sites(ann, sited, samples_of(data, ann)).graph()
    for graph in (sited, calibrated):
        found = Session(graph).run(data)
        for output in ann.outputs:
            np.testing.assert_allclose(found[output], expected[output], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", ["digits_cnn", "digits_vit"])
def test_both_exporters_give_the_same_spiking_network(network: str, compiled: Compiled) -> None:
    legacy, dynamo = compiled(network), compiled(f"{network}_dynamo")
    assert legacy.report.scale == dynamo.report.scale
    assert legacy.report.sites == dynamo.report.sites
    counts = []
    outputs = []
    data = feeds(network, 100)
    for compiled_network in (legacy, dynamo):
        graph = compiled_network.graph
        values = Session(graph, taps=[n.outputs[0] for n in graph.neurons]).run(data)
        counts.append([_counts(graph, n.outputs[0], values) for n in graph.neurons])
        outputs.append(values["logits"])
    total = sum(a.size for a in counts[0])
    differing = sum(
        int(np.count_nonzero(a.ravel() != b.ravel())) for a, b in zip(*counts, strict=True)
    )
    assert differing / total < 1e-4
    if not differing:
        np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)


def _counts(graph: snnc.Graph, value: str, values: dict[str, Array]) -> Array:
    neuron = next(n for n in graph.neurons if n.outputs[0] == value)
    positive, negative = (float(graph.consts[s]) if s else 1.0 for s in neuron.inputs[1:])
    out = values[value]
    return np.rint(np.where(out < 0, out / negative, out / positive))


def test_fine_steps_bring_the_spiking_network_to_the_ann() -> None:
    """Each output moves towards the trained network's as lambda falls."""
    path = calibration_path("digits_vit")
    ann, sited = prepare(model_path("digits_vit"))
    calibrated = calibrate_sites(ann, sited, samples_of(path, ann)).graph()
    data = feeds("digits_vit", 50)
    expected = Session(ann).run(data)["logits"]
    errors = []
    for scale in (0.5, 0.25, 0.12, 0.06, 0.03):
        spiking = with_scale(calibrated, snnc.SFN(), scale, "separate")
        found = Session(spiking).run(data)["logits"]
        errors.append(float(np.linalg.norm(found - expected) / np.linalg.norm(expected)))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.06


@pytest.mark.parametrize(
    "levels", ["dense:M=6", "sformer:M=6", "linear:M=6", "exponential:M=6", "fitted:N=16:K=6:S=2"]
)
@pytest.mark.parametrize("rule", ["nearest", "eq11"])
def test_every_neuron_setting_compiles_and_runs(levels: str, rule: str) -> None:
    neuron = rate_neuron(f"sfn:rule={rule}:levels={levels}")
    network = snnc.compile(
        model_path("digits_cnn"),
        neuron=neuron,
        scale=0.25,
        calibration=calibration_path("digits_cnn"),
    )
    values = network.run(feeds("digits_cnn", 20))
    assert values["logits"].shape == (20, 10)
    assert np.isfinite(values["logits"]).all()


def test_calibration_takes_every_kind_of_source() -> None:
    data = arrays(calibration_path("digits_cnn"))
    images = data["input"]

    def stream() -> Iterator[Feeds]:
        for start in range(0, len(images), 37):
            yield {"input": images[start : start + 37]}

    sources: list[Source] = [
        calibration_path("digits_cnn"),
        str(calibration_path("digits_cnn")),
        images,
        {"input": images},
        {"anything": images},
        stream(),
    ]
    steps = []
    for source in sources:
        network = snnc.compile(model_path("digits_cnn"), calibration=source, scale=0.2)
        graph = network.graph
        steps.append([float(graph.consts[s]) for n in graph.neurons for s in n.inputs[1:] if s])
        assert network.report.calibration_samples == 300
    assert all(each == steps[0] for each in steps)


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        network = snnc.compile(
            model_path("digits_cnn"), calibration=calibration_path("digits_cnn"), scale=0.2
        )
        network.save(tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_shared_polarity_uses_one_step_for_both_signs() -> None:
    network = snnc.compile(
        model_path("digits_vit"),
        calibration=calibration_path("digits_vit"),
        scale=0.2,
        polarity="shared",
    )
    graph = network.graph
    both = [n for n in graph.neurons if n.sides == "both"]
    assert both
    for neuron in both:
        assert graph.consts[neuron.inputs[1]] == graph.consts[neuron.inputs[2]]


def test_keep_leaves_nodes_analog_and_lists_them() -> None:
    whole = snnc.compile(
        model_path("digits_vit"), calibration=calibration_path("digits_vit"), scale=0.2
    )
    kept = snnc.compile(
        model_path("digits_vit"),
        calibration=calibration_path("digits_vit"),
        scale=0.2,
        keep=("*mlp*",),
    )
    assert kept.report.sites < whole.report.sites
    assert (kept.report.coverage.spiking_fraction or 0.0) < 0.6
    listed = [entry for entry in kept.report.coverage.analog if entry["op"] == "MatMul"]
    assert len(listed) == 6
    assert {entry["why"] for entry in listed} == {"kept analog as asked"}
    energy = kept.energy(feeds("digits_vit", 20))
    assert energy.analog_macs > whole.energy(feeds("digits_vit", 20)).analog_macs


def test_encode_input_leaves_no_layer_direct_coded() -> None:
    network = snnc.compile(
        model_path("digits_cnn"),
        calibration=calibration_path("digits_cnn"),
        scale=0.1,
        encode_input=True,
    )
    assert network.report.coverage.direct_coded_fraction == 0.0
    assert network.energy(feeds("digits_cnn", 20)).analog_macs == 0.0


def test_silent_neurons_are_warned_of() -> None:
    images = np.zeros((8, 1, 8, 8), np.float32)
    ann, _ = prepare(model_path("digits_mlp"))
    network = snnc.compile(
        ann, calibration=np.zeros((8, 64), np.float32), scale=0.5, encode_input=True
    )
    assert images.shape[0] == 8
    assert len(network.report.warnings) == 1
    assert "never spike" in network.report.warnings[0]
    outputs = network.run(np.ones((3, 64), np.float32))
    assert np.isfinite(outputs["probabilities"]).all()
