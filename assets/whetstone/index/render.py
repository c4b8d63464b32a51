"""Search results as text: JSON lines for programs, a table for people."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

FIELDS = ("rank", "product_id", "title", "category", "score")


def render_jsonl(texts: Sequence[str], results: pd.DataFrame) -> Iterator[str]:
    r"""A line `{"query", "results": [{"rank", "product_id", "title", "category", "score"}]}` a text, of what `Searcher.search` answered.

    Non-ASCII characters are escaped: some are line breaks to a reader that splits lines (U+2028 in a title).
    """
    for text, found in zip(texts, _by_query(len(texts), results), strict=True):
        yield json.dumps({"query": text, "results": [dict(zip(FIELDS, row, strict=True)) for row in found]})


def render_table(texts: Sequence[str], results: pd.DataFrame) -> str:
    """A block of lines a query: its text, then rank, score, category, product id and title of each product.

    Control characters become spaces and long texts are cut, so that no product can garble a terminal.
    """
    lines: list[str] = []
    for text, found in zip(texts, _by_query(len(texts), results), strict=True):
        lines.append(f"{_plain(text, 100)!r}" if found else f"{_plain(text, 100)!r}: nothing found")
        lines += [
            f"{rank:>4}  {score:8.4f}  {_plain(category, 24):24}  {_plain(product_id, 16):16}  {_plain(title, 90)}"
            for rank, product_id, title, category, score in found
        ]
    return "\n".join(lines)


def _by_query(count: int, results: pd.DataFrame) -> Iterator[list[tuple[int, str, str, str, float]]]:
    """The fields of each query's rows; results are ordered by query_index."""
    ends = np.searchsorted(results["query_index"].to_numpy(dtype=np.int64), np.arange(count + 1))
    columns = [results[name].tolist() for name in FIELDS]
    for start, end in pairwise(ends):
        yield list(zip(*(column[start:end] for column in columns), strict=True))


def _plain(text: str, width: int) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: width + 1])
    return shown if len(shown) <= width else shown[: width - 1] + "…"
