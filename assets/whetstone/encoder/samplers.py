"""Batches in which no row's product is another row's hidden positive.

An in-batch softmax takes every other row's products as negatives of a row's query. A batch that holds a query twice, or a product that is
known to be relevant to another row's query, teaches the encoder to push a right answer away. sentence-transformers' NO_DUPLICATES compares
texts only; it can't know that a product of one row is relevant to the query of another. Here rows i and j may share a batch only if

    query_i != query_j,   items_i is disjoint from relevant_j,   items_j is disjoint from relevant_i

with items = the row's product and its negatives ([A] arXiv 2606.23911 stage 2: no two rows of a batch share a query or a relevant
product). Queries with the most rows left go first, so that batches stay full until the end; a row that fits nowhere waits for a later one.
Full batches are then shuffled, for a stage may end before its epoch: as planned, the first 40 of 32 rows held 209 of 599 queries.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sentence_transformers.base.sampler import DefaultBatchSampler

Ids = Sequence[Collection[str]]


def plan_batches(queries: Sequence[str], items: Ids, relevant: Ids, batch_size: int, rng: np.random.Generator) -> list[list[int]]:
    """Split n rows into batches of at most `batch_size` without conflicts; every row is in exactly one, none is empty.

    Each row has a query, items (its product and its negatives) and the known relevant products of its query, its own among them. `rng`
    decides the order of a query's rows, and between queries with equally many rows left.
    """
    row_items = [set(some) for some in items]
    waiting: dict[str, list[int]] = defaultdict(list)
    known: dict[str, set[str]] = defaultdict(set)
    for row in rng.permutation(len(queries)).tolist():
        waiting[queries[row]].append(row)
        known[queries[row]].update(relevant[row])
    lots = rng.permutation(len(waiting)).tolist()
    heap = [(-len(rows), lot, query) for lot, (query, rows) in zip(lots, waiting.items(), strict=True)]
    heapq.heapify(heap)
    batches: list[list[int]] = []
    while heap:
        batch: list[int] = []
        batch_items: set[str] = set()
        batch_known: set[str] = set()
        used: list[tuple[int, int, str]] = []
        while heap and len(batch) < batch_size:
            used.append(heapq.heappop(heap))
            query = used[-1][2]
            if not known[query].isdisjoint(batch_items):
                continue
            for place, row in enumerate(waiting[query]):
                if row_items[row].isdisjoint(batch_known):
                    batch.append(waiting[query].pop(place))
                    batch_items |= row_items[row]
                    batch_known |= known[query]
                    break
        batches.append(batch)
        for _, lot, query in used:
            if waiting[query]:
                heapq.heappush(heap, (-len(waiting[query]), lot, query))
    return sorted(batches, key=lambda batch: (len(batch) < batch_size, rng.random()))


def fit_count(batches: list[list[int]], count: int) -> list[list[int]]:
    """The same rows in exactly `count` batches: the largest are halved, or the smallest left out, until the number is right.

    The trainer takes the length of the first epoch for all of them, and conflicts make it vary by a few from one shuffle to the next.
    """
    batches = [list(batch) for batch in batches]
    while len(batches) < count and len(largest := max(batches, key=len)) > 1:
        half = len(largest) // 2
        batches.append(largest[half:])
        del largest[half:]
    return sorted(batches, key=len, reverse=True)[:count] if len(batches) > count else batches


class ConflictFreeBatchSampler(DefaultBatchSampler):
    """Batch sampler of sentence-transformers' trainer over `plan_batches`; deterministic in seed and epoch.

    A row is used at most once an epoch. The plan's small batches come last, where they meet the small learning rates of the schedule's end.
    """

    def __init__(self, *args: Any, queries: Sequence[str], items: Ids, relevant: Ids, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rows = queries, items, relevant
        self._count = len(self._plan(0))

    def _plan(self, epoch: int) -> list[list[int]]:
        plan = plan_batches(*self._rows, self.batch_size, np.random.default_rng([self.seed, epoch]))
        return [batch for batch in plan if len(batch) == self.batch_size] if self.drop_last else plan

    def __iter__(self) -> Iterator[list[int]]:
        yield from fit_count(self._plan(self.epoch), self._count)

    def __len__(self) -> int:
        return self._count


def conflict_free(frame: pd.DataFrame) -> Callable[..., ConflictFreeBatchSampler]:
    """The trainer's `batch_sampler` argument for the rows of `mnr_instances`; two query ids with one text are one query."""
    ids = ["product_id", *(column for column in frame.columns if column.startswith("negative_id_"))]
    relevant = [{product, *others} for product, others in zip(frame["product_id"], frame["relevant_ids"], strict=True)]
    return partial(ConflictFreeBatchSampler, queries=frame["query"].tolist(), items=frame[ids].to_numpy().tolist(), relevant=relevant)
