"""The annotator that is paid: a Claude model that answers through the purchase desk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from whetstone.grading.annotator import Book
from whetstone.grading.claude.cost import Price, at_most_usd
from whetstone.grading.claude.prompt import MAX_TOKENS, Prompt, version_of
from whetstone.grading.ledger import Ledger

if TYPE_CHECKING:
    from whetstone.grading.claude.purchase import Desk

NO_KEY = "no ANTHROPIC_API_KEY is set, so nothing can be bought"
TOKENS_PER_BYTE = 0.3  # of English text
TOKENS_OUT = 150  # of an answer with a little thinking; used until the ledger knows better


class Estimate(NamedTuple):
    """What requests will probably use and cost (US dollars), and the most they can cost; `Estimate()` is none."""

    pairs: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    expected_usd: float = 0.0
    at_most_usd: float = 0.0


class ClaudeAnnotator:
    """One stage of the cascade: a `model` with a `prompt`, at a `price`. Without a desk, which buys, it has no new answers."""

    def __init__(self, name: str, model: str, price: Price, prompt: Prompt, ledger: Ledger, desk: Desk | None) -> None:
        self.name, self.model, self.price = name, model, price
        self._prompt, self._ledger, self._desk = prompt, ledger, desk
        self.version = version_of(model, prompt.version)

    def answer(self, pairs: pd.DataFrame, book: Book) -> str:
        """Buy answers; the desk books them itself, each as it arrives."""
        if self._desk:
            return self._desk.buy(self, pairs)
        cost = self.estimate(pairs, is_batch=True)
        return f"{NO_KEY}; {cost.pairs} pairs would take about ${cost.expected_usd:.4f}, at most ${cost.at_most_usd:.4f}"

    def requests(self, wanted: pd.DataFrame) -> list[dict[str, Any]]:
        """The parameters of one Messages request for each row (query, text)."""
        return [self._prompt.params(query, text, self.model) for query, text in zip(wanted["query"], wanted["text"], strict=True)]

    def at_most_usd(self, requests: Sequence[dict[str, Any]], is_batch: bool) -> list[float]:
        """The most that each request can cost."""
        fixed = int(1.1 * self._counted) + 64 if self._counted else len(self._prompt.system.encode())
        return [at_most_usd(fixed, size, MAX_TOKENS, self.price, is_batch) for size in _sizes(requests)]

    def terms(self, is_batch: bool) -> dict[str, Any]:
        """How answers are read and priced, whatever the settings say by the time they arrive."""
        return {**self._prompt.terms, "price": list(self.price), "is_batch": is_batch}

    def estimate(self, pairs: pd.DataFrame, is_batch: bool) -> Estimate:
        """What it will probably cost to ask for the pairs (query, text), and the most it can; nothing is expected of the cache."""
        if pairs.empty:
            return Estimate()
        requests = self.requests(pairs)
        told = "from ledger.grades where annotator = $name and annotator_version = $version and cost_usd > 0"
        [known] = self._ledger.read(f"select avg(tokens_out) as mean {told}", {"name": self.name, "version": self.version})["mean"]
        fixed = self._counted or TOKENS_PER_BYTE * len(self._prompt.system.encode())
        tokens_in = math.ceil(len(requests) * fixed + TOKENS_PER_BYTE * sum(_sizes(requests)))
        tokens_out = math.ceil(len(requests) * (known if known > 0 else TOKENS_OUT))
        expected = self.price.usd(tokens_in, tokens_out, is_batch)
        return Estimate(len(requests), tokens_in, tokens_out, expected, sum(self.at_most_usd(requests, is_batch)))

    @cached_property
    def _counted(self) -> int:
        """The tokens that every request has, as the API counts them; 0 without a desk that could ask it."""
        return self._desk.api.count_tokens(self._prompt.params("", "", self.model)) if self._desk else 0


def _sizes(requests: Sequence[dict[str, Any]]) -> list[int]:
    return [len(request["messages"][0]["content"].encode()) for request in requests]
