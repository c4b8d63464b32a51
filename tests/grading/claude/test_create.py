"""Sending a batch goes wrong in every way: it is never sent blindly again, and what was accepted is found, collected and booked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from tests.grading.claude.shop import (
    CREATE,
    DAY,
    Shop,
    check_books,
    check_doubt,
    check_once,
    creates,
    pairs_of,
)
from tests.grading.stand_in import StandIn

from whetstone.grading.claude import purchase
from whetstone.platform.errors import WhetstoneError

MakeShop = Callable[..., Shop]
MANY, FEW = pairs_of(13), pairs_of(4)


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 529}, {"status": 503}, {"status": 408}])
@pytest.mark.parametrize("times", [1, 3])
def test_a_status_after_acceptance_buys_nothing_twice(server: StandIn, shop: Shop, fault: dict[str, Any], times: int) -> None:
    server.fault("POST", CREATE, "status_after_acceptance", times=times, **fault)
    shop.grade(MANY)
    assert creates(server) == 1  # it was found in the listing
    check_once(server, shop, MANY)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_cut_connection_is_looked_into_before_anything_is_sent_again(server: StandIn, shop: Shop, accepted: bool) -> None:
    server.fault("POST", CREATE, "cut", accepted=accepted)
    shop.grade(MANY)
    assert creates(server) == (1 if accepted else 2)
    check_books(server, shop)
    assert not server.bought_twice()
    if not accepted:  # it listed until it gave up, and only then sent anew
        order = [each.method for each in server.log if each.path.endswith("/batches")]
        between = order[order.index("POST") + 1 :].index("POST")
        assert between >= purchase.LOOKS
        assert shop.naps[: purchase.LOOKS] == [1.0, 1.0, 2.0, 4.0, 8.0, 16.0]
        assert "missing" in shop.events() and shop.owed() > 0


@pytest.mark.parametrize("accepted", [True, False])
def test_a_time_out(server: StandIn, make_shop: MakeShop, accepted: bool) -> None:
    shop = make_shop(timeout_s=0.3)
    server.fault("POST", CREATE, "slow", accepted=accepted, seconds=1.0)  # the server goes on when nobody listens any more
    shop.grade(MANY)
    check_doubt(server, shop)
    if accepted:
        assert creates(server) == 1
        check_once(server, shop, MANY)


@pytest.mark.parametrize("status", [500, 529])
def test_a_status_before_acceptance_is_sent_again_under_new_ids(server: StandIn, shop: Shop, status: int) -> None:
    server.fault("POST", CREATE, "status", status=status, times=2)
    shop.grade(MANY)
    ids = [{item["custom_id"] for item in each.body["requests"]} for each in server.requests("POST", CREATE) if each.body]
    assert len(ids) == 3 and not ids[0] & ids[1] and not (ids[0] | ids[1]) & ids[2]
    check_books(server, shop)
    assert not server.bought_twice()


def test_a_server_that_never_takes_a_batch_is_an_error_and_the_next_build_goes_on(server: StandIn, make_shop: MakeShop) -> None:
    server.fault("POST", CREATE, "status", status=500, times=100)
    with pytest.raises(WhetstoneError, match=r"claude_small: 5 attempts in vain; run the build again later.*500"):
        make_shop().grade(MANY)
    assert creates(server) == purchase.ATTEMPTS
    server._faults.clear()
    shop = make_shop(build="next")
    assert shop.grade(MANY)["grade"].notna().all()
    check_books(server, shop)


@pytest.mark.parametrize("looks", range(1, purchase.LOOKS - 1))
def test_a_batch_that_turns_up_late_is_found(server: StandIn, shop: Shop, looks: int) -> None:
    server.fault("POST", CREATE, "late_acceptance", n=looks)
    shop.grade(MANY)
    assert creates(server) == 1
    check_once(server, shop, MANY)


def test_a_batch_that_turns_up_after_we_gave_up_is_still_collected_and_booked(server: StandIn, make_shop: MakeShop) -> None:
    server.fault("POST", CREATE, "late_acceptance", n=purchase.LOOKS + 5)
    shop = make_shop()
    assert shop.grade(MANY)["grade"].notna().all()
    assert creates(server) == 2 and shop.owed() > 0
    check_doubt(server, shop)
    for turn in range(10):  # later builds of other pairs
        make_shop(build=f"build {turn}").grade(pairs_of(3, f"turn {turn} "))
        check_doubt(server, shop)
    check_books(server, shop)
    assert shop.owed() == 0
    assert len(shop.rows()) == 2 * len(MANY) + 30


def test_the_late_batch_of_one_attempt_is_not_taken_for_that_of_the_next(server: StandIn, shop: Shop) -> None:
    """Both have the same size; the first turns up while the second, which the server never took, is looked for."""
    server.fault("POST", CREATE, "late_acceptance", n=purchase.LOOKS + 3)
    server.fault("POST", CREATE, "status", status=500)
    shop.grade(MANY)
    assert creates(server) == 2
    check_books(server, shop)
    assert not server.bought_twice()
    assert len(shop.rows()) == len(MANY)


def test_a_missing_batch_is_looked_for_as_long_as_results_are_kept(server: StandIn, make_shop: MakeShop) -> None:
    server.fault("POST", CREATE, "late_acceptance", n=10_000)
    make_shop().grade(MANY)
    (late, _) = server.batches.values()
    late.hidden = 0
    listed = len(server.requests("GET", CREATE))
    much_later = make_shop(build="much later", day=DAY + dt.timedelta(days=30))
    much_later.grade(FEW)
    assert len(server.requests("GET", CREATE)) == listed
    make_shop(build="later", day=DAY + dt.timedelta(days=29)).grade(pairs_of(3, "later"))
    make_shop(build="later", day=DAY + dt.timedelta(days=29)).grade(pairs_of(3, "still later"))
    check_books(server, much_later)
    assert much_later.owed() == 0


def test_a_mark_that_was_deleted_from_the_account_hides_nothing(server: StandIn, shop: Shop) -> None:
    shop.grade(MANY)
    server.fault("POST", CREATE, "status_after_acceptance", status=500)
    create = server._create

    def forget(body: Any, fault: Any) -> Any:
        del server.batches[next(iter(server.batches))]
        return create(body, fault)

    server._create = forget  # type: ignore[method-assign]
    shop.grade(pairs_of(13, "second"))
    assert creates(server) == 2 and len(shop.rows()) == 26
    check_books(server, shop)


def test_a_rate_limit_waits_as_told_and_owes_nothing(server: StandIn, shop: Shop) -> None:
    server.fault("POST", CREATE, "status", status=429, retry_after=37)
    server.fault("POST", CREATE, "status", status=429)
    shop.grade(MANY)
    assert shop.naps[:2] == [37.0, 2.0]
    assert creates(server) == 3
    check_once(server, shop, MANY)
    assert shop.events() == ["intended", "void", "intended", "void", "intended", "sent", "collected"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_a_refusal_is_an_error_that_buys_nothing(server: StandIn, shop: Shop, status: int) -> None:
    server.fault("POST", CREATE, "status", status=status)
    with pytest.raises(WhetstoneError, match=f"Anthropic's API did not take a batch: {status} ") as raised:
        shop.grade(MANY)
    assert "sk-ant" not in str(raised.value)
    assert ("ANTHROPIC_API_KEY" in str(raised.value)) == (status == 401)
    assert shop.events() == ["intended", "void"] and shop.owed() == 0 and not server.bill
    shop.grade(MANY)
    check_once(server, shop, MANY)
