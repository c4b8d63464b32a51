"""Training rows of the curriculum's stages, built from the mined tiers ([A] arXiv 2606.23911, section "progressive curriculum").

    bce      (query, product, label)                 grade-4 easy positives, label 1, against random products, label 0
    mnr      (query, product, negative_1 .. _n)      hard positives, each with hard negatives of its query
    triplet  (query, product, negative_1)            hard and easy positives against token-similar negatives

Notable:
- Every draw is a hash of (seed, query, product, slot), not the next number of a generator: a query, product or category that is added or
  edited leaves the rows of all others as they were. Random products come from a ring over the whole catalog (`ring.py`): the first one
  that no run found and that isn't known to be relevant, by id or by text.
- A negative whose text equals that of a known relevant product of the query is a duplicate listing, not a negative, and is left out.
- Nothing is lost in silence: each function returns, beside its rows, how many pairs it left out or mended for which reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from whetstone.curriculum.ring import Ring, stable_hash
from whetstone.platform.errors import WhetstoneError

RANDOM = "random"

COLUMNS = {
    "tiers": ("query_id", "product_id", "tier", "grade", "split"),
    "queries": ("query_id", "text"),
    "products": ("product_id", "text"),
    "relevant": ("query_id", "product_id"),
    "found": ("query_id", "product_id"),
}


class Instances(NamedTuple):
    """Rows of a stage, ordered by query_id and product_id, and the number of pairs per reason that were left out or mended."""

    frame: pd.DataFrame
    counts: dict[str, int]


@dataclass(frozen=True)
class Material:
    """What every kind of instance is built from.

    Args:
        tiers: mined pairs: query_id, product_id, tier, grade, split (train only).
        queries: query_id, text; more than one row a query (one a category) is fine.
        products: product_id, text: the whole catalog.
        relevant: query_id, product_id of every pair graded relevant, whatever its tier: never a negative.
        found: query_id, product_id of every pair in any run: never a *random* negative.

    Raises:
        WhetstoneError: a frame lacks a column, or a tiers row is not of the train split.
    """

    tiers: pd.DataFrame
    queries: pd.DataFrame
    products: pd.DataFrame
    relevant: pd.DataFrame
    found: pd.DataFrame

    def __post_init__(self) -> None:
        for name, columns in COLUMNS.items():
            if missing := [column for column in columns if column not in getattr(self, name).columns]:
                raise WhetstoneError(f"training instances: frame `{name}` lacks the column(s) {', '.join(missing)}")
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
    def _found_rows(self) -> dict[str, np.ndarray]:
        """Positions in `found` per query: the largest frame of all, so the sets of ids are only made query by query."""
        return {str(query): np.asarray(rows) for query, rows in self.found.groupby("query_id", sort=False).indices.items()}

    def found_ids(self, query: str) -> set[str]:
        """Products that any run found for a query."""
        return set(self.found["product_id"].to_numpy()[self._found_rows.get(query, np.empty(0, dtype=np.intp))])

    @cached_property
    def relevant_ids(self) -> dict[str, set[str]]:
        """Known relevant products per query that has a tier: graded so, or a positive by tier."""
        positives = self.tiers[self.tiers["tier"].str.endswith("_positive")]
        both = pd.concat([self.relevant[["query_id", "product_id"]], positives[["query_id", "product_id"]]])
        return _ids_per_query(both[both["query_id"].isin(self.tiers["query_id"])])

    @cached_property
    def ring(self) -> Ring:
        """The catalog as a circle to draw random products from."""
        return Ring(self.product_text)


def bce_instances(
    material: Material,
    *,
    seed: int,
    positives: Sequence[str] = ("easy_positive",),
    positive_grade: int = 4,
    negatives: Sequence[str] = (RANDOM,),
    negatives_per_positive: int = 4,
) -> Instances:
    """Labelled pairs: each positive once with label 1, each drawn negative once with label 0.

    Args:
        material: tiers, texts and what must not be a negative.
        seed: seed of every draw.
        positives: tiers of the positives.
        positive_grade: lowest grade of a positive.
        negatives: tiers of the negatives; `random` fills in where the query has no mined one.
        negatives_per_positive: negatives drawn for each positive.

    Returns:
        Columns query_id, product_id, tier, query, product, label (float), and the counts.
    """
    rows, counts = _rows(material, seed, positives, positive_grade, negatives, negatives_per_positive)
    pairs: dict[tuple[str, str], tuple[str, float]] = {}
    for row in rows:
        pairs[row.query_id, row.product_id] = (row.tier, 1.0)
    for row in rows:
        for tier, negative in row.negatives:
            if (row.query_id, negative) in pairs:
                counts["negative_drawn_twice"] += 1
            else:
                pairs[row.query_id, negative] = (tier, 0.0)
    columns: dict[str, list[object]] = {
        "query_id": [query for query, _ in pairs],
        "product_id": [product for _, product in pairs],
        "tier": [tier for tier, _ in pairs.values()],
        "query": [material.query_text[query] for query, _ in pairs],
        "product": [material.product_text[product] for _, product in pairs],
        "label": [label for _, label in pairs.values()],
    }
    frame = pd.DataFrame(columns).sort_values(["query_id", "label", "product_id"], ascending=[True, False, True], ignore_index=True)
    return Instances(frame.astype({"label": "float64"}), dict(counts))


def mnr_instances(
    material: Material,
    *,
    seed: int,
    positives: Sequence[str] = ("hard_positive",),
    positive_grade: int = 3,
    negatives: Sequence[str] = ("hard_negative", RANDOM),
    negatives_per_positive: int = 1,
) -> Instances:
    """Positives with the same number of negatives each, for an in-batch softmax.

    A query with fewer negatives than asked for repeats them in turn. One without any takes random products if `random` is among the
    tiers, so that its positives still learn from the batch; otherwise its rows are left out and counted. Arguments as for `bce_instances`.

    Returns:
        Columns query_id, product_id, tier, negative_id_1 .. negative_id_n, relevant_ids (every known relevant product of the query, which
        the batch sampler keeps out of other rows), query, product, negative_1 .. negative_n, and the counts.
    """
    rows, counts = _rows(material, seed, positives, positive_grade, negatives, negatives_per_positive)
    complete = [row for row in rows if len(row.negatives) == negatives_per_positive]
    return Instances(_wide(material, complete, negatives_per_positive), dict(counts))


def triplet_instances(
    material: Material,
    *,
    seed: int,
    positives: Sequence[str] = ("hard_positive", "easy_positive"),
    positive_grade: int = 3,
    negatives: Sequence[str] = ("token_similar_negative",),
    negatives_per_positive: int = 1,
) -> Instances:
    """Triplets: every positive with each of its drawn negatives, one row each. Arguments as for `bce_instances`.

    Returns:
        Columns query_id, product_id, tier, negative_id_1, relevant_ids, query, product, negative_1, and the counts.
    """
    rows, counts = _rows(material, seed, positives, positive_grade, negatives, negatives_per_positive)
    single = [row._replace(negatives=(negative,)) for row in rows for negative in dict.fromkeys(row.negatives)]
    return Instances(_wide(material, single, 1), dict(counts))


def text_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that an encoder reads, in the order that losses expect: query, product, negative_1 .. negative_n."""
    return [column for column in frame.columns if column in ("query", "product") or re.fullmatch(r"negative_\d+", column)]


