"""The spiking intermediate representation: one immutable graph that every pass refines."""

from __future__ import annotations

import enum
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from snnc.errors import CompileError
from snnc.ir.node import Array, Neuron, Node, Op, Site, Type, same_mapping

OPSET = 21
"""Version of the default ONNX domain that every Op is written in; onnxruntime 1.20 loads it."""

DOMAIN = "ai.snnc"
"""Domain of every operation snnc adds to ONNX."""


class Stage(enum.IntEnum):
    """How far the pipeline has refined a graph; each stage runs and equals the one before it."""

    ANN = 0
    SITED = 1
    CALIBRATED = 2
    THRESHOLDED = 3
    SPIKING = 4


@dataclass(frozen=True)
class Replacement:
    """What takes the place of one node: nodes, and the constants and types they bring along."""

    nodes: tuple[Node, ...]
    types: Mapping[str, Type] = field(default_factory=dict)
    consts: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A network. The graph is the only state of the compiler.

    inputs, outputs: value names in the order of the original model; types: of every value that
    is not a constant; consts: read-only arrays; domains: versions of the other ONNX domains used;
    source: file name the model came from.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, Type]
    consts: Mapping[str, Array]
    stage: Stage = Stage.ANN
    timesteps: int = 1
    domains: Mapping[str, int] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("types", "consts", "domains"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        for array in self.consts.values():
            array.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        plain = (
            "name",
            "inputs",
            "outputs",
            "nodes",
            "types",
            "stage",
            "timesteps",
            "domains",
            "source",
        )
        return all(getattr(self, f) == getattr(other, f) for f in plain) and same_mapping(
            self.consts, other.consts
        )

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """The node that computes each value (graph inputs and constants have none)."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def readers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value; a node reading it twice is named once."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def only_reader(self, value: str) -> Node | None:
        """The node that reads `value` if it is the only one and `value` is no graph output."""
        readers = self.readers.get(value, ())
        return readers[0] if len(readers) == 1 and value not in self.outputs else None

    def op(self, value: str, *op_types: str) -> Op | None:
        """The Op computing `value` if its type is one of `op_types` (any, if none given)."""
        node = self.producer.get(value)
        if isinstance(node, Op) and (not op_types or node.op_type in op_types):
            return node
        return None

    def scalar(self, value: str) -> float | None:
        """The number held by a one-element constant, None for anything else."""
        array = self.consts.get(value)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Site))

    @property
    def open_sites(self) -> tuple[Site, ...]:
        """The sites whose neuron is chosen: all that are no quantiser of the network."""
        return tuple(site for site in self.sites if site.role != "quantizer")

    @property
    def neurons(self) -> tuple[Neuron, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Neuron))

    def rewrite(self, fn: Callable[[Node], Replacement | None]) -> Graph:
        """The graph with every node for which `fn` gives a Replacement replaced by it.

        A replacement may only read values defined before the node it replaces. Nodes whose
        results nobody reads any more, and their constants and types, are dropped.
        """
        nodes: list[Node] = []
        types, consts = dict(self.types), dict(self.consts)
        for node in self.nodes:
            new = fn(node)
            if new is None:
                nodes.append(node)
            else:
                nodes.extend(new.nodes)
                types.update(new.types)
                consts.update(new.consts)
        return replace(self, nodes=tuple(nodes), types=types, consts=consts).pruned()

    def pruned(self) -> Graph:
        """Without nodes, types and constants that no output needs."""
        needed = set(self.outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(name for name in node.inputs if name)
        kept.reverse()
        alive = needed.union(self.inputs).union(name for node in kept for name in node.outputs)
        typed = alive - self.consts.keys()
        return replace(
            self,
            nodes=tuple(kept),
            types={name: t for name, t in self.types.items() if name in typed},
            consts={name: c for name, c in self.consts.items() if name in needed},
        )

    def fresh(self, base: str, taken: Container[str] = ()) -> str:
        """A value name not yet in use, nor in `taken`, as near to `base` as possible."""
        name, n = base, 1
        while name in self.names or name in taken:
            name, n = f"{base}.{n}", n + 1
        return name

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all values, those inside bodies included."""
        found = {*self.types, *self.consts}
        for node in self.nodes:
            if isinstance(node, Op):
                found.update(*(body.graph.names for body in node.bodies.values()))
        return frozenset(found)

    def describe(self, node: Node) -> str:
        """Where a node comes from, for error messages."""
        kind = node.op_type if isinstance(node, Op) else type(node).__name__.lower()
        name = node.loc.names[0] if node.loc.names else node.outputs[0]
        of = f" of {self.source}" if self.source else ""
        return f"node '{name}' ({kind}){of}"

    def error(self, message: str, node: Node, help: str | None = None) -> CompileError:
        """A CompileError that points at `node`."""
        from snnc.ir.text import format_node

        return CompileError(
            message, at=self.describe(node), line=format_node(self, node), help=help
        )
