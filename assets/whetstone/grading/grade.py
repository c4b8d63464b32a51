"""Settle pairs: a human judgment where there is one, otherwise the annotator through the ledger."""

from typing import NamedTuple

import pandas as pd

from whetstone.grading.annotator import PAIR_ID, Annotator, check_pairs
from whetstone.grading.guideline import Guideline
from whetstone.grading.human import human_answers
from whetstone.grading.ledger import Ledger, grade_through

GRADE_COLUMNS = [*PAIR_ID, "grade", "label", "confidence", "settled_by", "annotator", "annotator_version", "cost_usd"]


class Graded(NamedTuple):
    """Graded pairs, and what became of all that were asked for.

    `counts`: pairs = human + annotated + failed; of the annotated and failed ones `new` were asked now, for `new_cost_usd`.
    """

    rows: pd.DataFrame
    counts: dict[str, float]


def grade_pairs(pairs: pd.DataFrame, judgments: pd.DataFrame, annotator: Annotator, ledger: Ledger, guideline: Guideline) -> Graded:
    """Grade n pairs (`PAIR_COLUMNS`, each once); `judgments` (query_id, product_id, grade, source) may hold other pairs too.

    Returns at most n rows with `GRADE_COLUMNS` in the order of `pairs` (cost_usd = what the pair's grade cost when it was bought), and
    counts. A failed answer gives no row; it is counted. Bad pairs, judgments or answers are a WhetstoneError.
    """
    check_pairs(pairs)
    human = human_answers(pairs, judgments, guideline)
    is_judged = pd.MultiIndex.from_frame(pairs[PAIR_ID]).isin(pd.MultiIndex.from_frame(human[PAIR_ID]))
    asked = grade_through(ledger, annotator, pairs[~is_judged], guideline)
    settled = asked[asked["failure"].isna()]
    rows = pairs[PAIR_ID].merge(pd.concat([human, settled]), on=PAIR_ID, validate="one_to_one").astype({"grade": "int64"})
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
