"""The one error a user ever sees: what happened, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class RefusedNode:
    """A node of the file that snnc cannot represent: original name, type, why, what to do next."""

    name: str
    op: str
    why: str
    help: str


class CompileError(Exception):
    """A model, its data or an option cannot be used as asked.

    message: what is wrong, in one line.
    at: where, as the user knows it ("node '/fc1/Gemm' (Gemm) of mlp.onnx").
    line: the line of the intermediate representation concerned, if there is one.
    help: what to do next. known: the names that would have been right.
    pass_name: the compiler pass that found it (filled in by the pipeline). refused: every node
    that stands in the way, where the model as a whole is refused for some of its nodes.
    """

    def __init__(
        self,
        message: str,
        *,
        at: str | None = None,
        line: str | None = None,
        help: str | None = None,
        known: Iterable[str] = (),
        pass_name: str | None = None,
        refused: Iterable[RefusedNode] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.line = line
        self.help = help
        self.known = tuple(known)
        self.pass_name = pass_name
        self.refused = tuple(refused)

    def __str__(self) -> str:
        return self.render()

    def render(self) -> str:
        """The message as the command line prints it; the only renderer there is."""
        lines = [f"error: {self.message}"]
        place = ", ".join(
            part
            for part in (
                f"at {self.at}" if self.at else None,
                f"in pass {self.pass_name}" if self.pass_name else None,
            )
            if part
        )
        if place:
            lines.append(f"  {place}")
        if self.line:
            lines.append(f"    {self.line}")
        if len(self.refused) > 1:
            others = [f"'{node.name}' ({node.op})" for node in self.refused[1:]]
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            lines.append(f"  also refused: {', '.join(others[:3])}{more}")
        if self.known:
            lines.append(f"  known: {', '.join(self.known)}")
        if self.help:
            lines.extend(
                f"  {'help: ' if i == 0 else '      '}{text}"
                for i, text in enumerate(self.help.splitlines())
            )
        return "\n".join(lines)


def few(names: Iterable[str]) -> str:
    """A list of names, shortened to the first three."""
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def unknown_name(kind: str, name: str, known: Iterable[str]) -> CompileError:
    """The error for a name that is not in a closed list, with the nearest one that is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    question = f"; did you mean '{near[0]}'?" if near else ""
    return CompileError(f"unknown {kind} '{name}'{question}", known=names)
