"""Checks of the feed: it is fresh, and a category didn't shrink or grow by so much that the feed itself may be broken. All warn."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from whetstone.platform.asset import key_of
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.resources import WithSettings
from whetstone.platform.warehouse import Warehouse

DRIFT = 0.2  # share of a category's products by which their number may change from one landing to the next


@dg.asset_check(asset=key_of("raw.catalog"))
def feed_is_fresh(settings: WithSettings) -> dg.AssetCheckResult:
    """The newest file of the source is no older than `fresh_days` in its source.yml; a source that declares no limit passes."""
    from whetstone.catalog.source import open_source

    source = open_source(settings)
    times = [path.stat().st_mtime for paths in source.files.values() for path in paths]
    newest, limit = datetime.fromtimestamp(max(times, default=0), UTC), source.spec.fresh_days
    passed = limit is None or datetime.now(UTC) - newest <= timedelta(days=limit)
    said = f"the newest file is of {newest:%Y-%m-%d %H:%M} UTC; fresh_days in source.yml is {limit or 'not set'}"
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, description=said)


@dg.asset_check(asset=key_of("staging.products"), partitions_def=CATEGORIES)
def count_is_steady(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """The category has no more than `DRIFT` (a fifth) fewer or more products than with the landing before."""
    counts = [step.count_rows for step in warehouse.written().get(("staging.products", context.partition_key), ())][-2:]
    passed = len(counts) < 2 or not counts[0] or abs(counts[1] - counts[0]) <= DRIFT * counts[0]  # 0: an older home didn't count
    said = f"{' -> '.join(f'{count:,}' for count in counts)} products"
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, description=said)


CHECKS = [feed_is_fresh, count_is_steady]
