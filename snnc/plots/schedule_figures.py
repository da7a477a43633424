"""What the panels of a schedule's picture share: the figures they show, names, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from snnc.ir.node import Array


@dataclass(frozen=True, eq=False)
class ScheduleFigures:
    """What the picture shows, of one inference.

    layers: names in order of computation; neurons: how many each has; tick, layer, neuron,
    polarity: of each spike, [events], layer an index of `layers`, polarity of either sign;
    ticks: of the whole inference; synops: of each core, [cores]; columns: of the mesh, row by
    row; hot: the cores to mark; traffic: packets from row to column, [n, n]; between: what its
    rows are; energy: of each layer, joule, [layers]; idle: joules that the chip takes besides;
    used: how many cores hold anything, 0 for all.
    """

    title: str
    layers: Sequence[str]
    neurons: Sequence[int]
    ticks: int
    tick: Array
    layer: Array
    neuron: Array
    polarity: Array
    synops: Array
    columns: int
    traffic: Array
    energy: Array
    hot: Sequence[int] = ()
    idle: float = 0.0
    used: int = 0
    between: Literal["cores", "layers"] = "cores"

    def __post_init__(self) -> None:
        layers, events = len(self.layers), len(self.tick)
        if not layers == len(self.neurons) == len(self.energy):
            raise ValueError("layers, neurons and energy differ in length")
        if not events == len(self.layer) == len(self.neuron) == len(self.polarity):
            raise ValueError("tick, layer, neuron and polarity differ in length")


TITLE: dict[str, Any] = {"loc": "left", "fontsize": 9}
"""Of a panel."""


def counted(number: int, what: str) -> str:
    """1 core, 2 cores."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def whole_ticks(*of: Any, most: int = 8) -> None:
    """Whole numbers along these axes, about so many at most."""
    from matplotlib.ticker import MaxNLocator

    for axis in of:
        axis.set_major_locator(MaxNLocator(nbins=most, integer=True))


def short_names(names: Sequence[str], most: int) -> list[str]:
    """Names without the folders they share; the middle of a long one left out."""
    first, last = min(names), max(names)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    bare = [name[first.rfind("/", 0, same) + 1 :] for name in names]
    half = (most - 1) // 2
    return [b if len(b) <= most else f"{b[:half]}…{b[-half:]}" for b in bare]
