"""What onnx's tools raise, as the one error of snnc."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
from onnx import TensorProto, shape_inference, version_converter

from snnc.errors import CompileError
from snnc.ir.graph import OPSET


@contextmanager
def refusals_of_onnx(source: str) -> Iterator[None]:
    """A CompileError in place of whatever onnx raises inside."""
    try:
        yield
    except (
        RuntimeError,
        ValueError,
        UnicodeDecodeError,
        onnx.checker.ValidationError,
        shape_inference.InferenceError,
        version_converter.ConvertError,
    ) as error:
        raise CompileError(
            f"onnx cannot bring the model to opset {OPSET}: {_words(error)}",
            at=source or None,
            help="check the file with onnx.checker, or export it with another opset",
        ) from None


def _words(error: Exception) -> str:
    """What an exception says, on one line, without the place in onnx's own sources."""
    words = " ".join(str(error).split())
    words = re.sub(r"^\S+:\d+: .*?Assertion `.*?` failed: ", "", words)
    return re.sub(r"DataType \((\d+)\)", _named_type, words)


def _named_type(match: re.Match[str]) -> str:
    number = int(match[1])
    known = number in TensorProto.DataType.values()
    return f"type {TensorProto.DataType.Name(number)}" if known else match[0]
