"""Pictures: curves, the ablation and histograms as PNG, SVG or PDF; the only door of matplotlib.

matplotlib is imported when a picture is drawn; figures are made without pyplot and its state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from snnc.comparison import Comparison
from snnc.errors import CompileError
from snnc.files import replacing
from snnc.histogram import Histogram
from snnc.precision import PrecisionCurve, PrecisionPoint
from snnc.studies import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""Suffixes, and the metadata to leave out so that one result always gives the same bytes."""

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
"""Distinguishable with every kind of colour vision (Okabe and Ito 2008)."""

_LINES = (("o-", BLUE), ("s--", ORANGE), ("^-.", GREEN), ("v:", GREY))
"""Of several neurons in one picture; more repeat."""

_BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
"""Behind a number, so that a line does not cross it out."""

_STYLE = {
    "svg.hashsalt": "snnc",
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 130,
}


def require_format(path: Path) -> None:
    """Raises CompileError at once for a suffix that no picture can have."""
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        raise CompileError(
            f"cannot draw '{path}': unknown suffix '{path.suffix}'",
            known=FORMATS,
            help=f"name the picture {path.stem}.png or {path.stem}.svg",
        )


Drawable: TypeAlias = Study | Comparison | Histogram | PrecisionCurve


def plot(result: Drawable, path: str | Path) -> None:
    """Draws a study, a comparison or a histogram into `path` (.png, .svg, .pdf), whole."""
    if not isinstance(result, Study | Comparison | Histogram | PrecisionCurve):
        raise CompileError(
            f"there is no picture of {result!r}", help="pass what snnc.lambda_curve returns, say"
        )
    path = Path(path)
    require_format(path)
    from matplotlib import style
    from matplotlib.figure import Figure

    form = path.suffix.lower().removeprefix(".")
    with style.context(["default", _STYLE]), replacing(path) as directory:
        figure = Figure(figsize=(6.4, 5.2), layout="constrained")
        _drawing(result)(figure)
        figure.savefig(directory / path.name, format=form, metadata=FORMATS[form])


def _drawing(result: Drawable) -> Callable[[Figure], None]:
    if isinstance(result, Histogram):
        return lambda figure: _draw_histogram(figure, result)
    if isinstance(result, PrecisionCurve):
        return lambda figure: _draw_precision(figure, result)
    if isinstance(result, Comparison):
        return lambda figure: _draw_comparison(figure, result)
    if result.over == "timesteps":
        return lambda figure: _draw_timesteps(figure, result)
    if result.over == "fire function":
        return lambda figure: _draw_ablation(figure, result)
    return lambda figure: _draw_curve(figure, result)


