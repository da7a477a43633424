"""Function bodies (ONNX text, opset 21) of neurons over several timesteps: a Scan over one."""

from __future__ import annotations

import re
from typing import Literal

from snnc.ir.node import Sides
from snnc.ir.rate_neuron import RateNeuron

_SIGNS: tuple[Literal["positive", "negative"], ...] = ("positive", "negative")

_WORD = re.compile(r"[A-Za-z_]\w*")


def over_time(model: RateNeuron, sides: Sides) -> str:
    """The body of RateNeuron.over_time for x [T * N, ...], time first; T: attribute `timesteps`.

    What does not depend on the input stands in front of the Scan: onnx.reference hands attributes
    to no function inside one.
    """
    if sides == "silent":
        return model.function(sides)[1]
    if not model.dual:
        constants, scan = _scan(model, sides, "unfolded", "fired")
        return "\n".join([_UNFOLD, *constants, scan, _FOLD])
    constants, scans, fired = [], [], []
    for sign in _SIGNS:
        if sides in (sign, "both"):
            used, scan = _scan(model, sign, f"{sign}_inputs", f"{sign}_fired")
            constants += used
            scans += [_RECTIFIED[sign], scan]
            fired.append(f"{sign}_fired")
    total = f"fired = {'Add' if len(fired) == 2 else 'Identity'} ({', '.join(fired)})"
    return "\n".join([_UNFOLD, *dict.fromkeys(constants), *scans, total, _FOLD])


def _scan(model: RateNeuron, sides: Sides, inputs: str, fired: str) -> tuple[list[str], str]:
    """Lines of what is the same at all timesteps, and a Scan over `inputs` [T, N, ...]."""
    body = _renamed(model.function(sides)[1], {"x": "membrane", "y": "spikes"})
    outside: list[str] = []
    inside = ["membrane = Add (before, now)"]
    varying = {"membrane"}
    for line in map(str.strip, f"{body}\n{model.kept_body}".splitlines()):
        result, formula = line.split(" = ", 1)
        operands = set(_WORD.findall(formula[formula.rindex("(") :]))
        varies = bool(operands & varying)
        varying |= {result} if varies else set()
        (inside if varies else outside).append(line)
    body = "\n".join(inside)
    scan = f"""{fired}_kept, {fired} = Scan <num_scan_inputs = 1, body = over_time
        (float[] before, float[] now) => (float[] kept, float[] spikes) {{
            {body}
        }}> (nothing, {inputs})"""
    return outside, scan


def _renamed(text: str, names: dict[str, str]) -> str:
    return _WORD.sub(lambda word: names.get(word[0], word[0]), text)


_TIME = """timesteps_int = Constant <value_int: int = @timesteps> ()
single = Constant <value_ints = [1]> ()
time = Reshape (timesteps_int, single)"""

_UNFOLD = f"""{_TIME}
folded_shape = Shape (x)
folded_rows = Shape <start = 0, end = 1> (x)
neuron_axes = Shape <start = 1> (x)
rows = Div (folded_rows, time)
row_shape = Concat <axis = 0> (rows, neuron_axes)
unfolded_shape = Concat <axis = 0> (time, rows, neuron_axes)
unfolded = Reshape <allowzero = 1> (x, unfolded_shape)
nothing = ConstantOfShape (row_shape)"""

_RECTIFIED = {
    "positive": "positive_inputs = ThresholdedRelu <alpha = 0.0> (unfolded)",
    "negative": """mirrored_inputs = Neg (unfolded)
falling_inputs = ThresholdedRelu <alpha = 0.0> (mirrored_inputs)
negative_inputs = Neg (falling_inputs)""",
}

_FOLD = "y = Reshape <allowzero = 1> (fired, folded_shape)"

_PER_TIMESTEP = f"""{_TIME}
flat = Constant <value_ints = [-1]> ()
flat_shape = Concat <axis = 0> (time, flat)
unfolded = Reshape (x, flat_shape)
first = Constant <value_int = 1> ()
after = Add (timesteps_int, first)
numbers_int = Range (first, after, first)
numbers_real = Cast <to = 1> (numbers_int)
number_shape = Concat <axis = 0> (time, single)
numbers = Reshape (numbers_real, number_shape)
shape = Shape (x)"""
"""x as [T, N * ...], and the numbers 1 to T as [T, 1]."""

BODIES = {
    "Repeat": f"""{_TIME}
        shape = Shape (x)
        rank = Shape (shape)
        others_rank = Sub (rank, single)
        others = Expand (single, others_rank)
        repeats = Concat <axis = 0> (time, others)
        y = Tile (x, repeats)""",
    "RunningMean": f"""{_PER_TIMESTEP}
        axis = Constant <value_int = 0> ()
        sums = CumSum (unfolded, axis)
        means = Div (sums, numbers)
        y = Reshape <allowzero = 1> (means, shape)""",
    "Telescope": f"""{_PER_TIMESTEP}
        itself = Sub (unfolded, unfolded)
        undefined = IsNaN (itself)
        none = Constant <value_float = 0.0> ()
        defined = Where (undefined, none, unfolded)
        totals = Mul (defined, numbers)
        start = Constant <value_ints = [0]> ()
        second_last = Constant <value_ints = [-1]> ()
        earlier = Slice (totals, start, second_last, start)
        one_earlier = Constant <value_ints = [1, 0, 0, 0]> ()
        before = Pad (earlier, one_earlier)
        instants = Sub (totals, before)
        y = Reshape <allowzero = 1> (instants, shape)""",
    "LastTimestep": f"""{_TIME}
        folded_rows = Shape <start = 0, end = 1> (x)
        rows = Div (folded_rows, time)
        first_row = Sub (folded_rows, rows)
        start = Constant <value_ints = [0]> ()
        y = Slice (x, first_row, folded_rows, start)""",
}
"""Bodies of operations that fold and unfold x, [T * N, ...] with time first (of Repeat [N, ...]):
the same at every timestep; means so far of instants; back, where a mean that is no finite number
(0/0 before the first spikes) counts 0, so that later ones make up for it; the last timestep."""
