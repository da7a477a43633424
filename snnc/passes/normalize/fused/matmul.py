"""Matrix products that onnxruntime fuses with what stands around them."""

from __future__ import annotations

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op
from snnc.passes.normalize.fused.applied import apply
from snnc.passes.normalize.spelling import Spelling, shape_of


def spell_matmul(graph: Graph, op: Op) -> Replacement | None:
    """FusedMatMul, TransposeMatMul: alpha A B, either operand transposed.

    transA, transB swap the last two axes; transBatchA, transBatchB bring the first axis to the
    last but one.
    """
    s = Spelling(graph, op)
    a, b = (_transposed(s, value, side) for value, side in zip(op.inputs, "AB", strict=True))
    if a is None or b is None:
        return None
    out, alpha = op.outputs[0], float(op.attrs.get("alpha", 1.0))  # type: ignore[arg-type]
    if alpha == 1:
        s.op("MatMul", a, b, into=out)
    elif op.inputs[1] in graph.consts:
        s.op("MatMul", a, s.op("Mul", b, s.const(alpha, s.dtype(b))), into=out)
    else:
        product = s.op("MatMul", a, b)
        s.op("Mul", product, s.const(alpha, s.dtype(a)), into=out)
    return s.done()


def _transposed(s: Spelling, value: str, side: str) -> str | None:
    """An operand in the order in which it is multiplied; None where its rank is unknown."""
    swap, batch = (bool(s.node.attrs.get(f"{name}{side}", 0)) for name in ("trans", "transBatch"))
    shape = shape_of(s.graph, value)
    if not (swap or batch):
        return value
    if shape is None or len(shape) < (3 if batch else 2):
        return None
    order = list(range(len(shape)))
    if batch:
        order.insert(len(order) - 2, order.pop(0))
    if swap:
        order[-2:] = order[:-3:-1]
    return s.op("Transpose", value, perm=tuple(order))


def spell_gemm(graph: Graph, op: Op) -> Replacement | None:
    """FusedGemm: Gemm and an activation function behind it."""
    s = Spelling(graph, op)
    own = {name: v for name, v in op.attrs.items() if not name.startswith("activation")}
    parameters = {
        name.removeprefix("activation_"): v
        for name, v in op.attrs.items()
        if name.startswith("activation_")
    }
    product = s.op("Gemm", *op.inputs, attrs=own)
    return apply(s, str(op.attrs.get("activation", "")), product, parameters)
