"""The parts of a mapping as arrays of integers and as tables of JSON, and strictly back.

What cannot be read back raises ValueError, KeyError or TypeError.
"""

from __future__ import annotations

from collections.abc import Mapping as Mapped
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from snnc.backends.schedule.mapping import Route, Tile
from snnc.ir.node import Array

_LARGEST = 2**53

T = TypeVar("T")


def tile_arrays(tiles: Sequence[Tile]) -> dict[str, Array]:
    """One array a field."""
    names = [field.name for field in fields(Tile)]
    return {n: np.array([getattr(tile, n) for tile in tiles], np.int64) for n in names}


def tiles_from(arrays: Mapped[str, Array]) -> tuple[Tile, ...]:
    """What `tile_arrays` wrote."""
    columns = (integers(arrays, field.name).tolist() for field in fields(Tile))
    return tuple(Tile(*row) for row in zip(*columns, strict=True))


def route_arrays(routes: Sequence[Route]) -> dict[str, Array]:
    """Targets and links of all routes one behind the other, with where those of each end."""
    return {
        "layer": np.array([r.layer for r in routes], np.int64),
        "core": np.array([r.core for r in routes], np.int64),
        "target_end": np.cumsum([len(r.targets) for r in routes], dtype=np.int64),
        "target": np.array([t for r in routes for t in r.targets], np.int64),
        "link_end": np.cumsum([len(r.links) for r in routes], dtype=np.int64),
        "link": np.array([x for r in routes for x in r.links], np.int64).reshape(-1, 2),
    }


def routes_from(arrays: Mapped[str, Array]) -> tuple[Route, ...]:
    """What `route_arrays` wrote."""
    senders = (integers(arrays, name).tolist() for name in ("layer", "core"))
    targets = _apart(integers(arrays, "target"), integers(arrays, "target_end"))
    links = _apart(integers(arrays, "link", 2), integers(arrays, "link_end"))
    return tuple(
        Route(layer, core, tuple(reached), tuple((a, b) for a, b in tree))
        for layer, core, reached, tree in zip(*senders, targets, links, strict=True)
    )


def _apart(rows: Array, ends: Array) -> list[list[Any]]:
    """Lists that lie one behind the other, each up to its end."""
    bounds = [0, *ends.tolist()]
    if bounds != sorted(bounds) or bounds[-1] != len(rows):
        raise ValueError(f"its lists end at {bounds[-1]} in place of {len(rows)}")
    return [rows[a:b].tolist() for a, b in pairwise(bounds)]


def integers(arrays: Mapped[str, Array], name: str, axes: int = 1) -> Array:
    """An array of integers with as many axes."""
    array = arrays[name]
    if array.dtype.kind not in "iu" or array.ndim != axes:
        raise ValueError(f"the array '{name}' holds no integers in {axes} axes")
    return array


def record(kind: type[T], table: Mapped[str, Any]) -> T:
    """A dataclass of whole numbers and texts from a table of JSON."""
    made = kind(**table)
    for field in fields(kind):  # type: ignore[arg-type]
        value = getattr(made, field.name)
        if field.type == "int":
            whole(value, field.name)
        elif type(value) is not str:
            raise ValueError(f"{field.name} = {value!r} is no text")
    return made


def whole(value: Any, name: str) -> int:
    """A whole number from 0 on."""
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise ValueError(f"{name} = {value!r} is no whole number from 0 on")
    return value
