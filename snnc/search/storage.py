"""Where studies are kept: optuna's storages by URL, and their failures as one error of ours."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from snnc.errors import CompileError

JOURNAL = "journal:"

SQLITE_WAIT = 60
"""Seconds that a process waits for another one's write to an SQLite file."""

CREATION_SECONDS = 10.0
"""How long another process may take to create the tables of a new database."""

_FORMS = "pass sqlite:///FILE, journal:FILE or postgresql://USER@HOST/DATABASE"
_FAILURES = (
    SQLAlchemyError,
    optuna.exceptions.OptunaError,
    OSError,
    ImportError,
    json.JSONDecodeError,
)
_OPENING_FAILURES = (*_FAILURES, ValueError, KeyError, TypeError, RuntimeError)


class Storage:
    """optuna's storage at a URL: sqlite:///FILE, journal:FILE, postgresql://..., None for memory.

    Raises CompileError if there is none, or none that can be used.
    """

    def __init__(self, url: str | None) -> None:
        self._url = url
        with self.guarded(_OPENING_FAILURES):
            self.backend = self._opened()

    def _opened(self) -> BaseStorage:
        url = self._url
        if url is None:
            return InMemoryStorage()
        if url.startswith(JOURNAL):
            path = Path(url.removeprefix(JOURNAL))
            _require_journal(path)
            return JournalStorage(JournalFileBackend(str(path)))
        if "://" not in url:
            raise CompileError(f"'{url}' is no storage", help=_FORMS)
        return _database(url)

    @contextmanager
    def guarded(self, failures: tuple[type[Exception], ...] = _FAILURES) -> Iterator[None]:
        """Silences optuna inside, and turns what the storage raises into a CompileError."""
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except failures as error:
            said = " ".join(str(error.__cause__ or error).split())
            ours = f"the storage '{self}' cannot be used: {said}"
            if isinstance(error, ImportError):
                raise CompileError(ours, help="install the database's driver") from None
            misspelt = isinstance(error, (ArgumentError, ValueError))
            raise CompileError(ours, help=_FORMS if misspelt else None) from None
        finally:
            optuna.logging.set_verbosity(level)

    def __str__(self) -> str:
        """The URL as messages may show it: the password starred out."""
        if self._url is None or self._url.startswith(JOURNAL):
            return self._url or "in memory"
        try:
            return repr(make_url(self._url))
        except (ArgumentError, ValueError):
            return f"{self._url.partition('://')[0]}://..."


def _database(url: str) -> RDBStorage:
    """Processes that begin together create the tables together: the later ones look again."""
    wait = {"connect_args": {"timeout": SQLITE_WAIT}} if url.startswith("sqlite") else {}
    until = time.monotonic() + CREATION_SECONDS
    while True:
        try:
            return RDBStorage(url, engine_kwargs=wait)
        except (DBAPIError, optuna.exceptions.StorageInternalError):
            if time.monotonic() > until or not _is_begun(url):
                raise
        time.sleep(0.1)


def _is_begun(url: str) -> bool:
    """Whether the database can be reached and holds optuna's first table."""
    engine = create_engine(url)
    try:
        return bool(inspect(engine).has_table("studies"))
    except SQLAlchemyError:
        return False
    finally:
        engine.dispose()


def _require_journal(path: Path) -> None:
    """Refuses a file that is something else, which appending to would destroy."""
    if path.is_dir():
        raise CompileError(f"'{path}' is a directory, not a journal file", help=_FORMS)
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        line = file.readline(2**16)
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or "op_code" not in entry:
        raise CompileError(f"'{path}' is not a journal of optuna", help="choose another file")
