"""The picture of a schedule: spikes by layer over ticks, load, traffic, energy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snnc.ir.node import Array
from snnc.plots.picture import BLUE, GREY, ORANGE, write_picture
from snnc.plots.raster import draw_raster
from snnc.plots.schedule_figures import (
    TITLE,
    ScheduleFigures,
    counted,
    short_names,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS = 40
"""Cores that are bars; more are a map."""

_ENTRIES = 200
"""Rows of the traffic matrix that are drawn; of more, neighbours are added up."""

_SHARES = 14
"""Layers with a bar of energy; of more, the largest."""

_MAP = "cividis_r"
_ABSENT = "#ffffff"


def schedule_picture(figures: ScheduleFigures, path: str | Path) -> None:
    """Draws a schedule into `path` (.png, .svg, .pdf), whole, the same bytes every time."""
    tall = min(len(figures.layers), 60)
    write_picture(path, lambda figure: _draw(figure, figures), (11.0, 7.4 + 0.07 * tall))


def _draw(figure: Figure, found: ScheduleFigures) -> None:
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.15, 1))[:, 0]
    figure.set_layout_engine("constrained", w_pad=0.09, h_pad=0.06)
    figure.suptitle(found.title, fontsize=11)
    draw_raster(above.subplots(), found)
    load, traffic, energy = below.subplots(1, 3, width_ratios=(1, 1, 0.8))
    _draw_load(load, found)
    _draw_traffic(traffic, found)
    _draw_energy(energy, found)


def _draw_load(axes: Axes, found: ScheduleFigures) -> None:
    """Bars, or a map of the mesh; hot cores are marked."""
    from matplotlib.ticker import EngFormatter

    synops = np.asarray(found.synops, np.float64)
    hot = [core for core in found.hot if core < len(synops)]
    axes.set_title(f"Load of {counted(found.used or len(synops), 'core')}", **TITLE)
    if len(synops) <= _BARS:
        bars = axes.bar(np.arange(len(synops)), synops, color=BLUE)
        for core in hot:
            bars[core].set(facecolor=ORANGE, hatch="//", edgecolor="white")
        middle, width = (len(synops) - 1) / 2, max(len(synops) + 0.6, 4)
        axes.set_xlim(middle - width / 2, middle + width / 2)
        whole_ticks(axes.xaxis)
        if len(synops) <= 8:
            axes.set_xticks(range(len(synops)))
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("core")
        axes.set_ylabel("synaptic operations")
    else:
        columns = found.columns or int(np.ceil(np.sqrt(len(synops))))
        mesh = np.full(-(-len(synops) // columns) * columns, np.nan)
        mesh[: len(synops)] = np.where(synops > 0, synops, np.nan)
        _map(axes, mesh.reshape(-1, columns), "synaptic operations")
        where = np.array(hot, np.int64)
        for colour, edge in (("white", 4.0), (ORANGE, 2.0)):
            place = where % columns, where // columns
            axes.plot(*place, "s", mfc="none", mec=colour, ms=9, mew=edge)
        whole_ticks(axes.xaxis, axes.yaxis)
        axes.set_xlabel("column of the mesh")
        axes.set_ylabel("row")
    if hot:
        many = len(hot) > 3
        names = ", ".join(str(core) for core in hot[: 2 if many else 3])
        _remark(axes, f"{len(hot)} hot: {names}, …" if many else f"hot: {names}", ORANGE)


def _remark(axes: Axes, text: str, colour: str) -> None:
    """Behind the title of a panel."""
    axes.set_title(text, loc="right", fontsize=8, color=colour)


def _map(axes: Axes, values: Array, label: str) -> None:
    """A heat map with its scale: logarithmic where values span more than two decades."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    there = values[np.isfinite(values)]
    low, high = (float(there.min()), float(there.max())) if there.size else (0.0, 1.0)
    wide = low > 0 and high > 100 * low
    scale = LogNorm(low, high) if wide else Normalize(0, high)
    colours = colormaps[_MAP].with_extremes(bad=_ABSENT)
    image = axes.imshow(
        values, cmap=colours, norm=scale, aspect="auto", interpolation="nearest", rasterized=True
    )
    axes.grid(visible=False)
    axes.figure.colorbar(
        image, ax=axes, location="bottom", label=f"{label} (white: none)", pad=0.02, fraction=0.06
    )


def _draw_traffic(axes: Axes, found: ScheduleFigures) -> None:
    """Packets from row to column; none is white."""
    traffic = np.asarray(found.traffic, np.float64)
    axes.set_title(f"Packets between {found.between}", **TITLE)
    if not traffic.any():
        _say(axes, f"no packets between {found.between}")
        return
    group = -(-len(traffic) // _ENTRIES)
    starts = np.arange(0, len(traffic), group)
    pooled = np.add.reduceat(np.add.reduceat(traffic, starts, axis=0), starts, axis=1)
    _map(axes, np.where(pooled > 0, pooled, np.nan), "packets")
    one = found.between.removesuffix("s")
    axes.set_xlabel(f"to {one}")
    axes.set_ylabel(f"from {one}")
    edge = len(starts) - 0.5
    axes.set(xlim=(-0.5, edge), ylim=(edge, -0.5))
    whole_ticks(axes.xaxis, axes.yaxis, most=5)
    if group > 1:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda place, _: f"{int(place) * group:,}")
        _remark(axes, f"{group} {found.between} a cell", GREY)


def _draw_energy(axes: Axes, found: ScheduleFigures) -> None:
    """A bar for each layer, or for the largest ones and the rest."""
    from matplotlib.ticker import MaxNLocator

    energy = np.asarray(found.energy, np.float64)
    total = float(energy.sum())
    axes.set_title("Energy", **TITLE)
    if total <= 0:
        _say(axes, "no energy counted")
        return
    idle = f" + {_joule(found.idle)} idle" if found.idle else ""
    _remark(axes, f"{_joule(total)}{idle} an inference", GREY)
    largest = np.sort(np.argsort(-energy, kind="stable")[:_SHARES])
    every = short_names(found.layers, 22)
    names = [every[i] for i in largest]
    shares = [100 * float(energy[i]) / total for i in largest]
    if len(energy) > len(largest):
        names.append(f"{len(energy) - len(largest)} others")
        shares.append(max(100 - sum(shares), 0.0))
    colours = [BLUE] * len(largest) + [GREY] * (len(names) - len(largest))
    bars = axes.barh(np.arange(len(names)), shares, color=colours, height=0.7)
    axes.bar_label(bars, [f"{share:.3g} %" for share in shares], fontsize=7, padding=2)
    axes.set_yticks(np.arange(len(names)), names, fontsize=7)
    axes.set_ylim(max(len(names), 4) - 0.4, -0.6)
    axes.set_xlim(0, 1.25 * max(shares))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share (%)")


def _joule(energy: float) -> str:
    """With three digits and a prefix."""
    prefixes = ("", "m", "µ", "n", "p", "f")
    power = int(np.clip(-np.floor(np.log10(energy) / 3 + 1e-9), 0, len(prefixes) - 1))
    return f"{energy * 1000.0**power:.3g} {prefixes[power]}J"


def _say(axes: Axes, text: str) -> None:
    """Words in place of an empty panel."""
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)
    axes.set_axis_off()
