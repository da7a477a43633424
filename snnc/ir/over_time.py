"""Function bodies (ONNX text, opset 21) of neurons over several timesteps: a Scan over one."""

from __future__ import annotations

import re
from typing import Literal

from snnc.ir.neuron import NeuronModel
from snnc.ir.node import Sides

_SIGNS: tuple[Literal["positive", "negative"], ...] = ("positive", "negative")

_WORD = re.compile(r"[A-Za-z_]\w*")


def over_time(model: NeuronModel, sides: Sides) -> str:
    """The body of NeuronModel.over_time for x [T * N, ...], time first; T: attribute `timesteps`.

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


def _scan(model: NeuronModel, sides: Sides, inputs: str, fired: str) -> tuple[list[str], str]:
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


_UNFOLD = """timesteps_int = Constant <value_int: int = @timesteps> ()
single = Constant <value_ints = [1]> ()
time = Reshape (timesteps_int, single)
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
