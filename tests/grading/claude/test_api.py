"""The API as the protocol sees it: what each error means for money, and that the key is seen nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.grading.claude.shop import HAIKU, KEY
from tests.grading.stand_in import StandIn

from whetstone.grading.claude.api import Api, Busy, InDoubt, Rejected, in_words, is_about_account, size_of
from whetstone.platform.errors import WhetstoneError

PARAMS: dict[str, Any] = {"model": HAIKU, "max_tokens": 400, "messages": [{"role": "user", "content": "pair"}]}
CREATE, MESSAGES = "/batches$", "/v1/messages$"


@pytest.fixture
def api(server: StandIn) -> Api:
    return Api(KEY, server.url, timeout_s=5.0, retries=0)


def items(count: int, name: str = "r") -> list[dict[str, Any]]:
    return [{"custom_id": f"{name}-{number}", "params": PARAMS} for number in range(count)]


PAID: list[tuple[str, Callable[[Api], Any]]] = [
    (CREATE, lambda api: api.create_batch(items(2))),
    (MESSAGES, lambda api: api.message(PARAMS)),
]


@pytest.mark.parametrize(("path", "call"), PAID, ids=["batch", "message"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Rejected) for status in (400, 401, 402, 403, 404, 413, 422)),
        *((status, InDoubt) for status in (408, 500, 502, 503, 504, 529)),
        (429, Busy),
    ],
)
def test_what_a_status_means_for_money_and_that_it_is_sent_once(
    server: StandIn, api: Api, path: str, call: Callable[[Api], Any], status: int, kind: type[WhetstoneError]
) -> None:
    server.fault("POST", path, "status", status=status, times=9)
    with pytest.raises(kind) as raised:
        call(Api(KEY, server.url, retries=4))
    assert len(server.requests("POST", path)) == 1  # never retried by the SDK, whatever it is told
    assert str(status) in str(raised.value) and "told to fail" in str(raised.value)


@pytest.mark.parametrize(("path", "call"), PAID, ids=["batch", "message"])
@pytest.mark.parametrize("fault", ["cut", "cut_midway", "slow"])
def test_a_lost_answer_is_a_doubt(server: StandIn, path: str, call: Callable[[Api], Any], fault: str) -> None:
    server.fault("POST", path, fault, times=9, seconds=0.6)
    with pytest.raises(InDoubt):
        call(Api(KEY, server.url, timeout_s=0.2, retries=4))
    assert len(server.requests("POST", path)) == 1


def test_nobody_listens() -> None:
    with pytest.raises(InDoubt):
        Api(KEY, "http://127.0.0.1:9", timeout_s=1.0).create_batch(items(1))


@pytest.mark.parametrize(("header", "seconds"), [(37, 37.0), (0.5, 0.5), (None, None)])
def test_the_pause_that_is_asked_for(server: StandIn, api: Api, header: float | None, seconds: float | None) -> None:
    server.fault("POST", CREATE, "status", status=429, retry_after=header)
    with pytest.raises(Busy) as raised:
        api.create_batch(items(1))
    assert raised.value.wait_s == seconds


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "nan", "1e9", "1.2.3", "²"])
def test_a_pause_that_is_no_number_of_seconds(server: StandIn, api: Api, header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    route = server._route

    def limited(*args: Any) -> Any:
        answer = route(*args)
        return answer._replace(status=429, headers={**answer.headers, "retry-after": header})

    monkeypatch.setattr(server, "_route", limited)
    with pytest.raises(Busy) as raised:
        api.create_batch(items(1))
    assert raised.value.wait_s is None


def test_reading_is_retried(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anthropic._base_client.time.sleep", lambda seconds: None)
    api = Api(KEY, server.url)
    batch_id = api.create_batch(items(3))
    server.fault("GET", CREATE, "status", status=529, times=2)
    server.fault("GET", "/msgbatch_[^/]+$", "status", status=500, times=2)
    server.fault("POST", "count_tokens$", "cut", times=2)
    assert next(api.batches()).id == batch_id
    assert api.is_ended(batch_id)
    assert api.count_tokens(PARAMS) == 1
    assert len(list(api.results(batch_id))) == 3


def test_batches_after_a_mark_over_several_pages(server: StandIn, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whetstone.grading.claude.api.PAGE", 2)
    assert api.batches_after(None) == []
    made = [api.create_batch(items(size)) for size in range(1, 8)]
    assert next(api.batches()).id == made[-1]
    found = api.batches_after(made[1])
    assert [each.id for each in found] == made[2:] and [size_of(each) for each in found] == [3, 4, 5, 6, 7]
    assert [each.id for each in api.batches_after(None)] == made
    assert api.batches_after(made[-1]) == []
    assert len(api.batches_after("a mark that was deleted")) == 7


def test_the_size_of_a_batch_stays_when_it_ends(server: StandIn, api: Api) -> None:
    server.fault("POST", CREATE, "expire", done=2)
    batch_id = api.create_batch(items(5))
    (before,) = api.batches_after(None)
    server.end()
    (after,) = api.batches_after(None)
    assert (before.id, size_of(before)) == (after.id, size_of(after)) == (batch_id, 5)


def test_results_that_are_not_there(server: StandIn, api: Api) -> None:
    with pytest.raises(Rejected):
        api.is_ended("msgbatch_unknown")
    server.polls_to_end = 9
    batch_id = api.create_batch(items(1))
    with pytest.raises(Rejected, match="no results"):  # the SDK's own error: it has no address
        list(api.results(batch_id))
    server.end()
    for status in (404, 410):
        server.fault("GET", "/results$", "status", status=status)
        with pytest.raises(Rejected):
            list(api.results(batch_id))
    server.fault("GET", "/results$", "cut_midway")
    with pytest.raises(InDoubt, match="cut off"):
        list(api.results(batch_id))
    server.fault("GET", "/results$", "status", status=500)
    with pytest.raises(WhetstoneError, match="did not give the results"):
        list(api.results(batch_id))


def test_a_wrong_key_is_named(server: StandIn, api: Api) -> None:
    server.fault("GET", CREATE, "status", status=401)
    with pytest.raises(WhetstoneError, match=r"list its batches: 401 .*; check ANTHROPIC_API_KEY"):
        next(api.batches())


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", f"{KEY[:9]} {KEY[9:]}", f"{KEY}é", f"{KEY}\x00"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(WhetstoneError, match="ANTHROPIC_API_KEY") as raised:
        Api(key, "http://127.0.0.1:9")
    assert "secret" not in str(raised.value)


def test_nothing_shows_key_or_password(api: Api) -> None:
    assert KEY not in repr(api) + str(api) + repr(vars(api).keys())
    assert "geheim" not in repr(Api(KEY, "http://user:geheim@127.0.0.1:9"))
    assert in_words(f"invalid x-api-key: {KEY}\n\x1b[2J\ud800") == "invalid x-api-key: sk-...  [2J "
    assert len(in_words("x" * 9999)) == 300


def test_errors_of_the_account_are_told_from_those_of_a_request() -> None:
    for words in (
        "Your credit balance is too low to access the Anthropic API.",
        "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
        "This organization has been disabled.",
    ):
        assert is_about_account(words) and not Rejected(words, 400).blames_the_request
    for words in ("messages.0.content: text is too long", "Output blocked by content filtering policy", "max_tokens: 9 > 8"):
        assert not is_about_account(words) and Rejected(words, 400).blames_the_request
    assert not Rejected("model: unknown", 404).blames_the_request and not Rejected("invalid x-api-key", 401).blames_the_request


def test_tokens_are_counted_for_nothing(server: StandIn, api: Api) -> None:
    assert api.count_tokens({**PARAMS, "system": [{"type": "text", "text": "x" * 40}]}) == 11
    assert not server.bill
