"""The raster of a schedule: spikes by layer over ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.node import Array
from snnc.plots.picture import BLUE, ORANGE
from snnc.plots.schedule_figures import (
    TITLE,
    ScheduleFigures,
    counted,
    short_names,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPIKES = 20_000
"""How many spikes a picture shows at most; of more, a share of each layer's."""

_FEWEST = 12
"""Of a layer, however few that share would be."""

_AREA, _INK = 450_000, 0.14
"""Of the raster, in dots; the share of what is active there that spikes may cover, so that both
signs and how many fire can be told."""

_NAMES = 30
"""Names of layers beside the raster; of more layers, some are named."""

_BAND = "#f3f3f3"
"""Behind every other layer."""

_GOLDEN = 0.6180339887498949
"""Multiples of it, without their whole parts, spread evenly over 0 to 1."""


def draw_raster(axes: Axes, found: ScheduleFigures) -> None:
    """A band for each layer, first on top; in it a dot for each spike, at its neuron's height and
    within its tick."""
    layers = len(found.layers)
    for band in range(0, layers, 2):
        axes.axhspan(band, band + 1, color=_BAND, lw=0, zorder=0)
    _draw_spikes(axes, found)
    axes.set_xlim(0, max(found.ticks, 1))
    axes.set_ylim(layers, 0)
    whole_ticks(axes.xaxis)
    axes.set_xlabel("tick")
    every = -(-layers // _NAMES)
    names, named = short_names(found.layers, 28), range(0, layers, every)
    axes.set_yticks([i + 0.5 for i in named], [names[i] for i in named], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    note = "" if every == 1 else f", one of {every} named"
    axes.set_title(f"Spikes of one sample in {counted(layers, 'layer')}{note}", **TITLE)


def _draw_spikes(axes: Axes, found: ScheduleFigures) -> None:
    room, total = _room(found), len(found.tick)
    shown = _drawn(np.asarray(found.layer), len(found.layers), int(min(SPIKES, room)))
    tick, layer, neuron = (
        np.asarray(each)[shown] for each in (found.tick, found.layer, found.neuron)
    )
    size = np.maximum(np.asarray(found.neurons), 1)[layer]
    height = layer + 0.1 + 0.8 * (neuron + 0.5) / size
    across = tick + 0.1 + 0.8 * (neuron * _GOLDEN % 1)
    positive = np.asarray(found.polarity) > 0
    colours = np.where(positive[shown], BLUE, ORANGE).tolist()
    ink = float(np.clip(room / max(len(shown), 1), 0.7, 8))
    axes.scatter(across, height, s=ink, c=colours, marker="s", lw=0, rasterized=True)
    for sign, colour, label in (
        (positive, BLUE, "positive"),
        (~positive, ORANGE, "negative"),
    ):
        if sign.any():
            axes.plot([], [], "s", color=colour, label=f"{int(np.sum(sign)):,} {label}", ms=5)
    part = f", {len(shown):,} drawn" if len(shown) < total else ""
    axes.plot([], [], " ", label=f"of {counted(total, 'spike')}{part}")
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 0.99),
        borderaxespad=0.1,
        handletextpad=0.2,
        ncols=3,
        frameon=False,
        fontsize=8,
    )


def _room(found: ScheduleFigures) -> float:
    """How many dots the active part of the raster holds."""
    cells = np.asarray(found.layer, np.int64) * (found.ticks + 1) + np.asarray(found.tick)
    active = len(np.unique(cells))
    return _INK * _AREA * active / max(len(found.layers) * found.ticks, 1)


def _drawn(layer: Array, layers: int, most: int) -> Array:
    """Which events to draw, in an order by lot: all, or the same share of each layer's, but no
    fewer than there are of a quiet layer."""
    order = np.random.default_rng(0).permutation(len(layer))
    if len(layer) <= most:
        return order
    kept = np.zeros(len(layer), bool)
    for index in range(layers):
        own = order[layer[order] == index]
        kept[own[: max(len(own) * most // len(layer), _FEWEST)]] = True
    return order[kept[order]]
