"""Batches for an in-batch softmax: no hidden positives, every row at most once an epoch, the same again under the same seed."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from whetstone.encoder.samplers import ConflictFreeBatchSampler, conflict_free, fit_count, plan_batches

Row = tuple[str, list[str], list[str]]
IDS = st.sampled_from([f"p{number}" for number in range(12)])
ROWS = st.lists(st.tuples(st.sampled_from(list("abcdefgh")), st.lists(IDS, min_size=1, max_size=3), st.lists(IDS, max_size=4)), max_size=40)


def columns(rows: list[Row]) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """Queries, items and relevant products of rows; a row's first item is its product, relevant to its query."""
    return [row[0] for row in rows], [row[1] for row in rows], [[*row[2], row[1][0]] for row in rows]


def assert_free_of_conflicts(rows: list[Row], batch: list[int]) -> None:
    """Brute force over all pairs of a batch."""
    queries, items, relevant = columns(rows)
    for one, other in combinations(batch, 2):
        assert queries[one] != queries[other]
        assert not set(items[one]) & set(relevant[other])
        assert not set(items[other]) & set(relevant[one])


@settings(deadline=None)
@given(ROWS, st.integers(1, 6), st.integers(0, 5))
def test_every_row_is_in_exactly_one_batch_and_none_has_a_hidden_positive(rows: list[Row], size: int, seed: int) -> None:
    batches = plan_batches(*columns(rows), size, np.random.default_rng(seed))
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    for batch in batches:
        assert 0 < len(batch) <= size
        assert_free_of_conflicts(rows, batch)


@settings(deadline=None)
@given(ROWS.filter(bool), st.integers(1, 6), st.integers(0, 3))
def test_all_epochs_have_the_length_that_is_announced(rows: list[Row], size: int, seed: int) -> None:
    queries, items, relevant = columns(rows)
    sampler = ConflictFreeBatchSampler(range(len(rows)), size, False, queries=queries, items=items, relevant=relevant, seed=seed)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert batches == list(sampler)
        drawn = [row for batch in batches for row in batch]
        assert len(drawn) == len(set(drawn))
        assert len(batches) <= len(sampler)
        for batch in batches:
            assert_free_of_conflicts(rows, batch)
    # no announced batch is missing unless there are not even that many rows
    assert len(batches) == len(sampler) or len(drawn) == len(batches)


def test_a_positive_of_the_query_that_is_no_row_of_its_own_still_conflicts() -> None:
    rows = [("a", ["p1"], ["p9"]), ("b", ["p9"], [])]
    assert len(plan_batches(*columns(rows), 8, np.random.default_rng(0))) == 2


def test_a_negative_that_is_relevant_to_another_rows_query_conflicts() -> None:
    rows = [("a", ["p1", "p2"], []), ("b", ["p2"], []), ("c", ["p3"], [])]
    batches = plan_batches(*columns(rows), 8, np.random.default_rng(0))
    assert sorted(map(len, batches)) == [1, 2]
    assert not any({0, 1} <= set(batch) for batch in batches)


def test_queries_with_many_rows_go_first_so_that_batches_stay_full() -> None:
    # one query with 4 rows, eight with 1: in four batches of 3 only if the big query is in each of them
    rows: list[Row] = [("big", [f"b{number}"], []) for number in range(4)] + [(f"s{number}", [f"t{number}"], []) for number in range(8)]
    for seed in range(5):
        assert [len(batch) for batch in plan_batches(*columns(rows), 3, np.random.default_rng(seed))] == [3, 3, 3, 3]


def test_half_an_epoch_meets_most_queries() -> None:
    # ten queries have 40 rows, a hundred have 4: planned by size, the first half would hold the ten and few others
    rows: list[Row] = [(f"b{query}", [f"b{query}-{row}"], []) for query in range(10) for row in range(40)]
    rows += [(f"s{query}", [f"s{query}-{row}"], []) for query in range(100) for row in range(4)]
    for seed in range(5):
        batches = plan_batches(*columns(rows), 10, np.random.default_rng(seed))
        half = {rows[row][0] for batch in batches[: len(batches) // 2] for row in batch}
        assert len(half) > 70


def test_seed_and_epoch_decide_the_batches() -> None:
    rows: list[Row] = [(f"q{number}", [f"p{number}"], []) for number in range(40)]
    queries, items, relevant = columns(rows)

    def batches(seed: int, epoch: int) -> list[list[int]]:
        sampler = ConflictFreeBatchSampler(rows, 8, False, queries=queries, items=items, relevant=relevant, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert batches(1, 0) == batches(1, 0)
    assert batches(1, 0) != batches(2, 0)
    assert batches(1, 0) != batches(1, 1)


def test_drop_last_leaves_full_batches_only() -> None:
    rows: list[Row] = [(f"q{number}", [f"p{number}"], []) for number in range(10)]
    queries, items, relevant = columns(rows)
    sampler = ConflictFreeBatchSampler(rows, 4, True, queries=queries, items=items, relevant=relevant)
    assert [len(batch) for batch in sampler] == [4, 4]


def test_fitting_the_count_halves_the_largest_or_drops_the_smallest() -> None:
    assert sorted(map(sorted, fit_count([[1, 2, 3, 4], [5]], 3))) == [[1, 2], [3, 4], [5]]
    assert fit_count([[1], [2, 3], [4, 5, 6]], 2) == [[4, 5, 6], [2, 3]]


def test_the_trainer_takes_it_and_sees_every_row_once_an_epoch(tiny_encoder: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, ...]] = []

    class Watched(MultipleNegativesRankingLoss):
        def forward(self, sentence_features, labels):  # type: ignore[no-untyped-def]
            features = list(sentence_features)
            decode = model.tokenizer.batch_decode
            seen.append(tuple(text.replace(" ", "") for text in decode(features[0]["input_ids"], skip_special_tokens=True)))
            return super().forward(features, labels)

    model = SentenceTransformer(str(tiny_encoder), device="cpu")
    frame = pd.DataFrame(
        {
            "query": ["red", "red", "blue", "green", "pink"],
            "product": ["mug", "shoe", "lamp", "chair", "knife"],
            "product_id": ["p1", "p2", "p3", "p4", "p5"],
            "relevant_ids": [["p1", "p2"], ["p1", "p2"], ["p3", "p4"], ["p4"], ["p5"]],
        }
    )
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        num_train_epochs=2,
        per_device_train_batch_size=4,
        batch_sampler=conflict_free(frame),
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    data = Dataset.from_pandas(frame[["query", "product"]])
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=Watched(model)).train()
    assert len(seen) == 4
    for epoch in (seen[:2], seen[2:]):
        assert sorted(text for batch in epoch for text in batch) == ["blue", "green", "pink", "red", "red"]
        assert not any({"blue", "green"} <= set(batch) for batch in epoch)
        assert all(batch.count("red") == 1 for batch in epoch)
