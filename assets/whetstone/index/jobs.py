"""`whetstone gc`: removes what no latest materialisation, no set that serves or may serve again, and no encoder in use needs."""

import shutil

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from whetstone.platform.asset import BUILD_TAG, artifact_names, table_of
from whetstone.platform.build import Builder
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.registry import registry_of
from whetstone.platform.settings import Settings
from whetstone.platform.warehouse import Warehouse, exists


def collect_garbage(builder: Builder, settings: Settings, dry_run: bool) -> list[tuple[str, int, int]]:
    """Remove (a dry run only counts) artifacts and cached vectors: kind, number, bytes. The caller holds the build's lock.

    WhetstoneError: Dagster has a run in progress, which may be about to use what nothing needs now.
    """
    from whetstone.platform.vectors import VectorStore

    instance, warehouse = builder.instance, Warehouse(database=str(settings.warehouse_path))
    # What a killed `whetstone build` left in progress is dead: the lock is ours.
    running = instance.get_runs(dg.RunsFilter(statuses=list(IN_PROGRESS_RUN_STATUSES)))
    if active := [run.run_id for run in running if BUILD_TAG not in run.tags]:
        raise WhetstoneError(f"Dagster runs {', '.join(active)}; wait until it is done, or terminate it in the Dagster UI")
    on_disk = sorted(builder.artifacts.root.glob("*/*"))  # what a kill left half-made, too: hidden folders that nobody needs
    needed = {name for key in instance.all_asset_keys() for name in artifact_names(instance, table_of(key)).values()}
    state = registry_of(settings).state()
    for each in state.sets if state else ():
        needed |= {each.thresholds, *each.shards.values()}
    needed |= {f"checkpoint/{version}" for version in (state.encoders if state else ())}
    garbage: dict[str, list[int]] = {}
    for path in on_disk:
        if f"{path.parent.name}/{path.name}" not in needed:
            garbage.setdefault(path.parent.name, []).append(sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))
            if not dry_run:
                shutil.rmtree(path)
    with warehouse.get_connection() as connection:
        tables = [table for table in ("raw.catalog", "staging.products") if exists(connection, table)]
        hashes = {row[0] for table in tables for row in connection.execute(f"select text_hash from {table}").fetchall()}
    encoders = {*(state.encoders if state else ()), *(name.split("/")[1] for name in needed if name.startswith("checkpoint/"))}
    vectors = VectorStore(settings.root / "vectors").keep(hashes, encoders, dry_run)
    return [*((kind, len(sizes), sum(sizes)) for kind, sizes in garbage.items()), ("cached vectors", *vectors)]
