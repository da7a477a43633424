"""Operations that stay real, in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op
from snnc.membrane.reference import Reference


class Real:
    """Performs the operations of a graph one at a time on numbers."""

    def __init__(self, graph: Graph) -> None:
        self._perform = Reference(graph)

    def __call__(self, op: Op, inputs: Sequence[Array | None]) -> list[Array]:
        """Results by position; None for an absent input."""
        fast, first = _FAST.get(op.op_type), inputs[0] if inputs else None
        if fast is not None and first is not None:
            result = fast(op, first)
            if result is not None:
                return [np.asarray(result, first.dtype)]
        return self._perform(op, inputs)


def _gelu(op: Op, x: Array) -> Array | None:
    if op.attrs.get("approximate", "none") != "none":
        return None
    wide = x.astype(np.float64)
    return np.asarray(0.5 * wide * (1 + _erf(op, wide * np.sqrt(0.5))))


def _erf(op: Op, x: Array) -> Array:
    from scipy.special import erf  # here, as other commands start faster without it

    return np.asarray(erf(x.astype(np.float64)))


_FAST: Mapping[str, Callable[[Op, Array], Array | None]] = {
    "Gelu": _gelu,
    "Erf": _erf,
}
"""Operations that onnx's reference implementation performs entry by entry in Python."""
