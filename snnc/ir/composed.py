"""Operations of domain ai.snnc by name:

`<Drive>[Add][Gelu|Relu][[Kept]<neuron>[Count]]`, over several timesteps `[Repeat]<neuron>OverTime`,
`FloatConv[<neuron>OverTime]` or `FloatConvMean[Relu]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeAlias, get_args

from snnc.ir.graph import DOMAIN
from snnc.ir.neuron import make_neuron
from snnc.ir.node import Activity, Attribute, Neuron, Op, Sides
from snnc.ir.rate_neuron import RateNeuron, rate_neuron, rate_neurons

PARTS = "parts"
"""Attribute: for each operation of the network that this one does the work of, in order, the value
it computes and its original names, one a line."""

DRIVES: Mapping[str, tuple[str, ...]] = {
    "SpikeLinear": ("x", "w", "scale", "bias"),
    "SpikeConv": ("x", "w", "scale", "bias"),
    "SpikeMatMul": ("a", "b", "scale"),
    "FloatLinear": ("x", "w", "bias"),
    "FloatConv": ("x", "w", "bias"),
}
"""What drives neurons, and its inputs in order."""

FLOAT_DRIVES = tuple(name for name in DRIVES if name.startswith("Float"))
"""Those with float weights, on spikes as numbers."""

Activation: TypeAlias = Literal["", "Gelu", "Relu"]
"""An activation function behind a drive."""

_NAME = re.compile(
    f"(?P<drive>Repeat|{'|'.join(DRIVES)}|)(?P<mean>Mean|)(?P<add>Add|)(?P<activation>Gelu|Relu|)"
    "(?P<kept>Kept|)(?P<neuron>.*?)(?P<mode>Count|OverTime|)"
)


@dataclass(frozen=True)
class Composed:
    """What an operation is made of. drive: '' for a neuron alone; count: its result is the 8-bit
    spike count in place of step x count; kept: what the neuron reads is a second result; over_time:
    the neuron keeps its membrane over several timesteps; repeated: of an input that is the same at
    all; mean: the drive's means so far."""

    drive: str = ""
    add: bool = False
    activation: Activation = ""
    neuron: RateNeuron | None = None
    sides: Sides = "silent"
    count: bool = False
    kept: bool = False
    over_time: bool = False
    repeated: bool = False
    mean: bool = False

    @property
    def name(self) -> str:
        drive = f"{'Repeat' * self.repeated}{self.drive}{'Mean' * self.mean}"
        name = f"{drive}{'Add' * self.add}{self.activation}"
        if self.neuron is None:
            return name
        functions = self.neuron.count_function if self.count else self.neuron.function
        fired = functions(self.sides)[0] + "OverTime" * self.over_time
        return name + "Kept" * self.kept + fired

    @property
    def outputs(self) -> tuple[str, ...]:
        """Formal names of the results."""
        return ("y", "kept") if self.kept else ("y",)

    @property
    def steps(self) -> tuple[str, ...]:
        """Formal names of the thresholds: behind a drive those of living branches only, since
        onnxruntime 1.20 crashes on shape inference with absent inputs."""
        if self.neuron is None:
            return ()
        both = ("positive", "negative")
        return tuple(s for s in both if not self.drive or self.sides in (s, "both"))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Formal names of the inputs."""
        drive = DRIVES[self.drive] if self.drive else ("x",)
        return (*drive, *(("addend",) if self.add else ()), *self.steps)

    def named(self, op: Op) -> dict[str, str]:
        """The inputs of an operation by formal name, absent ones left out."""
        return {key: v for key, v in zip(self.inputs, op.inputs, strict=False) if v}


def is_drive(name: str) -> bool:
    """Whether an operation of domain ai.snnc of this name is a drive that no neuron follows."""
    found = _NAME.fullmatch(name)
    if found is None or found["drive"] in ("", "Repeat"):
        return False
    return not any(found[part] for part in ("kept", "neuron", "mode"))


def composed(op: Op) -> Composed | None:
    """What an operation is made of; None if it is not of this kind, or none that snnc knows."""
    domain, _, name = op.op_type.rpartition(".")
    found = _NAME.fullmatch(name)
    if domain != DOMAIN or found is None:
        return None
    repeated = found["drive"] == "Repeat"
    drive, neuron = "" if repeated else found["drive"], found["neuron"]
    made = Composed(
        drive,
        bool(found["add"]),
        found["activation"],  # type: ignore[arg-type]
        count=found["mode"] == "Count",
        kept=bool(found["kept"]),
        over_time=found["mode"] == "OverTime",
        repeated=repeated,
        mean=bool(found["mean"]),
    )
    candidates = [made]
    if neuron:
        kind = str(op.attrs.get("model"))
        if kind not in rate_neurons():
            return None
        parameters = {k: v for k, v in op.attrs.items() if k in _fields(rate_neurons()[kind])}
        model = rate_neuron(make_neuron(kind, **parameters))  # type: ignore[arg-type]
        candidates = [replace(made, neuron=model, sides=sides) for sides in get_args(Sides)]
    fitting = (c for c in candidates if c.name == name and _reads(c, op.inputs))
    known = bool(drive or neuron) and len(op.outputs) == 1 + made.kept
    return next(fitting, None) if known else None


def _reads(made: Composed, inputs: tuple[str, ...]) -> bool:
    """Whether the inputs are those of an operation that is made so."""
    dead = {"positive": ("negative", "silent"), "negative": ("positive", "silent")}
    wanted = [made.sides not in dead.get(formal, ()) for formal in made.inputs]
    given = [bool(v) for v in inputs]
    return given + [False] * (len(wanted) - len(given)) == wanted


def neuron_attributes(neuron: Neuron) -> dict[str, Attribute]:
    """The ONNX attributes of a neuron: its model's name and parameters, its activity."""
    attrs: dict[str, Attribute] = {"model": neuron.model.name, **neuron.model.parameters}
    if neuron.timesteps > 1:
        attrs["timesteps"] = neuron.timesteps
    if neuron.activity is not None:
        attrs |= {f.name: getattr(neuron.activity, f.name) for f in fields(neuron.activity)}
    return attrs


def without_neuron(attrs: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """The attributes that are not those of a neuron."""
    own = {"model"} | _fields(Activity)
    model = rate_neurons().get(str(attrs.get("model")))
    own |= set() if model is None else _fields(model)
    return {key: value for key, value in attrs.items() if key not in own}


def _fields(record: type) -> set[str]:
    return {f.name for f in fields(record)}
