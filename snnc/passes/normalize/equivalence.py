"""Whether a rewritten graph still computes what it did, on random data."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from snnc.data import Feeds
from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.ir.ops import AFFINE, RANDOM, SYNAPTIC
from snnc.random_data import NOMINAL_DIMS, random_feeds
from snnc.runtime import Session, shape_name

TOLERANCE = {"bfloat16": 8e-2, "float16": 1e-2}
"""Difference allowed, relative to the largest entry of an output, by the coarsest type in use."""

DEFAULT_TOLERANCE = 2e-5
"""The same for float32 and float64."""

_NUDGE = 2.0**-22
"""Relative change of the weights that shows how far rounding alone moves an output: two ulp."""

_NUDGES = 10
"""How many times that a rule may move an output of a network that exaggerates rounding."""

_INSTEAD = "compile without --verify, and compare the networks with snnc eval on your own data"


class Equivalence:
    """Runs every graph it is shown on the same random samples, and compares it with the last one.

    onnxruntime's own rewriting is off. Integers that are decided from real numbers (an argmax) may
    differ where those numbers agree: a tie may fall either way.
    """

    def __init__(self, graph: Graph) -> None:
        """Raises CompileError if the network runs on random data of no common size."""
        for node in graph.nodes:
            if isinstance(node, Op) and node.op_type in RANDOM:
                raise graph.error(
                    "a network that draws random numbers cannot be verified", node, help=_INSTEAD
                )
        self._graph = graph
        self._feeds, self._values = _first_run(graph)

    def check(self, graph: Graph, rule: str) -> None:
        """Raises CompileError if `graph`, made of the last one by `rule`, has other outputs."""
        values = Session(graph, optimize=False).run(self._feeds)
        for name in graph.outputs:
            before, after = self._values[name], values[name]
            if (before.dtype, before.shape) != (after.dtype, after.shape):
                how = f"{_kind(before)} became {_kind(after)}"
            elif self._agree(graph, name, size := difference(before, after)):
                continue
            elif _is_real(before):
                how = f"by {size:.2g} of its largest entry"
            else:
                how = f"{size:.2g} of its entries"
            raise CompileError(
                f"the rule {rule} changes output '{name}': {how}",
                at=graph.source or None,
                line=_exchanged(self._graph, graph),
                help="this is a defect of snnc: please report it, with the model if you may",
            )
        self._graph, self._values = graph, values

    def _agree(self, graph: Graph, output: str, size: float) -> bool:
        """Whether rounding explains a difference of `size`."""
        if not _is_real(self._values[output]):
            return size == 0 or self._is_tie(graph, output)
        return size <= _tolerance(self._graph) or size <= _NUDGES * self._sensitivity(output)

    def _sensitivity(self, output: str) -> float:
        """What a change of all weights by two ulp does to an output; 0 where that is no change."""
        try:
            nudged = Session(_nudged(self._graph), optimize=False).run(self._feeds)[output]
        except CompileError:  # a number that decided about a shape
            return 0.0
        before = self._values[output]
        return difference(before, nudged) if nudged.shape == before.shape else 0.0

    def _is_tie(self, graph: Graph, output: str) -> bool:
        """Whether both graphs decide an output by the same steps, from real numbers that agree."""
        decision = _decision(self._graph, output)
        reals, _ = decision
        if not reals or decision != _decision(graph, output):
            return False
        before, after = (
            Session(g, taps=reals, optimize=False).run(self._feeds) for g in (self._graph, graph)
        )
        return all(
            before[v].shape == after[v].shape
            and difference(before[v], after[v]) <= _tolerance(self._graph)
            for v in reals
        )


def difference(before: Array, after: Array) -> float:
    """Largest difference of two arrays of one shape relative to the largest entry of `before`.

    Of anything but real numbers, the share of entries that differ. NaN equals NaN, and infinities
    themselves; a number that stops being finite differs infinitely.
    """
    if not before.size:
        return 0.0
    if not _is_real(before):
        return float(np.mean(before != after))
    a, b = before.astype(np.float64), after.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return float("inf")
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    a, b = a[finite], b[finite]
    error, scale = (float(np.max(np.abs(v), initial=0.0)) for v in (a - b, a))
    return error / scale if scale else float("inf") if error else 0.0


def _first_run(graph: Graph) -> tuple[Feeds, Feeds]:
    """Random samples that the network runs on, and its outputs; two samples where it takes them.

    Sizes at which something is empty, or an output holds no number, are passed over.
    """
    reals = tuple(v for v, kind in graph.types.items() if kind.is_float)
    session = Session(graph, shapes_of=reals, optimize=False)
    error: CompileError | None = None
    for samples in (2, 1):
        for dim in NOMINAL_DIMS:
            try:
                feeds = random_feeds(graph, samples, dim)
                values = session.run(feeds)
            except CompileError as raised:
                error = error or raised
                continue
            outputs = {name: values[name] for name in graph.outputs}
            computed = all(values[shape_name(value)].all() for value in reals)
            if computed and all(_says_something(array) for array in outputs.values()):
                return feeds, outputs
    raise CompileError(
        "the network cannot be verified: on random data of no common size it computes a number",
        at=graph.source or None,
        line=error.message if error else None,
        help=_INSTEAD,
    )


def _says_something(array: Array) -> bool:
    return bool(array.size) and (
        not _is_real(array) or bool(np.isfinite(array.astype(float)).any())
    )


def _tolerance(graph: Graph) -> float:
    dtypes = {kind.dtype for kind in graph.types.values()}
    return next((t for dtype, t in TOLERANCE.items() if dtype in dtypes), DEFAULT_TOLERANCE)


def _nudged(graph: Graph) -> Graph:
    """The graph with every use of a weight, scale or shift changed by a random part of two ulp.

    Each use by itself, as the rounding of each operation is its own; single numbers stay, for some
    have to be exact: 1 - mask, and the arithmetic of shapes.
    """
    rng = np.random.default_rng(0)
    consts, nodes = dict(graph.consts), list(graph.nodes)
    for i, node in enumerate(nodes):
        if not isinstance(node, Op) or not _weighs(node):
            continue
        inputs = list(node.inputs)
        for place, value in enumerate(inputs):
            array = graph.consts.get(value)
            if array is not None and array.dtype.kind == "f" and array.size > 1:
                inputs[place] = graph.fresh(f"{value}.{i}.{place}")
                change = 1 + _NUDGE * rng.uniform(-1, 1, array.shape)
                consts[inputs[place]] = (array * change).astype(array.dtype)
        nodes[i] = replace(node, inputs=tuple(inputs))
    return replace(graph, nodes=tuple(nodes), consts=consts).pruned()


def _weighs(op: Op) -> bool:
    return op.op_type in SYNAPTIC | AFFINE or op.op_type.endswith("Normalization")


def _decision(graph: Graph, output: str) -> tuple[tuple[str, ...], list[Op]]:
    """The real numbers that an output of another type is decided from, and the deciding steps."""
    reals: dict[str, None] = {}
    steps: dict[str, Op] = {}
    waiting = [output]
    while waiting:
        op = graph.op(waiting.pop())
        if op is None or op.outputs[0] in steps:
            continue
        steps[op.outputs[0]] = op
        for value in op.inputs:
            kind = graph.types.get(value)
            if kind is not None and kind.is_float:
                reals[value] = None
            else:
                waiting.append(value)
    return tuple(reals), list(steps.values())


def _is_real(array: Array) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _kind(array: Array) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _exchanged(before: Graph, after: Graph) -> str:
    """The operations that went and those that came, for an error message."""
    old, new = (Counter(n.op_type for n in g.nodes if isinstance(n, Op)) for g in (before, after))
    gone, come = (
        (" ".join(sorted((a - b).elements())) or "nothing") for a, b in ((old, new), (new, old))
    )
    return f"{gone} -> {come}"
