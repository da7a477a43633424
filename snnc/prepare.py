"""All that needs no data: a network normalised, its sites placed, what will become of each node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from onnx import ModelProto

from snnc.coverage import Coverage, coverage_of, coverage_of_refused
from snnc.errors import CompileError, unknown_name
from snnc.frontend import load
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array
from snnc.ir.text import format_type
from snnc.passes.normalize import Normalize
from snnc.passes.place_sites import PlaceSites, nothing_to_convert
from snnc.passes.spike_times.place import PlaceSpikeTimes
from snnc.pipeline import Watcher, run_passes
from snnc.spike_time_coverage import spike_time_coverage

Model: TypeAlias = str | Path | ModelProto | Graph
"""A trained network: a file, a message or a graph."""


@dataclass(frozen=True)
class Prepared:
    """ann: the network as loaded; normal: normalised; sited: with its sites."""

    ann: Graph
    normal: Graph
    sited: Graph


def prepare(
    model: Model,
    *,
    keep: tuple[str, ...] = (),
    encode_input: bool = False,
    verify: bool = False,
    watch: Watcher | None = None,
) -> tuple[Graph, Graph]:
    """The network as loaded, and normalised with its sites placed.

    verify: check on random data that no rewriting changes an output. Raises CompileError for what
    cannot be compiled, a network without sites included.
    """
    ann, sited = _sited(model, keep, encode_input, verify, watch)
    refusal = nothing_to_convert(sited, keep)
    if refusal is not None:
        raise refusal
    return ann, sited


def prepare_spike_times(
    model: Model,
    *,
    keep: tuple[str, ...] = (),
    verify: bool = False,
    watch: Watcher | None = None,
) -> Prepared:
    """The network as loaded, normalised, and in layers of neurons that fire at most once."""
    ann = _trained(model)
    normal = run_passes(ann, (Normalize(verify),), watch)
    sited = run_passes(normal, (PlaceSpikeTimes(keep),), watch)
    return Prepared(ann, normal, sited)


def check(
    model: Model,
    *,
    keep: str | Iterable[str] = (),
    encode_input: bool = False,
    verify: bool = False,
    spike_times: bool = False,
) -> Coverage:
    """What will become of every operation; `refusal` is set if the network cannot be compiled.

    spike_times: with neurons that fire at most once, in place of those that count.

    Raises CompileError for a file that is no network at all.
    """
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    try:
        ann = _loaded(model)
    except CompileError as error:
        if not error.refused:
            raise
        return coverage_of_refused(error)
    if spike_times:
        return _check_spike_times(_trained(ann), keep, verify)
    try:
        _, sited = _sited(ann, keep, encode_input, verify, None)
    except CompileError as error:
        return Coverage((), None, None, refusal=error)
    return replace(coverage_of(sited), refusal=nothing_to_convert(sited, keep))


def _check_spike_times(ann: Graph, keep: tuple[str, ...], verify: bool) -> Coverage:
    normal = run_passes(ann, (Normalize(verify),))
    coverage, refusal = spike_time_coverage(normal, keep), None
    try:
        run_passes(normal, (PlaceSpikeTimes(keep),))
    except CompileError as error:
        refusal = error
    return replace(coverage, refusal=refusal)


def fix_inputs(graph: Graph, values: Mapping[str, Array | float]) -> Graph:
    """The network with inputs made constants, so that what depends on them can be folded.

    A single number fills an input of fixed dimensions; an array must have a shape that the input
    takes. Raises CompileError for an unknown input and for what does not fit.
    """
    consts = {name: _fixed(graph, name, value) for name, value in values.items()}
    inputs = tuple(name for name in graph.inputs if name not in consts)
    return replace(graph, inputs=inputs, consts={**graph.consts, **consts}).pruned()


def _fixed(graph: Graph, name: str, given: Array | float) -> Array:
    if name not in graph.inputs:
        raise unknown_name("input", name, graph.inputs)
    try:
        value = np.asarray(given)
    except ValueError:  # a ragged list
        raise CompileError(f"what input '{name}' is fixed to is no array") from None
    kind = graph.types[name]
    wanted = f"input '{name}' is {format_type(kind)}"
    dims = kind.shape if kind.shape is not None else value.shape
    if value.ndim == 0 and all(isinstance(d, int) for d in dims):
        value = np.full([d for d in dims if isinstance(d, int)], value)
    fits = len(dims) == value.ndim and all(
        not isinstance(d, int) or d == n for d, n in zip(dims, value.shape, strict=False)
    )
    if not fits:
        raise CompileError(
            f"{wanted}, which {list(value.shape) or 'one number'} does not fit",
            at=graph.source or None,
            help="pass an array of its shape: NAME=FILE.npy",
        )
    with np.errstate(all="ignore"):
        held = value.astype(kind.dtype)
    if value.dtype.kind not in "biuf" or not np.allclose(
        held.astype(np.float64), value.astype(np.float64), rtol=1e-6, atol=0
    ):
        raise CompileError(f"{wanted}, which cannot hold {_example(value)}")
    return held


def _example(value: Array) -> str:
    return f"{value.ravel()[0]:g}" if value.dtype.kind in "biuf" else f"{value.dtype}"


def _loaded(model: Model) -> Graph:
    if not isinstance(model, (str, Path, ModelProto, Graph)):
        raise CompileError(
            f"a {type(model).__name__} is no model", help="pass a path, a ModelProto or a Graph"
        )
    return model if isinstance(model, Graph) else load(model)


def _trained(model: Model) -> Graph:
    """The network, which must not spike yet."""
    ann = _loaded(model)
    if ann.stage != Stage.ANN:
        raise CompileError(
            "the model is a spiking network already",
            at=ann.source or None,
            help="pass the trained network it was compiled from",
        )
    return ann


def _sited(
    model: Model,
    keep: tuple[str, ...],
    encode_input: bool,
    verify: bool,
    watch: Watcher | None,
) -> tuple[Graph, Graph]:
    ann = _trained(model)
    return ann, run_passes(ann, (Normalize(verify), PlaceSites(keep, encode_input)), watch)
