"""Synthetic queries from item features ([B] arXiv 2602.17654, augmentation), for products that no train query teaches anything about.

A query is made for a low share of the products without any relevant train pair, and labelled by the cascade, beside its own product
also with likely negatives. [B]: +14 % recall@10 so; made for products that have positives already, the margins collapse.

Every draw is a hash of (seed, product), so that a product that is added or edited leaves the queries of all others as they were.

Products have product_id, text, title, brand, kind (last level of the category path) and attributes (a mapping); '' where there is none.
"""

import json
import string
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd

from whetstone.curriculum.ring import stable_hash
from whetstone.platform.printable import printable

NEGATIVES = 8  # likely negatives that are graded with each query
_PIECE_CHARS, _PIECE_WORDS, _TITLE_WORDS = 30, 3, 4  # the most of a brand, value or type; words of a title that name a product
_READ_CHARS = 500
_PAIR = ["query_id", "product_id"]
_NO_NAME = {"a", "an", "and", "at", "by", "for", "from", "in", "new", "of", "on", "or", "set", "the", "to", "with", "your"}


def choose_products(products: pd.DataFrame, positives: Collection[str], share: float, seed: int, restricted: bool = True) -> pd.DataFrame:
    """The products that get a query: `share` (0..1) of those that aren't among `positives`, or without `restricted` of all.

    `positives` are ids of the products that are relevant to some train query.
    """
    drawn = np.array([stable_hash(seed, "synthetic", product) < share * 2**64 for product in products["product_id"]], dtype=bool)
    return products[drawn & ~(products["product_id"].isin(positives) & restricted)]


def synthetic_queries(products: pd.DataFrame, seed: int, written: Mapping[Any, str], taken: Collection[str] = ()) -> pd.DataFrame:
    """One row per product: query_id, product_id, text, generator, facts; none without a word, none whose query is among `taken`.

    The text is that of `written` (product_id to a query of Claude's), else `template_query`'s; `generator` says which. Equal texts are
    one query, with the facts of its first product. `taken` are the shop's own queries, above all those of the test; one that differs in
    case or white space alone is the same.
    """
    known = {"", *map(_plain, taken)}
    rows = []
    for row in products.sort_values("product_id").to_dict("records"):
        text, facts = template_query(row, seed)
        if row["product_id"] in written:
            text, facts = written[row["product_id"]], {**facts, "wanted": {}}
        generator = "claude" if row["product_id"] in written else "template"
        query = f"synthetic-{sha256(text.encode()).hexdigest()[:16]}"
        rows.append((query, row["product_id"], text, generator, json.dumps(facts, sort_keys=True)))
    queries = pd.DataFrame(rows, columns=[*_PAIR, "text", "generator", "facts"], dtype=object)
    queries[["generator", "facts"]] = queries.groupby("query_id")[["generator", "facts"]].transform("first")
    return queries[~queries["text"].map(_plain).isin(known)].reset_index(drop=True)


def template_query(product: Mapping[Any, Any], seed: int) -> tuple[str, dict[str, Any]]:
    """A query as a shopper might type it, '' if the product has no words, and its facts: `type` and `wanted` (attribute: value).

    Type and one or two attributes, perhaps with the brand; where there are no attributes or the last category is a mere shelf ("Lamps &
    Shades"), the brand and what leads the title. Lower case, no word twice, some 150 characters at most.
    """
    draw = stable_hash(seed, "query", product["product_id"])
    kind, brand = _piece(product["kind"]), _piece(product["brand"])
    values = {key: value for key, value in product["attributes"].items() if key != "brand" and _piece(value)}
    if not values or not kind or set(product["kind"]) & set("&,/"):
        values, draw = {}, 0
        named = [word for word in _words(product["title"]) if word not in {*brand, *_NO_NAME}]
        kind = named[:_TITLE_WORDS] or _words(product["title"])[:_TITLE_WORDS]
    keys = sorted(values, key=lambda key: (stable_hash(seed, product["product_id"], key), key))[: 1 + draw % 2]
    wanted = {key: values[key] for key in keys}
    if brand and draw // 2 % 2 == 0:
        wanted = {"brand": product["brand"], **wanted}
    words = dict.fromkeys(word for piece in (*map(_piece, wanted.values()), kind) for word in piece)
    return " ".join(words), {"type": product["kind"], "wanted": wanted}


def pairs_to_grade(queries: pd.DataFrame, runs: Sequence[pd.DataFrame], count: int = NEGATIVES) -> pd.DataFrame:
    """Each query with its own products, and with the `count` best others that the runs (query_id, product_id, rank) found.

    Runs take turns, rank by rank. Returns query_id, product_id; own products of all queries first, then the best finds.
    """
    own = queries[_PAIR].assign(rank=0)
    ranked = pd.concat([own, *(run[[*_PAIR, "rank"]] for run in runs)], ignore_index=True).sort_values("rank", kind="stable")
    pairs = ranked.drop_duplicates(_PAIR)
    place = pairs[pairs["rank"] > 0].groupby("query_id").cumcount()
    return pairs.loc[~pairs.index.isin(place[place >= count].index), _PAIR].reset_index(drop=True)


def _plain(text: str) -> str:
    """A query as it is compared."""
    return " ".join(text.lower().split())


def _words(text: str) -> list[str]:
    """What a shopper could type of a text: lower-cased words with a letter or digit, without punctuation around them."""
    words = (word.strip(string.punctuation) for word in printable(text[:_READ_CHARS]).lower().split())
    return [word for word in words if len(word) <= _PIECE_CHARS and any(character.isalnum() for character in word)]


def _piece(text: str | None) -> list[str]:
    """The words of a brand, a value or a type, none where it is too long to be typed."""
    words = _words(text or "")
    return words if len(text or "") <= _PIECE_CHARS and len(words) <= _PIECE_WORDS else []
