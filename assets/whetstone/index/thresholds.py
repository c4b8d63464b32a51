"""Where an encoder's cosines begin to mean relevant, and how much they weigh beside words: what the hybrid search needs to know.

Cuts ([B] section 6, arXiv 2602.17654). For label 2 (relevant) and 1 (moderately relevant or better), over the judged pairs of dev
queries: say "label or better" where cosine >= cut, and take the cut with the best F1, the highest of equals,

    precision = right / said,  recall = right / all of that label or better,  F1 = 2 * right / (said + all of that label or better)

Weight. Of 0, 0.1, ..., 1 the one whose blend (retrieval/fusion.py) has the best NDCG@10 on dev queries, or one that these can't tell from
it: of all weights whose mean difference to the best is within one standard error (Breiman et al. 1984, the 1-SE rule), the nearest to 0.5.
On a few dev queries the best weight alone follows the noise.
Both are fitted on dev queries: figures on these flatter, those of test queries don't.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.platform.vectors import Vectors
from whetstone.retrieval.fusion import PAIR, blend, rrf, scaled, weighted
from whetstone.retrieval.ranking import ndcg

RELEVANT, MODERATE = 2, 1  # labels of a guideline
WEIGHTS = tuple(tenths / 10 for tenths in range(11))
TOP = 10
CHUNK_ROWS = 1 << 14  # pairs of vectors held in float64 at a time
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cut:
    """A cosine from which on pairs count as of a label or better, and how that holds on the judged pairs."""

    cosine: float
    precision: float
    recall: float
    said: int  # pairs at the cut or above
    right: int  # of these, those of the label or better
    pairs: int  # judged pairs


@dataclass(frozen=True)
class Thresholds:
    """What was found for one encoder; without a weight there is no blend, and `reason` says why."""

    encoder: str  # its version
    cuts: dict[str, Cut]  # by label as text, as JSON has it
    weight: float | None = None  # of the dense side
    ndcg_by_weight: dict[str, float] = field(default_factory=dict)  # NDCG@10 of the blend on dev queries
    reason: str = ""

    def fuse(self, lexical_run: pd.DataFrame, dense_run: pd.DataFrame, depth: int) -> pd.DataFrame:
        """The blend of both runs; reciprocal rank fusion, with a warning in the log, where nothing could be tuned."""
        if self.weight is None:
            _log.warning("hybrid search goes by ranks (RRF) instead of the blend: %s", self.reason)
            return rrf([lexical_run, dense_run], depth)
        return blend(lexical_run, dense_run, _pair_of(self.cuts), self.weight, depth)

    def json(self) -> str:
        """The content of `thresholds.json`."""
        return json.dumps(asdict(self), indent=2) + "\n"


def measure(encoder: str, lexical_run: pd.DataFrame, dense_run: pd.DataFrame, judged: pd.DataFrame) -> Thresholds:
    """Choose the cuts and tune the weight of this encoder version.

    `judged` are pairs of dev queries: query_id, product_id, label, gain, cosine (NaN: not in the catalog). Runs may hold other queries too.
    """
    known = judged[judged["cosine"].notna()]
    found = {label: best_cut(known["cosine"].to_numpy(), known["label"].to_numpy() >= label) for label in (RELEVANT, MODERATE)}
    cuts = {str(label): cut for label, cut in found.items() if cut}
    if len(cuts) < len(found):
        lacking = " and ".join(f"label >= {label}" for label, cut in found.items() if not cut)
        why = f"no cut for {lacking}: all or none of the {len(known)} judged pairs of dev queries have it"
        return Thresholds(encoder, cuts, reason=why)
    lexical, dense = (run[run["query_id"].isin(judged["query_id"])] for run in (lexical_run, dense_run))
    both = scaled(lexical, dense, _pair_of(cuts))
    gains = judged[[*PAIR, "gain"]]
    by_query = {weight: ndcg(weighted(both, weight, TOP).merge(gains, on=PAIR), gains, TOP) for weight in WEIGHTS}
    if by_query[0.0].empty:
        return Thresholds(encoder, cuts, reason="no weight: no judged pair of a dev query has a gain, so NDCG is undefined")
    return Thresholds(encoder, cuts, choose_weight(by_query), {f"{weight:g}": float(values.mean()) for weight, values in by_query.items()})


def best_cut(cosines: npt.NDArray[np.float64], is_right: npt.NDArray[np.bool_]) -> Cut | None:
    """The cut with the best F1 over judged pairs, (n,) each; None where all pairs are right or none is, so that any cut would do."""
    if is_right.all() or not is_right.any():
        return None
    order = np.argsort(-cosines, kind="stable")
    falling, right = cosines[order], np.cumsum(is_right[order])
    ends = np.flatnonzero(np.append(falling[:-1] != falling[1:], True))  # a cut takes all pairs of one cosine
    said = ends + 1
    best = int(np.argmax(2 * right[ends] / (said + right[-1])))  # the first, so the highest, of equals
    hits, shown = int(right[ends][best]), int(said[best])
    return Cut(float(falling[ends][best]), hits / shown, hits / int(right[-1]), shown, hits, len(cosines))


def choose_weight(ndcg: Mapping[float, pd.Series]) -> float:
    """The weight by the 1-SE rule, from NDCG by query for every weight (the same queries, at least one)."""
    best = max(ndcg.values(), key=lambda values: values.mean())
    behind = {weight: best - values for weight, values in ndcg.items()}
    error = {weight: float(each.std(ddof=1)) / len(each) ** 0.5 if len(each) > 1 else 0.0 for weight, each in behind.items()}
    level = [weight for weight, each in behind.items() if each.mean() <= error[weight] + 1e-9]
    return min(level, key=lambda weight: (round(abs(weight - 0.5), 9), weight))


def judged_cosines(
    judged: pd.DataFrame, query_ids: Sequence[str], query_vectors: Vectors, product_ids: Sequence[str], product_vectors: Vectors
) -> npt.NDArray[np.float64]:
    """Cosine of each pair of `judged` (query_id, product_id), (n,), from unit vectors; NaN where either id has no vector."""
    queries, products = (
        pd.Index(ids).get_indexer(pd.Index(judged[name])) for name, ids in zip(PAIR, (query_ids, product_ids), strict=True)
    )
    known = np.flatnonzero((queries >= 0) & (products >= 0))
    cosines = np.full(len(judged), np.nan)
    for rows in np.array_split(known, len(known) // CHUNK_ROWS + 1):
        cosines[rows] = (query_vectors[queries[rows]].astype(np.float64) * product_vectors[products[rows]]).sum(axis=1)
    return cosines


def _pair_of(cuts: dict[str, Cut]) -> tuple[float, float]:
    return cuts[str(MODERATE)].cosine, cuts[str(RELEVANT)].cosine
