"""Pooling and ConvTranspose as the simulators compute them, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from snnc.errors import CompileError
from snnc.ir.graph import Graph
from snnc.ir.node import Loc, Op, real
from snnc.membrane.pooling import pooled
from snnc.membrane.reference import Reference
from snnc.runtime import Session


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pooling_of_any_form_is_that_of_onnxruntime(op_type: str, rank: int) -> None:
    random = np.random.default_rng(rank)
    for _ in range(25):
        sizes = tuple(int(n) for n in random.integers(5, 8, rank))
        strides = tuple(int(n) for n in random.integers(1, 3, rank))
        kernel = tuple(int(n) for n in random.integers(1, 4, rank))
        mode = str(random.choice(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
        if mode.startswith("SAME"):  # onnxruntime refuses to pad less than nothing
            strides = tuple(map(min, strides, kernel))
        attrs: dict[str, object] = {"kernel_shape": kernel, "strides": strides, "auto_pad": mode}
        if mode == "NOTSET":
            attrs["pads"] = tuple(int(random.integers(0, k)) for k in kernel * 2)
            attrs["dilations"] = tuple(int(n) for n in random.integers(1, 3, rank))
        attrs["ceil_mode"] = int(random.integers(2))
        if op_type == "AveragePool":
            attrs["count_include_pad"] = int(random.integers(2))
        if op_type == "GlobalMaxPool":
            attrs = {}
        x = random.standard_normal((2, 3, *sizes)).astype(np.float32)
        op = Op(("y",), ("x",), Loc(("pool",)), op_type, attrs)  # type: ignore[arg-type]
        types = {"x": real("float32", x.shape), "y": real("float32", None)}
        alone = Graph("g", ("x",), ("y",), (op,), types, {})
        expected, found = Session(alone, optimize=False).run({"x": x})["y"], pooled(op, x)
        assert found is not None
        assert found.shape == expected.shape, attrs
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=str(attrs))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("group", [1, 3])
def test_convtranspose_of_any_form_is_that_of_onnxruntime(rank: int, group: int) -> None:
    random = np.random.default_rng(rank)
    for mode in ("pads", "SAME_UPPER", "SAME_LOWER", "VALID", "output_shape"):
        sizes = tuple(int(n) for n in random.integers(4, 7, rank))
        strides = tuple(int(n) for n in random.integers(1, 4, rank))
        kernel = tuple(int(n) for n in random.integers(1, 4, rank))
        attrs: dict[str, object] = {"group": group, "strides": strides}
        if mode == "pads":
            attrs["pads"] = tuple(int(random.integers(0, 2)) for _ in range(2 * rank))
            attrs["dilations"] = tuple(int(n) for n in random.integers(1, 3, rank))
        elif mode == "output_shape":
            attrs[mode] = tuple(n * s for n, s in zip(sizes, strides, strict=True))
        else:
            attrs["auto_pad"] = mode
        shapes = {"x": (2, 2 * group, *sizes), "w": (2 * group, 2, *kernel), "b": (2 * group,)}
        feeds = {v: random.standard_normal(s).astype(np.float32) for v, s in shapes.items()}
        op = Op(("y",), tuple(feeds), Loc(("conv",)), "ConvTranspose", attrs)  # type: ignore[arg-type]
        types = {v: real("float32", s) for v, s in shapes.items()} | {"y": real("float32", None)}
        alone = Graph("g", tuple(feeds), ("y",), (op,), types, {})
        expected = Session(alone, optimize=False).run(feeds)["y"]
        found = Reference(alone)(op, [a.astype(np.float64) for a in feeds.values()])[0]
        assert found.shape == expected.shape, attrs
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=str(attrs))


def test_indices_of_padded_windows_are_refused() -> None:
    attrs = {"auto_pad": "SAME_LOWER", "kernel_shape": (1,), "strides": (2,)}
    op = Op(("y", "i"), ("x",), Loc(("pool",)), "MaxPool", attrs)  # type: ignore[arg-type]
    types = {"x": real("float32", (1, 1, 3)), "y": real("float32", None), "i": real("int64", None)}
    alone = Graph("g", ("x",), ("y", "i"), (op,), types, {})
    with pytest.raises(CompileError, match="indices of a MaxPool"):
        Reference(alone)(op, [np.zeros((1, 1, 3), np.float32)])
