"""ONNX's own node tests, one operation each: what `snnc check` makes of every one.

usage: python -m benchmarks.node_tests [--every N] [--seconds S] [--out TABLE.md]

Every model is checked in a worker process, so that a crash or a hang (more than S seconds) is seen
and counted as such. Models that load are also run, as loaded and normalised, and compared with the
results that come with the corpus, or that onnxruntime computes. Prints two Markdown tables.
"""

import argparse
import multiprocessing
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases

import snnc
from snnc.ir.node import Array
from snnc.passes.normalize import Normalize
from snnc.runtime import Session

UNEQUAL = "DIFFERENT RESULTS"


@dataclass(frozen=True)
class Case:
    """One model of the corpus and its samples: inputs and expected results."""

    name: str
    model: ModelProto
    data: list[tuple[list[Array], list[Array]]]


def collect(every: int = 1) -> list[Case]:
    """Every n-th case of the corpus; its generator computes overflows on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)[::every]
    return [
        Case(
            case.name,
            case.model,
            [
                ([array(v) for v in inputs], [array(v) for v in outputs])
                for inputs, outputs in case.data_sets or []
            ],
        )
        for case in found
        if case.model is not None
    ]


def array(value: object) -> Array:
    """A value of the corpus as an array; sequences, which are refused, as arrays of objects."""
    if isinstance(value, TensorProto):
        return np.asarray(numpy_helper.to_array(value))
    return np.array(value, object) if isinstance(value, (list, dict)) else np.asarray(value)


def outcome(model: ModelProto) -> str:
    """What a check ends with: coverage, coverage and a refusal, or a refusal."""
    try:
        coverage = snnc.check(model)
    except snnc.CompileError as error:
        return f"refused: {general(error.message)}"
    if coverage.refusal is None:
        return "coverage"
    if not coverage.entries:
        return f"refused: {general(coverage.refusal.message)}"
    kind = "nodes refused: " if coverage.names("refused") else "coverage, but "
    return kind + general(coverage.refusal.message)


def general(message: str) -> str:
    """A message without the names of one model."""
    return re.sub(r"'[^']*'", "'…'", message).split(": [ONNXRuntimeError]")[0]


def results(case: Case) -> str:
    """Whether the loaded and the normalised network compute what the original does."""
    if "bernoulli" in case.name:
        return "random numbers: nothing to compare"
    try:
        loaded = snnc.load(case.model)
    except snnc.CompileError:
        return "refused"
    for inputs, listed in case.data:
        names = [value.name for value in case.model.graph.input]
        feeds = dict(zip(names, inputs, strict=True))
        accepted = [listed, original(case.model, feeds) or listed]
        try:
            for graph in (loaded, Normalize()(loaded)):
                run = Session(graph, optimize=False).run(feeds)
                found = [run[name] for name in loaded.outputs]
                if not any(all(map(same, found, expected)) for expected in accepted):
                    return UNEQUAL
        except snnc.CompileError:
            return "onnxruntime's CPU kernels cannot run it"
    return "as expected"


def original(model: ModelProto, feeds: dict[str, Array]) -> list[Array] | None:
    """What onnxruntime makes of the model itself; None where it cannot run it.

    It departs from the results that come with the corpus in places (Resize, STFT, RoiAlign).
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return [np.asarray(value) for value in session.run(None, feeds)]
    except Exception:  # noqa: BLE001  (onnxruntime raises its own classes without a common one)
        return None


def same(found: Array, expected: Array) -> bool:
    """Equality to the tolerance of onnxruntime's own run of the corpus."""
    if expected.dtype.kind not in "fcV" or expected.dtype.itemsize == 1:
        return np.array_equal(found, expected)
    a, b = (np.asarray(values, np.float64) for values in (found, expected))
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)


def examine(case: Case) -> tuple[str, str]:
    """Outcome of the check and of the run."""
    return outcome(case.model), results(case)


def outcomes(cases: Sequence[Case], seconds: float) -> dict[str, tuple[str, str]]:
    """The outcome of every model; 'CRASH OR HANG' where there is none."""
    found: dict[str, tuple[str, str]] = {}
    waiting = list(cases)
    while waiting:
        with Pool(multiprocessing.cpu_count()) as pool:
            pending = {case.name: pool.apply_async(examine, (case,)) for case in waiting}
            for name, result in pending.items():
                try:
                    found[name] = result.get(seconds)
                except multiprocessing.TimeoutError:
                    found[name] = ("CRASH OR HANG",) * 2
                    break  # the pool may have lost a worker: start another
                except Exception as error:  # noqa: BLE001  (what this program looks for)
                    found[name] = (f"TRACEBACK: {type(error).__name__}: {error}",) * 2
        waiting = [case for case in waiting if case.name not in found]
    return found


def table(title: str, values: Iterable[str]) -> str:
    """How often each value occurs."""
    counts = Counter(values).most_common()
    lines = [f"| models | {title} |", "|---|---|", *(f"| {n} | {what} |" for what, n in counts)]
    return "\n".join([*lines, f"| **{sum(n for _, n in counts)}** | in all |"])


def main() -> None:
    """Examines the corpus and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = outcomes(collect(options.every), options.seconds)
    text = "\n\n".join(
        table(title, values)
        for title, values in zip(
            ("`snnc check` ends with", "results of the loaded network"),
            zip(*found.values(), strict=True),
            strict=True,
        )
    )
    print(text)
    for name, (checked, ran) in found.items():
        if checked.isupper() or checked.startswith("TRACEBACK") or ran == UNEQUAL:
            print(name, checked, ran)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
