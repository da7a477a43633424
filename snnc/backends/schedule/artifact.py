"""The schedule as a directory (docs/schedule.md): a manifest, the network, where and when."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping as Mapped
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from snnc.backends.schedule.cells import chip_layers
from snnc.backends.schedule.directory import (
    FORMAT,
    MANIFEST,
    NETWORK,
    PLACEMENT,
    ROUTES,
    SYNAPSES,
    TARGET,
    WEIGHTS,
)
from snnc.backends.schedule.layers import Network, operation
from snnc.backends.schedule.mapping import HOST, Buffer, Mapping, Slot
from snnc.backends.schedule.records import (
    integers,
    record,
    route_arrays,
    routes_from,
    tile_arrays,
    tiles_from,
    whole,
)
from snnc.backends.schedule.validate import validate
from snnc.backends.schedule.weights import synapse_arrays
from snnc.errors import CompileError
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array
from snnc.ir.parse import parse_graph
from snnc.ir.text import format_graph
from snnc.ir.verify import verify
from snnc.npz import DAMAGED, npy_array, write_npz
from snnc.targets import Target, load_target

VERSION = 1

_WRITE_AGAIN = "write it again: snnc schedule"


@dataclass(frozen=True, eq=False)
class Schedule:
    """A network on a chip. target_text: the TOML file of the target."""

    network: Network
    target: Target
    mapping: Mapping
    target_text: str

    @property
    def host(self) -> tuple[str, ...]:
        """Names of the layers that the host computes."""
        cores = self.mapping.cores
        return tuple(
            layer.name
            for layer in self.network.layers
            if not layer.is_input and (cores[layer.start : layer.start + layer.cells] == HOST).any()
        )

    @property
    def graph(self) -> Graph:
        return self.network.graph


def write_schedule(schedule: Schedule, directory: Path) -> None:
    """Writes all files but the events into an empty directory."""
    graph, mapping = schedule.graph, schedule.mapping
    (directory / NETWORK).write_text(format_graph(graph), encoding="utf-8")
    write_npz(directory / WEIGHTS, graph.consts)
    write_npz(directory / SYNAPSES, synapse_arrays(graph, schedule.target))
    (directory / TARGET).write_text(schedule.target_text, encoding="utf-8")
    write_npz(directory / PLACEMENT, {"cell_core": mapping.cores, **tile_arrays(mapping.tiles)})
    write_npz(directory / ROUTES, route_arrays(mapping.routes))
    (directory / MANIFEST).write_text(json.dumps(manifest(schedule), indent=1), encoding="utf-8")


def manifest(schedule: Schedule) -> dict[str, Any]:
    """What manifest.json holds."""
    network, mapping = schedule.network, schedule.mapping
    slots, host = {slot.layer: slot for slot in mapping.slots}, schedule.host
    layers = [
        {
            "name": layer.name,
            "first_cell": layer.start,
            "shape": list(layer.shape),
            "operations": [operation(node) for node in layer.nodes],
            "neurons": [node.outputs[0] for node in layer.neurons],
            "host": layer.name in host,
            "timeline": asdict(slots[i]) if i in slots else None,
        }
        for i, layer in enumerate(network.layers)
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": network.graph.source,
        "target": schedule.target.name,
        "timesteps": network.graph.timesteps,
        "period": mapping.period,
        "ticks": mapping.ticks,
        "cores": mapping.used,
        "cells": network.cells,
        "inputs": list(network.graph.inputs),
        "outputs": list(network.graph.outputs),
        "shapes": {name: list(shape) for name, shape in network.run_shapes.items()},
        "layers": layers,
        "buffers": [asdict(buffer) for buffer in mapping.buffers],
    }


def load_schedule(directory: str | Path) -> Schedule:
    """The schedule of a directory. CompileError where a file is missing, damaged, of another
    version, or does not go with the others."""
    directory = Path(directory)
    found = _read_manifest(directory)
    try:
        made = _read(directory, found)
    except CompileError as error:
        raise CompileError(
            f"the schedule '{directory}' is damaged: {error.message}",
            at=error.at,
            line=error.line,
            help=_WRITE_AGAIN,
        ) from None
    except (*DAMAGED, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CompileError(
            f"the schedule '{directory}' is damaged: {_reason(error)}", help=_WRITE_AGAIN
        ) from None
    wanted = json.loads(json.dumps(manifest(made)))
    wrong = sorted(key for key in {**found, **wanted} if found.get(key) != wanted.get(key))
    if wrong:
        raise CompileError(
            f"the schedule '{directory}' is damaged: '{wrong[0]}' of {MANIFEST} does not go with "
            "the other files",
            help=_WRITE_AGAIN,
        )
    validate(made.network, made.mapping, made.target)
    return made


def _read(directory: Path, found: dict[str, Any]) -> Schedule:
    consts = _arrays(directory / WEIGHTS)
    graph = parse_graph((directory / NETWORK).read_text(encoding="utf-8"), consts)
    verify(graph, Stage.SPIKING)
    _require_same(graph.consts, consts, WEIGHTS)
    network = chip_layers(graph, _shapes(graph, found["shapes"]))
    text = (directory / TARGET).read_text(encoding="utf-8")
    if not isinstance(found["target"], str):
        raise ValueError(f"target = {found['target']!r} is no name")
    target = replace(load_target(directory / TARGET), name=found["target"])
    _require_same(synapse_arrays(graph, target), _arrays(directory / SYNAPSES), SYNAPSES)
    placement, routes = _arrays(directory / PLACEMENT), _arrays(directory / ROUTES)
    mapping = Mapping(
        integers(placement, "cell_core"),
        tiles_from(placement),
        routes_from(routes),
        tuple(record(Slot, x["timeline"]) for x in found["layers"] if x["timeline"]),
        tuple(record(Buffer, x) for x in found["buffers"]),
        whole(found["period"], "period"),
        whole(found["ticks"], "ticks"),
    )
    return Schedule(network, target, mapping, text)


def _require_same(shown: Mapped[str, Array], stored: Mapped[str, Array], file: str) -> None:
    """The arrays that follow from network.txt are those of a file."""
    for name in {**shown, **stored}:
        one, other = shown.get(name), stored.get(name)
        if one is other:
            continue
        if one is None or other is None or not _alike(one, other):
            raise ValueError(f"{file} does not hold the '{name}' of {NETWORK}")


def _alike(one: Array, other: Array) -> bool:
    """To the bit."""
    kinds = (one.dtype, one.shape) == (other.dtype, other.shape)
    return kinds and one.tobytes() == other.tobytes()


def _shapes(graph: Graph, given: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of values as the manifest holds them, of the rank that each value has."""
    shapes = {v: tuple(whole(size, v) for size in shape) for v, shape in given.items()}
    for value, shape in shapes.items():
        known = graph.types[value].shape
        if known is not None and len(known) != len(shape):
            raise ValueError(f"'{value}' has {len(known)} axes, not {len(shape)}")
    return shapes


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{Path(error.filename).name}: {error.strerror}"
    return f"there is no {error}" if isinstance(error, KeyError) else str(error)


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CompileError(
            f"cannot read the schedule '{directory}': {error.strerror or error}",
            help="pass a directory that snnc schedule wrote",
        ) from None
    except (ValueError, RecursionError) as error:
        raise CompileError(f"'{path}' is no manifest: {error}", help=_WRITE_AGAIN) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise CompileError(
            f"'{path}' is no manifest of a schedule",
            help="pass a directory that snnc schedule wrote",
        )
    if found.get("version") != VERSION:
        raise CompileError(
            f"'{path}' has version {found.get('version')} of the format, this snnc reads {VERSION}",
            help=_WRITE_AGAIN,
        )
    return found


def _arrays(path: Path) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy"): npy_array(archive, name) for name in archive.namelist()}
