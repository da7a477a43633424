"""Numbers as users pass them: numpy's are as good as Python's."""

from __future__ import annotations

from typing import Any

import numpy as np

from snnc.errors import CompileError


def plain(value: Any) -> Any:
    """A scalar of numpy as a number of Python; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def real_number(value: Any, what: str) -> float:
    """`value` as a float. Raises CompileError for what is no number."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise CompileError(f"{what} must be a number, not {value!r}")
    return float(number)
