"""Dollars: what a request cost, what it is likely to cost, and what it can't exceed.

    cost = share * (input_price * (uncached + 1.25 write_5m + 2 write_1h + 0.1 read) + output_price * output) / 10^6

over tokens, prices in US dollars per million tokens, share = 0.5 in a batch and 1 otherwise. Thinking counts as output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from whetstone.platform.errors import WhetstoneError

if TYPE_CHECKING:
    from anthropic.types import Usage

BATCH_SHARE = 0.5
WRITE_5M, WRITE_1H, READ = 1.25, 2.0, 0.1  # of the input price

OVERHEAD_TOKENS = 2048
"""More than the API adds to the texts of a request: the frame of its messages, the answer's schema (under 300 bytes), and what
structured outputs tell the model about it (a few hundred tokens)."""


class Price(NamedTuple):
    """US dollars per million tokens."""

    input: float
    output: float


PRICES: dict[str, tuple[float, float]] = {
    "claude-haiku-5-5": (0.10, 0.50),
    "claude-sonnet-5-5": (2.0, 10.0),
    "claude-opus-5-5": (4.0, 20.0),
}


class Estimate(NamedTuple):
    """What requests will probably use and cost (US dollars), and the most they can cost; `Estimate()` is none."""

    pairs: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    expected_usd: float = 0.0
    at_most_usd: float = 0.0


def price_of(model: str, prices: Mapping[str, tuple[float, float]]) -> Price:
    """The price of a model; WhetstoneError if there is none, or one that no budget can be held to."""
    if model not in prices:
        raise WhetstoneError(
            f"no price is known for the model '{model}' (known: {', '.join(sorted(prices)) or 'none'}); set WHETSTONE_CLAUDE_PRICES to "
            f'{{"{model}": [input, output]}}, US dollars per million tokens'
        )
    price = Price(*prices[model])
    if not all(0 < dollars < math.inf for dollars in price):
        raise WhetstoneError(f"WHETSTONE_CLAUDE_PRICES: '{model}' has {list(price)}; both must be dollars per million tokens, above 0")
    return price


def cost_usd(usage: Usage, price: Price, is_batch: bool) -> float:
    """US dollars of one answer's usage; cached tokens are counted apart from `input_tokens`, as the API does."""
    written, hour = _written(usage)
    read = usage.cache_read_input_tokens or 0
    weighted = usage.input_tokens + WRITE_5M * (written - hour) + WRITE_1H * hour + READ * read
    return _dollars(weighted, usage.output_tokens, price, is_batch)


def tokens_in(usage: Usage) -> int:
    """All input tokens of one answer's usage, cached or not."""
    return usage.input_tokens + _written(usage)[0] + (usage.cache_read_input_tokens or 0)


def at_most_usd(system_bytes: int, user_bytes: int, max_tokens: int, price: Price, is_batch: bool) -> float:
    """US dollars that one request can't exceed: what a budget is held to.

    A token of text is at least one byte of its UTF-8, so bytes bound tokens (`OVERHEAD_TOKENS` bounds what the API adds); all input is
    taken at the price of a 5-minute cache write, the dearest that is asked for, and all of `max_tokens` as output.
    """
    return _dollars(WRITE_5M * (system_bytes + user_bytes + OVERHEAD_TOKENS), max_tokens, price, is_batch)


def estimate(
    params: Sequence[dict[str, Any]], price: Price, at_most: Sequence[float], *, is_batch: bool, tokens_per_byte: float, tokens_out: float
) -> Estimate:
    """Estimate n requests, as `Prompt.params` makes them, from the UTF-8 bytes of their texts.

    Nothing is expected of the cache: a short system text isn't kept in it, and a batch finds little there after five minutes. `at_most` is
    the most that each can cost; `tokens_per_byte` input tokens, in (0, 1], are as counted on a sample; `tokens_out` are expected of an
    answer, thinking included, never more than a request's max_tokens.
    """
    if not 0 < tokens_per_byte <= 1:
        raise WhetstoneError(f"an estimate needs tokens a byte in (0, 1], got {tokens_per_byte}; count them on a sample of requests")
    size = sum(len(request["system"][0]["text"].encode()) + len(request["messages"][0]["content"].encode()) for request in params)
    out = sum(min(tokens_out, request["max_tokens"]) for request in params)
    tokens = size * tokens_per_byte
    return Estimate(len(params), math.ceil(tokens), math.ceil(out), _dollars(tokens, out, price, is_batch), sum(at_most))


def _written(usage: Usage) -> tuple[int, int]:
    """Tokens written to the cache, and those of them kept for an hour."""
    hour = usage.cache_creation.ephemeral_1h_input_tokens if usage.cache_creation else 0
    return max(usage.cache_creation_input_tokens or 0, hour), hour


def _dollars(weighted_in: float, out: float, price: Price, is_batch: bool) -> float:
    share = BATCH_SHARE if is_batch else 1.0
    return share * (weighted_in * price.input + out * price.output) / 1e6
