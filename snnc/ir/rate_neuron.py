"""Neuron models that code numbers as spike counts: semantics, function body, threshold rule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from snnc.errors import CompileError
from snnc.ir.neuron import NeuronModel, neuron_models, parse_neuron
from snnc.ir.node import Array, Sides, Statistics

Polarity: TypeAlias = Literal["separate", "shared"]
Synapses: TypeAlias = Literal["float", "int8"]

LARGEST_COUNT: Mapping[Sides, int] = {"both": 127, "negative": 127, "positive": 255, "silent": 255}
"""Spike counts that 8 bits hold: with a sign, and where only positive spikes exist."""

ZERO_POINT: Mapping[Sides, int] = {"both": 128, "positive": 0, "negative": 128, "silent": 0}
"""What 8-bit spike counts are stored plus."""


class RateNeuron(NeuronModel):
    """A neuron whose output is its threshold times its spike count, of one timestep or several."""

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
    def bounded(self, bound: float) -> RateNeuron:
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
        positive, negative = self.thetas_of(statistics, polarity)
        seen = max(statistics.maximum, 0.0), max(-statistics.minimum, 0.0)
        if self._shared(polarity):
            seen = (max(seen),) * 2
        return self._alive(positive, scale, seen[0]), self._alive(negative, scale, seen[1])

    def thetas_of(self, statistics: Statistics, polarity: Polarity) -> tuple[float, float]:
        """Positive and negative theta for what calibration saw, 0 for a sign that it did not."""
        s = statistics
        positive = s.high if s.high > 0 else max(s.maximum, 0.0)
        negative = -s.low if s.low < 0 else max(-s.minimum, 0.0)
        if self._shared(polarity):
            larger = max(positive, negative)
            positive, negative = (larger if theta else 0.0 for theta in (positive, negative))
        return positive, negative

    def _shared(self, polarity: Polarity) -> bool:
        return polarity == "shared" or self.one_threshold

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
    ) -> tuple[RateNeuron, float]:
        """The model and threshold for a site whose activations have these quantiles.

        zeros: the share of exact zeros. For models with parameters that a site decides.
        """
        raise CompileError(
            f"neuron '{self.name}' has no parameters of its own at a site",
            help="the rule pmsm2025 goes with aif",
        )

    def wider(self) -> RateNeuron | None:
        """The same model with more levels, for where no scale factor is fine enough."""
        return None

    def at_most(self, count: int) -> RateNeuron:
        """The same model with no spike count above `count`; CompileError if it cannot be."""
        raise CompileError(
            f"the spike counts of {self.name} have no limit, integer synapses take up to {count}",
            help="take float synapses, or another neuron model",
        )

    def at(self, sides: Sides, synapses: Synapses) -> RateNeuron:
        """The model where these branches live: counts of 8 bits for integer synapses."""
        return self if synapses == "float" else self.at_most(LARGEST_COUNT[sides])


def finite_step(step: float) -> float:
    """`step` in float32, or 0.0 (dead) where it or the inverse 2/step is not finite (spec 0.5)."""
    with np.errstate(all="ignore"):
        single = np.float32(step)
        alive = single > 0 and np.isfinite(single) and np.isfinite(np.float32(2) / single)
    return float(single) if alive else 0.0


def rate_neurons() -> dict[str, type[RateNeuron]]:
    """Every neuron model that counts spikes, by name."""
    return {n: kind for n, kind in neuron_models().items() if issubclass(kind, RateNeuron)}


def rate_neuron(asked: NeuronModel | str) -> RateNeuron:
    """The model itself, or the one that a text describes; CompileError for one without counts."""
    model = parse_neuron(asked) if isinstance(asked, str) else asked
    if not isinstance(model, NeuronModel):
        raise CompileError(f"{asked!r} is no neuron model", help="pass snnc.SFN(), or its name")
    if not isinstance(model, RateNeuron):
        raise CompileError(
            f"'{model.name}' codes numbers as spike times, not as spike counts",
            help="snnc compile takes it (in Python: snnc.compile_spike_times); here: "
            + ", ".join(rate_neurons()),
        )
    return model
