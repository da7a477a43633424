"""ONNX function bodies (text, opset 21) of the operations of domain ai.snnc.

Integer operators get both operands as uint8 (weights + 128): u8 x s8 saturates on x86 without VNNI.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from snnc.ir.composed import DRIVES, Composed, composed
from snnc.ir.graph import DOMAIN
from snnc.ir.node import Neuron, Node, Op, Sides
from snnc.ir.over_time import BODIES, over_time
from snnc.ir.rate_neuron import RateNeuron
from snnc.ir.spike_times import BODIES as SPIKE_TIME_BODIES

_REFERENCE = re.compile(r": (\w+) = @(\w+)")


@dataclass(frozen=True)
class Function:
    """A body with its signature. calls: other functions of the domain that it reads."""

    name: str
    inputs: tuple[str, ...]
    body: str
    calls: tuple[Function, ...] = ()
    outputs: tuple[str, ...] = ("y",)

    @property
    def references(self) -> Mapping[str, str]:
        """Types of the attributes that the body reads, by name."""
        return {name: kind for kind, name in _REFERENCE.findall(self.body)}

    def call(self, *inputs: str) -> str:
        """The text of a call that hands on the attributes of the caller."""
        attrs = ", ".join(f"{key}: {kind} = @{key}" for key, kind in self.references.items())
        attrs = f" <{attrs}>" if attrs else ""
        return f"{DOMAIN}.{self.name}{attrs} ({', '.join(inputs)})"


def function_of(node: Node) -> Function | None:
    """The body of an operation of domain ai.snnc; None for any other node."""
    if isinstance(node, Neuron):
        once = _neuron(node.model, node.sides)
        return once if node.timesteps == 1 else _over_time(node.model, node.sides, once)
    if not isinstance(node, Op) or not node.op_type.startswith(f"{DOMAIN}."):
        return None
    name = node.op_type.removeprefix(f"{DOMAIN}.")
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    made = composed(node)
    return None if made is None else _function(made)


def _function(made: Composed) -> Function:
    """A body that calls those of its parts."""
    if made.neuron is not None and not made.drive:
        fired = _fired(made, made.neuron)
        return _repeated(made, fired) if made.repeated else fired
    drive = Function(made.drive, DRIVES[made.drive], _BODIES[made.drive])
    if made.name == made.drive:
        return drive
    lines = [f"driven = {drive.call(*drive.inputs)}"]
    calls, value = [drive], "driven"
    if made.mean:
        mean = FUNCTIONS["RunningMean"]
        lines.append(f"mean = {mean.call(value)}")
        calls.append(mean)
        value = "mean"
    if made.add:
        lines.append(f"added = Add ({value}, addend)")
        value = "added"
    if made.activation == "Gelu":
        lines.append(f"activated = {_GELU.call(value)}")
        calls.append(_GELU)
        value = "activated"
    if made.activation == "Relu":
        lines.append(f"rectified = Relu ({value})")
        value = "rectified"
    if made.kept:
        lines.append(f"kept = Identity ({value})")
    if made.neuron is not None:
        neuron = _fired(made, made.neuron)
        steps = (step if step in made.steps else "" for step in neuron.inputs[1:])
        lines.append(f"fired = {neuron.call(value, *steps)}")
        calls.append(neuron)
        value = "fired"
    lines.append(f"y = Identity ({value})")
    return Function(made.name, made.inputs, "\n".join(lines), tuple(calls), made.outputs)


def _fired(made: Composed, model: RateNeuron) -> Function:
    """The neurons of an operation."""
    once = _neuron(model, made.sides, made.count)
    return _over_time(model, made.sides, once) if made.over_time else once


def _neuron(model: RateNeuron, sides: Sides, count: bool = False) -> Function:
    name, body = model.count_function(sides) if count else model.function(sides)
    return Function(name, ("x", "positive", "negative"), body)


def _over_time(model: RateNeuron, sides: Sides, once: Function) -> Function:
    return Function(f"{once.name}OverTime", once.inputs, over_time(model, sides))


def _repeated(made: Composed, fired: Function) -> Function:
    repeat = FUNCTIONS["Repeat"]
    lines = (f"repeated = {repeat.call('x')}", f"y = {fired.call('repeated', *fired.inputs[1:])}")
    return Function(made.name, fired.inputs, "\n".join(lines), (repeat, fired))


def _zero_point(name: str, attribute: str) -> str:
    return f"""{name}_int = Constant <value_int: int = @{attribute}> ()
               {name} = Cast <to = 2> ({name}_int)"""


_UNSIGNED = f"""{_zero_point("x_zero", "zero_point")}
                half_range = Constant <value: tensor = int32 {{128}}> ()
                w_zero = Cast <to = 2> (half_range)
                w_wide = Cast <to = 6> (w)
                w_shifted = Add (w_wide, half_range)
                w_unsigned = Cast <to = 2> (w_shifted)"""

_CONV = """strides: ints = @strides, pads: ints = @pads,
           dilations: ints = @dilations, group: int = @group"""

_SWAPPED = """trans_int = Constant <value_int: int = @trans_b> ()
              trans = Cast <to = 9> (trans_int)
              batch = Shape <end = -2> (b)
              rows = Shape <start = -2, end = -1> (b)
              columns = Shape <start = -1> (b)
              entries = Mul (rows, columns)
              one = Constant <value_ints = [1]> ()
              rest = Constant <value_ints = [-1]> ()
              height = Where (trans, rows, entries)
              width = Where (trans, columns, one)
              stack = Concat <axis = 0> (rest, height, width)
              stacked = Reshape (b, stack)
              turned = Transpose <perm = [0, 2, 1]> (stacked)
              new_rows = Where (trans, columns, rows)
              new_columns = Where (trans, rows, columns)
              new_shape = Concat <axis = 0> (batch, new_rows, new_columns)
              b_matrix = Reshape (turned, new_shape)"""
"""b with its last two axes swapped where trans_b is 1: of any rank, and without a branch."""

_BODIES = {
    "SpikeLinear": f"""{_UNSIGNED}
        sums = MatMulInteger (x, w_unsigned, x_zero, w_zero)
        real = Cast <to = 1> (sums)
        scaled = Mul (real, scale)
        y = Add (scaled, bias)""",
    "SpikeConv": f"""{_UNSIGNED}
        planes = Transpose <perm: ints = @channels_first> (x)
        sums = ConvInteger <{_CONV}> (planes, w_unsigned, x_zero, w_zero)
        real = Cast <to = 1> (sums)
        rows = Transpose <perm: ints = @channels_last> (real)
        scaled = Mul (rows, scale)
        y = Add (scaled, bias)""",
    "SpikeMatMul": f"""{_zero_point("a_zero", "a_zero_point")}
        {_zero_point("b_zero", "b_zero_point")}
        {_SWAPPED}
        sums = MatMulInteger (a, b_matrix, a_zero, b_zero)
        real = Cast <to = 1> (sums)
        y = Mul (real, scale)""",
    "FloatLinear": "product = MatMul (x, w)\n y = Add (product, bias)",
    "FloatConv": f"y = Conv <{_CONV}> (x, w, bias)",
}

_COEFFICIENTS = (
    0.0705230784,
    0.0422820123,
    0.0092705272,
    0.0001520143,
    0.0002765672,
    0.0000430638,
)
"""Of 1 - erf(s) = (1 + a1 s + ... + a6 s^6)^-16, |error| < 3e-7 (Abramowitz & Stegun 7.1.28)."""


def _gelu() -> str:
    lines = [f"p6 = Constant <value_float = {_COEFFICIENTS[-1]!r}> ()"]
    for power in range(5, -1, -1):
        a = (1.0, *_COEFFICIENTS)[power]
        lines.append(
            f"""a{power} = Constant <value_float = {a!r}> ()
                m{power} = Mul (p{power + 1}, s)
                p{power} = Add (m{power}, a{power})"""
        )
    return "\n".join(lines)


_GELU = Function(
    "ErfGelu",
    ("z",),
    f"""zero = Constant <value_float = 0.0> ()
        half = Constant <value_float = 0.5> ()
        two = Constant <value_float = 2.0> ()
        one = Constant <value_float = 1.0> ()
        root = Constant <value_float = 0.70710678118654752> ()
        size = Abs (z)
        s = Mul (size, root)
        {_gelu()}
        q2 = Mul (p0, p0)
        q4 = Mul (q2, q2)
        q8 = Mul (q4, q4)
        q16 = Mul (q8, q8)
        r = Div (one, q16)
        rest = Sub (two, r)
        below = Less (z, zero)
        low = Where (below, r, rest)
        halved = Mul (half, z)
        y = Mul (halved, low)""",
)

_POOL = """planes = Transpose <perm: ints = @channels_first> (x)
            largest = MaxPool <kernel_shape: ints = @kernel_shape, strides: ints = @strides,
                               pads: ints = @pads, dilations: ints = @dilations> (planes)
            y = Transpose <perm: ints = @channels_last> (largest)"""

_WEIGHTS = """whole = Cast <to = 1> (w)
               zero_real = Cast <to = 1> (zero)
               shifted = Sub (whole, zero_real)
               y = Mul (shifted, scale)"""

FUNCTIONS = {
    "Silu": Function("Silu", ("x",), "s = Sigmoid (x)\n y = Mul (x, s)"),
    "MaxPoolCounts": Function("MaxPoolCounts", ("x",), _POOL),
    "IntegerWeights": Function("IntegerWeights", ("w", "scale", "zero"), _WEIGHTS),
    **{name: Function(name, ("x",), body) for name, body in BODIES.items()},
    **{name: Function(name, *made) for name, made in SPIKE_TIME_BODIES.items()},
}
"""Operations that are not composed; Silu is an ONNX operation only from opset 24 (Swish)."""

MAX_POOL_COUNTS = f"{DOMAIN}.MaxPoolCounts"
"""The largest spike count of positive neurons in each window of [B, spatial..., C]."""

INTEGER_WEIGHTS = f"{DOMAIN}.IntegerWeights"
"""DequantizeLinear of constants in an artifact; scale and zero point in broadcast shape."""
