"""What is about to be bought, and what became of it: the ledger's append-only journal of purchases.

An *intent* is a set of requests that is written here, with the most that each can cost, before it is sent. Its events follow in order:

    intended   the requests are written; `batch_id` is the account's newest batch at that moment (the *mark*)
    asking     the same for plain messages, which are answered one by one
    sent       the API has it as `batch_id`
    collected  every answer that there is stands in `ledger.grades`
    void       the API refused it
    missing    nobody knows whether the API took it; it was looked for, and may still turn up
    gone       the API has no results any more
    in_doubt   a plain message was interrupted: it may have been paid for, the answer is lost

The last event is the intent's state. A `foreign` event (intent '') marks a batch of the account that isn't ours.

A budget holds for what was spent *and* what may still be billed without being booked (`owed_usd`, the money in doubt): what open and
missing intents can cost at most, and answers that were lost. Both are read in the transaction that writes the intent, so two builds
cannot spend the same dollar.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from whetstone.grading.ledger import IDENTITY, Entry, Ledger

DDL = """
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
OWED = ("intended", "asking", "sent", "missing", "gone")
_EVENT = """
insert into ledger.events
select $intent, $event, $batch_id, $terms, (select coalesce(max(sequence), 0) + 1 from ledger.events)
"""
STATES = """
select
    events.intent,
    arg_max(events.event, events.sequence) as event,
    arg_max(events.batch_id, events.sequence) as batch_id,
    arg_min_null(events.batch_id, events.sequence) as mark,
    max(events.terms) as terms,
    min(events.sequence) as since,
from ledger.events as events
where events.intent != ''
group by events.intent
"""
# What a build may still owe: requests without an answer, and of interrupted messages the one that was under way.
SPENT = f"""
with states as ({STATES}),

unanswered as (
    select
        requests.*,
        states.event,
        row_number() over (partition by requests.intent order by requests.request) as place,
    from ledger.requests as requests
    inner join states using (intent)
    anti join ledger.grades as grades on requests.request = grades.request
),

final as (
    select build, category, cost_usd as usd, false as is_owed from ledger.grades where request != key
    union all
    select build, category, at_most_usd as usd, true as is_owed from unanswered
    where event in {OWED} or (event = 'in_doubt' and place = 1)
)

select
    category,
    sum(usd) as usd,
    coalesce(sum(usd) filter (where is_owed), 0) as owed_usd,
from final
where build = $build
group by category
"""


class Limits(NamedTuple):
    """The most that one build may spend, in all and for each category, in dollars."""

    build_usd: float
    category_usd: float = float("inf")


class Intent(NamedTuple):
    """Requests that are written down: `requests` has a row for each (`ledger.requests`), `terms` says how answers are read and priced."""

    intent: str
    state: str
    batch_id: str | None
    mark: str | None
    terms: dict[str, Any]
    requests: pd.DataFrame


class Intents:
    """The journal of one ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        ledger.create()
        ledger.create(DDL)

    def intend(
        self,
        wanted: pd.DataFrame,
        at_most_usd: Sequence[float],
        state: str,
        mark: str | None,
        terms: dict[str, Any],
        entry: Entry,
        limits: Limits,
        least: int = 1,
    ) -> Intent | None:
        """Write down as many of the requests, from the first on, as the budget holds; None if it doesn't hold `least`.

        Args:
            wanted: `IDENTITY` of each request, in the order of their worth, and perhaps its category.
            at_most_usd: the most that each can cost.
            state: `intended` (a batch) or `asking` (plain messages).
            mark: the account's newest batch.
            terms: how the answers are read and priced, JSON values.
            entry: the build that pays, and the day.
            limits: the budget.
            least: fewer than this are not worth an intent.
        """

        def write(connection: duckdb.DuckDBPyConnection) -> Intent | None:
            spent = dict(connection.execute(f"select category, usd from ({SPENT})", {"build": entry.build}).fetchall())
            kept = affordable(wanted.get("category"), at_most_usd, spent, limits)
            if len(kept) < max(1, least):
                return None
            name = secrets.token_hex(10)  # by chance: another ledger of the same account must never write the same custom_ids
            requests = wanted.iloc[kept][IDENTITY].assign(
                request=[f"{name}-{number:06d}" for number in range(len(kept))],
                intent=name,
                at_most_usd=[at_most_usd[place] for place in kept],
                build=entry.build,
                category=wanted["category"].iloc[kept] if "category" in wanted else None,
                day=entry.day,
            )
            connection.register("new_requests", requests.astype({"category": "string"}))
            connection.execute("insert into ledger.requests by name select * from new_requests")
            connection.execute(_EVENT, {"intent": name, "event": state, "batch_id": mark, "terms": json.dumps(terms)})
            return Intent(name, state, None, mark, terms, requests.reset_index(drop=True))

        return self._ledger.in_turn(write)

    def note(self, intent: str, event: str, batch_id: str | None = None) -> None:
        """Write down what happened to an intent."""
        values = {"intent": intent, "event": event, "batch_id": batch_id, "terms": None}
        self._ledger.in_turn(lambda connection: connection.execute(_EVENT, values))

    def in_state(self, *states: str) -> list[Intent]:
        """The intents whose last event is one of these, oldest first."""
        found = self._ledger.read(f"select * from ({STATES}) where list_contains($states, event) order by since", {"states": list(states)})
        return [
            self._intent({str(name): value for name, value in row.items()})
            for row in found.astype(object).where(found.notna(), None).to_dict("records")
        ]

    def _intent(self, row: dict[str, Any]) -> Intent:
        requests = self._ledger.read("select * from ledger.requests where intent = $intent order by request", {"intent": row["intent"]})
        return Intent(row["intent"], row["event"], row["batch_id"], row["mark"], json.loads(row["terms"]), requests)

    def known_batches(self) -> set[str]:
        """Batches of the account that are accounted for: ours, and those known to be foreign."""
        ours = f"select batch_id from ({STATES}) where event in ('sent', 'collected', 'gone')"
        return set(self._ledger.read(f"{ours} union select batch_id from ledger.events where event = 'foreign'")["batch_id"])

    def spent(self, entry: Entry) -> pd.DataFrame:
        """What a build has spent, by category: usd (with what it may still owe), owed_usd."""
        return self._ledger.read(SPENT, {"build": entry.build})


def affordable(categories: pd.Series | None, at_most_usd: Sequence[float], spent: dict[str | None, float], limits: Limits) -> list[int]:
    """Positions of the requests that fit into what is left, taken from the first on; one that doesn't fit ends its category.

    `spent` are dollars by category of the build so far.
    """
    left = limits.build_usd - sum(spent.values())
    left_of = {category: limits.category_usd - usd for category, usd in spent.items()}
    kept, ended = [], set()
    for place, usd in enumerate(at_most_usd):
        category = None if categories is None else categories.iloc[place]
        if category in ended or usd > left_of.get(category, limits.category_usd):
            ended.add(category)
            continue
        if usd > left:
            break
        kept.append(place)
        left -= usd
        left_of[category] = left_of.get(category, limits.category_usd) - usd
    return kept
