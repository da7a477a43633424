"""Operations of Table 3 from shapes, against closed forms and against Table 2 of the paper."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from benchmarks.spike_time_table2 import (
    NETWORKS,
    TOLERANCE,
    Vit,
    distances,
    main,
    operations_of,
    vision_transformer,
)
from snnc.coverage import nominal_shapes
from snnc.data import samples_of
from snnc.drives import coverage_macs
from snnc.drives import shaped_values as multiplied_values
from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.verify import verify
from snnc.passes.normalize import Normalize
from snnc.spike_time_operations import (
    Operations,
    count_operations,
    shaped_values,
)
from snnc.spike_time_operations import operations_of as operations_on
from tests.conftest import held_out_path, model_path
from tests.onnx_models import arrays, model


def counted(graph: Graph) -> Operations:
    shapes, _ = nominal_shapes(graph, shaped_values(graph))
    return count_operations(graph, shapes)


# --- Table 2 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: str(n.name))
def test_table_2_from_shapes(network: Vit) -> None:
    apart = distances(network, operations_of(network))
    assert abs(apart["operations"]) < TOLERANCE
    assert abs(apart["eq. 28"]) < TOLERANCE


def test_by_macs_alone_the_smallest_network_is_further_off() -> None:
    apart = [distances(n, operations_of(n))["eq. 28 over MACs"] for n in NETWORKS]
    assert apart == pytest.approx([0.0223, 0.0125, 0.0071], abs=5e-4)


def test_consistent_counts_of_the_specification() -> None:
    found = [operations_of(network) for network in NETWORKS]
    assert [f"{x.log_exp / 1e9:.2f}" for x in found] == ["6.07", "20.50", "69.38"]
    by_macs = [x.ratio(x.log_exp, ann=x.macs) for x in found]
    assert by_macs == pytest.approx([0.258, 0.228, 0.221], abs=7e-4)


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [
        ["ViT-S/16", "5.36", "5.42"],
        ["ViT-B/16", "19.08", "19.2"],
        ["ViT-L/16", "65.61", "65.7"],
    ]


def test_a_small_transformer_by_hand() -> None:
    graph = vision_transformer(8, 3, head=4, pixels=6, patch=2, classes=5)
    verify(graph, Stage.ANN)
    tokens, width, heads, head, hidden = 10, 8, 2, 4, 32
    scores, mixed = heads * tokens * tokens, heads * tokens * head
    linear = 9 * width * 12 + 3 * (4 * tokens * width**2 + 2 * tokens * width * hidden) + width * 5
    products = 3 * (scores * (3 * head + 2) + mixed * (3 * tokens + 2))
    nonlinear = 3 * (6 * scores + tokens * hidden) + 7 * tokens * (9 * width + 1)
    found = counted(graph)
    assert found.table3 == linear + products + nonlinear
    both = 3 * (scores * head + mixed * tokens)
    assert (found.macs, found.ann) == (linear + both, linear + both + nonlinear)
    assert found.log_exp == linear + 5 * both + nonlinear
    assert found.quarter == linear + 6 * both + nonlinear
    of_linear = 9 * width + 3 * (5 * tokens * width + tokens * hidden) + 5
    of_products = 3 * (scores * (head + 1) + mixed * (tokens + 1))
    of_softmax = 3 * heads * tokens * 2 * (tokens + 1)
    of_norms = 7 * tokens * (3 * width + 3)
    assert found.neurons == of_linear + of_products + of_softmax + of_norms + 3 * tokens * hidden


# --- real models, and what counts as what ---------------------------------------------------------


def test_a_model_as_it_is_loaded() -> None:
    graph = Normalize()(load(model_path("digits_vit")))
    found = counted(graph)
    shapes, _ = nominal_shapes(graph, multiplied_values(graph))
    assert found.macs == sum(coverage_macs(graph, shapes).values())
    assert found.multiplied == 3 * 2 * 17 * 17 * 64
    norms, softmax, gelu = 7 * 17 * (9 * 64 + 1), 3 * 4 * 6 * 17 * 17, 3 * 17 * 128
    assert found.nonlinear == norms + softmax + gelu


def test_at_the_shapes_of_samples() -> None:
    graph = Normalize()(load(model_path("digits_encoder")))
    feeds = next(samples_of(held_out_path("digits_encoder"), graph).batches(4))
    tokens = feeds[graph.inputs[0]].shape[1]
    per_sample = operations_on(graph, feeds, 4)
    shapes, dim = nominal_shapes(graph, shaped_values(graph))
    nominal = count_operations(graph, shapes)
    assert dim is not None and dim != tokens
    assert per_sample.multiplied / nominal.multiplied == pytest.approx((tokens / dim) ** 2)


ONE_LAYER: Mapping[str, tuple[str, Operations]] = {
    "linear": ("y = MatMul (x, w)", Operations(weighted=2 * 3 * 4 * 5, neurons=30)),
    "product": ("y = MatMul (x, z)", Operations(0, 2 * 3 * 4 * 3, 18, 0, 72 + 18)),
    "gate": ("y = Mul (x, u)", Operations(0, 24, 24, 0, 48)),
    "square": ("y = Mul (x, x)", Operations()),
    "scaling": ("y = Mul (x, s)", Operations()),
    "softmax": ("y = Softmax <axis = 1> (x)", Operations(0, 0, 0, 6 * 24, 2 * 4 * 2 * (3 + 1))),
    "norm": (
        "y = LayerNormalization <axis = 1> (x, g)",
        Operations(0, 0, 0, 2 * (9 * 12 + 1), 2 * (3 * 12 + 3)),
    ),
    "function": ("y = Relu (x)", Operations(nonlinear=24, neurons=24)),
    "constant": ("t = Softmax (s)\n y = Add (x, t)", Operations()),
}


@pytest.mark.parametrize("layer", ONE_LAYER)
def test_one_layer(layer: str) -> None:
    text, expected = ONE_LAYER[layer]
    inputs = "float[2, 3, 4] x, float[2, 4, 3] z, float[2, 3, 4] u"
    source = model(
        f"g ({inputs}) => (float[a, b, c] y) {{ {text} }}", arrays(0, w=(4, 5), s=(4,), g=(3, 4))
    )
    assert counted(load(source)) == expected


def test_nothing_to_divide_by() -> None:
    assert Operations().ratio(5.0) == 0.0
