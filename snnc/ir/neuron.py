"""What a neuron model is: numpy semantics, ONNX function body, threshold rule, parameters."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal, TypeAlias, get_args, get_type_hints

import numpy as np

from snnc.errors import CompileError, unknown_name
from snnc.ir.node import Array, Sides, Statistics
from snnc.ir.numbers import plain

Polarity: TypeAlias = Literal["separate", "shared"]
Parameter: TypeAlias = int | float | str
Synapses: TypeAlias = Literal["float", "int8"]

LARGEST_COUNT: Mapping[Sides, int] = {"both": 127, "negative": 127, "positive": 255, "silent": 255}
"""Spike counts that 8 bits hold: with a sign, and where only positive spikes exist."""

ZERO_POINT: Mapping[Sides, int] = {"both": 128, "positive": 0, "negative": 128, "silent": 0}
"""What 8-bit spike counts are stored plus."""

_REGISTRY: dict[str, type[NeuronModel]] = {}


class NeuronModel(ABC):
    """Base of every neuron model; a model is a frozen dataclass whose fields are its parameters.

    `name` is what the user types, `equation` the one-line definition that listings show.
    Fields become ONNX attributes, keys of the text form, command-line options and table columns.
    """

    name: ClassVar[str]
    equation: ClassVar[str]
    signs: ClassVar[tuple[str, ...]] = ("positive", "negative")
    """The signs of input that it can spike for."""
    one_threshold: ClassVar[bool] = False
    """Whether both signs always have one threshold."""
    threshold_rule: ClassVar[str] = "tensor-percentile"
    """The rule of its thresholds where none is asked for."""
    more_levels: ClassVar[str] = "raise --timesteps"
    finer_levels: ClassVar[str] = "smaller --lambda"
    """What gives it levels beyond the largest one, and closer ones, as users ask for it."""
    dual: ClassVar[bool] = False
    """Whether each sign has a membrane of its own."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not inspect.isabstract(cls):
            _REGISTRY[cls.name] = cls

    @abstractmethod
    def count(self, x: Array, positive: float | Array, negative: float | Array) -> Array:
        """Signed spike count (float32 integers) for input x and the base step of each sign.

        A step of 0 is a dead branch. Steps broadcast against x.
        """

    @abstractmethod
    def function(self, sides: Sides) -> tuple[str, str]:
        """Name and ONNX text body (opset 21) of the operation for the branches that are alive."""

    @abstractmethod
    def count_function(self, sides: Sides) -> tuple[str, str]:
        """The same with the spike count as result: uint8, signed count + ZERO_POINT[sides].

        For models whose counts fit 8 bits.
        """

    def fuses(self, sides: Sides) -> bool:
        """Whether kernels decide the count of such neurons right behind an integer layer."""
        return False

    @property
    @abstractmethod
    def top(self) -> int:
        """The largest spike count."""

    def levels_between(self, lowest: int, highest: int) -> int:
        """How many spike counts there are from one of them to another."""
        return highest - lowest + 1

    @abstractmethod
    def step_of(self, theta: float, scale: float) -> float:
        """Base step for threshold `theta` and scale factor lambda; 0.0 if theta is 0 (dead)."""

    @abstractmethod
    def softmax_step(self, maximum: float) -> float:
        """Base step of a softmax site whose largest calibrated probability is `maximum`."""

    @abstractmethod
    def bounded(self, bound: float) -> NeuronModel:
        """The same model for inputs that are clipped at `bound` (an absorbed ReLU6)."""

    @abstractmethod
    def error_bound(self, magnitude: Array, step: float) -> Array:
        """Largest |x - output| for inputs of at most `magnitude`, element by element."""

    def step(self, x: Array, positive: float | Array = 0.0, negative: float | Array = 0.0) -> Array:
        """Output of the neuron, float32: step of the sign of x times its spike count."""
        x = np.asarray(x, np.float32)
        count = self.count(x, positive, negative)
        size = np.where(x < 0, np.float32(negative), np.float32(positive)).astype(np.float32)
        with np.errstate(over="ignore"):  # a huge step times an infinite input's count
            return np.where(count == 0, np.float32(0), count * size).astype(np.float32)

    def over_time(
        self, x: Array, positive: float | Array = 0.0, negative: float | Array = 0.0
    ) -> Array:
        """Outputs at every timestep, x and result [T, ...]: input adds to what earlier spikes did
        not carry (spec 2.7); with a membrane for each sign, to that of its own (spec 1)."""
        x = np.asarray(x, np.float32)
        if not self.dual:
            return self._over_time(x, positive, negative)
        zero = np.float32(0)
        up = self._over_time(np.where(x > 0, x, zero), positive, 0.0)
        return up + self._over_time(np.where(x < 0, x, zero), 0.0, negative)

    def _over_time(self, x: Array, positive: float | Array, negative: float | Array) -> Array:
        kept, out = np.zeros(x.shape[1:], np.float32), np.empty_like(x)
        with np.errstate(all="ignore"):  # infinite inputs
            for t, now in enumerate(x):
                membrane = kept + now
                out[t] = self.step(membrane, positive, negative)
                kept = self.kept(membrane, out[t], positive)
        return out

    def kept(self, membrane: Array, emitted: Array, positive: float | Array) -> Array:
        """What is left of a membrane potential, less v(0), after it emitted."""
        return membrane - emitted

    @property
    def kept_body(self) -> str:
        """Text of `kept` in a function body, from `membrane`, `spikes` and `positive`."""
        return "kept = Sub (membrane, spikes)"

    def steps_of(
        self, statistics: Statistics, scale: float, polarity: Polarity
    ) -> tuple[float, float]:
        """Positive and negative base step for what calibration saw (spec 0.5, 0.7, 2.3).

        A quantile of zero does not make a branch dead while a sample of that sign was seen:
        its extreme value takes the quantile's place.
        """
        s = statistics
        positive = s.high if s.high > 0 else max(s.maximum, 0.0)
        negative = -s.low if s.low < 0 else max(-s.minimum, 0.0)
        shared = polarity == "shared" or self.one_threshold
        if shared:
            larger = max(positive, negative)
            positive, negative = (larger if theta else 0.0 for theta in (positive, negative))
        seen = max(s.maximum, 0.0), max(-s.minimum, 0.0)
        if shared:
            seen = (max(seen),) * 2
        return self._alive(positive, scale, seen[0]), self._alive(negative, scale, seen[1])

    def steps_for(self, thetas: tuple[float, ...], scale: float) -> tuple[float, ...]:
        """Base steps for given thresholds, 0 for those of 0 (dead channels)."""
        return tuple(self._alive(theta, scale, 0.0) for theta in thetas)

    def _alive(self, theta: float, scale: float, seen: float) -> float:
        step = max(self.step_of(theta, scale), self.smallest_step(seen))
        return finite_step(step) if theta > 0 else 0.0

    def smallest_step(self, seen: float) -> float:
        """The step below which an activation of size `seen` would saturate, where that matters."""
        return 0.0

    def at_site(
        self, probabilities: Array, quantiles: Array, zeros: float
    ) -> tuple[NeuronModel, float]:
        """The model and threshold for a site whose activations have these quantiles.

        zeros: the share of exact zeros. For models with parameters that a site decides.
        """
        raise CompileError(
            f"neuron '{self.name}' has no parameters of its own at a site",
            help="the rule pmsm2025 goes with aif",
        )

    def wider(self) -> NeuronModel | None:
        """The same model with more levels, for where no scale factor is fine enough."""
        return None

    def at_most(self, count: int) -> NeuronModel:
        """The same model with no spike count above `count`; CompileError if it cannot be."""
        raise CompileError(
            f"the spike counts of {self.name} have no limit, integer synapses take up to {count}",
            help="take float synapses, or another neuron model",
        )

    def at(self, sides: Sides, synapses: Synapses) -> NeuronModel:
        """The model where these branches live: counts of 8 bits for integer synapses."""
        return self if synapses == "float" else self.at_most(LARGEST_COUNT[sides])

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The model's parameters in field order."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {f.name: getattr(self, f.name) for f in fields}

    @property
    def plain_parameters(self) -> dict[str, Parameter | None]:
        """The parameters as JSON can hold them: None for infinity (no bound)."""
        return {k: None if v == float("inf") else v for k, v in self.parameters.items()}

    @property
    def given(self) -> dict[str, Parameter]:
        """The parameters that are not left to the model, as users would write it."""
        usual = type(self)().parameters
        return {k: v for k, v in self.parameters.items() if v != usual.get(k)}

    @classmethod
    def choices(cls) -> dict[str, tuple[str, ...]]:
        """The allowed values of every parameter that is chosen from a list."""
        hints = get_type_hints(cls)
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        return {f.name: get_args(hints[f.name]) for f in fields if get_args(hints[f.name])}

    def _check_choices(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        for name, allowed in self.choices().items():
            if getattr(self, name) not in allowed:
                raise unknown_name(f"{self.name} {name}", str(getattr(self, name)), allowed)


def finite_step(step: float) -> float:
    """`step` in float32, or 0.0 (dead) where it or the inverse 2/step is not finite (spec 0.5)."""
    with np.errstate(all="ignore"):
        single = np.float32(step)
        alive = single > 0 and np.isfinite(single) and np.isfinite(np.float32(2) / single)
    return float(single) if alive else 0.0


def neuron_models() -> dict[str, type[NeuronModel]]:
    """Every known neuron model by name."""
    return dict(sorted(_REGISTRY.items()))


def neuron_model(neuron: NeuronModel | str) -> NeuronModel:
    """The neuron model itself, or the one of that name."""
    model = parse_neuron(neuron) if isinstance(neuron, str) else neuron
    if not isinstance(model, NeuronModel):
        raise CompileError(f"{neuron!r} is no neuron model", help="pass snnc.SFN(), or its name")
    return model


def _parameter_names(name: str) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(_REGISTRY[name]))  # type: ignore[arg-type]


