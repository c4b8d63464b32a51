"""What grading would cost, before anything is bought: `whetstone grade --dry-run`.

The cascade runs as in a build (free stages answer, and what they say is kept), but of what a paid stage has not answered before it only
makes an estimate. How many pairs go on to its successor is guessed from the held-out pairs of the calibration; `at_most_usd` needs no
such guess: every pair to every stage, priced by bytes and the longest answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from whetstone.grading.annotator import Book
from whetstone.grading.claude.annotator import ClaudeAnnotator, Estimate

COLUMNS = ["category", "stage", "pairs", "known", "settled", "to_buy", "tokens_in", "tokens_out", "usd", "at_most_usd"]


class Quote:
    """Stands for a paid annotator: has no new answers, and keeps what those would cost; fewer than `batch_from` at full price."""

    def __init__(self, annotator: ClaudeAnnotator, batch_from: int) -> None:
        self.name, self.version, self.estimate = annotator.name, annotator.version, Estimate()
        self._annotator, self._batch_from = annotator, batch_from

    def answer(self, pairs: pd.DataFrame, book: Book) -> str:
        """Estimate instead of asking."""
        self.estimate = self._annotator.estimate(pairs, len(pairs) >= self._batch_from)
        return "not asked in a dry run"


def plan_category(
    category: str, stages: Sequence[Mapping[str, Any]], quotes: Mapping[str, Quote], go_on: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Rows of `COLUMNS`, human first, from `Graded.stages` of a cascade in which `quotes` (by name) just stood for the paid stages.

    `go_on` is the share of the pairs put to a paid stage that it leaves to the next, by name (1 if unknown).
    """
    rows, spared = [], 0.0  # of the open pairs, those that an earlier purchase will probably settle
    for stage in stages[:-2]:  # all but vote and nobody
        name, unanswered, cost, chance = stage["stage"], stage["unanswered"], Estimate(), 1.0
        if unanswered and name in quotes:
            cost, chance = quotes[name].estimate, max(0.0, 1 - spared / unanswered)  # each of the open pairs is asked with this chance
            spared += unanswered * chance * (1 - go_on.get(name, 1.0))
        expected = [round(each * chance) for each in cost[:3]]
        counts = [stage["asked"], stage["asked"] - unanswered, stage["settled"]]
        values = [category, name, *counts, *expected, cost.expected_usd * chance, cost.at_most_usd]
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def shares_that_go_on(found: Mapping[str, Any]) -> dict[str, float]:
    """Of the held-out pairs that reached a stage, the share that it did not settle; by stage, from `calibrate`'s result."""
    shares: dict[str, float] = {}
    left = 1.0
    for row in found["report"]["stages"] if found["report"] else []:
        share = row["share"]["mean"]
        shares[row["stage"]] = (left - share) / left if left > 0 else 0.0
        left -= share
    return shares
