"""kill -9 at every place of the purchase protocol, then the same build again: nothing is bought twice, lost or booked wrongly."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.grading.claude.child import places_of, start
from tests.grading.claude.shop import Shop, check_books, check_doubt, opened, pairs_of
from tests.grading.stand_in import StandIn

MANY, FEW = pairs_of(13), pairs_of(3)


def killed_at(place: int | None, folder: Path, server: StandIn, pairs: Any, *, is_real: bool = False, **options: Any) -> bool:
    """Run a build in its own process, to be killed at a place; whether it came that far."""
    folder.mkdir(exist_ok=True)
    process = start(folder, server.url, pairs, place, is_real, options)
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return bool(process.exitcode)


def at_every_place(
    tmp_path: Path, pairs: Any, arm: Callable[[StandIn], None], check: Callable[[StandIn, Shop], None], first: str = "", **options: Any
) -> list[str]:
    """Kill at the first place (or that of a name), the second, ... until one gets through, each in a world of its own, and start again.

    Returns the places where it was killed.
    """
    killed = []
    for place in itertools.count(1 if not first else places_of(tmp_path / "all").index(first) + 1):
        folder = tmp_path / str(place)
        with StandIn() as server:
            server.polls_to_end = 2
            arm(server)
            if not killed_at(place, folder, server, pairs, **options):
                return killed
            assert len(places_of(folder)) == place
            killed.append(places_of(folder)[-1])
            with opened(folder / "books.duckdb") as connect:
                shop = Shop(server.url, folder, connect, **options)
                graded = shop.grade(pairs)
                assert graded["is_answered"].all() and graded["grade"].notna().all(), killed[-1]
                check(server, shop)
    raise AssertionError


def to_the_cent(server: StandIn, shop: Shop) -> None:
    check_books(server, shop)
    assert not server.bought_twice()
    assert len(shop.rows()) == len(MANY)


def test_a_batch_survives_a_kill_at_every_place(tmp_path: Path) -> None:
    places = at_every_place(tmp_path, MANY, lambda server: None, to_the_cent)
    expected = [
        "before commit of intended",
        "after commit of intended",
        "before POST batches",
        "after POST batches",  # the server has it, its id is not written
        "before commit of sent",
        "after commit of sent",
        "before GET batch",
        "after GET batch",
        "before GET results",
        "after GET results",
        "before commit of grades",
        "after commit of grades",
        "before commit of collected",
        "after commit of collected",
    ]
    assert {f"{name} #1" for name in expected} <= {*places}
    assert "after commit of grades #3" in places  # so #1 and #2 are in the middle of the results
    assert "before GET batch #2" in places  # while polling
    assert len({*places}) == len(places) >= 24


def test_a_batch_that_was_accepted_with_an_error_survives_a_kill_at_every_place(tmp_path: Path) -> None:
    def break_create(server: StandIn) -> None:
        server.fault("POST", "/batches$", "status_after_acceptance", status=500)

    with StandIn() as server:
        assert not killed_at(None, tmp_path / "all", server, MANY)
    places = at_every_place(tmp_path, MANY, break_create, to_the_cent, first="before POST batches #1")
    assert "before commit of sent #1" in places and "after GET batches #2" in places  # it was found by listing


def test_messages_survive_a_kill_at_every_place(tmp_path: Path) -> None:
    def in_doubt(server: StandIn, shop: Shop) -> None:
        check_doubt(server, shop)
        assert sum(server.bought_twice().values()) in (0, 2)  # at most the one answer that was under way

    places = at_every_place(tmp_path, FEW, lambda server: None, in_doubt)
    assert {"after commit of asking #1", "after POST messages #1", "after commit of grades #2", "after commit of collected #1"} <= {*places}


def test_a_build_that_is_killed_again_and_again_gets_through(tmp_path: Path) -> None:
    with StandIn() as server:
        server.polls_to_end = 3
        server.fault("POST", "/batches$", "status_after_acceptance", status=500)
        place = 1
        while killed_at(place, tmp_path, server, MANY, is_real=True):
            place += 1
        with opened(tmp_path / "books.duckdb") as connect:
            to_the_cent(server, Shop(server.url, tmp_path, connect))
        assert place > 5
