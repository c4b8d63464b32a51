r"""How far apart an encoder's cosines hold relevant and irrelevant products of a query ([B] section 6, arXiv 2602.17654).

    average margin     E_q( mean s(label 2) - mean s(label 0) )
    worst-case margin  E_q( min s(label 2)  - max s(label 0)  )

over the judged queries that have both labels; once on all their pairs, once on the pairs that words can't tell apart: those of which
the product holds at least 70 % of the query's distinct words (`\w+` in lower case). Intervals resample queries (`significance`).
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from whetstone.evaluation.significance import Interval, bootstrap_means

LEAST_OVERLAP = 0.7
RELEVANT, IRRELEVANT = 2, 0  # labels of a guideline


def token_overlap(queries: Sequence[str], products: Sequence[str]) -> npt.NDArray[np.float64]:
    """Share of each query's distinct words that its product holds, (n,) of n pairs of texts; 0 for a query without a word."""
    words = {text: frozenset(re.findall(r"\w+", text.lower())) for text in {*queries, *products}}
    pairs = ((words[query], words[product]) for query, product in zip(queries, products, strict=True))
    return np.array([len(query & product) / max(1, len(query)) for query, product in pairs], dtype=float)


def margins(pairs: pd.DataFrame, seed: int) -> dict[str, Interval]:
    """Average and worst-case margin of judged pairs (query_id, label, cosine); NaN where no query has both labels."""
    relevant, irrelevant = (pairs[pairs["label"] == label].groupby("query_id")["cosine"] for label in (RELEVANT, IRRELEVANT))
    margin = pd.DataFrame({"average": relevant.mean() - irrelevant.mean(), "worst": relevant.min() - irrelevant.max()}).dropna()
    return dict(zip(("average", "worst"), bootstrap_means(margin.to_numpy(), seed), strict=True))


def separability(pairs: pd.DataFrame, seed: int = 0) -> list[dict[str, object]]:
    """Two rows an encoder of judged pairs (system, query_id, label, cosine, overlap), in the order they come: margins with 95 % bounds."""
    rows: list[dict[str, object]] = []
    for encoder, own in pairs.groupby("system", sort=False):
        for name, part in (("all", own), (f"token overlap >= {LEAST_OVERLAP:.0%}", own[own["overlap"] >= LEAST_OVERLAP])):
            found = margins(part, seed)
            row: dict[str, object] = {"encoder": encoder, "pairs": name, "queries": found["average"].count}
            for kind, each in found.items():
                row |= {f"{kind}_margin": each.mean, f"{kind}_low": each.low, f"{kind}_high": each.high}
            rows.append(row)
    return rows
