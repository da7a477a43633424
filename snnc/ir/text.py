"""The text form of the intermediate representation; parse.py reads it back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from snnc.ir.graph import Graph
from snnc.ir.neuron import format_neuron
from snnc.ir.node import (
    Activity,
    Array,
    Attribute,
    Body,
    Dim,
    Node,
    Op,
    Site,
    Statistics,
    Type,
)

INLINE = 8
"""Constants of up to this many elements are printed; larger ones as a digest."""

_SHORT = {
    "float32": "f32",
    "float64": "f64",
    "float16": "f16",
    "bfloat16": "bf16",
    "int64": "i64",
    "int32": "i32",
    "int16": "i16",
    "int8": "i8",
    "uint64": "u64",
    "uint32": "u32",
    "uint16": "u16",
    "uint8": "u8",
}
LONG_DTYPE = {short: name for name, short in _SHORT.items()}
_PLAIN_NAME = re.compile(r"(?!:)[A-Za-z0-9_.:/$+#-]+\Z")


def format_graph(graph: Graph) -> str:
    """The whole graph as text; `parse_graph(format_graph(g), g.consts) == g`."""
    head = {
        "stage": graph.stage.name.lower(),
        "timesteps": graph.timesteps,
        "source": graph.source,
        "domains": dict(graph.domains),
    }
    keys = ", ".join(f"{key}={json.dumps(value)}" for key, value in head.items() if value)
    lines = [f"graph @{_name(graph.name)[1:]} {{{keys}}}"]
    lines += [f"const {_name(n)} : {_const(a)}" for n, a in graph.consts.items()]
    return "\n".join([*lines, *_computation(graph)]) + "\n"


def _computation(graph: Graph) -> Iterator[str]:
    """Inputs, nodes, outputs; under a node the bodies it runs, indented."""
    for name in graph.inputs:
        yield f"in {_name(name)} : {format_type(graph.types[name])}"
    for node in graph.nodes:
        yield format_node(graph, node)
        for key, body in node.bodies.items() if isinstance(node, Op) else ():
            yield f"  body {_quoted(key)} {body.captures} {{"
            yield from (f"    {line}" for line in _computation(body.graph))
            yield "  }"
    for name in graph.outputs:
        yield f"out {_name(name)}"


def format_node(graph: Graph, node: Node) -> str:
    """One node as text: results with types, operation, operands, attributes, origin."""
    results = ", ".join(_result(graph, n) if n else "_" for n in node.outputs)
    if isinstance(node, Op):
        kind = node.op_type
        attrs: dict[str, Attribute] = {
            key: v for key, v in node.attrs.items() if not isinstance(v, Body)
        }
    elif isinstance(node, Site):
        kind, attrs = "site", _site_attrs(node)
    else:
        kind, attrs = node.model.name, dict(node.model.parameters)
        attrs |= _fields(node.activity)
        attrs |= {"timesteps": node.timesteps} if node.timesteps > 1 else {}
    inputs = ", ".join(_name(n) if n else "_" for n in node.inputs)
    keys = ", ".join(f"{_quoted(k)}={_value(v)}" for k, v in attrs.items())
    braces = f" {{{keys}}}" if keys else ""
    origin = ", ".join(_quoted(n) for n in node.loc.names)
    return f"{results} = {kind}({inputs}){braces}  @ {origin}"


def _result(graph: Graph, name: str) -> str:
    return f"{_name(name)} : {format_type(graph.types[name]) if name in graph.types else '?'}"


def format_type(type: Type) -> str:
    """real[N,64]; f32 is not spelled out; integers and booleans have no coding."""
    if not type.is_float:
        prefix = _SHORT.get(type.dtype, type.dtype)
    else:
        suffix = "" if type.dtype == "float32" else f".{_SHORT[type.dtype]}"
        prefix = f"{type.coding.value}{suffix}"
    if type.shape is None:
        return f"{prefix}[*]"
    return f"{prefix}[{','.join(_dim(d) for d in type.shape)}]"


def _dim(dim: Dim) -> str:
    if dim is None:
        return "?"
    return str(dim) if isinstance(dim, int) else _quoted(dim)


def _quoted(name: str) -> str:
    return name if _PLAIN_NAME.match(name) and not name.isdigit() else json.dumps(name)


def _name(name: str) -> str:
    return "%" + (name if _PLAIN_NAME.match(name) else json.dumps(name))


def digest(array: Array, digits: int = 8) -> str:
    """Hexadecimal digits (at most 64) that identify an array's dtype, shape and contents."""
    strings = array.dtype.kind in "OU"
    h = hashlib.sha256(f"{'object' if strings else array.dtype}{array.shape}".encode())
    h.update(repr(array.tolist()).encode() if strings else np.ascontiguousarray(array).tobytes())
    return h.hexdigest()[:digits]


def _const(array: Array) -> str:
    head = f"{_SHORT.get(str(array.dtype), str(array.dtype))}[{','.join(map(str, array.shape))}]"
    if array.size > INLINE or array.dtype.kind not in "fiub":
        return f"{head} = #{digest(array)}"
    return f"{head} = [{', '.join(_element(v) for v in array.ravel())}]"


def _element(value: Any) -> str:
    if isinstance(value, np.bool_):
        return str(value).lower()
    if isinstance(value, np.floating):
        return _float(value)
    return json.dumps(value) if isinstance(value, str) else str(value)


def _float(value: float | np.floating[Any]) -> str:
    """Shortest text of a float32 (or of the wider or narrower type given)."""
    text = str(value if isinstance(value, np.floating) else np.float32(value))
    return text if any(c in text for c in ".en") else text + ".0"


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"tensor {_tensor(value)}"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_value(v) for v in value)}]"
    return _float(value) if isinstance(value, float) else str(value)


def _tensor(array: Array) -> str:
    head = f"{_SHORT.get(str(array.dtype), str(array.dtype))}[{','.join(map(str, array.shape))}]"
    return f"{head} [{', '.join(_element(v) for v in array.ravel())}]"


def _site_attrs(site: Site) -> dict[str, Attribute]:
    attrs: dict[str, Attribute] = {"role": site.role}
    attrs |= _fields(site.statistics)
    if site.step is not None:
        attrs["step"] = site.step  # type: ignore[assignment]
    if site.thresholds is not None:
        attrs["thresholds"] = site.thresholds  # type: ignore[assignment]
        attrs["axis"] = site.axis
    if site.neuron is not None:
        attrs["neuron"] = format_neuron(site.neuron)
    return attrs


def _fields(record: Statistics | Activity | None) -> dict[str, Attribute]:
    if record is None:
        return {}
    return {f.name: getattr(record, f.name) for f in fields(record)}
