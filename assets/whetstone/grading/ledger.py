"""The ledger: every grade that was ever paid for, append-only, so that none is bought twice.

A grade's key is the SHA-256 of (query text, product text, guideline version, annotator name, annotator version), so rebuilding or moving
a product costs nothing, and an edit re-grades just the pairs that it touches. Rows are never changed or deleted; `sequence` (1, 2, ...)
is their order. A row stands for one *request*: what was paid for twice by accident is booked twice, and the first answer to a key counts.
A recorded failure is an answer too: it was paid for, and the same annotator version isn't asked the same again.
"""

import datetime as dt
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import NamedTuple, TypeVar

import duckdb
import pandas as pd
import pyarrow as pa

from whetstone.grading.annotator import ANSWER, PAIR_COLUMNS, PAIR_ID, Annotator, Named

# A primary key on `grades` would load an index of all rows at every append (measured with 1 M rows: 1.1 s instead of 0.15 s, and a
# file 2.3 times as large), so writers are serialised by the one row of `appends`: two that race conflict there, and one retries.
DDL = """
create schema if not exists ledger;

-- one row: how often anybody appended
create table if not exists ledger.appends (
    id integer primary key check (id = 1),
    count_appends bigint not null,
);

-- one row per request that was answered
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

-- since 0.2: the request (the key itself where nobody was paid), the annotator's reason, and whose money it was
alter table ledger.grades add column if not exists rationale varchar;
alter table ledger.grades add column if not exists request varchar;
alter table ledger.grades add column if not exists build varchar;
alter table ledger.grades add column if not exists category varchar;
alter table ledger.grades add column if not exists day date;

-- one row per request that was about to be sent
create table if not exists ledger.requests (
    request varchar not null,
    intent varchar not null,
    key varchar not null,
    query_hash varchar not null,
    text_hash varchar not null,
    guideline_version varchar not null,
    annotator varchar not null,
    annotator_version varchar not null,
    at_most_usd double not null,
    build varchar not null,
    category varchar,
    day date not null,
);

-- one row per thing that happened to an intent; `terms` are how its answers are read and priced
create table if not exists ledger.events (
    intent varchar not null,
    event varchar not null,
    batch_id varchar,
    terms varchar,
    sequence bigint not null,
);
"""
IDENTITY = ["key", "query_hash", "text_hash", "guideline_version", "annotator", "annotator_version"]
COLUMNS = [*IDENTITY, *ANSWER, "request", "build", "category", "day"]  # of `grades`, all but sequence
_APPEND = """
insert into ledger.grades by name
select
    new_rows.* exclude (position),
    (select coalesce(max(sequence), 0) from ledger.grades) + row_number() over (order by position) as sequence,
from new_rows
anti join (select coalesce(request, key) as request from ledger.grades) as known using (request)
"""
_LOOKUP = """
select grades.* from ledger.grades as grades
semi join wanted_keys using (key)
qualify row_number() over (partition by key order by sequence) = 1
order by sequence
"""
_ATTEMPTS = 12  # of one transaction while others write; the waits between them grow to some 10 s in all

Result = TypeVar("Result")
Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


class Entry(NamedTuple):
    """On whose account an answer is booked: the build that its budget belongs to, and the day."""

    build: str
    day: dt.date


class Ledger:
    """The tables of the schema `ledger`, reached through `connect` (the warehouse's; no connection is held between calls)."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    def create(self) -> None:
        """Make the tables that aren't there; what is there stays."""

        def once() -> None:
            with self._connect() as connection:
                connection.execute(DDL)
                with suppress(duckdb.ConstraintException):  # somebody else has just put the row there
                    connection.execute("insert or ignore into ledger.appends values (1, 0)")

        _again_if_disturbed(once)

    def lookup(self, keys: Iterable[str]) -> pd.DataFrame:
        """The first row of each key that is known, in order of sequence: all of `ledger.grades`, grade nullable Int64."""
        with self._connect() as connection:
            connection.register("wanted_keys", pa.table({"key": pa.array(dict.fromkeys(keys), pa.string())}))
            return connection.execute(_LOOKUP).df().astype({"grade": "Int64"})

    def append(self, rows: pd.DataFrame) -> int:
        """Write rows (`COLUMNS`) in one transaction, all or none, and say how many were new; a request that is there keeps its old row."""
        distinct = rows[COLUMNS].drop_duplicates("request")
        if distinct.empty:  # its columns would have no types
            return 0
        table = pa.Table.from_pandas(distinct.assign(position=range(len(distinct))), preserve_index=False)

        def write(connection: duckdb.DuckDBPyConnection) -> int:
            connection.register("new_rows", table)
            return int(connection.execute(_APPEND).fetchall()[0][0])

        return self.in_turn(write)

    def in_turn(self, write: Callable[[duckdb.DuckDBPyConnection], Result]) -> Result:
        """Run `write` in one transaction while nobody else writes to the ledger; what it raises undoes it."""

        def once() -> Result:
            with self._connect() as connection:  # closing it undoes what was not committed
                connection.begin()
                connection.execute("update ledger.appends set count_appends = count_appends + 1")
                result = write(connection)
                connection.commit()
                return result

        return _again_if_disturbed(once)

    def read(self, query: str, parameters: dict[str, object] | None = None) -> pd.DataFrame:
        """Rows of a SELECT over the ledger's tables."""
        with self._connect() as connection:
            return connection.execute(query, parameters or {}).df()


