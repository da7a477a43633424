"""How well networks agree, with one another or with labels: which output, and running scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from snnc.errors import CompileError, unknown_name
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op

Measure: TypeAlias = Literal["argmax", "cosine"]

_BEHIND_LOGITS = frozenset(
    {
        *("Softmax", "LogSoftmax", "Sigmoid", "Add", "Identity", "Reshape", "Flatten", "Squeeze"),
        *("Cast", "GlobalAveragePool"),
    }
)
_LAST_LAYER = frozenset({"Gemm", "MatMul", "Conv", "Einsum"})


def primary_output(graph: Graph, name: str | None = None) -> str:
    """The output to compare: the named one, or the floating-point one computed last.

    'Last' is the greatest depth in the graph: probabilities before a label, a sentence embedding
    before the token embeddings it is pooled from.
    """
    if name is not None and name not in graph.outputs:
        raise unknown_name("output", name, graph.outputs)
    numeric = [v for v in graph.outputs if v in graph.types and graph.types[v].dtype != "str"]
    if name is not None and name in graph.types and name not in numeric:
        raise CompileError(f"output '{name}' holds text, which cannot be compared")
    floats = [v for v in numeric if graph.types[v].is_float]
    if name is not None or not numeric:
        return name or graph.outputs[0]
    depth: dict[str, int] = {}
    for node in graph.nodes:
        below = 1 + max((depth.get(v, 0) for v in node.inputs), default=0)
        depth.update(dict.fromkeys(node.outputs, below))
    return max(floats or numeric, key=lambda v: depth.get(v, 0))


def measure_of(graph: Graph, output: str) -> Measure:
    """'argmax' if `output` is one row of class scores a sample or whole numbers, else 'cosine'.

    Class scores are [N, C] and come from a last layer with weights through nothing but softmax,
    sigmoid, bias and layout.
    """
    kind = graph.types.get(output)
    if kind is not None and not kind.is_float:
        return "argmax"
    if kind is None or kind.shape is None or len(kind.shape) != 2:
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


def decisions(rows: Array) -> Array | None:
    """What rows decide: the largest of the scores [N, C], whole numbers [N, ...] as they are.

    None for a single real number a sample, or an array of them, which decide nothing.
    """
    flat = rows.reshape(len(rows), -1)
    if flat.dtype.kind in "iub":
        return flat
    one_row = flat.shape[1] > 1 and max(rows.shape[1:]) == flat.shape[1]
    return flat.argmax(axis=1)[:, None] if one_row else None


ONE_SIDED = 0.95
"""Above this share of samples with the same decision, agreement of decisions says little."""


def varied(rows: Sequence[Array]) -> bool:
    """Whether the decisions of outputs differ from sample to sample."""
    decided = [d for d in map(decisions, rows) if d is not None]
    if not decided or len({d.shape[1:] for d in decided}) > 1:
        return True
    _, counts = np.unique(np.concatenate(decided), axis=0, return_counts=True)
    return bool(counts.max() <= ONE_SIDED * counts.sum())


def centre_of(rows: Sequence[Array]) -> Array | None:
    """The mean output over all samples, whose part in a cosine says nothing about a sample.

    None where outputs differ in shape or do not vary.
    """
    if len({r.shape[1:] for r in rows}) > 1 or sum(map(len, rows)) < 2:
        return None
    pooled = np.concatenate([r.reshape(len(r), -1) for r in rows]).astype(np.float64)
    if not np.isfinite(pooled).all():
        return None
    centre = np.asarray(pooled.mean(axis=0))
    spread = np.linalg.norm(pooled - centre)
    return centre if spread > 1e-6 * np.linalg.norm(pooled) else None


class Agreement:
    """Running agreement of two streams of outputs, sample by sample.

    argmax: share of samples with the same decision, None where outputs decide nothing; cosine:
    mean cosine of the outputs less `centre`, of the whole streams where an output is one number.
    """

    def __init__(self, centre: Array | None = None) -> None:
        self._centre = np.zeros(1) if centre is None else centre
        self.samples = 0
        self._same: int | None = 0
        self._cosine = 0.0
        self._dot, self._norms, self._squared_error = 0.0, np.zeros(2), 0.0
        self._single = False

    def update(self, mine: Array, theirs: Array) -> None:
        """Adds a batch; arrays [N, ...] of equal shape. Raises CompileError if not finite."""
        a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (mine, theirs))
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise CompileError(
                f"the outputs are not finite for a sample near number {self.samples}",
                help="look for weights or samples out of range; "
                "compare another output with --output",
            )
        a, b = a - self._centre, b - self._centre
        self.samples += len(a)
        self._single = a.shape[1] == 1
        decided = decisions(mine), decisions(theirs)
        if decided[0] is None or decided[1] is None or self._same is None:
            self._same = None
        else:
            self._same += int(np.count_nonzero((decided[0] == decided[1]).all(axis=1)))
        self._dot += float((a * b).sum())
        self._norms += [float((a * a).sum()), float((b * b).sum())]
        self._squared_error += float(np.square(a - b).sum())
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        dots = (a * b).sum(axis=1)
        both_zero = (np.linalg.norm(a, axis=1) == 0) & (np.linalg.norm(b, axis=1) == 0)
        cosines = np.divide(dots, norms, out=both_zero.astype(np.float64), where=norms > 0)
        self._cosine += float(cosines.sum())

    @property
    def argmax(self) -> float | None:
        return None if self._same is None else self._same / self.samples

    @property
    def cosine(self) -> float:
        if not self._single:
            return self._cosine / self.samples
        if not self._norms.any():
            return 1.0
        return self._dot / float(np.sqrt(self._norms.prod())) if self._norms.all() else 0.0

    @property
    def relative_error(self) -> float | None:
        """Norm of the differences of all outputs over that of `theirs`; None where those are 0."""
        reference = float(self._norms[1])
        return float(np.sqrt(self._squared_error / reference)) if reference else None

    def value(self, measure: Measure) -> float:
        """The agreement by the given measure; cosine where nothing is decided."""
        decided = self.argmax
        return self.cosine if measure == "cosine" or decided is None else decided


def _require_classes(labels: Array, rows: Array) -> None:
    """Raises CompileError for labels that scores cannot decide for."""
    classes = int(np.prod(rows.shape[1:], dtype=np.int64))
    if rows.dtype.kind == "f" and not ((labels >= 0) & (labels < classes)).all():
        raise CompileError(
            f"labels go from {labels.min()} to {labels.max()}, the output has {classes} classes",
            help=f"count classes from 0 to {classes - 1}, compare another --output, or leave the "
            "labels out",
        )


class Accuracy:
    """Running share of rows that decide for their label; None without labels or decisions."""

    def __init__(self) -> None:
        self._hits: int | None = 0
        self._samples = 0

    def update(self, rows: Array, labels: Array | None) -> None:
        """Adds a batch; rows [N, ...], labels [N]. CompileError for labels of no class."""
        decided = None if labels is None else decisions(rows)
        if decided is None or labels is None or decided.shape[1] != 1 or self._hits is None:
            self._hits = None
            return
        _require_classes(labels, rows)
        self._samples += len(rows)
        self._hits += int(np.count_nonzero(decided[:, 0] == labels))

    @property
    def share(self) -> float | None:
        return None if self._hits is None or not self._samples else self._hits / self._samples
