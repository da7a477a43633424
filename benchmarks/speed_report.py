"""What the speed benchmark measured: rows, the limits beside them, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed_kernels import KernelRow
from benchmarks.speed_timing import Ratio
from benchmarks.speed_variants import BODIES, ENCODED, FLOAT, INT8, PEER

BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
"""Lines of docs/speed.md between which the command writes."""

SHOWN = (BODIES, FLOAT, INT8, ENCODED, PEER)


@dataclass(frozen=True)
class NetworkRow:
    """One network at one batch size: times over the ANN's, by variant. note: a measured figure."""

    network: str
    batch: int
    threads: int
    ratios: dict[str, Ratio]
    note: str = ""


@dataclass(frozen=True)
class Limit:
    """What a ratio may be and what is aimed at. kernel: start of the names of a KernelRow, and
    what it must end with; otherwise a variant of a network."""

    what: str
    limit: float
    aim: float
    network: str = ""
    variant: str = ""
    batch: int = 1
    kernel: tuple[str, str] = ("", "")


LIMITS = (
    Limit("neuron against copying", 1.5, 1.2, kernel=("neuron, native", "")),
    Limit("ViT-B/16, native float", 1.03, 1.0, "vit_b16", FLOAT),
    Limit("ViT-B/16, native int8", 0.36, 0.3, "vit_b16", INT8),
    Limit("MiniLM, batch 32, native int8", 0.45, 0.35, "paraphrase-MiniLM-L3-v2", INT8, 32),
    Limit("ResNet-50, native float", 1.08, 1.02, "resnet50", FLOAT),
    Limit("ResNet-50, native int8", 0.55, 0.4, "resnet50", INT8),
    Limit("ViT-B/16, function bodies", 1.3, 1.15, "vit_b16", BODIES),
    Limit("one row, 80 % zeros, int8", 0.25, 0.15, kernel=("one row", "80 % zeros, int8")),
)


@dataclass
class Measured:
    """Everything that one call of the benchmark found; skipped: what was not, and why."""

    context: dict[str, Any]
    networks: list[NetworkRow] = field(default_factory=list)
    kernels: list[KernelRow] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """Plain data; seconds are context, not claims."""
        return asdict(self)

    def markdown(self) -> str:
        """The tables, then what was skipped."""
        parts = [_context(self.context)]
        if self.networks:
            parts.append(_networks(self.networks))
        if self.kernels:
            parts.append(_kernels(self.kernels))
        parts.append(_limits(self))
        parts += ["\n".join(f"- {reason}" for reason in self.skipped)] if self.skipped else []
        return "\n\n".join(parts)


def write(path: Path, markdown: str) -> None:
    """Puts the tables between the marker lines of a document."""
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"error: {path} has no lines '{BEGIN}' and '{END}'")
    path.write_text(f"{before}{begin}\n\n{markdown}\n\n{end}{after}")


def _context(context: dict[str, Any]) -> str:
    return "Measured with " + ", ".join(f"{name} {value}" for name, value in context.items()) + "."


def _networks(rows: Iterable[NetworkRow]) -> str:
    lines = []
    for row in rows:
        cells = [_ratio(row.ratios.get(variant)) for variant in SHOWN]
        name = row.network + (f" ({row.note})" if row.note else "")
        lines.append([name, str(row.batch), str(row.threads), *cells])
    return _table(["network", "batch", "threads", *SHOWN], lines)


def _kernels(rows: Iterable[KernelRow]) -> str:
    lines = [[r.kernel, r.against, str(r.threads), _ratio(r.ratio)] for r in rows]
    return _table(["operation", "against", "threads", "ratio"], lines)


def _limits(measured: Measured) -> str:
    """Limits hold for one thread; beside them what two threads gave."""
    lines = []
    for limit in LIMITS:
        one, two = (max(_found(limit, measured, threads), default=None) for threads in (1, 2))
        kept = "-" if one is None else "yes" if one <= limit.limit else "NO"
        shown = ["-" if worst is None else f"{worst:.2f}" for worst in (one, two)]
        lines.append([limit.what, *shown, f"{limit.limit:.2f}", f"{limit.aim:.2f}", kept])
    return _table(["worst median of", "1 thread", "2 threads", "limit", "aim", "kept"], lines)


def _found(limit: Limit, measured: Measured, threads: int) -> list[float]:
    start, end = limit.kernel
    if start:
        return [
            row.ratio.median
            for row in measured.kernels
            if row.kernel.startswith(start) and row.kernel.endswith(end) and row.threads == threads
        ]
    wanted = (limit.network, limit.batch, threads)
    return [
        row.ratios[limit.variant].median
        for row in measured.networks
        if (row.network, row.batch, row.threads) == wanted and limit.variant in row.ratios
    ]


def _ratio(ratio: Ratio | None) -> str:
    return "-" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f}..{ratio.high:.2f})"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
