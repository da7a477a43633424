"""Single operations in float64, as onnx's reference implementation performs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from onnx.reference import ReferenceEvaluator

from snnc.export import export
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op, real
from snnc.membrane.pooling import pooled
from snnc.membrane.transposed import transposed_convolution

_RETYPING = frozenset({"Cast", "CastLike"})

_REFUSALS = (NotImplementedError, RuntimeError, TypeError, ValueError)
"""What onnx.reference raises for operations whose functions it holds in float32, and the like."""


def operations(graph: Graph) -> Iterator[Op]:
    """The operations of a network of spike times, in order."""
    for node in graph.nodes:
        if not isinstance(node, Op):
            raise graph.error("the simulation knows neurons that fire at most once only", node)
        yield node


class Reference:
    """Performs the operations of a graph one at a time."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._evaluators: dict[str, ReferenceEvaluator] = {}

    def __call__(self, op: Op, inputs: Sequence[Array | None]) -> list[Array]:
        """Results by position; None for an absent input.

        If any input is float64, all real numbers are: a cast between their formats changes none.
        """
        wide = any(x is not None and x.dtype == np.float64 for x in inputs)
        if wide:
            inputs = [x if x is None or x.dtype.kind != "f" else _float64(x) for x in inputs]
        first = inputs[0] if inputs else None
        to_real = self._graph.types[op.outputs[0]].is_float
        if op.op_type in _RETYPING and wide and to_real and first is not None:
            return [first]
        same = str(op.attrs.get("auto_pad", "")).startswith("SAME")
        if op.op_type == "MaxPool" and same and any(op.outputs[1:]):
            message = "the simulation does not know the indices of a MaxPool with auto_pad"
            raise self._graph.error(message, op)
        if first is not None:
            own = pooled(op, first)
            own = transposed_convolution(op, inputs) if own is None else own
            if own is not None:
                return [own.astype(first.dtype)]
        key = op.outputs[0]
        if key not in self._evaluators:
            self._evaluators[key] = self._evaluator(op)
        named = zip(op.inputs, inputs, strict=True)
        feeds = {name: x for name, x in named if name and x is not None}
        with np.errstate(all="ignore"):
            try:
                results = self._evaluators[key].run(None, feeds)
            except _REFUSALS as error:
                message = "onnx's reference implementation cannot perform this in float64"
                raise self._graph.error(message, op) from error
        found = iter(np.asarray(result) for result in results)
        return [next(found) if name else np.zeros(0) for name in op.outputs]

    def _evaluator(self, op: Op) -> ReferenceEvaluator:
        graph = self._graph
        inputs = tuple(dict.fromkeys(filter(None, op.inputs)))
        outputs = tuple(filter(None, op.outputs))
        given = {v: real(str(graph.consts[v].dtype), None) for v in inputs if v in graph.consts}
        types = {v: graph.types[v] for v in (*inputs, *outputs) if v in graph.types} | given
        alone = Graph("op", inputs, outputs, (op,), types, {}, domains=graph.domains)
        try:
            return ReferenceEvaluator(export(alone).model)
        except NotImplementedError as error:
            raise graph.error("the simulation knows no such operation", op) from error


def _float64(array: Array) -> Array:
    return array.astype(np.float64)
