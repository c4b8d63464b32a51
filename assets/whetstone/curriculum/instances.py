"""Training rows of the curriculum's stages, built from the mined tiers ([A] arXiv 2606.23911, section "progressive curriculum").

    bce      (query, product, label)                 grade-4 easy positives, label 1, against random products, label 0
    mnr      (query, product, negative_1 .. _n)      hard positives, each with hard negatives of its query
    triplet  (query, product, negative_1)            hard and easy positives against token-similar negatives

Notable:
- Beyond the paper's tiers: `near_miss` is a pair of label 1, the right kind of thing with a wish unmet, to rank below what meets all;
  `mined_positive` and `mined_negative` are the hard samples of [B] arXiv 2602.17654.
- Every draw is a hash of (seed, query, product, slot), not the next number of a generator: a query, product or category that is added or
  edited leaves the rows of all others as they were. Random products come from a ring over the whole catalog (`ring.py`): the first one
  that no run found and that isn't known to be relevant, by id or by text.
- A negative whose text equals that of a known relevant product of the query is a duplicate listing, not a negative, and is left out.
- Nothing is lost in silence: each function returns, beside its rows, how many pairs it left out or mended for which reason.

The builders share their arguments: `positives` and `negatives` are tiers (`random` fills in where a query has no mined negative, `graded`
is every trusted pair of that grade), `positive_grade` is the lowest grade of a positive, `negatives_per_positive` the number drawn for
each, from a query's negative tiers in turn, `seed` that of every draw.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import pandas as pd

from whetstone.curriculum.material import Material
from whetstone.curriculum.ring import stable_hash

Tiers = Sequence[str]
RANDOM, GRADED, NEAR_MISS, MINED_POSITIVE, MINED_NEGATIVE = "random", "graded", "near_miss", "mined_positive", "mined_negative"
MODERATE = 1  # label


class Instances(NamedTuple):
    """Rows of a stage, ordered by query_id and product_id, and the number of pairs per reason that were left out or mended."""

    frame: pd.DataFrame
    counts: dict[str, int]


def bce_instances(
    material: Material, *, seed: int, positives: Tiers, positive_grade: int, negatives: Tiers, negatives_per_positive: int
) -> Instances:
    """Each positive once with label 1, each drawn negative once with label 0: query_id, product_id, tier, query, product, label."""
    rows, counts = _rows(material, seed, positives, positive_grade, negatives, negatives_per_positive)
    pairs = [(row.query_id, row.product_id, row.tier, 1.0) for row in rows]
    pairs += [(row.query_id, negative, tier, 0.0) for row in rows for tier, negative in row.negatives]
    drawn = pd.DataFrame(pairs, columns=["query_id", "product_id", "tier", "label"])
    frame = drawn.drop_duplicates(["query_id", "product_id"])
    counts["negative_drawn_twice"] = len(drawn) - len(frame)
    frame.insert(3, "query", frame["query_id"].map(material.query_text))
    frame.insert(4, "product", frame["product_id"].map(material.product_text))
    frame = frame.sort_values(["query_id", "label", "product_id"], ascending=[True, False, True], ignore_index=True)
    return Instances(frame.astype({"label": "float64"}), dict(+counts))


def mnr_instances(
    material: Material, *, seed: int, positives: Tiers, positive_grade: int, negatives: Tiers, negatives_per_positive: int
) -> Instances:
    """Positives with the same number of negatives each, for an in-batch softmax.

    A query with fewer negatives than asked for repeats them in turn. One without any takes random products if `random` is among the
    tiers, so that its positives still learn from the batch; otherwise its rows are left out and counted. Columns: query_id, product_id,
    tier, negative_id_1 .. negative_id_n, relevant_ids (every known relevant product of the query, which the batch sampler keeps out of
    other rows), query, product, negative_1 .. negative_n.
    """
    rows, counts = _rows(material, seed, positives, positive_grade, negatives, negatives_per_positive)
    complete = [row for row in rows if len(row.negatives) == negatives_per_positive]
    return Instances(_wide(material, complete, negatives_per_positive), dict(counts))


def triplet_instances(
    material: Material, *, seed: int, positives: Tiers, positive_grade: int, negatives: Tiers, negatives_per_positive: int
) -> Instances:
    """Every positive with each of its drawn negatives, one row each; columns as for `mnr_instances` with one negative."""
    rows, counts = _rows(material, seed, positives, positive_grade, negatives, negatives_per_positive)
    single = [row._replace(negatives=[negative]) for row in rows for negative in dict.fromkeys(row.negatives)]
    return Instances(_wide(material, single, 1), dict(counts))


def text_columns(frame: pd.DataFrame) -> list[str]:
    """What an encoder reads, in the order that losses expect: query, product, negative_1 .. negative_n; or query, item_1 .. item_m."""
    return [column for column in frame.columns if re.fullmatch(r"query|product|(negative|item)_\d+", column)]


class _Row(NamedTuple):
    query_id: str
    product_id: str
    tier: str
    negatives: list[tuple[str, str]]  # (tier, product_id) of each


def _rows(
    material: Material, seed: int, positives: Tiers, positive_grade: int, negatives: Tiers, per_positive: int
) -> tuple[list[_Row], Counter[str]]:
    """Every usable positive with its drawn negatives, ordered by query and product."""
    tiers, texts = material.tiers, material.product_text
    if GRADED in positives:
        relevant = material.graded[material.graded["grade"] >= positive_grade].assign(tier=GRADED)
        tiers = pd.concat([relevant, tiers[~tiers["tier"].str.endswith("_positive")]])
    if {MINED_POSITIVE, MINED_NEGATIVE} & {*positives, *negatives}:
        hard = material.mined[material.mined["label"] != MODERATE]
        tiers = pd.concat([hard.assign(tier=[MINED_POSITIVE if label else MINED_NEGATIVE for label in hard["label"]]), tiers])
    if NEAR_MISS in negatives:
        is_moderate = (material.graded["label"] == MODERATE) & (material.graded["grade"] < positive_grade)
        tiers = pd.concat([tiers, material.graded[is_moderate].assign(tier=NEAR_MISS)])
    known = tiers[tiers["query_id"].isin(material.query_text.keys()) & tiers["product_id"].isin(texts.keys())]
    pairs = known.drop_duplicates(["query_id", "product_id"])
    candidates = pairs[pairs["tier"].isin(positives)]
    chosen = candidates[candidates["grade"] >= positive_grade]
    counts = Counter(query_or_product_without_text=len(tiers) - len(known), duplicate_pair=len(known) - len(pairs))
    counts["positive_below_grade"] = len(candidates) - len(chosen)
    mined = {
        query: list(zip(group["tier"], group["product_id"], strict=True))
        for query, group in pairs[pairs["tier"].isin(negatives)].groupby("query_id")
    }
    rows: list[_Row] = []
    for key, group in chosen.groupby("query_id"):
        query = str(key)
        relevant_texts = {texts.get(product) for product in material.relevant_ids.get(query, ())}
        pool = [pair for pair in mined.get(query, []) if texts[pair[1]] not in relevant_texts]
        counts["negative_is_relevant_by_id_or_text"] += len(mined.get(query, [])) - len(pool)
        # In an order that is random, but the same for a pair whatever else is mined; tiers take turns.
        pool.sort(key=lambda pair: (stable_hash(seed, query, pair[1]), pair[1]))
        turns: dict[str, Iterator[int]] = defaultdict(count)
        pool.sort(key=lambda pair: next(turns[pair[0]]))
        blocked = set(material.found["product_id"].iloc[material.found_rows.get(query, [])])
        for place, (product, tier) in enumerate(sorted(zip(group["product_id"], group["tier"], strict=True))):
            drawn = [pool[(place * per_positive + slot) % len(pool)] for slot in range(per_positive)] if pool else []
            if RANDOM in negatives and not pool:
                counts["filled_with_random"] += int(len(negatives) > 1)
                for slot in range(per_positive):
                    around = material.ring.clockwise(seed, query, product, slot)
                    pick = next((one for one in around if one not in blocked and texts[one] not in relevant_texts), None)
                    if pick is not None:
                        drawn.append((RANDOM, pick))
                        blocked.add(pick)
            counts["without_enough_negatives"] += int(len(drawn) < per_positive)
            rows.append(_Row(query, product, tier, drawn))
    return rows, +counts


def _wide(material: Material, rows: Iterable[_Row], width: int) -> pd.DataFrame:
    ids = [f"negative_id_{number}" for number in range(1, width + 1)]
    wide = [(row.query_id, row.product_id, row.tier, *(negative for _, negative in row.negatives)) for row in rows]
    frame = pd.DataFrame(wide, columns=["query_id", "product_id", "tier", *ids])
    frame["relevant_ids"] = [sorted(material.relevant_ids.get(query, ())) for query in frame["query_id"]]
    frame["query"] = frame["query_id"].map(material.query_text)
    frame["product"] = frame["product_id"].map(material.product_text)
    for name in ids:
        frame[name.replace("_id", "")] = frame[name].map(material.product_text)
    return frame
