"""The text of a product, compiled from a template: once to a SQL expression for the landing, once to Python.

    {title} | {category_1} > {category_2}          placeholders, with the separators written between them
    {title} {attributes.color} - {description:200}  an attribute; a value cut to its first 200 characters

Placeholders: `title`, `brand`, `description`, `category_1` .. `category_9` (levels of the path), `category_leaf`, `attributes.<name>`.
A value that is missing or blank vanishes together with the separator *before* it, and the first value that is there has none.
White space is collapsed. Default `{title} | {category_1} > {category_2}`: [B] section 3, name and two levels of the path.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from whetstone.platform.errors import WhetstoneError

DEFAULT_TEMPLATE = "{title} | {category_1} > {category_2}"

# One class that Python's re and DuckDB's RE2 read alike (their own \s differ): control characters, space, and Unicode's spaces.
_SPACE = "\\x00-\\x20\x7f\x85\xa0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
_COLLAPSE = re.compile(f"[{_SPACE}]+")


@dataclass(frozen=True)
class _Part:
    before: str
    field: str
    cut: int | None


@lru_cache
def _parse(template: str) -> tuple[tuple[_Part, ...], str]:
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise WhetstoneError(f"text template {template!r}: {error}; write a brace of the text twice") from None
    parts, literal = [], ""
    for before, field, cut, conversion in pieces:
        literal += before
        if field is None:
            continue
        if not re.fullmatch(r"title|brand|description|category_[1-9]|category_leaf|attributes\..+", field, re.DOTALL) or conversion:
            raise WhetstoneError(
                f"text template {template!r}: unknown placeholder {{{field}}}; there are title, brand, description, "
                "category_1 to category_9, category_leaf and attributes.<name>"
            )
        if cut and not re.fullmatch(r"[1-9][0-9]{0,5}", cut):
            raise WhetstoneError(f"text template {template!r}: {{{field}:{cut}}} must be cut to a number of characters, as {{{field}:200}}")
        parts.append(_Part(literal, field, int(cut) if cut else None))
        literal = ""
    if not any(part.field == "title" for part in parts):
        raise WhetstoneError(f"text template {template!r} needs {{title}}: a product whose other values are missing would have no text")
    return tuple(parts), literal


def check_template(template: str) -> str:
    """The template itself.

    Raises:
        WhetstoneError: an unknown placeholder, a bad cut or brace, or no `{title}`; the message names it.
    """
    _parse(template)
    return template


def product_text(row: Mapping[str, Any], template: str = DEFAULT_TEMPLATE) -> str:
    """The text of one product.

    Args:
        row: `title`, `brand`, `description` (str or None), `category_path` (list of str or None), `attributes` (dict or None).
        template: see the module's docstring.
    """
    parts, after = _parse(template)
    text, value = "", ""
    for part in parts:
        value = _COLLAPSE.sub(" ", _value(row, part.field) or "").strip(" ")
        value = value[: part.cut].strip(" ")
        if value:
            text += (part.before if text or part is parts[0] else "") + value
    return _COLLAPSE.sub(" ", text + (after if value else "")).strip(" ")


def text_sql(template: str = DEFAULT_TEMPLATE) -> str:
    """The same as a DuckDB SQL expression over the columns of the products contract."""
    parts, after = _parse(template)
    values = [_value_sql(part) for part in parts]
    printed = []
    for i, (part, value) in enumerate(zip(parts, values, strict=True)):
        before = _quote(part.before) if i == 0 else f"if(coalesce({', '.join(values[:i])}) is null, '', {_quote(part.before)})"
        printed.append(f"coalesce({before} || {value}, '')")
    printed.append(f"if({values[-1]} is null, '', {_quote(after)})")
    return collapse_sql(" || ".join(printed))


def text_hash(text: str) -> str:
    """SHA-256 of a text, as 64 hex digits; DuckDB's `sha256(text)` is the same."""
    return hashlib.sha256(text.encode()).hexdigest()


def collapse_sql(expression: str) -> str:
    """SQL: an expression with its white space collapsed and trimmed."""
    return f"trim(regexp_replace({expression}, {_quote(f'[{_SPACE}]+')}, ' ', 'g'))"


def blank_sql(expression: str) -> str:
    """SQL: whether nothing but white space is in an expression (NULL stays NULL)."""
    return f"(not regexp_matches({expression}, {_quote(f'[^{_SPACE}]')}))"


def _value(row: Mapping[str, Any], field: str) -> str | None:
    if field.startswith("attributes."):
        return (row.get("attributes") or {}).get(field.removeprefix("attributes."))
    if field.startswith("category_"):
        path = row.get("category_path")
        path = [] if path is None else list(path)
        level = len(path) if field == "category_leaf" else int(field.removeprefix("category_"))
        return path[level - 1] if 1 <= level <= len(path) else None
    return row.get(field)


def _value_sql(part: _Part) -> str:
    if part.field.startswith("attributes."):
        value = f"attributes[{_quote(part.field.removeprefix('attributes.'))}]"
    elif part.field.startswith("category_"):
        level = part.field.removeprefix("category_")
        value = f"category_path[{'-1' if level == 'leaf' else level}]"
    else:
        value = part.field
    collapsed = collapse_sql(value)
    return f"nullif({collapsed if part.cut is None else f'trim(left({collapsed}, {part.cut}))'}, '')"


def _quote(literal: str) -> str:
    return "'" + literal.replace("'", "''") + "'"
