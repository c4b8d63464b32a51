"""The account that the stand-in keeps (`stand_in.py`): its message batches, what became of them, and what was charged.

It knows nothing of HTTP. A `Fault` says what is to go wrong with the request at hand; here that is a batch that will expire or is seen
late, and results with lines too many.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

from tests.grading.stand_in_books import ERROR_TYPES, ApiError, Books, Charge, Reply, check, default_answer, more_than_once, pair_hash

BATCHES = "/v1/messages/batches"
CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass
class Fault:
    """Something to go wrong; the docstring of `stand_in.py` says what the kinds do."""

    method: str
    path_regex: str
    kind: str
    times: int = 1
    after: int = 0
    status: int = 500
    retry_after: float | None = None
    accepted: bool = False
    seconds: float | None = None
    n: int = 1
    done: int | None = None
    duplicates: int = 0
    unknown: int = 0


@dataclass
class Batch:
    """A message batch and how far it is. `hidden`: listings that won't show it yet; `done`: how many items run before it expires."""

    id: str
    requests: list[dict[str, Any]]
    created_at: datetime
    hidden: int = 0
    done: int | None = None
    polls: int = 0
    cancel_initiated_at: datetime | None = None
    ended_at: datetime | None = None
    results: list[dict[str, Any]] = field(default_factory=list)


