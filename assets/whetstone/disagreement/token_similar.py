"""Token-similar candidates: products that share words with a query although no channel finds them ([A] section 3).

TF-IDF cosine between query and product text in [low, high], idf fitted on the category's product text, term frequency 1 + log(tf). Under
`low` the pair is too easy, over `high` it is likely relevant. Every filter counts what it removed. [A] is arXiv 2606.23911.
"""

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

QUERY_BLOCK = 256
DECIMALS = 12  # cosines that differ only by the order of addition are the same


def token_similar(
    products: pd.DataFrame, queries: pd.DataFrame, found: pd.DataFrame, low: float = 0.2, high: float = 0.6, per_query: int = 25
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The `per_query` closest pairs of each query with a cosine in [low, high] that are not in `found` by any channel.

    Products (product_id, text) and queries (query_id, text) have distinct ids; others in `found` (query_id, product_id) are ignored.
    Returns query_id, product_id, cosine, ordered by query_id, -cosine, product_id; and how many of the pairs that share a word were
    dropped for each reason: too_far (under low), too_close (over high), found_by_a_channel, over_per_query.
    """
    dropped = {"too_far": 0, "too_close": 0, "found_by_a_channel": 0, "over_per_query": 0}
    closest = [pd.DataFrame({"query_id": queries["query_id"][:0], "product_id": products["product_id"][:0], "cosine": np.empty(0)})]
    vectoriser = TfidfVectorizer(sublinear_tf=True)
    try:
        product_vectors = vectoriser.fit_transform(products["text"]).T.tocsr()
    except ValueError:  # sklearn's "empty vocabulary": no product text has a word of two letters, so nothing is similar
        return closest[0], dropped
    query_ids, product_ids = pd.Index(queries["query_id"]), pd.Index(products["product_id"])
    found_rows, found_columns = query_ids.get_indexer(found["query_id"]), product_ids.get_indexer(found["product_id"])
    # One number a pair, row * n_products + column, as sparse indices are.
    found_pairs = (found_rows * len(product_ids) + found_columns)[(found_rows >= 0) & (found_columns >= 0)]
    for start in range(0, len(queries), QUERY_BLOCK):
        shared = (vectoriser.transform(queries["text"][start : start + QUERY_BLOCK]) @ product_vectors).tocoo()  # (block, n_products)
        rows, columns, cosines = shared.row.astype(np.int64) + start, shared.col, shared.data.round(DECIMALS)
        too_far, too_close = cosines < low, cosines > high
        taken = ~too_far & ~too_close & np.isin(rows * len(product_ids) + columns, found_pairs)
        kept = ~(too_far | too_close | taken)
        pairs = pd.DataFrame({"query_id": query_ids[rows[kept]], "product_id": product_ids[columns[kept]], "cosine": cosines[kept]})
        pairs = pairs.sort_values(["query_id", "cosine", "product_id"], ascending=[True, False, True])
        closest.append(pairs.groupby("query_id").head(per_query))
        removed = too_far.sum(), too_close.sum(), taken.sum(), len(pairs) - len(closest[-1])
        dropped = {reason: count + int(more) for (reason, count), more in zip(dropped.items(), removed, strict=True)}
    return pd.concat(closest).sort_values("query_id", kind="stable", ignore_index=True), dropped
