"""Dollars: against exact decimal arithmetic, and a bound that nothing real exceeds."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.grading.claude.hostile import PRODUCTS

from whetstone.grading.claude.cost import (
    OVERHEAD_TOKENS,
    PRICES,
    Estimate,
    Price,
    at_most_usd,
    cost_usd,
    estimate,
    price_of,
    tokens_in,
)
from whetstone.grading.claude.prompt import Prompt
from whetstone.grading.guideline import load_guideline
from whetstone.platform.errors import WhetstoneError

PROMPT = Prompt(load_guideline("esci"))
SONNET = Price(2.0, 10.0)
counts = st.integers(0, 2_000_000)
prices = st.sampled_from([Price(*price) for price in PRICES.values()])


def usage(fresh: int = 0, written: int | None = None, read: int | None = None, out: int = 0, hour: int | None = None) -> Any:
    creation = None
    if hour is not None:
        creation = SimpleNamespace(ephemeral_1h_input_tokens=hour, ephemeral_5m_input_tokens=(written or 0) - hour)
    return SimpleNamespace(
        input_tokens=fresh, cache_creation_input_tokens=written, cache_read_input_tokens=read, output_tokens=out, cache_creation=creation
    )


def exact(fresh: int, five: int, hour: int, read: int, out: int, price: Price, is_batch: bool) -> Decimal:
    """The bill in decimal arithmetic, line by line."""
    dear, cheap = Decimal(str(price.output)), Decimal(str(price.input))
    lines = [
        fresh * cheap,
        five * cheap * Decimal("1.25"),
        hour * cheap * 2,
        read * cheap * Decimal("0.1"),
        out * dear,
    ]
    return sum(lines, Decimal(0)) / 1_000_000 * (Decimal("0.5") if is_batch else 1)


@given(counts, counts, counts, counts, counts, prices, st.booleans())
def test_the_cost_is_the_exact_bill(fresh: int, five: int, hour: int, read: int, out: int, price: Price, is_batch: bool) -> None:
    found = usage(fresh, five + hour, read, out, hour=hour)
    assert cost_usd(found, price, is_batch) == pytest.approx(float(exact(fresh, five, hour, read, out, price, is_batch)), abs=1e-12)
    assert tokens_in(found) == fresh + five + hour + read


def test_a_bill_by_hand() -> None:
    # a million of each: $2 uncached, $2.50 written, $0.20 read, $10 out
    found = usage(10**6, 10**6, 10**6, 10**6)
    assert cost_usd(found, SONNET, is_batch=False) == pytest.approx(14.70)
    assert cost_usd(found, SONNET, is_batch=True) == pytest.approx(7.35)
    assert cost_usd(usage(0, 10**6, hour=10**6), SONNET, is_batch=False) == pytest.approx(4.0)


def test_counts_that_are_null_are_none() -> None:
    assert cost_usd(usage(1000, None, None, 100), SONNET, is_batch=False) == pytest.approx(0.003)
    assert tokens_in(usage(1000, None, None, 100)) == 1000


def test_the_sdks_own_usage_is_read() -> None:
    from anthropic.types import Usage

    assert cost_usd(Usage(input_tokens=1000, output_tokens=100), SONNET, is_batch=False) == pytest.approx(0.003)
    fields = {"cache_creation_input_tokens": 30, "cache_creation": {"ephemeral_1h_input_tokens": 10, "ephemeral_5m_input_tokens": 20}}
    found = Usage.model_validate({"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 4, **fields})
    assert cost_usd(found, SONNET, is_batch=True) == pytest.approx((1 + 25 + 20 + 0.4 + 2 * 5) / 1e6)
    assert tokens_in(found) == 35


def test_prices_are_those_of_the_models() -> None:
    assert price_of("claude-haiku-5-5", PRICES) == (0.10, 0.50)
    assert price_of("claude-opus-5-5", PRICES).output == 20


def test_a_model_without_a_price_names_the_setting() -> None:
    with pytest.raises(WhetstoneError, match=r"'claude-new'.*WHETSTONE_CLAUDE_PRICES"):
        price_of("claude-new", PRICES)
    with pytest.raises(WhetstoneError, match="none"):
        price_of("claude-new", {})


@pytest.mark.parametrize("bad", [(0.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_a_price_that_no_budget_can_be_held_to_is_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(WhetstoneError, match="WHETSTONE_CLAUDE_PRICES"):
        price_of("m", {"m": bad})


@given(st.integers(0, 50_000), st.integers(0, 50_000), st.integers(0, 4096), prices, st.booleans(), st.data())
def test_no_real_bill_exceeds_the_bound(fixed: int, varying: int, out: int, price: Price, is_batch: bool, data: st.DataObject) -> None:
    used_in = data.draw(st.integers(0, fixed + varying + OVERHEAD_TOKENS - 1))
    written = data.draw(st.integers(0, used_in))
    read = data.draw(st.integers(0, used_in - written))
    bill = cost_usd(usage(used_in - written - read, written, read, data.draw(st.integers(0, out))), price, is_batch)
    assert bill < at_most_usd(fixed, varying, out, price, is_batch)


def test_the_bound_by_hand() -> None:
    assert at_most_usd(6000, 2000, 1000, SONNET, False) == pytest.approx((1.25 * 2 * (8000 + OVERHEAD_TOKENS) + 10 * 1000) / 1e6)
    assert at_most_usd(6000, 2000, 1000, SONNET, True) == pytest.approx(at_most_usd(6000, 2000, 1000, SONNET, False) / 2)


def test_the_overhead_holds_the_schema_with_room() -> None:
    assert len(json.dumps(PROMPT.schema).encode()) < OVERHEAD_TOKENS / 4


def requests(*texts: str, max_tokens: int = 1000) -> list[dict[str, Any]]:
    return [PROMPT.params("mug", text, "m", max_tokens, "low") for text in texts]


def size(request: dict[str, Any]) -> tuple[int, int]:
    return len(request["system"][0]["text"].encode()), len(request["messages"][0]["content"].encode())


def most(sent: list[dict[str, Any]]) -> list[float]:
    return [at_most_usd(*size(request), request["max_tokens"], SONNET, True) for request in sent]


def test_an_estimate_by_hand() -> None:
    sent = requests("a mug", "größer")
    (system, first), (_, second) = map(size, sent)
    plain = estimate(sent, SONNET, [0.5, 0.25], is_batch=False, tokens_per_byte=0.25, tokens_out=200)
    tokens = (2 * system + first + second) / 4
    assert plain.pairs == 2
    assert plain.tokens_in == math.ceil(tokens)
    assert plain.tokens_out == 400
    assert plain.expected_usd == pytest.approx((2 * tokens + 10 * 400) / 1e6)
    assert plain.at_most_usd == 0.75
    assert estimate([], SONNET, [], is_batch=True, tokens_per_byte=0.5, tokens_out=10) == Estimate()


@pytest.mark.parametrize("name", PRODUCTS)
def test_hostile_text_does_not_break_the_estimate(name: str) -> None:
    sent = requests(PRODUCTS[name])
    found = estimate(sent, SONNET, most(sent), is_batch=True, tokens_per_byte=1.0, tokens_out=5000)
    assert 0 < found.expected_usd < found.at_most_usd  # even at a token a byte and all of the output
    assert found.tokens_out == 1000
    assert found.at_most_usd < 0.06  # however long the text
    # a byte-level tokenizer's worst case, every byte a token of its own
    worst = sum(size(sent[0])) + len(json.dumps(PROMPT.schema).encode())
    assert found.at_most_usd > cost_usd(usage(0, worst, 0, 1000), SONNET, is_batch=True)


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1.5, math.nan])
def test_a_ratio_that_is_none_is_refused(ratio: float) -> None:
    with pytest.raises(WhetstoneError, match="tokens a byte"):
        estimate(requests("a mug"), SONNET, [0.1], is_batch=True, tokens_per_byte=ratio, tokens_out=10)
