"""How well two networks agree: which output counts, argmax or cosine, and the running score."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from snnc.errors import unknown_name
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op

Measure: TypeAlias = Literal["argmax", "cosine"]

_BEHIND_LOGITS = frozenset(
    {
        "Softmax",
        "LogSoftmax",
        "Sigmoid",
        "Add",
        "Identity",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Cast",
        "GlobalAveragePool",
    }
)
_LAST_LAYER = frozenset({"Gemm", "MatMul", "Conv", "Einsum"})


def primary_output(graph: Graph, name: str | None = None) -> str:
    """The output to compare: the named one, or the floating-point one computed last.

    'Last' is the greatest depth in the graph: probabilities before a label, a sentence embedding
    before the token embeddings it is pooled from.
    """
    if name is not None:
        if name not in graph.outputs:
            raise unknown_name("output", name, graph.outputs)
        return name
    floats = [v for v in graph.outputs if v in graph.types and graph.types[v].is_float]
    if not floats:
        return graph.outputs[0]
    depth: dict[str, int] = {}
    for node in graph.nodes:
        below = 1 + max((depth.get(v, 0) for v in node.inputs), default=0)
        depth.update(dict.fromkeys(node.outputs, below))
    return max(floats, key=lambda v: depth.get(v, 0))


def measure_of(graph: Graph, output: str) -> Measure:
    """'argmax' if `output` is one row of class scores a sample, else 'cosine'.

    Class scores are [N, C] and come from a last layer with weights through nothing but softmax,
    sigmoid, bias and layout.
    """
    kind = graph.types.get(output)
    if kind is None or not kind.is_float or kind.shape is None or len(kind.shape) != 2:
        return "cosine"
    if kind.shape[1] == 1:
        return "cosine"
    value = output
    while (op := graph.op(value)) is not None:
        if op.op_type in _LAST_LAYER:
            return "argmax"
        if op.op_type not in _BEHIND_LOGITS:
            return "cosine"
        value = _onward(graph, op)
    return "cosine"


def _onward(graph: Graph, op: Op) -> str:
    return next((v for v in op.inputs if v and v not in graph.consts), op.inputs[0])


class Agreement:
    """Running agreement of two streams of outputs, sample by sample.

    argmax: share of samples with the same largest entry; cosine: mean cosine of the outputs.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._same = 0
        self._cosine = 0.0

    def update(self, mine: Array, theirs: Array) -> None:
        """Adds a batch; arrays [N, ...] of equal shape."""
        a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (mine, theirs))
        self.samples += len(a)
        self._same += int(np.count_nonzero(a.argmax(axis=1) == b.argmax(axis=1)))
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        dots = (a * b).sum(axis=1)
        both_zero = (np.linalg.norm(a, axis=1) == 0) & (np.linalg.norm(b, axis=1) == 0)
        cosines = np.divide(dots, norms, out=both_zero.astype(np.float64), where=norms > 0)
        self._cosine += float(cosines.sum())

    @property
    def argmax(self) -> float:
        return self._same / self.samples

    @property
    def cosine(self) -> float:
        return self._cosine / self.samples

    def value(self, measure: Measure) -> float:
        return self.argmax if measure == "argmax" else self.cosine
