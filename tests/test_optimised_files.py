"""Files that onnxruntime's own graph optimiser wrote become the same spiking networks."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest

from snnc.coverage import coverage_of
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.passes.normalize import Normalize
from snnc.prepare import prepare
from snnc.random_data import random_feeds
from snnc.runtime import Session
from tests.conftest import DATA, model_path
from tests.onnx_models import assert_same_outputs

LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def optimised(path: Path, level: str, out: Path) -> Path:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(out)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return out


def sites(graph: Graph) -> list[tuple[str, int]]:
    roles = [site.role for site in graph.sites]
    return sorted((role, roles.count(role)) for role in set(roles))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", DATA)
def test_an_optimised_file_has_the_same_neurons(name: str, level: str, tmp_path: Path) -> None:
    path = optimised(model_path(name), level, tmp_path / "optimised.onnx")
    if any(node.domain == "com.microsoft.nchwc" for node in onnx.load(path).graph.node):
        assert level == "all"
        with pytest.raises(CompileError, match="memory layout of one kind of processor"):
            prepare(path)
        return
    original, plain = prepare(model_path(name))
    _, sited = prepare(path, verify=True)
    assert sites(sited) == sites(plain)
    found, wanted = coverage_of(sited), coverage_of(plain)
    assert found.spiking_fraction == wanted.spiking_fraction == 1.0
    assert found.macs == wanted.macs
    assert not [e["op"] for e in found.analog if e["op"].startswith("com.microsoft")]
    feeds = random_feeds(original, 3, 8)
    outputs = Session(Normalize()(original)).run(feeds)
    assert_same_outputs(Session(sited).run(feeds), outputs, 1e-4)
