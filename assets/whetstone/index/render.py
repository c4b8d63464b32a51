"""Search results as text: JSON lines for programs, a table for people."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from whetstone.platform.printable import printable


def render_jsonl(texts: Sequence[str], results: pd.DataFrame) -> Iterator[str]:
    r"""A line `{"query", "results": [{"rank", "product_id", "title", "category", "score"}]}` a text, of what `Searcher.search` answered.

    Non-ASCII characters are escaped: some are line breaks to a reader that splits lines (U+2028 in a title).
    """
    for text, found in zip(texts, _by_query(len(texts), results), strict=True):
        yield json.dumps({"query": text, "results": found})


def render_table(texts: Sequence[str], results: pd.DataFrame) -> str:
    """A block of lines a query: its text, then rank, score, category, product id and title of each product; long texts are cut."""
    lines: list[str] = []
    for text, found in zip(texts, _by_query(len(texts), results), strict=True):
        lines.append(f"{printable(text, 100)!r}{'' if found else ': nothing found'}")
        for row in found:
            category, product_id = printable(row["category"], 24), printable(row["product_id"], 16)
            lines.append(f"{row['rank']:>4}  {row['score']:8.4f}  {category:24}  {product_id:16}  {printable(row['title'], 90)}")
    return "\n".join(lines)


def _by_query(count: int, results: pd.DataFrame) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for row in results.to_dict("records"):
        found[row.pop("query_index")].append(row)
    return found