class _Row(NamedTuple):
    query_id: str
    product_id: str
    tier: str
    negatives: tuple[tuple[str, str], ...]
    """(tier, product_id) of each."""


def _rows(
    material: Material,
    seed: int,
    positives: Sequence[str],
    positive_grade: int,
    negatives: Sequence[str],
    per_positive: int,
) -> tuple[list[_Row], Counter[str]]:
    """Every usable positive with its drawn negatives, ordered by query and product."""
    counts: Counter[str] = Counter()
    kept = _usable(material, counts)
    low = kept["tier"].isin(positives) & (kept["grade"] < positive_grade)
    counts["positive_below_grade"] += int(low.sum())
    chosen = kept[kept["tier"].isin(positives) & ~low]
    pools = {query: group for query, group in kept[kept["tier"].isin(negatives)].groupby("query_id", sort=False)}
    rows: list[_Row] = []
    for key, group in chosen.groupby("query_id", sort=True):
        query = str(key)
        relevant_texts = {material.product_text.get(product) for product in material.relevant_ids[query]}
        pool = list(_pool(material, seed, pools.get(query), relevant_texts, counts))
        blocked = material.found_ids(query)
        for place, (product, tier) in enumerate(sorted(zip(group["product_id"], group["tier"], strict=True))):
            drawn: tuple[tuple[str, str], ...] = ()
            if pool:
                drawn = tuple(pool[(place * per_positive + slot) % len(pool)] for slot in range(per_positive))
            elif RANDOM in negatives:
                counts["filled_with_random"] += int(len(negatives) > 1)
                for slot in range(per_positive):
                    around = material.ring.clockwise(seed, query, product, slot)
                    free = (one for one in around if one not in blocked and material.product_text[one] not in relevant_texts)
                    if pick := next(free, None):
                        drawn += ((RANDOM, pick),)
                        blocked.add(pick)
            counts["without_enough_negatives"] += int(len(drawn) < per_positive)
            rows.append(_Row(query, product, tier, drawn))
    return rows, +counts


