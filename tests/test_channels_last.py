"""Integer convolutions channels-last: where Transposes remain, and that all stays the same."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

import snnc
from snnc.backends.lowering import lower
from snnc.backends.lowering.batches import name_batches
from snnc.backends.lowering.hoist import hoist_neurons
from snnc.data import samples_of
from snnc.evaluation import measure
from snnc.ir.composed import composed
from snnc.ir.functions import MAX_POOL_COUNTS
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.kernels import using_instruction_set
from snnc.runtime import Session
from snnc.sites import pair
from tests.conv_cases import EACH_SET, NEEDS_LIBRARY
from tests.onnx_models import arrays, model

RESIDUAL = """
g (float[N,3,12,10] x) => (float[N,5] y) {
  stem = Conv <pads = [1, 1, 1, 1]> (x, w0, b)
  rs = Relu (stem)
  p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (rs)
  a1 = Conv (p, w1, b)
  r1 = Relu (a1)
  a2 = Conv <pads = [1, 1, 1, 1]> (r1, w2, b)
  r2 = Relu (a2)
  a3 = Conv (r2, w3, c)
  project = Conv (p, w4, c)
  s = Add (a3, project)
  first = Relu (s)
  a4 = Conv (first, w5, b)
  r4 = Relu (a4)
  a5 = Conv (r4, w6, c)
  s2 = Add (first, a5)
  second = Relu (s2)
  mean = GlobalAveragePool (second)
  flat = Flatten (mean)
  y = Gemm (flat, w7)
}"""

KERNELS: dict[str, tuple[int, ...]] = {
    "w0": (4, 3, 3, 3),
    "w1": (4, 4, 1, 1),
    "w2": (4, 4, 3, 3),
    "w3": (8, 4, 1, 1),
}
KERNELS |= {"w4": (8, 4, 1, 1), "w5": (4, 8, 1, 1), "w6": (8, 4, 1, 1), "w7": (8, 5)}

MOBILE = """
g (float[N,4,9,7] x) => (float[N,4,5,4] y, float[N,4,9,7] middle) {
  a = Conv (x, w1, b)
  ra = Clip (a, zero, six)
  d = Conv <group = 8, pads = [1, 1, 1, 1]> (ra, depth)
  t = Add (d, each)
  rd = Clip (t, zero, six)
  middle = Conv (rd, w2)
  gate0 = ReduceMean <keepdims = 1> (middle, spatial)
  gate1 = Conv (gate0, w3)
  gate = Sigmoid (gate1)
  m = Mul (middle, gate)
  h = HardSwish (m)
  e = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (h, w4)
  y = Mul (e, half)
}"""

DENSE = """
g (float[N,3,8,6] x) => (float[N,4,8,6] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1)
  ra = Relu (a)
  b = Conv <pads = [1, 1, 1, 1]> (x, w1b)
  rb = Gelu (b)
  both = Concat <axis = 1> (ra, rb)
  c = Conv (both, w2)
  rc = Relu (c)
  more = Concat <axis = -3> (both, c, x)
  d = Conv (more, w3)
  turned = Transpose <perm = [0, 2, 3, 1]> (d)
  act = Relu (turned)
  mixed = MatMul (act, w4)
  back = Transpose <perm = [0, 3, 1, 2]> (mixed)
  y = Add (back, rc)
}"""

SIGNAL = """
g (float[N,2,30] x) => (float[N,3,28] y, float[N,4,15] z) {
  a = Conv <pads = [1, 1], strides = [2]> (x, w1, b)
  r = Relu (a)
  c = Conv <dilations = [2], pads = [2, 2]> (r, w2)
  z = Add (c, r)
  n = Tanh (z)
  u = Resize (n, , , sizes)
  y = Conv <pads = [1, 0]> (u, w3)
}"""


POOLED = """
g (float[N,3,13,11] x) => (float[N,4,5,5] y, float[N,4,2,2] z, float[N,4,5,5] t) {
  a = Conv <pads = [1, 1, 1, 1]> (x, w0, b)
  ra = Relu (a)
  p = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (ra)
  c = Conv (p, w1, b)
  q = MaxPool <kernel_shape = [3, 2], dilations = [1, 1]> (c)
  rq = Relu (q)
  y = Conv (rq, w1, b)
  t = Tanh (q)
  d = Conv <strides = [2, 2]> (p, w1)
  rd = Relu (d)
  h = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (rd)
  hz = Conv (h, w1)
  z = MaxPool <kernel_shape = [1, 1]> (hz)
}"""
"""Only the first MaxPool is of an integer layer's spikes alone, on a window that kernels know."""


