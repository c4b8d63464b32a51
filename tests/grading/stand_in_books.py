"""One message of the stand-in Anthropic API: checked, answered, and entered in the stand-in's own books.

Token counts are ceil(UTF-8 bytes / 4) of each piece sent: every system block, every message block, the schema as JSON. System blocks up
to the last `cache_control` are cached per model and text: the first request writes them, later ones read them. The price table and
all sums are the server's own, in exact decimals, so that a ledger which agrees with `Books` agrees by more than construction.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

PRICES = {  # model: US dollars per million tokens in, out
    "claude-haiku-5-5": (Decimal("0.10"), Decimal("0.50")),
    "claude-sonnet-5-5": (Decimal(2), Decimal(10)),
    "claude-opus-5-5": (Decimal(4), Decimal(20)),
}
CACHE_WRITE = {"5m": Decimal("1.25"), "1h": Decimal(2)}  # times the input price, by time to live
CACHE_READ = Decimal("0.1")
BATCH = Decimal("0.5")
MILLION = Decimal(1_000_000)

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
SAMPLING = ("temperature", "top_p", "top_k")
KNOWN = {"model", "messages", "system", "thinking", "output_config"}
CREATE_ONLY = {"max_tokens", "metadata", "stop_sequences", "service_tier"}
# what structured output refuses in a schema
UNSUPPORTED = {
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
}


class ApiError(Exception):
    """An error as the API tells it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def body(self, request_id: str | None) -> dict[str, Any]:
        """The JSON body, or the `error` of an errored batch item."""
        error = {"type": ERROR_TYPES.get(self.status, "api_error"), "message": str(self)}
        return {"type": "error", "error": error, "request_id": request_id}


