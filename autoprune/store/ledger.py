"""Where a run's study lives: its journal, or a database. Knows how these fail; not what is in them.

The libraries of databases are slow to import, and few runs are in one: they are imported where there is a URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import optuna
from optuna.storages import BaseStorage, JournalStorage

from autoprune.errors import StorageError, describe
from autoprune.store.journal import Journal

JOURNAL: Final = "study.journal"


class Ledger:
    """Optuna storage of one run. What is said inside `commit` is durable after it; in a journal all of it or nothing.

    A database keeps each call by itself: what a kill leaves half-said there is put right when the run is resumed.
    """

    def __init__(
        self, storage: BaseStorage, journal: Journal | None = None, close: Callable[[], None] = lambda: None
    ) -> None:
        """close: of a storage that is no journal."""
        self.storage, self._journal = storage, journal
        self._close = close if journal is None else journal.close

    @property
    def torn(self) -> int:
        """Bytes of an unfinished commit that were cut off when the journal was opened."""
        return self._journal.torn if self._journal else 0

    def commit(self) -> AbstractContextManager[None]:
        """A group of writes.

        Raises:
            StorageError: they could not be kept.
        """
        return self._journal.commit() if self._journal else _reached()

    def close(self) -> None:
        self._close()


def open_ledger(run: Path, url: str, *, new: bool) -> Ledger:
    """The ledger of a run directory: `study.journal` in it, or the database of a URL where one is given.

    Raises:
        StorageError: the database cannot be reached, or the journal of an old run is gone, empty or corrupt.
    """
    if url:
        with _reached():
            return _database(url)
    path = run / JOURNAL
    if not new and (not path.exists() or path.stat().st_size == 0):
        raise StorageError(
            expected=f"the study of an earlier search in {path}",
            received="an empty file" if path.exists() else "no such file",
            cure="restore it from a copy, or search anew in another --run",
        )
    journal = Journal(path)
    try:
        return Ledger(JournalStorage(journal), journal)
    except StorageError:
        raise
    except Exception as error:
        raise StorageError(
            expected=f"a study in {path}", received=describe(error), cure="restore the file from a copy"
        ) from error


def masked(url: str) -> str:
    """A database's URL without its password and options, to be shown and kept; of what is no URL, its beginning."""
    if not url:
        return ""
    from sqlalchemy import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        made = make_url(url)
    except (ArgumentError, ValueError):
        return url.partition(":")[0]
    return URL.create(made.drivername, made.username, None, made.host, made.port, made.database).render_as_string(
        hide_password=True
    )


def _database(url: str) -> Ledger:
    from optuna.storages import RDBStorage
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url)
    except (ArgumentError, ValueError) as error:  # whose message may have the password
        raise _unreachable(f"what is no URL of a database ({type(error).__name__})") from None
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = RDBStorage(url)
    finally:
        optuna.logging.set_verbosity(before)
    return Ledger(storage, close=storage.engine.dispose)


@contextmanager
def _reached() -> Iterator[None]:
    """Turn what a database says into a StorageError, which never shows the URL's password."""
    try:
        yield
    except (ImportError, optuna.exceptions.StorageInternalError) as error:
        raise _unreachable(describe(error)) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "sqlalchemy":
            raise
        raise _unreachable(type(error).__name__) from error


def _unreachable(received: str) -> StorageError:
    return StorageError(
        expected="a database that answers behind --storage",
        received=received,
        cure="check its URL, such as postgresql+psycopg://user@host/db with pip install 'autoprune[postgresql]'; "
        "in a password, write @ : and / as %40, %3A and %2F",
    )
