"""Anthropic's API as the purchase protocol sees it: the SDK's client, and what each of its errors means for money.

Reading (list, poll, results, counting) is retried by the SDK with back-off. `create_batch` and `message` are sent exactly once: what was
answered with an error may have been accepted all the same, and sending it again would buy it twice.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import anthropic
from anthropic.types import Message
from anthropic.types.messages import MessageBatch

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.printable import printable

PAGE = 100
MENDS = {
    0: "check the network and ANTHROPIC_BASE_URL",
    401: "check ANTHROPIC_API_KEY",
    403: "the key may not do this",
    404: "check the names in WHETSTONE_CLAUDE_SMALL and WHETSTONE_CLAUDE_LARGE",
    429: "it asks for a pause",
}


class Rejected(WhetstoneError):
    """The request was refused with an HTTP status: nothing was bought."""

    def __init__(self, words: str, status: int, wait_s: float | None = None) -> None:
        super().__init__(words)
        self.status, self.wait_s = status, wait_s

    @property
    def blames_the_request(self) -> bool:
        """Whether just this request would be refused again; 400 is also said to an account that has run out of credit."""
        return self.status in (400, 413, 422) and not is_about_account(str(self))


class Busy(Rejected):
    """The request was refused for now (rate limit); `wait_s` is the pause that the server asks for."""


class InDoubt(WhetstoneError):
    """Nobody knows whether the request was accepted (server error, time-out, cut connection)."""


class Api:
    """The account that pays. The key stands in the client's headers and nowhere else."""

    def __init__(self, key: str, base_url: str | None = None, *, timeout_s: float = 600.0, retries: int = 4) -> None:
        if not key.isascii() or not key.isprintable() or " " in key:  # the transport would print it into its error
            raise WhetstoneError("ANTHROPIC_API_KEY has a blank, a line end or another character that no key has; copy it again")
        self._client = anthropic.Anthropic(api_key=key, base_url=base_url, timeout=timeout_s, max_retries=retries)
        self._once = self._client.with_options(max_retries=0)

    def batches(self) -> Iterator[MessageBatch]:
        """All batches of the account, newest first."""
        with _explained("list its batches"):
            yield from self._client.messages.batches.list(limit=PAGE)

    def batches_after(self, mark: str | None) -> list[MessageBatch]:
        """All batches newer than `mark` (None: all there are), oldest first."""
        return list(takewhile(lambda batch: batch.id != mark, self.batches()))[::-1]

    def is_ended(self, batch_id: str) -> bool:
        """Whether the results of a batch are there; `Rejected` if the account hasn't it."""
        with _explained(f"look at batch {batch_id}"):
            return self._client.messages.batches.retrieve(batch_id).processing_status == "ended"

    def results(self, batch_id: str) -> Iterator[Any]:
        """The results of an ended batch, in any order, perhaps twice; InDoubt: cut off, ask again; Rejected: there are none any more."""
        with _explained(f"give the results of batch {batch_id}"):
            try:
                yield from self._client.messages.batches.results(batch_id)
            except (anthropic.APIStatusError, anthropic.APIConnectionError):
                raise
            except anthropic.AnthropicError as error:  # an archived batch has no address of results
                raise Rejected(f"Anthropic's API has no results of batch {batch_id} any more", 410) from error
            except Exception as error:  # the decoder meets half a line, the transport a closed socket: httpx has no common class
                raise InDoubt(f"the results of batch {batch_id} were cut off ({type(error).__name__})") from error

    def create_batch(self, requests: Sequence[dict[str, Any]]) -> str:
        """Send a batch, once, and return its id; Rejected, Busy and InDoubt say what an error means for money."""
        with _explained("take a batch", is_paid=True):
            return self._once.messages.batches.create(requests=requests).id  # type: ignore[arg-type]  # plain dicts

    def message(self, params: dict[str, Any]) -> Message:
        """Ask one request at once, at full price; sent exactly once, too, with the same errors."""
        with _explained("answer", is_paid=True):
            answer: Message = self._once.messages.create(**params)
            return answer

    def count_tokens(self, params: dict[str, Any]) -> int:
        """Input tokens of a request, counted by the server; costs nothing."""
        with _explained("count tokens"):
            counted = {name: value for name, value in params.items() if name != "max_tokens"}
            return int(self._client.messages.count_tokens(**counted).input_tokens)


def size_of(batch: MessageBatch) -> int:
    """How many requests a batch holds."""
    return sum(batch.request_counts.model_dump().values())


def is_about_account(words: str) -> bool:
    """Whether an error is about the account (no credit, a usage limit, disabled); the API calls that an invalid request, too."""
    return re.search("credit|billing|usage limit|organization|workspace", words, re.IGNORECASE) is not None


def in_words(text: str) -> str:
    """What a server said, fit to be shown and written: one line, at most 300 characters, no key."""
    return printable(re.sub(r"sk-[\w-]{8,}", "sk-...", text), 300)


@contextmanager
def _explained(doing: str, *, is_paid: bool = False) -> Iterator[None]:
    """Turns the SDK's errors into ours, without a request's headers; a paid request is in doubt unless its status refuses it."""
    try:
        yield
    except anthropic.APIError as error:
        status = error.status_code if isinstance(error, anthropic.APIStatusError) else 0
        mend = f"; {MENDS[status]}" if status in MENDS else ""
        words = f"Anthropic's API did not {doing}: {f'{status} ' if status else ''}{in_words(error.message)}{mend}"
        if is_paid and isinstance(error, anthropic.RateLimitError):
            wait = error.response.headers.get("retry-after", "")
            raise Busy(words, status, float(wait) if wait.replace(".", "", 1).isdecimal() else None) from None
        is_refused = 400 <= status < 500 and status != 408 if is_paid else status in (404, 410)
        if is_refused:
            raise Rejected(words, status) from None
        raise (InDoubt if is_paid else WhetstoneError)(words) from None
