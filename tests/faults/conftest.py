"""A shop to break: built once, given whole to every test, with an edit that its next build has to take up."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import World, static_encoder, world, world_in  # noqa: F401
from tests.faults.states import State, state

from whetstone.platform.errors import WhetstoneError
from whetstone.project import dagster_instance

MINED = "+dense_run,product_vectors,search_index"
"""What the shop is built as far as: tables, artifacts and cached vectors, in a second or two."""


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory, static_encoder: Path) -> World:  # noqa: F811
    """The shop of tests/e2e with Dagster's history on disk, built and put aside."""
    folder = tmp_path_factory.mktemp("faults")
    made = world_in(folder / "shop", static_encoder)
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this process may not mount a small disk: {error}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
