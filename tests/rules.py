"""What a test of a normalisation rule wants to know of a model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array
from snnc.ir.verify import verify
from snnc.passes.normalize import Normalize
from snnc.random_data import random_feeds
from snnc.runtime import Session
from tests.onnx_models import assert_same_outputs


def normalised(
    source: ModelProto, feeds: Mapping[str, Array] | None = None, tolerance: float = 1e-5
) -> Graph:
    """The graph after Normalize, once it is known to compute the same and to be at rest."""
    before = load(source)
    after = Normalize()(before)
    verify(after, Stage.ANN)
    data = feeds if feeds is not None else random_feeds(before, 3, 5)
    found, wanted = (Session(graph, optimize=False).run(data) for graph in (after, before))
    assert_same_outputs(found, wanted, tolerance)
    assert Normalize()(after) == after
    return after


def scalars(**values: float) -> dict[str, Array]:
    return {name: np.array(value, np.float32) for name, value in values.items()}
