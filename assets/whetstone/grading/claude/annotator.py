"""The annotator that is paid: a Claude model that answers through the purchase desk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from whetstone.grading.annotator import ANSWER_COLUMNS, PAIR_ID
from whetstone.grading.claude.cost import OVERHEAD_TOKENS, Estimate, Price, at_most_usd, estimate
from whetstone.grading.claude.prompt import EFFORT, MAX_TOKENS, Prompt
from whetstone.grading.claude.purchase import MOST_REQUESTS, Desk
from whetstone.grading.ledger import Ledger, ledger_keys

TOKENS_PER_BYTE = 0.3  # of English text; used where nobody can count
TOKENS_OUT = 150  # of an answer with a little thinking; used until the ledger knows better
SAMPLE = 8  # requests that are counted for an estimate


class ClaudeAnnotator:
    """One stage of the cascade: a model with the guideline's prompt. Without a desk it only answers what the ledger already has."""

    keeps_books = True

    def __init__(self, name: str, model: str, price: Price, prompt: Prompt, ledger: Ledger, desk: Desk | None, unanswered: str) -> None:
        """Name a stage.

        Args:
            name: the stage, such as claude_small.
            model: Anthropic's name of the model.
            price: what it costs.
            prompt: what it is asked.
            ledger: where its answers are.
            desk: buys answers; None if nothing can be bought.
            unanswered: why nothing can be bought, if so.
        """
        self.name, self.model, self.price = name, model, price
        self._why = self.unanswered = unanswered
        self._prompt, self._ledger, self._desk = prompt, ledger, desk
        asked = [model, self._prompt.version]
        self.version = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        self.batch_size = 25 * MOST_REQUESTS

    def annotate(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Answers (`ANSWER_COLUMNS`) of the pairs that could be bought, in their order; they are in the ledger already."""
        wanted = pairs.join(ledger_keys(pairs, self, self._prompt.guideline))
        if self._desk:
            self.unanswered = self._desk.buy(self, wanted)
        else:
            cost = self.estimate(pairs, is_batch=True)
            self.unanswered = f"{self._why}; {cost.pairs} pairs would take about ${cost.expected_usd:.4f}, at most ${cost.at_most_usd:.4f}"
        found = self._ledger.lookup(wanted["key"])
        return wanted[[*PAIR_ID, "key"]].merge(found.drop(columns=["query_hash", "text_hash"]), on="key")[ANSWER_COLUMNS]

    def requests(self, wanted: pd.DataFrame) -> list[dict[str, Any]]:
        """The parameters of one Messages request for each row (query, text)."""
        return [
            self._prompt.params(query, text, self.model, MAX_TOKENS, EFFORT)
            for query, text in zip(wanted["query"], wanted["text"], strict=True)
        ]

    def at_most_usd(self, requests: Sequence[dict[str, Any]], is_batch: bool) -> list[float]:
        """The most that each request can cost."""
        sizes = [len(request["messages"][0]["content"].encode()) for request in requests]
        return [at_most_usd(self._fixed_tokens, size, MAX_TOKENS, self.price, is_batch) for size in sizes]

    @cached_property
    def _fixed_tokens(self) -> int:
        """A bound of the tokens that every request has: counted where somebody can, with a margin; otherwise the bytes."""
        request = self._prompt.params("", "", self.model, MAX_TOKENS, EFFORT)
        if self._desk is None:
            return len(self._prompt.system.encode()) + OVERHEAD_TOKENS
        return int(1.1 * self._desk.api.count_tokens(request)) + 64

    def _tokens_per_byte(self, requests: Sequence[dict[str, Any]]) -> float:
        """Input tokens a byte of the requests: counted on a sample of them where somebody can."""
        if self._desk is None:
            return TOKENS_PER_BYTE
        sample = requests[:: max(1, len(requests) // SAMPLE)][:SAMPLE]
        sizes = [len(json.dumps([request["system"], request["messages"]], ensure_ascii=False).encode()) for request in sample]
        return min(1.0, sum(self._desk.api.count_tokens(request) for request in sample) / sum(sizes))

    def terms(self, is_batch: bool) -> dict[str, Any]:
        """How answers are read and priced, whatever the settings say by the time they arrive."""
        return {**self._prompt.terms, "price": list(self.price), "is_batch": is_batch}

    def estimate(self, pairs: pd.DataFrame, is_batch: bool) -> Estimate:
        """What it will probably cost to ask for the pairs (query, text), and the most it can."""
        requests = self.requests(pairs)
        if not requests:
            return Estimate()
        known = self._ledger.read(
            "select avg(tokens_out) as mean from ledger.grades where annotator = $name and annotator_version = $version and cost_usd > 0",
            {"name": self.name, "version": self.version},
        )["mean"].iloc[0]
        return estimate(
            requests,
            self.price,
            self.at_most_usd(requests, is_batch),
            is_batch=is_batch,
            tokens_per_byte=self._tokens_per_byte(requests),
            tokens_out=TOKENS_OUT if pd.isna(known) else float(known),
        )
