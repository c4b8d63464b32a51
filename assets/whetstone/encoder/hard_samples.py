"""Hard samples: what the encoder of the stage before gets wrong ([B] arXiv 2602.17654, section "Mine").

    search all train queries over the catalog, top k;   pairs never graded go to the cascade
    hard negative    label 0, ranked above k / 2 (the encoder takes it for relevant)
    hard positive    label 1 or 2, ranked below k / 2 (the encoder takes it for irrelevant)

Beyond the paper: of the never graded pairs at most `cap` a query from each half go to the cascade, the highest ranked first, because each
may cost money; and of products that read the same only the first is asked about.
"""

from collections.abc import Callable, Sequence

import pandas as pd

from whetstone.platform.vectors import Vectors
from whetstone.retrieval.dense import exact_search

PAIR = ["query_id", "product_id"]


def mine_hard_samples(
    queries: pd.DataFrame,
    products: pd.DataFrame,
    encode_queries: Callable[[Sequence[str]], Vectors],
    product_vectors: Callable[[], Vectors],
    graded: pd.DataFrame,
    grade: Callable[[pd.DataFrame], pd.DataFrame],
    *,
    k: int,
    cap: int,
    confidence: float,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The hard samples of train queries (query_id, text) over products (product_id, category, text), and what was left out and why.

    The two functions give unit vectors (n, d), of query texts and of the products row by row. `graded` (query_id, product_id, grade, label,
    confidence, settled_by) is every pair graded before, whoever was how sure; `grade` asks the cascade about pairs (query_id, product_id,
    category, query, text), the most worthwhile first, and gives rows like `graded`. `k` is the search's depth, `cap` the most never graded
    pairs of a query and half to ask about, `confidence` the least of a grade that counts.

    Returns rows kind, query_id, product_id, rank, grade, label, confidence, settled_by, ordered by query and rank.
    """
    ids = queries["query_id"].tolist()
    found = exact_search(encode_queries(queries["text"].tolist()), product_vectors(), ids, products["product_id"].tolist(), k)
    found = found[[*PAIR, "rank"]].merge(products[["product_id", "category", "text"]], on="product_id")
    found = found.merge(queries.rename(columns={"text": "query"})[["query_id", "query"]], on="query_id").sort_values(["query_id", "rank"])
    known = found.merge(graded.drop_duplicates(PAIR), on=PAIR)
    fresh = found[~pd.MultiIndex.from_frame(found[PAIR]).isin(pd.MultiIndex.from_frame(graded[PAIR]))]
    twin = fresh.duplicated(["query_id", "text"])
    place = fresh[~twin].groupby(["query_id", fresh["rank"] > k / 2]).cumcount()
    asked = fresh[~twin][place < cap].sort_values(["rank", "query_id"], ignore_index=True)
    new = found.merge(grade(asked[[*PAIR, "category", "query", "text"]]), on=PAIR)
    pairs = pd.concat([known, new])
    trusted = pairs[pairs["confidence"] >= confidence]
    is_negative, is_below = trusted["label"] == 0, trusted["rank"] > k / 2
    kind = pd.Series("hard_negative", trusted.index).where(is_negative, "hard_positive")
    samples = trusted.assign(kind=kind)[is_negative != is_below]
    columns = ["kind", *PAIR, "rank", "grade", "label", "confidence", "settled_by"]
    counts = {
        "found": len(found),
        "graded_before": len(known),
        "same_text": int(twin.sum()),
        "over_the_cap": int((place >= cap).sum()),
        "asked": len(asked),
        "unanswered": len(asked) - len(new),
        "unsure": len(pairs) - len(trusted),
        "not_hard": len(trusted) - len(samples),
    }
    return samples.sort_values(["query_id", "rank"], ignore_index=True)[columns], counts
