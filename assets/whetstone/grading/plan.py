"""What grading would cost, before anything is bought: `whetstone grade --dry-run`.

The cascade runs as in a build, but for the paid stages: what they answered before is in the ledger, and for the rest they only make an
estimate. So what free stages settle is known (their answers are kept). How many pairs go on to a paid stage's successor is guessed from
the held-out pairs of the calibration. `at_most_usd` needs no such guess: every pair to every stage, priced by bytes and the longest answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from whetstone.grading.annotator import Annotator, Book
from whetstone.grading.calibration import Stage
from whetstone.grading.claude.annotator import ClaudeAnnotator, Estimate
from whetstone.grading.grade import grade_pairs
from whetstone.grading.guideline import Guideline
from whetstone.grading.ledger import Entry, Ledger

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
    category: str,
    candidates: pd.DataFrame,
    judgments: pd.DataFrame,
    cascade: Sequence[tuple[Annotator, Stage]],
    go_on: Mapping[str, float],
    ledger: Ledger,
    guideline: Guideline,
    entry: Entry,
    batch_from: int,
) -> list[dict[str, Any]]:
    """What each stage has to do for a category: rows of `COLUMNS`, human first; arguments as for `grade_pairs`, but for two.

    `go_on` is the share of the pairs put to a paid stage that it leaves to the next, by name (1 if unknown); `batch_from` as in `Quote`.
    """
    quoted = [(Quote(each, batch_from) if isinstance(each, ClaudeAnnotator) else each, stage) for each, stage in cascade]
    counts = {row["stage"]: row for row in grade_pairs(candidates, judgments, quoted, ledger, guideline, entry).stages}
    rows, spared = [_row(category, counts["human"])], 0.0  # of the open pairs, those that an earlier purchase will probably settle
    for annotator, _ in quoted:
        count, cost, chance = counts[annotator.name], None, 1.0
        if isinstance(annotator, Quote) and (unanswered := count["unanswered"]):
            cost, chance = annotator.estimate, max(0.0, 1 - spared / unanswered)
            spared += unanswered * chance * (1 - go_on.get(annotator.name, 1.0))
        rows.append(_row(category, count, cost, chance))
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


def _row(category: str, count: Mapping[str, Any], cost: Estimate | None = None, chance: float = 1.0) -> dict[str, Any]:
    """`cost` is that of all open pairs, each of which is asked with this `chance`."""
    cost, known = cost or Estimate(), count["asked"] - count["unanswered"]
    expected = [round(each * chance) for each in cost[:3]]
    values = [category, count["stage"], count["asked"], known, count["settled"], *expected, cost.expected_usd * chance, cost.at_most_usd]
    return dict(zip(COLUMNS, values, strict=True))
