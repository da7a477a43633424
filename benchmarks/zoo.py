"""Every network of the zoo at the default settings: compiled and measured, or refused and why.

usage: python -m benchmarks.zoo --zoo DIR [--only NAME ...] [--out docs/zoo.md]

DIR holds models/NAME.onnx and data/*.npz. Each network runs in a process of its own, so that one
that fails leaves a row and no more. Prints a Markdown table as it grows; --out also writes it.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import snnc
from benchmarks.zoo_data import BUILDERS
from benchmarks.zoo_metrics import METRICS
from snnc.coverage import Coverage
from snnc.evaluation import run
from snnc.ir.graph import Graph
from snnc.prepare import fix_inputs

LIMIT = 1800
"""Seconds that one network may take."""

AT_MOST = 1000
"""Test samples taken of each network's data."""

INTRODUCTION = """# The zoo

Networks that others trained, or that were trained for this project, each compiled with no option
but the mask of the sentences, and evaluated on samples not used for calibration except where noted:

    python -m benchmarks.zoo --zoo DIR --out docs/zoo.md

`neurons` counts layers of them; `spiking` is the share of the MACs behind the direct-coded layers;
`samples` are those to calibrate / to test. `agreement` is the share of samples with the same
argmax, `cosine` the mean cosine of the whole output; what `metric` means for a network is in
benchmarks/zoo_metrics.py (no ANN value: the SNN is measured against the ANN). Energies are relative
to the ANN's MACs, see [neurons.md](neurons.md). `check = compile`: `snnc check` and `snnc compile`
name the same fate for every operation, or the same reason to refuse. Seconds cover everything, on a
machine that does other work as well. A lambda below 0.02 goes with neurons of more levels, which
cost many spikes ([how lambda is chosen](neurons.md#how-lambda-is-chosen)).
"""

HEAD = (
    *("network", "outcome", "neurons", "spiking", "lambda", "samples", "metric", "ANN", "SNN"),
    *("agreement", "cosine", "spikes", "events", "eq. 44", "check = compile", "s"),
)


@dataclass
class Row:
    """One network. cells: by column of HEAD, missing ones are '-'; note: data, further figures."""

    network: str
    outcome: str
    cells: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def markdown(self) -> str:
        cells = {"network": self.network, "outcome": self.outcome} | self.cells
        return "| " + " | ".join(cells.get(column, "-") for column in HEAD) + " |"


def measured(name: str, zoo: Path) -> Row:
    """Compiles and evaluates one network."""
    start = time.perf_counter()
    data = BUILDERS[name](zoo)
    graph = snnc.load(zoo / "models" / f"{name}.onnx")
    fixed = {key: value for key, value in data.fixed.items() if key in graph.inputs}
    model = fix_inputs(graph, fixed)
    test = {key: array[:AT_MOST] for key, array in data.test.items()}
    checked = _checked(model)
    try:
        network = snnc.compile(model, calibration=data.calibration, mask_input=data.mask_input)
    except snnc.CompileError as error:
        agrees = {"check = compile": "yes" if str(error) == checked else "NO"}
        where = f" at {error.at}" if error.at else ""
        return Row(name, f"refused: {error.message}{where}", agrees)
    report = network.report
    result = network.evaluate(test)
    cells = {
        "neurons": str(report.sites),
        "spiking": _number(report.coverage.spiking_fraction),
        "lambda": _number(report.scale),
        "samples": f"{report.calibration_samples} / {result.samples}",
        "ANN": _number(result.ann_top1),
        "SNN": _number(result.snn_top1),
        "metric": "-" if result.ann_top1 is None else "top-1",
        "agreement": _number(result.agreement),
        "cosine": _number(result.cosine),
        "spikes": _number(result.energy.ratio_spikes),
        "events": _number(result.energy.ratio_events),
        "eq. 44": _number(result.energy.ratio_spikes_eq44),
        "check = compile": "yes" if _same(report.coverage, checked) else "NO",
    }
    notes = [data.note]
    if name in METRICS:
        ann = run(network.ann, snnc.samples_of(test, network.ann))
        metric = METRICS[name](ann, network.run(test), zoo)
        cells |= {"metric": metric.name, "ANN": _number(metric.ann), "SNN": _number(metric.snn)}
        notes.append(metric.note)
    cells["s"] = f"{time.perf_counter() - start:.0f}"
    if report.choice is not None:
        chosen = f"lambda by {report.choice.measure} {report.choice.fidelity:.4f} of"
        notes.append(f"{chosen} '{report.output}'")
    notes += report.warnings
    outcome = "compiled" + "".join(f", {key} fixed to {v:g}" for key, v in fixed.items())
    return Row(name, outcome, cells, "; ".join(note for note in notes if note))


def _checked(model: Graph) -> Coverage | str:
    """What `snnc check` finds: the coverage, or its refusal."""
    try:
        coverage = snnc.check(model)
    except snnc.CompileError as error:
        return str(error)
    return coverage if coverage.refusal is None else str(coverage.refusal)


def _same(compiled: Coverage, checked: Coverage | str) -> bool:
    """Equal entries, and equal MACs where check finds a size to count them at."""
    if isinstance(checked, str) or compiled.entries != checked.entries:
        return False
    return checked.macs is None or compiled.macs == checked.macs


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def row_of(name: str, zoo: Path) -> Row:
    """The row of one network, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.zoo", "--zoo", str(zoo), "--row", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return Row(name, f"failed: not done after {LIMIT} s")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Row(name, f"failed (exit {done.returncode}): {last}")
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measures the chosen networks and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(BUILDERS), default=list(BUILDERS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--row", choices=list(BUILDERS), help="measure one, print it as JSON")
    options = parser.parse_args()
    if options.row:
        print(json.dumps(asdict(measured(options.row, options.zoo))))
        return
    rows: list[Row] = []
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    print("\n".join(lines), flush=True)
    for name in options.only:
        rows.append(row_of(name, options.zoo))
        lines.append(rows[-1].markdown())
        print(lines[-1], flush=True)
    count = sum(row.outcome.startswith("compiled") for row in rows)
    lines += ["", f"{count} of {len(rows)} compiled.", ""]
    lines += [f"- {row.network}: {row.note}" for row in rows if row.note]
    print("\n".join(lines[len(rows) + 2 :]))
    if options.out:
        options.out.write_text("\n".join([INTRODUCTION, *lines]) + "\n")


if __name__ == "__main__":
    main()
