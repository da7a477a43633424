"""Where cores lie: chips of routers in rows, chips side by side, and the ways between them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from snnc.backends.schedule.mapping import HOST
from snnc.ir.node import Array
from snnc.targets import Target

GATE = 0
"""The core whose router the host is connected to."""


_MOST = 2**31
"""Routers where there is no limit: their numbers are 32 bits wide."""


@dataclass(frozen=True)
class Mesh:
    """Routers of all chips, numbered chip by chip, row by row; every core has one of its number.

    A chip has rows x columns routers. Where its cores do not fill the last row, the routers behind
    them have no core. Chip n lies in shell isqrt(n) around chip 0, so that the first k^2 chips are
    a square and no chip's place depends on how many there are. Links between chips count as those
    within one.

    cores: of one chip; chips: None for as many as are needed.
    """

    columns: int
    rows: int
    cores: int
    chips: int | None

    @property
    def routers(self) -> int:
        """Of one chip."""
        return self.columns * self.rows

    @property
    def capacity(self) -> int | None:
        """Cores of the largest system; None: no limit."""
        return None if self.chips is None else self.chips * self.cores

    def has_core(self, core: int) -> bool:
        local = core % self.routers
        return self.has_router(core) and local < self.cores

    def has_router(self, router: int) -> bool:
        return 0 <= router < (_MOST if self.chips is None else self.chips * self.routers)

    def first(self, count: int) -> Array:
        """The `count` cores of lowest number."""
        chip, local = np.divmod(np.arange(count), self.cores)
        return np.asarray(chip * self.routers + local)

    def places(self, cores: Array) -> tuple[Array, Array]:
        """Column and row of each router in the mesh of all chips."""
        chip, local = np.divmod(np.asarray(cores, np.int64), self.routers)
        across, down = _shells(chip)
        row, column = np.divmod(local, self.columns)
        return across * self.columns + column, down * self.rows + row

    def router(self, column: int, row: int) -> int:
        """The number of the router at a place."""
        across, column = divmod(column, self.columns)
        down, row = divmod(row, self.rows)
        shell = max(across, down)
        chip = shell * shell + (down if across > down else shell + across)
        return chip * self.routers + row * self.columns + column

    def distance(self, a: Array, b: Array) -> Array:
        """Hops between routers."""
        (ax, ay), (bx, by) = self.places(a), self.places(b)
        return np.asarray(np.abs(ax - bx) + np.abs(ay - by))

    def neighbours(self, a: int, b: int) -> bool:
        """Whether a link joins two routers, or the host and the router it is connected to."""
        if HOST in (a, b):
            return {a, b} == {HOST, GATE}
        exist = self.has_router(a) and self.has_router(b)
        return exist and int(self.distance(np.array(a), np.array(b))) == 1

    def tree(self, core: int, targets: Iterable[int], chips: int) -> tuple[tuple[int, int], ...]:
        """Links from `core` to all targets, dimension by dimension; chips: that are in use.

        The trees of two sets of targets are parts of that of both.
        """
        wanted = sorted(set(targets) - {core})
        if not wanted:
            return ()
        links: list[tuple[int, int]] = []
        if core == HOST:
            links.append((HOST, GATE))
            core = GATE
        to_host = HOST in wanted
        if to_host:
            wanted = sorted({GATE, *wanted} - {HOST})
        (x,), (y,) = (axis.tolist() for axis in self.places(np.array([core])))
        columns, rows = (axis.tolist() for axis in self.places(np.array(wanted)))
        across = self._across_first(core, chips)
        if across:
            branches = _branches(x, y, columns, rows)
        else:
            branches = [((b, a), (d, c)) for (a, b), (c, d) in _branches(y, x, rows, columns)]
        links += [(self.router(*start), self.router(*end)) for start, end in branches]
        links += [(GATE, HOST)] * to_host
        return tuple(links)

    def _across_first(self, core: int, chips: int) -> bool:
        """Whether packets of a core go along its row first: not where chips are missing there.

        The chips in use are a rectangle and part of one more column or row of chips.
        """
        shell = math.isqrt(chips)
        spare = chips - shell * shell
        across, down = (int(axis) for axis in _shells(np.array(core // self.routers)))
        if spare <= shell:
            return spare == 0 or across == shell
        return down != shell


def mesh_of(target: Target) -> Mesh:
    """The mesh of a target; as near to a square as can be where it does not say."""
    if target.cores is None:
        return Mesh(1, 1, 1, None)
    columns = target.columns or math.isqrt(max(target.cores - 1, 0)) + 1
    return Mesh(columns, -(-target.cores // columns), target.cores, target.chips)


def _shells(chip: Array) -> tuple[Array, Array]:
    """Column and row of chips: shell k is column k from above, then row k from the left."""
    shell = np.sqrt(chip.astype(np.float64)).astype(np.int64)
    shell -= shell * shell > chip
    shell += (shell + 1) * (shell + 1) <= chip
    rest = chip - shell * shell
    beside = rest < shell
    return np.where(beside, shell, rest - shell), np.where(beside, rest, shell)


def _branches(
    x: int, y: int, columns: list[int], rows: list[int]
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Steps from (x, y) along its row, and from there along columns, each once."""
    steps = [((c, y), (c - 1, y)) for c in range(x, min(columns), -1)]
    steps += [((c, y), (c + 1, y)) for c in range(x, max(columns))]
    reach: dict[int, tuple[int, int]] = {}
    for column, row in zip(columns, rows, strict=True):
        low, high = reach.get(column, (y, y))
        reach[column] = min(low, row), max(high, row)
    for column, (low, high) in reach.items():
        steps += [((column, r), (column, r - 1)) for r in range(y, low, -1)]
        steps += [((column, r), (column, r + 1)) for r in range(y, high)]
    return steps
