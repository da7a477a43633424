"""Reading the text form of the intermediate representation back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from snnc.errors import CompileError, unknown_name
from snnc.ir.graph import Graph, Stage
from snnc.ir.neuron import make_neuron
from snnc.ir.node import (
    Activity,
    Array,
    Attribute,
    Body,
    Coding,
    Dim,
    Loc,
    Neuron,
    Node,
    Op,
    Site,
    Statistics,
    Type,
)
from snnc.ir.rate_neuron import rate_neuron, rate_neurons
from snnc.ir.text import LONG_DTYPE, digest
from snnc.ir.tokens import Tokens


def parse_graph(text: str, tensors: Mapping[str, Array]) -> Graph:
    """The graph that `format_graph` printed; `tensors` holds the constants shown as digests."""
    parts = [_Parts(tensors)]
    for number, line in enumerate(text.splitlines(), 1):
        tokens = Tokens(line, number)
        try:
            if tokens.items:
                _read(parts, tokens)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise tokens.error(f"cannot be read ({error})") from None
        except CompileError as error:
            error.line = error.line or line
            raise
        if tokens.peek()[0] != "end":
            raise tokens.error(f"unexpected '{tokens.peek()[1]}'")
    if len(parts) > 1:
        raise CompileError("the text form ends inside a body")
    return parts[0].graph()


def _read(parts: list[_Parts], tokens: Tokens) -> None:
    """Reads one line into the innermost of the graphs that are open."""
    if tokens.accept("body"):
        inner = _Parts({})
        inner.head = {"name": tokens.text()}
        inner.captures = int(tokens.text())
        tokens.expect("{")
        parts.append(inner)
    elif tokens.accept("}"):
        if len(parts) == 1:
            raise tokens.error("no body is open")
        parts[-2].add_body(parts[-1])
        parts.pop()
    else:
        parts[-1].read(tokens)


class _Parts:
    """What the lines read so far define."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self.tensors = tensors
        self.head: dict[str, Any] = {}
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.nodes: list[Node] = []
        self.types: dict[str, Type] = {}
        self.consts: dict[str, Array] = {}
        self.captures = 0

    def add_body(self, inner: _Parts) -> None:
        """A body of the node read last."""
        owner = self.nodes[-1] if self.nodes else None
        if not isinstance(owner, Op):
            raise CompileError("a body belongs to an operation")
        body = Body(inner.graph(), inner.captures)
        self.nodes[-1] = replace(owner, attrs={**owner.attrs, str(inner.head["name"]): body})

    def read(self, tokens: Tokens) -> None:
        if tokens.accept("graph"):
            tokens.expect("@")
            self.head = {"name": tokens.text(), **_parse_head(tokens)}
        elif tokens.accept("const"):
            name = tokens.name()
            tokens.expect(":")
            self.consts[name] = _parse_const(tokens, self.tensors.get(name))
        elif tokens.accept("in"):
            self.inputs.append(tokens.name())
            tokens.expect(":")
            self.types[self.inputs[-1]] = _parse_type(tokens)
        elif tokens.accept("out"):
            self.outputs.append(tokens.name())
        else:
            self.nodes.append(_parse_node(tokens, self.types))

    def graph(self) -> Graph:
        if not self.head:
            raise CompileError("the text form has no line 'graph @name {...}'")
        return Graph(
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            nodes=tuple(self.nodes),
            types=self.types,
            consts=self.consts,
            **self.head,
        )


def _parse_head(tokens: Tokens) -> dict[str, Any]:
    """{stage="ann", timesteps=1, source="m.onnx", domains={"com.microsoft": 1}}"""
    head: dict[str, Any] = {}
    tokens.expect("{")
    for _ in tokens.list("}"):
        key = tokens.text()
        tokens.expect("=")
        if key == "stage":
            head[key] = Stage[tokens.text().upper()]
        elif key == "timesteps":
            head[key] = int(tokens.text())
        elif key == "source":
            head[key] = tokens.text()
        elif key == "domains":
            tokens.expect("{")
            head[key] = {}
            for _ in tokens.list("}"):
                domain = tokens.text()
                tokens.expect(":")
                head[key][domain] = int(tokens.text())
        else:
            raise unknown_name("key of the graph", key, ("stage", "timesteps", "source", "domains"))
    return head


def _parse_dim(tokens: Tokens) -> Dim:
    if tokens.accept("?"):
        return None
    kind, _ = tokens.peek()
    text = tokens.text()
    return int(text) if kind == "word" and text.isdigit() else text


