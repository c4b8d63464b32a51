"""A small shop that the retrieval tests share: a charger and its cable, a case *for* a phone, sofas, and texts nobody wants."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from whetstone.retrieval.channels import ChannelInputs

HOSTILE = ["", "  \n", "?!...--", "🦄🦄", "'; drop table x; --", "a/b\\c,d\"e'f", "naïve café", "x" * 100_000, "word " * 20_000]


@pytest.fixture
def hostile() -> list[str]:
    return HOSTILE


@pytest.fixture
def make_products() -> Callable[..., pd.DataFrame]:
    def make(*rows: dict[str, Any]) -> pd.DataFrame:
        base = {"title": "", "brand": None, "category_path": [], "attributes": {}}
        frame = pd.DataFrame([{"product_id": f"p{number}", **base, **row} for number, row in enumerate(rows)])
        if "text" not in frame:
            frame["text"] = frame["title"]
        return frame

    return make


@pytest.fixture
def shop(make_products: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    return make_products(
        {
            "title": "Volta USB C Charger, 30W, for iPhone",
            "brand": "Volta",
            "category_path": ["Electronics", "Chargers"],
            "attributes": {"colour": "white"},
        },
        {"title": "Kern USB C Cable with Charger Hook", "brand": "Kern", "category_path": ["Electronics", "Cables"]},
        {"title": "Kern Charger 20W", "brand": "Kern", "category_path": ["Electronics", "Chargers"]},
        {"title": "Volta USB C Hub - White", "brand": "Volta", "category_path": ["Electronics", "Hubs"], "attributes": {"colour": "white"}},
        {"title": "Slim Case for iPhone 12", "category_path": ["Electronics", "Cases, Holsters & Sleeves"]},
        {"title": "Grey Sofa", "category_path": np.array(["Furniture", "Sofas"], dtype=object), "attributes": {"colour": "grey/stone"}},
    )


@pytest.fixture
def make_inputs() -> Callable[..., ChannelInputs]:
    def make(
        products: pd.DataFrame, texts: list[str], judgments: pd.DataFrame | None = None, synonyms: tuple[str, ...] = ()
    ) -> ChannelInputs:
        def refuse(*_: object) -> Any:
            raise AssertionError("a lexical channel asked for vectors")

        if judgments is None:
            judgments = pd.DataFrame({"query_id": [], "text": [], "product_id": [], "grade": []})
        queries = pd.DataFrame({"query_id": [f"q{number}" for number in range(len(texts))], "text": texts})
        settings, embedder = SimpleNamespace(bm25_k1=1.2, bm25_b=0.5), SimpleNamespace(queries=refuse, products=refuse)
        return ChannelInputs(products, queries, judgments, settings, embedder, synonyms)  # type: ignore[arg-type]

    return make
