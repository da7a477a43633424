"""Sites and neurons by name: what people call them, and which neuron lives at which site."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from snnc.errors import CompileError, unknown_name
from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Array, Neuron, Node, Op, Site
from snnc.ir.ops import PERMUTING, multiplied, operands
from snnc.ir.weights import quantized, weight
from snnc.passes.normalize import Normalize
from snnc.passes.place_sites import PlaceSites
from snnc.pipeline import run_passes

ROUNDED = 0.1
"""Relative distance of weights and the integers that stand for them, at most."""


def site_names(graph: Graph) -> dict[str, str]:
    """A name for every site, by its output: the original node that computes the activation.

    Where one node computes the activations of several sites, the name of the value instead.
    """
    times = Counter(site.loc.names[0] for site in graph.sites)
    return {
        site.outputs[0]: site.loc.names[0] if times[site.loc.names[0]] == 1 else site.inputs[0]
        for site in graph.sites
    }


def layers_of(graph: Graph, site: Site) -> tuple[str, ...]:
    """The layers that a site drives, named as in `snnc inspect --layers`."""
    return tuple(reader.loc.names[0] for reader in graph.readers.get(site.outputs[0], ()))


def find_site(graph: Graph, name: str) -> Site:
    """The site called `name`: by its own name, or by the layer it alone drives.

    Raises CompileError for an unknown name and for a layer that several sites drive.
    """
    names = site_names(graph)
    own = [s for s in graph.sites if name in (names[s.outputs[0]], s.inputs[0])]
    found = own or [s for s in graph.sites if name in (*s.loc.names, *layers_of(graph, s))]
    if len(found) > 1:
        raise CompileError(
            f"'{name}' has {len(found)} sites",
            known=[names[site.outputs[0]] for site in found],
            help="name one of them",
        )
    if found:
        return found[0]
    layers = {layer for site in graph.sites for layer in layers_of(graph, site)}
    raise unknown_name("site", name, {*names.values(), *layers})


@dataclass(frozen=True)
class Pairing:
    """A trained network with sites, and the neuron that a spiking network has at each of them.

    neurons: by name of the site's output, which is also the name of the spikes.
    """

    sited: Graph
    neurons: Mapping[str, Neuron]


def pair(ann: Graph, snn: Graph) -> Pairing:
    """The sites of `ann` that are neurons in `snn`. Raises CompileError if it is not its ANN."""
    everywhere = run_passes(ann, (Normalize(), PlaceSites(encode_input=True)))
    sited = everywhere.rewrite(_as_read_by(snn, everywhere)).pruned()
    known = {site.outputs[0] for site in sited.sites}
    neurons = {_spikes_of(snn, neuron, known): neuron for neuron in snn.neurons}
    if neurons.keys() != known:
        raise _unrelated(ann, snn, "its neurons are not at the sites of this network")
    theirs = {node.outputs[0]: node for node in snn.nodes if isinstance(node, Op)}
    for node in sited.nodes:
        if isinstance(node, Op) and multiplied(node):
            other = theirs.get(node.outputs[0])
            if other is None or not _same_weights(sited, node, snn, other):
                raise _unrelated(ann, snn, f"the weights of '{node.loc.names[0]}' differ")
    return Pairing(sited, neurons)


def _as_read_by(snn: Graph, sited: Graph) -> Callable[[Node], Replacement | None]:
    """Layers that read no spikes in `snn` (kept analog) read the activation itself."""
    reads = {node.outputs[0]: frozenset(node.inputs) for node in snn.nodes}
    behind = {site.outputs[0]: site.inputs[0] for site in sited.sites}

    def rule(node: Node) -> Replacement | None:
        if not isinstance(node, Op) or not operands(node):
            return None
        mine = reads.get(node.outputs[0], frozenset())
        inputs = tuple(v if v in mine else behind.get(v, v) for v in node.inputs)
        return Replacement((replace(node, inputs=inputs),))

    return rule


def _spikes_of(snn: Graph, neuron: Neuron, known: set[str]) -> str:
    """The value of a site: behind a Cast where activations are not float32, and behind the
    layout that a neuron was moved in front of when the network was written."""
    value = neuron.outputs[0]
    while value not in known and isinstance(reader := snn.only_reader(value), Op):
        if reader.op_type not in PERMUTING | {"Cast"} or reader.inputs[0] != value:
            break
        value = reader.outputs[0]
    return value


def _same_weights(mine: Graph, op: Op, theirs: Graph, other: Op) -> bool:
    pairs = list(zip(multiplied(op), multiplied(other), strict=False))
    return len(multiplied(op)) == len(multiplied(other)) and all(
        _alike(_matrix(mine, op, a), _matrix(theirs, other, b), quantized(theirs, b) is not None)
        for a, b in pairs
    )


def _matrix(graph: Graph, op: Op, value: str) -> Array | None:
    """Constant weights in the one form that a layer of matrices has when it is read again."""
    array = weight(graph, value)
    if array is None or op.op_type != "Gemm":
        return array
    turned = array.T if op.integer("transB", 0) else array
    return np.asarray(turned * np.float32(op.attrs.get("alpha", 1.0)))  # type: ignore[arg-type, operator]


def _alike(mine: Array | None, theirs: Array | None, rounded: bool) -> bool:
    """Whether weights are the same, or those that were rounded to 8 bits."""
    if mine is None or theirs is None:
        return mine is theirs
    if not rounded or mine.shape != theirs.shape:
        return np.array_equal(mine, theirs)
    distance = np.linalg.norm(np.asarray(theirs - mine, np.float64))
    return bool(distance <= ROUNDED * np.linalg.norm(np.asarray(mine, np.float64)))


def _unrelated(ann: Graph, snn: Graph, why: str) -> CompileError:
    return CompileError(
        f"the spiking network was not compiled from this network: {why}",
        at=snn.source or None,
        help=f"pass the network it was compiled from, or compile {ann.source or 'this one'} again",
    )


def steps_of(snn: Graph, neuron: Neuron) -> tuple[Array, Array]:
    """Base step of positive and of negative spikes, one or one a channel; 0 for a branch that never
    fires."""
    zero = np.zeros((), np.float32)
    positive, negative = (snn.consts[s] if s else zero for s in neuron.inputs[1:])
    return positive, negative


def steps_at(snn: Graph, neuron: Neuron) -> tuple[float, float]:
    """The same as one number each: the mean where channels have their own."""
    positive, negative = (float(step.mean()) for step in steps_of(snn, neuron))
    return positive, negative
