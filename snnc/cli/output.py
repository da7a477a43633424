"""What every verb prints with: one JSON document, or text; progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

import click
from tqdm import tqdm

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print exactly one JSON document on stdout."
)


def print_json(document: dict[str, Any]) -> None:
    """One JSON document; numbers that are not finite would not be JSON and are a defect."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


class Progress:
    """A bar on a terminal's stderr; where stderr is no terminal, one line a finished phase."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._phase = ""
        self._last = 0

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        if phase != self._phase:
            self.close()
            self._phase = phase
            self._bar = tqdm(total=total, desc=phase, file=sys.stderr, leave=False, disable=None)
            self._last = 0
        assert self._bar is not None
        self._bar.update(done - self._last)
        self._last = done

    def close(self) -> None:
        """Ends the current phase."""
        if self._bar is not None:
            self._bar.close()
            if self._bar.disable:
                click.echo(f"{self._phase}: {self._last} done", err=True)
        self._bar, self._phase = None, ""

    def phase(self, name: str, total: int | None) -> Callable[[int], None]:
        """A callback that only counts."""
        return lambda done: self(name, done, total)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._bar is not None:
            self._bar.close()
