"""Results come in any order, twice, in part, late or never: each is booked once, and only what was not answered is asked again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from tests.grading.claude.shop import (
    CREATE,
    MESSAGES,
    Shop,
    check_books,
    check_doubt,
    check_once,
    creates,
    pairs_of,
)
from tests.grading.stand_in import Reply, StandIn, graded, malformed, refused

from whetstone.grading.claude import purchase
from whetstone.platform.errors import WhetstoneError

MakeShop = Callable[..., Shop]
MANY, FEW = pairs_of(13), pairs_of(4)


def test_results_twice_in_any_order_and_with_unknown_ids(server: StandIn, shop: Shop, portions_of_4: None) -> None:
    server.fault("GET", "/results$", "extra_results", duplicates=7, unknown=9)
    shop.grade(MANY)
    check_once(server, shop, MANY)


def test_results_that_are_cut_are_asked_again(server: StandIn, shop: Shop, portions_of_4: None) -> None:
    server.fault("GET", "/results$", "cut_midway", times=3)
    shop.grade(MANY)
    assert creates(server) == 1
    check_once(server, shop, MANY)


def test_results_cut_behind_unknown_ids_are_not_taken_for_another_batch(
    server: StandIn, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purchase, "PORTION", 1)
    strangers_first = server._results

    def results(batch: Any, fault: Any) -> list[dict[str, Any]]:
        lines = strangers_first(batch, fault)
        return sorted(lines, key=lambda line: not line["custom_id"].startswith("never-sent"))

    monkeypatch.setattr(server, "_results", results)
    server.fault("GET", "/results$", "cut_midway", unknown=13)
    shop.grade(MANY)
    assert creates(server) == 1
    check_once(server, shop, MANY)


def test_results_that_are_always_cut_are_an_error_and_the_next_build_goes_on(server: StandIn, shop: Shop, portions_of_4: None) -> None:
    server.fault("GET", "/results$", "cut_midway", times=purchase.ATTEMPTS)
    with pytest.raises(WhetstoneError, match=r"gave results for \d of 13 requests"):
        shop.grade(MANY)
    shop.grade(MANY)
    assert creates(server) == 1
    check_once(server, shop, MANY)


def test_what_expired_is_sent_again_under_new_ids(server: StandIn, shop: Shop) -> None:
    server.fault("POST", CREATE, "expire", done=3)
    shop.grade(MANY)
    ids = [[item["custom_id"] for item in each.body["requests"]] for each in server.requests("POST", CREATE) if each.body]
    assert [len(each) for each in ids] == [13, 10] and not set(ids[0]) & set(ids[1])
    check_once(server, shop, MANY)


def test_what_always_expires_has_no_answer_and_costs_nothing(server: StandIn, shop: Shop) -> None:
    server.outcome = lambda custom_id, params: "expired"
    with pytest.raises(WhetstoneError, match=r"5 attempts in vain; run the build again later. 13 requests expired or failed at the server"):
        shop.grade(MANY)
    assert creates(server) == 5 and shop.owed() == 0 and len(shop.rows()) == 0
    assert shop.naps == [2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize("outcome", ["canceled", "api_error", "overloaded_error"])
def test_what_failed_at_the_server_is_asked_again(server: StandIn, shop: Shop, outcome: str) -> None:
    first: set[str] = set()

    def fail_once(custom_id: str, params: dict[str, Any]) -> str:
        text = params["messages"][0]["content"]
        is_new = text not in first
        first.add(text)
        return outcome if is_new and "product 7" in text else "succeeded"

    server.outcome = fail_once
    shop.grade(MANY)
    check_once(server, shop, MANY)


def test_an_invalid_request_is_a_recorded_failure(server: StandIn, shop: Shop) -> None:
    server.outcome = lambda custom_id, params: "invalid_request_error" if "product 7" in params["messages"][0]["content"] else "succeeded"
    graded_ = shop.grade(MANY)
    failed = graded_[graded_["grade"].isna()]
    assert failed["failure"].tolist() == ["invalid request: told to fail"] and failed["cost_usd"].tolist() == [0.0]
    assert failed["is_answered"].all()
    sent = len(server.log)
    shop.grade(MANY)
    assert len(server.log) == sent
    check_books(server, shop)


def test_an_account_without_credit_is_no_failure_of_its_pairs(server: StandIn, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "Your credit balance is too low to access the Anthropic API."
    monkeypatch.setattr("tests.grading.stand_in.ApiError.__str__", lambda error: words)
    server.outcome = lambda custom_id, params: "invalid_request_error"
    with pytest.raises(WhetstoneError, match="13 requests expired or failed"):
        shop.grade(MANY)
    server.fault("POST", MESSAGES, "status", status=400)
    with pytest.raises(WhetstoneError, match="credit balance"):
        shop.grade(FEW)
    assert len(shop.rows()) == 0 and shop.owed() == 0
    server.outcome = lambda custom_id, params: "succeeded"
    shop.grade(MANY)
    check_once(server, shop, MANY)


def test_results_that_are_gone_stay_in_doubt_and_are_bought_anew(server: StandIn, shop: Shop) -> None:
    server.fault("GET", "/results$", "status", status=404)
    shop.grade(MANY)
    assert creates(server) == 2 and shop.events().count("gone") == 1
    check_doubt(server, shop)


def test_an_archived_batch_has_no_results_any_more(server: StandIn, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, first = server._show, []

    def archived(batch: Any) -> dict[str, Any]:
        first.append(batch.id)
        return shown(batch) | ({"results_url": None} if batch.id == first[0] else {})

    monkeypatch.setattr(server, "_show", archived)
    shop.grade(MANY)
    assert creates(server) == 2
    check_doubt(server, shop)


def test_a_batch_that_the_account_denies_is_looked_for_and_not_lost(server: StandIn, make_shop: MakeShop) -> None:
    """Another workspace's key, or a replica that lags behind."""
    shop = make_shop()
    server.fault("GET", r"/batches/msgbatch_\w+$", "status", status=404, times=2)
    shop.grade(MANY)
    assert creates(server) == 1
    check_once(server, shop, MANY)


def test_refused_cut_malformed_and_impossible_answers_are_recorded_failures_with_their_cost(server: StandIn, shop: Shop) -> None:
    replies = [
        refused(),
        graded(4).cut(),
        malformed(),
        graded(9),
        graded(4, confidence=101),
        Reply("4", stop_reason="pause_turn"),
        graded(2),
    ]
    numbers = itertools.count()
    server.answer = lambda params: replies[next(numbers) % len(replies)]
    for pairs in (MANY, FEW):
        graded_ = shop.grade(pairs.assign(text=pairs["text"] + str(len(pairs))))
        failed = graded_[graded_["grade"].isna()]
        assert len(failed) >= len(pairs) - 2
        assert (failed["cost_usd"] > 0).all() and failed["failure"].notna().all() and (failed["confidence"] == 0).all()
    whys = set(shop.rows()["failure"].dropna().str.split(":").str[0])
    assert whys == {"refusal", "max_tokens", "malformed", "grade out of range", "confidence out of range"}
    sent = len(server.log)
    shop.grade(MANY.assign(text=MANY["text"] + "13"))
    assert len(server.log) == sent  # never asked again
    check_books(server, shop)
