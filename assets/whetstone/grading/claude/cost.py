"""Dollars: what a request cost, and what it can't exceed.

    cost = share * (input_price * (uncached + 1.25 written + 0.1 read) + output_price * output) / 10^6

over tokens, prices in US dollars per million tokens, share = 0.5 in a batch and 1 otherwise; written and read are those of the 5-minute
cache. Thinking counts as output.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from whetstone.platform.errors import WhetstoneError

if TYPE_CHECKING:
    from anthropic.types import Usage

BATCH_SHARE = 0.5
WRITE, READ = 1.25, 0.1  # of the input price

# more than the API adds to a request: frame, answer's schema (under 300 bytes), what the model is told of that (some hundred tokens)
OVERHEAD_TOKENS = 2048


class Price(NamedTuple):
    """US dollars per million tokens."""

    input: float
    output: float

    def usd(self, tokens_in: float, tokens_out: float, is_batch: bool) -> float:
        """US dollars of so many tokens."""
        return (BATCH_SHARE if is_batch else 1.0) * (tokens_in * self.input + tokens_out * self.output) / 1e6


PRICES: dict[str, tuple[float, float]] = {
    "claude-haiku-5-5": (0.10, 0.50),
    "claude-sonnet-5-5": (2.0, 10.0),
    "claude-opus-5-5": (4.0, 20.0),
}


def price_of(model: str, prices: Mapping[str, tuple[float, float]]) -> Price:
    """The price of a model; WhetstoneError if there is none, or one that no budget can be held to."""
    if model not in prices:
        known, mend = ", ".join(sorted(prices)) or "none", f'{{"{model}": [input, output]}}, US dollars per million tokens'
        raise WhetstoneError(f"no price is known for the model '{model}' (known: {known}); set WHETSTONE_CLAUDE_PRICES to {mend}")
    price = Price(*prices[model])
    if not all(0 < dollars < math.inf for dollars in price):
        raise WhetstoneError(f"WHETSTONE_CLAUDE_PRICES: '{model}' has {list(price)}; both must be dollars per million tokens, above 0")
    return price


def cost_usd(usage: Usage, price: Price, is_batch: bool) -> float:
    """US dollars of one answer's usage; cached tokens are counted apart from `input_tokens`, as the API does."""
    written, read = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
    return price.usd(usage.input_tokens + WRITE * written + READ * read, usage.output_tokens, is_batch)


def tokens_in(usage: Usage) -> int:
    """All input tokens of one answer's usage, cached or not."""
    return usage.input_tokens + (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)


def at_most_usd(fixed_tokens: int, user_bytes: int, max_tokens: int, price: Price, is_batch: bool) -> float:
    """US dollars that one request can't exceed: all input at the price of a cache write, the dearest, and all of `max_tokens` as output.

    `fixed_tokens` bound what all requests share, bytes the rest (a token of text is at least one byte of its UTF-8).
    """
    return price.usd(WRITE * (fixed_tokens + user_bytes + OVERHEAD_TOKENS), max_tokens, is_batch)
