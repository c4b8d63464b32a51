"""The ledger at a million rows: look-up, append, and the journal of purchases.

Run: python tests/bench/bench_ledger.py [rows]     (default 1,000,000; a minute on two cores)

A file of that many answers of ten builds, opened anew for each call as a build does it. Goals at a million rows: 100,000 pairs are looked
up, and 10,000 answers appended, in under 2 s each. The peer is one scan of the same table in the same run (`sum(cost_usd)`): the rest is
what finding, de-duplicating and committing cost.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import datetime as dt
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from whetstone.grading.annotator import Local, make_answers
from whetstone.grading.claude.intents import Intents, Limits
from whetstone.grading.guideline import load_guideline
from whetstone.grading.ledger import Entry, Ledger, booked, grade_through, ledger_keys
from whetstone.platform.warehouse import Warehouse

WANTED, ANSWERS = 100_000, 10_000
GUIDELINE = load_guideline("esci")
ENTRY = Entry("build 0", dt.date(2026, 1, 1))
# as `ledger_keys` makes them, so that the first rows are found by their pairs
FILL = """
insert into ledger.grades by name
select
    sha256('[' || '"' || sha256('query ' || n % 1000) || '", "' || sha256('product ' || n) || '", ' || $asked || ']') as key,
    sha256('query ' || n % 1000) as query_hash,
    sha256('product ' || n) as text_hash,
    $guideline as guideline_version, $name as annotator, 'v1' as annotator_version,
    2 as grade, 0.9 as confidence, 0.0001 as cost_usd, 700 as tokens_in, 120 as tokens_out,
    'Same kind of thing, another brand.' as rationale,
    'request ' || n as request, 'build ' || n % 10 as build, 'category ' || n % 20 as category, date '2026-01-01' as day,
    n + 1 as sequence,
from range($rows) as numbers (n)
"""


class Anybody(Local):
    """Has a name; is asked only for what the ledger lacks."""

    name, version = "bench", "v1"

    def annotate(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Grade 2 for all."""
        return make_answers(pairs, np.full(len(pairs), 2), np.full(len(pairs), 0.5))


def pairs_from(first: int, count: int) -> pd.DataFrame:
    """Pairs by number; those below the ledger's size are known to it."""
    numbers = range(first, first + count)
    pairs = pd.DataFrame({"query": [f"query {n % 1000}" for n in numbers], "text": [f"product {n}" for n in numbers]})
    return pairs.assign(query_id=pairs["query"], product_id=pairs["text"], category="category 1")


def timed(what: str, function: Callable[[], object]) -> None:
    """Print the seconds of one call."""
    start = time.perf_counter()
    found = function()
    print(f"{what:76}{time.perf_counter() - start:8.2f} s   {found}")


def main(rows: int) -> None:
    """Fill a ledger and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        warehouse, annotator = Warehouse(database=str(Path(folder) / "bench.duckdb")), Anybody()
        ledger = Ledger(warehouse.get_connection)
        intents = Intents(ledger, ENTRY, Limits(1e9, 1e9))
        asked = f'["{GUIDELINE.version}", "{annotator.name}", "{annotator.version}"]'
        with warehouse.get_connection() as connection:
            connection.execute(FILL, {"rows": rows, "asked": asked, "guideline": GUIDELINE.version, "name": annotator.name})
        print(f"{rows:,} rows, {Path(folder, 'bench.duckdb').stat().st_size / rows:.0f} bytes a row")

        half, new = pairs_from(rows - WANTED // 2, WANTED), pairs_from(2 * rows, ANSWERS)
        keys = ledger_keys(half, annotator, GUIDELINE)
        timed("scan of the table", lambda: ledger.read("select sum(cost_usd) as usd from ledger.grades")["usd"].round(2)[0])
        timed(f"keys of {WANTED:,} pairs", lambda: len(ledger_keys(half, annotator, GUIDELINE)))
        timed(f"look-up of {WANTED:,} pairs, half of them known", lambda: len(ledger.lookup(keys["key"])))
        known = pairs_from(0, WANTED)
        timed(f"grade_through, {WANTED:,} known pairs", lambda: len(grade_through(ledger, annotator, known, GUIDELINE, ENTRY)))
        fresh = new.join(ledger_keys(new, annotator, GUIDELINE))
        answers = booked(fresh, annotator.annotate(new), ENTRY)
        timed(f"append of {ANSWERS:,} answers", lambda: ledger.append(answers))
        timed(f"append of {ANSWERS:,} answers that are there already", lambda: ledger.append(answers))
        timed("append of one answer", lambda: ledger.append(answers.head(1).assign(request="one more")))

        wanted = pairs_from(3 * rows, WANTED)
        wanted = wanted.join(ledger_keys(wanted, annotator, GUIDELINE))
        terms = {"is_batch": True}
        made = []
        at_most = [0.01] * WANTED

        def intend() -> int:
            made.append(intents.intend(wanted, at_most, "intended", "mark", terms))
            return len(made[0].requests) if made[0] else 0

        timed(f"intend of {WANTED:,} requests", intend)
        timed(f"spent by a build, {WANTED:,} requests open", lambda: round(intents.spent()["usd"].sum(), 2))
        timed(f"in_state, {WANTED:,} requests open", lambda: len(intents.in_state("intended")))
        requests = made[0].requests if made and made[0] else wanted
        paid = requests.head(ANSWERS).assign(
            grade=2, confidence=0.9, cost_usd=0.0001, tokens_in=700, tokens_out=120, failure=None, rationale="so"
        )
        timed(f"append of {ANSWERS:,} answers to them", lambda: ledger.append(paid))
        timed("spent by a build after that", lambda: round(intents.spent()["usd"].sum(), 2))
        timed("intend of one more request", lambda: intents.intend(wanted.head(1), [0.01], "asking", None, terms) is not None)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
