"""What a target file must hold, and the target that it describes."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from snnc.errors import CompileError
from snnc.targets.target import NANOSECONDS, OPERATIONS, PICOJOULES, Operation, Target

_LARGEST = 2**53


class _ImpossibleError(Exception):
    """A figure that no chip can have: why."""


@dataclass(frozen=True)
class _Whole:
    """A whole number; `word` in its place means that there is no limit."""

    least: int
    most: int = _LARGEST
    word: str | None = None

    def __call__(self, value: Any) -> int | None:
        if self.word is not None and value == self.word:
            return None
        if type(value) is not int or not self.least <= value <= self.most:
            bounded = self.most < _LARGEST or (type(value) is int and value > self.most)
            most = f" to {self.most}" if bounded else " on"
            other = f', or "{self.word}"' if self.word else ""
            raise _ImpossibleError(f"must be a whole number from {self.least}{most}{other}")
        return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _ImpossibleError("must be true or false")
    return value


def _amount(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise _ImpossibleError("must be a finite number from 0 on")
    return float(value)


def _positive(value: Any) -> float:
    number = _amount(value)
    if number == 0:
        raise _ImpossibleError("must be a number above 0")
    return number


_UNLIMITED = "unlimited"
_LIMIT = _Whole(1, word=_UNLIMITED)

_FIGURES: Mapping[str, Callable[[Any], Any]] = {
    "cores": _LIMIT,
    "chips": _LIMIT,
    "columns": _LIMIT,
    "cells_per_core": _LIMIT,
    "synapse_bits_per_core": _LIMIT,
    "weight_bits": _Whole(2, 24, "float32"),
    "shares_convolutions": _flag,
    "fan_in": _LIMIT,
    "fan_out": _LIMIT,
    "axons_per_core": _LIMIT,
    "partial_sums": _flag,
    "payload_bits": _Whole(1, 64),
    "signed_payload": _flag,
    "bit_planes": _flag,
    "real_bits": _Whole(0, 64),
    "timesteps": _flag,
    "tick_nanoseconds": _positive,
    "idle_watts": _amount,
}
_GROUPS: Mapping[str, tuple[str, ...]] = {"picojoules": PICOJOULES, "nanoseconds": NANOSECONDS}
_TEXTS = ("title", "operations", "sources", "unverified", "notes")
_EVERY_OTHER = "*"


def target_of(table: Mapping[str, Any], name: str, file: str) -> Target:
    """The target that the content of a file describes. Raises CompileError naming file and key."""
    return _File(table, file).target(name)


class _File:
    def __init__(self, table: Mapping[str, Any], file: str) -> None:
        self._table, self._file = table, file

    def target(self, name: str) -> Target:
        self._known(self._table, (*_TEXTS, *_FIGURES, *_GROUPS), "")
        figures = {key: self._read(self._table, key, read) for key, read in _FIGURES.items()}
        groups: dict[str, Any] = {key: self._group(key, names) for key, names in _GROUPS.items()}
        operations = self._operations()
        self._agree(figures)
        single = {f"operations.{operation}" for operation in operations}
        named = {f"{group}.{key}" for group, keys in _GROUPS.items() for key in keys}
        figured = ("operations", *_FIGURES, *sorted(named))
        unverified = self._texts("unverified")
        for figure in unverified:
            self._figure("unverified", figure, (*figured, *_GROUPS, *sorted(single)))
        return Target(
            name=name,
            title=self._text("title"),
            operations=operations,
            **figures,
            **groups,
            sources=self._sources(figured),
            unverified=frozenset(_spread(unverified)),
            notes=self._texts("notes", ()),
        )

    def _error(self, key: str, what: str, help: str | None = None) -> CompileError:
        return CompileError(
            f"target file {self._file}: {what}",
            at=f"key '{key}'",
            help=help or "docs/targets.md says what each key means",
        )

    def _known(self, table: Mapping[str, Any], known: Iterable[str], prefix: str) -> None:
        """Refuses keys that are not known, and says which are missing."""
        names = list(known)
        for key in table:
            if key not in names:
                near = difflib.get_close_matches(key, names, n=1)
                question = f"did you mean '{prefix}{near[0]}'?" if near else None
                raise self._error(prefix + key, f"there is no key '{prefix}{key}'", question)
        for key in names:
            if key not in table and key != "notes":
                raise self._error(prefix + key, f"'{prefix}{key}' is missing", f"add {key} = ...")

    def _read(self, table: Mapping[str, Any], key: str, read: Callable[[Any], Any]) -> Any:
        try:
            return read(table[key])
        except _ImpossibleError as error:
            raise self._error(key, f"{key} = {_shown(table[key])} {error}") from error

    def _group(self, key: str, names: tuple[str, ...]) -> Mapping[str, float]:
        table = self._subtable(key)
        self._known(table, names, f"{key}.")
        found = {}
        for name in names:
            try:
                found[name] = _amount(table[name])
            except _ImpossibleError as error:
                what = f"{key}.{name} = {_shown(table[name])} {error}"
                raise self._error(f"{key}.{name}", what) from error
        return found

    def _subtable(self, key: str) -> Mapping[str, Any]:
        table = self._table[key]
        if not isinstance(table, dict):
            raise self._error(key, f"{key} = {_shown(table)} must be a table", f"write [{key}]")
        return table

    def _text(self, key: str) -> str:
        value = self._table[key]
        if not isinstance(value, str) or not value.strip():
            raise self._error(key, f"{key} = {_shown(value)} must be a text")
        return value

    def _texts(self, key: str, default: Any = None) -> tuple[str, ...]:
        value = self._table.get(key, default)
        texts = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
        if not texts:
            raise self._error(key, f"{key} = {_shown(value)} must be a list of texts")
        return tuple(value)

    def _operations(self) -> frozenset[Operation]:
        named = self._texts("operations")
        for operation in named:
            if operation not in OPERATIONS:
                near = difflib.get_close_matches(operation, OPERATIONS, n=1)
                help = f"known: {', '.join(OPERATIONS)}"
                question = f"; did you mean '{near[0]}'?" if near else ""
                raise self._error("operations", f"unknown operation '{operation}'{question}", help)
        if "synapses" not in named:
            help = "without constant weights on spikes no network runs on a chip"
            raise self._error("operations", "'synapses' is missing among the operations", help)
        return frozenset(cast("tuple[Operation, ...]", named))

    def _agree(self, figures: Mapping[str, Any]) -> None:
        """Refuses figures that contradict each other."""
        cores, columns = figures["cores"], figures["columns"]
        if cores is not None and (columns is None or columns > cores):
            what = f"columns = {columns or _UNLIMITED} is more than the {cores} cores of a chip"
            raise self._error("columns", what, "columns is how many cores stand in a row")
        if figures["signed_payload"] and figures["payload_bits"] < 2:
            what = "a payload of 1 bit has no room for a sign"
            raise self._error(
                "signed_payload", what, "signed_payload = false, or more payload_bits"
            )

    def _figure(self, key: str, figure: str, known: Collection[str]) -> None:
        if figure not in known:
            near = difflib.get_close_matches(figure, known, n=1)
            help = f"did you mean '{near[0]}'?" if near else "name keys of this file"
            raise self._error(key, f"{key} names '{figure}', which is no figure", help)

    def _sources(self, figures: tuple[str, ...]) -> Mapping[str, str]:
        """The source of each figure. Raises CompileError for one without."""
        found: dict[str, str] = {}
        rest = None
        table = self._subtable("sources")
        for source, named in table.items():
            if not source.strip():
                raise self._error("sources", "a source has no text", "name paper or page and year")
            if not isinstance(named, list) or not all(isinstance(n, str) for n in named):
                what = f"the source {source!r} must hold a list of figures"
                raise self._error("sources", what, '"Paper, year" = ["cores", "picojoules.synop"]')
            for figure in named:
                if figure == _EVERY_OTHER:
                    rest = source
                    continue
                self._figure("sources", figure, (*figures, *_GROUPS))
                for each in _spread([figure]):
                    found[each] = f"{found[each]}; {source}" if each in found else source
        for figure in figures:
            if figure not in found and rest is None:
                help = f'name it under [sources]: "where it is from" = ["{figure}"]'
                raise self._error(figure, f"'{figure}' has no source", help)
        return {figure: found.get(figure, rest or "") for figure in figures}


def _shown(value: Any) -> str:
    """A value as a target file writes it, shortened."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _spread(figures: Iterable[str]) -> list[str]:
    """Names of figures, with those of a group in its place."""
    spread: list[str] = []
    for figure in figures:
        spread += [f"{figure}.{key}" for key in _GROUPS[figure]] if figure in _GROUPS else [figure]
    return spread
