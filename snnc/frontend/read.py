"""Reading an ONNX file: what it holds, its external data, its weights set aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import (
    ModelProto,
    helper,
    numpy_helper,
)

from snnc.errors import CompileError
from snnc.ir.node import Array

HOIST_ELEMENTS = 1024
"""Weights of at least this size stay out of the protobuf messages that onnx's tools pass around."""


def read(path: Path) -> tuple[ModelProto, str]:
    """The model in a file, external data loaded, and the file's name."""
    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except FileNotFoundError:
        raise CompileError(f"there is no file '{path}'") from None
    except OSError as error:
        raise CompileError(f"cannot read '{path}': {error.strerror or error}") from None
    except (DecodeError, ValueError, UnicodeDecodeError):
        raise CompileError(
            f"'{path}' is not an ONNX file, or it is damaged",
            help="export the model again, or check that the download is complete",
        ) from None
    if not model.graph.node or not model.opset_import:
        raise CompileError(
            f"'{path}' holds no ONNX network: it has no nodes", help="pass a model exported to ONNX"
        )
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise CompileError(
            f"weights of '{path}' lie in another file that cannot be read: "
            + (_missing_files(model, path.parent) or " ".join(str(error).split())),
            help="keep the external data file beside the model, under its original name",
        ) from None
    return model, path.name


def _missing_files(model: ModelProto, directory: Path) -> str:
    """Names of the external data files that are not there."""
    missing = [name for name in _locations(model) if not (directory / name).exists()]
    return ", ".join(f"no file '{name}'" for name in missing)


def _locations(model: ModelProto) -> list[str]:
    """Names of the files that hold external data."""
    return sorted(
        {
            entry.value
            for tensor in model.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
    )


def external_files(path: Path) -> tuple[Path, ...]:
    """The files beside a model that hold its weights; none if it cannot be read."""
    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except (OSError, DecodeError, ValueError):
        return ()
    return tuple(path.parent / name for name in _locations(model))


def without_weights(model: ModelProto) -> tuple[ModelProto, dict[str, Array]]:
    """A copy whose large initializers became inputs, and those weights by name."""
    skeleton = ModelProto()
    for field, value in model.ListFields():
        if field.name not in ("graph", "functions"):
            _assign(skeleton, field, value)
    for field, value in model.graph.ListFields():
        if field.name not in ("initializer", "input"):
            _assign(skeleton.graph, field, value)
    skeleton.functions.extend(model.functions)
    skeleton.ir_version = max(model.ir_version, 4)  # initializers need not be inputs from 4 on
    weights: dict[str, Array] = {}
    names = {tensor.name for tensor in model.graph.initializer}
    skeleton.graph.input.extend(i for i in model.graph.input if i.name not in names)
    for tensor in model.graph.initializer:
        array = to_array(tensor)
        if array.size >= HOIST_ELEMENTS:
            weights[tensor.name] = array
            skeleton.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
        else:
            skeleton.graph.initializer.append(tensor)
    return skeleton, weights


def _assign(message: Any, field: Any, value: Any) -> None:
    if field.is_repeated:
        getattr(message, field.name).extend(value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def to_array(tensor: onnx.TensorProto, name: str = "") -> Array:
    """The numbers of a tensor; CompileError if it is damaged. name: where the tensor has none."""
    name = tensor.name or name
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise CompileError(
            f"weight '{name}' is stored in another file that was not loaded",
            help="pass the path of the model, or load it with onnx.load(path)",
        )
    try:
        return np.array(numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise CompileError(
            f"weight '{name}' is damaged: {error}", help="export the model again"
        ) from None
