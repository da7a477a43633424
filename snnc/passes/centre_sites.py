"""CentreSites: neurons see activations minus their medians, and the network computes the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np

from snnc.data import Samples
from snnc.errors import unknown_name
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Op
from snnc.passes.centring.axes import consumers
from snnc.passes.centring.centres import Centre, Kind, centres_of
from snnc.passes.centring.constants import with_added, with_zero_point
from snnc.passes.centring.entries import entries_of, fitting
from snnc.passes.centring.linear import response
from snnc.passes.centring.queries import with_product

DEFAULT: tuple[Kind, ...] = ("linear", "keys")
"""The kinds of sites whose centring measured better (docs/centring.md)."""


FEWEST = 32
"""Samples from which on single entries have medians of their own."""


@dataclass(frozen=True)
class CentreSites:
    """Each channel of a site sees x - m, m its median on the samples, where what that changes can
    be made up for exactly (spec 6.2) and costs less; other sites stay as they are.

    samples: calibration samples; kinds: which sites, by what reads them; entries: where samples
    always have the same shape, each entry of a linear layer's input has a zero point of its own, as
    each neuron has a bias of its own; mask_input: positions
    where this input is 0 are left out; progress: told how many samples are done. With sites as
    identities the network computes what it did, up to the rounding of its float type. Raises
    CompileError for an unknown kind.
    """

    samples: Samples
    kinds: tuple[Kind, ...] = DEFAULT
    entries: bool = True
    mask_input: str | None = None
    progress: Callable[[int], None] = lambda done: None

    name: ClassVar[str] = "centre-sites"
    before: ClassVar[Stage] = Stage.SITED
    after: ClassVar[Stage] = Stage.SITED

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in get_args(Kind):
                raise unknown_name("kind of site to centre", str(kind), get_args(Kind))

    def __call__(self, graph: Graph) -> Graph:
        centres = [centre for centre in centres_of(graph) if centre.kind in self.kinds]
        if not centres:
            return graph
        single = self._by_entry(graph, centres)
        axes = {c.site: c.fixed if c.site in single else c.axes for c in centres}
        seen = entries_of(graph, axes, self.samples, self.mask_input, self.progress)
        found = {
            c.site: seen.pop(c.site).zero_points(c.axes[-1] if c.site in single else None)
            for c in centres
        }
        for centre in centres:
            if found[centre.site].any():
                graph = _centred(graph, centre, found[centre.site])
        return graph

    def _by_entry(self, graph: Graph, centres: list[Centre]) -> frozenset[str]:
        """Sites each of whose entries may have a median of its own."""
        known = self.mask_input is None and (self.samples.count or 0) >= FEWEST
        if not (self.entries and known):
            return frozenset()
        return fitting({c.site: c.entries(graph) for c in centres if c.fixed})


def _centred(graph: Graph, centre: Centre, shift: Array) -> Graph:
    """The graph with one site centred; as it was where a bias would not be finite."""
    restored: Graph | None = graph
    if centre.operand is None:
        restored = _with_responses(graph, centre.site, shift)
    elif centre.kind == "values":
        restored = with_added(graph, centre.operand.product.outputs[0], shift)
    elif centre.kind == "queries":
        restored = with_product(graph, centre.operand, shift)
    return graph if restored is None else with_zero_point(restored, centre.site, shift)


def _with_responses(graph: Graph, value: str, shift: Array) -> Graph | None:
    """The graph whose layers on `value` add what they make of its zero point."""
    layers = [op for op in consumers(graph, value) or () if isinstance(op, Op)]
    made = {op.outputs[0]: response(graph, op, shift) for op in layers}
    with np.errstate(over="ignore"):
        if not all(np.isfinite(array.astype(shift.dtype)).all() for array in made.values()):
            return None
    for result, array in made.items():
        graph = with_added(graph, result, array)
    return graph
