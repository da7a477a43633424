"""What spikes do to a membrane and when it fires, for neurons that fire once (spec 4.2, 4.3).

A neuron of range [a, b] and a window of duration delta (tau = delta / (b - a)) fires for x at
T_emit + tau (b - x); for x <= a it stays silent. Through a synapse with weight w that computes f,
its spike drives the receiving membrane at rate (w / tau) eta(t - t_j), eta(s) = f'(s / tau + a),
until the window ends; a constant drive of w f(a) / delta holds what silence stands for. The
receiving neurons then fire where their potential, driven by psi, reaches theta.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from snnc.errors import CompileError
from snnc.ir.node import Array, Op
from snnc.pointwise import Dual, constant, forward

Function: TypeAlias = Callable[[Dual], Dual]
"""What a synapse computes of the number that a spike stands for, with its derivative.

It takes numbers [m] in shape [m, 1, ..., 1] to [m, ...] where constants have several entries.
"""


@dataclass(frozen=True)
class Window:
    """When a layer may fire, and for what. low, high: its range [a, b]; delta: duration."""

    low: float
    high: float
    delta: float = 1.0

    @property
    def tau(self) -> float:
        """Time that one unit of value takes."""
        return self.delta / (self.high - self.low)

    def time(self, x: Array) -> Array:
        """Of the spike for each x, from T_emit on; delta where there is none."""
        return np.asarray(
            np.clip((self.high - np.asarray(x, np.float64)) * self.tau, 0, self.delta)
        )

    def number(self, time: Array) -> Array:
        """What spikes at these times after T_emit stand for."""
        return np.asarray(self.high - np.asarray(time, np.float64) / self.tau)


def chain(*ops: Op) -> Function:
    """The function of operations of one input after each other."""

    def function(x: Dual) -> Dual:
        for op in ops:
            x = forward(op, x)
        return x

    return function


def identity(x: Dual) -> Dual:
    """A plain synapse."""
    return x


def quarter_square(x: Dual) -> Dual:
    """x^2 / 4."""
    value, slope = x
    return value * value / 4, value * slope / 2


def exponential(x: Dual) -> Dual:
    """e^x."""
    power = np.exp(x[0])
    return power, power * x[1]


def shifted_log(shift: float) -> Function:
    """ln(x + shift)."""

    def function(x: Dual) -> Dual:
        value, slope = x
        return np.log(value + shift), slope / (value + shift)

    return function


def rest(function: Function, low: float, rank: int = 0) -> Array:
    """f(a): what a silent neuron stands for; w f(a) / delta is the constant drive.

    rank: that of the constants of the function.
    """
    return np.asarray(function(constant(np.full([1] * (rank + 1), low)))[0][0])


def eta(function: Function, window: Window, after: Array, rank: int = 0) -> Array:
    """The input kernel [m, ...] at times [m] after the spike."""
    since = np.asarray(after, np.float64).reshape(-1, *[1] * rank)
    numbers = np.maximum(since, 0) / window.tau + window.low
    slope = function((numbers, np.ones_like(numbers)))[1]
    return np.where(since >= 0, slope, 0.0)


def charges(function: Function, window: Window, ticks: int, rank: int = 0) -> Array:
    """What a spike adds to a membrane [ticks + 1, ...] from 0, 1, ... ticks before the end on."""
    edges = np.arange(ticks + 1) * (window.delta / ticks)
    return integrated(lambda after: eta(function, window, after, rank) / window.tau, edges)


@dataclass(frozen=True)
class Link:
    """The increasing function h between a membrane and what its neuron emits: emitted = h(V).

    inverse: its inverse g; slope: g', at positive numbers where only those are results of h.
    """

    forward: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    positive: bool = False

    def theta(self, window: Window) -> float:
        """The threshold g(b)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.inverse(np.asarray(window.high)))

    def psi(self, window: Window, after: Array) -> Array:
        """The drive at times [m] after the neuron's own window began."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.slope(window.number(after)) / window.tau)

    def rises(self, window: Window, times: Array) -> Array:
        """What psi has added to the potential at each of these increasing times, infinity where
        no number that h gives is left."""
        within = window.number(times) > 0 if self.positive else np.ones(times.shape, bool)
        edges = np.concatenate([[0.0], times[within]])
        risen = np.full(times.shape, np.inf)
        risen[within] = integrated(lambda after: self.psi(window, after), edges)[1:]
        return risen


LINKS: Mapping[str, Link] = {
    "": Link(lambda v: v, lambda y: y, np.ones_like),
    "Log": Link(np.log, np.exp, np.exp),
    "Exp": Link(np.exp, np.log, lambda y: 1 / y, positive=True),
    "Sqrt": Link(np.sqrt, lambda y: y * np.abs(y), lambda y: 2 * np.abs(y)),
}
"""The functions that neurons perform as they fire, by ONNX operation; '' for none."""


def first_ticks(
    potential: Array, link: Link, window: Window, ticks: int, early: float = 0.0
) -> Array:
    """The first tick at which each potential has reached the threshold; -1 where none has.

    early: ticks by which the crossing may come after a tick that counts. NaN never fires.
    """
    times = (np.arange(ticks) + early) * (window.delta / ticks)
    rises, theta = link.rises(window, times), link.theta(window)
    found = np.searchsorted(rises, theta - np.asarray(potential, np.float64))
    return np.where(found < ticks, found, -1).astype(np.int32)


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)
_TO_ENDS = np.linalg.solve(
    np.vander(_NODES, increasing=True).T, np.vander([-1.0, 1.0], 10, increasing=True).T
)
"""Takes values at the nodes of a piece to those at its ends, for a polynomial of degree 9."""
_PANELS = 64
"""Least number of pieces that a quadrature starts from."""
_HALVINGS = 200
"""Of a piece with a kink or an integrable singularity at its end."""
_PIECES = 2**16
"""More unfinished pieces than that mean that a rate has a pole."""


def integrated(rate: Callable[[Array], Array], edges: Array) -> Array:
    """The integral of a rate, [m] -> [m, ...], from the first to each edge [n], [n, ...].

    Gauss-Legendre quadrature; a piece is halved until its halves agree with it and nothing jumps
    on it, which splits at kinks of what is integrated, too. Raises CompileError for a rate with a
    pole between the edges, over which it has no integral.
    """
    parts = -(-_PANELS // max(len(edges) - 1, 1))
    steps = np.linspace(edges[:-1], edges[1:], parts + 1, axis=1)
    left, right = steps[:, :-1].ravel(), steps[:, 1:].ravel()
    where = np.repeat(np.arange(len(edges) - 1), parts)
    whole, _ = _quadrature(rate, left, right)
    exact = 1e-15 * np.abs(whole).sum(axis=0)
    most = 2 * len(left) + _PIECES
    sums = np.zeros((len(edges), *whole.shape[1:]))
    for halvings in range(_HALVINGS):
        middle = (left + right) / 2
        below, smooth_below = _quadrature(rate, left, middle, exact)
        above, smooth_above = _quadrature(rate, middle, right, exact)
        noise = 1e-15 * (np.abs(below) + np.abs(above))
        agree = np.abs(below + above - whole) <= np.maximum(exact, noise)
        done = agree.reshape(len(agree), -1).all(axis=1) & smooth_below & smooth_above
        finest = (left >= middle) | (middle >= right) | (halvings == _HALVINGS - 1)
        _require_integral(below + above, finest & ~done, exact, len(left) <= most)
        done |= finest
        np.add.at(sums, where[done] + 1, (below + above)[done])
        if done.all():
            break
        more = ~done
        whole = np.concatenate([below[more], above[more]])
        left, right = (
            np.concatenate([left[more], middle[more]]),
            np.concatenate([middle[more], right[more]]),
        )
        where = np.tile(where[more], 2)
    return np.asarray(np.cumsum(sums, axis=0))


def _require_integral(sums: Array, finest: Array, exact: Array, ends: bool) -> None:
    """Refuses a rate whose integral does not vanish with the piece, or whose pieces do not end."""
    left = np.abs(sums[finest])
    if not ends or (left > 1e9 * exact).any():
        raise CompileError(
            "a function on a synapse has a pole between the ends of its neurons' range",
            help="a network that divides by numbers around 0, say, runs, but cannot be simulated",
        )


def _quadrature(
    rate: Callable[[Array], Array], left: Array, right: Array, exact: Array | float = 0.0
) -> tuple[Array, Array]:
    """The integral over each piece, [m, ...], and whether its rates tell of no jump, [m], that is
    larger than relative rounding and than `exact`.

    A jump between an end and the node next to it would show in no sum over nodes.
    """
    half = (right - left) / 2
    points = ((left + right) / 2)[:, None] + half[:, None] * _NODES
    with np.errstate(all="ignore"):
        rates = rate(np.concatenate([points, left[:, None], right[:, None]], axis=1).ravel())
    kept = rates.shape[1:]
    rates = rates.reshape(len(left), len(_NODES) + 2, -1)
    inner, ends = rates[:, :-2], rates[:, -2:]
    with np.errstate(invalid="ignore"):
        off = np.abs(ends - np.einsum("mqc,qe->mec", inner, _TO_ENDS)).max(axis=1)
        rounding = 1e-6 * np.abs(inner).max(axis=1)
        smooth = (off <= rounding) | (2 * half[:, None] * off <= np.ravel(exact))
    sums = np.einsum("mqc,q,m->mc", inner, _WEIGHTS, half)
    return sums.reshape(len(left), *kept), smooth.all(axis=1)
