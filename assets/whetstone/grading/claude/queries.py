"""Synthetic queries by Claude: one short query for one product's text ([B] arXiv 2602.17654, queries from item features).

It is the prompt of a `ClaudeAnnotator` whose pairs have no query yet. So a written query is journalled, booked and kept like a grade: in
the ledger, as the answer's rationale, once for each product text, model and prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whetstone.grading.claude.prompt import (
    CLOSE,
    EFFORT,
    MAX_TOKENS,
    OPEN,
    PRODUCT_CHARS,
    WRITTEN_CHARS,
    Prompt,
    as_data,
    schema_of,
    texts_of,
    version_of,
)
from whetstone.grading.ledger import Entry, Ledger, grade_through

if TYPE_CHECKING:
    import pandas as pd

    from whetstone.grading.claude.annotator import ClaudeAnnotator

WRITER = "claude_queries"
_SYSTEM, _USER = texts_of("query")


class QueryPrompt(Prompt):
    """The prompt that asks for a query. It is its own guideline: another guideline of the shop buys no query anew."""

    name = WRITER

    def __init__(self) -> None:
        self.system, self.terms = _SYSTEM.format(open=OPEN, close=CLOSE), {"kind": "query"}
        self.schema = schema_of(query={"type": "string"})
        self.version = version_of(EFFORT, MAX_TOKENS, self.system, _USER, self.schema, PRODUCT_CHARS, WRITTEN_CHARS)

    def user(self, query: str, text: str) -> str:
        """The user's message: one data block with the product alone, cleaned and fenced as for a grade."""
        return _USER.format(open=OPEN, data=as_data(product=(text, PRODUCT_CHARS)), close=CLOSE)


def write_queries(writer: ClaudeAnnotator, products: pd.DataFrame, ledger: Ledger, entry: Entry) -> tuple[dict[Any, str], str]:
    """The query of each of the products (product_id, text, category) that has one or could be bought one, in lower case.

    Also why another has none: it could not be asked, or its answer failed ('' if there is none such).
    """
    answers = grade_through(ledger, writer, products.assign(query_id="", query=""), QueryPrompt(), entry)
    is_written = answers["grade"].notna()
    written = answers[is_written]
    whys = answers.loc[~is_written, "failure"]
    return dict(zip(written["product_id"], written["rationale"].str.lower(), strict=True)), next(iter(whys), "")
