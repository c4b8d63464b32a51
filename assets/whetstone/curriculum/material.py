"""What training rows are made of, read from the warehouse: tiers, graded pairs, hard samples, and the texts.

Only train queries ever come in: grades of others are not read, a tier row of another split is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from whetstone.curriculum.ring import Ring
from whetstone.platform.errors import WhetstoneError

NO_PAIRS = pd.DataFrame(columns=["query_id", "product_id", "grade", "label"]).astype({"grade": "int64", "label": "int64"})

_GRADES = """
select query_id, product_id, max(grade) as grade, max(label) as label from {}
where confidence >= $confidence group by all order by all
"""
_GRADED = _GRADES.format("(select * from marts.corrected_grades where split = 'train')")
_SYNTHETIC = _GRADES.format("marts.synthetic_grades")
# a judged product may lie in a category that its query is not routed to: it has no grade there, and is relevant all the same
_RELEVANT = """
select query_id, product_id from marts.corrected_grades where split = 'train' and grade >= $grade
union
select query_id, product_id from raw.judgments join raw.queries using (query_id) where split = 'train' and grade >= $grade
"""


@dataclass(frozen=True)
class Material:
    """What every kind of training row is built from; a tier row that is not of the train split is a WhetstoneError."""

    tiers: pd.DataFrame  # mined pairs: query_id, product_id, tier, grade, split
    queries: pd.DataFrame  # query_id, text
    products: pd.DataFrame  # product_id, text: the whole catalog
    relevant: pd.DataFrame  # query_id, product_id of every pair graded relevant, whatever its tier: never a negative
    found: pd.DataFrame  # query_id, product_id of every pair in any run: never a *random* negative
    graded: pd.DataFrame = field(default_factory=NO_PAIRS.copy)  # query_id, product_id, grade, label of every trusted grade
    mined: pd.DataFrame = field(default_factory=NO_PAIRS.copy)  # the same of the hard samples

    def __post_init__(self) -> None:
        if len(leaked := self.tiers[self.tiers["split"] != "train"]):
            first = leaked.iloc[0]
            raise WhetstoneError(
                f"training instances: {len(leaked)} tier rows are not of the train split, first query {first['query_id']!r} of split "
                f"{first['split']!r}; test and dev queries must never reach training: rebuild curriculum_tiers from train queries only"
            )

    @cached_property
    def query_text(self) -> dict[str, str]:
        """Text of each query."""
        return dict(zip(self.queries["query_id"], self.queries["text"], strict=True))

    @cached_property
    def product_text(self) -> dict[str, str]:
        """Text of each product."""
        return dict(zip(self.products["product_id"], self.products["text"], strict=True))

    @cached_property
    def relevant_ids(self) -> dict[str, set[str]]:
        """Known relevant products per query: graded so, or a positive by tier."""
        positives = self.tiers[self.tiers["tier"].str.endswith("_positive")]
        pairs = pd.concat([frame[["query_id", "product_id"]] for frame in (self.relevant, positives)])
        pairs = pairs[pairs["query_id"].isin(self.query_text)]
        return {str(query): set(products) for query, products in pairs.groupby("query_id")["product_id"]}

    @cached_property
    def ring(self) -> Ring:
        """The catalog as a circle to draw random products from."""
        return Ring(self.product_text)

    @cached_property
    def found_rows(self) -> Mapping[Any, Any]:
        """Positions in `found` per query: the largest frame of all, so the sets of ids are only made query by query."""
        return self.found.groupby("query_id").indices


def load_material(
    read: Callable[..., pd.DataFrame], runs: Sequence[str], *, relevant_grade: int, confidence: float, synthetic: bool, mined: bool
) -> Material:
    """The material of one source. `read(select, parameters)` asks the warehouse, `runs` are the channels' tables.

    `confidence` is the least that a grade needs; `synthetic` and `mined` say whether those tables exist and are wanted.
    """
    queries = read("select query_id, text from raw.queries where split = 'train' order by query_id")
    graded = read(_GRADED, {"confidence": confidence})
    relevant = read(_RELEVANT, {"grade": relevant_grade})
    if synthetic:
        made = read("select distinct query_id, text from marts.synthetic_queries order by query_id")
        grades = read(_SYNTHETIC, {"confidence": confidence})
        queries, graded = pd.concat([queries, made]), pd.concat([graded, grades])
        relevant = pd.concat([relevant, grades[grades["grade"] >= relevant_grade]])
    hard = read("select query_id, product_id, grade, label from marts.hard_samples order by all") if mined else NO_PAIRS.copy()
    relevant = pd.concat([relevant, hard[hard["grade"] >= relevant_grade]])
    return Material(
        tiers=read("select * from marts.curriculum_tiers"),
        queries=queries.reset_index(drop=True),
        products=read("select product_id, text from staging.products order by product_id"),
        relevant=relevant[["query_id", "product_id"]],
        found=read(" union ".join(f"select query_id, product_id from {run}" for run in runs)),
        graded=graded.reset_index(drop=True),
        mined=hard,
    )
