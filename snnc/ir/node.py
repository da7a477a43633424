"""Values and nodes of the intermediate representation: types, operations, sites, neurons."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from snnc.ir.graph import Graph
    from snnc.ir.rate_neuron import RateNeuron

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Dim: TypeAlias = int | str | None
Attribute: TypeAlias = (
    "int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array | Body"
)


Sides: TypeAlias = Literal["both", "positive", "negative", "silent"]
"""The branches of a neuron that are alive."""


def sides_of(positive: bool, negative: bool) -> Sides:
    """The branches for the signs that occur."""
    if positive:
        return "both" if negative else "positive"
    return "negative" if negative else "silent"


class Coding(enum.Enum):
    """What the numbers of a value are: real activations, threshold x integer spike count, or what
    the time of a single spike stands for."""

    REAL = "real"
    SPIKE = "spike"
    TIME = "time"


@dataclass(frozen=True)
class Type:
    """Type of a value. shape: None for an unknown rank; a dimension is an int, a symbol or None."""

    coding: Coding
    dtype: str
    shape: tuple[Dim, ...] | None

    @property
    def is_float(self) -> bool:
        return self.dtype in ("float16", "bfloat16", "float32", "float64")


def real(dtype: str, shape: tuple[Dim, ...] | None) -> Type:
    """A value of ordinary numbers."""
    return Type(Coding.REAL, dtype, shape)


@dataclass(frozen=True)
class Loc:
    """The original ONNX nodes a node came from, by name (unnamed ones as 'OpType#index')."""

    names: tuple[str, ...]

    def __or__(self, other: Loc) -> Loc:
        return Loc(tuple(dict.fromkeys(self.names + other.names)))


@dataclass(frozen=True)
class Statistics:
    """What calibration saw at a site, over all entries of all samples (spec 2.3).

    count: entries seen; zeros: share of exact zeros; low, high: the pooled quantile pair
    Q(p/100), Q(1 - p/100); the rest in the units of the activation.
    """

    count: int
    zeros: float
    minimum: float
    maximum: float
    mean: float
    low: float
    high: float

    @property
    def sides(self) -> Sides:
        """The signs that were seen."""
        return sides_of(self.maximum > 0, self.minimum < 0)


@dataclass(frozen=True)
class Activity:
    """Mean activity of a neuron on the calibration samples, per neuron and inference.

    spikes: mean |spike count|; events: share of neurons whose count is not zero.
    """

    spikes: float
    events: float


@dataclass(frozen=True)
class Body:
    """What an If, Loop or Scan runs: a graph of operations without constants of its own.

    captures: how many of the graph's last inputs are values of the surrounding graph; they are
    the last inputs of the operation, too, so that nothing is read unseen.
    """

    graph: Graph
    captures: int

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Op:
    """An ONNX operation of opset 21 (or of the domain before the last dot of its type)."""

    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    loc: Loc
    op_type: str
    attrs: Mapping[str, Attribute] = field(default_factory=lambda: MappingProxyType({}))

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.attrs.get(name, default)
        return value if isinstance(value, int) else default

    def number(self, name: str, default: float = 0.0) -> float:
        """A real attribute."""
        value = self.attrs.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def ints(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """A list of integers; an empty or absent one is the default."""
        value = self.attrs.get(name)
        return tuple(int(v) for v in value) if isinstance(value, tuple) and value else default

    @property
    def bodies(self) -> Mapping[str, Body]:
        """The subgraphs it runs, by attribute."""
        return {key: value for key, value in self.attrs.items() if isinstance(value, Body)}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Op):
            return NotImplemented
        mine, theirs = ((o.outputs, o.inputs, o.loc, o.op_type) for o in (self, other))
        return mine == theirs and same_mapping(self.attrs, other.attrs)

    __hash__ = None  # type: ignore[assignment]


Role: TypeAlias = Literal["activation", "product", "softmax", "quantizer", "spike time"]
Step: TypeAlias = float | tuple[float, ...]
"""A base threshold for all entries, or one for each channel."""


@dataclass(frozen=True)
class Site:
    """Where a neuron will live: the value entering a multiplication. Executes as identity.

    role: 'activation' for the input of a weighted layer, 'product' for an operand of an
    activation x activation product, 'softmax' for attention probabilities, 'quantizer' for what a
    quantiser of the network hands on: that settles its neuron, without statistics or step.
    step: base threshold of the positive and the negative branch, 0.0 for a dead branch.
    thresholds: theta of positive and of negative spikes where a rule chose them, one or one for
    each channel; axis: that of the channels, counted from the last (-1), 0 for none.
    neuron: the model where the site has one of its own.
    """

    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    loc: Loc
    role: Role
    statistics: Statistics | None = None
    step: tuple[Step, Step] | None = None
    thresholds: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    axis: int = 0
    neuron: RateNeuron | None = None


@dataclass(frozen=True)
class Neuron:
    """A layer of spiking neurons. inputs: x, step of positive and step of negative spikes.

    An absent step ('') is a dead branch: that sign never fires. timesteps: of more than one, folded
    into the first axis of x and of the result, time first: [T * N, ...].
    """

    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    loc: Loc
    model: RateNeuron
    activity: Activity | None = None
    timesteps: int = 1

    @property
    def sides(self) -> Sides:
        _, positive, negative = self.inputs
        return sides_of(bool(positive), bool(negative))


Node: TypeAlias = Op | Site | Neuron


def same_mapping(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether two mappings hold the same keys and values; arrays are compared bit for bit."""
    return mine.keys() == theirs.keys() and all(same_value(mine[key], theirs[key]) for key in mine)


def same_value(a: Any, b: Any) -> bool:
    """Equality of type and value."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return bool(a.tolist() == b.tolist() if a.dtype.hasobject else a.tobytes() == b.tobytes())
    return type(a) is type(b) and bool(a == b)
