"""Convolutions that onnxruntime fuses with a residual sum and an activation function."""

from __future__ import annotations

from snnc.ir.graph import Graph, Replacement
from snnc.ir.node import Op
from snnc.passes.normalize.fused.applied import PARAMETERS, apply
from snnc.passes.normalize.spelling import Spelling


def spell_conv(graph: Graph, op: Op) -> Replacement | None:
    """FusedConv: activation(Conv(x, w, b) + z); bias, z and activation are optional."""
    s = Spelling(graph, op)
    x, w, b, z = (*op.inputs, "", "")[:4]
    own = {name: v for name, v in op.attrs.items() if not name.startswith("activation")}
    active = "activation" in op.attrs
    last = "" if active else op.outputs[0]
    value = s.op("Conv", x, w, *filter(None, (b,)), into="" if z else last, attrs=own)
    if z:
        value = s.op("Add", value, z, into=last)
    return _activated(s, value) if active else s.done()


def _activated(s: Spelling, value: str) -> Replacement | None:
    function, given = str(s.node.attrs["activation"]), s.node.attrs.get("activation_params", ())
    numbers = given if isinstance(given, tuple) else ()
    if function == "Clip" and len(numbers) == 2:
        bounds = (s.const(float(bound), s.dtype(value)) for bound in numbers)
        s.op("Clip", value, *bounds, into=s.node.outputs[0])
        return s.done()
    names = PARAMETERS.get(function, ())
    if len(numbers) != len(names):
        return None
    return apply(s, function, value, dict(zip(names, numbers, strict=True)))
