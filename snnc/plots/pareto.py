"""Picture of recipes: metric and error of the outputs against energy, counted in two ways."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from snnc.pareto_front import IntegerPoint, Pareto, RecipePoint
from snnc.plots.picture import BLANK, GREY
from snnc.plots.studies import LINES, METRICS, plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARETO_SIZE = (8.6, 6.0)


def draw_pareto(figure: Figure, found: Pareto) -> None:
    """Metric above, relative error of the outputs below; on the left accumulates at pj_ac, on the
    right as integer additions. Integers of few bits are on both sides."""
    sides = (None,) if found.pj_ac == found.pj_integer_add else (None, found.pj_integer_add)
    panels = figure.subplots(2, len(sides), sharex=True, sharey="row", squeeze=False)
    x: list[float] = []
    for column, pj_ac in enumerate(sides):
        above, below = panels[:, column]
        x += _recipes(above, below, found, pj_ac) + _integers(above, below, found)
        above.axhline(_metric(found, found.ann_metric), color=GREY, ls="--", lw=1.2, label="ANN")
        pj = found.pj_ac if pj_ac is None else pj_ac
        kind = "" if pj_ac is None else " (integers)"
        above.set_title(f"{found.count}, each addition {pj:g} pJ{kind}", fontsize=9)
        below.set_xlabel("energy / energy of ANN (float MACs), log scale")
        below.set_yscale("log")
    panels[0, 0].set_xscale("log")
    plain_ticks(panels[0, 0], x)
    panels[0, 0].set_ylabel(METRICS[found.metric_name])
    panels[1, 0].set_ylabel("relative error of the outputs")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=8)


def _metric(found: Pareto, value: float) -> float:
    """A share in percent; a cosine as it is."""
    return value if found.metric_name == "cosine" else 100 * value


def _recipes(above: Axes, below: Axes, found: Pareto, pj_ac: float | None) -> list[float]:
    """One line a recipe; the energies."""
    series: dict[str, list[RecipePoint]] = {}
    for point in found.points:
        series.setdefault(point.recipe, []).append(point)
    seen: list[float] = []
    for (name, points), (form, colour) in zip(series.items(), cycle(LINES), strict=False):
        results = [point.result for point in points if point.result is not None]
        results.sort(key=lambda result: found.energy(result, pj_ac))
        x = [found.energy(result, pj_ac) for result in results]
        metric = [_metric(found, result.metric) for result in results]
        above.plot(x, metric, form, color=colour, ms=4, label=f"recipe {name}")
        errors = [result.relative_error or 0.0 for result in results]
        below.plot(x, errors, form, color=colour, ms=4)
        seen += x
    return seen


def _integers(above: Axes, below: Axes, found: Pareto) -> list[float]:
    """A mark for each number of bits; the energies."""
    points = [(p, p.result) for p in found.integers if p.result is not None]
    x = [found.integer_energy(point.bits, result) for point, result in points]
    metric = [_metric(found, result.metric) for _, result in points]
    errors = [result.relative_error or 0.0 for _, result in points]
    for axes, values, label in ((above, metric, "ANN in integers of b bits"), (below, errors, "")):
        if points:
            axes.plot(
                x, values, "D", color="black", mfc="white", ms=5, label=label or None, zorder=4
            )
        for (point, _), place, value in zip(points, x, values, strict=True):
            _note(axes, point, place, value)
    return x


def _note(axes: Axes, point: IntegerPoint, x: float, y: float) -> None:
    """The bits, beside a mark."""
    axes.annotate(
        f"{point.bits} bit", (x, y), (5, 4), textcoords="offset points", fontsize=7, bbox=BLANK
    )
