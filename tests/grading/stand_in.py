"""A loopback server that speaks the Anthropic API, for tests: messages, message batches, token counting, and everything that goes wrong.

    with StandIn() as server:
        server.fault("POST", "/batches$", "status_after_acceptance", status=500)
        client = server.client()  # the real SDK
        ...
        assert ledger_total == server.total_usd and not server.bought_twice()

A test replaces `answer` (params -> Reply) and `outcome` ((custom_id, params) -> "succeeded", "canceled", "expired", or the type of an
error such as "invalid_request_error"). A batch is run and charged when it ends: at its `polls_to_end`-th retrieve, after `cancel`, or by
`end`. As at Anthropic, what is wrong in a batch item's params makes that item errored; only custom_ids and sizes are refused at once.

Faults meet the next requests that match, first declared first; `after` lets that many matching requests pass before:
    status                   answers `status` (and `retry_after`) and does nothing
    status_after_acceptance  does what was asked, then answers `status`
    cut                      closes the connection without an answer; with `accepted=True` after having done what was asked
    cut_midway               sends half of the answer, then closes
    slow                     holds the answer for `seconds`, else until `release()`; `accepted=True` does what was asked before the wait
    late_acceptance          closes the connection; the batch exists, but is seen only after `n` further listings (first pages)
    expire                   the batch created will end with its first `done` requests run (else the first half) and the rest expired
    extra_results            repeats `duplicates` lines of the results and adds `unknown` lines with custom_ids never sent
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from tests.grading.stand_in_books import (
    ERROR_TYPES,
    ApiError,
    Books,
    Charge,
    Reply,
    check,
    default_answer,
    graded,
    input_tokens,
    malformed,
    more_than_once,
    pair_hash,
    refused,
)
from tests.grading.stand_in_http import Answer, Server

__all__ = ["Reply", "StandIn", "default_answer", "graded", "malformed", "refused"]  # what a test needs
KINDS = {"status", "status_after_acceptance", "cut", "cut_midway", "slow", "late_acceptance", "expire", "extra_results"}
CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
BATCHES = "/v1/messages/batches"
LONGEST_HOLD_S = 60.0


class Logged(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    body: dict[str, Any] | None
    headers: dict[str, str]


@dataclass
class Fault:
    """Something to go wrong; see the module's docstring."""

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


