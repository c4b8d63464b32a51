"""The stand-in Anthropic server, driven by the real SDK: what it says, what it refuses, how it fails, and that its bill is right."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from typing import Any

import anthropic
import pytest
from tests.grading.stand_in import Reply, StandIn, graded, malformed, refused
from tests.grading.stand_in_requests import items, params, text_of

# messages


def test_default_answer_keeps_to_the_schema_and_to_the_pair(api: anthropic.Anthropic) -> None:
    answers = {}
    for user in [f'pair {number} 🦷\n"quoted"' for number in range(40)]:
        message = api.messages.create(**params(user))
        answers[user] = json.loads(text_of(message))
        assert message.stop_reason == "end_turn" and message.content[-1].type == "text"
        assert text_of(api.messages.create(**params(user))) == text_of(message)
    assert all(list(answer) == ["rationale", "grade", "confidence"] for answer in answers.values())
    assert {answer["grade"] for answer in answers.values()} == {4, 2, 1, 0}
    assert all(0 <= answer["confidence"] <= 100 for answer in answers.values())


def test_some_default_answers_think_first_unless_that_is_disabled(api: anthropic.Anthropic) -> None:
    kinds = {tuple(block.type for block in api.messages.create(**params(f"{n}")).content) for n in range(20)}
    assert kinds == {("text",), ("thinking", "text")}
    still = {len(api.messages.create(**params(f"{n}", thinking={"type": "disabled"})).content) for n in range(20)}
    assert still == {1}


@pytest.mark.parametrize(
    ("reply", "stop_reason", "text"),
    [
        (refused(), "refusal", ""),
        (graded(2, 80, "x" * 40).cut(), "max_tokens", '{"rationale": "' + "x" * 28),
        (malformed(), "end_turn", malformed().text),
        (graded(7, 300), "end_turn", '{"rationale": "as said", "grade": 7, "confidence": 300}'),
        (Reply("hi", thinking="so"), "end_turn", "hi"),
    ],
)
def test_a_test_says_what_the_model_answers_and_it_is_charged(
    server: StandIn, api: anthropic.Anthropic, reply: Reply, stop_reason: str, text: str
) -> None:
    server.answer = lambda _: reply
    message = api.messages.create(**params())
    assert (message.stop_reason, text_of(message)) == (stop_reason, text)
    assert (message.stop_details is not None) == (stop_reason == "refusal")
    assert [block.type for block in message.content if block.type == "thinking"] == ["thinking"] * (reply.thinking is not None)
    assert [charge.custom_id for charge in server.bill] == [None] and server.total_usd > 0


def test_an_answer_longer_than_max_tokens_is_cut_and_paid_up_to_there(server: StandIn, api: anthropic.Anthropic) -> None:
    server.answer = lambda _: Reply("é" * 100, thinking_tokens=5)
    message = api.messages.create(**params(max_tokens=15))
    assert (message.stop_reason, text_of(message), message.usage.output_tokens) == ("max_tokens", "é" * 20, 15)


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"extra_body": {"temperature": 0}}, 400, "temperature. is deprecated"),
        ({"extra_body": {"top_p": 0.5}}, 400, "top_p. is deprecated"),
        ({"extra_body": {"top_k": 5}}, 400, "top_k. is deprecated"),
        ({"extra_body": {"surprise": 1}}, 400, "surprise"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"model": "claude-unknown"}, 404, "claude-unknown"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, 400, "non-empty"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "user role"),
        ({"output_config": {"format": {"type": "xml"}}}, 400, "json_schema"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}}},
            400,
            "additionalProperties",
        ),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "integer", "minimum": 0}}}}, 400, "minimum"),
        ({"output_config": {"effort": "huge"}}, 400, "effort"),
        ({"system": [{"type": "text", "text": "x", "cache_control": {"type": "eternal"}}]}, 400, "cache_control"),
    ],
)
def test_wrong_params_are_refused_and_cost_nothing(
    server: StandIn, api: anthropic.Anthropic, changes: dict[str, Any], status: int, said: str
) -> None:
    with pytest.raises(anthropic.APIStatusError, match=said) as caught:
        api.messages.create(**params() | changes)
    assert caught.value.status_code == status and caught.value.request_id
    assert server.bill == []


def test_a_key_and_a_version_are_needed(server: StandIn) -> None:
    with pytest.raises(anthropic.AuthenticationError) as caught:
        server.client(default_headers={"Authorization": anthropic.omit}).messages.create(**params())
    assert caught.value.type == "authentication_error"
    with pytest.raises(anthropic.BadRequestError, match="anthropic-version"):
        server.client(default_headers={"anthropic-version": anthropic.omit}).messages.create(**params())


def test_counting_tokens_tells_what_a_message_will_use(server: StandIn, api: anthropic.Anthropic) -> None:
    asked = params(system=[{"type": "text", "text": "guideline " * 9, "cache_control": {"type": "ephemeral"}}])
    without_room = {name: value for name, value in asked.items() if name != "max_tokens"}
    counted = api.messages.count_tokens(**without_room).input_tokens
    assert server.bill == []
    for _ in range(2):
        usage = api.messages.create(**asked).usage
        assert counted == usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        api.messages.count_tokens(**without_room, extra_body={"max_tokens": 5})


# the bill


def test_the_bill_of_a_hand_worked_example(server: StandIn, api: anthropic.Anthropic) -> None:
    # 40 bytes of system = 10 tokens, 20 bytes of user = 5 tokens; out: 12 bytes = 3 tokens, and 2 of thinking. $2 in, $10 out per MTok
    server.answer = lambda _: Reply("y" * 12, thinking_tokens=2)
    asked = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 100,
        "system": [{"type": "text", "text": "s" * 40, "cache_control": {"type": "ephemeral"}}],
    }
    users = [{"messages": [{"role": "user", "content": letter * 20}]} for letter in "abcd"]
    first = api.messages.create(**asked, **users[0]).usage  # 5 * 2 + 10 * 2 * 1.25 + 5 * 10 = 85
    assert (first.input_tokens, first.cache_creation_input_tokens, first.cache_read_input_tokens, first.output_tokens) == (5, 10, 0, 5)
    second = api.messages.create(**asked, **users[1]).usage  # 5 * 2 + 10 * 2 * 0.1 + 50 = 62
    assert (second.input_tokens, second.cache_creation_input_tokens, second.cache_read_input_tokens, second.output_tokens) == (5, 0, 10, 5)
    server.end(api.messages.batches.create(requests=[{"custom_id": "c", "params": asked | users[2]}]).id)  # 62 / 2 = 31
    asked["system"][0]["cache_control"]["ttl"] = "1h"
    api.messages.create(**asked | users[3] | {"model": "claude-opus-5-5"})  # 5 * 4 + 10 * 4 * 2 + 5 * 20 = 200
    api.messages.create(**users[0], model="claude-haiku-5-5", max_tokens=100)  # 5 * 0.10 + 5 * 0.50 = 3
    assert [charge.cost * 1_000_000 for charge in server.bill] == [85, 62, 31, 200, 3]
    assert [charge.custom_id for charge in server.bill] == [None, None, "c", None, None]
    assert server.total_usd == Decimal("0.000381")


def test_usage_can_be_dictated_and_is_what_is_charged(server: StandIn, api: anthropic.Anthropic) -> None:
    server.answer = lambda _: graded(4, usage={"input_tokens": 1_000_000, "output_tokens": 2_000_000})
    assert api.messages.create(**params()).usage.input_tokens == 1_000_000
    assert server.total_usd == Decimal("1.10")


def test_a_pair_bought_twice_is_seen_also_in_a_batch_still_open(server: StandIn, api: anthropic.Anthropic) -> None:
    api.messages.create(**params("one"))
    api.messages.create(**params("two"))
    api.messages.create(**params("one", model="claude-opus-5-5"))
    assert not server.bought_twice()
    api.messages.batches.create(requests=[{"custom_id": "again", "params": params("one")}])
    assert list(server.bought_twice().values()) == [2]
    server.end()
    assert list(server.bought_twice().values()) == [2] and len(server.bill) == 4


# batches


def test_a_batch_from_creation_to_shuffled_results(server: StandIn, api: anthropic.Anthropic) -> None:
    server.polls_to_end = 2
    batch = api.messages.batches.create(requests=items(20))
    assert (batch.processing_status, batch.request_counts.processing, batch.results_url) == ("in_progress", 20, None)
    assert (batch.expires_at - batch.created_at).total_seconds() == 86_400
    with pytest.raises(anthropic.NotFoundError):
        api.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)
    assert api.messages.batches.retrieve(batch.id).processing_status == "in_progress" and server.bill == []
    batch = api.messages.batches.retrieve(batch.id)
    assert (batch.processing_status, batch.request_counts.succeeded, batch.request_counts.processing) == ("ended", 20, 0)
    assert batch.ended_at and batch.results_url and batch.results_url.startswith(server.url)
    lines = list(api.messages.batches.results(batch.id))
    assert sorted(line.custom_id for line in lines) == sorted(f"p{n}" for n in range(20))
    assert [line.custom_id for line in lines] != [f"p{n}" for n in range(20)]
    alone = text_of(api.messages.create(**params("pair 7")))
    assert [text_of(line.result.message) for line in lines if line.custom_id == "p7"] == [alone]
    assert {line.result.message.usage.service_tier for line in lines} == {"batch"}
    charges = {charge.custom_id: charge.cost for charge in server.bill}
    assert len(charges) == 21 and charges["p7"] * 2 == charges[None]


def test_every_outcome_of_an_item_and_only_success_is_charged(server: StandIn, api: anthropic.Anthropic) -> None:
    told = {"p1": "invalid_request_error", "p2": "api_error", "p3": "canceled", "p4": "expired"}
    server.outcome = lambda custom_id, _: told.get(custom_id, "succeeded")
    bad = {"custom_id": "p5", "params": params("bad", temperature=0)}  # Anthropic looks into the params only while it runs the batch
    batch = api.messages.batches.create(requests=[*items(5), bad])
    results = {line.custom_id: line.result for line in api.messages.batches.results(batch.id)}
    assert {name: result.type for name, result in results.items()} == {
        "p0": "succeeded",
        "p1": "errored",
        "p2": "errored",
        "p3": "canceled",
        "p4": "expired",
        "p5": "errored",
    }
    assert [results[name].error.error.type for name in ("p1", "p2", "p5")] == [
        "invalid_request_error",
        "api_error",
        "invalid_request_error",
    ]
    assert "temperature" in results["p5"].error.error.message
    counts = api.messages.batches.retrieve(batch.id).request_counts
    assert (counts.succeeded, counts.errored, counts.canceled, counts.expired, counts.processing) == (1, 3, 1, 1, 0)
    assert [charge.custom_id for charge in server.bill] == ["p0"]


@pytest.mark.parametrize("ids", [["a b"], [""], ["x" * 65], ["é"], ["a\n"], ["same", "same"], []])
def test_wrong_custom_ids_are_refused_at_once(server: StandIn, api: anthropic.Anthropic, ids: list[str]) -> None:
    with pytest.raises(anthropic.BadRequestError):
        api.messages.batches.create(requests=[{"custom_id": each, "params": params()} for each in ids])
    assert not server.batches


def test_batches_have_a_largest_size(server: StandIn, api: anthropic.Anthropic) -> None:
    assert (server.max_requests, server.max_bytes) == (100_000, 256 * 2**20)
    server.max_requests = 3
    api.messages.batches.create(requests=items(3))
    with pytest.raises(anthropic.BadRequestError, match="1 to 3"):
        api.messages.batches.create(requests=items(4))
    server.max_bytes = 1000
    with pytest.raises(
        anthropic.RequestTooLargeError if hasattr(anthropic, "RequestTooLargeError") else anthropic.APIStatusError
    ) as caught:
        api.messages.batches.create(requests=items(1, system="x" * 1000))
    assert caught.value.status_code == 413


def test_cancel_goes_through_canceling_and_charges_nothing(server: StandIn, api: anthropic.Anthropic) -> None:
    server.polls_to_end = 99
    batch = api.messages.batches.create(requests=items(3))
    canceled = api.messages.batches.cancel(batch.id)
    assert canceled.processing_status == "canceling" and canceled.cancel_initiated_at
    assert api.messages.batches.retrieve(batch.id).request_counts.canceled == 3
    assert {line.result.type for line in api.messages.batches.results(batch.id)} == {"canceled"}
    with pytest.raises(anthropic.BadRequestError, match="has ended"):
        api.messages.batches.cancel(batch.id)
    assert server.bill == []


def test_listing_is_newest_first_and_in_pages(server: StandIn, api: anthropic.Anthropic) -> None:
    assert api.messages.batches.list().data == []
    made = [api.messages.batches.create(requests=items(1)).id for _ in range(7)][::-1]
    page = api.messages.batches.list(limit=3)
    assert ([b.id for b in page.data], page.has_more, page.first_id, page.last_id) == (made[:3], True, made[0], made[2])
    assert [batch.id for batch in api.messages.batches.list(limit=3)] == made
    assert len(server.requests("GET", "/batches$")) == 1 + 1 + 3
    back = api.messages.batches.list(limit=2, before_id=made[4])
    assert ([b.id for b in back.data], back.has_more) == (made[2:4], True)
    assert [batch.id for batch in api.messages.batches.list(limit=2, before_id=made[4])] == [*made[2:4], *made[:2]]
    last = api.messages.batches.list(limit=3, after_id=made[3])
    assert ([b.id for b in last.data], last.has_more) == (made[4:], False)
    for wrong in ({"limit": 0}, {"limit": 1001}, {"after_id": "msgbatch_none"}):
        with pytest.raises(anthropic.BadRequestError):
            api.messages.batches.list(**wrong)


def test_what_is_not_there_is_not_found(api: anthropic.Anthropic) -> None:
    for path in ("/v1/messages/batches/msgbatch_none", "/v1/nothing"):
        with pytest.raises(anthropic.NotFoundError):
            api.get(path, cast_to=object)


# the server itself


def test_the_log_holds_every_request(server: StandIn, api: anthropic.Anthropic) -> None:
    server.fault("POST", "/v1/messages$", "cut")
    with pytest.raises(anthropic.APIConnectionError):
        api.messages.create(**params("hello"))
    api.messages.batches.list()
    assert [(each.method, each.path) for each in server.log] == [("POST", "/v1/messages"), ("GET", "/v1/messages/batches")]
    assert server.log[0].body == params("hello") and server.log[0].headers["authorization"] == "Bearer test-key"
    assert server.log[1].body is None


def test_many_clients_at_once_lose_nothing(server: StandIn, api: anthropic.Anthropic) -> None:
    threads = [threading.Thread(target=lambda n=n: [api.messages.create(**params(f"{n} {m}")) for m in range(5)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(server.bill) == 40 and not server.bought_twice()


def test_a_mistake_in_the_tests_own_answer_comes_to_light() -> None:
    def broken(_: dict[str, Any]) -> Reply:
        raise ZeroDivisionError

    def ask() -> None:
        with StandIn() as server:
            server.answer = broken
            with pytest.raises(anthropic.InternalServerError):
                server.client().messages.create(**params())

    with pytest.raises(ZeroDivisionError):
        ask()
