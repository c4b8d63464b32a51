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
import re
import threading
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from tests.grading.stand_in_account import BATCHES, Account, Fault
from tests.grading.stand_in_books import ApiError, Reply, check, default_answer, graded, input_tokens, malformed, refused
from tests.grading.stand_in_http import Answer, Server

__all__ = ["Reply", "StandIn", "default_answer", "graded", "malformed", "refused"]  # what a test needs
KINDS = {"status", "status_after_acceptance", "cut", "cut_midway", "slow", "late_acceptance", "expire", "extra_results"}
LONGEST_HOLD_S = 60.0


class Logged(NamedTuple):
    """One request as it came."""

    method: str
    path: str
    body: dict[str, Any] | None
    headers: dict[str, str]


class StandIn(Account):
    """The server; a context manager. Errors inside a test's own callables answer 500 and are raised again when the server closes."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.polls_to_end, self.max_bytes = 1, 256 * 2**20
        self.log: list[Logged] = []
        self.held = threading.Semaphore(0)  # one permit for each request that a `slow` fault has begun to hold
        self.trouble: list[BaseException] = []
        self._faults, self._gate = list[Fault](), threading.Event()

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

    def requests(self, method: str, path_regex: str) -> list[Logged]:
        """The requests so far that match."""
        with self._lock:
            return [each for each in self.log if each.method == method and re.search(path_regex, each.path)]

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


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None


def _json(body: dict[str, Any], request_id: str) -> Answer:
    return Answer(200, json.dumps(body).encode(), {"content-type": "application/json", "request-id": request_id})


def _error(error: ApiError, request_id: str, retry_after: float | None = None) -> Answer:
    wait = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
    return _json(error.body(request_id), request_id)._replace(
        status=error.status, headers={"content-type": "application/json", "request-id": request_id, **wait}
    )
