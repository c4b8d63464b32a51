"""What Dagster remembers of past materialisations and checks: with `sqlite.py`, what touches its storage's internals.

Dagster's public API answers one partition at a time; status over thousands of partitions needs these two bulk queries.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.events import DagsterEventType
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetKeyTable, SqlEventLogStorageTable

from whetstone.platform.artifacts import fingerprint

TAG_LENGTH = 32  # versions are kept as tags, which Dagster cuts off at 63 characters
KILLED = "the build was killed"
NEVER = "never"  # the version of what was not made yet


@dataclass(frozen=True)
class Materialized:
    """The latest materialisation of an asset partition."""

    storage_id: int
    data_version: str
    code_version: str | None
    tags: dict[str, str]


class History:
    """The latest materialisations, read once an asset and remembered until `forget`."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self._latest: dict[dg.AssetKey, dict[str | None, Materialized]] = {}

    def forget(self, key: dg.AssetKey) -> None:
        """Read this asset anew when it is asked for next."""
        self._latest.pop(key, None)

    @cached_property
    def categories(self) -> list[str]:
        """Registered partitions."""
        return sorted(self.instance.get_dynamic_partitions("category"))

    def latest(self, key: dg.AssetKey) -> dict[str | None, Materialized]:
        """Latest materialisation by partition; an unpartitioned asset has the one partition None."""
        if key not in self._latest:
            self._latest[key] = self._read(key)
        return self._latest[key]

    def _read(self, key: dg.AssetKey, *where: Any) -> dict[str | None, Materialized]:
        """The latest materialisations of those that meet conditions, in one query: Dagster's own take a second for 200 partitions."""
        events, keys = SqlEventLogStorageTable.c, AssetKeyTable.c
        wiped = db.select(keys.wipe_timestamp).where(keys.asset_key == key.to_string()).scalar_subquery()
        ours = events.asset_key == key.to_string(), events.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value
        unwiped = db.or_(wiped.is_(None), events.timestamp > wiped)
        newest = db.select(db.func.max(events.id)).where(*ours, unwiped, *where).group_by(events.partition)
        storage: Any = self.instance.event_log_storage
        with storage.index_connection() as connection:
            rows = connection.execute(db.select(events.id, events.partition, events.event).where(events.id.in_(newest))).fetchall()
        found: dict[str | None, Materialized] = {}
        for storage_id, partition, event in rows:  # JSON, whose metadata may be large (plots) and stays packed
            tags = json.loads(event)["dagster_event"]["event_specific_data"]["materialization"]["tags"] or {}
            found[partition] = Materialized(storage_id, tags.get("dagster/data_version", NEVER), tags.get("dagster/code_version"), tags)
        if len(found) > 1:
            found.pop(None, None)  # of a time when the asset had no partitions
        return found

    def end(self, run: dg.DagsterRun) -> None:
        """Say of a run under way that its build was killed, even where a power cut left its own log unreadable."""
        try:
            self.instance.report_run_failed(run, KILLED)
        except db.exc.DatabaseError as error:
            if isinstance(error, db.exc.OperationalError):  # locked, full or read-only: not spoilt
                raise
            storage: Any = self.instance.event_log_storage
            for part in Path(storage.path_for_shard(run.run_id)).parent.glob(f"{run.run_id}.db*"):
                part.unlink()
            storage._initialized_dbs.discard(run.run_id)
            self.instance.report_run_failed(run, KILLED)

    def changed_since(self, key: dg.AssetKey, storage_id: int) -> dict[str, str]:
        """Categories of an asset whose version isn't the one they had at an earlier event, with their version then (`NEVER`: none)."""
        newer = {c: now for c, now in self.latest(key).items() if c in self.categories and now.storage_id > storage_id}
        before = self._read(key, SqlEventLogStorageTable.c.id < storage_id)
        then = {c: before[c].data_version if c in before else NEVER for c in newer if c is not None}
        return {c: version for c, version in then.items() if version != newer[c].data_version}

    def seen_by(self, parent: dg.AssetKey, partition: str | None) -> str:
        """The parent's version as a child sees it: its partition's, its only one's, or for an unpartitioned child all of them."""
        if partition is not None and parent not in self._latest:  # a step asks this of each of its inputs: the others aren't read
            column = SqlEventLogStorageTable.c.partition
            latest = self._read(parent, db.or_(column == partition, column.is_(None)))
        else:
            latest = self.latest(parent)
        if partition is not None or None in latest:
            made = latest.get(partition) or latest.get(None)
            return made.data_version[:TAG_LENGTH] if made else NEVER
        versions = {c: latest[c].data_version if c in latest else NEVER for c in self.categories}
        return fingerprint(versions) if latest else NEVER

    def unpassed_checks(self, keys: list[dg.AssetCheckKey]) -> dict[tuple[dg.AssetKey, str | None], list[str]]:
        """Names of the checks that did not pass on the latest materialisation, by asset and partition.

        A check that a kill kept from running counts too: otherwise the next build would walk past it. One query: Dagster's own asks for
        each check anew, which takes seconds for a few hundred of them.
        """
        checks = AssetCheckExecutionsTable.c
        newest = db.select(db.func.max(checks.id)).group_by(checks.asset_key, checks.check_name, checks.partition)
        columns = [checks.asset_key, checks.check_name, checks.partition, checks.materialization_event_storage_id]
        query = db.select(*columns).where(checks.id.in_(newest), checks.execution_status == AssetCheckExecutionRecordStatus.SUCCEEDED.value)
        storage: Any = self.instance.event_log_storage
        with storage.index_connection() as connection:
            passed = {tuple(row) for row in connection.execute(query)}
        unpassed: dict[tuple[dg.AssetKey, str | None], list[str]] = {}
        for key in keys:
            for partition, made in self.latest(key.asset_key).items():
                if (key.asset_key.to_string(), key.name, partition, made.storage_id) not in passed:
                    unpassed.setdefault((key.asset_key, partition), []).append(key.name)
        return unpassed
