"""Synthetic queries by Claude: one short query for one product's text ([B] arXiv 2602.17654, queries from item features).

A `ClaudeAnnotator` whose pairs have no query yet writes it; the ledger keeps it like a grade, as the answer's rationale.
"""

from typing import Any

import pandas as pd

from whetstone.grading.claude import prompt as base
from whetstone.grading.claude.annotator import ClaudeAnnotator
from whetstone.grading.ledger import Entry, Ledger, grade_through

WRITER = "claude_queries"
_SYSTEM, _USER = base.texts_of("query")


class QueryPrompt(base.Prompt):
    """The prompt that asks for a query. It is its own guideline: another guideline of the shop buys no query anew."""

    name = WRITER

    def __init__(self) -> None:
        self.system, self.terms = _SYSTEM.format(open=base.OPEN, close=base.CLOSE), {"kind": "query"}
        self.schema = base.schema_of(query={"type": "string"})
        limits = base.PRODUCT_CHARS, base.WRITTEN_CHARS
        self.version = base.version_of(base.EFFORT, base.MAX_TOKENS, self.system, _USER, self.schema, *limits)

    def user(self, query: str, text: str) -> str:
        """The user's message: one data block with the product alone, cleaned and fenced as for a grade."""
        return _USER.format(open=base.OPEN, data=base.as_data(product=(text, base.PRODUCT_CHARS)), close=base.CLOSE)


def write_queries(writer: ClaudeAnnotator, products: pd.DataFrame, ledger: Ledger, entry: Entry) -> tuple[dict[Any, str], str]:
    """The query, in lower case, of each product (product_id, text, category) that has or can get one; why another has none, or ''."""
    answers = grade_through(ledger, writer, products.assign(query_id="", query=""), QueryPrompt(), entry)
    is_written = answers["grade"].notna()
    written = answers[is_written].set_index("product_id")["rationale"].str.lower().to_dict()
    return written, next(iter(answers.loc[~is_written, "failure"]), "")
