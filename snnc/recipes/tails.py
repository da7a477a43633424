"""Running only what lies behind a site, on activations of the trained network that are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Node, Site
from snnc.runtime import Session

MEMORY = 2**29
"""Bytes of activations that are held in memory; what goes beyond lies in temporary files."""


@dataclass(frozen=True)
class Tail:
    """What lies behind a site. graph: with the site as its first node; it reads what `inputs`
    name: activations of the trained network."""

    site: Site
    graph: Graph

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.graph.inputs


def tail_of(sited: Graph, site: Site, output: str) -> Tail | None:
    """The nodes between a site and an output; None where the output does not depend on it."""
    behind = {*site.outputs}
    nodes: list[Node] = [site]
    for node in sited.nodes:
        if behind.intersection(node.inputs):
            behind.update(node.outputs)
            nodes.append(node)
    if output not in behind:
        return None
    inner = replace(sited, nodes=tuple(nodes), outputs=(output,), inputs=()).pruned()
    made = {name for node in inner.nodes for name in node.outputs}
    read = dict.fromkeys(name for node in inner.nodes for name in node.inputs if name)
    inputs = tuple(name for name in read if name not in made and name not in sited.consts)
    return Tail(site, replace(inner, inputs=inputs, types={**sited.types}).pruned())


class Activations:
    """Values of the trained network for some samples, batch by batch, in bounded memory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._batches: list[dict[str, Array | Path]] = []
        self._held = 0

    def add(self, values: Mapping[str, Array]) -> None:
        """Keeps the values of one more batch."""
        kept: dict[str, Array | Path] = {}
        for name, array in values.items():
            self._held += array.nbytes
            if self._held <= MEMORY or array.dtype.hasobject:
                kept[name] = np.array(array)
                continue
            kept[name] = file = self._directory / f"{len(self._batches)}-{len(kept)}.npy"
            np.save(file, array)
            self._held -= array.nbytes
        self._batches.append(kept)

    def batches(self, names: Iterable[str]) -> Iterator[dict[str, Array]]:
        """Some of the values, batch by batch."""
        wanted = tuple(names)
        for batch in self._batches:
            yield {name: _read(batch[name]) for name in wanted}


def _read(kept: Array | Path) -> Array:
    return np.asarray(np.load(kept)) if isinstance(kept, Path) else kept


@contextmanager
def activations(
    graph: Graph,
    feeds: Iterable[Mapping[str, Array]],
    names: Iterable[str],
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[Activations]:
    """The named values of a graph (its inputs among them) for batches of samples."""
    wanted = tuple(dict.fromkeys(names))
    inner = tuple(name for name in wanted if name not in graph.inputs)
    session = Session(graph, taps=inner)
    with tempfile.TemporaryDirectory(prefix="snnc-") as directory:
        kept = Activations(Path(directory))
        for done, batch in enumerate(feeds, 1):
            values = {**session.run(batch), **batch}
            try:
                kept.add({name: values[name] for name in wanted})
            except OSError as error:
                raise CompileError(
                    f"activations cannot be kept in '{directory}': {error.strerror or error}",
                    help="make room there, or set TMPDIR to a folder with more",
                ) from None
            progress(done)
        yield kept
