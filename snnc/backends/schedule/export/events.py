"""Spike events as batches of columns, as every format of events reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import numpy as np

from snnc.errors import CompileError
from snnc.ir.node import Array

COLUMNS = ("sample", "layer", "timestep", "tick", "core", "neuron", "polarity", "count")
"""layer: its name; neuron: within its layer; polarity: 1 or -1; count: spikes, at least 1. The
others are integers from 0 on, core -1 for the host."""

Events: TypeAlias = Iterable[Mapping[str, Array]]
"""Columns of equal length, one entry an event, in order of sample."""


def batches(events: Events) -> Iterator[dict[str, Array]]:
    """The batches with the columns in order; CompileError for one of another form."""
    for batch in events:
        missing = [name for name in COLUMNS if name not in batch]
        if missing:
            raise CompileError(
                f"events without the column '{missing[0]}'",
                help=f"events have the columns {', '.join(COLUMNS)}",
            )
        columns = {name: np.asarray(batch[name]) for name in COLUMNS}
        columns["layer"] = columns["layer"].astype(str)
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise CompileError(f"columns of events differ in length: {lengths}")
        yield columns
