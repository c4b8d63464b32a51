"""Checks of grading: the cascade agrees with humans well enough to go on, and nothing was left unasked."""

import dagster as dg

from whetstone.grading.assets import COUNTS
from whetstone.platform.asset import artifact_name, key_of
from whetstone.platform.partitions import CATEGORIES
from whetstone.platform.resources import WithArtifacts, WithSettings
from whetstone.platform.warehouse import Warehouse


@dg.asset_check(asset=key_of("models.calibration"), blocking=True)
def agreement_at_floor(context: dg.AssetCheckExecutionContext, settings: WithSettings, artifacts: WithArtifacts) -> dg.AssetCheckResult:
    """Agreement of the cascade with human judgments of dev queries is at the floor (WHETSTONE_AGREEMENT_FLOOR) or above."""
    report = artifacts.open(artifact_name(context.instance, "models.calibration")).facts["report"]
    if report is None:
        return dg.AssetCheckResult(passed=True, description="not measured: there are no answers to human-judged pairs of two dev queries")
    agreement = report["accuracy"]
    interval = "" if agreement["low"] is None else f" [{agreement['low']:.3f}, {agreement['high']:.3f}]"
    return dg.AssetCheckResult(
        passed=agreement["mean"] >= settings.agreement_floor,
        description=f"agreement is {agreement['mean']:.3f}{interval}, the floor is {settings.agreement_floor}",
        metadata={"agreement": agreement["mean"], "pairs": report["pairs"]},
    )


@dg.asset_check(asset=key_of("marts.grades"), partitions_def=CATEGORIES)
def everything_was_asked(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> dg.AssetCheckResult:
    """No pair was left unasked for want of a key, money or a server's answer.

    A warning, not a stop: what was not asked is settled by the stages before, and rarely sure enough for a tier.
    """
    query = f"select stage, unanswered, why from {COUNTS} where category = $category and unanswered > 0"
    rows = warehouse.read(query, {"category": context.partition_key})
    return dg.AssetCheckResult(
        passed=rows.empty,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{row.stage}: {row.why}" for row in rows.itertuples()) or "all pairs were asked",
        metadata={"unanswered": int(rows["unanswered"].sum())},
    )


CHECKS = [agreement_at_floor, everything_was_asked]
