"""Forms that operations come in, in networks of spike times: each computes what it should, in
windows that meet, and nothing of it is analog in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.spike_times import MULTIPLIED, RELAY
from snnc.membrane import decoded, simulate
from snnc.neurons.ttfs import TTFS
from snnc.prepare import check
from snnc.runtime import Session
from snnc.spike_time_energy import SpikeTimeMeter
from tests.onnx_models import arrays, model
from tests.spike_time_models import FINE, sited, spiking

CONSTANTS = arrays(1, w=(6, 6), v=(6, 6), g=(6,), h=(6,)) | {
    **{k: np.array(n, np.float32) for k, n in (("zero", 0), ("half", 0.5), ("two", 2))},
    "last": np.array([-1], np.int64),
    "two_of": np.array([2], np.int64),
    "first": np.array([0], np.int64),
}
X = arrays(2, x=(60, 6))


def network(body: str, outputs: str, analog: tuple[str, ...] = (), **constants: Array) -> Any:
    """The model of x [N, 6], prepared; its analog operations are checked."""
    text = f"g (float[N,6] x) => ({outputs}) {{ {body} }}"
    used = {k: a for k, a in (CONSTANTS | constants).items() if k in body.replace(",", " ")}
    source = model(text, used, opset=20)
    assert tuple(entry["op"] for entry in check(source, spike_times=True).analog) == analog
    return sited(source)


def assert_converts(
    prepared: Any, feeds: dict[str, Array], error: float = 1e-3, neuron: TTFS = FINE
) -> Graph:
    """Its sites change nothing and fine ticks little; single spikes agree with their numbers."""
    wanted, placed = (Session(graph).run(feeds) for graph in (prepared.ann, prepared.sited))
    graph = spiking(prepared, feeds, neuron)
    found = Session(graph).run(feeds)
    for name, array in wanted.items():
        if array.dtype.kind != "f":
            assert found[name].shape == array.shape and np.mean(found[name] == array) > 0.97
            continue
        finite = np.isfinite(array)
        spread = np.abs(array[finite]).max()
        np.testing.assert_allclose(placed[name], array, rtol=1e-4, atol=1e-5 * spread)
        np.testing.assert_array_equal(found[name][~finite], array[~finite])
        np.testing.assert_allclose(found[name][finite], array[finite], atol=error * spread)
    return graph


def assert_simulates(prepared: Any, feeds: dict[str, Array]) -> None:
    """Events are counted, and single spikes agree with the numbers they stand for."""
    graph = spiking(prepared, feeds, TTFS(256))
    meter = SpikeTimeMeter(graph)
    values = Session(meter.graph, taps=meter.taps, shapes_of=meter.shapes_of).run(feeds)
    meter.update(values, len(feeds["x"]))
    run, wanted = simulate(graph, feeds), decoded(graph, feeds)
    for name, ticks in wanted.ticks.items():
        np.testing.assert_array_equal(run.ticks[name], ticks, err_msg=name)


def ops(graph: Graph, *types: str) -> list[Op]:
    return [n for n in graph.nodes if isinstance(n, Op) and n.op_type in types]


# --- windows -------------------------------------------------------------------------------------

LATE = "a = MatMul (x, w) b = Relu (a) c = MatMul (b, v) d = Relu (c)"


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (f"{LATE} l = ArgMax <axis = -1> (d) y = GatherElements <axis = 1> (b, l)", "float[N,1] y"),
        (
            "a = MatMul (x, w) l = ArgMax <axis = -1> (a) b = Relu (a) c = MatMul (b, v)"
            " y = GatherElements <axis = 1> (c, l)",
            "int64[N,1] l, float[N,1] y",
        ),
        (f"{LATE} t, i = TopK (b, two_of) u, j = TopK (d, two_of) y = Mul (t, u)", "float[N,2] y"),
        (f"{LATE} t, i = TopK (b, two_of) y = GatherElements <axis = 1> (d, i)", "float[N,2] y"),
    ],
    ids=["late places", "early places, an output", "product of the largest", "places of another"],
)
def test_what_fires_first_meets_other_windows(body: str, outputs: str) -> None:
    prepared = network(body, outputs)
    graph = assert_converts(prepared, X)
    assert len([n for n in graph.nodes if isinstance(n, Op) and n.op_type in MULTIPLIED]) == (
        "Mul (t" in body
    )
    assert_simulates(prepared, X)


def test_an_analog_output_is_read_in_a_later_window() -> None:
    body = f"{LATE} f = Floor (a) y = Add (d, f)"
    prepared = network(body, "float[N,6] f, float[N,6] y", ("Floor",))
    wanted = Session(prepared.ann).run(X)
    found = Session(spiking(prepared, X)).run(X)
    for name, array in wanted.items():
        assert np.mean(np.abs(found[name] - array) < 1e-2) > 0.99


def test_a_shape_needs_no_relay() -> None:
    body = f"{LATE} s = Shape (b) m = ReduceMean (d, last) e = Expand (m, s) y = Mul (e, d)"
    graph = assert_converts(network(body, "float[N,6] y"), X)
    assert all("relay" not in v for n in ops(graph, "Shape") for v in n.inputs)
    assert [n.attrs["windows"] for n in ops(graph, RELAY)] == [1]  # of d
