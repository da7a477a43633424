"""Networks of unusual form on a chip: every entry traced to its cell, and replayed."""

from __future__ import annotations

import numpy as np
import pytest

import snnc
from snnc.backends.schedule.layers import NOWHERE, Network
from snnc.backends.schedule.loads import loads
from snnc.data import samples_of
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.runtime import Session
from tests.onnx_models import arrays, model

FLAT = "float[N, 3, 4] x"

MODELS: dict[str, tuple[str, str, dict[str, tuple[int, ...]], dict[str, object]]] = {
    "a triangle": (
        FLAT,
        "a = Relu(x)\n m = MatMul(a, w)\n t = Trilu<upper=0>(m)\n r = Relu(t)\n y = MatMul(r, v)",
        {"w": (4, 4), "v": (4, 2)},
        {},
    ),
    "a condition over time": (
        FLAT,
        "a = Relu(x)\n m = MatMul(a, w)\n g = Sigmoid(m)\n c = ReduceMean<keepdims=0>(g)\n"
        "e = Sign(c)\n s = Mul(g, e)\n r = Relu(s)\n y = MatMul(r, v)",
        {"w": (4, 4), "v": (4, 2)},
        {"timesteps": 2},
    ),
    "time along the second axis": (
        FLAT,
        "a = Relu(x)\n m = MatMul(a, w)\n t = Transpose<perm=[1, 0, 2]>(m)\n n = Softmax(t)\n"
        "b = Transpose<perm=[1, 0, 2]>(n)\n r = Relu(b)\n y = MatMul(r, v)",
        {"w": (4, 4), "v": (4, 2)},
        {"timesteps": 3},
    ),
    "the largest of a row": (
        FLAT,
        "a = Relu(x)\n m = MatMul(a, w)\n g = GlobalMaxPool(m)\n r = Relu(g)\n"
        "f = Flatten(r)\n y = MatMul(f, v)",
        {"w": (4, 4), "v": (3, 2)},
        {},
    ),
    "a product with itself": (
        FLAT,
        "a = AveragePool<kernel_shape=[2]>(x)\n t = Transpose<perm=[0, 2, 1]>(a)\n"
        "p = MatMul(a, t)\n y = MatMul(p, v)",
        {"v": (3, 2)},
        {"neuron": "sfn:limit=127", "polarity": "shared"},
    ),
    "integer maps": (
        "float[N, 4, 6] x",
        "a = Relu(x)\n m = Conv(a, w)\n t = Tanh(m)\n n = Conv(t, u)\n"
        "f = Flatten(n)\n y = MatMul(f, v)",
        {"w": (5, 4, 2), "u": (3, 5, 2), "v": (12, 2)},
        {"synapses": "int8"},
    ),
}


def compiled(
    source: str, body: str, shapes: dict[str, tuple[int, ...]], **options: object
) -> Graph:
    network = snnc.compile(
        model(f"g ({source}) => (float[M, K] y) {{\n{body}\n}}", arrays(3, **shapes)),
        calibration=feeds_of(source, 16),
        **{"scale": 0.5, **options},  # type: ignore[arg-type]
    )
    return network.graph


def feeds_of(source: str, samples: int) -> dict[str, Array]:
    sizes = [int(d) for d in source.partition("]")[0].split(",")[1:]]
    random = np.random.default_rng(samples)
    return {"x": random.standard_normal((samples, *sizes)).astype(np.float32)}


def check_tracing(network: Network, feeds: dict[str, Array]) -> None:
    """What each connection reads is what its cells hold, and nowhere is what no sample changes."""
    graph = network.graph
    taps = tuple(v for v in network.shapes if v not in graph.inputs and v not in graph.outputs)
    run = {**feeds, **Session(graph, taps=taps, optimize=False).run(feeds)}
    values = {v: at_once(run[v], network.shapes[v], graph.timesteps) for v in network.shapes}
    for value, home in network.homes.items():
        assert home.shape == values[value].shape, value
    held: dict[int, set[float]] = {}
    for value, home in network.homes.items():
        for cell, number in zip(home.flat, values[value].flat, strict=True):
            held.setdefault(int(cell), set()).add(float(number))
    for layer in network.layers:
        assert layer.is_input or layer.connections
        for each in layer.connections:
            for cell, number in zip(each.cells.flat, values[each.value].flat, strict=True):
                assert cell < layer.start + layer.cells
                assert cell == NOWHERE or float(number) in held[int(cell)], each.value


def at_once(array: Array, shape: tuple[int, ...], timesteps: int) -> Array:
    """A value at the last timestep."""
    for axis, (size, wanted) in enumerate(zip(array.shape, shape, strict=True)):
        if size != wanted:
            assert size == wanted * timesteps
            return np.split(array, timesteps, axis)[-1]
    return array


@pytest.mark.parametrize("target", ["generic", "spinnaker2"])
@pytest.mark.parametrize("case", MODELS)
def test_every_entry_has_its_cell_and_replays(case: str, target: str) -> None:
    source, body, shapes, options = MODELS[case]
    graph = compiled(source, body, shapes, **options)
    made = snnc.schedule(graph, target)
    check_tracing(made.network, feeds_of(source, 1))
    samples = samples_of(feeds_of(source, 5), graph)
    found = snnc.replay(made, samples, snnc.for_target(graph, made.target))
    assert found.comparison is not None
    assert found.comparison.differing == 0
    assert {*found.comparison.layers} == {n.outputs[0] for n in made.graph.neurons}
    load = loads(made.network, made.mapping, made.target, found.counts)
    assert sum(layer.synops for layer in load.layers) == pytest.approx(load.synops)


def test_a_second_result_is_computed_from_what_it_reads() -> None:
    body = "a = Relu(x)\n m = MatMul(a, w)\n r = Relu(m)\n y, i = MaxPool<kernel_shape=[2]>(r)"
    proto = model(
        f"g (float[N, 3, 4] x) => (float[N, 3, 3] y, int64[N, 3, 3] i) {{ {body} }}",
        arrays(3, w=(4, 4)),
    )
    graph = snnc.compile(proto, calibration=feeds_of(FLAT, 16), scale=0.5).graph
    network = snnc.schedule(graph, "generic").network
    check_tracing(network, feeds_of(FLAT, 1))
    last = max(layer.start for layer in network.layers if layer.neurons)
    first = min(int(network.outputs[name].min()) for name in ("y", "i"))
    assert first > last


def test_a_fixed_batch_of_several_samples_is_refused() -> None:
    source = "float[2, 4] x"
    proto = model(
        f"g ({source}) => (float[2, 3] y) {{ a = Relu(x)\n y = MatMul(a, w) }}", arrays(3, w=(4, 3))
    )
    graph = snnc.compile(proto, calibration=feeds_of(source, 16), scale=0.5).graph
    made = snnc.schedule(graph, "generic")
    with pytest.raises(CompileError, match="exactly 2 samples at a time"):
        snnc.replay(made, samples_of(feeds_of(source, 4), graph))
