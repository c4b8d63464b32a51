"""What grading would cost, before anything is bought: `whetstone grade --dry-run`.

Stages that cost nothing answer for real (their answers are kept), so what they settle is known. What a paid stage has answered before is
in the ledger. The rest is estimated: how many tokens, from a sample counted by the API (or from bytes, without a key), and how many pairs
go on to the next stage, from the held-out pairs of the calibration. `at_most_usd` needs no such guess: every pair to every stage, priced
by bytes and the longest answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from whetstone.grading.annotator import Annotator
from whetstone.grading.calibrate import Stage
from whetstone.grading.claude.annotator import ClaudeAnnotator
from whetstone.grading.guideline import Guideline
from whetstone.grading.human import split_judged
from whetstone.grading.ledger import Entry, Ledger, grade_through, ledger_keys

COLUMNS = ["category", "stage", "pairs", "known", "settled", "to_buy", "tokens_in", "tokens_out", "usd", "at_most_usd"]


def plan_category(
    category: str,
    candidates: pd.DataFrame,
    judgments: pd.DataFrame,
    cascade: Sequence[tuple[Annotator, Stage | None]],
    go_on: Mapping[str, float],
    ledger: Ledger,
    guideline: Guideline,
    entry: Entry,
    batch_from: int,
) -> list[dict[str, Any]]:
    """What each stage has to do for a category: rows of `COLUMNS`, human first.

    `candidates` are the pairs to grade (`PAIR_COLUMNS`), `judgments` human grades, `cascade` the stages in order, where one without a
    calibration settles nothing. `go_on` is the share of the pairs put to a paid stage that it leaves to the next, by its name; 1 where it
    isn't known. Answers of free stages are kept in the `ledger` and booked on `entry`; fewer pairs than `batch_from` go as plain
    messages, at full price.
    """
    human, open_pairs = split_judged(candidates, judgments, guideline)
    rows = [_row(category, "human", len(candidates), known=len(human), settled=len(human))]
    weight = np.ones(len(open_pairs))  # chance that a pair gets as far as this stage
    for annotator, stage in cascade:
        if not len(open_pairs):
            break
        if not isinstance(annotator, ClaudeAnnotator):
            grade_through(ledger, annotator, open_pairs, guideline, entry)
        keys = ledger_keys(open_pairs, annotator, guideline)["key"]
        answers = pd.DataFrame({"key": keys}).merge(ledger.lookup(keys), on="key", how="left")
        is_known = answers["confidence"].notna().to_numpy()
        is_settled = np.zeros(len(open_pairs), dtype=bool)
        if stage:
            grades = answers["grade"].fillna(-1).to_numpy(dtype=int)
            sure = stage.calibration.apply(grades, answers["confidence"].fillna(0.0).to_numpy())
            is_settled = is_known & (grades >= 0) & (sure >= stage.threshold)
        row = _row(category, annotator.name, len(open_pairs), known=int(is_known.sum()), settled=int(is_settled.sum()))
        if isinstance(annotator, ClaudeAnnotator):
            is_first = ~keys.duplicated().to_numpy()
            to_buy = open_pairs[~is_known & is_first]
            chance = float(weight[~is_known & is_first].mean()) if len(to_buy) else 0.0
            row |= _purchase(annotator, to_buy, batch_from, chance)
            weight = np.where(is_known, weight, weight * go_on.get(annotator.name, 1.0))
        rows.append(row)
        open_pairs, weight = open_pairs[~is_settled].reset_index(drop=True), weight[~is_settled]
    return rows


def plan_calibration(
    judged: pd.DataFrame, annotators: Sequence[Annotator], ledger: Ledger, guideline: Guideline, batch_from: int
) -> list[dict[str, Any]]:
    """What the paid stages still have to answer of the held-out pairs (`PAIR_COLUMNS`): rows of `COLUMNS`."""
    rows = []
    for annotator in annotators:
        if isinstance(annotator, ClaudeAnnotator) and len(judged):
            keys = ledger_keys(judged, annotator, guideline)["key"]
            to_buy = judged[(~keys.isin(ledger.lookup(keys)["key"]) & ~keys.duplicated()).to_numpy()]
            row = _row("(calibration)", annotator.name, len(judged), known=len(judged) - len(to_buy))
            rows.append(row | _purchase(annotator, to_buy, batch_from, 1.0))
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


def totals(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """All categories together: a row a stage in order, `COLUMNS` without category."""
    table = pd.DataFrame(rows, columns=COLUMNS)
    table["stage"] = np.where(table["category"] == "(calibration)", "calibration of " + table["stage"], table["stage"])
    return table.drop(columns="category").groupby("stage", sort=False, as_index=False).sum()


def _purchase(annotator: ClaudeAnnotator, to_buy: pd.DataFrame, batch_from: int, chance: float) -> dict[str, Any]:
    """The last columns of a row: pairs that are asked with this chance, what that will use and cost, and the most that all can cost."""
    all_of = annotator.estimate(to_buy, len(to_buy) >= batch_from)
    counts = [round(count * chance) for count in (len(to_buy), all_of.tokens_in, all_of.tokens_out)]
    return dict(zip(COLUMNS[5:], [*counts, all_of.expected_usd * chance, all_of.at_most_usd], strict=True))


def _row(category: str, stage: str, pairs: int, *, known: int, settled: int = 0) -> dict[str, Any]:
    return dict(zip(COLUMNS, [category, stage, pairs, known, settled, 0, 0, 0, 0.0, 0.0], strict=True))
