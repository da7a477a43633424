"""Which cell computes each entry: layers, and what is wiring between them."""

from __future__ import annotations

import numpy as np

import snnc
from snnc.backends.schedule.layers import Network, operation
from snnc.scheduling import network_for
from snnc.targets import load_target
from tests.onnx_models import arrays, model

GENERIC = load_target("generic")


def layers(body: str, **weights: tuple[int, ...]) -> Network:
    text = f"g (float[N,4,4] x) => (float[N,?,?] y) {{ {body} }}"
    graph = snnc.compile(model(text, arrays(0, **weights)), calibration="random", scale=0.5).graph
    return network_for(graph, GENERIC)


def test_layout_is_wiring() -> None:
    network = layers(
        "h = MatMul(x, v) r = Relu(h) a, b = Split <axis = 1, num_outputs = 2> (r) "
        "c = Concat <axis = 1> (b, a) t = Transpose <perm = [0, 2, 1]> (c) y = MatMul(t, w)",
        v=(4, 4),
        w=(4, 3),
    )
    assert [[operation(node) for node in layer.nodes] for layer in network.layers] == [
        [],
        ["MatMul", "Relu", "neurons"],
        ["MatMul"],
    ]
    cells = network.layers[2].connections[0].cells
    rows = np.arange(16).reshape(4, 4) + network.layers[1].start
    np.testing.assert_array_equal(cells[0], rows[[2, 3, 0, 1]].T)


def test_cells_that_read_one_another_are_two_layers() -> None:
    network = layers(
        "h = MatMul(x, v) a = Relu(h) t = Transpose <perm = [0, 2, 1]> (a) s = Add(a, t) "
        "r = Relu(s) y = MatMul(r, w)",
        v=(4, 4),
        w=(4, 3),
    )
    names = [[operation(node) for node in layer.nodes] for layer in network.layers]
    assert names[1:] == [["MatMul", "Relu"], ["Add", "neurons"], ["MatMul"]]
    own, across = network.layers[2].connections
    np.testing.assert_array_equal(across.cells[0], own.cells[0].T)
