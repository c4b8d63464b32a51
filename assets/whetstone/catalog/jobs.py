"""The feed: notices what changed in a shop's files, lands it, and tells Dagster the new content versions. No run, no work downstream.

`refresh` is what both the sensor and `whetstone build` call. A feed is all or nothing: bad input raises and leaves the last good
landing in place. What was made for a category that left the catalog goes before Dagster forgets it, so a kill on the way repairs itself.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import Contents, changed_contents, key_of
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_write, file_sha256
from whetstone.platform.history import History
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.registry import registry_of
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse, exists
from whetstone.platform.weights import encoder_folder


@dataclass
class Feed:
    """What changed since Dagster last heard: versions to report and categories that came or went."""

    events: list[dg.AssetMaterialization] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


def refresh(settings: Settings, warehouse: Warehouse, instance: dg.DagsterInstance, seen: str | None = None) -> Feed:
    """Land the source if its files changed, and compare what is landed with what Dagster knows.

    `seen` is the fingerprint that the files must still have. WhetstoneError: they have not, or break a contract; nothing was changed.
    """
    landed = _land_if_changed(settings, warehouse, seen)
    versions: Contents = {}
    names = landed["category_names"]
    for table, of_categories in landed["category_versions"].items():
        for category, version in of_categories.items():
            metadata = {"dagster/row_count": landed["category_counts"][table][category], "name": names[category]}
            versions[f"raw.{table}", category] = (version, metadata)
    versions["raw.queries", None] = (landed["queries_version"], {"dagster/row_count": landed["counts"]["queries"]})
    versions["raw.synonyms", None] = (landed["synonyms_version"], {})
    history, registry = History(instance), registry_of(settings)
    pointers = registry.start(settings.encoder, lambda: encoder_folder(settings.encoder))
    incumbent, base = pointers.incumbent, pointers.base.version
    versions["models.incumbent_encoder", None] = (incumbent.version, {"encoder": incumbent.name, "path": incumbent.path})
    told, state = history.latest(key_of("models.champion")).get(None), registry.require_state()
    if told and told.data_version not in {*state.encoders, *pointers.rejected}:  # the registry was lost: the gate is asked again
        versions["models.champion", None] = (base, {})
    if not state.sets and history.latest(key_of("models.shard_set")):  # it was lost: its answer is published again
        versions["models.shard_set", None] = (base, {})

    known, wanted = set(history.categories), set(names)
    feed = Feed(added=sorted(wanted - known), removed=sorted(known - wanted), dropped=landed["dropped"])
    feed.events = changed_contents(history, versions)
    # A run that was under way when its category left may have written rows since: the warehouse is asked, too.
    if gone := sorted({*known, *(category for _, category in warehouse.written() if category)} - wanted):
        _forget(gone, settings, warehouse)
    return feed


def _forget(categories: list[str], settings: Settings, warehouse: Warehouse) -> None:
    """Remove the rows, vectors and indexes of categories, and the cached vectors of texts that no product has any more."""
    from whetstone.platform.vectors import VectorStore

    for category in categories:
        warehouse.drop_category(category)
        Artifacts(settings.root / "artifacts").drop_category(category)
    VectorStore(settings.root / "vectors").keep(warehouse.read("select distinct text_hash from raw.catalog")["text_hash"].tolist())


def apply(feed: Feed, instance: dg.DagsterInstance) -> None:
    """Tell an instance what changed (the sensor's result does the same through the daemon)."""
    if feed.added:
        instance.add_dynamic_partitions("category", feed.added)
    for category in feed.removed:
        instance.delete_dynamic_partition("category", category)
    for event in feed.events:
        instance.report_runless_asset_event(event)


@dg.sensor(name="feed", minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING, description=__doc__)
def feed_sensor(
    context: dg.SensorEvaluationContext, settings: dg.ResourceParam[Settings], warehouse: Warehouse
) -> dg.SensorResult | dg.SkipReason:
    """Lands files that are the same as at the look before, which the cursor remembers, and reports changed categories."""
    from whetstone.catalog.source import fingerprint, open_source

    try:
        seen = fingerprint(open_source(settings, require_files=True))
        if seen != context.cursor:
            context.update_cursor(seen)
            return dg.SkipReason("the source's files are new or changed; they are landed once two looks find them the same")
        feed = refresh(settings, warehouse, context.instance, seen)
    except WhetstoneError as error:
        return dg.SkipReason(str(error))
    requests: list[Any] = [CATEGORIES.build_add_request(feed.added)] if feed.added else []
    requests += [CATEGORIES.build_delete_request(feed.removed)] if feed.removed else []
    if not feed.events and not requests:
        return dg.SkipReason("the source's files hold what was landed last")
    return dg.SensorResult(dynamic_partitions_requests=requests, asset_events=feed.events)


def _land_if_changed(settings: Settings, warehouse: Warehouse, seen: str | None) -> dict[str, Any]:
    from whetstone.catalog import contracts, landing, reading, slugs, text
    from whetstone.catalog.source import fingerprint, open_source

    source = open_source(settings, require_files=True)
    modules = (contracts, landing, reading, slugs, text)  # a landing by other code is another landing
    seen = seen or fingerprint(source)
    state = "".join([seen, *(file_sha256(Path(str(module.__file__))) for module in modules)])
    path = settings.root / "feed.json"
    try:
        last: dict[str, Any] = {**json.loads(path.read_text())} if path.exists() else {}
    except (ValueError, TypeError):  # a damaged note of the last landing: land again
        last = {}
    with warehouse.get_connection() as connection:
        tables = ("catalog", "queries", "judgments", "engagement")
        if last.get("fingerprint") == state and all(exists(connection, f"raw.{table}") for table in tables):
            return last
        landed = asdict(landing.land(connection, source, seen))
    landed["synonyms_version"] = file_sha256(source.synonyms) if source.synonyms else "none"
    atomic_write(path, json.dumps({**landed, "fingerprint": state}, indent=1))
    return landed
