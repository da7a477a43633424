"""Places that no output depends on: proven from the graph, and true."""

from __future__ import annotations

import numpy as np
import pytest

from snnc.frontend import load
from snnc.ir.graph import Graph
from snnc.ir.needed import needed_places
from snnc.ir.node import Array
from snnc.prepare import prepare
from snnc.runtime import Session
from tests.conftest import model_path
from tests.onnx_models import arrays, model

HEAD = "g (float[N, 5, 8] x, float[N, 5, 8] z) => (float[] y) {{ {body} }}"

LAYERS = {
    "one token": ("a = Relu (x)  b = MatMul (a, w)  y = Gather <axis = 1> (b, first)", "a", {0}),
    "from the last": ("a = Relu (x)  y = Gather <axis = 1> (a, last)", "a", {4}),
    "two tokens": (
        "a = Relu (x)  b = Gather <axis = 1> (a, first)  c = Gather <axis = 1> (a, last) "
        "y = Add (b, c)",
        "a",
        {0, 4},
    ),
    "a norm": (
        "a = Relu (x)  b = LayerNormalization (a, g, h)  y = Gather <axis = 1> (b, first)",
        "a",
        {0},
    ),
    "a sum": ("a = Relu (x)  b = Add (a, z)  y = Gather <axis = 1> (b, first)", "a", {0}),
    "heads": (
        "a = Relu (x)  b = Reshape (a, heads)  c = Transpose <perm = [0, 2, 1, 3]> (b) "
        "d = Softmax (c)  y = Gather <axis = 2> (d, first)",
        "a",
        {0},
    ),
    "rows of a product": (
        "a = Relu (x)  b = Transpose <perm = [0, 2, 1]> (z)  c = MatMul (a, b) "
        "y = Gather <axis = 1> (c, first)",
        "a",
        {0},
    ),
}

ALL = {
    "a product with a vector": (
        "a = Relu (x)  b = MatMul (a, g)  y = Gather <axis = 1> (b, first)"
    ),
    "an output": "a = Relu (x)  y = MatMul (a, w)",
    "a norm over places": (
        "a = Relu (x)  b = Softmax <axis = 1> (a)  y = Gather <axis = 1> (b, first)"
    ),
    "columns of a product": (
        "a = Relu (x)  b = Transpose <perm = [0, 2, 1]> (a)  c = MatMul (z, b) "
        "y = Gather <axis = 1> (c, first)"
    ),
    "read elsewhere": (
        "a = Relu (x)  b = Gather <axis = 1> (a, first)  c = ReduceSum (a)  y = Add (b, c)"
    ),
    "an unknown operation": ("a = Relu (x)  b = CumSum (a, one)  y = Gather <axis = 1> (b, first)"),
    "laid out otherwise": "a = Relu (x)  b = Reshape (a, mixed)  y = Gather <axis = 1> (b, first)",
    "samples": "a = Relu (x)  y = Gather <axis = 0> (a, first)",
}


def graph_of(body: str) -> Graph:
    consts = arrays(3, w=(8, 8), g=(8,), h=(8,)) | {
        "first": np.array(0),
        "last": np.array([-1]),
        "one": np.array(1),
        "heads": np.array([0, 5, 2, 4]),
        "mixed": np.array([0, 8, 5]),
    }
    used = {name: array for name, array in consts.items() if name in body}
    return load(model(HEAD.format(body=body), used))


def feeds() -> dict[str, Array]:
    values = np.random.default_rng(0).standard_normal((2, 3, 5, 8)).astype(np.float32)
    return {"x": values[0], "z": values[1]}


@pytest.mark.parametrize("case", LAYERS)
def test_what_is_read_of_a_value(case: str) -> None:
    body, value, places = LAYERS[case]
    graph = graph_of(body)
    found = needed_places(graph)[value]
    assert (found.axis, set(found.places), found.size) == (-2, places, 5)
    assert found.share == len(places) / 5
    given, other = feeds(), feeds()
    unread = sorted(set(range(5)) - places)
    other["x"][:, unread] += 1
    one, two = (Session(graph).run(each)["y"] for each in (given, other))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("case", ALL)
def test_values_of_which_all_may_count(case: str) -> None:
    assert "a" not in needed_places(graph_of(ALL[case]))


def test_a_vision_transformer_reads_one_token_of_its_last_block() -> None:
    sited = prepare(model_path("digits_vit"))[1]
    found = needed_places(sited)
    sites = [site.outputs[0] for site in sited.open_sites if site.outputs[0] in found]
    assert len(sites) == 5
    assert all(set(found[name].places) == {0} and found[name].size == 17 for name in sites)
    assert not needed_places(prepare(model_path("digits_encoder"))[1]).keys() & {
        site.outputs[0] for site in sited.open_sites
    }
