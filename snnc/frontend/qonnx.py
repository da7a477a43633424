"""QONNX's quantisers (Quant of Brevitas and FINN) as QuantizeLinear, Clip and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from snnc.frontend.legal import ONNX_DOMAINS, opset_of, refusal
from snnc.frontend.naming import Locs
from snnc.frontend.read import to_array
from snnc.ir.node import Array

_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")

_OLDEST = 13
"""Opset from which QuantizeLinear takes a scale a channel."""


def write_out_quantizers(
    model: ModelProto, weights: Mapping[str, Array], source: str, locs: Locs
) -> None:
    """Replaces every Quant of at most 8 bits with constant parameters, in place.

    Ties are decided as QuantizeLinear does: beside the zero point, not after it was added, which
    differs from QONNX where that is odd. weights: constants that are no longer in the model. Raises
    CompileError for any other form and for the other quantisers of these domains.
    """
    if not any(node.domain in _DOMAINS for node in model.graph.node):
        return
    consts = _Constants(model, weights)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.domain not in _DOMAINS:
            nodes.append(node)
        elif opset_of(model) < _OLDEST:
            message = f"{node.op_type} in a model of opset {opset_of(model)}"
            raise refusal(message, node, source, f"export the model with opset {_OLDEST} or higher")
        else:
            nodes += _written_out(model, node, consts, source, locs)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    kept = [o for o in model.opset_import if o.domain not in _DOMAINS]
    del model.opset_import[:]
    model.opset_import.extend(kept)


class _Constants:
    """The constants of a model by name."""

    def __init__(self, model: ModelProto, weights: Mapping[str, Array]) -> None:
        self._weights = weights
        self._tensors = {t.name: t for t in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.domain in ONNX_DOMAINS:
                self._tensors.update(
                    (node.output[0], a.t) for a in node.attribute if a.name == "value"
                )

    def get(self, name: str) -> Array | None:
        if name in self._weights:
            return self._weights[name]
        return to_array(self._tensors[name], name) if name in self._tensors else None


@dataclass(frozen=True)
class _Quant:
    """scale, zero: one number or one along `axis`, which counts from the last; lowest, highest:
    integers between which it clips."""

    scale: Array
    zero: Array
    axis: int
    lowest: int
    highest: int

    @property
    def kind(self) -> str:
        """The type that holds its integers."""
        return "int8" if self.lowest < 0 else "uint8"


def _written_out(
    model: ModelProto, node: NodeProto, consts: _Constants, source: str, locs: Locs
) -> list[NodeProto]:
    if node.op_type != "Quant":
        raise refusal(
            f"{node.op_type} of QONNX has no spiking form",
            node,
            source,
            help="quantise with Quant nodes, or export as QCDQ (QuantizeLinear, DequantizeLinear)",
        )
    found = _read(node, consts)
    if isinstance(found, str):
        raise refusal(
            f"Quant {found}",
            node,
            source,
            help="export constant scales, integer zero points and at most 8 bits, or as QCDQ",
        )
    x, out = node.input[0], node.output[0]
    names = {
        key: f"{out}/{key}" for key in ("scale", "zero", "lowest", "highest", "whole", "clipped")
    }
    kind = np.dtype(found.kind)
    arrays = {"scale": found.scale, "zero": found.zero.astype(kind)}
    whole = names["whole"]
    clips = (found.lowest, found.highest) != (np.iinfo(kind).min, np.iinfo(kind).max)
    if clips:
        arrays |= {"lowest": np.array(found.lowest, kind), "highest": np.array(found.highest, kind)}
        whole = names["clipped"]
    for key, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(array, names[key]))
    ends = names["scale"], names["zero"]
    make = helper.make_node
    first = make("QuantizeLinear", [x, *ends], [names["whole"]], f"{node.name}/quantize")
    bounds = [names["whole"], names["lowest"], names["highest"]]
    clip = make("Clip", bounds, [names["clipped"]], f"{node.name}/clip")
    last = make("DequantizeLinear", [whole, *ends], [out], node.name)
    if found.scale.ndim:
        for end in (first, last):
            end.attribute.append(helper.make_attribute("axis", found.axis))
    locs |= {made.name: (node.name,) for made in (first, clip)}
    return [first, clip, last] if clips else [first, last]


def _read(node: NodeProto, consts: _Constants) -> _Quant | str:
    """What a Quant does, or why it cannot be written out."""
    if len(node.input) != 4:
        return f"has {len(node.input)} inputs, not x, scale, zero point and bit width"
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    mode = attrs.get("rounding_mode", b"ROUND").decode().upper()
    if mode not in ("ROUND", "HALF_EVEN"):
        return f"rounds by {mode}, not to the nearest"
    scale, zero, bits = (consts.get(name) for name in node.input[1:])
    if scale is None or zero is None or bits is None:
        return "has a scale, zero point or bit width that is computed"
    width = float(bits.reshape(-1)[0]) if bits.size else 0.0
    signed, narrow = (
        bool(attrs.get(key, default)) for key, default in (("signed", 1), ("narrow", 0))
    )
    if bits.size != 1 or width not in range(2 if signed else 1, 9):
        return f"has a bit width of {width:g}"
    lowest = -(2 ** (int(width) - 1)) + narrow if signed else 0
    highest = 2 ** (int(width) - 1) - 1 if signed else 2 ** int(width) - 1 - narrow
    kind = np.iinfo("int8" if signed else "uint8")
    whole = (zero == np.rint(zero)) & (zero >= kind.min) & (zero <= kind.max)
    if not whole.all():
        return "has a zero point that is no integer of its type"
    if not (np.isfinite(scale) & (scale > 0)).all():
        return "has a scale that is not positive and finite"
    axes = [place for place, size in enumerate(scale.shape) if size > 1]
    if len(axes) > 1 or zero.size not in (1, scale.size):
        return "has scales along several axes"
    flat: tuple[int, ...] = (scale.size,) if axes else ()
    zeros = np.broadcast_to(zero.reshape(-1 if zero.size > 1 else ()), flat)
    axis = axes[0] - scale.ndim if axes else 0
    return _Quant(scale.reshape(flat).astype(np.float32), zeros, axis, lowest, highest)