def ledger_keys(pairs: pd.DataFrame, annotator: Named, guideline: Named) -> pd.DataFrame:
    """`IDENTITY` of each pair (query, text) for this annotator and guideline, index of `pairs`; hashes are SHA-256 in hex."""
    hashes = pd.DataFrame({"query_hash": pairs["query"].map(_sha256), "text_hash": pairs["text"].map(_sha256)}, dtype=object)
    asked = [guideline.version, annotator.name, annotator.version]
    # as JSON, so that no two different quintuples share an encoding
    keys = [_sha256(json.dumps([query, text, asked])) for query, text in hashes.itertuples(index=False)]
    names = dict(zip(IDENTITY[3:], asked, strict=True))
    return hashes.assign(key=pd.Series(keys, index=pairs.index, dtype=object), **names)[IDENTITY]


def grade_through(ledger: Ledger, annotator: Annotator, pairs: pd.DataFrame, guideline: Named, entry: Entry) -> pd.DataFrame:
    """Grade pairs (`PAIR_COLUMNS`, perhaps category), asking in their order, and once for equal texts, what the ledger doesn't know.

    Returns n rows in the order of `pairs`: query_id, product_id, `ANSWER` (grade Int64), is_answered, is_new (this call paid for it; true
    on one row of those that share texts, so costs of new rows add up). Where there is no grade, because the answer failed or the pair
    could not be asked (then is_answered is false), `failure` says why.
    """
    ledger.create()
    asked = pairs[PAIR_COLUMNS].assign(category=pairs.get("category")).reset_index(drop=True)
    asked = asked.join(ledger_keys(asked, annotator, guideline))
    settled, why = ledger.lookup(asked["key"]), ""
    missing = asked[~asked["key"].isin(settled["key"])].drop_duplicates("key")
    if len(missing):
        why = annotator.answer(missing, lambda answers: ledger.append(booked(missing, answers, entry)))
        settled = ledger.lookup(asked["key"])  # what the ledger holds is the truth, also where another writer was quicker
    graded = asked[[*PAIR_ID, "key"]].merge(settled[["key", *ANSWER]], on="key", how="left", validate="many_to_one")
    graded["is_answered"] = graded["key"].isin(settled["key"])
    graded["is_new"] = graded.index.isin(missing.index) & graded["is_answered"]
    graded = graded.fillna({"confidence": 0.0, "cost_usd": 0.0, "tokens_in": 0, "tokens_out": 0})
    graded["failure"] = graded["failure"].where(graded["is_answered"], why)
    return graded.drop(columns="key")


def booked(asked: pd.DataFrame, answers: pd.DataFrame, entry: Entry) -> pd.DataFrame:
    """Answers that nobody was paid for as rows of the ledger (`COLUMNS`): `asked` has their pairs' `IDENTITY` and category."""
    rows = asked[[*PAIR_ID, *IDENTITY, "category"]].merge(answers[[*PAIR_ID, *ANSWER]], on=PAIR_ID, validate="one_to_one")
    return rows.assign(request=rows["key"], build=entry.build, day=entry.day)[COLUMNS]


def _again_if_disturbed(transaction: Callable[[], Result]) -> Result:
    """Run a transaction, again after a wait where somebody else's got in its way."""
    for attempt in range(_ATTEMPTS - 1):
        try:
            return transaction()
        except duckdb.TransactionException:
            time.sleep(0.0025 * 2**attempt)
    return transaction()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
