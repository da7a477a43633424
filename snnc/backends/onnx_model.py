"""The deployable artifact: an ONNX model with ai.snnc operations that stock onnxruntime runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from snnc.backends.lowering import lower
from snnc.errors import CompileError
from snnc.export import export
from snnc.files import replacing
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.ir.verify import verify

PROTOBUF_LIMIT = 2**31 - 2**24
"""Bytes of weights beyond which they go to a file beside the model (protobuf ends at 2 GiB)."""


def save_onnx(graph: Graph, path: str | Path, limit: int = PROTOBUF_LIMIT) -> None:
    """Writes a network of any stage to `path`; weights of more than `limit` bytes to `path`.data.

    The file is checked with onnx.checker (full check) before it takes the place of an older one:
    on any error, existing files stay as they were.
    """
    verify(graph, graph.stage)
    graph = lower(graph)
    path = Path(path)
    large = sum(a.nbytes for a in graph.consts.values()) > limit
    exported = export(graph, external=large)
    exported.model.metadata_props.add(key="ai.snnc.source", value=graph.source)
    try:
        with replacing(path) as directory:
            if large:
                _write_weights(exported.model, exported.weights, directory / f"{path.name}.data")
            onnx.save(exported.model, str(directory / path.name))
            onnx.checker.check_model(str(directory / path.name), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CompileError(
            f"the network that was made does not pass onnx.checker: {' '.join(str(error).split())}",
            at=graph.source or None,
            help="this is a defect of snnc: please report it with the model",
        ) from None


def _write_weights(model: onnx.ModelProto, weights: Mapping[str, Array], path: Path) -> None:
    """All external tensors one after another, and their places into the model."""
    with path.open("wb") as file:
        for tensor in model.graph.initializer:
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                continue
            offset = file.tell()
            file.write(onnx.numpy_helper.from_array(weights[tensor.name]).raw_data)
            del tensor.external_data[:]
            for key, value in (
                ("location", path.name),
                ("offset", str(offset)),
                ("length", str(file.tell() - offset)),
            ):
                tensor.external_data.add(key=key, value=value)
