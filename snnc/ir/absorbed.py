"""What neurons perform besides: the rectifiers in front of them, the quantisers they came from."""

from __future__ import annotations

from dataclasses import dataclass

from snnc.ir.graph import Graph
from snnc.ir.node import Op, Site
from snnc.ir.ops import PERMUTING, rectifier_bound
from snnc.ir.quantizer import imported


@dataclass(frozen=True)
class Absorbed:
    """A ReLU that a site's neuron performs itself.

    reader: first result of the node that will read the rectifier's input instead of its output;
    bound: upper bound of the rectifier.
    """

    rectifier: Op
    reader: str
    bound: float


def absorbed_rectifier(graph: Graph, site: Site) -> Absorbed | None:
    """The ReLU or Clip from 0 that feeds `site`, directly or through layout that only it reads.

    A quantiser's neuron rectifies by firing no negative spikes, so it must have positive ones.
    """
    value, reader = site.inputs[0], site.outputs[0]
    found, alone = imported(graph, site), True
    if found is not None:
        value = found.x
        alone = all(graph.only_reader(op.outputs[0]) for op in found.nodes)
        if not found.highest:
            return None
    while (op := graph.op(value)) is not None:
        bound = rectifier_bound(graph, op)
        if bound is not None:
            return Absorbed(op, reader, bound)
        if op.op_type not in PERMUTING or graph.only_reader(value) is None or not alone:
            return None
        value, reader = op.inputs[0], op.outputs[0]
    return None


def performed(graph: Graph) -> frozenset[str]:
    """Results of the operations that neurons perform for all who read them."""
    readers: dict[str, set[str]] = {}
    for site in graph.sites:
        found, rectified = imported(graph, site), absorbed_rectifier(graph, site)
        reader = site.outputs[0]
        for op in reversed(found.nodes if found else ()):
            readers.setdefault(op.outputs[0], set()).add(reader)
            reader = op.outputs[0]
        if rectified is not None:
            direct = rectified.reader == site.outputs[0]
            last = readers.setdefault(rectified.rectifier.outputs[0], set())
            last.add(reader if direct else rectified.reader)
    done: set[str] = set()
    for node in reversed(graph.nodes):
        value = node.outputs[0]
        if value in readers and value not in graph.outputs:
            others = {r.outputs[0] for r in graph.readers[value]} - readers[value]
            if not others and done >= readers[value] & readers.keys():
                done.add(value)
    return frozenset(done)
