"""Human judgments of the demo shop: which pairs are judged, and how reliably.

A judged pool looks like one of ESCI: mostly exact products, then substitutes (one attribute off, or another type that
stands in), complements, and irrelevant products that look alike (types that share words, the same type with more than
one attribute off, other things of a brand). One human errs rarely; on a small share of the queries three humans judge,
each less reliably, and the grade is their majority, or the median where all three differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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


class Pools:
    """Finds the pool of a query through slices by type; cost does not depend on how many types the shop has."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._code = {name: code for code, name in enumerate(stock.names)}
        self._number = {kind.name: number for number, kind in enumerate(stock.types)}
        self._alike = _alike_types(stock)

    def pool(self, query: Query, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Rows of `Stock.codes` to show or judge for a query, shape (at most 40,), the target first, none twice."""
        stock, kind = self._stock, query.kind
        start = int(stock.starts[kind])
        wanted = {key: self._code[value] for key, value in query.wanted.items()}
        off = stock.off(kind, wanted)
        exact = np.flatnonzero(off == 0) + start
        picked = [np.array([query.target]), _sample(exact[exact != query.target], POOL_EXACT - 1, rng)]
        near = np.flatnonzero(off == 1) + start
        swaps = [self._rows(name, POOL_SUBSTITUTE, rng, wanted) for name in sorted(stock.types[kind].swaps)]
        picked.append(_sample(np.concatenate([_sample(near, POOL_SUBSTITUTE, rng), *swaps]), POOL_SUBSTITUTE, rng))
        goes_with = [self._rows(name, POOL_COMPLEMENT, rng) for name in sorted(stock.types[kind].complements)]
        picked.append(_sample(_joined(goes_with), POOL_COMPLEMENT, rng))
        far = _sample(np.flatnonzero(off > 1) + start, POOL_ALIKE // 2, rng)
        alike = [self._rows(stock.types[other].name, POOL_ALIKE, rng) for other in self._alike[kind]]
        picked.append(_sample(np.concatenate([far, _sample(_joined(alike), POOL_ALIKE, rng)]), POOL_ALIKE, rng))
        picked.append(rng.integers(len(stock.codes), size=POOL_RANDOM))
        rows = np.concatenate(picked)
        rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
        rest = np.setdiff1d(np.flatnonzero(off > 0) + start, rows)  # what an engine would show next: of the type, but off
        return np.concatenate([rows, _sample(rest, POOL_SIZE - len(rows), rng)])

    def _rows(self, name: str, count: int, rng: np.random.Generator, wanted: dict[str, int] | None = None) -> npt.NDArray[np.int64]:
        """Up to `count` random rows of a type, with everything that is wanted."""
        place = self._stock.slice_of(self._number[name])
        if wanted is None:
            return np.unique(rng.integers(place.start, place.stop, size=count)) if place.stop > place.start else _NONE
        return _sample(np.flatnonzero(self._stock.off(self._number[name], wanted) == 0) + place.start, count, rng)


def rate(
    truth: npt.NDArray[np.int64],
    is_panel: npt.NDArray[np.bool_],
    is_target: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.int64], list[list[int] | None]]:
    """What humans say of pairs.

    Args:
        truth: True grades, shape (n,).
        is_panel: Pairs judged by three raters rather than one, shape (n,).
        is_target: Pairs nobody gets wrong (a query's own target), so that every judged query keeps an exact product.
        rng: Source of the errors.

    Returns:
        Grades, shape (n,), and the single grades of the three raters (None where one human judged).
    """
    grades = _err(truth, np.where(is_target, 0.0, SINGLE_ERROR), rng)
    chance = np.where(is_target[is_panel], 0.0, PANEL_ERROR)
    panel = np.stack([_err(truth[is_panel], chance, rng) for _ in range(PANEL_SIZE)], axis=1)
    panel = panel.reshape(-1, PANEL_SIZE)
    grades[is_panel] = np.median(panel, axis=1).astype(np.int64)  # of three, the median is also any majority
    raters: list[list[int] | None] = [None] * len(truth)
    for row, single in zip(np.flatnonzero(is_panel).tolist(), panel.tolist(), strict=True):
        raters[row] = single
    return grades, raters


def _err(truth: npt.NDArray[np.int64], chance: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Move a grade one level up or down with the given chance."""
    level = np.searchsorted(GRADES, truth)
    step = np.where(rng.random(len(truth)) < 0.5, -1, 1)
    moved = np.where((level + step < 0) | (level + step >= len(GRADES)), level - step, level + step)
    return np.array(GRADES, dtype=np.int64)[np.where(rng.random(len(truth)) < chance, moved, level)]


def _alike_types(stock: Stock) -> list[list[int]]:
    """For each type the four unrelated types that share most words with it (in any order, in any category)."""
    owners: dict[str, list[int]] = {}
    for number, kind in enumerate(stock.types):
        for word in kind.words:
            owners.setdefault(word, []).append(number)
    alike = []
    for kind in stock.types:
        shared: dict[int, float] = {}
        for word in sorted(kind.words):
            for other in owners[word]:
                shared[other] = shared.get(other, 0.0) + 1.0 / len(owners[word])
        near = {kind.name, *kind.swaps, *kind.complements}
        others = [other for other in shared if stock.types[other].name not in near]
        alike.append(sorted(others, key=lambda other: (-shared[other], other))[:4])
    return alike


_NONE: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)


def _joined(parts: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    return np.concatenate(parts) if parts else _NONE


def _sample(rows: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    return rows if len(rows) <= count else rng.choice(rows, count, replace=False)
