"""A shop to break: built once, given whole to every test, with an edit that its next build has to take up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Shop
from tests.e2e.conftest import World, static_encoder, world, world_in  # noqa: F401
from tests.faults.states import State, state

from whetstone import cli
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.settings import PROJECT, Settings
from whetstone.project import dagster_instance

MINED = "+dense_run,product_vectors,search_index"
"""What the shop is built as far as: tables, artifacts and cached vectors, in a second or two."""


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory, static_encoder: Path) -> World:  # noqa: F811
    """The shop of tests/e2e with Dagster's history on disk, built and put aside."""
    folder = tmp_path_factory.mktemp("faults")
    made = world_in(folder / "shop", static_encoder, categories=1)
    made.memory = dagster_instance(made.settings)
    made.build(MINED)
    shutil.copytree(folder / "shop", folder / "aside")
    return made


@pytest.fixture
def shop(pristine: World) -> World:
    """The built shop, as if no test had ever broken it."""
    return restored(pristine)


def restored(pristine: World) -> World:
    """The shop as it was put aside, in its place: its definitions, which take a second, name the place."""
    folder = pristine.files.parent
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "aside", folder)
    pristine.memory = dagster_instance(pristine.settings)
    stock = list(pristine.stock.items())
    pristine.live = dict(stock[::3] + stock[1::3])  # as `world_in` leaves it
    return pristine


def trouble(shop: World) -> list[str]:
    """What a build says that something goes wrong with: its one error, or those of what failed; nothing if it gets through."""
    try:
        return [*shop.attempt(MINED).failed.values()]
    except WhetstoneError as error:
        return [str(error)]


def said_by(shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """What a command that fails prints."""
    for name, value in shop.settings.model_dump(exclude_none=True).items():
        monkeypatch.setenv(f"WHETSTONE_{name.upper()}", str(value))
    monkeypatch.setattr(sys, "argv", ["whetstone", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    return capsys.readouterr().err


def edit(shop: World) -> None:
    """Rename a third of the products, and open a category."""
    for number, (product, (title, path)) in enumerate(sorted(shop.live.items())):
        if number % 3 == 0:
            shop.live[product] = (f"{title} mk2", ["Novelties"] if number % 9 == 0 else path)
    shop.write()


@pytest.fixture(scope="session")
def wanted(pristine: World) -> State:
    """The state that the edited shop comes to when nothing goes wrong."""
    made = restored(pristine)
    edit(made)
    made.build(MINED)
    return state(made)


@dataclass
class Family:
    """A tiny shop in three homes: built undisturbed, killed in every asset, and built by processes that meet (`mother.py`)."""

    settings: Settings
    ended: list[dict[str, Any]]  # plan, name and exit code of each process
    said: str  # on stderr

    def shop(self, plan: str) -> Shop:
        return Shop(self.settings.model_copy(update={"home": self.settings.home / plan}))

    def codes(self, plan: str) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for each in self.ended:
            if each["plan"] == plan:
                found.setdefault(each["name"], []).append(each["code"])
        return found


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory, mini_encoder: Path) -> Family:
    from whetstone.catalog.demo.generate import generate

    folder = tmp_path_factory.mktemp("family")
    settings = Settings(
        home=folder,
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
    generate(folder / "files", products=60, queries=60, categories=1, seed=5)
    environment = {f"WHETSTONE_{name.upper()}": str(value) for name, value in settings.model_dump(exclude_none=True).items()}
    command = [sys.executable, "-m", "tests.faults.mother", *(f"{plan}={folder / plan}" for plan in ("build", "kill", "meet"))]
    done = subprocess.run(
        command, env={**os.environ, **environment, "OMP_NUM_THREADS": "1"}, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    ended = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"plan"')]
    assert done.returncode == 0 and ended[0] == {"plan": "build", "name": "build", "code": 0}, done.stderr
    return Family(settings, ended, done.stderr)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Makes empty disks of 24 MiB; skips where this process may not mount one."""
    mounted: list[Path] = []

    def mount() -> Path:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this process may not mount a small disk: {error}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
