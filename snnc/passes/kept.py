"""Which operations stay analog because the user asks for it by the names of their nodes."""

from __future__ import annotations

from fnmatch import fnmatchcase

from snnc.errors import CompileError, unknown_name
from snnc.ir.graph import Graph
from snnc.ir.node import Op


def matches(name: str, pattern: str) -> bool:
    """Whether a node's name fits a pattern (* and ?), or is it."""
    return name == pattern or fnmatchcase(name, pattern)


def is_kept(op: Op, patterns: tuple[str, ...]) -> bool:
    """Whether any original name of an operation fits any of the patterns."""
    return any(matches(name, pattern) for name in op.loc.names for pattern in patterns)


def require_matches(graph: Graph, patterns: tuple[str, ...]) -> None:
    """CompileError for a pattern that fits no node: a typing error."""
    names = {name for node in graph.nodes for name in node.loc.names}
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            message = unknown_name("node in --keep", pattern, names).message
            raise CompileError(message, help="node names: snnc inspect MODEL")
