"""What a pass is."""

from __future__ import annotations

from typing import ClassVar, Protocol

from snnc.ir.graph import Graph, Stage


class Pass(Protocol):
    """A pure function from a graph of stage `before` to one of stage `after`.

    A pass is a frozen dataclass; its fields are its options.
    """

    name: ClassVar[str]
    before: ClassVar[Stage]
    after: ClassVar[Stage]

    def __call__(self, graph: Graph) -> Graph: ...
