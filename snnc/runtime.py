"""Running graphs: onnxruntime sessions, tapped values, run-time shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from snnc.errors import CompileError
from snnc.export import export, shape_name
from snnc.ir.graph import Graph
from snnc.ir.node import Array, Op, Type, real
from snnc.kernels import check_kernel_library, kernel_library

__all__ = [
    "Session",
    "batch_groups",
    "batch_size",
    "evaluate_constants",
    "held_between",
    "onnxruntime_version",
    "output_types",
    "session",
    "shape_name",
]

_FATAL_ONLY = 4

_AS_WRITTEN = "session.disable_quant_qdq"
"""Else onnxruntime rounds the other operand of DequantizeLinear and MatMul to 8 bits as well."""


def onnxruntime_version() -> str:
    """The version of onnxruntime that runs the networks."""
    return str(onnxruntime.__version__)


class Session:
    """An onnxruntime session of a graph at any stage.

    taps: values to return besides the graph's outputs; shapes_of: values whose run-time shapes to
    return; free: constants that are fed at every run instead (the steps, in a search); kernels:
    use the native kernels where they are installed, else the function bodies; threads: of one
    operation, by default all cores.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        taps: Iterable[str] = (),
        shapes_of: Iterable[str] = (),
        free: Iterable[str] = (),
        optimize: bool = True,
        kernels: bool = True,
        threads: int | None = None,
    ) -> None:
        self.graph = graph
        self._taps = tuple(taps)
        self._shapes_of = tuple(shapes_of)
        exported = export(
            graph, extra_outputs=self._taps, shapes_of=self._shapes_of, free=free, external=True
        )
        options = _options(optimize)
        if threads is not None:
            options.intra_op_num_threads = threads
        if kernels and exported.model.functions:
            _register_kernels(options)
        self._weights = [
            onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
            for array in exported.weights.values()
        ]
        if self._weights:
            options.add_external_initializers(list(exported.weights), self._weights)
        try:
            self._session = onnxruntime.InferenceSession(
                exported.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except _ORT_ERRORS as error:
            raise runtime_error("onnxruntime cannot load the network", graph, error) from None

    @property
    def outputs(self) -> list[Any]:
        """What onnxruntime knows of each output: name, type, shape."""
        return list(self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Every output, tapped value and shape (see shape_name) by name."""
        try:
            values = self._session.run(None, dict(feeds))
        except _ORT_ERRORS as error:
            raise runtime_error("onnxruntime cannot run the network", self.graph, error) from None
        return {o.name: np.asarray(v) for o, v in zip(self.outputs, values, strict=True)}


_ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(
        value
        for value in vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ),
)


WORDS = 160
"""How much of onnxruntime's reason is shown, in characters."""


def words_of(error: Exception) -> str:
    """onnxruntime's reason on one line, and the innermost node that it names; neither the code of
    the error nor where in its own sources it arose."""
    words = " ".join(str(error).split())
    words = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", words)
    nodes = re.findall(r"running (\w+) node\. Name:'([^']*)'", words)
    reason = words.rsplit("Status Message: ", 1)[-1]
    reason = re.sub(r"/\S+\.(?:cc|h):\d+ [^()]*\([^()]*\)(?: const)? ?", "", reason)
    shown = reason if len(reason) <= WORDS else f"{reason[:WORDS]}…"
    return f"{nodes[-1][0]} '{nodes[-1][1]}': {shown}" if nodes else shown


def runtime_error(message: str, graph: Graph, error: Exception) -> CompileError:
    """What onnxruntime says, under a message of ours."""
    return CompileError(
        f"{message}: {words_of(error)}",
        at=graph.source or None,
        help="a network must run in onnxruntime on the CPU: try the model itself there, pass real "
        "samples in place of random ones, or export it in float32",
    )


def _options(optimize: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY  # errors are raised, and said once
    options.add_session_config_entry(_AS_WRITTEN, "1")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _register_kernels(options: Any) -> None:
    library = kernel_library()
    if library is not None:
        check_kernel_library()
        options.register_custom_ops_library(str(library))


def session(path: str | Path, *, threads: int | None = None, kernels: bool = True) -> Any:
    """A ready onnxruntime.InferenceSession of an artifact, with the native kernels where built.

    threads: of one operation, by default all cores; kernels: False runs the function bodies.
    """
    options = _options(optimize=True)
    if threads is not None:
        if not isinstance(threads, int) or threads < 1:
            raise CompileError(f"threads must be an integer from 1 on, not {threads!r}")
        options.intra_op_num_threads = threads
    if kernels:
        _register_kernels(options)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise CompileError(
            f"onnxruntime cannot load '{path}': {words_of(error)}",
            help="pass a file that snnc compile wrote",
        ) from None


BATCH_ELEMENTS = 2**23
"""Tapped numbers that one batch may hold at a time."""


def batch_size(graph: Graph, taps: Iterable[str], more: int = 0) -> int:
    """Samples to run at a time so that tapped values stay small; open dimensions count as 64.

    more: further numbers that one sample takes. Over several timesteps that many fewer.
    """
    rows = int(np.clip(BATCH_ELEMENTS // max(_elements(graph, taps) + more, 1), 1, 64))
    return max(rows // graph.timesteps, 1)


def held_between(graph: Graph) -> int:
    """Numbers that one sample takes between the factors of the largest product of matrices of
    spike times that no native kernel computes; open dimensions count as 64."""
    native = kernel_library() is not None
    held = 0
    for node in graph.nodes:
        kind = node.op_type.rpartition(".")[2] if isinstance(node, Op) else ""
        if kind == "LogExpMatMul" or (kind == "QuarterSquareMatMul" and not native):
            held = max(held, _elements(graph, node.outputs) * _sizes(graph, node.inputs[0])[-1])
    return held


def batch_groups(graph: Graph, taps: Iterable[tuple[str, ...]]) -> list[list[int]]:
    """Which entries of `taps` to tap together so that one sample at all timesteps stays small."""
    groups: list[list[int]] = [[]]
    held = 0
    for index, each in enumerate(taps):
        size = _elements(graph, each) * graph.timesteps
        if groups[-1] and held + size > BATCH_ELEMENTS:
            groups.append([])
            held = 0
        groups[-1].append(index)
        held += size
    return groups


def _elements(graph: Graph, taps: Iterable[str]) -> int:
    """Numbers that values hold for one sample at one timestep."""
    return sum(math.prod(_sizes(graph, value)[1:]) for value in taps)


def _sizes(graph: Graph, value: str) -> list[int]:
    shape = graph.types[value].shape if value in graph.types else None
    return [d if isinstance(d, int) else 64 for d in shape or (1,)]


def evaluate_constants(graph: Graph) -> dict[str, Array]:
    """The outputs of a graph without inputs (constant folding)."""
    return Session(graph, optimize=False).run({})


_NUMPY_NAMES = {"float": "float32", "double": "float64", "string": "str"}


def output_types(graph: Graph, values: Iterable[str]) -> dict[str, Type]:
    """Types that onnxruntime infers for values whose types are still unknown."""
    session = Session(graph, taps=values, optimize=False)
    found = {}
    for output in session.outputs:
        element = output.type.removeprefix("tensor(").removesuffix(")")
        dims = tuple(d if isinstance(d, str) or (d or 0) > 0 else None for d in output.shape)
        # onnxruntime reports an unknown rank as no dimensions
        found[output.name] = real(_NUMPY_NAMES.get(element, element), dims or None)
    return {name: found[name] for name in values}
