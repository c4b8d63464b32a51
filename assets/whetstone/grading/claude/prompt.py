"""The prompt: a guideline and a pair become the parameters of one Messages request, and its answer becomes a grade or a failure.

The template is part of the model ([A2] arXiv 2606.25871: a drift of template costs 10-15 points), so it has a version. Instructions
and guideline stand in the system text, the same for all pairs and so cached; the user's message holds the pair alone, as data.

Product text is hostile until shown otherwise: cleaned of all that can't be seen, cut, and written as JSON whose `<`, `>` and `&` are
escaped, so nothing in it closes the data block. An answer that isn't exactly what was asked for is a failure, never a guess or mended.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from whetstone.grading.guideline import Guideline, Level

if TYPE_CHECKING:
    from anthropic.types import Message

PROMPT = 1  # raise it when the code below makes another prompt of the same pair; texts, schema and limits count by themselves
MAX_TOKENS = 1024  # thinking is on by default and counts; the answer itself takes about 60 tokens
EFFORT = "low"
QUERY_CHARS, PRODUCT_CHARS = 300, 4000
RATIONALE_CHARS, FAILURE_CHARS, WRITTEN_CHARS = 300, 200, 100
OPEN, CLOSE = "<pair_data>", "</pair_data>"

# Printable by Unicode's classes and yet not seen, so fit to smuggle text: grapheme joiner, Hangul fillers, Khmer inherent vowels,
# Mongolian and other variation selectors.
_RANGES = ((0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0))
_UNSEEN = frozenset(chr(code) for low, high in (*_RANGES, (0xE0100, 0xE01EF)) for code in range(low, high + 1))


def texts_of(name: str) -> tuple[str, str]:
    """The templates of a system text and a user's message: `<name>.yml` beside this file."""
    texts = yaml.safe_load((Path(__file__).parent / f"{name}.yml").read_text(encoding="utf-8"))
    return texts["system"], texts["user"]


_SYSTEM, _USER = texts_of("grade")


class Answer(NamedTuple):
    """A legal grade with its confidence (0..1) and rationale, or no grade, confidence 0 and the `failure`."""

    grade: int | None
    confidence: float
    rationale: str | None
    failure: str | None


class Prompt:
    """The prompt of one guideline: `version` hashes all of it that can change an answer (not the model); `terms` are those of `read`."""

    def __init__(self, guideline: Guideline) -> None:
        self.terms: dict[str, Any] = {"grades": list(guideline.grades)}
        self.system = _SYSTEM.format(
            name=guideline.name,
            description=guideline.description,
            levels="\n\n".join(_level(level) for level in guideline.levels),
            notes="\n".join(f"- {note}" for note in guideline.policy_notes) or "None.",
            grades=", ".join(map(str, guideline.grades)),
            open=OPEN,
            close=CLOSE,
        )
        # Structured outputs know no minimum and maximum, so the range of the confidence is checked when the answer is read.
        grade = {"type": "integer", "enum": list(guideline.grades)}
        self.schema = schema_of(rationale={"type": "string"}, grade=grade, confidence={"type": "integer"})
        self.version = version_of(PROMPT, EFFORT, MAX_TOKENS, self.system, _USER, self.schema, QUERY_CHARS, PRODUCT_CHARS)

    def user(self, query: str, text: str) -> str:
        """The user's message: one data block, whatever the query and the product text hold."""
        return _USER.format(open=OPEN, data=as_data(query=(query, QUERY_CHARS), product=(text, PRODUCT_CHARS)), close=CLOSE)

    def params(self, query: str, text: str, model: str) -> dict[str, Any]:
        """All parameters of one request, for `messages.create` or as the `params` of a batch's request; no sampling, no tools."""
        return {
            "model": model,
            "max_tokens": MAX_TOKENS,
            "system": [{"type": "text", "text": self.system, "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": self.user(query, text)}],
            "output_config": {"effort": EFFORT, "format": {"type": "json_schema", "schema": self.schema}},
        }


