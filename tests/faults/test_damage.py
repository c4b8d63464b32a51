"""Files that somebody cut, flipped or lost: the error names them, or the build mends them, and nothing else is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.conftest import World
from tests.faults.conftest import MINED, edit, trouble
from tests.faults.states import State, state

from whetstone.catalog.jobs import apply, refresh
from whetstone.platform.artifacts import MANIFEST


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_damaged_artifacts_are_made_again_as_they_were(shop: World) -> None:
    before = state(shop)
    folders = sorted(path.parent for path in (shop.settings.root / "artifacts").glob(f"*/*/{MANIFEST}"))
    assert {folder.parent.name for folder in folders} == {"vectors", "index"} and len(folders) == 6
    harms: list[Callable[[Path], None]] = [flip, cut, Path.unlink]
    for number, folder in enumerate(folders):
        file = max(folder.iterdir(), key=lambda path: path.stat().st_size)
        harms[number % 3](file if number % 2 else folder / MANIFEST)
    assert len({str(each) for each in stale(shop)}) >= len(folders)
    assert shop.build(MINED)
    assert state(shop) == before
    assert shop.build(MINED) == set()


def stale(shop: World) -> list[str]:
    from whetstone.platform.artifacts import Artifacts
    from whetstone.platform.build import Builder

    artifacts = Artifacts(shop.settings.root / "artifacts")
    builder = Builder(shop.definitions, shop.instance, artifacts, shop.warehouse())
    return [str(each) for each in builder.stale() if str(artifacts.root) in str(each)]


@pytest.mark.parametrize("name", ["products", "queries", "judgments", "engagement"])
@pytest.mark.parametrize("harm", [cut, empty], ids=lambda harm: harm.__name__)
def test_a_damaged_feed_is_named_and_the_last_landing_stays(shop: World, name: str, harm: Callable[[Path], None]) -> None:
    before = state(shop)
    path = shop.files / f"{name}.parquet"
    content = path.read_bytes()
    harm(path)
    [said] = trouble(shop)
    assert str(path) in said and "Nothing was changed" in said
    assert state(shop) == before
    path.write_bytes(content)
    assert shop.build(MINED) == set()


def test_a_damaged_note_of_the_last_landing_costs_a_landing(shop: World) -> None:
    note = shop.settings.root / "feed.json"
    assert shop.build(MINED) == set()  # the files were copied, which is a landing
    content = note.read_text()
    for damaged in ("", content[:-9], "[]", "null", '{"fingerprint": 1}', "\0" * 400):
        note.write_text(damaged)
        apply(refresh(shop.settings, shop.warehouse(), shop.instance), shop.instance)
        assert note.read_text() == content
    assert shop.build(MINED) == set()


@pytest.mark.parametrize("harm", [cut, flip, empty, Path.unlink], ids=lambda harm: harm.__name__)
def test_a_damaged_vector_cache_costs_vectors(shop: World, wanted: State, harm: Callable[[Path], None]) -> None:
    harm(shop.settings.root / "vectors" / "vectors.sqlite")
    edit(shop)
    shop.build(MINED)
    assert state(shop) == wanted


@pytest.mark.parametrize("harm", [cut, flip, empty], ids=lambda harm: harm.__name__)
def test_a_damaged_registry_is_named(shop: World, wanted: State, harm: Callable[[Path], None]) -> None:
    path = shop.settings.root / "encoders.json"
    content = path.read_bytes()
    harm(path)
    if said := trouble(shop):
        assert str(path) in said[0] and "restore it, or delete it" in said[0]
    path.write_bytes(content)
    edit(shop)
    shop.build(MINED)
    assert state(shop) == wanted


@pytest.mark.parametrize("part", [0.999, 0.7, 0.4, 0.1, 0.01])
def test_a_damaged_warehouse_is_named_and_the_next_build_needs_none(shop: World, part: float) -> None:
    before = state(shop)
    path = shop.settings.warehouse_path
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    said = trouble(shop)
    assert said or part > 0.9
    assert all(str(path) in each and "move it away" in each for each in said), said
    path.unlink()
    path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
    assert shop.build(MINED)
    assert state(shop) == before
    assert shop.build(MINED) == set()
