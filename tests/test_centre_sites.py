"""Zero points of sites: the same function, exactly made up for, and spikes that stay spikes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import snnc
from snnc.backends.onnx_model import save_onnx
from snnc.calibrated import CalibratedNetwork, with_scale
from snnc.centred import centred
from snnc.data import samples_of
from snnc.drives import classify
from snnc.energy import EnergyMeter
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Neuron
from snnc.ir.verify import verify
from snnc.neurons.sfn import SFN
from snnc.passes.centre_sites import CentreSites
from snnc.passes.centring.centres import Kind, centres_of
from snnc.passes.centring.medians import medians
from snnc.replay import replay
from snnc.runtime import Session
from snnc.scheduling import for_target, schedule
from snnc.streams import spike_counts
from tests.conftest import calibration_path, held_out_path, model_path

ALL: tuple[Kind, ...] = ("linear", "keys", "values", "queries")
BY_KIND = {
    "digits_vit": {"linear": 13, "keys": 3, "values": 3, "queries": 3},
    "digits_vit_dynamo": {"linear": 13, "keys": 3, "values": 3, "queries": 3},
    "digits_encoder": {"linear": 9, "keys": 2, "values": 2, "queries": 2},
    "digits_cnn": {"linear": 1},
    "digits_mlp": {},
}


@cache
def calibrated(name: str) -> CalibratedNetwork:
    mask = "attention_mask" if name == "digits_encoder" else None
    return snnc.calibrate(
        model_path(name), calibration=few(calibration_path(name)), mask_input=mask
    )


def few(path: Path, count: int = 32) -> dict[str, Array]:
    with np.load(path) as data:
        return {name: data[name][:count] for name in data.files if name != "labels"}


def moved(before: Graph, after: Graph, feeds: Mapping[str, Array]) -> set[str]:
    """The sites that see something else than they did."""
    taps = [{s.outputs[0]: s.inputs[0] for s in graph.open_sites} for graph in (before, after)]
    sees = [
        Session(graph, taps=tapped.values()).run(feeds)
        for graph, tapped in zip((before, after), taps, strict=True)
    ]
    pairs = {site: (sees[0][taps[0][site]], sees[1][taps[1][site]]) for site in taps[0]}
    return {site for site, (a, b) in pairs.items() if not np.allclose(a, b, atol=1e-3, rtol=0)}


def assert_same(
    before: Graph, after: Graph, feeds: Mapping[str, Array], share: float = 2e-5
) -> None:
    """Equal up to float32 rounding, as a share of the largest number."""
    wanted, found = Session(before).run(feeds), Session(after).run(feeds)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=share * np.abs(array).max())


@pytest.mark.parametrize("kinds", [*((k,) for k in ALL), ALL], ids="+".join)
@pytest.mark.parametrize("name", BY_KIND)
def test_the_network_computes_what_it_did(name: str, kinds: tuple[Kind, ...]) -> None:
    network = calibrated(name)
    found = CentreSites(network.samples, kinds, network.calibration.mask_input)(network.sited)
    verify(found, Stage.SITED)
    assert_same(network.ann, found, few(held_out_path(name)))


@pytest.mark.parametrize("name", BY_KIND)
def test_which_sites_are_centred(name: str) -> None:
    network = calibrated(name)
    kinds = [centre.kind for centre in centres_of(network.sited)]
    assert {kind: kinds.count(kind) for kind in ALL if kind in kinds} == BY_KIND[name]


@pytest.mark.parametrize("name", ["digits_vit", "digits_encoder"])
def test_sites_see_medians_of_zero(name: str) -> None:
    network = calibrated(name)
    mask = network.calibration.mask_input
    centres = centres_of(network.sited)
    found = CentreSites(network.samples, ALL, mask)(network.sited)
    axes = {centre.site: centre.axes for centre in centres}
    before, after = (
        medians(graph, axes, network.samples, mask, lambda done: None)
        for graph in (network.sited, found)
    )
    feeds = few(calibration_path(name), 4)
    assert moved(network.sited, found, feeds) == set(axes)
    for site, left in after.items():
        assert np.abs(left).max() <= 1e-5 * np.abs(before[site]).max(), site


def test_masked_positions_do_not_move_medians() -> None:
    network = calibrated("digits_encoder")
    mask = "attention_mask"
    feeds = few(calibration_path("digits_encoder"))
    other = {**feeds, "input_ids": np.where(feeds[mask] == 0, 3, feeds["input_ids"])}
    assert (other["input_ids"] != feeds["input_ids"]).any()
    axes = {centre.site: centre.axes for centre in centres_of(network.sited)}
    one, two, plain = (
        medians(network.sited, axes, samples_of(each, network.ann), used, lambda done: None)
        for each, used in ((feeds, mask), (other, mask), (other, None))
    )
    first = next(iter(axes))
    np.testing.assert_array_equal(one[first], two[first])
    assert (one[first] != plain[first]).any()


@cache
def spiking(name: str) -> tuple[CalibratedNetwork, Graph]:
    network = centred(calibrated(name), ALL)
    return network, with_scale(network.graph(), SFN(), 0.2, "shared")


@pytest.mark.parametrize("name", ["digits_vit", "digits_encoder"])
def test_numpy_body_and_kernel_agree(name: str, tmp_path: Path) -> None:
    _, graph = spiking(name)
    feeds = few(held_out_path(name), 7)
    save_onnx(graph, tmp_path / "out.onnx")
    providers = ["CPUExecutionProvider"]
    stock = onnxruntime.InferenceSession(str(tmp_path / "out.onnx"), providers=providers)
    reads = {n.outputs[0]: n.inputs[0] for n in graph.neurons}
    kernel = Session(graph, taps=(*reads, *reads.values())).run(feeds)
    alone = Session(graph).run(feeds)
    for value, found in zip(graph.outputs, stock.run(None, feeds), strict=True):
        np.testing.assert_array_equal(found, alone[value])
    for neuron in graph.neurons:
        steps = [graph.consts[s] if s else np.float32(0) for s in neuron.inputs[1:]]
        counted = neuron.model.step(kernel[neuron.inputs[0]], *steps)
        np.testing.assert_array_equal(counted, kernel[neuron.outputs[0]])


@pytest.mark.parametrize("name", ["digits_vit", "digits_encoder"])
def test_every_layer_stays_spiking_and_queries_are_counted(name: str) -> None:
    _, graph = spiking(name)
    plain = with_scale(calibrated(name).graph(), SFN(), 0.2, "shared")
    kinds = [[kind for _, kind in classify(g)] for g in (plain, graph)]
    attentions = BY_KIND[name]["queries"]
    assert len(kinds[1]) == len(kinds[0]) + attentions
    assert sorted(kinds[1]) == sorted([*kinds[0], *attentions * ["spiking"]])
    feeds = few(held_out_path(name), 8)
    meter = EnergyMeter(graph)
    session = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of)
    values = session.run(feeds)
    meter.update(values, 8)
    pairs = zip(classify(graph), meter.energy().layers, strict=True)
    extra = [(op, layer) for (op, _), layer in pairs if op.inputs[0] in graph.consts]
    assert len(extra) == attentions
    for op, layer in extra:
        neuron = graph.producer[op.inputs[1]]
        assert isinstance(neuron, Neuron)
        fired = spike_counts(graph, neuron, values[neuron.outputs[0]])
        assert layer.spikes == pytest.approx(float(fired.sum()) / 8)
        assert layer.macs == pytest.approx(fired.size / 8)


def test_a_replayed_schedule_has_no_differing_spike_count() -> None:
    _, graph = spiking("digits_vit")
    made = schedule(graph, "generic")
    samples = samples_of(few(held_out_path("digits_vit"), 6), graph)
    found = replay(made, samples, for_target(graph, made.target)).comparison
    assert found is not None
    assert found.neurons > 1000
    assert found.differing == 0
    assert not found.differs
