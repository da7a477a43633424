"""Sums of more synapses than a core holds, as sums of several cores."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import snnc
from snnc.backends.lowering import lower
from snnc.backends.schedule.feasibility import findings
from snnc.backends.schedule.map import map_network
from snnc.backends.schedule.split_sums import with_split_sums
from snnc.backends.schedule.validate import validate
from snnc.evaluation import run
from snnc.ir.graph import Graph
from snnc.ir.node import Op
from snnc.replay import replay
from snnc.scheduling import for_target, network_for
from snnc.targets import Target, load_target
from tests.conftest import calibration_path, model_path

MODELS = Path(__file__).parent.parent / "models"
GENERIC = load_target("generic")


def compiled(name: str, **options: object) -> Graph:
    """The network of an artifact's file."""
    network = snnc.compile(
        model_path(name),
        calibration=calibration_path(name),
        scale=0.2,
        **options,  # type: ignore[arg-type]
    )
    with tempfile.TemporaryDirectory() as directory:
        network.save(Path(directory) / "out.onnx")
        return snnc.load(Path(directory) / "out.onnx")


def limited(fan_in: int) -> Target:
    return replace(GENERIC, name="limited", fan_in=fan_in)


@pytest.mark.parametrize(
    ("name", "synapses", "fan_in"),
    [
        ("digits_mlp", "float", 24),
        ("digits_cnn", "float", 40),
        ("digits_cnn", "int8", 40),
        ("digits_vit", "float", 50),
    ],
)
def test_the_parts_add_up_and_fit(name: str, synapses: str, fan_in: int) -> None:
    graph, target = compiled(name, synapses=synapses), limited(fan_in)
    test = MODELS / ("digits_mlp_test.npz" if name == "digits_mlp" else "digits_test.npz")
    with np.load(test) as arrays:
        data = {v: arrays[v][:40] for v in graph.inputs}
    samples = snnc.samples_of(data, graph)
    assert not all(each.fits for each in findings(network_for(graph, GENERIC), target))
    parted = with_split_sums(graph, target)
    before, after = (run(lower(each), samples) for each in (graph, parted))
    for output, array in before.items():
        if array.dtype.kind == "f":
            assert (array.argmax(-1) == after[output].argmax(-1)).mean() >= 0.95
    network = network_for(graph, target)
    assert all(each.fits for each in findings(network, target))
    mapping = map_network(network, target)
    validate(network, mapping, target)
    made = snnc.Schedule(network, target, mapping, "")
    compared = replay(made, samples, for_target(graph, target)).comparison
    assert compared is not None
    assert compared.differing == 0


def test_nothing_changes_where_cores_hold_all_or_do_not_add_up() -> None:
    graph = compiled("digits_cnn")
    assert with_split_sums(graph, limited(1000)) == graph
    assert with_split_sums(graph, replace(limited(40), partial_sums=False)) == graph
    assert with_split_sums(graph, replace(limited(40), real_bits=0)) == graph


def test_a_kernel_of_one_channel_is_never_split() -> None:
    graph = compiled("digits_cnn")

    def shapes(of: Graph) -> list[tuple[int, ...]]:
        layers = [n for n in of.nodes if isinstance(n, Op) and n.op_type in ("Conv", "Gemm")]
        return [of.consts[layer.inputs[1]].shape for layer in layers]

    before, after = shapes(graph), shapes(with_split_sums(graph, limited(8)))
    large = [shape for shape in before if len(shape) == 4]
    assert large == [shape for shape in after if len(shape) == 4]
    assert max(shape[1] for shape in after if len(shape) == 2) <= 8
