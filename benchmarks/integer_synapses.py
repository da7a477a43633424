"""What integer synapses cost in accuracy: the same network with float and with integer weights.

usage: python -m benchmarks.integer_synapses --zoo DIR [--only NAME ...] [--out FILE]

DIR holds models/NAME.onnx and data/*.npz. Prints a Markdown table; --out also writes it.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import snnc
from benchmarks.zoo_data import BUILDERS
from benchmarks.zoo_metrics import METRICS, cosine
from snnc.calibrated import with_scale
from snnc.evaluation import run
from snnc.ir.graph import Graph
from snnc.ir.node import Array
from snnc.passes.integer_weights import integer_layers
from snnc.passes.linear_layer import LinearLayer, scattered
from snnc.passes.quantize_synapses import QuantizeSynapses
from snnc.passes.rounding import output_error
from snnc.pipeline import run_passes
from snnc.prepare import fix_inputs
from snnc.runtime import Session, shape_name

NETWORKS = (
    "fmnist_cnn",
    "fmnist_vit",
    "digits_vit",
    "digits_mlp_skl",
    "efficientnet_lite0",
    "paraphrase-MiniLM-L3-v2",
)

AT_MOST = 5000
"""Test samples taken."""

LAYER_SAMPLES = 10
"""Test samples, of the last, on which the error of each layer's output is measured."""

HEAD = (
    *("network", "samples", "metric", "ANN", "default", "lambda"),
    *("float weights", "nearest", "int8", "lambda", "changed", "cosine: default"),
    *("float weights", "nearest", "int8", "layer error: nearest", "int8"),
    *("integer MACs", "rounding s"),
)


def row(name: str, zoo: Path) -> list[str]:
    """One network: compiled with float synapses, with integer ones, and what lies between."""
    data = BUILDERS[name](zoo)
    graph = snnc.load(zoo / "models" / f"{name}.onnx")
    fixed = {key: value for key, value in data.fixed.items() if key in graph.inputs}
    test = {key: array[:AT_MOST] for key, array in data.test.items()}
    network = snnc.calibrate(
        fix_inputs(graph, fixed), calibration=data.calibration, mask_input=data.mask_input
    )
    default = snnc.compile(network)
    integer = snnc.compile(network, synapses="int8")
    report = integer.report
    assert report.integer is not None
    before = with_scale(
        network.graph(), report.neuron, report.scale, report.polarity, synapses="int8"
    )
    samples = network.samples
    nearest = run_passes(before, (QuantizeSynapses(samples, "nearest"),))
    start = time.perf_counter()
    run_passes(before, (QuantizeSynapses(samples),))
    seconds = time.perf_counter() - start
    graphs = [default.graph, before, nearest, integer.graph]
    outputs = [run(g, snnc.samples_of(test, g)) for g in (network.ann, *graphs)]
    output, labels = report.output, test.get("labels")
    right = [None if labels is None else _right(each[output], labels) for each in outputs]
    metric, values = "top-1", [None if r is None else float(r.mean()) for r in right]
    if name in METRICS:
        metrics = [METRICS[name](outputs[0], each, zoo) for each in outputs[1:]]
        metric, values = metrics[0].name, [metrics[0].ann, *(m.snn for m in metrics)]
    cosines = [cosine(outputs[0][output], each[output]) for each in outputs[1:]]
    changed = _changed(right[2], right[4])
    errors = [_layer_errors(before, after, test) for after in (nearest, integer.graph)]
    return [
        name,
        str(len(outputs[0][output])),
        metric if values[0] is not None else "-",
        *map(_number, values[:2]),
        f"{default.report.scale:.4f}",
        *map(_number, values[2:]),
        f"{report.scale:.4f}",
        changed,
        *map(_number, cosines),
        *(f"{100 * e:.2f} %" for e in errors),
        "-" if report.integer.share is None else f"{100 * report.integer.share:.1f} %",
        f"{seconds:.0f}",
    ]


def _right(scores: Array, labels: Array) -> Array:
    """Whether the largest of the scores [N, C] is at the label."""
    return np.asarray(scores.argmax(axis=1) == labels)


def _changed(before: Array | None, after: Array | None) -> str:
    """Samples that only the second network gets right, and those that only the first does."""
    if before is None or after is None:
        return "-"
    return f"+{int(np.sum(after & ~before))} -{int(np.sum(before & ~after))}"


def _layer_errors(before: Graph, after: Graph, test: Mapping[str, Array]) -> float:
    """Relative error of a layer's output by its integer weights alone, on test samples: the
    geometric mean over layers."""
    layers = [found for _, found in integer_layers(before) if isinstance(found, LinearLayer)]
    taps = tuple(dict.fromkeys(layer.spikes for layer in layers))
    session = Session(before, taps=taps, shapes_of=[layer.op.outputs[0] for layer in layers])
    values = session.run({name: test[name][-LAYER_SAMPLES:] for name in before.inputs})
    errors = []
    for layer in layers:
        out = tuple(int(d) for d in values[shape_name(layer.op.outputs[0])])
        rows = layer.rows(values[layer.spikes], out, scattered(layer.count(out), 4096))
        weights = layer.matrix(before.consts[layer.weights])
        integers, scales = _integers(after, layer)
        wrong = right = 0.0
        for x, w, q, s in zip(rows, weights, integers, scales, strict=True):
            moments = x.T @ x
            wrong += float(output_error(w, q, s, moments).sum())
            right += float(output_error(w, np.zeros_like(q), s, moments).sum())
        if right:
            errors.append(max(wrong / right, 1e-12) ** 0.5)
    return float(np.exp(np.mean(np.log(errors))))


def _integers(after: Graph, layer: LinearLayer) -> tuple[Array, Array]:
    """The integers [groups, channels, K] and scales [groups, channels] of a layer."""
    op = after.op(layer.op.outputs[0])
    source = None if op is None else after.op(op.inputs[1], "DequantizeLinear")
    assert source is not None
    integers, scales = (after.consts[v] for v in source.inputs[:2])
    return layer.matrix(integers), scales.reshape(layer.groups, -1)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def markdown(cells: Sequence[str]) -> str:
    """A row of the table."""
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measures the chosen networks and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(BUILDERS), default=list(NETWORKS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [markdown(HEAD), "|" + "---|" * len(HEAD)]
    print("\n".join(lines), flush=True)
    for name in options.only:
        lines.append(markdown(row(name, options.zoo)))
        print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
