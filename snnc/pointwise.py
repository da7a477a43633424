"""Pointwise operations in float64 with their derivatives: what a function on a synapse computes.

Forward mode: each operation takes (value, derivative) pairs to such a pair, so that any chain of
them gets its derivative by the chain rule. Where a derivative jumps, it is that of one side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from typing import TypeAlias

import numpy as np

from snnc.ir.graph import DOMAIN
from snnc.ir.node import Array, Op
from snnc.ir.ops import ONNX_TYPE

Dual: TypeAlias = tuple[Array, Array]
"""A number and its derivative, of shapes that broadcast; that of a constant is 0."""

_Slopes: TypeAlias = Callable[[Op, Array], tuple[Array, Array]]

_PHI = 1 / math.sqrt(2 * math.pi)
_FLOATS = {ONNX_TYPE[name] for name in ("float16", "bfloat16", "float32", "float64")}


def constant(array: Array) -> Dual:
    """A number that depends on no spike."""
    return np.asarray(array, np.float64), np.zeros(())


def erf(u: Array) -> Array:
    """The error function in float64."""
    flat = np.ravel(np.asarray(u, np.float64)).tolist()
    return np.array([math.erf(v) for v in flat]).reshape(np.shape(u))


def _sigmoid(u: Array) -> Array:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * u))


def _number(op: Op, name: str, default: float) -> float:
    value = op.attrs.get(name, default)
    return float(value) if isinstance(value, int | float) else default


def _elu(alpha: float, u: Array) -> tuple[Array, Array]:
    below = np.minimum(u, 0)
    return (
        np.where(u > 0, u, alpha * np.expm1(below)),
        np.where(u > 0, 1.0, alpha * np.exp(below)),
    )


def _selu(op: Op, u: Array) -> tuple[Array, Array]:
    gamma = _number(op, "gamma", 1.0507010221481323)
    value, slope = _elu(_number(op, "alpha", 1.6732631921768188), u)
    return gamma * value, gamma * slope


def _celu(op: Op, u: Array) -> tuple[Array, Array]:
    alpha = _number(op, "alpha", 1.0)
    value, slope = _elu(1.0, u / alpha)
    return np.where(u > 0, u, alpha * value), slope


def _leaky(op: Op, u: Array) -> tuple[Array, Array]:
    slope = np.where(u > 0, 1.0, _number(op, "alpha", 0.01))
    return slope * u, slope


def _hard_sigmoid(op: Op, u: Array) -> tuple[Array, Array]:
    alpha = _number(op, "alpha", 0.2)
    line = alpha * u + _number(op, "beta", 0.5)
    return np.clip(line, 0, 1), np.where((line > 0) & (line < 1), alpha, 0.0)


def _hard_swish(_: Op, u: Array) -> tuple[Array, Array]:
    gate = np.clip(u / 6 + 0.5, 0, 1)
    return u * gate, gate + np.where(np.abs(u) < 3, u / 6, 0.0)


def _gelu(op: Op, u: Array) -> tuple[Array, Array]:
    if op.attrs.get("approximate", "none") == "tanh":
        root = math.sqrt(2 / math.pi)
        bent = np.tanh(root * (u + 0.044715 * u**3))
        inner = root * (1 + 3 * 0.044715 * u**2)
        return 0.5 * u * (1 + bent), 0.5 * (1 + bent) + 0.5 * u * (1 - bent**2) * inner
    below = 0.5 * (1 + erf(u / math.sqrt(2)))
    return u * below, below + u * _PHI * np.exp(-0.5 * u**2)


def _silu(_: Op, u: Array) -> tuple[Array, Array]:
    gate = _sigmoid(u)
    return u * gate, gate * (1 + u * (1 - gate))


def _mish(_: Op, u: Array) -> tuple[Array, Array]:
    bent = np.tanh(np.logaddexp(0, u))
    return u * bent, bent + u * (1 - bent**2) * _sigmoid(u)


def _same(_: Op, u: Array) -> tuple[Array, Array]:
    return u, np.ones_like(u)


def _both(f: Callable[[Array], Array], slope: Callable[[Array, Array], Array]) -> _Slopes:
    """A function and its derivative, which reads the argument and the result."""

    def dual(_: Op, u: Array) -> tuple[Array, Array]:
        value = np.asarray(f(u))
        return value, np.asarray(slope(u, value))

    return dual


_UNARY: Mapping[str, _Slopes] = {
    "Identity": _same,
    "Cast": _same,
    "Neg": _both(np.negative, lambda u, _: -np.ones_like(u)),
    "Abs": _both(np.abs, lambda u, _: np.sign(u)),
    "Exp": _both(np.exp, lambda _, y: y),
    "Log": _both(np.log, lambda u, _: 1 / u),
    "Sqrt": _both(np.sqrt, lambda _, y: 0.5 / y),
    "Reciprocal": _both(lambda u: 1 / u, lambda _, y: -y * y),
    "Sin": _both(np.sin, lambda u, _: np.cos(u)),
    "Cos": _both(np.cos, lambda u, _: -np.sin(u)),
    "Tan": _both(np.tan, lambda _, y: 1 + y * y),
    "Atan": _both(np.arctan, lambda u, _: 1 / (1 + u * u)),
    "Sinh": _both(np.sinh, lambda u, _: np.cosh(u)),
    "Cosh": _both(np.cosh, lambda u, _: np.sinh(u)),
    "Asinh": _both(np.arcsinh, lambda u, _: 1 / np.sqrt(1 + u * u)),
    "Tanh": _both(np.tanh, lambda _, y: 1 - y * y),
    "Sigmoid": _both(_sigmoid, lambda _, y: y * (1 - y)),
    "Erf": _both(erf, lambda u, _: 2 / math.sqrt(math.pi) * np.exp(-u * u)),
    "Softplus": _both(lambda u: np.logaddexp(0, u), lambda u, _: _sigmoid(u)),
    "Softsign": _both(lambda u: u / (1 + np.abs(u)), lambda u, _: (1 + np.abs(u)) ** -2),
    "Relu": _both(lambda u: np.maximum(u, 0), lambda u, _: (u > 0) * 1.0),
    "LeakyRelu": _leaky,
    "Elu": lambda op, u: _elu(_number(op, "alpha", 1.0), u),
    "Selu": _selu,
    "Celu": _celu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Gelu": _gelu,
    f"{DOMAIN}.Silu": _silu,
    "Mish": _mish,
}
"""Results and derivatives of the functions of one number."""


def _add(a: Dual, b: Dual) -> Dual:
    return a[0] + b[0], a[1] + b[1]


def _sub(a: Dual, b: Dual) -> Dual:
    return a[0] - b[0], a[1] - b[1]


def _mul(a: Dual, b: Dual) -> Dual:
    return a[0] * b[0], a[1] * b[0] + a[0] * b[1]


def _div(a: Dual, b: Dual) -> Dual:
    ratio = a[0] / b[0]
    return ratio, (a[1] - ratio * b[1]) / b[0]


def _power(a: Dual, b: Dual) -> Dual:
    """a^b; a varying exponent needs a positive base."""
    value = a[0] ** b[0]
    by_base = np.where(b[0] == 0, 0.0, b[0] * a[0] ** (b[0] - 1)) * a[1]
    return value, by_base + np.where(b[1] == 0, 0.0, value * np.log(a[0]) * b[1])


def _max(a: Dual, b: Dual) -> Dual:
    return np.maximum(a[0], b[0]), np.where(a[0] >= b[0], a[1], b[1])


def _min(a: Dual, b: Dual) -> Dual:
    return np.minimum(a[0], b[0]), np.where(a[0] <= b[0], a[1], b[1])


def _clip(x: Dual, least: Dual | None = None, most: Dual | None = None) -> Dual:
    raised = x if least is None else _max(x, least)
    return raised if most is None else _min(raised, most)


def _prelu(x: Dual, slope: Dual) -> Dual:
    below = _mul(x, slope)
    return np.where(x[0] > 0, x[0], below[0]), np.where(x[0] > 0, x[1], below[1])


def _sum(*terms: Dual) -> Dual:
    return reduce(_add, terms)


def _mean(*terms: Dual) -> Dual:
    return _div(_sum(*terms), constant(np.array(len(terms))))


_COMBINING: Mapping[str, Callable[..., Dual]] = {
    "Add": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "Pow": _power,
    "Clip": _clip,
    "PRelu": _prelu,
    "Max": lambda *x: reduce(_max, x),
    "Min": lambda *x: reduce(_min, x),
    "Sum": _sum,
    "Mean": _mean,
}
"""Functions of several numbers; None for one that is absent."""


def is_pointwise(op: Op) -> bool:
    """Whether `forward` knows an operation: those without jumps, which no kernel performs."""
    if op.op_type == "Cast":
        return op.attrs.get("to") in _FLOATS
    return op.op_type in _UNARY or op.op_type in _COMBINING


def forward(op: Op, *inputs: Dual | None) -> Dual:
    """A pointwise operation (see is_pointwise) of numbers with derivatives, in float64."""
    with np.errstate(all="ignore"):
        if op.op_type in _UNARY:
            assert inputs[0] is not None
            value, slope = inputs[0]
            result, by_value = _UNARY[op.op_type](op, np.asarray(value, np.float64))
            return np.asarray(result), np.asarray(by_value * slope)
        result, slope = _COMBINING[op.op_type](*inputs)
        return np.asarray(result), np.asarray(slope)
