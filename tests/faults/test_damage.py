"""Files that somebody cut, flipped or lost: the error names them, or the build mends them, and nothing else is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.conftest import World
from tests.faults.conftest import MINED, Family, edit, said_by, trouble
from tests.faults.states import State, state

from whetstone.catalog.jobs import apply, refresh
from whetstone.platform.artifacts import MANIFEST
from whetstone.platform.registry import registry_of
from whetstone.platform.staleness import name_of
from whetstone.project import dagster_instance


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


HARMS: list[Callable[[Path], None]] = [flip, cut, empty, Path.unlink]


def test_damaged_artifacts_of_every_kind_are_made_again_as_they_were(family: Family, tmp_path: Path) -> None:
    shop = family.shop("build").copy(tmp_path / "home")
    shop.settings = shop.settings.model_copy(update={"data": family.settings.data})
    before = state(shop)
    shop.builder()
    kinds = sorted((shop.settings.root / "artifacts").iterdir())
    assert len(kinds) == 8
    for number, kind in enumerate(kinds):
        manifest = min(kind.glob(f"*/{MANIFEST}"))
        files = [path for path in manifest.parent.rglob("*") if path.is_file()]
        HARMS[number % 4](manifest if number % 3 == 0 else max(files, key=lambda path: path.stat().st_size))
    outcome = shop.builder().run()
    assert not outcome.failed and len(outcome.built) >= len(kinds), outcome
    assert state(shop) == before
    assert not shop.builder().run().built


def test_a_lost_registry_comes_to_the_same_champion(family: Family, tmp_path: Path) -> None:
    shop = family.shop("build").copy(tmp_path / "home")
    shop.settings = shop.settings.model_copy(update={"data": family.settings.data})
    before = state(shop)
    registry_of(shop.settings).path.unlink()
    outcome = shop.builder().run()
    asked = {"models.champion", "models.search_thresholds", "reports.report", "models.shard_set"}  # but no vectors, no index
    assert {name_of(place) for place in outcome.built} == asked
    assert state(shop) == before


def test_a_damaged_feed_is_named_and_the_last_landing_stays(shop: World) -> None:
    before = state(shop)
    for name in ("products", "queries", "judgments", "engagement"):
        path = shop.files / f"{name}.parquet"
        content = path.read_bytes()
        for harm in (cut, empty):
            harm(path)
            [said] = trouble(shop)
            assert str(path) in said and "Nothing was changed" in said
        path.write_bytes(content)
    assert state(shop) == before
    assert shop.build(MINED) == set()


def test_notes_and_caches_are_made_again(shop: World, wanted: State) -> None:
    note = shop.settings.root / "feed.json"
    apply(refresh(shop.settings, shop.warehouse(), shop.instance), shop.instance)  # lands: the files are copies
    content = note.read_text()
    for damaged in ("", content[:-9], "[]", "null", '{"fingerprint": 1}', "\0" * 400):
        note.write_text(damaged)
        apply(refresh(shop.settings, shop.warehouse(), shop.instance), shop.instance)
        assert note.read_text() == content
    assert shop.build(MINED) == set()
    cut(note)
    cut(shop.settings.root / "vectors" / "vectors.sqlite")
    edit(shop)
    shop.build(MINED)
    assert state(shop) == wanted


def test_a_damaged_registry_is_named(shop: World) -> None:
    path = registry_of(shop.settings).path
    content = path.read_bytes()
    for harm in (cut, empty):
        harm(path)
        [said] = trouble(shop)
        assert str(path) in said and "restore it, or delete it" in said
    path.write_bytes(content)
    assert shop.build(MINED) == set()


def test_a_damaged_warehouse_is_named_and_the_next_build_needs_none(shop: World) -> None:
    before = state(shop)
    path = shop.settings.warehouse_path
    content = path.read_bytes()
    for part in (0.9, 0.7, 0.4, 0.1, 0.01):
        path.write_bytes(content[: int(len(content) * part)])
        path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
        said = trouble(shop)
        assert said and all(str(path) in each and "move it away" in each for each in said), (part, said)
    path.unlink()
    assert shop.build(MINED)
    assert state(shop) == before
    assert shop.build(MINED) == set()


def test_a_damaged_history_of_dagster_is_named_and_made_anew(
    shop: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, folder = state(shop), shop.settings.dagster_home
    cut(max(folder.rglob("*.db"), key=lambda path: path.stat().st_size))
    said = said_by(shop, monkeypatch, capsys, "build", "--select", MINED)
    assert f"Dagster's history in {folder} can't be used" in said and "move it away" in said
    folder.rename(folder.with_name("away"))
    shop.memory = dagster_instance(shop.settings)
    assert shop.build(MINED)
    assert state(shop) == before
