"""The purchase protocol: every answer is bought once, booked to the cent, and survives a kill at any moment.

    1. the requests are written to the journal, with the most that they can cost, if the budget holds it;
    2. they are sent once, as one batch; the batch's id is written before it is polled;
    3. each portion of the results is in the ledger before anything uses it; then the intent is closed.

What is not written is not sent, so a restart finds out by itself what is lacking. Only step 2 can leave a doubt: the server may have
accepted a batch whose id never reached us. Then every batch that the account got since (there is a mark) is looked at: one of the same
size is taken for ours until its results, by their custom_ids, say otherwise. Only when none turns up are the pairs written and sent
anew, under new ids and if the budget holds both; even a batch that turns up later than that is collected and booked.

Few pairs are asked as plain messages, at full price. An interruption there loses one answer, which stays in the books as money in doubt.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from whetstone.grading.annotator import ANSWER
from whetstone.grading.claude.annotator import ClaudeAnnotator
from whetstone.grading.claude.api import Api, Busy, InDoubt, Rejected, in_words, is_about_account, size_of
from whetstone.grading.claude.cost import Price, cost_usd, tokens_in
from whetstone.grading.claude.intents import Intent, Intents, Limits
from whetstone.grading.claude.prompt import read
from whetstone.grading.ledger import IDENTITY, Entry, Ledger
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import exclusive

LOG = logging.getLogger("whetstone.grading")
MOST_REQUESTS = 4_000  # of one batch: 256 MB are allowed, and a request's texts may take 60 kB as JSON
ATTEMPTS = 5  # in a row without progress
LOOKS = 6  # at the account's batches before what is not there is sent anew
KEPT = pd.Timedelta(days=29)  # how long the API keeps results, and so how long a missing batch is looked for
SHORT_ROUNDS = 12  # batches into which a short budget is cut at most: each is a wait
PORTION = 500  # results a transaction
NO_BUDGET = "over budget: WHETSTONE_BUDGET_USD is 0, so nothing is bought; `whetstone grade --dry-run` says what it would cost"


@dataclass
class Desk:
    """Buys for one build (`entry`), within its limits."""

    api: Api
    ledger: Ledger
    entry: Entry
    limits: Limits
    lock: Path  # the file that whoever sends holds until what was sent is written
    batch_from: int = 10  # fewer requests go as plain messages
    poll_s: float = 20.0  # between two looks at a batch
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._intents = Intents(self.ledger, self.entry, self.limits)

    def buy(self, buyer: ClaudeAnnotator, wanted: pd.DataFrame) -> str:
        """Buy what the ledger lacks of `wanted` (`IDENTITY`, query, text, category; the most worthwhile first).

        Returns why some of it has no answer, or ''. WhetstoneError: the API refuses, or never answers; what was bought is in the ledger.
        """
        idle, short, trouble = -1, 0, None
        while True:
            self.settle(wanted["key"])
            if not self.limits.build_usd:
                return NO_BUDGET
            with exclusive(self.lock):
                self._reconcile()
                if any(wanted["key"].isin(each.requests["key"]).any() for each in self._intents.in_state("sent")):
                    continue  # it was found just now, or another process sent it since we settled
                left = wanted[~wanted["key"].isin(self.ledger.lookup(wanted["key"])["key"])]
                wanted, idle = left, 0 if len(left) < len(wanted) else idle + 1
                if wanted.empty:
                    break
                if idle == ATTEMPTS:
                    why = trouble or f"{len(wanted)} requests expired or failed at the server"
                    raise WhetstoneError(f"{buyer.name}: {ATTEMPTS} attempts in vain; run the build again later. {why}")
                is_batch, trouble = len(wanted) >= self.batch_from, None
                portion = wanted.head(MOST_REQUESTS)
                requests = buyer.requests(portion)
                at_most = buyer.at_most_usd(requests, is_batch)
                mark = next((batch.id for batch in self.api.batches()), None) if is_batch else None
                told = "intended" if is_batch else "asking", mark, buyer.terms(is_batch)
                intent = self._intents.intend(portion, at_most, *told) if short < SHORT_ROUNDS else None
                if intent is None:
                    return self._over_budget(buyer, len(wanted), sum(at_most) / len(at_most) * len(wanted))
                short += len(intent.requests) < len(portion)
                try:
                    params = dict(zip(portion["key"], requests, strict=True))
                    (self._send if is_batch else self._ask)(intent, [params[key] for key in intent.requests["key"]])
                except (Busy, InDoubt) as error:
                    LOG.warning("%s: %s", buyer.name, error)
                    trouble = error
            if trouble or idle:
                self.sleep(getattr(trouble, "wait_s", None) or min(60.0, 2.0**idle))
        self.settle()  # what `_reconcile` has found last
        return ""

    def settle(self, keys: Iterable[str] = ()) -> None:
        """Bring in what was sent before: at once where it is ready, waiting for it where it answers one of `keys`."""
        wanted = set(keys)
        while self._intents.in_state("intended", "asking", "sent"):
            with exclusive(self.lock):
                self._reconcile()
            sent = self._intents.in_state("sent")
            if not any([self._collect(each, is_awaited=bool(wanted & set(each.requests["key"]))) for each in sent]):
                return

    def _reconcile(self) -> None:
        """Find the batches that were accepted without our knowing; needs the lock, so that nobody is sending now."""
        for intent in self._intents.in_state("asking"):
            self._intents.note(intent.intent, "in_doubt")
        for look in range(LOOKS):
            candidates = self._intents.in_state("intended", "missing", "sent")
            oldest = pd.Timestamp(self.entry.day) - KEPT
            lost = [each for each in candidates if each.state != "sent" and pd.Timestamp(each.requests["day"].iloc[0]) >= oldest]
            if not lost:
                return
            known = self._intents.known_batches()
            for batch in self.api.batches_after(lost[0].mark):
                size = size_of(batch)
                if batch.id in known:
                    continue
                alike = [each for each in lost if len(each.requests) == size]
                if alike:
                    self._intents.note(alike[-1].intent, "sent", batch.id)  # the newest: most likely the one that was just sent
                    lost.remove(alike[-1])
                elif all(len(each.requests) != size for each in candidates):
                    self._intents.note("", "foreign", batch.id)
            waiting = [each for each in lost if each.state == "intended"]
            if not waiting:
                return
            if look < LOOKS - 1:
                self.sleep(2.0**look)
        for intent in waiting:
            self._intents.note(intent.intent, "missing")

    def _send(self, intent: Intent, params: list[dict[str, Any]]) -> None:
        items = [{"custom_id": request, "params": each} for request, each in zip(intent.requests["request"], params, strict=True)]
        try:
            batch_id = self.api.create_batch(items)
        except Rejected:
            self._intents.note(intent.intent, "void")
            raise
        self._intents.note(intent.intent, "sent", batch_id)
        LOG.info("batch %s with %d requests", batch_id, len(items))

    def _ask(self, intent: Intent, params: list[dict[str, Any]]) -> None:
        """Ask plain messages, each answer booked before the next is asked."""
        for request, each in zip(intent.requests["request"], params, strict=True):
            try:
                answer: Any = self.api.message(each)
            except Rejected as refused:
                if not refused.blames_the_request:
                    self._intents.note(intent.intent, "collected")
                    raise
                answer = str(refused)
            self.ledger.append(_rows(intent, [(request, answer)]))
        self._intents.note(intent.intent, "collected")

    def _collect(self, intent: Intent, is_awaited: bool) -> bool:
        """Write the answers of a batch and close its intent; False if it isn't ready and not awaited."""
        batch_id = intent.batch_id or ""
        try:
            while not self.api.is_ended(batch_id):
                if not is_awaited:
                    return False
                self.sleep(self.poll_s)
        except Rejected as unknown:
            LOG.warning("%s; looking for it anew", unknown)
            self._intents.note(intent.intent, "intended", intent.mark)
            return True
        asked, seen = set(intent.requests["request"]), set[str]()
        for attempt in range(ATTEMPTS):
            try:
                results = self.api.results(batch_id)
                while portion := list(islice(results, PORTION)):
                    seen |= {item.custom_id for item in portion}
                    answers = [(item.custom_id, _paid(item.result)) for item in portion if item.custom_id in asked]
                    self.ledger.append(_rows(intent, [(request, answer) for request, answer in answers if answer is not None]))
            except InDoubt as cut:
                LOG.warning("%s", cut)
            except Rejected as gone:
                LOG.warning("%s; its %d pairs will be asked anew", gone, len(asked))
                self._intents.note(intent.intent, "gone")
                return True
            else:
                if seen and not seen & asked:
                    self._disown(intent, seen)
                    return True
            if asked <= seen:
                self._intents.note(intent.intent, "collected")
                return True
            self.sleep(2.0**attempt)
        said = f"batch {batch_id} gave results for {len(seen & asked)} of {len(asked)} requests"
        raise WhetstoneError(f"{said}; those are in the ledger, run the build again for the rest")

    def _disown(self, intent: Intent, seen: set[str]) -> None:
        """The batch only had the same size: it is another intent's of ours, or foreign; the right one is looked for."""
        owners = {request.split("-")[0] for request in seen}
        owner = next((each.intent for each in self._intents.in_state("intended", "missing", "sent") if each.intent in owners), "")
        self._intents.note(owner, "sent" if owner else "foreign", intent.batch_id)
        self._intents.note(intent.intent, "intended", intent.mark)

    def _over_budget(self, buyer: ClaudeAnnotator, count: int, at_most: float) -> str:
        spent, category_usd = self._intents.spent().sum(numeric_only=True), self.limits.category_usd
        cap = f" and WHETSTONE_CATEGORY_BUDGET_USD={category_usd:g}" if category_usd < float("inf") else ""
        doubt = f" (${spent['owed_usd']:.4f} of it in doubt)" if spent["owed_usd"] else ""
        return (
            f"over budget: {count} more requests to {buyer.name} may take up to ${at_most:.4f}; this build has spent "
            f"${spent['usd']:.4f}{doubt} of WHETSTONE_BUDGET_USD={self.limits.build_usd:g}{cap}; raise it and build again"
        )


