"""Random samples in the shape of a network's inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snnc.data import Samples, samples_of
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array

RANDOM = "random"
"""Calibration source for trying things out: random numbers instead of samples."""

RANDOM_SAMPLES = 16
RANDOM_DIM = 32
"""What a dimension that the model leaves open is for --calibration random."""

NOMINAL_DIMS = (32, 64, 224, 128, 48, 16, 256, 8, 1)
"""Sizes to try in turn for the dimensions that a model leaves open, where no data says them."""


def random_samples(graph: Graph) -> Samples:
    """Random numbers in the shape of the inputs: for trying things out, thresholds mean nothing."""
    arrays = random_feeds(graph, RANDOM_SAMPLES, RANDOM_DIM)
    shapes = {name: graph.types[name].shape or () for name in graph.inputs}
    if any(s and not isinstance(s[0], int) for s in shapes.values()):
        alone = random_feeds(graph, 1, 1)
        for name, shape in shapes.items():  # what has no axis of samples gets one in front
            if not shape or isinstance(shape[0], int):
                arrays[name] = np.stack([alone[name]] * RANDOM_SAMPLES)
    return replace(samples_of(arrays, graph), random=True)


def random_feeds(graph: Graph, samples: int, dim: int) -> dict[str, Array]:
    """Normal numbers for float inputs, 0 and 1 for integers; `dim` for every open dimension."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Array] = {}
    for name in graph.inputs:
        kind = graph.types[name]
        if kind.shape is None:
            raise CompileError(
                f"input '{name}' has no shape to make random samples for", help="pass real samples"
            )
        dims = [d if isinstance(d, int) else dim for d in kind.shape[1:]]
        first = samples
        if kind.shape and isinstance(kind.shape[0], int):
            first = kind.shape[0]
        shape = (first, *dims) if kind.shape else ()
        values = rng.standard_normal(shape) if kind.is_float else rng.integers(0, 2, shape)
        arrays[name] = np.asarray(values).astype(kind.dtype)
    return arrays
