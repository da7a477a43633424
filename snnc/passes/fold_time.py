"""FoldTime: a spiking network over several timesteps, folded into the batch axis (spec 2.7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from snnc.errors import CompileError
from snnc.ir.coding import with_spikes
from snnc.ir.flow import Flow
from snnc.ir.graph import Graph, Stage
from snnc.ir.node import Array, Attribute, Coding, Dim, Loc, Neuron, Node, Op, Type, real
from snnc.ir.ops import ONNX_TYPE, POINTWISE, SYNAPTIC
from snnc.ir.time import LAST, REPEAT, RUNNING_MEAN, TELESCOPE, Form, is_affine, is_timeless
from snnc.runtime import Session

MOST = 4096
"""Timesteps beyond which nobody would wait for a result."""


@dataclass(frozen=True)
class FoldTime:
    """The inputs repeated at every timestep, the outputs their means over time.

    What comes before the first neurons, layers on the raw input say, is computed once and then
    repeated. Values behind are [T * N, ...], time first.
    """

    timesteps: int

    name: ClassVar[str] = "fold-time"
    before: ClassVar[Stage] = Stage.SPIKING
    after: ClassVar[Stage] = Stage.SPIKING

    def __post_init__(self) -> None:
        whole = isinstance(self.timesteps, int) and not isinstance(self.timesteps, bool)
        if not whole or not 1 <= self.timesteps <= MOST:
            raise CompileError(
                f"timesteps must be an integer from 1 to {MOST}, not {self.timesteps!r}"
            )

    def __call__(self, graph: Graph) -> Graph:
        return graph if self.timesteps == 1 else _Folding(graph, self.timesteps).graph()


_POOLS = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}

_BATCHWISE = POINTWISE | _POOLS | {"BatchNormalization", "Add", "Sub", "Mul", "Div"}
"""Operations on a batch that compute each sample from itself, given constants for all samples."""

_ACROSS_BATCH = {"DynamicQuantizeLinear", "com.microsoft.DynamicQuantizeMatMul"}
"""Operations whose rounding depends on all samples, too little to be seen where it is tried out."""


class _Folding:
    """The nodes so far. single: values that are still [N, ...]; forms: of those that depend on
    time; made: values in another shape or form."""

    def __init__(self, graph: Graph, timesteps: int) -> None:
        self._outer = {
            v: graph.fresh(f"{v}.over_time") for v in graph.outputs if v in graph.producer
        }
        self._graph, self._timesteps = graph, timesteps
        shapes = (graph.types[v].shape for v in graph.inputs)
        self._batch = {shape[0] for shape in shapes if shape and shape[0] is not None}
        self._nodes: list[Node] = []
        self._types, self._consts = dict(graph.types), dict(graph.consts)
        self._types |= {inner: graph.types[v] for v, inner in self._outer.items()}
        self._single = {v for v in graph.inputs if graph.types[v].shape != ()}
        self._forms: dict[str, Form] = {}
        self._made: dict[tuple[str, str], str] = {}
        self._loc = {v: node.loc for node in graph.nodes for v in node.outputs}

    def graph(self) -> Graph:
        """The folded graph."""
        for node in self._graph.nodes:
            self._add(node)
        for name, inner in self._outer.items():
            self._finish(name, inner)
        folded = replace(
            self._graph,
            nodes=tuple(self._nodes),
            types=self._types,
            consts=self._consts,
            timesteps=self._timesteps,
        )
        plain = {name: replace(t, coding=Coding.REAL) for name, t in folded.types.items()}
        return with_spikes(replace(folded, types=plain)).pruned()

    def _inner(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self._outer.get(name, name) for name in names)

    def _add(self, node: Node) -> None:
        node = replace(node, inputs=self._inner(node.inputs), outputs=self._inner(node.outputs))
        made = [name for name in node.outputs if name]
        self._loc |= dict.fromkeys(made, node.loc)
        if isinstance(node, Op) and self._stays_single(node):
            self._nodes.append(node)
            self._single.update(made)
            return
        inputs = tuple(self._repeated(v) if v in self._single else v for v in node.inputs)
        form = None
        if isinstance(node, Neuron):
            form, node = Form.INSTANT, replace(node, timesteps=self._timesteps)
        elif isinstance(node, Op) and (varying := self._varying(node, inputs)):
            if node.op_type in _ACROSS_BATCH:
                message = "its step comes from all samples of a batch, here from all timesteps"
                raise self._graph.error(message, node, "quantise statically, or take one timestep")
            read = {self._forms[v] for v in varying}
            alike = len(read) == 1 and is_affine(self._graph, replace(node, inputs=inputs), varying)
            form = read.pop() if alike else Form.MEAN
        if form is not None:
            inputs = tuple(self._as(v, form) for v in inputs)
            self._forms |= dict.fromkeys(made, form)
        self._nodes.append(replace(node, inputs=inputs))
        for name in made:
            self._types[name] = self._folded(self._types[name])

    def _varying(self, op: Op, inputs: tuple[str, ...]) -> frozenset[str]:
        """What depends on time of the inputs that an operation computes on."""
        return frozenset() if is_timeless(op) else frozenset(inputs) & self._forms.keys()

    def _stays_single(self, op: Op) -> bool:
        """Whether an operation computes each sample of the raw input from itself."""
        computed = [v for v in op.inputs if v and v not in self._consts]
        if computed != [op.inputs[0]] or computed[0] not in self._single:
            return False
        shape = self._types[computed[0]].shape
        if not shape or op.attrs.get("transA", 0):
            return False
        if op.op_type in SYNAPTIC - {"Einsum"}:
            return len(shape) > 1
        others = [self._consts[v].shape for v in op.inputs[1:] if v]
        told_apart = any(len(s) >= len(shape) and s[-len(shape)] != 1 for s in others)
        return op.op_type in _BATCHWISE and not told_apart

    def _repeated(self, value: str) -> str:
        """A value that does not depend on time, for every timestep."""
        kind = self._folded(self._types[value])
        return self._op(REPEAT, value, f"{value}.repeated", kind)

    def _as(self, value: str, form: Form) -> str:
        """A value in the given form; one that does not depend on time has both."""
        if self._forms.get(value, form) is form:
            return value
        kind = self._types[value]
        op_type = RUNNING_MEAN if form is Form.MEAN else TELESCOPE
        single = value
        if kind.dtype != "float32":
            wide = replace(kind, dtype="float32")
            single = self._op("Cast", value, f"{value}.float32", wide, to=ONNX_TYPE["float32"])
        name = f"{value}.{form.value}"
        converted = self._op(op_type, single, name, real("float32", kind.shape))
        if kind.dtype != "float32":
            to = ONNX_TYPE[kind.dtype]
            kind = real(kind.dtype, kind.shape)
            converted = self._op("Cast", converted, f"{name}.{kind.dtype}", kind, to=to)
        self._forms[converted] = form
        return converted

    def _op(self, op_type: str, value: str, name: str, kind: Type, **attrs: Attribute) -> str:
        """An operation of one input, made once."""
        key = op_type, value
        if key not in self._made:
            self._made[key] = name = self._graph.fresh(name, self._types)
            loc = self._loc.get(value, Loc((value,)))
            own = {"timesteps": self._timesteps} if "." in op_type else {}
            self._nodes.append(Op((name,), (value,), loc, op_type, {**own, **attrs}))
            self._types[name] = kind
            self._loc[name] = loc
        return self._made[key]

    def _folded(self, kind: Type) -> Type:
        """The type with T * N samples."""
        if not kind.shape:
            return kind
        first, *others = kind.shape
        dims: list[Dim] = [None if d in self._batch and isinstance(d, str) else d for d in others]
        open_batch = isinstance(first, str) or first in self._batch
        return replace(kind, shape=(None if open_batch else first, *dims))

    def _finish(self, name: str, inner: str) -> None:
        """The output: the mean over all timesteps, which is the last one so far."""
        loc = self._loc[inner]
        if inner in self._single or name not in Flow(self._graph).data:
            self._nodes.append(Op((name,), (inner,), loc, "Identity"))
            return
        mean = self._as(inner, Form.MEAN)
        self._nodes.append(Op((name,), (mean,), loc, LAST, {"timesteps": self._timesteps}))


def require_foldable(
    calibrated: Graph, folded: Graph, first: Mapping[str, Array], second: Mapping[str, Array]
) -> None:
    """Raises CompileError unless samples lie along the first axis of whatever neurons read and of
    the outputs, each computed from itself alone: it cannot be read from a graph, so that it is
    tried out on two samples, which should differ.

    calibrated: the network with its sites, which are continuous; folded: must run, too.
    """
    taps = tuple(site.inputs[0] for site in calibrated.sites)
    session = Session(calibrated, taps=taps)
    alone = [session.run(feeds) for feeds in (first, second)]
    with _as_a_batch(folded):
        both = session.run(
            {v: np.concatenate([a, second[v]]) if a.ndim else a for v, a in first.items()}
        )
    reached = Flow(calibrated).data
    read = {site.inputs[0]: site for site in calibrated.sites}
    made = {v: p for v, p in calibrated.producer.items() if v in reached & {*calibrated.outputs}}
    for value, node in (read | made).items():
        if _apart(both[value], [values[value] for values in alone]):
            where = "what these neurons read" if value in read else f"output '{value}'"
            raise calibrated.error(
                f"the first axis of {where} is not that of the samples, or samples of a batch "
                "depend on each other: timesteps cannot be folded into it",
                node,
                _OPEN_AXIS,
            )
    with _as_a_batch(folded):
        Session(folded).run(first)


_OPEN_AXIS = "export the network with an open first axis for the batch, or take one timestep"


@contextmanager
def _as_a_batch(folded: Graph) -> Iterator[None]:
    """Says of networks that do not run that they cannot run several timesteps."""
    try:
        yield
    except CompileError as error:
        raise CompileError(
            f"the network cannot run {folded.timesteps} timesteps as a batch: {error.message}",
            at=error.at,
            help=_OPEN_AXIS,
        ) from None


def _apart(found: Array, parts: Sequence[Array]) -> bool:
    """Whether an array is not those of single samples, one behind the other; numbers may differ by
    what a network makes of float rounding, integers may be decided by it."""
    if any(part.shape[1:] != found.shape[1:] or not part.ndim for part in parts):
        return True
    wanted = np.concatenate(parts)
    if found.shape != wanted.shape:
        return True
    if found.dtype.kind != "f":
        return False
    return bool(np.linalg.norm(found - wanted) > 0.1 * np.linalg.norm(wanted))
