"""Human judgments of the demo shop: which pairs are judged, and how reliably.

A judged pool looks like one of ESCI: mostly exact products, then substitutes (one attribute off, or another type that stands in),
complements, and irrelevant products that look alike (types that share words, the same type with more than one attribute off, other things
of a brand). One human errs rarely; on a small share of the queries three humans judge, each less reliably, and their median is the grade.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whetstone.catalog.demo.products import Stock
from whetstone.catalog.demo.queries import Query
from whetstone.catalog.demo.truth import GRADES

POOL_EXACT = 22
POOL_SUBSTITUTE = 7
POOL_COMPLEMENT = 4
POOL_ALIKE = 5
POOL_RANDOM = 2
POOL_SIZE = 40
SINGLE_ERROR = 0.04
PANEL_ERROR = 0.12
PANEL_SHARE = 0.10
PANEL_SIZE = 3
Rows = NDArray[np.int64]


def draw_pools(stock: Stock, queries: Sequence[Query], rng: np.random.Generator) -> list[Rows]:
    """Rows of the stock to show or judge for each query, shape (at most 40,), the target first, none twice."""
    alike = _alike_types(stock)
    return [_pool(stock, query, alike[query.kind], rng) for query in queries]


def _pool(stock: Stock, query: Query, alike: list[int], rng: np.random.Generator) -> Rows:
    """One pool, through slices by type: what it costs does not depend on how many types the shop has."""
    kind, own, off = stock.types[query.kind], stock.rows(query.kind), stock.off(query.kind, query.wanted)
    swaps = [stock.place[name] for name in sorted(kind.swaps)]
    exact_swaps = [_sample([stock.rows(swap)[stock.off(swap, query.wanted) == 0]], POOL_SUBSTITUTE, rng) for swap in swaps]
    goes_with = [_some(stock, stock.place[name], POOL_COMPLEMENT, rng) for name in sorted(kind.complements)]
    looks_alike = [_some(stock, other, POOL_ALIKE, rng) for other in alike]
    picked = [
        np.array([query.target]),
        _sample([own[(off == 0) & (own != query.target)]], POOL_EXACT - 1, rng),
        _sample([_sample([own[off == 1]], POOL_SUBSTITUTE, rng), *exact_swaps], POOL_SUBSTITUTE, rng),
        _sample(goes_with, POOL_COMPLEMENT, rng),
        _sample([_sample([own[off > 1]], POOL_ALIKE // 2, rng), _sample(looks_alike, POOL_ALIKE, rng)], POOL_ALIKE, rng),
        rng.integers(len(stock.type_of), size=POOL_RANDOM),
    ]
    rows = np.array(list(dict.fromkeys(np.concatenate(picked).tolist())))
    rest = np.setdiff1d(own[off > 0], rows)  # what an engine would show next: of the type, but off
    return np.concatenate([rows, _sample([rest], POOL_SIZE - len(rows), rng)])


def _some(stock: Stock, kind: int, count: int, rng: np.random.Generator) -> Rows:
    rows = stock.rows(kind)
    return np.unique(rng.choice(rows, count if len(rows) else 0))


def rate(
    truth: Rows, is_panel: NDArray[np.bool_], is_target: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Rows, list[list[int] | None]]:
    """What humans say of pairs, all shapes (n,): grades, and the single grades of the three raters (None where one human judged).

    Three judge `is_panel` pairs; `is_target` pairs (a query's own target) nobody gets wrong: every judged query keeps an exact product.
    """
    single = _err(truth, np.where(is_target, 0.0, SINGLE_ERROR), rng)
    panel = np.stack([_err(truth, np.where(is_target, 0.0, PANEL_ERROR), rng) for _ in range(PANEL_SIZE)], axis=1)
    grades = np.where(is_panel, np.median(panel, axis=1), single).astype(np.int64)  # of three, the median is also any majority
    return grades, [votes if by_panel else None for votes, by_panel in zip(panel.tolist(), is_panel, strict=True)]


def _err(truth: Rows, chance: NDArray[np.float64], rng: np.random.Generator) -> Rows:
    """Move a grade one level up or down with the given chance."""
    level = np.searchsorted(GRADES, truth)
    step = np.where(rng.random(len(truth)) < 0.5, -1, 1)
    step = np.where((level + step < 0) | (level + step >= len(GRADES)), -step, step)
    return np.asarray(np.array(GRADES)[level + step * (rng.random(len(truth)) < chance)])


def _alike_types(stock: Stock) -> list[list[int]]:
    """For each type the four unrelated types that share most words with it (in any order, in any category)."""
    words = [sorted({*" ".join([*kind.titles, *kind.ask, *kind.slang]).lower().split()}) for kind in stock.types]
    owners = defaultdict(list)
    for number, own in enumerate(words):
        for word in own:
            owners[word].append(number)
    alike = []
    for kind, own in zip(stock.types, words, strict=True):
        shared: dict[int, float] = defaultdict(float)
        for word in own:
            for other in owners[word]:
                shared[other] += 1.0 / len(owners[word])
        near = {stock.place[name] for name in (kind.name, *kind.swaps, *kind.complements)}
        alike.append(sorted(shared.keys() - near, key=lambda other: (-shared[other], other))[:4])
    return alike


def _sample(parts: list[Rows], count: int, rng: np.random.Generator) -> Rows:
    rows = np.concatenate([np.empty(0, dtype=np.int64), *parts])
    return rows if len(rows) <= count else rng.choice(rows, count, replace=False)
