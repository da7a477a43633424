"""Which network calibration statistics belong to, so that those of another one are refused."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from snnc.errors import CompileError, few
from snnc.ir.graph import Graph
from snnc.ir.text import digest, format_graph


@dataclass(frozen=True)
class Identity:
    """A network with sites. network, sited: digests of its operations as loaded and with sites;
    weights: digest of all constants as loaded; sites: the values that sites encode.

    The names of files and the constants that normalisation computes do not enter: the latter may
    differ in their last bits from one machine to another.
    """

    network: str
    weights: str
    sited: str
    sites: tuple[str, ...]


def identity_of(ann: Graph, sited: Graph) -> Identity:
    """The identity of a network and its sites."""
    weights = hashlib.sha256()
    for name, array in sorted(ann.consts.items()):
        weights.update(f"{name} {digest(array, 64)}\n".encode())
    return Identity(
        _structure(ann),
        weights.hexdigest(),
        _structure(sited),
        tuple(site.inputs[0] for site in sited.open_sites),
    )


def _structure(graph: Graph) -> str:
    """Digest of the text form without constants and inferred types."""
    types = {name: graph.types[name] for name in graph.inputs}
    text = format_graph(replace(graph, source="", consts={}, types=types))
    return hashlib.sha256(text.encode()).hexdigest()


def require_same(found: Identity, wanted: Identity, where: str, than: str) -> None:
    """Raises CompileError saying how the network of the statistics in `where` differs from `than`.

    where, than: what the two are called, quoted.
    """
    statistics = f"the statistics in {where} are of"
    calibrate_it = "calibrate this network, or pass the statistics that belong to it"
    if found.network != wanted.network:
        raise CompileError(f"{statistics} another network than {than}", help=calibrate_it)
    if found.weights != wanted.weights:
        raise CompileError(f"{statistics} other weights than {than}", help=calibrate_it)
    if found.sites != wanted.sites:
        raise CompileError(
            f"{statistics} other sites than {than}: {_difference(found.sites, wanted.sites)}",
            help="pass --keep and --encode-input as they were in calibration, and a neuron of "
            "its kind (ttfs has sites of its own)",
        )
    if found.sited != wanted.sited:
        raise CompileError(
            f"{statistics} the network as another version of snnc normalises it",
            help="calibrate again",
        )


def _difference(found: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    parts = {
        "they lack": [f"'{v}'" for v in wanted if v not in found],
        "they have also": [f"'{v}'" for v in found if v not in wanted],
    }
    return ", ".join(f"{verb} {few(names)}" for verb, names in parts.items() if names)
