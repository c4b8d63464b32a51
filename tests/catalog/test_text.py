from __future__ import annotations

import re
import string
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whetstone.catalog.text import DEFAULT_TEMPLATE, blank_sql, text_sql
from whetstone.platform.errors import WhetstoneError

CONNECTION = duckdb.connect(":memory:")
TEMPLATES = [
    DEFAULT_TEMPLATE,
    "{brand} {title}, {attributes.size}/{attributes.it's} | {category_leaf}.",
    "Product: {title:5} by {brand:3}; {description:12} -- {category_2}  {category_9}\n{{end}}",
]
# Unicode spaces, zero-width joiner emoji, combining marks, quotes, and characters that only some regex engines call white space.
TEXTS = st.one_of(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=12),
    st.text(alphabet="ab '\"\t\n\r\x0b\x1c\x7f\x85\xa0\u2003\u200b\u200d\u3000\ufeffé\u0301👩🦰|>", max_size=20),
)
# Control characters, space, and Unicode's spaces.
SPACE = "\x00-\x20\x7f\x85\xa0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"


def product_text(row: dict[str, Any], template: str) -> str:
    """The same in Python, as the oracle."""
    path, text, value, is_first = row.get("category_path") or [], "", "", True
    pending = ""
    for before, field, cut, _ in string.Formatter().parse(template):
        pending += before
        if field is None:
            continue
        kind, _, name = field.partition("." if field.startswith("attributes.") else "_")
        if kind == "attributes":
            value = (row.get("attributes") or {}).get(name)
        elif kind == "category":
            level = len(path) if name == "leaf" else int(name)
            value = path[level - 1] if 1 <= level <= len(path) else None
        else:
            value = row.get(field)
        value = collapse(collapse(value or "")[: int(cut) if cut else None])
        if value:
            text += (pending if text or is_first else "") + value
        pending, is_first = "", False
    return collapse(text + (pending if value else ""))


def collapse(text: str) -> str:
    return re.sub(f"[{SPACE}]+", " ", text).strip(" ")


def in_sql(row: dict[str, Any], template: str) -> str:
    select = f"select {text_sql(template)} from (select $title as title, $brand as brand, $description as description, "
    select += "$category_path::varchar[] as category_path, map_from_entries(list_transform($keys::varchar[], "
    select += "lambda key, i: {'k': key, 'v': ($values::varchar[])[i]})) as attributes)"
    attributes = row["attributes"] or {}
    bound = {key: value for key, value in row.items() if key != "attributes"}
    found = CONNECTION.execute(select, bound | {"keys": list(attributes), "values": list(attributes.values())}).fetchone()
    assert found is not None
    return found[0]


def product(**changes: Any) -> dict[str, Any]:
    return {
        "title": "Spade",
        "brand": "Acme",
        "description": None,
        "category_path": ["Garden", "Tools", "Spades"],
        "attributes": {},
    } | changes


@pytest.mark.parametrize(
    ("template", "changes", "expected"),
    [
        (DEFAULT_TEMPLATE, {}, "Spade | Garden > Tools"),
        (DEFAULT_TEMPLATE, {"category_path": ["Garden"]}, "Spade | Garden"),
        (DEFAULT_TEMPLATE, {"category_path": None}, "Spade"),
        (DEFAULT_TEMPLATE, {"title": "\n Spade\u00a0 \t red "}, "Spade red | Garden > Tools"),
        ("{brand} - {title}", {"brand": " "}, "Spade"),
        ("{title} by {brand}, {attributes.size}", {"brand": None, "attributes": {"size": "M"}}, "Spade, M"),
        ("{title:3} {description:6}", {"description": "dig   dig it"}, "Spa dig di"),
        ("{title} | {category_leaf}!", {}, "Spade | Spades!"),
        ("{title} | {category_leaf}!", {"category_path": []}, "Spade"),
        ("{{{title}}}", {}, "{Spade}"),
        ("{title} {attributes.a b}", {"attributes": {"a b": "x"}}, "Spade x"),
    ],
)
def test_templates_by_hand(template: str, changes: dict[str, Any], expected: str) -> None:
    assert product_text(product(**changes), template) == expected
    assert in_sql(product(**changes), template) == expected


@settings(max_examples=80, deadline=None)
@given(
    template=st.sampled_from(TEMPLATES),
    title=TEXTS,
    brand=st.none() | TEXTS,
    description=st.none() | TEXTS,
    category_path=st.none() | st.lists(TEXTS, max_size=3),
    attributes=st.none() | st.dictionaries(st.sampled_from(["size", "it's", "x"]), st.none() | TEXTS),
)
def test_sql_and_python_make_the_same_text(template: str, **row: Any) -> None:
    text = product_text(row, template)
    assert in_sql(row, template) == text
    assert text == " ".join(text.split(" ")).strip()


@given(TEXTS)
def test_blank_means_that_the_text_is_empty(title: str) -> None:
    found = CONNECTION.execute(f"select {blank_sql('title')} from (select $title as title)", {"title": title}).fetchone()
    assert found == (product_text({"title": title}, "{title}") == "",)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{title} {price}", r"unknown placeholder \{price\}"),
        ("{title!r}", "unknown placeholder"),
        ("{title:x}", "number of characters"),
        ("{title", "write a brace of the text twice"),
        ("{brand}", r"needs \{title\}"),
    ],
)
def test_bad_templates_are_refused(template: str, said: str) -> None:
    with pytest.raises(WhetstoneError, match=said):
        text_sql(template)