def _paid(result: Any) -> Any:
    """A batch result's message; in words why a request will always fail; None where it should be asked again (nothing was paid)."""
    if result.type == "succeeded":
        return result.message
    error = result.error.error if result.type == "errored" else None
    if error and error.type == "invalid_request_error" and not is_about_account(error.message):
        return f"invalid request: {in_words(error.message)}"
    return None


def _rows(intent: Intent, answers: Sequence[tuple[str, Any]]) -> pd.DataFrame:
    """Answers (request, message or why it was refused for nothing) as rows of the ledger."""
    price, is_batch = Price(*intent.terms["price"]), intent.terms["is_batch"]
    rows: list[tuple[Any, ...]] = []
    for request, message in answers:
        if isinstance(message, str):
            rows.append((request, None, 0.0, 0.0, 0, 0, message, None))
        else:
            answer, usage = read(message, intent.terms), message.usage
            paid = cost_usd(usage, price, is_batch), tokens_in(usage), usage.output_tokens
            rows.append((request, answer.grade, answer.confidence, *paid, answer.failure, answer.rationale))
    frame = pd.DataFrame(rows, columns=["request", *ANSWER]).astype({"grade": "Int64", "failure": object, "rationale": object})
    whose = intent.requests[["request", *IDENTITY, "build", "category", "day"]]
    return frame.merge(whose, on="request", validate="many_to_one")
