"""Settle pairs: a human judgment where there is one, otherwise the annotator through the ledger."""

from typing import NamedTuple

import pandas as pd

from whetstone.grading.annotator import Annotator, check_pairs
from whetstone.grading.guideline import Guideline
from whetstone.grading.human import human_answers
from whetstone.grading.ledger import Ledger, grade_through

GRADE_COLUMNS = [
    "query_id",
    "product_id",
    "grade",
    "label",
    "confidence",
    "settled_by",
    "annotator",
    "annotator_version",
    "cost_usd",
]


class Graded(NamedTuple):
    """Graded pairs, and what became of all that were asked for.

    `counts`: pairs = human + annotated + failed; of the annotated and failed ones `new` were asked now, for
    `new_cost_usd`.
    """

    rows: pd.DataFrame
    counts: dict[str, float]


def grade_pairs(
    pairs: pd.DataFrame,
    judgments: pd.DataFrame,
    annotator: Annotator,
    ledger: Ledger,
    guideline: Guideline,
    *,
    batch_size: int = 1024,
) -> Graded:
    """Grade pairs.

    Args:
        pairs: n rows query_id, product_id, query, text; each pair once.
        judgments: Human judgments: query_id, product_id, grade, source; may hold other pairs too.
        annotator: Answers what no human judged.
        ledger: Keeps its answers.
        guideline: The levels.
        batch_size: Pairs per call of the annotator and per transaction of the ledger.

    Returns:
        At most n rows with `GRADE_COLUMNS` in the order of `pairs` (cost_usd = what the pair's grade cost when it was
        bought), and counts. A failed answer gives no row; it is counted.

    Raises:
        WhetstoneError: Bad pairs, judgments or answers.
    """
    check_pairs(pairs)
    human = human_answers(pairs, judgments, guideline)
    order = pd.MultiIndex.from_frame(pairs[["query_id", "product_id"]])
    is_judged = order.isin(pd.MultiIndex.from_frame(human[["query_id", "product_id"]]))
    asked = grade_through(ledger, annotator, pairs[~is_judged], guideline, batch_size)
    settled = asked[asked["failure"].isna()]
    rows = pd.concat([human, settled], ignore_index=True).set_index(["query_id", "product_id"])
    rows = rows.loc[order[order.isin(rows.index)]].reset_index()
    rows["grade"] = rows["grade"].astype("int64")
    rows["label"] = rows["grade"].map(guideline.labels).astype("int64")
    rows["settled_by"] = rows["annotator"]
    counts = {
        "pairs": len(pairs),
        "human": len(human),
        "annotated": len(settled),
        "failed": len(asked) - len(settled),
        "new": int(asked["is_new"].sum()),
        "new_cost_usd": float(asked.loc[asked["is_new"], "cost_usd"].sum()),
    }
    return Graded(rows[GRADE_COLUMNS], counts)
