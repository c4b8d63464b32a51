"""What a build comes to: two builds are the same when their states are equal."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import Shop

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import ARTIFACT_TAG, table_of
from whetstone.platform.history import History
from whetstone.platform.registry import registry_of
from whetstone.platform.warehouse import content_version, exists

State = dict[str, Any]
TABLES = "select schema_name || '.' || table_name from duckdb_tables() where schema_name in ('raw', 'staging', 'marts') order by 1"


def state(shop: Shop) -> State:
    """Content of every table, version and artifact of every asset partition, what the registry points to, and the paid grades."""
    history, registry = History(shop.instance), registry_of(shop.settings)
    pointers, sets = registry.require(), registry.require_state().sets
    found: State = {"encoders": [each.version for each in (pointers.base, pointers.incumbent, pointers.champion)]}
    found["served"] = [(each.encoder.version, each.thresholds, each.shards) for each in sets]
    for key in shop.instance.get_asset_keys():
        for partition, made in history.latest(key).items():
            if partition in {None, *history.categories}:
                artifact = made.tags.get(ARTIFACT_TAG)
                found[f"{table_of(key)}[{partition}]"] = (made.data_version, artifact)
                assert not artifact or not Artifacts(shop.settings.root / "artifacts").damage(artifact.replace(".", "/", 1))
    if found.pop("reports.report[None]", None):  # its version holds what the last build paid, and that depends on the builds
        report = json.loads((shop.settings.root / "report" / "report.json").read_text())
        for row in report["grades"]:
            del row["new_in_last_build"], row["usd_of_last_build"]
        found["report"] = report | {"created_at": None}
    with shop.warehouse().get_connection() as connection:
        for (table,) in connection.execute(TABLES).fetchall():
            found[table] = content_version(connection, table)
        if exists(connection, "ledger.grades"):
            found["ledger"] = connection.execute("select key, count(*) from ledger.grades group by key order by key").fetchall()
            assert all(count == 1 for _, count in found["ledger"])  # nothing was paid for twice
    return found
