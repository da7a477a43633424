"""What all pictures share: formats, colours, and files written whole, the same bytes every time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnc.errors import CompileError
from snnc.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""Suffixes, and the metadata to leave out so that one result always gives the same bytes."""

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
"""Distinguishable with every kind of colour vision (Okabe and Ito 2008)."""

BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
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


def write_picture(
    path: str | Path, draw: Callable[[Figure], None], size: tuple[float, float] = (6.4, 5.2)
) -> None:
    """A figure of `size` inches that `draw` fills, as the file `path` (.png, .svg, .pdf), whole."""
    path = Path(path)
    require_format(path)
    from matplotlib import style
    from matplotlib.figure import Figure

    form = path.suffix.lower().removeprefix(".")
    with style.context(["default", _STYLE]), replacing(path) as directory:
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(directory / path.name, format=form, metadata=FORMATS[form])