@cache
def network_of(name: str) -> tuple[snnc.SpikingNetwork, dict[str, Array]]:
    text, kernels, shape = NETWORKS[name]
    weights = arrays(3, **kernels)
    if name == "mobile":
        weights |= {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
        weights |= {"spatial": np.array([2, 3]), "half": np.array([[[0.5]]], np.float32)}
    if name == "signal":
        weights["sizes"] = np.array([24, 4, 29])
    feeds = arrays(4, x=(24, *shape))
    network = snnc.compile(
        model(text, weights, opset=20, ir_version=9),
        calibration=dict(feeds),
        scale=0.05,
        synapses="int8",
        encode_input=name != "residual",
    )
    return network, dict(feeds)


NETWORKS: dict[str, tuple[str, dict[str, tuple[int, ...]], tuple[int, ...]]] = {
    "residual": (RESIDUAL, {**KERNELS, "b": (4,), "c": (8,)}, (3, 12, 10)),
    "mobile": (
        MOBILE,
        {
            "w1": (8, 4, 1, 1),
            "b": (8,),
            "depth": (8, 1, 3, 3),
            "each": (8, 1, 1),
            "w2": (4, 8, 1, 1),
            "w3": (4, 4, 1, 1),
            "w4": (4, 4, 3, 3),
        },
        (4, 9, 7),
    ),
    "dense": (
        DENSE,
        {
            "w1": (4, 3, 3, 3),
            "w1b": (2, 3, 3, 3),
            "w2": (4, 6, 1, 1),
            "w3": (5, 13, 1, 1),
            "w4": (5, 4),
        },
        (3, 8, 6),
    ),
    "pooled": (POOLED, {"w0": (4, 3, 3, 3), "b": (4,), "w1": (4, 4, 1, 1)}, (3, 13, 11)),
    "signal": (
        SIGNAL,
        {"w1": (4, 2, 3), "b": (4,), "w2": (4, 4, 3), "w3": (3, 4, 3)},
        (2, 30),
    ),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def small(
    text: str, kernels: dict[str, tuple[int, ...]], shape: tuple[int, ...]
) -> tuple[snnc.SpikingNetwork, dict[str, Array]]:
    """A network with integer synapses, its input encoded, and samples of it."""
    feeds = dict(arrays(4, x=(24, *shape)))
    network = snnc.compile(
        model(text, arrays(3, **kernels), opset=20, ir_version=9),
        calibration=dict(feeds),
        scale=0.05,
        synapses="int8",
        encode_input=True,
    )
    return network, feeds


def ops_of(graph: Graph, *op_types: str) -> list[Op]:
    return [n for n in graph.nodes if isinstance(n, Op) and n.op_type in op_types]


def transposes(graph: Graph) -> list[Op]:
    return ops_of(graph, "Transpose")


@every_network
def test_the_same_network(name: str) -> None:
    """Decisions near a threshold may differ by float rounding; everything else is equal."""
    network, feeds = network_of(name)
    lowered = lower(network.graph)
    assert len(ops_of(lowered, "Conv")) == (name == "residual")
    found, wanted = (Session(g, kernels=False).run(feeds) for g in (lowered, network.graph))
    for output, array in wanted.items():
        difference = np.abs(found[output] - array) / np.abs(array).max()
        assert np.mean(difference > 1e-5) < 0.02, output
        assert difference.max() < 0.1, output


@every_network
def test_an_artifact_is_read_channels_first(name: str, tmp_path: Path) -> None:
    network, feeds = network_of(name)
    path = tmp_path / "out.onnx"
    network.save(path)
    again, hoisted = snnc.load(path), hoist_neurons(network.graph)
    assert len(transposes(again)) == len(transposes(hoisted))
    mine, theirs = (
        {(type(n), *n.outputs): n.loc for n in g.nodes if n.outputs[0] in hoisted.types}
        for g in (again, hoisted)
    )
    weights = {v for op in ops_of(hoisted, "DequantizeLinear") for v in op.outputs}
    computed = {key for key in theirs if key[1] not in weights}
    assert computed <= mine.keys()
    assert all(mine[key] == theirs[key] for key in computed)
    for value, kind in hoisted.types.items():
        if value in again.types and kind.shape is not None:
            assert again.types[value].shape == kind.shape, value
    samples = samples_of(feeds, network.graph)
    layers = [
        {(x.name, x.macs) for x in measure(g, samples).energy().layers}
        for g in (again, network.graph)
    ]
    assert layers[0] == layers[1]
    assert len(pair(network.ann, again).neurons) == len(network.graph.neurons)
    taps = sorted({v for n in hoisted.nodes for v in n.outputs} & again.types.keys())
    found, wanted = (Session(g, taps=taps, kernels=False).run(feeds) for g in (again, hoisted))
    for value in taps:
        scale = np.abs(wanted[value]).max(initial=1e-9)
        assert np.mean(np.abs(found[value] - wanted[value]) > 1e-4 * scale) < 0.05, value
    assert [n.outputs for n in lower(again).nodes] == [n.outputs for n in lower(hoisted).nodes]


def test_a_residual_network_is_transposed_at_its_ends_only() -> None:
    graph = lower(network_of("residual")[0].graph)
    first, last = transposes(graph)
    assert graph.types[first.inputs[0]].dtype == "uint8"
    assert graph.op(first.inputs[0]) is not None
    assert ops_of(graph, "GlobalAveragePool")[0].inputs == last.outputs


def test_what_is_fused() -> None:
    graph = lower(network_of("residual")[0].graph)
    made = [composed(n) for n in graph.nodes if isinstance(n, Op)]
    assert sum(m.add for m in made if m) == 2
    assert sum(m.neuron is not None and bool(m.drive) for m in made if m) >= 3


def test_neurons_move_in_front_of_a_pool() -> None:
    """Its windows then are of bytes, and the Relu in front of it is the neurons' own."""
    network, feeds = network_of("pooled")
    graph = lower(network.graph)
    (pool,) = ops_of(graph, MAX_POOL_COUNTS)
    assert graph.types[pool.inputs[0]].dtype == graph.types[pool.outputs[0]].dtype == "uint8"
    assert graph.op(pool.inputs[0], "ai.snnc.SpikeConvSfnDenseNearestPositiveLimitedCount")
    assert not any(n.outputs[0] == "ra" for n in graph.nodes)
    assert len(ops_of(graph, "MaxPool")) == 3
    before, after = (Session(g, taps=pool.outputs, kernels=False) for g in (network.graph, graph))
    step = next(n for n in network.graph.neurons if n.outputs == pool.outputs).inputs[1]
    counts = np.moveaxis(after.run(feeds)[pool.outputs[0]], -1, 1)
    spikes = before.run(feeds)[pool.outputs[0]] / network.graph.consts[step]
    assert np.mean(counts != np.rint(spikes)) < 1e-3 and counts.max() > 1


def test_a_pool_of_what_is_no_count_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    network_of("pooled")[0].save(path)
    proto = onnx.load(path)
    (pool,) = (node for node in proto.graph.node if node.op_type == "MaxPoolCounts")
    pool.input[0] = "x"
    onnx.save(proto, path)
    with pytest.raises(snnc.CompileError, match="pools what is no neurons' spike counts"):
        snnc.load(path)
    del pool.input[:]
    onnx.save(proto, path)
    with pytest.raises(snnc.CompileError):
        snnc.load(path)


def test_a_pool_that_onnxruntime_pads_in_its_own_way_stays() -> None:
    """SAME as if nothing were dilated."""
    text = """g (float[N,3,13,11] x) => (float[N,4,A,B] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, w0)
        r = Relu (a)
        p = MaxPool <kernel_shape = [3, 3], strides = [2, 2], dilations = [2, 2],
                     auto_pad = "SAME_UPPER"> (r)
        y = Conv (p, w1)
    }"""
    network, feeds = small(text, {"w0": (4, 3, 3, 3), "w1": (4, 4, 1, 1)}, (3, 13, 11))
    assert not ops_of(lower(network.graph), MAX_POOL_COUNTS)
    found, wanted = (Session(g).run(feeds)["y"] for g in (lower(network.graph), network.ann))
    assert found.shape == wanted.shape


def test_batches_are_named_through_a_pool() -> None:
    graph = lower(network_of("pooled")[0].graph)
    (pool,) = ops_of(graph, MAX_POOL_COUNTS)
    result = pool.outputs[0]
    shape = graph.types[result].shape or ()
    types = {**graph.types, result: replace(graph.types[result], shape=("other", *shape[1:]))}
    assert name_batches(replace(graph, types=types)).types[result].shape == shape


def test_a_branch_that_reads_a_map_is_read_again(tmp_path: Path) -> None:
    text = """g (float[N,3,8,6] x) => (float[N,4,8,6] y, float[N,4,8,6] z) {
        total = ReduceSum <keepdims = 0> (x)
        flag = Greater (total, total)
        a = Conv <pads = [1, 1, 1, 1]> (x, w0)
        r = Relu (a)
        y = Conv (r, w1)
        z = If (flag) <then_branch = t () => (float[N,4,8,6] u) { u = Tanh (r) },
                       else_branch = e () => (float[N,4,8,6] v) { v = Neg (r) }>
    }"""
    network, feeds = small(text, {"w0": (4, 3, 3, 3), "w1": (4, 4, 1, 1)}, (3, 8, 6))
    path = tmp_path / "out.onnx"
    network.save(path)
    again = snnc.load(path)
    assert [n.op_type for n in again.nodes if isinstance(n, Op) and n.op_type == "If"]
    found, wanted = (Session(g, kernels=False).run(feeds) for g in (again, network.graph))
    for output, array in wanted.items():
        difference = np.abs(found[output] - array) / np.abs(array).max()
        assert np.mean(difference > 1e-4) < 0.02, output


def test_what_lowering_never_writes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    network_of("signal")[0].save(path)
    proto = onnx.load(path)
    proto.graph.output.append(onnx.ValueInfoProto(name="r.spikes"))
    onnx.save(proto, path)
    with pytest.raises(snnc.CompileError, match=r"output %r.spikes is channels-last"):
        snnc.load(path)
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "channels_last":
                attribute.ints[:] = [0, 1, 2]
    onnx.save(proto, path)
    with pytest.raises(snnc.CompileError, match="unknown layout"):
        snnc.load(path)


def test_an_artifact_without_types_of_inner_values(tmp_path: Path) -> None:
    network, feeds = network_of("residual")
    path = tmp_path / "out.onnx"
    network.save(path)
    proto = onnx.load(path)
    del proto.graph.value_info[:]
    onnx.save(proto, path)
    again = snnc.load(path)
    assert [n.loc for n in again.neurons] == [n.loc for n in hoist_neurons(network.graph).neurons]
    found, wanted = (Session(g, kernels=False).run(feeds)["y"] for g in (again, network.graph))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)


@NEEDS_LIBRARY
@EACH_SET
@every_network
def test_kernels_compute_what_the_bodies_do(instructions: str, name: str) -> None:
    network, feeds = network_of(name)
    lowered = lower(network.graph)
    with using_instruction_set(instructions):
        native = Session(lowered).run(feeds)
    bodies = Session(lowered, kernels=False).run(feeds)
    for output, array in bodies.items():
        np.testing.assert_allclose(native[output], array, rtol=1e-5, atol=1e-5)
