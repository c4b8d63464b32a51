"""The purchase protocol against a server that errs in every way: the ledger is the bill, nothing is bought twice, nothing is lost."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from tests.grading.claude.shop import DAY, HAIKU, SONNET, SONNET_PRICE, Shop, check_books, check_doubt, guideline_of, pairs_of
from tests.grading.stand_in import Reply, StandIn, graded, malformed, refused

from whetstone.grading.claude import purchase
from whetstone.platform.errors import WhetstoneError

MakeShop = Callable[..., Shop]
MANY, FEW = pairs_of(13), pairs_of(4)
CREATE, MESSAGES = "/batches$", "/v1/messages$"


def creates(server: StandIn) -> int:
    return len(server.requests("POST", CREATE))


def check_once(server: StandIn, shop: Shop, pairs: pd.DataFrame) -> None:
    """Every pair is graded, was bought once, and is booked as billed; nothing is left in doubt."""
    check_books(server, shop)
    assert not server.bought_twice()
    assert set(shop.ledger.lookup(shop.rows()["key"])["text_hash"]) >= set(shop.rows()["text_hash"])
    assert len(shop.rows()) == len(pairs)
    assert shop.owed() == 0


def foreign(server: StandIn, size: int, name: str = "stranger") -> str:
    """Somebody else's batch in the same account; returns its id."""
    message = {"model": HAIKU, "max_tokens": 9, "messages": [{"role": "user", "content": f"{name}"}]}
    items = [{"custom_id": f"{name}-{number}", "params": message} for number in range(size)]
    return str(server.client().messages.batches.create(requests=items).id)


def ours_usd(server: StandIn, shop: Shop) -> float:
    """What the bill says for requests of this ledger."""
    known = set(shop.ledger.read("select request from ledger.requests")["request"])
    return float(sum(charge.cost for charge in server.bill if charge.custom_id in known))


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


def test_pairs_of_equal_texts_are_bought_once(server: StandIn, shop: Shop) -> None:
    twins = pd.concat([MANY, MANY.assign(product_id="twin of " + MANY["product_id"])], ignore_index=True)
    assert shop.grade(twins)["grade"].notna().all()
    check_once(server, shop, MANY)
    answers = shop.annotator.annotate(twins.assign(text=twins["text"] + " anew"))  # also without the ledger's own care
    assert len(answers) == 26
    check_books(server, shop)
    assert not server.bought_twice()


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


# batches.create goes wrong


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


# results


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
    graded_ = shop.grade(MANY)
    assert not graded_["is_answered"].any()
    assert set(graded_["failure"]) == {"unanswered: 13 requests expired or failed at the server 5 times"}
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
    assert not shop.grade(MANY)["is_answered"].any()
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
    other, ours, taken = make_shop(**({"sleep": _stop} if is_killed else {})), make_shop(), purchase.exclusive
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
    server.polls_to_end = 4
    with pytest.raises(KeyboardInterrupt):
        make_shop(sleep=_stop).grade(MANY)
    ours = make_shop()
    ours.grade(pairs_of(3, "other"))
    assert len(ours.rows()) == 3 and ours.naps == [] and ours.owed() > 0
    ours.grade(MANY.head(1))
    assert creates(server) == 1
    check_once(server, ours, pd.concat([MANY, FEW.head(3)]))


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
def test_a_refused_key_stops_messages_with_nothing_owed(server: StandIn, shop: Shop, status: int) -> None:
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
    before = make_shop(model=SONNET, price=SONNET_PRICE, name="claude_large", poll_s=1.0, sleep=_stop)
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


def _stop(seconds: float) -> None:
    raise KeyboardInterrupt


def test_two_stages_share_ledger_and_budget(server: StandIn, make_shop: MakeShop) -> None:
    small, large = make_shop(), make_shop(model=SONNET, price=SONNET_PRICE, name="claude_large")
    small.grade(MANY)
    large.grade(MANY)
    assert len(server.bill) == 26
    check_books(server, small)
    assert small.rows().groupby("annotator")["cost_usd"].sum()["claude_large"] > 10 * small.rows()["cost_usd"][:13].sum()
