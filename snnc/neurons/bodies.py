"""Parts of function bodies (ONNX text, opset 21) that neuron models share."""

from __future__ import annotations

from snnc.ir.node import Sides

CONSTANTS = """zero = Constant <value_float = 0.0> ()
               one = Constant <value_float = 1.0> ()
               two = Constant <value_float = 2.0> ()"""

SIDE = """{sign}_raw = Div ({unit}, {sign})
          {sign}_dead = IsInf ({sign}_raw)
          {sign}_inverse = Where ({sign}_dead, one, {sign}_raw)
          {sign}_step = Where ({sign}_dead, zero, {size})"""
"""Inverse of a step and size of a spike; a dead branch counts with an inverse of 1 and emits 0."""

CAPPED = """bound = Constant <value_float: float = @bound> ()
            u = Min (x, bound)"""

DRIVE: dict[Sides, str] = {
    "both": """minus_inverse = Neg (negative_inverse)
            up = Mul ({u}, positive_inverse)
            rise = ThresholdedRelu <alpha = 0.0> (up)
            down = Mul ({u}, minus_inverse)
            fall = ThresholdedRelu <alpha = 0.0> (down)
            drive = Sub (rise, fall)""",
    "positive": """size = ThresholdedRelu <alpha = 0.0> ({u})
            drive = Mul (size, positive_inverse)""",
    "negative": """mirrored = Neg ({u})
            size = ThresholdedRelu <alpha = 0.0> (mirrored)
            drive = Mul (size, negative_inverse)""",
}
"""The input in units of the step, without NaN: ThresholdedRelu takes it to 0, which Min, Max and
Clip hand on. Of a negative branch alone its size."""

FIRE: dict[Sides, str] = {
    "both": """gain = Relu (count)
            gained = Mul (gain, positive_step)
            loss = Clip (count, , zero)
            lost = Mul (loss, negative_step)
            {y} = Add (gained, lost)""",
    "positive": """emitted = Mul (count, positive_step)
            {y} = Relu (emitted)""",
    "negative": """emitted = Mul (count, negative_step)
            {y} = Sub (zero, emitted)""",
}
"""Without -0.0, and with an operation behind each Mul that keeps it out of the next layer."""

COUNT = """zero_point = Constant <value_float = {zero_point}> ()
           shifted = Add (counted, zero_point)
           y = Cast <to = 2> (shifted)"""

SILENT = "shape = Shape (x)\n y = ConstantOfShape (shape)"
SILENT_COUNT = "s = Shape (x)\n y = ConstantOfShape <value: tensor = uint8[1] {0}> (s)"


def sides_of_steps(sides: Sides, unit: str, size: str) -> str:
    """Inverse and size of a spike for each living sign; size: a value, {sign} its sign."""
    signs = [sign for sign in ("positive", "negative") if sides in (sign, "both")]
    return "\n".join(SIDE.format(sign=s, unit=unit, size=size.format(sign=s)) for s in signs)
