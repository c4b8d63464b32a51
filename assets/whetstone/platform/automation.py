"""When Dagster re-runs what by itself: on changed *content*, not on every re-run of a parent.

`AutomationCondition.eager()` ignores data versions, and two of its parts lose updates; these conditions were tried tick by
tick, and the sweep (`staleness.py`) repairs what a condition may still miss.
"""

from typing import Any

import dagster as dg

from whetstone.platform.resources import WithArtifacts
from whetstone.platform.warehouse import Warehouse

AC: Any = dg.AutomationCondition  # its combinators mix asset and check keys in ways that mypy can't follow

ON_CONTENT_CHANGE = (
    (AC.newly_missing() | AC.code_version_changed() | AC.any_deps_match(AC.data_version_changed())).since_last_handled()
    & ~AC.any_deps_missing()
    & ~AC.any_deps_in_progress()
    & ~AC.in_progress()
    & AC.all_deps_blocking_checks_passed()  # otherwise automation walks past a check that failed in an earlier run
).with_label("on_content_change")

NIGHTLY_IF_CHANGED = (
    AC.cron_tick_passed("0 3 * * *")
    & (AC.missing() | AC.any_deps_match(AC.data_version_changed()).since(AC.newly_updated()))
    & ~AC.any_deps_missing()
    & ~AC.in_progress()
    & AC.all_deps_blocking_checks_passed()
).with_label("nightly_if_changed")


def automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """Dagster's automation for every asset. No backfills: with dynamic partitions they die in 1.13 and are slower."""
    how: dict[str, Any] = {"emit_backfills": False, "default_status": dg.DefaultSensorStatus.RUNNING, "minimum_interval_seconds": 30}
    return dg.AutomationConditionSensorDefinition("default_automation_condition_sensor", target=dg.AssetSelection.all(), **how)


def sweep_sensor() -> dg.SensorDefinition:
    """Hourly, and level-triggered: requests what is stale although its inputs are not, whatever events were lost.

    It repairs what was built before; the first build is `whetstone build` or a backfill.
    """

    @dg.sensor(name="sweep", asset_selection="*", minimum_interval_seconds=3600, default_status=dg.DefaultSensorStatus.RUNNING)
    def sweep(context: dg.SensorEvaluationContext, artifacts: WithArtifacts, warehouse: Warehouse) -> list[dg.RunRequest] | dg.SkipReason:
        """One run for each stale partition whose inputs are up to date; a partition that keeps failing is tried once an input version."""
        from whetstone.platform.history import History
        from whetstone.platform.staleness import Graph, stale_partitions

        if context.repository_def is None:
            return dg.SkipReason("no definitions are loaded")
        graph, history = Graph(context.repository_def.asset_graph), History(context.instance)
        stale = stale_partitions(graph, history, artifacts.damage, warehouse.written())
        waiting = {each.place for each in stale}
        requests = [
            dg.RunRequest(asset_selection=[each.key], partition_key=each.partition, run_key=graph.state_of(each, history))
            for each in stale
            if history.latest(each.key) and not waiting & set(graph.inputs(each.place, history.categories))
        ]
        return requests or dg.SkipReason("nothing is stale whose inputs are up to date")

    return sweep
