"""What `whetstone gc` keeps, and what it waits for, on the toy shop."""

import dagster as dg
import pytest

from whetstone.evaluation.jobs import roll_back
from whetstone.index.jobs import collect_garbage
from whetstone.platform.asset import BUILD_TAG
from whetstone.platform.errors import WhetstoneError


def test_gc_keeps_what_serves_or_may_serve_again_and_removes_the_rest(promoted) -> None:
    def on_disk() -> set[str]:
        return {f"{path.parent.name}/{path.name}" for path in promoted.artifacts.root.glob("*/*")}

    stray = promoted.checkpoint("stray")
    (promoted.artifacts.root / "checkpoint" / ".half.made").mkdir()
    every = on_disk()
    assert ("checkpoint", 2) in {each[:2] for each in collect_garbage(promoted.builder(), promoted.settings, dry_run=True)}
    assert on_disk() == every
    collect_garbage(promoted.builder(), promoted.settings, dry_run=False)
    gone = every - on_disk()
    assert {f"checkpoint/{stray}", "checkpoint/.half.made"} <= gone and not gone & {f"checkpoint/{promoted.good}"}
    for served in promoted.registry.require_state().sets:
        for name in (served.thresholds, *served.shards.values()):
            promoted.artifacts.open(name)
    assert promoted.build() == []
    assert "2 of 2 categories serve at once" in roll_back(promoted.builder(), promoted.settings, None)


def test_gc_waits_for_runs_of_the_daemon_but_not_for_a_killed_build(promoted) -> None:
    job = promoted.builder().job
    for tags in ({BUILD_TAG: "build-1"}, {}):
        promoted.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
        if tags:
            collect_garbage(promoted.builder(), promoted.settings, dry_run=True)
    with pytest.raises(WhetstoneError, match="terminate it in the Dagster UI"):
        collect_garbage(promoted.builder(), promoted.settings, dry_run=True)