def schema_of(**properties: Any) -> dict[str, Any]:
    """The schema of an object of exactly these properties, in this order."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def version_of(*declared: Any) -> str:
    """A hash of all that makes a prompt, 16 hex digits."""
    return hashlib.sha256(json.dumps(declared).encode()).hexdigest()[:16]


def as_data(**texts: tuple[str, int]) -> str:
    """Named texts, cleaned and cut to so many characters, and `cut`, the names of the longer ones: JSON that none can break out of."""
    data: dict[str, Any] = {}
    for name, (value, limit) in texts.items():
        data[name], is_cut = _clean(value, limit)
        if is_cut:
            data.setdefault("cut", []).append(name)
    encoded = json.dumps(data, ensure_ascii=False)
    # these three occur in JSON inside strings alone, where the escape means the same character
    return encoded.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def read(message: Message, terms: Mapping[str, Any]) -> Answer:
    """The answer in a message that was asked for under these terms (`Prompt.terms`); never raises for what the message says."""
    return read_query(message) if terms.get("kind") == "query" else read_grade(message, terms["grades"])


def read_grade(message: Message, grades: Collection[int]) -> Answer:
    """One of `grades`; failures are 'refusal', 'max_tokens', 'malformed: ...', 'grade out of range' and 'confidence out of range'."""
    answer = _object(message, {"rationale": str, "grade": int, "confidence": int})
    if isinstance(answer, str):
        return _failed(answer)
    if answer["grade"] not in grades:
        return _failed("grade out of range")
    if not 0 <= answer["confidence"] <= 100:
        return _failed("confidence out of range")
    return Answer(answer["grade"], answer["confidence"] / 100, _clean(answer["rationale"], RATIONALE_CHARS)[0], None)


def read_query(message: Message) -> Answer:
    """The query that a message writes, as its `rationale` (the ledger keeps it so, under grade 0, which means nothing here)."""
    answer = _object(message, {"query": str})
    if isinstance(answer, str):
        return _failed(answer)
    text, is_cut = _clean(answer["query"], WRITTEN_CHARS)
    return _failed("query out of range") if is_cut or not text else Answer(0, 1.0, text, None)


def _object(message: Message, kinds: Mapping[str, type]) -> dict[str, Any] | str:
    """The object of exactly these fields that a message holds, or why there is none."""
    if message.stop_reason in ("refusal", "max_tokens"):
        return str(message.stop_reason)
    if message.stop_reason != "end_turn":
        return f"malformed: stopped by {message.stop_reason}"
    texts = [block.text for block in message.content or () if block.type == "text"]
    if len(texts) != 1:
        return f"malformed: {len(texts)} text blocks, need one"
    try:
        answer = json.loads(texts[0], object_pairs_hook=_without_twins)
    except (ValueError, TypeError, RecursionError) as error:  # brackets nested by the thousand; a text that is null
        return f"malformed: {error} in {texts[0]}"
    # `type is`, because a bool is an int, too
    if type(answer) is not dict or {key: type(value) for key, value in answer.items()} != kinds:
        return f"malformed: need an object of {', '.join(kinds)}, got {texts[0]}"
    return answer


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys differ: of two grades in one answer, none is the answer."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def _failed(why: str) -> Answer:
    return Answer(None, 0.0, None, _clean(why, FAILURE_CHARS)[0])


def _level(level: Level) -> str:
    parts = [f"## Grade {level.grade}: {level.name}", level.definition]
    like_it = "Looks like it, and belongs to another level:", level.negative_examples
    for title, examples in (("Belongs here:", level.positive_examples), like_it):
        listed = [f"- query: {each.query} | product: {each.product} | why: {each.why}" for each in examples]
        parts += [title, *listed] if listed else []
    return "\n".join(parts)


def _clean(text: str, limit: int) -> tuple[str, bool]:
    """At most `limit` visible characters on one line, NFKC, and whether there were more."""
    seen = "".join(c for c in text if c.isspace() or (c.isprintable() and c not in _UNSEEN))
    seen = " ".join(seen.split())
    # cut first: NFKC takes quadratic time for long runs of combining marks (seconds for 100 kB)
    normal = " ".join(unicodedata.normalize("NFKC", seen[:limit]).split())
    return normal[:limit].rstrip(), max(len(seen), len(normal)) > limit
