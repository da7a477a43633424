"""Which operations stay analog because the user asks for it by the names of their nodes."""

from __future__ import annotations

from fnmatch import fnmatchcase

from snnc.ir.node import Op


def matches(name: str, pattern: str) -> bool:
    """Whether a node's name fits a pattern (* and ?), or is it."""
    return name == pattern or fnmatchcase(name, pattern)


def is_kept(op: Op, patterns: tuple[str, ...]) -> bool:
    """Whether any original name of an operation fits any of the patterns."""
    return any(matches(name, pattern) for name in op.loc.names for pattern in patterns)
