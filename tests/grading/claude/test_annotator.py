"""The paid annotator: its version, its estimates and bounds, hostile texts all the way, and a key that stays where it is."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.grading.claude.hostile import PRODUCTS, QUERIES
from tests.grading.claude.shop import HAIKU, HAIKU_PRICE, KEY, SONNET, SONNET_PRICE, Shop, check_books, guideline_of, opened, pairs_of
from tests.grading.stand_in import StandIn

from whetstone.grading.claude.annotator import NO_KEY, TOKENS_OUT, ClaudeAnnotator
from whetstone.grading.claude.prompt import Prompt
from whetstone.grading.ledger import grade_through
from whetstone.platform.errors import WhetstoneError

MakeShop = Callable[..., Shop]
MANY = pairs_of(12)


def without_desk(shop: Shop) -> ClaudeAnnotator:
    return ClaudeAnnotator("claude_small", HAIKU, HAIKU_PRICE, Prompt(shop.guideline), shop.ledger, None)


def test_the_version_is_what_can_change_an_answer(make_shop: MakeShop) -> None:
    def version(**options: object) -> str:
        return make_shop(**options).annotator.version

    assert version() == version(price=SONNET_PRICE) == version(name="other") == version(build="x", budget=0.0)
    assert len({version(), version(model=SONNET), version(guideline=guideline_of("three_level"))}) == 3


def test_answers_keep_the_order_of_their_pairs(shop: Shop) -> None:
    shuffled = MANY.sample(frac=1.0, random_state=3).reset_index(drop=True)
    answers = shop.grade(shuffled)
    assert answers["product_id"].tolist() == shuffled["product_id"].tolist()
    assert answers["grade"].isin(shop.guideline.grades).all() and answers["failure"].isna().all()


def test_without_a_key_it_answers_what_the_ledger_has(server: StandIn, shop: Shop) -> None:
    shop.grade(MANY.head(5))
    sent = len(server.log)
    answers = grade_through(shop.ledger, without_desk(shop), MANY, shop.guideline, shop.entry)
    assert answers["is_answered"].tolist() == [True] * 5 + [False] * 7
    assert answers["failure"].iloc[-1].startswith(f"{NO_KEY}; 7 pairs would take about $") and len(server.log) == sent


def test_an_estimate_costs_nothing_and_bounds_the_bill(server: StandIn, make_shop: MakeShop) -> None:
    for name, is_batch, pairs in (("claude_small", True, MANY), ("claude_large", False, pairs_of(4, "few"))):
        shop = make_shop(name=name) if name == "claude_small" else make_shop(name=name, model=SONNET, price=SONNET_PRICE)
        before, posted = float(server.total_usd), len(server.bill)
        said = shop.annotator.estimate(pairs, is_batch)
        assert len(server.bill) == posted and said.pairs == len(pairs)
        assert shop.events() == ([] if name == "claude_small" else ["intended", "sent", "collected"])
        shop.grade(pairs)
        cost = float(server.total_usd) - before
        assert cost <= said.at_most_usd and said.expected_usd <= said.at_most_usd
        tokens = shop.rows()[shop.rows()["annotator"] == name]["tokens_in"].sum()
        assert said.tokens_in == pytest.approx(tokens, rel=0.15)


def test_an_estimate_learns_from_the_ledger_how_long_answers_are(server: StandIn, shop: Shop) -> None:
    assert shop.annotator.estimate(MANY, True).tokens_out == 12 * TOKENS_OUT
    shop.grade(MANY)
    mean = shop.rows()["tokens_out"].mean()
    assert shop.annotator.estimate(pairs_of(12, "new"), True).tokens_out == pytest.approx(12 * mean, abs=1)
    assert without_desk(shop).estimate(MANY, True).pairs == 12
    assert shop.annotator.estimate(MANY.head(0), True) == (0, 0, 0, 0.0, 0.0)


def test_no_request_costs_more_than_its_bound(server: StandIn, make_shop: MakeShop) -> None:
    """Also with a long guideline, written to the cache, texts dense in tokens, and answers that take all of theirs."""
    guideline = guideline_of("esci")
    shop = make_shop(guideline=guideline.model_copy(update={"description": guideline.description + " and so on" * 4000}))
    from whetstone.grading.claude.prompt import MAX_TOKENS

    default = server.answer
    server.answer = lambda params: default(params).__class__("x" * 4 * MAX_TOKENS, usage={"output_tokens": MAX_TOKENS})
    for pairs in (MANY, pairs_of(3, "𠜎" * 4000)):
        shop.grade(pairs)
    paid = shop.ledger.read("select cost_usd, at_most_usd from ledger.grades join ledger.requests using (request)")
    assert len(paid) == 15 and (paid["cost_usd"] <= paid["at_most_usd"]).all()
    check_books(server, shop)


def hostile_pairs() -> pd.DataFrame:
    texts = [(query, text) for query in list(QUERIES.values())[:1] for text in PRODUCTS.values()]
    texts += [(query, "a plain mug") for query in QUERIES.values()]
    rows = pd.DataFrame(texts, columns=["query", "text"])
    strange = ['it\'s "q"; --', "🦷\n", "\x1b[2J", "x" * 5000]
    ids = [f"{strange[number % 4]}{number}" for number in range(len(rows))]
    return rows.assign(query_id=ids, product_id=ids, category=[strange[number % 4] for number in range(len(rows))])


def test_hostile_texts_go_all_the_way(server: StandIn, shop: Shop) -> None:
    pairs = hostile_pairs()
    assert len(PRODUCTS) >= 40
    graded = shop.grade(pairs)
    assert graded["grade"].notna().all()
    check_books(server, shop)
    assert not server.bought_twice() or len(server.bill) == len(shop.rows())  # texts that are equal once they are cleaned
    for batch in server.requests("POST", "/batches$"):
        for item in (batch.body or {})["requests"]:
            content = item["params"]["messages"][0]["content"]
            assert content.count("<pair_data>") == content.count("</pair_data>") == 1
    paid = shop.ledger.read("select cost_usd, at_most_usd from ledger.grades join ledger.requests using (request)")
    assert len(paid) == len(shop.rows()) and (paid["cost_usd"] <= paid["at_most_usd"]).all()
    sent = len(server.log)
    shop.grade(pairs)
    assert len(server.log) == sent


def test_hostile_rationales_and_errors_are_booked(server: StandIn, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = 'a\x00b\ud800 "; drop table ledger.grades; --\n🦷' + "x" * 3000
    default = server.answer
    said = json.dumps({"rationale": evil, "grade": 4, "confidence": 50})
    server.answer = lambda params: default(params).__class__(said)
    monkeypatch.setattr("tests.grading.stand_in.ApiError.__str__", lambda error: evil)
    server.outcome = lambda custom_id, params: "invalid_request_error" if "product 7" in str(params) else "succeeded"
    graded = shop.grade(MANY)
    assert graded["grade"].notna().sum() == 11 and graded["failure"].notna().sum() == 1
    assert graded["rationale"].dropna().str.len().max() <= 300 and graded["failure"].dropna().str.len().max() <= 320
    check_books(server, shop)


def test_the_key_is_in_no_log_error_repr_or_file(server: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("anthropic", "httpx2", "httpcore2", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, name)
    seen: list[str] = []
    with opened(tmp_path / "books.duckdb") as connect:
        shop = Shop(server.url, tmp_path, connect)
        for status in (400, 401, 403, 413):
            server.fault("POST", "/batches$", "status", status=status)
            with pytest.raises(WhetstoneError) as raised:
                shop.grade(MANY)
            seen += ["".join(traceback.format_exception(raised.value)), repr(raised.value)]
        server.fault("POST", "/batches$", "status_after_acceptance", status=500)
        server.fault("GET", "/results$", "cut_midway")
        shop.grade(MANY)
        server.fault("POST", "/v1/messages$", "cut", accepted=True)
        shop.grade(pairs_of(2, "few"))
        seen += [repr(shop.api), repr(shop.desk), repr(shop.annotator), str(vars(shop.desk)), str(vars(shop.annotator))]
        seen += [shop.ledger.read(f"select * from ledger.{table}").to_json() for table in ("grades", "requests", "events")]
    assert len(caplog.records) > 50
    seen += [record.getMessage() + str(record.__dict__) for record in caplog.records]
    assert not any(KEY in text for text in seen)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 2 and not any(KEY.encode() in path.read_bytes() for path in files)
    assert any(KEY in value for value in server.log[0].headers.values())  # it was sent, after all
