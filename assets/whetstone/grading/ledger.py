"""The ledger: every grade that was ever paid for, append-only, so that none is bought twice.

A grade's key is the SHA-256 of (query text, product text, guideline version, annotator name, annotator version). Rebuilding, renaming
a product or moving it to another category therefore costs nothing; editing a text or the guideline re-grades just the pairs that it
touches. Rows are never changed or deleted; there is no clock in them, `sequence` (1, 2, ...) is their order.

A recorded failure is an answer too: it was paid for, and the same annotator version isn't asked the same again.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import TypeVar

import duckdb
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from whetstone.grading.annotator import PAIR_COLUMNS, Annotator, check_answers, check_pairs
from whetstone.grading.guideline import Guideline

# A primary key on `grades` would load an index of all rows at every append (measured with 1 M rows: 1.1 s instead of 0.15 s, and a
# file 2.3 times as large), so writers are serialised by the one row of `appends`: two that race conflict there, and one retries.
DDL = """
create schema if not exists ledger;

-- one row: how often anybody appended
create table if not exists ledger.appends (
    id integer primary key check (id = 1),
    count_appends bigint not null,
);

-- one row per grade that was paid for
create table if not exists ledger.grades (
    key varchar not null,
    query_hash varchar not null,
    text_hash varchar not null,
    guideline_version varchar not null,
    annotator varchar not null,
    annotator_version varchar not null,
    grade tinyint,
    confidence double not null,
    cost_usd double not null,
    tokens_in bigint not null,
    tokens_out bigint not null,
    failure varchar,
    sequence bigint not null,
    check ((grade is null) = (failure is not null)),
);
"""
_ANSWER = ["grade", "confidence", "cost_usd", "tokens_in", "tokens_out", "failure"]
_COLUMNS = ["key", "query_hash", "text_hash", "guideline_version", "annotator", "annotator_version", *_ANSWER]  # all but sequence
_TAKE_TURN = "update ledger.appends set count_appends = count_appends + 1"
_APPEND = """
insert into ledger.grades by name
select
    new_rows.* exclude (position),
    (select coalesce(max(sequence), 0) from ledger.grades) + row_number() over (order by position) as sequence,
from new_rows
anti join ledger.grades using (key)
"""
_ATTEMPTS = 12  # of one transaction while others write; the waits between them grow to some 10 s in all

Result = TypeVar("Result")
Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


class Ledger:
    """The table `ledger.grades`, reached through `connect` (the warehouse's; no connection is held between calls)."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    def create(self) -> None:
        """Make the table if it isn't there; what is there stays."""

        def once() -> None:
            with self._connect() as connection:
                connection.execute(DDL)
                with suppress(duckdb.ConstraintException):  # somebody else has just put the row there
                    connection.execute("insert or ignore into ledger.appends values (1, 0)")

        _in_turn(once)

    def lookup(self, keys: Iterable[str]) -> pd.DataFrame:
        """The rows of those keys that are known, one a key, in order of sequence: all of `ledger.grades`, grade nullable Int64."""
        wanted = pa.table({"key": pa.array(dict.fromkeys(keys), pa.string())})
        with self._connect() as connection:
            connection.register("wanted_keys", wanted)
            query = "select grades.* from ledger.grades as grades semi join wanted_keys using (key) order by sequence"
            found = connection.execute(query).df()
        found["failure"] = found["failure"].astype(object).where(found["failure"].notna(), None)
        return found.astype({"grade": "Int64"})

    def append(self, rows: pd.DataFrame) -> int:
        """Write rows (all columns but `sequence`, in any order) in one transaction and say how many were new.

        A key that is already there keeps its old row. On an error nothing of `rows` was written.
        """
        distinct = rows[_COLUMNS].drop_duplicates("key")
        table = pa.Table.from_pandas(distinct.assign(position=range(len(distinct))), preserve_index=False)

        def once() -> int:
            with self._connect() as connection:  # closing it undoes what was not committed
                connection.register("new_rows", table)
                connection.begin()
                connection.execute(_TAKE_TURN)
                written = connection.execute(_APPEND).fetchall()[0][0]
                connection.commit()
            return int(written)

        return _in_turn(once)


def ledger_keys(pairs: pd.DataFrame, annotator: Annotator, guideline: Guideline) -> pd.DataFrame:
    """Key of each pair (query, text) for this annotator and guideline: `key, query_hash, text_hash` (SHA-256 hex), index of `pairs`.

    The key hashes a JSON list of the two text hashes and the three names, so no two different quintuples share an encoding.
    """
    hashes = pd.DataFrame({"query_hash": pairs["query"].map(_sha256), "text_hash": pairs["text"].map(_sha256)}, dtype=object)
    asked = [guideline.version, annotator.name, annotator.version]
    keys = [_sha256(json.dumps([query, text, asked])) for query, text in hashes.itertuples(index=False)]
    return hashes.assign(key=pd.Series(keys, index=pairs.index, dtype=object))


def grade_through(ledger: Ledger, annotator: Annotator, pairs: pd.DataFrame, guideline: Guideline, batch_size: int = 1024) -> pd.DataFrame:
    """Grade pairs, asking the annotator only for what the ledger doesn't know; each batch is written before the next is begun.

    Pairs (`PAIR_COLUMNS`, each once) of equal texts are asked once. A kill loses at most the batch in flight.

    Returns:
        n rows in the order of `pairs`: query_id, product_id, grade (Int64, null where failed), confidence, cost_usd, tokens_in,
        tokens_out, failure, annotator, annotator_version, is_new (this call paid for it; true on one row of those that share texts,
        so costs of new rows add up).

    Raises:
        WhetstoneError: Bad pairs, or answers that don't fit them.
    """
    check_pairs(pairs)
    ledger.create()
    asked = pairs[PAIR_COLUMNS].reset_index(drop=True)
    asked = asked.join(ledger_keys(asked, annotator, guideline))
    known = ledger.lookup(asked["key"])
    missing = asked[~asked["key"].isin(known["key"])].drop_duplicates("key")
    starts = range(0, len(missing), batch_size)
    for start in tqdm(starts, desc=f"grade by {annotator.name}", disable=len(starts) < 2, leave=False):
        batch = missing.iloc[start : start + batch_size].reset_index(drop=True)
        answers = check_answers(batch, annotator.annotate(batch[PAIR_COLUMNS].copy()), guideline)
        rows = batch[["key", "query_hash", "text_hash"]].join(answers)
        ledger.append(rows.assign(guideline_version=guideline.version, annotator=annotator.name, annotator_version=annotator.version))
    # read back: what the ledger holds is the truth, also where another writer was quicker
    settled = ledger.lookup(asked["key"]) if len(missing) else known
    answered = settled[["key", *_ANSWER, "annotator", "annotator_version"]]
    graded = asked[["query_id", "product_id", "key"]].merge(answered, on="key", how="left", validate="many_to_one")
    return graded.drop(columns="key").assign(is_new=graded.index.isin(missing.index))


def _in_turn(transaction: Callable[[], Result]) -> Result:
    """Run a transaction, again after a wait where somebody else's got in its way."""
    for attempt in range(_ATTEMPTS - 1):
        try:
            return transaction()
        except duckdb.TransactionException:
            time.sleep(0.0025 * 2**attempt)
    return transaction()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