@dataclass(frozen=True)
class Reply:
    """What the model says. A `thinking` block, if any, comes before the text; `usage` replaces single counts of the books."""

    text: str
    stop_reason: str = "end_turn"
    thinking: str | None = None
    thinking_tokens: int = 8
    usage: dict[str, int] = field(default_factory=dict)

    def cut(self) -> Reply:
        """The same, ended by max_tokens half-way."""
        return replace(self, text=self.text[: len(self.text) // 2], stop_reason="max_tokens")


def graded(grade: int, confidence: int = 90, rationale: str = "as said", **rest: Any) -> Reply:
    """A well-formed answer, whether or not its numbers are in range."""
    return Reply(json.dumps({"rationale": rationale, "grade": grade, "confidence": confidence}), **rest)


def refused() -> Reply:
    """No text at all, stop reason refusal."""
    return Reply("", stop_reason="refusal")


def malformed() -> Reply:
    """Text that ended normally and isn't JSON."""
    return Reply('{"rationale": "it says \\"hello", "grade": ')


def default_answer(params: dict[str, Any]) -> Reply:
    """What the request's schema allows, chosen by the SHA-256 of the user message; half of the answers show a thinking block."""
    digest = hashlib.sha256(user_text(params).encode()).digest()
    schema = _schema(params)
    thinks = digest[2] % 2 and params.get("thinking", {}).get("type") != "disabled"
    thinking = "Let me compare the two." if thinks else None
    if schema is None:
        return Reply(f"It is {digest.hex()[:8]}.", thinking=thinking)
    answer: dict[str, Any] = {}
    for name, rule in schema["properties"].items():
        if "enum" in rule:
            answer[name] = rule["enum"][digest[0] % len(rule["enum"])]
        else:
            answer[name] = digest[1] % 101 if rule["type"] == "integer" else f"Because of {digest.hex()[:8]}."
    return Reply(json.dumps(answer), thinking=thinking)


def count(text: str) -> int:
    """ceil(bytes / 4)."""
    return -(-len(text.encode()) // 4)


def user_text(params: dict[str, Any]) -> str:
    """All that the user's turns say."""
    return "\n".join(text for message in params["messages"] if message["role"] == "user" for text in _texts(message["content"]))


def input_tokens(params: dict[str, Any]) -> int:
    """All tokens of the input, cached or not: what token counting tells."""
    schema = _schema(params)
    pieces = [*_texts(params.get("system", [])), *(text for message in params["messages"] for text in _texts(message["content"]))]
    return sum(map(count, pieces)) + (count(json.dumps(schema)) if schema else 0)


def check(params: Any, *, counting: bool = False) -> None:
    """Raise ApiError for what the API refuses in the parameters of a message, or of token counting."""
    if not isinstance(params, dict):
        raise ApiError(400, "a JSON object is required")
    for name in SAMPLING:
        _require(name not in params, f"`{name}` is deprecated for this model")
    for name in params:
        _require(name in KNOWN or (not counting and name in CREATE_ONLY), f"{name}: Extra inputs are not permitted")
    _require("model" in params, "model: Field required")
    if params["model"] not in PRICES:
        raise ApiError(404, f"model: {params['model']}")
    most = params.get("max_tokens")
    _require(counting or (type(most) is int and most >= 1), "max_tokens: an integer of at least 1 is required")
    messages = params.get("messages")
    _require(isinstance(messages, list) and bool(messages), "messages: at least one message is required")
    for message in messages or []:
        _require(message.get("role") in ("user", "assistant"), "messages: role must be user or assistant")
        _check_text(message.get("content"), "messages")
    _require((messages or [{}])[0]["role"] == "user", "messages: the first must use the user role")
    if "system" in params:
        _check_text(params["system"], "system")
    _require(params.get("thinking", {}).get("type", "adaptive") in ("adaptive", "enabled", "disabled"), "thinking.type: unknown")
    config = params.get("output_config", {})
    _require(config.get("effort", "low") in ("low", "medium", "high", "xhigh", "max"), "output_config.effort: unknown")
    if (form := config.get("format")) is not None:
        _require(
            form.get("type") == "json_schema" and isinstance(form.get("schema"), dict), "output_config.format: json_schema is required"
        )
        _check_schema(form["schema"])


@dataclass(frozen=True)
class Charge:
    """One thing paid for. `pair` is a hash of (model, system, user content); `custom_id` is None for a plain message."""

    custom_id: str | None
    batch_id: str | None
    model: str
    tokens: dict[str, int]
    cost: Decimal
    pair: str


class Books:
    """The server's own bill."""

    def __init__(self) -> None:
        self.bill: list[Charge] = []
        self._cached: set[tuple[str, str]] = set()

    def enter(
        self, params: dict[str, Any], reply: Reply, *, message_id: str, custom_id: str | None = None, batch_id: str | None = None
    ) -> dict:
        """Charge a message and return it as the API does; where it exceeds `max_tokens` it is cut and paid up to there."""
        room = max(0, params["max_tokens"] - reply.thinking_tokens)
        if count(reply.text) > room:
            reply = replace(reply, text=reply.text.encode()[: 4 * room].decode(errors="ignore"), stop_reason="max_tokens")
        life, written, read = self._cache(params)
        tokens = {
            "input_tokens": input_tokens(params) - written - read,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "output_tokens": count(reply.text) + reply.thinking_tokens,
        } | reply.usage
        cost = price(params["model"], tokens, life=life, is_batch=batch_id is not None)
        self.bill.append(Charge(custom_id, batch_id, params["model"], tokens, cost, pair_hash(params)))
        by_life = {f"ephemeral_{each}_input_tokens": tokens["cache_creation_input_tokens"] * (each == life) for each in CACHE_WRITE}
        thought = {"thinking_tokens": min(reply.thinking_tokens, tokens["output_tokens"])}
        tier = "standard" if batch_id is None else "batch"
        usage = {**tokens, "cache_creation": by_life, "output_tokens_details": thought, "service_tier": tier}
        content: list[dict[str, Any]] = (
            [] if reply.thinking is None else [{"type": "thinking", "thinking": reply.thinking, "signature": "c3RhbmQtaW4="}]
        )
        content += [{"type": "text", "text": reply.text, "citations": None}] if reply.text else []
        refusal = {"type": "refusal", "category": None, "explanation": None} if reply.stop_reason == "refusal" else None
        ends = {"stop_reason": reply.stop_reason, "stop_details": refusal, "stop_sequence": None}
        return {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": params["model"],
            "content": content,
            "usage": usage,
        } | ends

    def _cache(self, params: dict[str, Any]) -> tuple[str, int, int]:
        """Time to live of the system's cached part, its tokens if it is written now, its tokens if it was there."""
        system = params.get("system", [])
        marked = [place for place, block in enumerate(system) if isinstance(block, dict) and block.get("cache_control")]
        if not marked:
            return "5m", 0, 0
        texts = _texts(system)[: marked[-1] + 1]
        key, tokens = (params["model"], "\n".join(texts)), sum(map(count, texts))
        life = system[marked[-1]]["cache_control"].get("ttl", "5m")
        if key in self._cached:
            return life, 0, tokens
        self._cached.add(key)
        return life, tokens, 0


def price(model: str, tokens: dict[str, int], *, life: str = "5m", is_batch: bool = False) -> Decimal:
    """US dollars, exact."""
    into, out = PRICES[model]
    weighted = (
        tokens["input_tokens"] + tokens["cache_creation_input_tokens"] * CACHE_WRITE[life] + tokens["cache_read_input_tokens"] * CACHE_READ
    )
    return (weighted * into + tokens["output_tokens"] * out) / MILLION * (BATCH if is_batch else 1)


def pair_hash(params: dict[str, Any]) -> str:
    """SHA-256 of model, system and user content."""
    said = [params["model"], _texts(params.get("system", [])), user_text(params)]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def more_than_once(hashes: Iterable[str]) -> dict[str, int]:
    """What occurs more than once, and how often."""
    return {each: times for each, times in Counter(hashes).items() if times > 1}


def _texts(content: str | list[dict[str, Any]]) -> list[str]:
    return [content] if isinstance(content, str) else [block["text"] for block in content]


def _schema(params: dict[str, Any]) -> dict[str, Any] | None:
    return (params.get("output_config", {}).get("format") or {}).get("schema")


def _require(is_right: bool, problem: str) -> None:
    if not is_right:
        raise ApiError(400, problem)


def _check_text(content: Any, where: str) -> None:
    """A string or a list of text blocks, none empty; the stand-in knows no images, documents and tools."""
    if isinstance(content, str):
        return _require(bool(content) or where == "system", f"{where}: text must be non-empty")
    _require(isinstance(content, list) and bool(content), f"{where}: a text or a list of blocks is required")
    for block in content:
        _require(block.get("type") == "text" and bool(block.get("text")), f"{where}: text content blocks must be non-empty")
        control = block.get("cache_control") or {"type": "ephemeral"}
        _require(control.get("type") == "ephemeral" and control.get("ttl", "5m") in CACHE_WRITE, f"{where}: cache_control is unknown")


def _check_schema(schema: Any) -> None:
    if isinstance(schema, list):
        for inner in schema:
            _check_schema(inner)
    if isinstance(schema, dict):
        _require(not UNSUPPORTED & schema.keys(), f"output_config.format.schema: {sorted(UNSUPPORTED & schema.keys())} not supported")
        if schema.get("type") == "object":
            _require(schema.get("additionalProperties") is False, "output_config.format.schema: additionalProperties must be false")
        for name, inner in schema.items():
            _check_schema(list(inner.values()) if name in ("properties", "$defs") else inner)
