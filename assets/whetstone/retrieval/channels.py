"""The registry of channels: heterogeneous ways to find products for a query, each with its top `depth` and the rank.

A channel is one file here, `<name>.py` with a function `search(inputs, depth) -> run`, and one entry in `CHANNELS`. Everything downstream
(assets, disagreement sets, overlap, evaluation) reads this registry. It is imported when the definitions load, so it imports the channels'
files only when they are called. Source: arXiv 2606.23911 [A], section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from whetstone.platform.errors import WhetstoneError

if TYPE_CHECKING:
    import pandas as pd

    from whetstone.retrieval.encode import Embedder

_SUMMARIES = ("lexical", "best", "best_dense")


@dataclass(frozen=True)
class ChannelInputs:
    """What a channel may look at, for one category (or the whole catalog)."""

    products: pd.DataFrame  # product_id, title, brand, category_path, attributes, text; one row per product
    queries: pd.DataFrame  # query_id, text; the queries to answer, one row each
    judgments: pd.DataFrame  # query_id, text (the query's: it need not be among those to answer), product_id, grade; *train* queries only
    settings: Any  # has the attributes that the channel's `settings` name
    embedder: Embedder  # of the encoder that a dense channel searches with
    synonyms: Sequence[str] = ()  # lines of the source's Solr synonym file


@dataclass(frozen=True)
class Channel:
    """One way to find products."""

    name: str  # also the module here, the table (`marts.<name>_run`) and the rank column (`<name>_rank`)
    kind: Literal["lexical", "dense"]  # matches words or vectors; the tiers tell the two apart
    description: str  # one sentence for the asset
    version: str = "1"  # bump it when the results of the same inputs change
    settings: tuple[str, ...] = ("depth",)  # fields of Settings that it reads
    reads: tuple[str, ...] = ()  # besides the category's products and queries; a change of nothing else makes its runs stale

    @property
    def table(self) -> str:
        """Where its runs lie: category, query_id, product_id, rank, score."""
        return f"marts.{self.name}_run"

    def search(self, inputs: ChannelInputs, depth: int) -> pd.DataFrame:
        """The run of the queries over the products: query_id, product_id, rank, score; at most `depth` a query."""
        run: pd.DataFrame = import_module(f"whetstone.retrieval.{self.name}").search(inputs, depth)
        return run


CHANNELS: tuple[Channel, ...] = (
    Channel(
        "dictionary",
        "lexical",
        "Query phrases looked up in the category's lexicon, with synonyms; score = idf-weighted share covered.",
        reads=("staging.judgments", "raw.synonyms"),
    ),
    Channel("bm25", "lexical", "BM25 (Lucene's form) over stemmed product text.", settings=("depth", "bm25_k1", "bm25_b")),
    Channel("dense", "dense", "Cosine of the incumbent encoder's vectors, exact search.", reads=("models.incumbent_encoder",)),
)


def channel(name: str) -> Channel:
    """The registered channel of that name; WhetstoneError lists the known ones."""
    known = {each.name: each for each in CHANNELS}
    if name not in known:
        raise WhetstoneError(f"there is no channel {name!r}; registered are {', '.join(known)}")
    return known[name]


def run_ranks_sql(channels: Sequence[Channel] = CHANNELS) -> str:
    """SELECT of who found what in the category `$category`, one row per query x product found by any channel.

    [A] keeps the top 500 of a catalog of millions: what is deeper is far from the query. In a category of 200 products a top 500 holds
    everything, and no channel could disagree. So a run of depth 500 *finds* what ranks in the first `$found_share` of the category's
    products, and at least in the first `$found_least`.

    Columns: category, query_id, product_id; `<channel>_rank` of each (null where it didn't find the pair); count_channels,
    count_lexical; lexical_rank (best of the lexical channels), best_dense_rank, best_rank. WhetstoneError: names that would collide.
    """
    names = [each.name for each in channels]
    for name in names:
        if not (name.isascii() and name.isidentifier() and name.islower()) or name in _SUMMARIES or names.count(name) > 1:
            raise WhetstoneError(f"channel {name!r}: a name is a unique lower-case identifier other than {', '.join(_SUMMARIES)}")
    runs = "\n    union all\n".join(
        f"    select '{each.name}' as channel, '{each.kind}' as kind, category, query_id, product_id, rank, from {each.table}"
        for each in channels
    )
    ranks = "\n".join(f"    max(rank) filter (where channel = '{each.name}') as {each.name}_rank," for each in channels)
    return f"""with runs as (
{runs}
)

select
    category,
    query_id,
    product_id,
{ranks}
    count(*) as count_channels,
    count(*) filter (where kind = 'lexical') as count_lexical,
    min(rank) filter (where kind = 'lexical') as lexical_rank,
    min(rank) filter (where kind = 'dense') as best_dense_rank,
    min(rank) as best_rank,
from runs
where
    category = $category
    and rank <= (select greatest($found_least, ceil($found_share * count(*))) from staging.products where category = $category)
group by category, query_id, product_id"""
