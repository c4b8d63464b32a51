"""kill -9 in the middle of every asset of a full build, and builds that meet: what comes out is what an undisturbed build makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES
from tests.conftest import Shop
from tests.faults.states import state

from whetstone.platform.settings import PROJECT, Settings


def builds(settings: Settings, *plan: str) -> tuple[list[dict[str, Any]], str]:
    """What the mother of a plan prints, and what its builds say on stderr."""
    environment = {
        **os.environ,
        **{f"WHETSTONE_{name.upper()}": str(value) for name, value in settings.model_dump(exclude_none=True).items()},
    }
    command = [sys.executable, "-m", "tests.faults.mother", *plan]
    done = subprocess.run(command, env={**environment, "OMP_NUM_THREADS": "1"}, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, mini_encoder: Path) -> Shop:
    """A whole build of a tiny shop, training and all."""
    from whetstone.catalog.demo.generate import generate

    folder = tmp_path_factory.mktemp("tiny")
    settings = Settings(
        home=folder / "home",
        data=folder / "files",
        encoder=str(mini_encoder),
        depth=30,
        candidates_per_rule=8,
        similar_per_query=4,
        annotator_epochs=1,
        annotator_runs=1,
        cascade="cross_encoder,simulated_small,simulated_large",
        agreement_floor=0.0,
        index_dtype="f32",
    )
    generate(folder / "files", products=60, queries=60, categories=2, seed=1)
    ended, said = builds(settings, "build")
    assert ended == [{"name": "build", "code": 0}], said
    return Shop(settings)


def in_another_home(shop: Shop, home: Path) -> Shop:
    return Shop(shop.settings.model_copy(update={"home": home}))


def test_a_build_that_is_killed_in_every_asset_ends_as_if_nothing_had_happened(undisturbed: Shop, tmp_path: Path) -> None:
    shop = in_another_home(undisturbed, tmp_path / "home")
    ended, said = builds(shop.settings, "kill")
    killed = [each["killed"] for each in ended if "killed" in each]
    codes = [each["code"] for each in ended if "code" in each]
    assert codes == [-signal.SIGKILL] * len(killed) + [0], said
    builder = shop.builder()
    assert sorted(killed) == sorted(".".join(key.path) for key in builder.graph.nodes)  # each of them once
    assert builder.stale() == []
    assert state(shop) == state(undisturbed)
    assert shop.instance.get_runs(dg.RunsFilter(statuses=list(IN_PROGRESS_RUN_STATUSES))) == []  # the daemon may start its own


def test_builds_that_meet_say_so_and_lose_nothing(undisturbed: Shop, tmp_path: Path) -> None:
    shop = in_another_home(undisturbed, tmp_path / "home")
    category = undisturbed.builder().history.categories[0]
    ended, said = builds(shop.settings, "meet", category)
    codes = {name: [each["code"] for each in ended if each["name"] == name] for name in {each["name"]: 0 for each in ended}}
    assert sorted(codes.pop("twin")) in ([0, 0], [0, 1])
    assert codes == {
        "first, in the middle of a write": [-signal.SIGSTOP],
        "second": [1],
        "first, after the write": [-signal.SIGSTOP],
        "third": [1],
        "first": [0],
    }, said
    assert f"warehouse {shop.settings.warehouse_path} can't be opened" in said and "close that process" in said
    assert f"another build of source demo is running ({shop.settings.root / 'build.lock'} is locked)" in said
    wanted = state(undisturbed)
    assert {name: value for name, value in state(shop).items() if f"[{category}]" in name}.items() <= wanted.items()