def _usable(material: Material, counts: Counter[str]) -> pd.DataFrame:
    """Tier rows whose query and product have a text, each pair once."""
    tiers = material.tiers
    known = tiers["query_id"].isin(material.query_text.keys()) & tiers["product_id"].isin(material.product_text.keys())
    counts["query_or_product_without_text"] += int((~known).sum())
    once = tiers[known].drop_duplicates(["query_id", "product_id"])
    counts["duplicate_pair"] += int(known.sum()) - len(once)
    return once


def _pool(
    material: Material, seed: int, group: pd.DataFrame | None, relevant_texts: set[str | None], counts: Counter[str]
) -> Iterator[tuple[str, str]]:
    """Mined negatives of one query in an order that is random, but the same for a pair whatever else is mined."""
    if group is None:
        return
    query = group["query_id"].iloc[0]
    pairs = zip(group["tier"], group["product_id"], strict=True)
    for tier, product in sorted(pairs, key=lambda pair: (stable_hash(seed, query, pair[1]), pair[1])):
        if product in material.relevant_ids[query] or material.product_text[product] in relevant_texts:
            counts["negative_is_relevant_by_id_or_text"] += 1
        else:
            yield tier, product


def _wide(material: Material, rows: Iterable[_Row], width: int) -> pd.DataFrame:
    """Rows with `width` negatives side by side."""
    rows = list(rows)
    relevant = {query: sorted(material.relevant_ids[query]) for query in {row.query_id for row in rows}}
    columns: dict[str, list[object]] = {
        "query_id": [row.query_id for row in rows],
        "product_id": [row.product_id for row in rows],
        "tier": [row.tier for row in rows],
        **{f"negative_id_{slot + 1}": [row.negatives[slot][1] for row in rows] for slot in range(width)},
        "relevant_ids": [relevant[row.query_id] for row in rows],
        "query": [material.query_text[row.query_id] for row in rows],
        "product": [material.product_text[row.product_id] for row in rows],
        **{f"negative_{slot + 1}": [material.product_text[row.negatives[slot][1]] for row in rows] for slot in range(width)},
    }
    return pd.DataFrame(columns)


def _ids_per_query(pairs: pd.DataFrame) -> dict[str, set[str]]:
    return {str(query): set(products) for query, products in pairs.groupby("query_id", sort=False)["product_id"]}