class StandIn:
    """The server; a context manager. Errors inside a test's own callables answer 500 and are raised again when the server closes."""

    def __init__(self, seed: int = 0) -> None:
        self.answer: Callable[[dict[str, Any]], Reply] = default_answer
        self.outcome: Callable[[str, dict[str, Any]], str] = lambda custom_id, params: "succeeded"
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.polls_to_end = 1
        self.max_requests, self.max_bytes = 100_000, 256 * 2**20
        self.log: list[Logged] = []
        self.batches: dict[str, Batch] = {}  # oldest first
        self.held = threading.Semaphore(0)  # one permit for each request that a `slow` fault has begun to hold
        self.trouble: list[BaseException] = []
        self._books, self._faults, self._seed, self._ids = Books(), list[Fault](), seed, 0
        self._lock, self._gate = threading.RLock(), threading.Event()

    def __enter__(self) -> StandIn:
        self._http = Server(self.respond, self.trouble)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.release()
        self._http.shutdown()
        self._http.server_close()
        if self.trouble and error is None:
            raise self.trouble[0]

    def client(self, **options: Any) -> Any:
        """The real SDK, pointed here; it doesn't retry unless told to, and loads no certificates (slow, and unused)."""
        from anthropic import Anthropic, DefaultHttpxClient

        here: dict[str, Any] = {
            "base_url": self.url,
            "api_key": "test-key",
            "max_retries": 0,
            "http_client": DefaultHttpxClient(verify=False),
        }
        return Anthropic(**here | options)

    def fault(self, method: str, path_regex: str, kind: str, times: int = 1, after: int = 0, **rest: Any) -> None:
        """Queue a fault for requests whose method is equal and whose path matches (re.search)."""
        if kind not in KINDS:
            raise ValueError(f"no fault is called {kind!r}; there are {sorted(KINDS)}")
        with self._lock:
            self._faults.append(Fault(method, path_regex, kind, times, after, **rest))

    def release(self) -> None:
        """Let go all requests that are held now."""
        with self._lock:
            self._gate.set()
            self._gate = threading.Event()

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

    def requests(self, method: str, path_regex: str) -> list[Logged]:
        """The requests so far that match."""
        with self._lock:
            return [each for each in self.log if each.method == method and re.search(path_regex, each.path)]

    # one request

    def respond(self, method: str, target: str, headers: dict[str, str], raw: bytes) -> Answer:
        """Answer a request, through the fault it meets."""
        path, _, query = target.partition("?")
        with self._lock:
            body = _parse(raw)
            self.log.append(Logged(method, path, body if isinstance(body, dict) else None, headers))
            fault, request_id = self._next_fault(method, path), self._new_id("req")
        if fault.kind == "status":
            return _error(ApiError(fault.status, "told to fail"), request_id, fault.retry_after)
        if fault.kind == "cut" and not fault.accepted:
            return Answer(0, b"", {}, share=0.0)
        if fault.kind == "slow" and not fault.accepted:
            self._hold(fault)
        try:
            with self._lock:
                answer = self._route(method, path, parse_qs(query), headers, body, raw, fault, request_id)
        except ApiError as error:
            answer = _error(error, request_id)
        except Exception as error:  # of a test's own callable
            self.trouble.append(error)
            answer = _error(ApiError(500, "the test's own code failed"), request_id)
        if fault.kind == "slow" and fault.accepted:
            self._hold(fault)
        if fault.kind == "status_after_acceptance":
            return _error(ApiError(fault.status, "told to fail"), request_id, fault.retry_after)
        return answer._replace(share={"cut": 0.0, "late_acceptance": 0.0, "cut_midway": 0.5}.get(fault.kind, 1.0))

    def _next_fault(self, method: str, path: str) -> Fault:
        """The first fault that is ready; every matching one sees the request pass."""
        chosen = None
        for fault in self._faults:
            if fault.method != method or not re.search(fault.path_regex, path):
                continue
            if fault.after:
                fault.after -= 1
            elif fault.times and chosen is None:
                fault.times -= 1
                chosen = fault
        return chosen or Fault(method, path, "none")

    def _hold(self, fault: Fault) -> None:
        with self._lock:
            gate = self._gate
        self.held.release()
        gate.wait(LONGEST_HOLD_S if fault.seconds is None else fault.seconds)

    def _route(
        self,
        method: str,
        path: str,
        query: dict[str, list[str]],
        headers: dict[str, str],
        body: Any,
        raw: bytes,
        fault: Fault,
        request_id: str,
    ) -> Answer:
        if not (headers.get("x-api-key") or headers.get("authorization", "").startswith("Bearer ")):  # SDK 2.12 sends its key as the latter
            raise ApiError(401, "x-api-key header is required")
        if "anthropic-version" not in headers:
            raise ApiError(400, "anthropic-version: header is required")
        if len(raw) > self.max_bytes:
            raise ApiError(413, "Request exceeds the maximum size")
        if (method, path) == ("POST", "/v1/messages"):
            check(body)
            return _json(self._books.enter(body, self.answer(body), message_id=self._new_id("msg")), request_id)
        if (method, path) == ("POST", "/v1/messages/count_tokens"):
            check(body, counting=True)
            return _json({"input_tokens": input_tokens(body)}, request_id)
        if (method, path) == ("POST", BATCHES):
            return _json(self._show(self._create(body, fault)), request_id)
        if (method, path) == ("GET", BATCHES):
            return _json(self._list({name: values[0] for name, values in query.items()}), request_id)
        match = re.fullmatch(rf"{BATCHES}/([^/]+)(/results|/cancel)?", path)
        batch = self.batches.get(match[1]) if match else None
        if match is None or batch is None or batch.hidden or method != ("POST" if match[2] == "/cancel" else "GET"):
            raise ApiError(404, f"not found: {path}")
        if match[2] == "/results":
            lines = [json.dumps(line) + "\n" for line in self._results(batch, fault)]
            return Answer(200, "".join(lines).encode(), {"content-type": "application/x-jsonl", "request-id": request_id})
        if match[2] == "/cancel":
            if batch.ended_at:
                raise ApiError(400, f"{batch.id} has ended and can't be canceled")
            batch.cancel_initiated_at = batch.cancel_initiated_at or self.now()
            return _json(self._show(batch), request_id)
        batch.polls += 1
        if batch.polls >= self.polls_to_end or batch.cancel_initiated_at:
            self._end(batch)
        return _json(self._show(batch), request_id)

    # batches

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


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None


def _is_sound(params: dict[str, Any]) -> bool:
    try:
        check(params)
    except ApiError:
        return False
    return True


def _json(body: dict[str, Any], request_id: str) -> Answer:
    return Answer(200, json.dumps(body).encode(), {"content-type": "application/json", "request-id": request_id})


def _error(error: ApiError, request_id: str, retry_after: float | None = None) -> Answer:
    wait = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    return _json(error.body(request_id), request_id)._replace(
        status=error.status, headers={"content-type": "application/json", "request-id": request_id, **wait}
    )


def _when(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