def parse_neuron(text: str) -> NeuronModel:
    """The neuron model written NAME[:PARAMETER=VALUE]..., as in 'mtn:N=16:potential=0'."""
    name, *settings = text.split(":")
    if name not in _REGISTRY:
        raise unknown_name("neuron model", name, _REGISTRY)
    hints = get_type_hints(_REGISTRY[name])
    parameters: dict[str, Parameter] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key in parameters:
            raise CompileError(
                f"'{setting}' in neuron '{text}' "
                + ("is no PARAMETER=VALUE" if not equals else "is given twice"),
                help=f"{name} takes {', '.join(_parameter_names(name))}",
            )
        kind = hints.get(key, str)
        try:
            parameters[key] = kind(value) if kind in (int, float) else value
        except ValueError:
            raise CompileError(
                f"neuron '{text}': {key} is no {'whole ' * (kind is int)}number: '{value}'"
            ) from None
    return make_neuron(name, **parameters)


def format_neuron(model: NeuronModel) -> str:
    """The text that `parse_neuron` reads."""
    return ":".join([model.name, *(f"{k}={v}" for k, v in model.parameters.items())])


def make_neuron(name: str, /, **parameters: Parameter) -> NeuronModel:
    """The neuron model called `name`; an unknown model or parameter is a CompileError."""
    if name not in _REGISTRY:
        raise unknown_name("neuron model", name, _REGISTRY)
    model = _REGISTRY[name]
    known = _parameter_names(name)
    for key in parameters:
        if key not in known:
            raise unknown_name(f"parameter of neuron {name}", key, known)
    try:
        return model(**parameters)
    except TypeError as error:
        raise CompileError(f"neuron {name}: {error}") from None
