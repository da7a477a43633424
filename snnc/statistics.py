"""Files of calibration statistics: one serves every neuron, percentile and scale factor.

The format is described in docs/statistics.md.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snnc.data import Feeds
from snnc.errors import CompileError
from snnc.files import replacing, require_writable
from snnc.identity import Identity, require_same
from snnc.ir.node import Array
from snnc.npz import DAMAGED, STATISTICS, npy_checked, write_npz
from snnc.passes.calibration import Calibration
from snnc.passes.sketch import Accumulator, AccumulatorState
from snnc.reservoir import Kept, Reservoir
from snnc.shards import Part, Shard

VERSION = 1
"""Of the format; a file of another one is refused."""


@dataclass(frozen=True)
class SavedStatistics:
    """What a file holds: a calibration and the network it belongs to."""

    identity: Identity
    calibration: Calibration


def write_statistics(saved: SavedStatistics, path: Path) -> None:
    """Writes the file whole or not at all."""
    arrays = _arrays(saved)
    with replacing(path) as directory:
        write_npz(directory / path.name, arrays, compressed=True)


def read_statistics(path: Path) -> SavedStatistics:
    """The statistics in a file; CompileError if there are none, or if they cannot be right."""
    try:
        with zipfile.ZipFile(path) as archive:
            if f"{STATISTICS}.npy" not in archive.namelist():
                raise CompileError(
                    f"'{path}' holds no calibration statistics",
                    help="snnc calibrate writes them; samples are passed as --calibration",
                )
            header = json.loads(npy_checked(archive, f"{STATISTICS}.npy").item())
            if header["version"] != VERSION:
                raise CompileError(
                    f"'{path}' has version {header['version']} of the format of statistics, this "
                    f"snnc reads version {VERSION}",
                    help="calibrate again",
                )
            return _saved(header, lambda name: npy_checked(archive, f"{name}.npy"))
    except FileNotFoundError:
        raise CompileError(f"there is no file '{path}'") from None
    except (*DAMAGED, KeyError, TypeError, AttributeError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CompileError(
            f"'{path}' is not a readable file of statistics: {words}",
            help="write it again with snnc calibrate",
        ) from None


def _arrays(saved: SavedStatistics) -> dict[str, Array]:
    """The members of the file."""
    calibration, reservoir = saved.calibration, saved.calibration.reservoir
    states = [calibration.accumulators[site].state() for site in saved.identity.sites]
    groups = _groups(reservoir)
    inputs = list(groups[0][0].feeds)
    header = {
        "version": VERSION,
        "identity": asdict(saved.identity),
        "mask_input": calibration.mask_input,
        "parts": [asdict(part) for part in calibration.parts],
        "single": reservoir.single,
        "splittable": reservoir.splittable,
        "largest": reservoir.largest,
        "inputs": inputs,
        "groups": len(groups),
    }
    arrays = {
        STATISTICS: np.array(json.dumps(header).encode()),
        "counts": np.array([state.counts for state in states], np.int64),
        "numbers": np.array([state.numbers for state in states], np.float64),
    }
    for i, state in enumerate(states):
        arrays[f"values/{i}"] = state.waiting
        arrays[f"sketch/{i}"] = np.frombuffer(state.sketch, np.uint8)
    for i, group in enumerate(groups):
        arrays[f"places/{i}"] = np.array([kept.place for kept in group], np.int64)
        for j, name in enumerate(inputs):
            stacked = np.stack([kept.feeds[name] for kept in group])
            arrays[f"samples/{i}/{j}"] = stacked.astype(str) if stacked.dtype == "O" else stacked
    return arrays


def _groups(reservoir: Reservoir) -> list[list[Kept]]:
    """The kept samples by the shapes and types of their arrays."""
    groups: dict[Any, list[Kept]] = {}
    for kept in reservoir.kept():
        alike = tuple((array.shape, array.dtype) for array in kept.feeds.values())
        groups.setdefault(alike, []).append(kept)
    return list(groups.values())


def _saved(header: Mapping[str, Any], array: Callable[[str], Array]) -> SavedStatistics:
    """What `_arrays` made the members of; ValueError and the like if that cannot be."""
    identity = Identity(**header["identity"] | {"sites": tuple(header["identity"]["sites"])})
    parts = tuple(Part(**part | {"shard": Shard(**part["shard"])}) for part in header["parts"])
    counts, numbers = array("counts"), array("numbers")
    shape = (len(identity.sites), 3)
    if (counts.shape, numbers.shape) != (shape, shape) or counts.dtype != np.int64:
        raise ValueError("its statistics are not those of its sites")
    if not isinstance(header["mask_input"], str | None):
        raise ValueError("its mask input has no name")
    accumulators = {}
    for i, site in enumerate(identity.sites):
        state = AccumulatorState(
            tuple(counts[i].tolist()),
            tuple(numbers[i].tolist()),
            array(f"values/{i}"),
            array(f"sketch/{i}").tobytes(),
        )
        accumulators[site] = Accumulator.restored(state)
    reservoir = Reservoir.restored(
        _kept(header, array),
        single=header["single"],
        splittable=header["splittable"],
        seen=sum(part.samples for part in parts),
        largest=header["largest"],
    )
    return SavedStatistics(
        identity, Calibration(accumulators, reservoir, parts, header["mask_input"])
    )


def _kept(header: Mapping[str, Any], array: Callable[[str], Array]) -> Iterator[tuple[int, Feeds]]:
    """The samples kept in the file with their places."""
    for i in range(header["groups"]):
        stacks = [array(f"samples/{i}/{j}") for j in range(len(header["inputs"]))]
        if any(a.dtype.kind == "f" and not np.isfinite(a).all() for a in stacks):
            raise ValueError("a sample is not finite")
        held = array(f"places/{i}")
        places = held.tolist()
        if held.dtype != np.int64 or held.ndim != 1 or min(places, default=0) < 0:
            raise ValueError("a sample has no place")
        for place, *sample in zip(places, *stacks, strict=True):
            yield place, dict(zip(header["inputs"], sample, strict=True))


def merge_statistics(paths: Iterable[str | Path], out: str | Path) -> Calibration:
    """Merges files of statistics of one network into a new one, and tells what is in it.

    Merged shards equal one calibration over all samples: exactly where it is exact, within the
    sketch's rank error beyond. Raises CompileError for files of different networks or masks, and
    for samples that would count twice.
    """
    files = [Path(path) for path in paths]
    require_writable(Path(out), *files)
    if not files:
        raise CompileError("there are no statistics to merge", help="pass at least one file")
    merged = read_statistics(files[0])
    for path in files[1:]:
        merged = _merged(merged, read_statistics(path), f"'{path}'", f"'{files[0]}'")
    write_statistics(merged, Path(out))
    return merged.calibration


def _merged(
    first: SavedStatistics, more: SavedStatistics, where: str, than: str
) -> SavedStatistics:
    require_same(more.identity, first.identity, where, than)
    mine, theirs = first.calibration, more.calibration
    if theirs.mask_input != mine.mask_input:
        raise CompileError(
            f"{where} was calibrated with {theirs.mask}, {than} with {mine.mask}",
            help="calibrate all shards with the same --mask-input",
        )
    if _layout(theirs) != _layout(mine):
        raise CompileError(
            f"the samples of {where} and {than} are laid out in different ways",
            help="calibrate on arrays with the same axes",
        )
    return SavedStatistics(first.identity, mine.merged(theirs, where))


def _layout(calibration: Calibration) -> tuple[bool, bool]:
    return calibration.reservoir.single, calibration.reservoir.splittable
