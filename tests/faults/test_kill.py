"""kill -9 in the middle of every asset of a full build, and builds that meet: what comes out is what an undisturbed build makes."""

from __future__ import annotations

import signal

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES
from tests.faults.conftest import Family
from tests.faults.states import state


def test_a_build_that_is_killed_in_every_asset_ends_as_if_nothing_had_happened(family: Family) -> None:
    shop = family.shop("kill")
    killed = (shop.settings.home / "killed").read_text().split()
    assert family.codes("kill") == {"build": [-signal.SIGKILL] * len(killed) + [0]}, family.said
    builder = shop.builder()
    assert sorted(killed) == sorted(".".join(key.path) for key in builder.graph.nodes)  # each of them once
    assert builder.stale() == []
    wanted = state(family.shop("build"))
    assert wanted["encoders"][-1] != wanted["encoders"][0]  # a promotion was among it
    assert state(shop) == wanted
    assert shop.instance.get_runs(dg.RunsFilter(statuses=list(IN_PROGRESS_RUN_STATUSES))) == []  # they would hold up the daemon


def test_builds_that_meet_say_so_and_lose_nothing(family: Family) -> None:
    shop, codes = family.shop("meet"), family.codes("meet")
    assert sorted(codes.pop("twin")) in ([0, 0], [0, 1]) and "Dagster's history" not in family.said  # its tables are made once
    assert codes == {
        "first, in the middle of a write": [-signal.SIGSTOP],
        "second": [1],
        "first, after the write": [-signal.SIGSTOP],
        "third": [1],
        "first": [0],
    }, family.said
    assert f"warehouse {shop.settings.warehouse_path} can't be opened" in family.said and "close that process" in family.said
    assert f"another build of source demo is running ({shop.settings.root / 'build.lock'} is locked)" in family.said
    made, wanted = state(shop), state(family.shop("build"))
    assert {"marts.bm25_run", "staging.queries"} <= made.keys()
    assert {name: value for name, value in made.items() if name.split(".")[0] in ("staging", "marts")}.items() <= wanted.items()
