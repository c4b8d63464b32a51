"""Dagster's SQLite files: what is written is there for other processes, after a kill too, and the disk is not waited for."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db
from sqlalchemy.pool import NullPool

from whetstone.platform import sqlite
from whetstone.platform.history import KILLED, History

WRITER = """
import os, signal, sys, dagster as dg
from pathlib import Path
from whetstone.platform.sqlite import without_waiting
without_waiting(Path(sys.argv[1]))
instance = dg.DagsterInstance.local_temp(sys.argv[1])
instance.report_runless_asset_event(dg.AssetMaterialization("a", tags={"dagster/data_version": "7"}))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    sqlite._folders.clear()
    while sqlite._kept:
        sqlite._kept.popitem()[1].close()


def write(path: Path, folder: Path | None = None) -> tuple[str, int]:
    """Write a row as Dagster does, on a connection of its own; journal mode and synchronous level of that connection."""
    sqlite.without_waiting(folder or path.parent)
    sqlite.without_waiting(folder or path.parent)  # once is enough
    engine = db.create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.connect() as connection, connection.begin():
        connection.execute(db.text("create table if not exists t (x)"))
        connection.execute(db.text("insert into t values (1)"))
        modes = [connection.execute(db.text(f"pragma {name}")).scalar_one() for name in ("journal_mode", "synchronous")]
    engine.dispose()
    return modes[0], modes[1]


def rows(path: Path) -> int:
    """Rows that another process sees."""
    said = subprocess.run(
        [sys.executable, "-c", f"import sqlite3; print(sqlite3.connect({str(path)!r}).execute('select count(*) from t').fetchone()[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(said.stdout)


def test_a_file_of_the_instance_keeps_its_log_and_others_read_it(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    assert write(path) == ("wal", 1)  # normal: a commit doesn't wait
    assert write(path) == ("wal", 1)
    log = tmp_path / "index.db-wal"
    assert log.stat().st_size > 0 and rows(path) == 2  # without the kept connection it is gone with the last close, which waits
    other = tmp_path / "another" / "index.db"
    other.parent.mkdir()
    write(other)
    assert not log.exists() and rows(path) == 2 and rows(other) == 1  # one instance at a time: the first one's log was emptied


def test_a_file_of_somebody_else_stays_as_it_is(tmp_path: Path) -> None:
    assert write(tmp_path / "index.db", tmp_path / "dagster") == ("delete", 2) and not sqlite._kept


def test_the_file_of_a_run_is_whole_after_every_close(tmp_path: Path) -> None:
    """The UI follows the file, not its log."""
    path = tmp_path / "0123.db"
    assert write(path) == ("wal", 0)
    assert not (tmp_path / "0123.db-wal").exists() and rows(path) == 1


def test_a_file_that_cannot_be_read_is_told_by_whoever_needs_it(tmp_path: Path) -> None:
    (tmp_path / "index.db").write_bytes(b"no database" * 400)
    with pytest.raises(db.exc.DatabaseError, match="not a database"):
        write(tmp_path / "index.db")
    assert write(tmp_path / "runs.db") == ("wal", 1)


def test_a_file_keeps_its_engine_and_two_instances_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite.without_waiting(tmp_path)
    made: list[str] = []

    def counted(url: str, **how: Any) -> db.Engine:
        made.append(url)
        return db.create_engine(url, **how)

    for name in sqlite.STORAGES:
        monkeypatch.setattr(f"dagster._core.storage.{name}.create_engine", sqlite._remembered(counted))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        instance = dg.DagsterInstance.local_temp(str(tmp_path / name))
        opened = len(made)
        for number in range(20):
            tags = {"dagster/data_version": f"{name}{number}"}
            instance.report_runless_asset_event(dg.AssetMaterialization("asset", tags=tags))
        assert len(made) - opened <= 2  # the file of events of no run, and at most another that was not needed before
        [latest] = History(instance).latest(dg.AssetKey("asset")).values()
        assert latest.data_version == f"{name}19"


@pytest.mark.parametrize("name", sqlite.STORAGES)
def test_each_of_dagsters_storages_keeps_its_engines(tmp_path: Path, name: str) -> None:
    sqlite.without_waiting(tmp_path)
    create_engine = import_module(f"dagster._core.storage.{name}").create_engine
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    assert create_engine(url, poolclass=NullPool) is create_engine(url, poolclass=NullPool)


def test_engines_of_other_kinds_of_files_are_told_apart() -> None:
    remembered = sqlite._remembered(db.create_engine)
    patient = remembered("sqlite://", poolclass=NullPool, connect_args={"timeout": 60})
    assert patient is remembered("sqlite://", poolclass=NullPool, connect_args={"timeout": 60})
    assert patient is not remembered("sqlite://", poolclass=NullPool)
    assert patient is not remembered("sqlite:///other", poolclass=NullPool, connect_args={"timeout": 60})


def test_a_kill_loses_no_event(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], env={**os.environ, "DAGSTER_HOME": ""}, check=False)
    assert done.returncode == -signal.SIGKILL
    with sqlite3.connect(tmp_path / "history" / "runs" / "index.db") as connection:
        [(event,)] = connection.execute("select event from event_logs where dagster_event_type = 'ASSET_MATERIALIZATION'").fetchall()
    assert '"dagster/data_version": "7"' in event


def test_a_run_whose_own_log_a_power_cut_spoilt_is_ended(tmp_path: Path) -> None:
    sqlite.without_waiting(tmp_path)
    instance = dg.DagsterInstance.local_temp(str(tmp_path))
    run = instance.create_run_for_job(dg.GraphDefinition("empty").to_job(), status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("under way", run)
    [log] = (tmp_path / "history" / "runs").glob(f"{run.run_id}.db")
    log.write_bytes(log.read_bytes()[:2000] + bytes(log.stat().st_size - 2000))
    History(instance).end(run)
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None and ended.status == dg.DagsterRunStatus.FAILURE
    assert [entry.message for entry in instance.all_logs(run.run_id)] == [KILLED]  # what the file held before is gone


def test_the_log_of_a_run_stays_where_it_only_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = dg.DagsterInstance.local_temp(str(tmp_path))
    run = instance.create_run_for_job(dg.GraphDefinition("empty").to_job(), status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("under way", run)
    with monkeypatch.context() as patch:
        locked = db.exc.OperationalError("insert", {}, sqlite3.OperationalError("database is locked"))
        patch.setattr(instance, "report_run_failed", lambda *_: raise_(locked))
        with pytest.raises(db.exc.OperationalError, match="locked"):
            History(instance).end(run)
    assert [entry.message for entry in instance.all_logs(run.run_id)] == ["under way"]


def raise_(error: Exception) -> None:
    raise error
