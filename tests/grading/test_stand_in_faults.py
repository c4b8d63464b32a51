"""The stand-in Anthropic server, driven by the real SDK: how it fails when it is told to, and what it charges then."""

from __future__ import annotations

import threading
from typing import Any

import anthropic
import httpx2
import pytest
from tests.grading.stand_in import StandIn
from tests.grading.stand_in_requests import items, params


@pytest.mark.parametrize("status", [429, 500, 529])
def test_status_comes_before_acceptance(server: StandIn, api: anthropic.Anthropic, status: int) -> None:
    server.fault("POST", "/v1/messages$", "status", status=status, retry_after=3)
    with pytest.raises(anthropic.APIStatusError) as caught:
        api.messages.create(**params())
    kinds = {429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}
    assert (caught.value.status_code, caught.value.type) == (status, kinds[status])
    assert caught.value.response.headers["retry-after"] == "3"
    assert server.bill == []
    api.messages.create(**params())
    assert len(server.bill) == 1


def test_the_sdk_retries_through_a_429(server: StandIn) -> None:
    server.fault("POST", "/v1/messages$", "status", times=2, status=429, retry_after=0.001)
    server.client(max_retries=2).messages.create(**params())
    assert len(server.requests("POST", "/v1/messages$")) == 3 and len(server.bill) == 1


def test_an_accepted_batch_answered_500_is_bought_three_times_by_blind_retries(server: StandIn) -> None:
    server.fault("POST", "/batches$", "status_after_acceptance", times=3, status=500, retry_after=0.001)
    with pytest.raises(anthropic.InternalServerError):
        server.client(max_retries=2).messages.batches.create(requests=items(1))
    assert len(server.batches) == 3 and list(server.bought_twice().values()) == [3]


@pytest.mark.parametrize(("accepted", "charged"), [(False, 0), (True, 1)])
def test_cut_before_and_after_acceptance(server: StandIn, api: anthropic.Anthropic, accepted: bool, charged: int) -> None:
    server.fault("POST", "/v1/messages$", "cut", accepted=accepted)
    with pytest.raises(anthropic.APIConnectionError):
        api.messages.create(**params())
    assert len(server.bill) == charged
    assert api.messages.create(**params()).id


def test_cut_midway_gives_some_results_then_an_error(server: StandIn, api: anthropic.Anthropic) -> None:
    batch = api.messages.batches.create(requests=items(10))
    server.fault("GET", "/results$", "cut_midway")
    got = []
    with pytest.raises((anthropic.APIConnectionError, httpx2.TransportError)):
        for line in api.messages.batches.results(batch.id):
            got.append(line.custom_id)
    whole = [line.custom_id for line in api.messages.batches.results(batch.id)]
    assert 0 < len(got) < 10 and got == whole[: len(got)] and len(whole) == 10
    assert len(server.bill) == 10


@pytest.mark.parametrize("accepted", [False, True])
def test_slow_holds_the_answer_until_release(server: StandIn, api: anthropic.Anthropic, accepted: bool) -> None:
    server.fault("POST", "/batches$", "slow", accepted=accepted)
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(api.messages.batches.create(requests=items(1))))
    asking.start()
    assert server.held.acquire(timeout=10)
    assert len(server.batches) == accepted and not answers
    server.release()
    asking.join(timeout=10)
    assert [each.id for each in answers] == list(server.batches)


def test_a_client_that_gives_up_has_still_bought(server: StandIn, api: anthropic.Anthropic) -> None:
    server.fault("POST", "/batches$", "slow", accepted=True)
    with pytest.raises(anthropic.APITimeoutError):
        api.with_options(timeout=0.2).messages.batches.create(requests=items(1))
    assert server.held.acquire(timeout=10)
    server.release()
    assert [batch.id for batch in api.messages.batches.list()] == list(server.batches) and len(server.batches) == 1


def test_slow_may_be_some_seconds_only(server: StandIn, api: anthropic.Anthropic) -> None:
    server.fault("POST", "/v1/messages$", "slow", seconds=0.01)
    assert api.messages.create(**params()).id


def test_late_acceptance_shows_only_in_a_later_listing(server: StandIn, api: anthropic.Anthropic) -> None:
    early = api.messages.batches.create(requests=items(1)).id
    server.fault("POST", "/batches$", "late_acceptance", n=2)
    with pytest.raises(anthropic.APIConnectionError):
        api.messages.batches.create(requests=items(2))
    late = next(each for each in server.batches if each != early)
    with pytest.raises(anthropic.NotFoundError):
        api.messages.batches.retrieve(late)
    seen = [[batch.id for batch in api.messages.batches.list(limit=1)] for _ in range(3)]
    assert seen == [[early], [early], [late, early]]
    assert api.messages.batches.retrieve(late).request_counts.succeeded == 2


@pytest.mark.parametrize(("rest", "done"), [({}, 3), ({"done": 1}, 1)])
def test_a_batch_may_expire_half_way(server: StandIn, api: anthropic.Anthropic, rest: dict[str, int], done: int) -> None:
    server.fault("POST", "/batches$", "expire", **rest)
    batch = api.messages.batches.create(requests=items(6))
    kinds = {line.custom_id: line.result.type for line in api.messages.batches.results(batch.id)}
    assert kinds == {f"p{n}": "succeeded" if n < done else "expired" for n in range(6)}
    assert [charge.custom_id for charge in server.bill] == [f"p{n}" for n in range(done)]
    assert api.messages.batches.retrieve(api.messages.batches.create(requests=items(6)).id).request_counts.succeeded == 6


def test_results_may_come_twice_and_from_strangers(server: StandIn, api: anthropic.Anthropic) -> None:
    batch = api.messages.batches.create(requests=items(4))
    server.fault("GET", "/results$", "extra_results", duplicates=4, unknown=2)
    ids = [line.custom_id for line in api.messages.batches.results(batch.id)]
    assert sorted(ids) == sorted([*[f"p{n}" for n in range(4)] * 2, "never-sent-0", "never-sent-1"])
    assert len(server.bill) == 4
    assert len(list(api.messages.batches.results(batch.id))) == 4


def test_faults_queue_and_wait_for_their_turn(server: StandIn, api: anthropic.Anthropic) -> None:
    server.fault("POST", "/v1/messages$", "status", status=429)
    server.fault("POST", "/v1/messages$", "status", after=2, status=529)
    codes = []
    for _ in range(4):
        try:
            api.messages.create(**params())
            codes.append(200)
        except anthropic.APIStatusError as error:
            codes.append(error.status_code)
    assert codes == [429, 200, 529, 200]
    with pytest.raises(ValueError, match="earthquake"):
        server.fault("GET", "/", "earthquake")
