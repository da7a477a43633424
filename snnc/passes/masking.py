"""Which entries of an activation belong to masked positions, found by changing the length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from snnc.data import Feeds, Samples
from snnc.errors import CompileError, unknown_name
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Node
from snnc.runtime import Session


@dataclass(frozen=True)
class _Axes:
    """Where samples and positions lie in an activation.

    sample: axis of the samples, with `rows` entries each (heads, say); flat: that axis runs over
    samples and positions, 'samples' or 'positions' first; positions: axes of length S.
    """

    sample: int
    rows: int
    flat: str = ""
    positions: tuple[int, ...] = ()


class Masking:
    """Selects the entries of activations that lie at positions where the mask input is not 0.

    The axes that follow the samples and the positions are found by running the network on one
    sample, on the sample one position shorter, and on the sample twice: no name and no coincidence
    of sizes decides. An activation that changes with the length in any other way is refused.
    """

    def __init__(self, graph: Graph, mask_input: str, nodes: Mapping[str, Node], sample: Feeds):
        if mask_input not in graph.inputs:
            raise unknown_name("input for --mask-input", mask_input, graph.inputs)
        if sample[mask_input].ndim != 2 or sample[mask_input].shape[1] < 2:
            raise CompileError(
                f"mask input '{mask_input}' has shape {list(sample[mask_input].shape)}, "
                "not [samples, positions]"
            )
        if not np.isin(sample[mask_input], (0, 1)).all():
            raise CompileError(
                f"mask input '{mask_input}' holds other values than 0 and 1",
                help="name the input that is 1 at real positions and 0 at padding",
            )
        self._input = mask_input
        length = sample[mask_input].shape[1]
        once, short, twice = _probe(graph, tuple(nodes), sample, length)
        self._axes: dict[str, _Axes | None] = {}
        for value, node in nodes.items():
            try:
                self._axes[value] = _axes(once[value], short[value], twice[value], length)
            except ValueError:
                shape = list(once[value].shape)
                raise graph.error(
                    f"cannot tell which entries of shape {shape} are masked positions",
                    node,
                    help="calibrate on unpadded samples, without --mask-input",
                ) from None

    def select(self, value: str, array: Array, feeds: Feeds) -> Array:
        """The entries of `array`, the activation `value`, that are not masked (flat)."""
        keep = self._keep(value, array, feeds)
        return array if keep is None else np.asarray(array[np.broadcast_to(keep, array.shape)])

    def by_channel(self, value: str, array: Array, axis: int, feeds: Feeds) -> Array:
        """The same entries as [channels, n]. axis: of the channels, counted from the last (-1),
        neither that of the samples nor one of positions."""
        channels, keep = np.moveaxis(array, axis, 0), self._keep(value, array, feeds)
        if keep is None:
            return channels.reshape(len(channels), -1)
        places = np.broadcast_to(np.moveaxis(keep, axis, 0)[0], channels.shape[1:])
        return np.asarray(channels[:, places])

    def _keep(self, value: str, array: Array, feeds: Feeds) -> Array | None:
        """Which entries are not masked, in a shape that broadcasts; None for all of them."""
        mask, axes = feeds[self._input] != 0, self._axes[value]
        if axes is None:
            return None
        if axes.flat:
            shape = [1] * array.ndim
            shape[axes.sample] = -1
            return np.asarray((mask if axes.flat == "samples" else mask.T).reshape(shape))
        rows = mask.repeat(axes.rows, axis=0)
        keep = np.ones(1, bool)
        for axis in axes.positions:
            shape = [1] * array.ndim
            shape[axes.sample], shape[axis] = rows.shape
            keep = keep & (rows if axes.sample < axis else rows.T).reshape(shape)
        return keep.reshape([1] * (array.ndim - keep.ndim) + list(keep.shape))


def masking_of(
    graph: Graph, mask_input: str | None, values: Sequence[str], samples: Samples
) -> Masking | None:
    """Of some values, told from the first of the samples; None without a mask or values."""
    if mask_input is None or not values:
        return None
    feeds = next(samples.batches(1))
    sample = {name: array[:1] for name, array in feeds.items()}
    return Masking(graph, mask_input, {value: graph.producer[value] for value in values}, sample)


def _probe(
    graph: Graph, values: tuple[str, ...], sample: Feeds, length: int
) -> list[dict[str, Array]]:
    """The activations for the sample, the sample one position shorter, and the sample twice."""
    session = Session(graph, taps=values)
    shorter = {
        name: array[:, :-1] if array.ndim > 1 and array.shape[1] == length else array
        for name, array in sample.items()
    }
    twice = {name: np.concatenate([array, array]) for name, array in sample.items()}
    try:
        return [session.run(feeds) for feeds in (sample, shorter, twice)]
    except CompileError:
        raise CompileError(
            "the positions of the mask cannot be told apart: the model has a fixed length or batch",
            help="export it with a dynamic sequence length, or calibrate on unpadded samples",
        ) from None


def _axes(once: Array, short: Array, twice: Array, length: int) -> _Axes | None:
    """None where no entry belongs to a position; ValueError where that cannot be told."""
    if once.shape == short.shape:
        return None
    doubled = [i for i in range(once.ndim) if twice.shape[i] == 2 * once.shape[i]]
    changed = [i for i in range(once.ndim) if once.shape[i] != short.shape[i]]
    if len(doubled) != 1 or any(
        (once.shape[i], short.shape[i]) != (length, length - 1) for i in changed
    ):
        raise ValueError
    sample = doubled[0]
    if sample not in changed:
        return _Axes(sample, once.shape[sample], positions=tuple(changed))
    if changed != [sample]:
        raise ValueError
    mine, both = np.moveaxis(once, sample, 0), np.moveaxis(twice, sample, 0)
    if np.allclose(both[:length], mine, rtol=1e-3, atol=1e-5):
        return _Axes(sample, 1, "samples")
    if np.allclose(both[::2], mine, rtol=1e-3, atol=1e-5):
        return _Axes(sample, 1, "positions")
    raise ValueError
