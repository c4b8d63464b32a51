"""Requests that the SDK sends to the stand-in server, for its own tests."""

from __future__ import annotations

from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {
        "rationale": {"type": "string"},
        "grade": {"type": "integer", "enum": [4, 2, 1, 0]},
        "confidence": {"type": "integer"},
    },
    "required": ["rationale", "grade", "confidence"],
    "additionalProperties": False,
}


def params(user: str = "usb c cable", **changes: Any) -> dict[str, Any]:
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    base = {"model": "claude-haiku-5-5", "max_tokens": 400, "messages": [{"role": "user", "content": user}], "output_config": form}
    return base | changes


def items(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [{"custom_id": f"p{number}", "params": params(f"pair {number}", **changes)} for number in range(count)]


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")
