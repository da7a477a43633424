"""Pictures of studies: curves over lambda, percentiles, timesteps and ticks, the ablation, neuron
models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.comparison import Comparison
from snnc.plots.picture import BLANK, BLUE, GREEN, GREY, ORANGE
from snnc.precision import PrecisionCurve, PrecisionPoint
from snnc.studies import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = (("o-", BLUE), ("s--", ORANGE), ("^-.", GREEN), ("v:", GREY))
"""Of several neurons in one picture; more repeat."""

METRICS = {
    "top-1": "top-1 accuracy (%)",
    "agreement": "same argmax as ANN (%)",
    "cosine": "mean cosine to ANN",
}


def _metric(study: Study | Comparison, values: Sequence[float]) -> list[float]:
    """Shares in percent; cosines as they are."""
    factor = 1 if study.metric_name == "cosine" else 100
    return [factor * value for value in values]


def _metric_panel(axes: Axes, study: Study | Comparison) -> None:
    axes.axhline(*_metric(study, [study.ann_metric]), color=GREY, ls="--", lw=1.2, label="ANN")
    axes.set_ylabel(METRICS[study.metric_name])


def draw_curve(figure: Figure, study: Study) -> None:
    """Over lambda or percentiles: metric above, energy by spikes and by events below."""
    above, below = figure.subplots(2, 1, sharex=True)
    points = sorted(study.points, key=lambda p: p.scale if study.over == "lambda" else p.percentile)
    x = [p.scale if study.over == "lambda" else p.percentile for p in points]
    metric = _metric(study, [p.metric for p in points])
    above.plot(x, metric, "o-", color=BLUE, ms=4, label="SNN")
    _metric_panel(above, study)
    energies = [p.result.energy for p in points]
    lines = (
        ("spikes (eq. 43)", "s-", ORANGE, [e.ratio_spikes for e in energies]),
        ("spikes, no analog MACs (eq. 44)", "v:", GREY, [e.ratio_spikes_eq44 for e in energies]),
        ("events", "^-", GREEN, [e.ratio_events for e in energies]),
    )
    for label, form, colour, values in lines:
        below.plot(x, values, form, color=colour, ms=4, label=label)
    below.set_ylim(bottom=0)
    below.set_ylabel("energy / energy of ANN")
    if study.over == "lambda":
        below.set_xscale("log")
        below.set_xlabel("scale factor λ")
        plain_ticks(below, x)
    else:
        below.set_xlabel("percentile p (%)")
    for axes in (above, below):
        axes.legend(frameon=False, fontsize=8)


def draw_timesteps(figure: Figure, study: Study) -> None:
    """One line a neuron: metric above, energy by spikes below."""
    above, below = figure.subplots(2, 1, sharex=True)
    names = list(dict.fromkeys(point.series for point in study.points))
    for name, (form, colour) in zip(names, cycle(LINES), strict=False):
        points = sorted((p for p in study.points if p.series == name), key=lambda p: p.at)
        x = [p.at for p in points]
        metric = _metric(study, [p.metric for p in points])
        ratios = [p.result.energy.ratio_spikes for p in points]
        for axes, values in ((above, metric), (below, ratios)):
            axes.plot(x, values, form, color=colour, ms=4, label=name)
    _metric_panel(above, study)
    below.set_ylim(bottom=0)
    below.set_ylabel("energy (spikes) / ANN's")
    below.set_xscale("log", base=2)
    times = sorted({p.at for p in study.points})
    below.set_xticks(times, [str(t) for t in times])
    below.set_xlabel("timesteps T")
    for axes in (above, below):
        axes.legend(frameon=False, fontsize=8)


def draw_precision(figure: Figure, curve: PrecisionCurve) -> None:
    """One line for each way to emit and multiply: metric above, distance from the ANN below."""
    above, below = figure.subplots(2, 1, sharex=True)
    series: dict[str, list[PrecisionPoint]] = {}
    for point in curve.points:
        label = f"{point.neuron.rule}, {point.neuron.products}"
        series.setdefault(label, []).append(point)
    factor = 1 if curve.metric == "cosine" else 100
    for (label, points), (form, colour) in zip(series.items(), cycle(LINES), strict=False):
        points.sort(key=lambda point: point.neuron.p)
        x = [point.neuron.p for point in points]
        above.plot(x, [factor * curve.value(p) for p in points], form, color=colour, ms=4)
        away = [max(1 - point.cosine, 1e-9) for point in points]
        below.plot(x, away, form, color=colour, ms=4, label=label)
    if curve.ann_top1 is not None:
        above.axhline(100 * curve.ann_top1, color=GREY, ls="--", lw=1.2, label="ANN")
        above.legend(frameon=False, fontsize=8)
    above.set_ylabel(METRICS[curve.metric])
    below.set_ylabel("1 - mean cosine to ANN")
    below.set_yscale("log")
    below.set_xscale("log", base=2)
    ticks = sorted({point.neuron.p for point in curve.points})
    below.set_xticks(ticks, [str(p) for p in ticks], rotation=45)
    below.set_xlabel("time precision p (ticks a window)")
    below.legend(frameon=False, fontsize=8)


def plain_ticks(axes: Axes, x: Sequence[float]) -> None:
    """1, 0.5, 0.2, ... instead of powers of ten, where they lie in the range."""
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

    decades = [m * 10.0**-k for k in range(6) for m in (1, 2, 5)]
    ticks = sorted(t for t in decades if min(x) * 0.99 <= t <= max(x) * 1.01)
    if len(ticks) > 1:
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(NullLocator())


def draw_ablation(figure: Figure, study: Study) -> None:
    """Two bars for each fire function, with and without scaling: metric above, energy below."""
    above, below = figure.subplots(2, 1, sharex=True)
    names = list(dict.fromkeys(str(p.neuron.parameters["levels"]) for p in study.points))
    place, half = np.arange(len(names)), len(study.points) // 2
    groups = (
        (study.points[:half], "without scaling (λ = 1)", BLUE, -0.2),
        (study.points[half:], "with λ chosen", ORANGE, 0.2),
    )
    for points, label, colour, shift in groups:
        metric = _metric(study, [p.metric for p in points])
        ratios = [p.result.energy.ratio_spikes for p in points]
        for axes, heights, form in ((above, metric, "%.3g"), (below, ratios, "%.2f")):
            bars = axes.bar(place + shift, heights, width=0.38, color=colour, label=label)
            axes.bar_label(bars, fmt=form, fontsize=8, padding=2, bbox=BLANK)
        for x, point in zip(place + shift, points, strict=True):
            _note(below, x, f"λ {point.scale:.2g}")
    _metric_panel(above, study)
    below.set_ylabel("energy (spikes) / ANN's")
    below.set_xticks(place, names)
    below.set_xlabel("fire function (level set)")
    for axes in (above, below):
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.15)
    above.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def draw_comparison(figure: Figure, found: Comparison) -> None:
    """Bars for each neuron that takes the network: metric above, energy below."""
    above, below = figure.subplots(2, 1, sharex=True)
    rows = [row for row in found.rows if row.point is not None and row.integers is not None]
    place = np.arange(len(rows))
    metric = _metric(found, [point.metric for point in found.points])
    bars = above.bar(place, metric, width=0.6, color=BLUE, label="SNN")
    above.bar_label(bars, fmt="%.4g", fontsize=8, padding=2, bbox=BLANK)
    energies = [point.result.energy for point in found.points]
    groups = (
        ("spikes", ORANGE, [e.ratio_spikes for e in energies]),
        ("events", GREEN, [e.ratio_events for e in energies]),
        ("as many levels as integers", GREY, [r.integers.ratio for r in rows if r.integers]),
    )
    for shift, (label, colour, ratios) in zip((-0.27, 0, 0.27), groups, strict=True):
        bars = below.bar(place + shift, ratios, width=0.25, color=colour, label=label)
        below.bar_label(bars, fmt="%.2f", fontsize=7, padding=2, bbox=BLANK)
    _metric_panel(above, found)
    below.set_ylabel("energy / energy of ANN")
    below.set_xticks(place, [str(row.spec) for row in rows])
    for axes in (above, below):
        axes.grid(axis="x", visible=False)
        axes.margins(y=0.15)
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def _note(axes: Axes, x: float, text: str) -> None:
    """A small text in the foot of the bar at x."""
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "center"}
    axes.annotate(text, (x, 0), (0, 3), fontsize=7, color="white", **place)
