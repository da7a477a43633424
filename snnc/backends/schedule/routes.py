"""Multicast trees from the cores of each layer to all that read it."""

from __future__ import annotations

from snnc.backends.schedule.mapping import HOST, Route
from snnc.backends.schedule.mesh import Mesh
from snnc.backends.schedule.reach import Reach
from snnc.ir.node import Array


def routes_of(reach: Reach, mesh: Mesh, cores: Array) -> tuple[Route, ...]:
    """One for each layer and core whose spikes or numbers leave it; cores: of the mesh, by the
    numbers that `reach` has for them."""
    chips = chips_in_use(cores, mesh)
    found = []
    for (layer, core), reached in zip(reach.units, reach.targets, strict=True):
        if reached:
            here = _placed(core, cores)
            targets = tuple(sorted(_placed(target, cores) for target in reached))
            found.append(Route(layer, here, targets, mesh.tree(here, targets, chips)))
    return tuple(found)


def chips_in_use(cores: Array, mesh: Mesh) -> int:
    """How many chips there are up to the last that holds any of `cores`."""
    return int(cores.max(initial=0)) // mesh.routers + 1


def _placed(core: int, cores: Array) -> int:
    return HOST if core == HOST else int(cores[core])
