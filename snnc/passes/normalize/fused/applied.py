"""The activation function at the end of a fused layer."""

from __future__ import annotations

from collections.abc import Mapping

from snnc.ir.graph import Replacement
from snnc.ir.node import Attribute
from snnc.passes.normalize.spelling import Spelling

PARAMETERS = {
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "HardSwish": (),
    "Softplus": (),
    "Softsign": (),
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}
"""Functions that are ONNX operations of the same name, with the attributes they must be given."""


def apply(
    s: Spelling, function: str, value: str, parameters: Mapping[str, Attribute]
) -> Replacement | None:
    """Ends the spelling with an activation function; None for one that is not known like this."""
    if function not in PARAMETERS or set(parameters) != set(PARAMETERS[function]):
        return None
    s.op(function, value, into=s.node.outputs[0], attrs=parameters)
    return s.done()
