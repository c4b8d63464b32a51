"""Human judgments in the shape of an annotator's answers: they settle a pair before any annotator is asked."""

import numpy as np
import pandas as pd

from whetstone.grading.annotator import PAIR_ID, make_answers
from whetstone.grading.guideline import Guideline
from whetstone.platform.errors import WhetstoneError

HUMAN = "human"


def human_answers(pairs: pd.DataFrame, judgments: pd.DataFrame, guideline: Guideline) -> pd.DataFrame:
    """The human answer of each pair that has a judgment (query_id, product_id, grade, source), in the order of the pairs.

    Returns `ANSWER_COLUMNS` with confidence 1 and cost 0, plus annotator ('human') and annotator_version (the judgment's source). A pair
    judged twice, or with a grade that the guideline doesn't have, is a WhetstoneError.
    """
    twice = judgments[judgments.duplicated(PAIR_ID)]
    if len(twice):
        raise WhetstoneError(f"judgments: {_first(twice)} is judged more than once; keep one row a pair ({len(twice)} too many)")
    strange = judgments[~judgments["grade"].isin(guideline.grades)]
    if len(strange):
        raise WhetstoneError(
            f"judgments: {_first(strange)} has grade {strange['grade'].iloc[0]}, guideline '{guideline.name}' has {guideline.grades} "
            f"({len(strange)} such rows); mend the judgments or choose their guideline"
        )
    judged = pairs[PAIR_ID].merge(judgments[[*PAIR_ID, "grade", "source"]], on=PAIR_ID)
    answers = make_answers(judged, judged["grade"].to_numpy(), np.ones(len(judged)))
    return answers.assign(annotator=HUMAN, annotator_version=judged["source"])


def split_judged(pairs: pd.DataFrame, judgments: pd.DataFrame, guideline: Guideline) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The human answers of the pairs that were judged (`human_answers`), and the other pairs."""
    human = human_answers(pairs, judgments, guideline)
    is_judged = pd.MultiIndex.from_frame(pairs[PAIR_ID]).isin(pd.MultiIndex.from_frame(human[PAIR_ID]))
    return human, pairs[~is_judged].reset_index(drop=True)


def _first(judgments: pd.DataFrame) -> str:
    row = judgments.iloc[0]
    return f"query {row['query_id']!r}, product {row['product_id']!r}"