_METRICS = {
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
    axes.set_ylabel(_METRICS[study.metric_name])


def _draw_curve(figure: Figure, study: Study) -> None:
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
        _plain_ticks(below, x)
    else:
        below.set_xlabel("percentile p (%)")
    for axes in (above, below):
        axes.legend(frameon=False, fontsize=8)


def _draw_timesteps(figure: Figure, study: Study) -> None:
    """One line a neuron: metric above, energy by spikes below."""
    above, below = figure.subplots(2, 1, sharex=True)
    names = list(dict.fromkeys(point.series for point in study.points))
    for name, (form, colour) in zip(names, cycle(_LINES), strict=False):
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


def _draw_precision(figure: Figure, curve: PrecisionCurve) -> None:
    """One line for each way to emit and multiply: metric above, distance from the ANN below."""
    above, below = figure.subplots(2, 1, sharex=True)
    series: dict[str, list[PrecisionPoint]] = {}
    for point in curve.points:
        label = f"{point.neuron.rule}, {point.neuron.products}"
        series.setdefault(label, []).append(point)
    factor = 1 if curve.metric == "cosine" else 100
    for (label, points), (form, colour) in zip(series.items(), cycle(_LINES), strict=False):
        points.sort(key=lambda point: point.neuron.p)
        x = [point.neuron.p for point in points]
        above.plot(x, [factor * curve.value(p) for p in points], form, color=colour, ms=4)
        away = [max(1 - point.cosine, 1e-9) for point in points]
        below.plot(x, away, form, color=colour, ms=4, label=label)
    if curve.ann_top1 is not None:
        above.axhline(100 * curve.ann_top1, color=GREY, ls="--", lw=1.2, label="ANN")
        above.legend(frameon=False, fontsize=8)
    above.set_ylabel(_METRICS[curve.metric])
    below.set_ylabel("1 - mean cosine to ANN")
    below.set_yscale("log")
    below.set_xscale("log", base=2)
    ticks = sorted({point.neuron.p for point in curve.points})
    below.set_xticks(ticks, [str(p) for p in ticks], rotation=45)
    below.set_xlabel("time precision p (ticks a window)")
    below.legend(frameon=False, fontsize=8)


def _plain_ticks(axes: Axes, x: Sequence[float]) -> None:
    """1, 0.5, 0.2, ... instead of powers of ten, where they lie in the range."""
    from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

    decades = [m * 10.0**-k for k in range(6) for m in (1, 2, 5)]
    ticks = sorted(t for t in decades if min(x) * 0.99 <= t <= max(x) * 1.01)
    if len(ticks) > 1:
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(NullLocator())


def _draw_ablation(figure: Figure, study: Study) -> None:
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
            axes.bar_label(bars, fmt=form, fontsize=8, padding=2, bbox=_BLANK)
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


def _draw_comparison(figure: Figure, found: Comparison) -> None:
    """Bars for each neuron that takes the network: metric above, energy below."""
    above, below = figure.subplots(2, 1, sharex=True)
    rows = [row for row in found.rows if row.point is not None and row.integers is not None]
    place = np.arange(len(rows))
    metric = _metric(found, [point.metric for point in found.points])
    bars = above.bar(place, metric, width=0.6, color=BLUE, label="SNN")
    above.bar_label(bars, fmt="%.4g", fontsize=8, padding=2, bbox=_BLANK)
    energies = [point.result.energy for point in found.points]
    groups = (
        ("spikes", ORANGE, [e.ratio_spikes for e in energies]),
        ("events", GREEN, [e.ratio_events for e in energies]),
        ("as many levels as integers", GREY, [r.integers.ratio for r in rows if r.integers]),
    )
    for shift, (label, colour, ratios) in zip((-0.27, 0, 0.27), groups, strict=True):
        bars = below.bar(place + shift, ratios, width=0.25, color=colour, label=label)
        below.bar_label(bars, fmt="%.2f", fontsize=7, padding=2, bbox=_BLANK)
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


def _draw_histogram(figure: Figure, found: Histogram) -> None:
    above, below = figure.subplots(2, 1)
    edges = np.array(found.edges)
    tally = np.maximum(found.activations, 0.5)
    above.stairs(tally, edges, baseline=0.5, fill=True, color=BLUE, label="ANN")
    theta = zip(found.theta, (1, -1), strict=True)
    for at in (position := [sign * size for size, sign in theta if size]):
        label = "threshold θ" if at == position[0] else None
        above.axvline(at, color=ORANGE, ls="--", lw=1.4, label=label)
    emitted = _emitted(found)
    above.plot(emitted, np.full(len(emitted), 0.25), "|", color="black", label="values emitted")
    above.set_ylim(bottom=0.12)
    above.set_yscale("log")
    above.set_xlabel(f"activation at {found.site}")
    above.set_ylabel("entries")
    above.legend(frameon=False, fontsize=8)
    counts = sorted(found.counts)
    below.vlines(counts, 0.5, [found.counts[c] for c in counts], color=GREEN, lw=1.6)
    below.plot(counts, [found.counts[c] for c in counts], ".", color=GREEN, ms=4)
    below.set_yscale("log")
    below.set_ylim(bottom=0.5)
    below.set_xlabel(
        f"spike count y (λ = {found.scale:.3g}, mean |y| = {found.mean_count:.3g}, "
        f"{100 * found.silent:.1f} % silent)"
    )
    below.set_ylabel("entries")


def _emitted(found: Histogram) -> list[float]:
    """The outputs that occurred, within the range shown."""
    values = [count * found.step[0 if count > 0 else 1] for count in found.counts if count]
    return [v for v in sorted(values) if found.edges[0] <= v <= found.edges[-1]]
