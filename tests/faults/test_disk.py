"""A disk that is full, read-only, or no folder at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.e2e.conftest import World
from tests.faults.conftest import MINED, edit, trouble
from tests.faults.states import State, state

PARTS = ("artifacts", "vectors", "dagster")


def onto(disk: Path, shop: World, part: str) -> None:
    """Let a part of the home lie on another disk, the warehouse with all that is not a folder of its own."""
    root = shop.settings.root
    if part == "warehouse":
        shutil.move(root, root.with_name("elsewhere"))
        root.symlink_to(disk)
        for path in root.with_name("elsewhere").iterdir():
            if path.is_file():
                shutil.move(path, disk)
            else:
                (disk / path.name).symlink_to(path)
    else:
        for path in (root / part).iterdir():
            shutil.move(path, disk)
        (root / part).rmdir()
        (root / part).symlink_to(disk)


@pytest.mark.parametrize("part", ["warehouse", *PARTS])
def test_full(part: str, shop: World, wanted: State, small_disk: Path) -> None:
    onto(small_disk, shop, part)
    edit(shop)
    ballast = small_disk / "ballast"
    ballast.touch()
    for free in (0, 1 << 14, 1 << 17):
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free + ballast.stat().st_size - free))
        print("FREE", free, shutil.disk_usage(small_disk).free)
        try:
            said = trouble(shop)
        except BaseException as e:
            print("RAISED", type(e), str(e)[:600])
            import traceback

            traceback.print_exc(limit=-3)
            continue
        for s in said:
            print("SAID", s[:600])
    ballast.unlink()
    shop.build(MINED)
    assert state(shop) == wanted
    assert shop.build(MINED) == set()
