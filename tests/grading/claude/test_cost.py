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
    Price,
    at_most_usd,
    cost_usd,
    price_of,
    tokens_in,
)
from whetstone.grading.claude.prompt import MAX_TOKENS, Prompt
from whetstone.grading.guideline import load_guideline
from whetstone.platform.errors import WhetstoneError

PROMPT = Prompt(load_guideline("esci"))
SONNET = Price(2.0, 10.0)
counts = st.integers(0, 2_000_000)
prices = st.sampled_from([Price(*price) for price in PRICES.values()])


def usage(fresh: int = 0, written: int | None = None, read: int | None = None, out: int = 0) -> Any:
    return SimpleNamespace(input_tokens=fresh, cache_creation_input_tokens=written, cache_read_input_tokens=read, output_tokens=out)


def exact(fresh: int, written: int, read: int, out: int, price: Price, is_batch: bool) -> Decimal:
    """The bill in decimal arithmetic, line by line."""
    dear, cheap = Decimal(str(price.output)), Decimal(str(price.input))
    lines = [
        fresh * cheap,
        written * cheap * Decimal("1.25"),
        read * cheap * Decimal("0.1"),
        out * dear,
    ]
    return sum(lines, Decimal(0)) / 1_000_000 * (Decimal("0.5") if is_batch else 1)


@given(counts, counts, counts, counts, prices, st.booleans())
def test_the_cost_is_the_exact_bill(fresh: int, written: int, read: int, out: int, price: Price, is_batch: bool) -> None:
    found = usage(fresh, written, read, out)
    assert cost_usd(found, price, is_batch) == pytest.approx(float(exact(fresh, written, read, out, price, is_batch)), abs=1e-12)
    assert tokens_in(found) == fresh + written + read


def test_a_bill_by_hand() -> None:
    # a million of each: $2 uncached, $2.50 written, $0.20 read, $10 out
    found = usage(10**6, 10**6, 10**6, 10**6)
    assert cost_usd(found, SONNET, is_batch=False) == pytest.approx(14.70)
    assert cost_usd(found, SONNET, is_batch=True) == pytest.approx(7.35)


def test_counts_that_are_null_are_none() -> None:
    assert cost_usd(usage(1000, None, None, 100), SONNET, is_batch=False) == pytest.approx(0.003)
    assert tokens_in(usage(1000, None, None, 100)) == 1000


def test_the_sdks_own_usage_is_read() -> None:
    from anthropic.types import Usage

    assert cost_usd(Usage(input_tokens=1000, output_tokens=100), SONNET, is_batch=False) == pytest.approx(0.003)
    found = Usage(input_tokens=1, output_tokens=2, cache_read_input_tokens=4, cache_creation_input_tokens=30)
    assert cost_usd(found, SONNET, is_batch=True) == pytest.approx((1 + 37.5 + 0.4 + 2 * 5) / 1e6)
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


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_bound_holds_whatever_the_text(name: str) -> None:
    request = PROMPT.params("mug", PRODUCTS[name], "m")
    sizes = len(PROMPT.system.encode()), len(request["messages"][0]["content"].encode())
    most = at_most_usd(*sizes, MAX_TOKENS, SONNET, True)
    assert most < 0.06  # however long the text
    # a byte-level tokenizer's worst case, every byte a token of its own
    worst = sum(sizes) + len(json.dumps(PROMPT.schema).encode())
    assert most > cost_usd(usage(0, worst, 0, MAX_TOKENS), SONNET, is_batch=True)
