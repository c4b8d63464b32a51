"""What is bought, at once or as a batch: the ledger is the bill, nothing is bought twice, and only what is new is bought."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest
from tests.grading.claude.shop import (
    CREATE,
    MESSAGES,
    SONNET,
    SONNET_PRICE,
    Shop,
    check_books,
    check_doubt,
    check_once,
    creates,
    guideline_of,
    pairs_of,
    stop,
)
from tests.grading.stand_in import StandIn

from whetstone.grading.claude import purchase
from whetstone.platform.errors import WhetstoneError

MakeShop = Callable[..., Shop]
MANY, FEW = pairs_of(13), pairs_of(4)


# the good case


@pytest.mark.parametrize("pairs", [MANY, FEW], ids=["batch", "messages"])
def test_every_answer_is_booked_as_billed_and_a_second_run_sends_nothing(server: StandIn, make_shop: MakeShop, pairs: pd.DataFrame) -> None:
    shop = make_shop()
    first = shop.grade(pairs)
    check_once(server, shop, pairs)
    assert first["grade"].notna().all() and first["is_new"].all()
    sent = len(server.log)
    again = make_shop(build="another").grade(pairs)
    assert len(server.log) == sent
    assert not again["is_new"].any() and again["grade"].tolist() == first["grade"].tolist()
    said = {charge.pair: charge.cost for charge in server.bill}
    assert sorted(first["cost_usd"]) == pytest.approx(sorted(map(float, said.values())), abs=1e-12)


def test_few_go_as_messages_and_many_as_one_batch(server: StandIn, shop: Shop) -> None:
    shop.grade(FEW)
    assert (creates(server), len(server.requests("POST", MESSAGES))) == (0, 4)
    shop.grade(pairs_of(10, "q"))
    assert (creates(server), len(server.requests("POST", MESSAGES))) == (1, 4)
    assert len(server.requests("GET", CREATE)) == 1  # for the mark; the batch's id is known from the answer


def test_pairs_of_equal_texts_are_bought_once(server: StandIn, shop: Shop) -> None:
    twins = pd.concat([MANY, MANY.assign(product_id="twin of " + MANY["product_id"])], ignore_index=True)
    assert shop.grade(twins)["grade"].notna().all()
    check_once(server, shop, MANY)


def test_a_batch_too_large_is_bought_in_several(server: StandIn, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purchase, "MOST_REQUESTS", 5)
    shop.grade(MANY)
    sizes = [len(each.body["requests"]) for each in server.requests("POST", CREATE) if each.body]
    assert sizes == [5] and len(server.requests("POST", MESSAGES)) == 8  # 8 left are too few for a batch, 5 at a time
    check_once(server, shop, MANY)


def test_polling_waits_as_told(server: StandIn, make_shop: MakeShop) -> None:
    server.polls_to_end = 4
    shop = make_shop(poll_s=7.0)
    shop.grade(MANY)
    assert shop.naps == [7.0] * 3


# plain messages


def test_an_interrupted_message_stays_in_the_books_as_money_in_doubt(server: StandIn, shop: Shop) -> None:
    server.fault("POST", MESSAGES, "status_after_acceptance", after=1)
    server.fault("POST", MESSAGES, "cut", accepted=True, after=2)
    assert shop.grade(FEW)["grade"].notna().all()
    check_doubt(server, shop)
    assert shop.events() == ["asking", "in_doubt", "asking", "in_doubt", "asking", "collected"]
    assert len(server.bill) == len(server.requests("POST", MESSAGES)) == 6 and len(shop.rows()) == 4


def test_an_overloaded_message_may_have_been_paid_for(server: StandIn, shop: Shop) -> None:
    server.fault("POST", MESSAGES, "status_after_acceptance", status=529)
    shop.grade(FEW)
    check_doubt(server, shop)


def test_messages_under_a_rate_limit_wait_and_owe_nothing(server: StandIn, shop: Shop) -> None:
    server.fault("POST", MESSAGES, "status", status=429, retry_after=11, after=2)
    shop.grade(FEW)
    assert shop.naps == [11.0]
    check_once(server, shop, FEW)


def test_messages_that_never_pass_are_an_error_that_keeps_what_was_answered(server: StandIn, shop: Shop) -> None:
    server.fault("POST", MESSAGES, "status", status=429, times=100, after=2)
    with pytest.raises(WhetstoneError, match="5 attempts in vain"):
        shop.grade(FEW)
    assert len(shop.rows()) == 2 and shop.owed() == 0
    server._faults.clear()
    shop.grade(FEW)
    check_once(server, shop, FEW)


def test_a_message_refused_for_itself_is_a_failure_and_the_others_go_on(server: StandIn, shop: Shop) -> None:
    server.fault("POST", MESSAGES, "status", status=400, after=1)
    graded_ = shop.grade(FEW)
    assert graded_["grade"].isna().tolist() == [False, True, False, False]
    assert graded_["is_answered"].all()
    check_books(server, shop)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_keystops_messages_with_nothing_owed(server: StandIn, shop: Shop, status: int) -> None:
    server.fault("POST", MESSAGES, "status", status=status, after=1)
    with pytest.raises(WhetstoneError, match=f"did not answer: {status}"):
        shop.grade(FEW)
    assert shop.owed() == 0 and len(shop.rows()) == 1
    shop.grade(FEW)
    check_once(server, shop, FEW)


# what changes


def test_an_edited_product_and_a_changed_guideline_buy_only_their_own_pairs(server: StandIn, make_shop: MakeShop) -> None:
    make_shop().grade(MANY)
    edited = MANY.assign(text=MANY["text"].where(MANY.index != 5, "edited"))
    make_shop().grade(edited)
    assert len(server.bill) == 14
    other = make_shop(guideline=guideline_of("three_level"))
    other.grade(MANY.head(11))
    assert len(server.bill) == 25
    other.grade(MANY.head(11))
    make_shop().grade(edited)
    assert len(server.bill) == 25
    check_books(server, other)


def test_what_was_sent_under_another_guideline_and_price_is_read_and_priced_as_it_was_bought(server: StandIn, make_shop: MakeShop) -> None:
    server.polls_to_end = 99
    before = make_shop(model=SONNET, price=SONNET_PRICE, name="claude_large", poll_s=1.0, sleep=stop)
    with pytest.raises(KeyboardInterrupt):
        before.grade(MANY)
    server.end()
    after = make_shop(guideline=guideline_of("three_level"), build="next")
    after.grade(MANY.head(3))
    rows = after.rows()
    assert rows["build"].tolist() == ["build"] * 13 + ["next"] * 3
    assert set(rows["guideline_version"][:13]) == {before.guideline.version}
    assert rows["grade"][:13].notna().all() and set(rows["grade"][:13]) > {4}
    check_books(server, after)
    sent = len(server.log)
    assert make_shop(model=SONNET, price=SONNET_PRICE, name="claude_large").grade(MANY)["grade"].notna().all()
    assert len(server.log) == sent


def test_two_stages_share_ledger_and_budget(server: StandIn, make_shop: MakeShop) -> None:
    small, large = make_shop(), make_shop(model=SONNET, price=SONNET_PRICE, name="claude_large")
    small.grade(MANY)
    large.grade(MANY)
    assert len(server.bill) == 26
    check_books(server, small)
    assert small.rows().groupby("annotator")["cost_usd"].sum()["claude_large"] > 10 * small.rows()["cost_usd"][:13].sum()
