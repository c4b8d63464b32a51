"""Others in the same account and on the same ledger: strangers' batches, late batches of our own, a second process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from tests.grading.claude.shop import (
    CREATE,
    HAIKU,
    Shop,
    check_books,
    check_once,
    creates,
    pairs_of,
    stop,
)
from tests.grading.stand_in import Reply, StandIn

from whetstone.grading.claude import purchase

MakeShop = Callable[..., Shop]
MANY, FEW = pairs_of(13), pairs_of(4)


def foreign(server: StandIn, size: int, name: str = "stranger") -> str:
    """Somebody else's batch in the same account; returns its id."""
    message = {"model": HAIKU, "max_tokens": 9, "messages": [{"role": "user", "content": f"{name}"}]}
    items = [{"custom_id": f"{name}-{number}", "params": message} for number in range(size)]
    return str(server.client().messages.batches.create(requests=items).id)


def ours_usd(server: StandIn, shop: Shop) -> float:
    """What the bill says for requests of this ledger."""
    known = set(shop.ledger.read("select request from ledger.requests")["request"])
    return float(sum(charge.cost for charge in server.bill if charge.custom_id in known))


# other batches of the account


@pytest.mark.parametrize("fault", [None, "status_after_acceptance", "cut"])
def test_foreign_batches_of_the_same_size(server: StandIn, shop: Shop, fault: str | None) -> None:
    foreign(server, 13, "before")
    if fault:
        server.fault("POST", CREATE, fault, **({"accepted": True} if fault == "cut" else {}))
    shop.grade(MANY)
    foreign(server, 13, "after")
    foreign(server, 5, "other-size")
    shop.grade(pairs_of(13, "second"))
    assert ours_usd(server, shop) == pytest.approx(shop.usd(), abs=1e-9)
    assert len(shop.rows()) == 26 and creates(server) == 5


@pytest.mark.parametrize("is_accepted", [True, False])
def test_a_stranger_of_the_same_size_between_mark_and_doubt(server: StandIn, shop: Shop, is_accepted: bool) -> None:
    """Two candidates (or only the wrong one) are newer than the mark; the ids in the results decide."""
    taken = server._create

    def with_stranger(body: Any, fault: Any) -> Any:
        server._create = taken  # type: ignore[method-assign]
        params = body["requests"][0]["params"] | {"system": "stranger"}
        taken({"requests": [{"custom_id": f"stranger-{number}", "params": params} for number in range(13)]}, fault)
        if is_accepted:
            taken(body, fault)
        raise RuntimeError("connection lost")

    server._create = with_stranger  # type: ignore[method-assign]
    shop.grade(MANY)
    server.trouble.clear()
    server.end()
    assert creates(server) == (1 if is_accepted else 2)
    assert ours_usd(server, shop) == pytest.approx(shop.usd(), abs=1e-9)
    assert len(shop.rows()) == 13 and shop.rows()["grade"].notna().all()
    assert shop.events().count("foreign") == 1


def test_a_late_batch_is_found_beside_one_in_doubt_that_is_newer(server: StandIn, shop: Shop) -> None:
    server.fault("POST", CREATE, "late_acceptance", n=10_000)
    server.fault("POST", CREATE, "status_after_acceptance", after=2, status=500)
    shop.grade(MANY)
    create = server._create

    def show_the_late_one(body: Any, fault: Any) -> Any:
        next(iter(server.batches.values())).hidden = 0
        return create(body, fault)

    server._create = show_the_late_one  # type: ignore[method-assign]
    shop.grade(pairs_of(11, "second"))
    check_books(server, shop)
    assert shop.owed() == 0 and creates(server) == 3


def test_a_late_batch_that_is_found_last_is_collected_at_once(server: StandIn, shop: Shop) -> None:
    server.fault("POST", CREATE, "late_acceptance", n=10_000)
    shop.grade(MANY)
    answer = server.answer

    def show_the_late_one(params: dict[str, Any]) -> Reply:
        next(iter(server.batches.values())).hidden = 0
        return answer(params)

    server.answer = show_the_late_one
    shop.grade(pairs_of(3, "few"))
    check_books(server, shop)
    assert shop.owed() == 0


def test_two_late_batches_of_one_size_that_turn_up_together_go_to_their_own_intents(server: StandIn, make_shop: MakeShop) -> None:
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if creates(server) == 2 and len(naps) > 10:
            for batch in server.batches.values():
                batch.hidden = 0

    server.fault("POST", CREATE, "late_acceptance", times=2, n=1000)
    shop = make_shop(sleep=sleep)
    assert shop.grade(MANY)["grade"].notna().all()
    assert creates(server) == 2
    check_books(server, shop)
    assert len(shop.rows()) == 26 and shop.owed() == 0
    assert "foreign" not in shop.events()


# two processes


@pytest.mark.parametrize("is_killed", [True, False])
def test_another_process_sends_just_before_we_take_the_lock(
    server: StandIn, make_shop: MakeShop, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    server.polls_to_end = 3
    other, ours, taken = make_shop(**({"sleep": stop} if is_killed else {})), make_shop(), purchase.exclusive
    turns: list[str] = []

    def exclusive(path: Any) -> Any:
        turns.append("turn")
        if len(turns) == 1 and is_killed:  # it dies while it polls
            with pytest.raises(KeyboardInterrupt):
                other.grade(MANY)
        elif len(turns) == 1:
            other.grade(MANY)
        return taken(path)

    monkeypatch.setattr(purchase, "exclusive", exclusive)
    assert ours.grade(MANY)["grade"].notna().all()
    assert creates(server) == 1
    check_once(server, ours, MANY)


def test_what_another_build_has_sent_is_waited_for_only_where_it_answers_ours(server: StandIn, make_shop: MakeShop) -> None:
    server.polls_to_end = 9
    with pytest.raises(KeyboardInterrupt):
        make_shop(sleep=stop).grade(MANY)
    ours = make_shop()
    ours.grade(pairs_of(3, "other"))
    assert len(ours.rows()) == 3 and ours.naps == [] and ours.owed() > 0
    ours.grade(MANY.head(1))
    assert creates(server) == 1
    check_once(server, ours, pd.concat([MANY, FEW.head(3)]))