class Account:
    """Batches, ids and bill. `answer`, `outcome` and `now` are a test's to replace; `url` is where the server of results stands."""

    url = ""

    def __init__(self, seed: int) -> None:
        self.answer: Callable[[dict[str, Any]], Reply] = default_answer
        self.outcome: Callable[[str, dict[str, Any]], str] = lambda custom_id, params: "succeeded"
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.max_requests = 100_000
        self.batches: dict[str, Batch] = {}  # oldest first
        self._books, self._seed, self._ids, self._lock = Books(), seed, 0, threading.RLock()

    def end(self, batch_id: str | None = None) -> None:
        """Run, charge and end a batch now; without an id all that were ever accepted."""
        with self._lock:
            for batch in [self.batches[batch_id]] if batch_id else list(self.batches.values()):
                self._end(batch)

    @property
    def bill(self) -> list[Charge]:
        """One entry for each thing charged so far; a batch that has not ended is not charged yet (see `end`)."""
        with self._lock:
            return list(self._books.bill)

    @property
    def total_usd(self) -> Decimal:
        """Sum of the bill."""
        return sum((charge.cost for charge in self.bill), Decimal(0))

    def bought_twice(self) -> dict[str, int]:
        """Hash of (model, system, user content) to times, where charged, or accepted in a batch still open, more than once."""
        with self._lock:
            still_open = [
                pair_hash(r["params"]) for b in self.batches.values() if not b.ended_at for r in b.requests if _is_sound(r["params"])
            ]
            return more_than_once([*(charge.pair for charge in self._books.bill), *still_open])

    def _create(self, body: Any, fault: Fault) -> Batch:
        requests = body.get("requests") if isinstance(body, dict) else None
        if not isinstance(requests, list) or not 1 <= len(requests) <= self.max_requests:
            raise ApiError(400, f"requests: 1 to {self.max_requests} are required")
        seen: set[str] = set()
        for place, request in enumerate(requests):
            custom_id = request.get("custom_id")
            if not isinstance(custom_id, str) or not CUSTOM_ID.fullmatch(custom_id):
                raise ApiError(400, f"requests.{place}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'")
            if custom_id in seen:
                raise ApiError(400, f"requests.{place}.custom_id: {custom_id} is not unique")
            if not isinstance(request.get("params"), dict):
                raise ApiError(400, f"requests.{place}.params: Field required")
            seen.add(custom_id)
        batch = Batch(self._new_id("msgbatch"), requests, self.now())
        if fault.kind == "expire":
            batch.done = len(requests) // 2 if fault.done is None else fault.done
        batch.hidden = fault.n + 1 if fault.kind == "late_acceptance" else 0  # hidden for n listings, seen in the one after
        self.batches[batch.id] = batch
        return batch

    def _list(self, query: dict[str, str]) -> dict[str, Any]:
        limit = query.get("limit", "20")
        if not limit.isdecimal() or not 1 <= int(limit) <= 1000:
            raise ApiError(400, "limit: 1 to 1000 is required")
        before, after = query.get("before_id"), query.get("after_id")
        if not before and not after:
            for batch in self.batches.values():
                batch.hidden = max(0, batch.hidden - 1)
        ids = [batch.id for batch in reversed(self.batches.values()) if not batch.hidden]
        if unknown := {before, after} - {None, *ids}:
            raise ApiError(400, f"no batch {sorted(map(str, unknown))}")
        if before:
            place = ids.index(before)
            page, has_more = ids[max(0, place - int(limit)) : place], place > int(limit)
        else:
            start = ids.index(after) + 1 if after else 0
            page, has_more = ids[start : start + int(limit)], len(ids) > start + int(limit)
        data = [self._show(self.batches[each]) for each in page]
        return {"data": data, "has_more": has_more, "first_id": page[0] if page else None, "last_id": page[-1] if page else None}

    def _end(self, batch: Batch) -> None:
        """Run each request in the order sent, charge what succeeds, and shuffle the results."""
        if batch.ended_at:
            return
        results = []
        for place, request in enumerate(batch.requests):
            result: dict[str, Any] = {"type": "expired"}
            if batch.cancel_initiated_at:
                result = {"type": "canceled"}
            elif batch.done is None or place < batch.done:
                result = self._run(batch, request["custom_id"], request["params"])
            results.append({"custom_id": request["custom_id"], "result": result})
        random.Random(f"{self._seed} {batch.id}").shuffle(results)
        batch.results, batch.ended_at = results, self.now()

    def _run(self, batch: Batch, custom_id: str, params: dict[str, Any]) -> dict[str, Any]:
        try:
            check(params)
        except ApiError as error:
            return {"type": "errored", "error": error.body(self._new_id("req"))}
        outcome = self.outcome(custom_id, params)
        if outcome == "succeeded":
            ids = {"message_id": self._new_id("msg"), "custom_id": custom_id, "batch_id": batch.id}
            return {"type": "succeeded", "message": self._books.enter(params, self.answer(params), **ids)}
        if outcome in ("canceled", "expired"):
            return {"type": outcome}
        status = {name: status for status, name in ERROR_TYPES.items()}[outcome]
        return {"type": "errored", "error": ApiError(status, "told to fail").body(self._new_id("req"))}

    def _results(self, batch: Batch, fault: Fault) -> list[dict[str, Any]]:
        if not batch.ended_at:
            raise ApiError(404, f"{batch.id} has no results yet")
        strangers = [{**batch.results[0], "custom_id": f"never-sent-{number}"} for number in range(fault.unknown)]
        lines = [*batch.results, *batch.results[: fault.duplicates], *strangers]
        if fault.kind == "extra_results":
            random.Random(f"{self._seed} {batch.id} extra").shuffle(lines)
        return lines

    def _show(self, batch: Batch) -> dict[str, Any]:
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        counts["processing"] = 0 if batch.ended_at else len(batch.requests)
        for line in batch.results if batch.ended_at else []:
            counts[line["result"]["type"]] += 1
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if batch.ended_at else "canceling" if batch.cancel_initiated_at else "in_progress",
            "request_counts": counts,
            "created_at": _when(batch.created_at),
            "expires_at": _when(batch.created_at + timedelta(hours=24)),
            "cancel_initiated_at": _when(batch.cancel_initiated_at),
            "ended_at": _when(batch.ended_at),
            "archived_at": None,
            "results_url": f"{self.url}{BATCHES}/{batch.id}/results" if batch.ended_at else None,
        }

    def _new_id(self, prefix: str) -> str:
        with self._lock:
            self._ids += 1
            return f"{prefix}_{sha256(f'{self._seed} {self._ids}'.encode()).hexdigest()[:24]}"


def _is_sound(params: dict[str, Any]) -> bool:
    try:
        check(params)
    except ApiError:
        return False
    return True


def _when(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
