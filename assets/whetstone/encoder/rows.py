"""From a stage's instances to what its loss reads: the rows of the trainer's data set, and the pairs that a softmax must not push apart.

- mnr: labels are numbers of the query and the products, so that the loss can tell whose product is whose; a query is its text.
- mnr_baseline: the negatives come from sentence-transformers' own `mine_hard_negatives`, over the whole catalog, as a user would call it.
- the others: as they are.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

from whetstone.encoder.recipes import Stage
from whetstone.platform.precision import half_precision


def training_rows(
    stage: Stage, instances: pd.DataFrame, model: SentenceTransformer, catalog: Sequence[str]
) -> tuple[pd.DataFrame, torch.Tensor | None]:
    """The rows with the columns that the loss reads, and for mnr every known relevant (query, product), (r, 2), in the labels' numbers."""
    if stage.loss == "mnr":
        return numbered(instances)
    if stage.loss == "mnr_baseline":
        return library_negatives(instances, model, catalog, stage.negatives_per_positive), None
    return instances, None


def numbered(instances: pd.DataFrame) -> tuple[pd.DataFrame, torch.Tensor]:
    """The rows with `label` = [query, product, negative_1, ...] as numbers, and the known relevant pairs in these numbers."""
    columns = ["product_id", *(column for column in instances.columns if column.startswith("negative_id_"))]
    queries: dict[str, int] = {}
    products: dict[str, int] = {}
    labels, known = [], set()
    for query, relevant, *items in instances[["query", "relevant_ids", *columns]].itertuples(index=False):
        number = queries.setdefault(query, len(queries))
        labels.append([number, *(products.setdefault(item, len(products)) for item in items)])
        known |= {(number, products.setdefault(product, len(products))) for product in relevant}
    return instances.assign(label=pd.Series(labels, instances.index)), torch.tensor(sorted(known), dtype=torch.int64).reshape(-1, 2)


def library_negatives(instances: pd.DataFrame, model: SentenceTransformer, catalog: Sequence[str], count: int) -> pd.DataFrame:
    """The positives (query, product) with `count` negatives as sentence-transformers mines them; it drops queries that lack some."""
    pairs = Dataset.from_pandas(instances[["query", "product"]], preserve_index=False)
    with half_precision(str(model.device)):
        mined = mine_hard_negatives(
            pairs,
            model,
            corpus=sorted(set(catalog)),
            relative_margin=0.05,
            range_max=1000,  # a smaller range loses most rows: where positives are many, few products score below the margin
            num_negatives=count,
            sampling_strategy="top",
            output_format="n-tuple",
            batch_size=32,
            verbose=False,
        )
    rows: pd.DataFrame = mined.to_pandas()
    return rows.set_axis(["query", "product", *(f"negative_{number}" for number in range(1, rows.shape[1] - 1))], axis=1)