def _parse_type(tokens: Tokens) -> Type:
    word = tokens.text()
    coding, _, suffix = word.partition(".")
    if coding in ("real", "spike", "time"):
        code, dtype = Coding(coding), LONG_DTYPE[suffix] if suffix else "float32"
    else:
        code, dtype = Coding.REAL, LONG_DTYPE.get(word, word)
    tokens.expect("[")
    if tokens.accept("*"):
        tokens.expect("]")
        return Type(code, dtype, None)
    return Type(code, dtype, tuple(_parse_dim(tokens) for _ in tokens.list("]")))


def _parse_const(tokens: Tokens, known: Array | None) -> Array:
    dtype = tokens.text()
    shape = _parse_shape(tokens)
    tokens.expect("=")
    if tokens.accept("["):
        return _array(tokens, dtype, shape)
    mark = tokens.text()
    if known is None or f"#{digest(known)}" != mark:
        raise tokens.error(f"no tensor with digest {mark} was given")
    return known


def _parse_shape(tokens: Tokens) -> tuple[int, ...]:
    tokens.expect("[")
    return tuple(int(tokens.text()) for _ in tokens.list("]"))


def _array(tokens: Tokens, dtype: str, shape: tuple[int, ...]) -> Array:
    words = [tokens.text() for _ in tokens.list("]")]
    numpy_type = np.dtype(LONG_DTYPE.get(dtype, dtype))
    if numpy_type.kind == "b":
        return np.array([w == "true" for w in words], numpy_type).reshape(shape)
    if numpy_type.kind == "O":
        return np.array(words, numpy_type).reshape(shape)
    if numpy_type.kind in "iu":
        return np.array([int(w) for w in words], numpy_type).reshape(shape)
    return np.array([numpy_type.type(w) for w in words], numpy_type).reshape(shape)


def _parse_value(tokens: Tokens) -> Attribute:
    kind, token = tokens.peek()
    if kind == "string":
        return tokens.text()
    if tokens.accept("["):
        return tuple(_parse_value(tokens) for _ in tokens.list("]"))  # type: ignore[return-value]
    if tokens.accept("tensor"):
        dtype = tokens.text()
        shape = _parse_shape(tokens)
        tokens.expect("[")
        return _array(tokens, dtype, shape)
    tokens.next()
    return int(token) if re.fullmatch(r"-?\d+", token) else float(np.float32(token))


def _parse_node(tokens: Tokens, types: dict[str, Type]) -> Node:
    outputs: list[str] = []
    while not tokens.accept("="):
        outputs.append(tokens.name())
        if outputs[-1]:
            tokens.expect(":")
            types[outputs[-1]] = _parse_type(tokens)
        tokens.accept(",")
    kind = tokens.text()
    tokens.expect("(")
    inputs = tuple(tokens.name() for _ in tokens.list(")"))
    attrs: dict[str, Attribute] = {}
    if tokens.accept("{"):
        for _ in tokens.list("}"):
            key = tokens.text()
            tokens.expect("=")
            attrs[key] = _parse_value(tokens)
    tokens.expect("@")
    names = [tokens.text()]
    while tokens.accept(","):
        names.append(tokens.text())
    return make_node(kind, tuple(outputs), inputs, Loc(tuple(names)), attrs)


def make_node(
    kind: str,
    outputs: tuple[str, ...],
    inputs: tuple[str, ...],
    loc: Loc,
    attrs: dict[str, Attribute],
) -> Node:
    """The node written as `kind(inputs) {attrs}`: a site, a neuron by its name, or an Op."""
    if kind == "site":
        statistics = _record(Statistics, attrs)
        step: Any = attrs.get("step")
        role: Any = attrs["role"]
        thresholds: Any = attrs.get("thresholds")
        axis: Any = attrs.get("axis", 0)
        own: Any = attrs.get("neuron")
        neuron = None if own is None else rate_neuron(own)
        return Site(outputs, inputs, loc, role, statistics, step, thresholds, axis, neuron)
    if kind in rate_neurons():
        activity = _record(Activity, attrs)
        known = {"timesteps"} | {f.name for f in fields(Activity)}
        parameters: Any = {k: v for k, v in attrs.items() if k not in known}
        timesteps: Any = attrs.get("timesteps", 1)
        steps_written = inputs + ("",) * (3 - len(inputs))
        model = rate_neuron(make_neuron(kind, **parameters))
        return Neuron(outputs, steps_written, loc, model, activity, timesteps)
    return Op(outputs, inputs, loc, kind, attrs)


def _record(cls: Any, attrs: Mapping[str, Attribute]) -> Any:
    names = [f.name for f in fields(cls)]
    return cls(*(attrs[n] for n in names)) if all(n in attrs for n in names) else None
