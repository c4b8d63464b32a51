"""Channel `dense`: cosine of unit vectors, exact search by matrix products.

Exact on purpose: mining lives on who did *not* find a product, and an approximate index would add its own misses. Measured at 43 k x 384
on 2 cores, BLAS answers five times as many queries as an exact vector index. Blocks of queries bound the memory, whatever the size of the
catalog. A matrix product may give equal vectors different last bits by their place in a block, so it only picks the candidates, with slack;
their scores are summed anew in float64, row by row, and ties are real ties.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.vectors import Vectors
from whetstone.retrieval.channels import ChannelInputs
from whetstone.retrieval.ranking import Hits, top_k

BLOCK = 1 << 26  # scores at a time: 256 MiB of float32
SLACK = 1e-5  # candidates score at least the k-th best minus this share of the longest vectors' product: ten times the error of float32


def search(inputs: ChannelInputs, depth: int) -> pd.DataFrame:
    """The channel's entry: exact search with the incumbent encoder's vectors; a run."""
    vectors = inputs.embedder.queries(inputs.queries["text"].tolist()), inputs.embedder.products(inputs.products)
    return exact_search(*vectors, inputs.queries["query_id"].tolist(), inputs.products["product_id"].tolist(), depth)


def exact_search(
    query_vectors: Vectors, product_vectors: Vectors, query_ids: Sequence[str], product_ids: Sequence[str], k: int, *, block: int = BLOCK
) -> pd.DataFrame:
    """The run of the k products with the highest inner product (may be negative) for every query; `block` scores are held at a time.

    Vectors are (n, d), beside distinct ids; give unit vectors for cosines. A memory map works. WhetstoneError: misfits, or not finite ones.
    """
    if len(query_vectors) != len(query_ids) or len(product_vectors) != len(product_ids):
        given = f"{len(query_vectors)} vectors for {len(query_ids)} queries and {len(product_vectors)} vectors for"
        raise WhetstoneError(f"{given} {len(product_ids)} products; every row needs its vector")
    if query_vectors.shape[1] != product_vectors.shape[1]:
        raise WhetstoneError(f"query vectors have {query_vectors.shape[1]} dimensions, product vectors {product_vectors.shape[1]}")
    # Squared lengths by einsum: `norm` would hold a second matrix.
    longest = [np.einsum("nd,nd->n", vectors, vectors).max(initial=0.0) for vectors in (query_vectors, product_vectors)]
    slack = SLACK * float(np.sqrt(longest).prod())
    if not np.isfinite(slack):
        raise WhetstoneError("a vector holds values that are not finite numbers; encode the texts again")

    def found() -> Iterator[Hits]:
        rows = max(1, block // max(1, len(product_ids)))
        for first in range(0, len(query_ids), rows):
            queries = query_vectors[first : first + rows]
            for query, scores in zip(queries, queries @ product_vectors.T, strict=True):
                least = np.partition(scores, -k)[-k] - slack if len(scores) > k else -np.inf
                near = np.flatnonzero(scores >= least)
                # A row's own sum doesn't depend on the rows around it.
                yield near, (product_vectors[near].astype(np.float64) * query.astype(np.float64)).sum(axis=1)

    return top_k(found(), product_ids, query_ids, k)
