"""Pictures as PNG, SVG or PDF; the only door of matplotlib.

matplotlib is imported when a picture is drawn; figures are made without pyplot and its state.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from snnc.comparison import Comparison
from snnc.errors import CompileError
from snnc.histogram import Histogram
from snnc.pareto_front import Pareto
from snnc.plots.histograms import draw_histogram
from snnc.plots.pareto import PARETO_SIZE, draw_pareto
from snnc.plots.picture import FORMATS, require_format, write_picture
from snnc.plots.schedule import schedule_picture
from snnc.plots.schedule_figures import ScheduleFigures
from snnc.plots.studies import (
    draw_ablation,
    draw_comparison,
    draw_curve,
    draw_precision,
    draw_timesteps,
)
from snnc.precision import PrecisionCurve
from snnc.studies import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FORMATS",
    "Drawable",
    "ScheduleFigures",
    "plot",
    "require_format",
    "schedule_picture",
]

Drawable: TypeAlias = Study | Comparison | Histogram | PrecisionCurve | Pareto


def plot(result: Drawable, path: str | Path) -> None:
    """Draws a study, a comparison, a histogram or recipes into `path` (.png, .svg, .pdf), whole."""
    if not isinstance(result, Study | Comparison | Histogram | PrecisionCurve | Pareto):
        raise CompileError(
            f"there is no picture of {result!r}", help="pass what snnc.lambda_curve returns, say"
        )
    if isinstance(result, Pareto):
        write_picture(path, lambda figure: draw_pareto(figure, result), PARETO_SIZE)
    else:
        write_picture(path, _drawing(result))


def _drawing(result: Study | Comparison | Histogram | PrecisionCurve) -> Callable[[Figure], None]:
    if isinstance(result, Histogram):
        return lambda figure: draw_histogram(figure, result)
    if isinstance(result, PrecisionCurve):
        return lambda figure: draw_precision(figure, result)
    if isinstance(result, Comparison):
        return lambda figure: draw_comparison(figure, result)
    if result.over == "timesteps":
        return lambda figure: draw_timesteps(figure, result)
    if result.over == "fire function":
        return lambda figure: draw_ablation(figure, result)
    return lambda figure: draw_curve(figure, result)
