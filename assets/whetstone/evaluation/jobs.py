"""`whetstone rollback`: a previous champion serves again at once, the one after it is rejected, and Dagster hears of it."""

from pathlib import Path
from typing import Any

import dagster as dg

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import ARTIFACT_TAG, INPUT_TAG, key_of
from whetstone.platform.build import Builder
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.history import History
from whetstone.platform.registry import ShardSet, State, registry_of
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse

CHAMPION = key_of("models.champion")


def roll_back(builder: Builder, settings: Settings, to: str | None) -> list[str]:
    """Make a previous champion (name or version; default: the last) the champion; what now holds. WhetstoneError: none, or no weights."""
    registry, history, artifacts = registry_of(settings), builder.history, builder.artifacts
    pointers = registry.require()
    line = ", ".join(f"{each.name} ({each.version})" for each in pointers.previous)
    if not line:
        mend = "a previous champion is there once a build has promoted another one"
        raise WhetstoneError(f"nothing to roll back to: the champion {pointers.champion.name} has no previous one; {mend}")
    target = next((each for each in pointers.previous if to in (None, each.name, each.version)), None)
    if target is None:
        raise WhetstoneError(f"--to {to!r} is no previous champion; there are {line}")
    if not Path(target.path).is_dir():
        raise WhetstoneError(f"the weights of {target.name} are gone from {target.path}; choose another of {line} with --to, or train anew")
    found = next((each for each in registry.require_state().sets if each.encoder.version == target.version), None)
    whole = {category: name for category, name in (found.shards if found else {}).items() if not artifacts.damage(name)}
    serves = {category: name for category, name in whole.items() if category in history.categories}
    fresh = {c for c in serves if found and found.products.get(c) == history.seen_by(key_of("staging.products"), c)}
    behind = [category for category in history.categories if category not in fresh]
    published = ShardSet(target, found.thresholds, serves, found.products) if found and serves else None
    registry.roll_back(target, published)
    hear_of_rollback(settings, builder.instance, Warehouse(database=str(settings.warehouse_path)), artifacts)
    history.forget(CHAMPION)
    said = [f"champion: {target.name} ({target.version}) again; {pointers.champion.name} ({pointers.champion.version}) is rejected"]
    at_once = f"{len(serves)} of {len(history.categories)} categories serve at once"
    said += [at_once if published else "no shard of it is whole: what served goes on serving"]
    said += [f"will be rebuilt by `whetstone build`: {', '.join(behind)}"] if behind else []
    return said


def list_champions(state: State) -> list[str]:
    """A line for the champion, each that it can be rolled back to, the last first, and each version that was rejected."""
    pointers = state.bases[state.current]
    sets = {each.encoder.version: each for each in reversed(state.sets)}
    lines = []
    for role, each in [("champion", pointers.champion), *(("previous", each) for each in pointers.previous)]:
        found = sets.get(each.version)
        shards = f"{len(found.shards)} shards{', serves' if found is state.sets[0] else ''}" if found else "no set"
        lines.append(f"{role}  {each.name}  {each.version}  {shards}")
    return [*lines, *(f"rejected  {version}" for version in pointers.rejected)]


def hear_of_rollback(settings: Settings, instance: dg.DagsterInstance, warehouse: Warehouse, artifacts: Artifacts) -> None:
    """Report the champion's version to Dagster if it still holds a rejected one: vectors and index are stale then.

    The event has the inputs and the code version of the last one, so that the gate itself runs again only when evaluation changes.
    """
    pointers, last = registry_of(settings).read(), History(instance).latest(CHAMPION).get(None)
    if pointers is None or last is None or last.data_version not in pointers.rejected:
        return
    from whetstone.evaluation.contestants import encoders_of

    champion = pointers.champion
    is_there = ("marts.evaluation", None) in warehouse.written()  # a lost warehouse must not keep a build from mending it
    names = {version: name for name, version in encoders_of(warehouse.table("marts.evaluation")).items()} if is_there else {}
    name, before = names.get(champion.version, champion.name), names.get(last.data_version, last.data_version)
    reason = f"{before} was rolled back to {name} by `whetstone rollback`."
    facts: dict[str, Any] = {"promoted": False, "champion": name, "before": before, "reason": reason}
    decided = artifacts.make("promotion", {**facts, "version": champion.version}, lambda _: facts)
    kept = {tag: value for tag, value in last.tags.items() if tag.startswith(INPUT_TAG) or tag == "dagster/code_version"}
    tags = {**kept, ARTIFACT_TAG: decided.name.replace("/", "."), "dagster/data_version": champion.version}
    instance.report_runless_asset_event(dg.AssetMaterialization(CHAMPION, metadata=facts, tags=tags))
