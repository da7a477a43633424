"""Which entries of an activation belong to masked positions, found by changing the length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snnc.data import Feeds
from snnc.errors import CompileError, unknown_name
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.runtime import Session


class Masking:
    """Selects the entries of activations that lie at positions where the mask input is not 0.

    The axes of an activation that follow the batch and the sequence are found by running the
    network on one sample, on the sample one position shorter, and on the sample twice: no name
    and no coincidence of sizes decides.
    """

    def __init__(self, graph: Graph, mask_input: str, values: Sequence[str], sample: Feeds) -> None:
        if mask_input not in graph.inputs:
            raise unknown_name("input for --mask-input", mask_input, graph.inputs)
        if sample[mask_input].ndim != 2:
            raise CompileError(f"mask input '{mask_input}' has not the shape [samples, positions]")
        self._input = mask_input
        self._length = sample[mask_input].shape[1]
        if self._length < 2:
            raise CompileError(f"mask input '{mask_input}' has only {self._length} position")
        self._axes = _probe(graph, values, sample, self._length)

    def select(self, value: str, array: Array, feeds: Feeds) -> Array:
        """The entries of `array`, the activation `value`, that are not masked (flat)."""
        mask = feeds[self._input] != 0
        repeat, flat, positions = self._axes[value]
        if flat:
            return np.asarray(array[mask.ravel()])
        if not repeat or not positions:
            return array
        rows = mask.repeat(repeat, axis=0)
        keep = np.ones(array.shape, bool)
        for axis in positions:
            shape = [1] * array.ndim
            shape[0], shape[axis] = rows.shape
            keep &= rows.reshape(shape)
        return np.asarray(array[keep])


def _probe(
    graph: Graph, values: Sequence[str], sample: Feeds, length: int
) -> dict[str, tuple[int, bool, tuple[int, ...]]]:
    """Per value: rows a sample on axis 0 (0: none), whether axis 0 is batch x position, and the
    axes that are positions."""
    session = Session(graph, shapes_of=values)
    shorter = {
        name: array[:, :-1] if array.ndim > 1 and array.shape[1] == length else array
        for name, array in sample.items()
    }
    twice = {name: np.concatenate([array, array]) for name, array in sample.items()}
    try:
        runs = [session.run(feeds) for feeds in (sample, shorter, twice)]
    except CompileError:
        raise CompileError(
            "the positions of the mask cannot be told apart: the model has a fixed length or batch",
            help="export it with a dynamic sequence length, or calibrate on unpadded samples",
        ) from None
    found: dict[str, tuple[int, bool, tuple[int, ...]]] = {}
    for value in values:
        once, short, double = (tuple(int(d) for d in run[f"{value}.shape"]) for run in runs)
        if not once or double[0] != 2 * once[0]:
            found[value] = (0, False, ())
            continue
        flat = once[0] == length and short[0] == length - 1
        positions = tuple(
            axis for axis in range(1, len(once)) if short[axis] == once[axis] - 1 == length - 1
        )
        found[value] = (once[0], flat, positions)
    return found
