"""A disk that is full or read-only, and a home that is no folder: the error says where, and the next build makes what is missing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Shop
from tests.e2e.conftest import World
from tests.faults.conftest import MINED, edit, said_by, trouble
from tests.faults.states import State, state

from whetstone.platform.settings import Settings


def moved(root: Path, part: str, disk: Path) -> Path:
    """Let a part of a home lie on another disk; the part `warehouse` is what is no folder."""
    if part == "warehouse":
        elsewhere = root.rename(root.with_name("elsewhere"))
        root.symlink_to(disk)
        for path in elsewhere.iterdir():
            if path.is_dir():
                (disk / path.name).symlink_to(path)
            else:
                shutil.move(path, disk)
        return root / "warehouse.duckdb"
    for path in (root / part).iterdir():
        shutil.move(path, disk)
    (root / part).rmdir()
    (root / part).symlink_to(disk)
    return root / part


def test_a_full_disk_is_named_and_loses_nothing(
    shop: World,
    wanted: State,
    small_disk: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    disks = {part: small_disk() for part in ("dagster", "vectors", "artifacts", "warehouse")}
    places = {part: moved(shop.settings.root, part, disk) for part, disk in disks.items()}
    edit(shop)

    def full(part: str, free: int) -> list[str]:
        ballast = disks[part] / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(disks[part]).free - free))
        said = [said_by(shop, monkeypatch, capsys, "build", "--select", MINED)] if part == "dagster" else trouble(shop)
        ballast.unlink()
        return said

    for part, free in [("dagster", 0), ("dagster", 1 << 18), ("warehouse", 0), ("vectors", 0), ("artifacts", 0), ("artifacts", 1 << 14)]:
        said = full(part, free)
        assert said, (part, free)
        for each in said:
            assert str(places[part]) in each and (
                "free the disk" in each or "free some of its disk" in each or "disk is full" in each or "free its disk" in each
            ), each
    shop.build(MINED)
    assert state(shop) == wanted
    assert shop.build(MINED) == set()


def test_a_read_only_home_is_named(
    shop: World, small_disk: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, root = small_disk(), shop.settings.root
    shutil.copytree(root, disk / "demo")
    shop = World(shop.settings.model_copy(update={"home": disk}), shop.files, shop.live)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for command in ("build", "status"):
        said = said_by(shop, monkeypatch, capsys, *command.split())
        assert f"Read-only file system: '{disk / 'demo'}" in said and "WHETSTONE_HOME" in said
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert not shop.warehouse().table("staging.products").empty


def test_a_read_only_artifacts_folder_is_named(shop: World, wanted: State, small_disk: Callable[[], Path]) -> None:
    place = moved(shop.settings.root, "artifacts", disk := small_disk())
    edit(shop)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    said = trouble(shop)
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert said and all(str(place) in each and "make its folder writable" in each for each in said)
    shop.build(MINED)
    assert state(shop) == wanted


@pytest.mark.parametrize("home", ["file", "file/below"])
def test_a_home_that_is_a_file_is_named(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    shop = Shop(Settings(home=tmp_path / home, data=tmp_path))
    for command in ("build", "status", "demo-catalog --products 5"):
        said = said_by(shop, monkeypatch, capsys, *command.split())
        assert str(tmp_path / "file") in said and "WHETSTONE_HOME" in said
    assert (tmp_path / "file").read_text() == "mine"
