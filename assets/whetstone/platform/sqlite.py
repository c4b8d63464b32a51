"""Dagster's SQLite files without a wait for the disk at every event, or an engine made anew for every statement.

Dagster opens a connection a statement and closes it, 50 times for a small step. Each commit then waits for the disk, and so does each
close, because the last connection to a write-ahead log empties it. Here a commit waits for nothing, and of the files of the whole
instance a connection stays, which keeps their log: the disk is waited for once in a thousand pages. A process that is killed loses no
event. After a power cut the last events may be missing, and their steps run again; the log of a run that was under way may be unreadable,
and a build then drops it (`History.end`).

Each connection also has an SQLAlchemy engine of its own, which compiles its SQL anew. Here a file keeps its engine, but no connection.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

OF_THE_INSTANCE = ("index", "runs", "schedules")
STORAGES = ("event_log.sqlite.sqlite_event_log", "runs.sqlite.sqlite_run_storage", "schedules.sqlite.sqlite_schedule_storage")
ENGINES = 32  # files whose engines a storage keeps: the instance's, and those of its last runs
_folders: set[Path] = set()
_kept: dict[str, sqlite3.Connection] = {}


def without_waiting(folder: Path) -> None:
    """From now on in this process, for the SQLite files of the instance whose files lie below `folder`."""
    _folders.add(folder.resolve())
    if not event.contains(Engine, "connect", _connected):
        event.listen(Engine, "connect", _connected)
        for name in STORAGES:
            storage: Any = import_module(f"dagster._core.storage.{name}")
            storage.create_engine = _remembered(storage.create_engine)


def _remembered(create_engine: Callable[..., Engine]) -> Callable[..., Engine]:
    """The same function, that answers with the same engine for the same file."""

    @lru_cache(ENGINES)
    def engine_of(url: str, connect_args: tuple[tuple[str, Any], ...], **how: Any) -> Engine:
        return create_engine(url, connect_args=dict(connect_args), **how)

    return lambda url, connect_args=None, **how: engine_of(url, tuple((connect_args or {}).items()), **how)


def _connected(connection: Any, _record: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    path = Path(connection.execute("pragma database_list").fetchone()[2])
    if _folders.isdisjoint(path.parents):
        return
    with suppress(sqlite3.Error):  # a file that can't be read or written is told by whoever needs it
        connection.execute("pragma journal_mode = wal")
        if path.stem not in OF_THE_INSTANCE:  # of a run: the UI follows the file itself, so its log is emptied at every close
            connection.execute("pragma synchronous = off")
            return
        connection.execute("pragma synchronous = normal")
        for other in [each for each in _kept if Path(each).name == path.name and each != str(path)]:  # another instance is open now
            if closing := _kept.pop(other, None):
                closing.close()
        stays = _kept.get(str(path)) or _kept.setdefault(str(path), sqlite3.connect(path, check_same_thread=False))
        stays.execute("select count(*) from sqlite_master").fetchall()  # only a reader counts as connected to the log
