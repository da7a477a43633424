"""Relus that others than neurons read, computed scalars, and what the report calls integer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import snnc
from snnc.backends.lowering import lower
from snnc.backends.lowering.rectifiers import share_rectifiers
from snnc.integer_synapses import NO_OPERATION
from snnc.ir.composed import composed
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Neuron, Op
from snnc.ir.rate_neuron import Synapses
from snnc.runtime import Session
from tests.onnx_models import arrays, model

BESIDE = """
g (float[N,6] x) => (float[N,6] y) {
  a = MatMul (x, w1)
  n = MatMul (a, w2)
  r = Relu (n)
  c = MatMul (r, w3)
  y = Add (c, r)
}"""

TWICE = """
g (float[N,6] x) => (float[N,6] q) {
  a = MatMul (x, w1)
  r1 = Relu (a)
  r2 = Relu (r1)
  y = MatMul (r1, w2)
  z = MatMul (r2, w3)
  s = Exp (y)
  t = Add (s, r1)
  q = Add (t, z)
}"""

SIGNED = """
g (float[N,6] x) => (float[N,6] q) {
  a = MatMul (x, w1)
  r = Relu (a)
  y = MatMul (a, w2)
  e = Exp (r)
  q = Add (e, y)
}"""

SCALAR = """
g (float[N,3,6,6] x) => (float[N,4,6,6] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, k1)
  r = Relu (a)
  c = Conv <pads = [1, 1, 1, 1]> (r, k2)
  most = ReduceMax <keepdims = 0> (r)
  m = Mul (c, most)
  rm = Relu (m)
  y = Conv <pads = [1, 1, 1, 1]> (rm, k2)
}"""

SAME = """
g (float[N,3,H,W] x) => (float[N,4,P,Q] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, k1)
  r = Relu (a)
  c = Conv <auto_pad = "SAME_UPPER", strides = [2, 2]> (r, k2)
  rc = Relu (c)
  y = Conv <pads = [1, 1, 1, 1]> (rc, k2)
}"""

NETWORKS = {"beside": BESIDE, "twice": TWICE, "signed": SIGNED, "scalar": SCALAR, "same": SAME}


def network(name: str, synapses: Synapses) -> tuple[snnc.SpikingNetwork, Mapping[str, Array]]:
    image = name in ("scalar", "same")
    weights = (
        arrays(1, k1=(4, 3, 3, 3), k2=(4, 4, 3, 3))
        if image
        else arrays(1, w1=(6, 6), w2=(6, 6), w3=(6, 6))
    )
    used = {k: v for k, v in weights.items() if k in NETWORKS[name]}
    feeds = arrays(2, x=(20, 3, 6, 6) if image else (20, 6))
    made = snnc.compile(
        model(NETWORKS[name], used),
        calibration=dict(feeds),
        scale=0.1,
        synapses=synapses,
        encode_input=True,
    )
    return made, feeds


@pytest.mark.parametrize("synapses", ["float", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_artifact_computes_what_the_graph_does(
    name: str, synapses: Synapses, tmp_path: Path
) -> None:
    made, feeds = network(name, synapses)
    expected = Session(made.graph).run(feeds)
    made.save(tmp_path / "a.onnx")
    for kernels in (True, False):
        session = snnc.session(tmp_path / "a.onnx", kernels=kernels)
        for output, array in zip(made.graph.outputs, session.run(None, dict(feeds)), strict=True):
            scale = np.abs(expected[output]).max()
            assert np.abs(array - expected[output]).max() <= 2e-2 * scale
            assert np.median(np.abs(array - expected[output])) <= 1e-5 * scale


def neurons_behind_relus(graph: Graph) -> int:
    return sum(graph.op(neuron.inputs[0], "Relu") is not None for neuron in graph.neurons)


def test_a_neuron_beside_a_relu_reads_it() -> None:
    graph = network("beside", "float")[0].graph
    assert neurons_behind_relus(graph) == 0
    shared = share_rectifiers(graph)
    assert neurons_behind_relus(shared) == 1
    ops = [n for n in lower(network("beside", "int8")[0].graph).nodes if isinstance(n, Op)]
    fused = [made for op in ops if (made := composed(op)) is not None and made.activation]
    assert [(made.activation, made.kept) for made in fused] == [("Relu", True)]


def test_a_neuron_of_both_signs_beside_a_relu_does_not() -> None:
    graph = network("signed", "float")[0].graph
    assert neurons_behind_relus(share_rectifiers(graph)) == 0
    assert any(isinstance(n, Neuron) and n.sides == "both" for n in graph.nodes)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_report_calls_integer_what_the_artifact_holds_as_integers(name: str) -> None:
    made, _ = network(name, "int8")
    report = made.report.integer
    assert report is not None
    drives = [n for n in lower(made.graph).nodes if isinstance(n, Op) and ".Spike" in n.op_type]
    assert len(drives) == len(report.layers) + len(report.products)
    unknown = [layer for layer in report.floats if layer.why == NO_OPERATION]
    assert len(unknown) == (name == "same")  # its padding depends on sizes that are not known
