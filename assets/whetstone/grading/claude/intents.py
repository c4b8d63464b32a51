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

A budget holds for what was spent *and* what may still be billed (`owed_usd`, the money in doubt): what open and missing intents can cost
at most, and lost answers. Both are read in the transaction that writes the intent, so two builds cannot spend the same dollar.
"""

import json
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from whetstone.grading.ledger import IDENTITY, Entry, Ledger

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
    where event in ('intended', 'asking', 'sent', 'missing', 'gone') or (event = 'in_doubt' and place = 1)
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
    """The journal of one ledger, for the build of an `entry` that may spend its `limits`."""

    def __init__(self, ledger: Ledger, entry: Entry, limits: Limits) -> None:
        self._ledger, self._entry, self._limits = ledger, entry, limits
        ledger.create()

    def intend(
        self, wanted: pd.DataFrame, at_most_usd: Sequence[float], state: str, mark: str | None, terms: dict[str, Any]
    ) -> Intent | None:
        """Write down as many of the requests (`IDENTITY`, category), from the first on, as the budget holds; None if it holds none."""

        def write(connection: duckdb.DuckDBPyConnection) -> Intent | None:
            spent = dict(connection.execute(f"select category, usd from ({SPENT})", {"build": self._entry.build}).fetchall())
            kept = affordable(wanted["category"].tolist(), at_most_usd, spent, self._limits)
            if not kept:
                return None
            name = secrets.token_hex(10)  # by chance: another ledger of the same account must never write the same custom_ids
            requests = wanted.iloc[kept][[*IDENTITY, "category"]].reset_index(drop=True)
            requests = requests.assign(
                request=[f"{name}-{number:06d}" for number in range(len(kept))],
                intent=name,
                at_most_usd=[at_most_usd[place] for place in kept],
                **self._entry._asdict(),
            )
            connection.register("new_requests", requests.astype({"category": "string"}))
            connection.execute("insert into ledger.requests by name select * from new_requests")
            connection.execute(_EVENT, {"intent": name, "event": state, "batch_id": mark, "terms": json.dumps(terms)})
            return Intent(name, state, None, mark, terms, requests)

        return self._ledger.in_turn(write)

    def note(self, intent: str, event: str, batch_id: str | None = None) -> None:
        """Write down what happened to an intent."""
        values = {"intent": intent, "event": event, "batch_id": batch_id, "terms": None}
        self._ledger.in_turn(lambda connection: connection.execute(_EVENT, values))

    def in_state(self, *states: str) -> list[Intent]:
        """The intents whose last event is one of these, oldest first."""
        query = f"select intent, event, batch_id, mark, terms from ({STATES}) where list_contains($states, event) order by since"
        found = self._ledger.read(query, {"states": list(states)}).astype(object)
        requests = "select * from ledger.requests where intent = $intent order by request"
        return [
            Intent(intent, event, batch_id, mark, json.loads(terms), self._ledger.read(requests, {"intent": intent}))
            for intent, event, batch_id, mark, terms in found.where(found.notna(), None).to_numpy().tolist()
        ]

    def known_batches(self) -> set[str]:
        """Batches of the account that are accounted for: ours, and those known to be foreign."""
        ours = f"select batch_id from ({STATES}) where event in ('sent', 'collected', 'gone')"
        return set(self._ledger.read(f"{ours} union select batch_id from ledger.events where event = 'foreign'")["batch_id"])

    def spent(self) -> pd.DataFrame:
        """What the build has spent, by category: usd (with what it may still owe), owed_usd."""
        return self._ledger.read(SPENT, {"build": self._entry.build})


def affordable(
    categories: Sequence[str | None], at_most_usd: Sequence[float], spent: Mapping[str | None, float], limits: Limits
) -> list[int]:
    """Positions of the requests that fit into what `spent` has left, taken from the first on; one that doesn't fit ends its category."""
    left, used = limits.build_usd - sum(spent.values()), defaultdict(float, spent)
    kept, ended = [], set()
    for place, (category, usd) in enumerate(zip(categories, at_most_usd, strict=True)):
        if category in ended or used[category] + usd > limits.category_usd:
            ended.add(category)
        elif usd > left:
            break
        else:
            kept.append(place)
            left -= usd
            used[category] += usd
    return kept
