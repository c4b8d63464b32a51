"""Checks of mining: how much the channels find in common is what it was."""

import dagster as dg

from whetstone.platform.asset import key_of
from whetstone.platform.partitions import CATEGORIES

DRIFT = 0.1  # of the share that two channels have in common


@dg.asset_check(
    asset=key_of("marts.channel_overlap"),
    partitions_def=CATEGORIES,
    description=f"No overlap of two channels moved by more than {DRIFT:g} since the content before: a channel may have broken.",
)
def overlap_is_steady(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Compare the overlaps that the last two materialisations of the category report."""
    one = dg.AssetRecordsFilter(key_of("marts.channel_overlap"), asset_partitions=[context.partition_key])
    records = context.instance.fetch_materializations(one, limit=2).records
    now, before = ([each.asset_materialization.metadata for each in records if each.asset_materialization] + [{}, {}])[:2]
    shares = {name: (before[name].value, now[name].value) for name in now if name.startswith("overlap_") and name in before}
    moved = {name: pair for name, pair in shares.items() if abs(pair[1] - pair[0]) > DRIFT}
    said = ", ".join(f"{name} {old:.2f} -> {new:.2f}" for name, (old, new) in (moved or shares).items())
    return dg.AssetCheckResult(passed=not moved, severity=dg.AssetCheckSeverity.WARN, description=said or "nothing to compare with")


CHECKS = [overlap_is_steady]
