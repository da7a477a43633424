"""Spike events as plain text: address-event representation, one event a line."""

from __future__ import annotations

from pathlib import Path

from snnc.backends.schedule.export.events import COLUMNS, Events, batches
from snnc.errors import CompileError
from snnc.files import replacing

HEADER = f"# snnc aer 1\n# {' '.join(COLUMNS)}\n"

_LINES = 1 << 16
"""Lines that are held as text at once."""


def write_aer(events: Events, path: Path) -> None:
    """Writes a header of two lines, then the columns of each event, separated by a blank.

    Nothing but one batch is held in memory; an error leaves an older file as it was.
    """
    with replacing(path) as directory, (directory / path.name).open("w", encoding="utf-8") as file:
        file.write(HEADER)
        for batch in batches(events):
            names = set(batch["layer"].tolist())
            spaced = next((name for name in names if not name or len(name.split()) != 1), None)
            if spaced is not None:
                raise CompileError(
                    f"AER text separates columns by blanks, and a layer is called '{spaced}'",
                    help="number the layers, or name them without blanks",
                )
            for start in range(0, len(batch["sample"]), _LINES):
                columns = (batch[name][start : start + _LINES].tolist() for name in COLUMNS)
                lines = (" ".join(map(str, event)) for event in zip(*columns, strict=True))
                file.writelines(f"{line}\n" for line in lines)
