"""`@asset`: Dagster's decorator with the house's rules.

- the key is `[schema, function name]`, which is also the table's name;
- the versions of the inputs are read *before* the work and kept as tags, so that staleness compares what was really used;
- `uses` names the settings that change the result: their values are part of the code version (`with_settings`).
"""

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import dagster as dg

from whetstone.platform.artifacts import Artifact, fingerprint
from whetstone.platform.automation import NIGHTLY_IF_CHANGED, ON_CONTENT_CHANGE
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.history import History
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.warehouse import Written

LOG = logging.getLogger("whetstone.build")
INPUT_TAG = "whetstone/"
ARTIFACT_TAG = "whetstone-artifact/name"
BUILD_TAG = "whetstone/build"
WAITS_TAG = "whetstone/waits"  # changed rows that a table doesn't take in until there are more of them
OWNERS = ["team:search"]
Contents: TypeAlias = dict[tuple[str, str | None], tuple[str, Mapping[str, Any]]]
"""Version and metadata of what is reported and not made by a step of its own, by table and category."""


def key_of(table: str) -> dg.AssetKey:
    """`schema.name` as an asset key."""
    return dg.AssetKey(table.split("."))


def table_of(key: dg.AssetKey) -> str:
    """An asset key as `schema.name`."""
    return ".".join(key.path)


def asset(
    *,
    schema: str,
    group: str,
    kinds: set[str],
    deps: Iterable[str] = (),
    uses: Sequence[str] = (),
    version: str = "1",
    name: str | None = None,
    by_category: bool = True,
    nightly: bool = False,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., dg.MaterializeResult]], dg.AssetsDefinition]:
    """Declare an asset. `deps` are tables or artifacts as `schema.name`; `version` is bumped when the code's answer changes."""

    def declare(function: Callable[..., dg.MaterializeResult]) -> dg.AssetsDefinition:
        @functools.wraps(function)
        def with_inputs(context: dg.AssetExecutionContext, **resources: Any) -> dg.MaterializeResult:
            partition = context.partition_key if context.has_partition_key else None
            place = f"{table_of(context.asset_key)}[{partition}]" if partition else table_of(context.asset_key)
            LOG.info("%s", place, extra={"event": "start"})
            inputs = input_tags(context)
            made = function(context, **resources)
            LOG.info("%s", place, extra={"event": "end"})
            return made._replace(tags={**(made.tags or {}), **inputs})

        return dg.asset(
            key=[schema, name or function.__name__],
            deps=[key_of(dep) for dep in deps],
            group_name=group,
            kinds=kinds,
            owners=OWNERS,
            description=description or function.__doc__,
            partitions_def=CATEGORIES if by_category else None,
            automation_condition=NIGHTLY_IF_CHANGED if nightly else ON_CONTENT_CHANGE,
            code_version=version,
            metadata={**(metadata or {}), "whetstone/uses": list(uses)},
        )(with_inputs)

    return declare


def input_tags(context: dg.AssetExecutionContext) -> dict[str, str]:
    """The version of every input as this asset (partition) sees it now."""
    partition = context.partition_key if context.has_partition_key else None
    history = History(context.instance)
    parents = context.assets_def.asset_deps[context.asset_key]
    return {f"{INPUT_TAG}{table_of(parent)}": history.seen_by(parent, partition) for parent in sorted(parents)}


def changed_contents(history: History, contents: Contents) -> list[dg.AssetMaterialization]:
    """What to tell Dagster: those whose content isn't the one that it knows."""
    events = []
    for (table, partition), (version, metadata) in sorted(contents.items(), key=str):
        last = history.latest(key_of(table)).get(partition)
        if last is None or last.data_version != version:
            tags = {"dagster/data_version": version}
            events.append(dg.AssetMaterialization(key_of(table), partition=partition, metadata=metadata, tags=tags))
    return events


def result(
    written: Written | None = None,
    *,
    artifact: Artifact | None = None,
    version: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.MaterializeResult:
    """What an asset returns: the content version of what it wrote, or its artifact's version, with the row count."""
    found = version or (written.version if written else None) or (artifact.version if artifact else None)
    if found is None:
        raise ValueError("an asset returns a content version: give written, artifact or version")
    counts = {"dagster/row_count": written.count_rows} if written else {}
    tags = {ARTIFACT_TAG: artifact.name.replace("/", ".")} if artifact else {}
    if written and written.count_held:
        tags[WAITS_TAG] = str(written.count_held)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(found),
        metadata={**counts, **(metadata or {})},
        tags=tags,
    )


def with_settings(definition: dg.AssetsDefinition, settings: Any) -> dg.AssetsDefinition:
    """The same asset with the values of the settings it uses in its code version."""

    def versioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        uses = spec.metadata.get("whetstone/uses", [])
        values = {name: str(getattr(settings, name)) for name in uses}
        return spec.replace_attributes(code_version=f"{spec.code_version}-{fingerprint(values)[:8]}" if values else spec.code_version)

    return definition.map_asset_specs(versioned)


def artifact_name(instance: dg.DagsterInstance, table: str, partition: str | None = None) -> str:
    """`kind/version` of the artifact that an asset (partition) made last; WhetstoneError: it was never made."""
    names = artifact_names(instance, table)
    if partition not in names:
        raise WhetstoneError(f"{table}{f'[{partition}]' if partition else ''} was never built; run `whetstone build`")
    return names[partition]


def artifact_names(instance: dg.DagsterInstance, table: str) -> dict[str | None, str]:
    """The same for every registered category (None for an asset without categories)."""
    history = History(instance)
    made = {place: each.tags.get(ARTIFACT_TAG) for place, each in history.latest(key_of(table)).items()}
    return {place: tag.replace(".", "/", 1) for place, tag in made.items() if tag and place in {None, *history.categories}}
