"""Queries written by Claude: bought, booked and kept as grades are; a failure is no query, and hostile text stays data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pandas as pd
import pytest
from tests.grading.claude.hostile import PRODUCTS
from tests.grading.claude.shop import CREATE, HAIKU, HAIKU_PRICE, SONNET, Shop, check_books, pairs_of
from tests.grading.stand_in import Reply, StandIn, refused
from tests.grading.stand_in_books import user_text

from whetstone.grading.claude.annotator import ClaudeAnnotator
from whetstone.grading.claude.prompt import CLOSE, OPEN, PRODUCT_CHARS
from whetstone.grading.claude.queries import WRITER, QueryPrompt, write_queries
from whetstone.grading.guideline import load_guideline

MakeShop = Callable[..., Shop]


def writer_of(shop: Shop, model: str = HAIKU) -> ClaudeAnnotator:
    return ClaudeAnnotator(WRITER, model, HAIKU_PRICE, QueryPrompt(), shop.ledger, shop.desk)


def write(shop: Shop, wanted: pd.DataFrame, model: str = HAIKU) -> dict[str, str]:
    return write_queries(writer_of(shop, model), wanted, shop.ledger, shop.entry)[0]


def products(count: int) -> pd.DataFrame:
    return pairs_of(count)[["product_id", "text", "category"]]


@pytest.mark.parametrize("count", [13, 3], ids=["batch", "messages"])
def test_queries_are_bought_once_booked_as_billed_and_kept(server: StandIn, make_shop: MakeShop, count: int) -> None:
    server.answer = lambda params: Reply(json.dumps({"query": "  Red  " + re.findall(r"product (\d+)", user_text(params))[0]}))
    shop = make_shop()
    first = write(shop, products(count))
    assert first == {f"p{n}": f"red {n}" for n in range(count)}
    check_books(server, shop)
    sent = len(server.log)
    elsewhere = make_shop(build="another", guideline=load_guideline("three_level"))
    assert write(elsewhere, products(count)) == first and len(server.log) == sent
    assert not server.bought_twice() and shop.owed() == 0
    rows = shop.rows()
    assert set(rows["annotator"]) == {WRITER} and set(rows["category"]) == {"garden"}
    assert len(write(shop, products(2), SONNET)) == 2 and len(server.log) > sent  # another model writes anew


def test_a_failed_answer_is_no_query_and_is_not_asked_again(server: StandIn, shop: Shop) -> None:
    bad = [
        refused(), Reply("red lamp"), Reply('{"query": ""}'), Reply('{"query": "\\u200b"}'), Reply(json.dumps({"query": "x" * 101})),
        Reply('{"query": 7}'), Reply('{"query": "a", "query": "b"}'), Reply('{"rationale": "r", "grade": 4, "confidence": 90}'),
    ]  # fmt: skip
    replies = iter([*bad, Reply('{"query": "<b>Lamp</b>\\u0000"}')])
    server.answer = lambda params: next(replies)
    wanted = products(9)
    assert write(shop, wanted) == {"p8": "<b>lamp</b>"}
    failures = shop.rows().set_index("text_hash")["failure"]
    assert failures.notna().sum() == 8 and {"refusal", "query out of range"} < set(failures.dropna())
    assert write(shop, wanted) == {"p8": "<b>lamp</b>"} and len(server.bill) == 9
    check_books(server, shop)


def test_a_batch_that_nobody_waited_for_is_read_as_queries_by_a_desk_that_grades(server: StandIn, make_shop: MakeShop) -> None:
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    server.polls_to_end = 2
    with pytest.raises(KeyboardInterrupt):
        write(make_shop(sleep=stop), products(12))
    graded = make_shop().grade(pairs_of(12, "other"))
    assert graded["grade"].notna().all()
    shop = make_shop()
    written = write(shop, products(12))
    assert len(written) == 12 and all(text.startswith("because of ") for text in written.values())
    assert len(server.requests("POST", CREATE)) == 2 and not server.bought_twice()
    check_books(server, shop)


def test_the_budget_holds_for_queries_and_grades_together(server: StandIn, make_shop: MakeShop) -> None:
    poor = make_shop(budget=0.0)
    written, why = write_queries(writer_of(poor), products(5), poor.ledger, poor.entry)
    assert written == {} and why.startswith("over budget") and not server.bill
    shop = make_shop()
    shop.grade(pairs_of(20))
    poor = make_shop(budget=shop.usd() + 1e-9)
    written, why = write_queries(writer_of(poor), products(12), poor.ledger, poor.entry)
    assert written == {} and why.startswith("over budget: 12 more requests to claude_queries")


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_hostile_product_stays_in_its_block(name: str) -> None:
    message = QueryPrompt().params("", PRODUCTS[name], HAIKU)["messages"][0]["content"]
    assert message.count(OPEN) == message.count(CLOSE) == 1
    block = message.split(OPEN)[1].split(CLOSE)[0]
    data = json.loads(block)
    assert not set(block) & set("<>&") and set(data) <= {"product", "cut"} and len(data["product"]) <= PRODUCT_CHARS
