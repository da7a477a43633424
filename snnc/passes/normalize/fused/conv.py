"""Convolutions that onnxruntime fuses with a residual sum and an activation function."""

from __future__ import annotations

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op
from snnc.passes.normalize.fused.applied import PARAMETERS, apply
from snnc.passes.normalize.spelling import Spelling


def spell_conv(graph: Graph, op: Op) -> Replacement | None:
    """FusedConv: activation(Conv(x, w, b) + z)."""
    s = Spelling(graph, op)
    x, w, b, z = (*op.inputs, "", "")[:4]
    own = {name: v for name, v in op.attrs.items() if not name.startswith("activation")}
    function = str(op.attrs.get("activation", ""))
    last = "" if function else op.outputs[0]
    value = s.op("Conv", x, w, *filter(None, (b,)), into="" if z else last, attrs=own)
    if z:
        value = s.op("Add", value, z, into=last)
    given = op.attrs.get("activation_params", ())
    numbers = given if isinstance(given, tuple) else ()
    if function == "Clip" and len(numbers) == 2:
        bounds = (s.const(float(bound), s.dtype(x)) for bound in numbers)
        s.op("Clip", value, *bounds, into=op.outputs[0])
        return s.done()
    names = PARAMETERS.get(function, ())
    if len(numbers) != len(names):
        return None
    return apply(s, function, value, dict(zip(names, numbers, strict=True)))
