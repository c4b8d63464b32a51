"""The demo shop's vocabulary: categories, product types, attributes, and two names for everything (catalog, shopper).

The hand-written part lies in `values.yml` and three files of categories. Categories beyond it are derived: generation
g of a category sells the same kinds of thing for another line of customers ("Marine Robot Vacuum"), with coined brands
and slang of its own. The vocabulary does not depend on the seed of a shop, only on the number of categories.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from whetstone.platform.errors import WhetstoneError

HERE = Path(__file__).parent
FILES = ("household.yml", "lifestyle.yml", "leisure.yml")
ONSETS = ("br", "c", "d", "f", "gl", "h", "k", "l", "m", "n", "p", "qu", "r", "st", "t", "v", "w", "z")
NUCLEI = ("a", "e", "i", "o", "u", "au", "ei", "ia")
CODAS = ("", "l", "n", "r", "s", "x", "nd", "rt", "m", "ck")
BRANDS_PER_CATEGORY = 8
LARGEST_SMALL_UNIT = 9_999.0  # nobody writes 200000 g


@dataclass(frozen=True, slots=True)
class ProductType:
    """One kind of thing the shop sells; `attributes` maps a key to its values, `part_of` names what it is made for."""

    name: str
    category: str
    family: str
    titles: tuple[str, ...]
    ask: tuple[str, ...]
    slang: tuple[str, ...]
    brands: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]]
    swaps: frozenset[str]
    complements: frozenset[str]
    part_of: str | None
    price: tuple[float, float]

    @property
    def words(self) -> frozenset[str]:
        """Lower-case words of every name of the type: what makes two types look alike."""
        return frozenset(word for name in (*self.titles, *self.ask, *self.slang) for word in name.lower().split())


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A shop's product types in category order, and the forms of every attribute value."""

    categories: tuple[str, ...]
    types: Mapping[str, ProductType]
    marketing: tuple[str, ...]
    wrappers: tuple[str, ...]
    words: Mapping[str, Mapping[str, tuple[str, ...]]]
    units: Mapping[str, Mapping[str, Any]]

    def forms(self, value: str, side: str) -> tuple[str, ...]:
        """All ways to write an attribute value.

        Args:
            value: Canonical value, such as "black" or "1.5 L".
            side: "title" for the catalog's ways, "ask" for the shoppers'.

        Returns:
            At least one form; numbers with a known unit are also written in the smaller unit.
        """
        if value in self.words:
            return self.words[value][side]
        number, _, unit = value.partition(" ")
        if unit in self.units:
            small = float(number) * self.units[unit]["factor"]
            forms = [str(form) for form in self.units[unit][side] if "{1}" not in form or small <= LARGEST_SMALL_UNIT]
            return tuple(form.format(number, f"{small:.6g}") for form in forms)
        return (value.lower(),) if side == "ask" else (value if value != value.lower() else value.title(),)


def coin(name: str, count: int) -> tuple[str, ...]:
    """Invent `count` distinct words that belong to `name`: the same name gives the same words, everywhere."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    found: dict[str, None] = {}
    while len(found) < count:
        parts = [str(rng.choice(part)) for part in (ONSETS, NUCLEI, CODAS, ONSETS, NUCLEI, CODAS)]
        found.setdefault("".join(parts))
    return tuple(found)


@cache
def load_vocabulary(categories: int) -> Vocabulary:
    """The vocabulary of a shop with this many categories.

    Args:
        categories: How many, from 1; beyond the hand-written ones further lines are derived.

    Returns:
        The vocabulary; relations to types of categories that the shop does not have are left out.

    Raises:
        WhetstoneError: `categories` is below 1, or a vocabulary file names an unknown product type or attribute set.
    """
    if categories < 1:
        raise WhetstoneError(f"demo catalog: {categories} categories asked for; a shop needs at least 1")
    common = _read("values.yml")
    written = {spec["name"]: spec for file in FILES for spec in _read(file)}
    _check(common, written)
    specs = []
    for number in range(categories):
        generation, position = divmod(number, len(common["order"]))
        spec = written[common["order"][position]]
        specs.append(spec if generation == 0 else _derive(spec, generation, common["lines"]))
    raw = {name: (spec, entry) for spec in specs for name, entry in spec["types"].items()}
    swaps = _closed({name: entry.get("swap", []) for name, (_, entry) in raw.items()})
    with_ = {name: [*e.get("with", []), *([e["part_of"]] if "part_of" in e else [])] for name, (_, e) in raw.items()}
    complements = _closed(with_)
    types = {}
    for name, (spec, entry) in raw.items():
        has = {key: tuple(common["sets"].get(v, ()) if isinstance(v, str) else v) for key, v in entry["has"].items()}
        if "part_of" in entry:
            has["fits"] = tuple(spec["brands"])
        types[name] = ProductType(
            name=name,
            category=spec["name"],
            family=entry["family"],
            titles=tuple(entry["titles"]),
            ask=tuple(entry["ask"]),
            slang=tuple(entry["slang"]),
            brands=tuple(spec["brands"]),
            attributes=has,
            swaps=frozenset(swaps[name]),
            complements=frozenset(complements[name] - swaps[name]),
            part_of=entry.get("part_of"),
            price=(float(entry["price"][0]), float(entry["price"][1])),
        )
    return Vocabulary(
        categories=tuple(spec["name"] for spec in specs),
        types=types,
        marketing=tuple(common["marketing"]),
        wrappers=tuple(common["wrappers"]),
        words={value: {side: tuple(f) for side, f in forms.items()} for value, forms in common["words"].items()},
        units=common["units"],
    )


@cache
def _read(file: str) -> Any:
    return yaml.safe_load((HERE / file).read_text(encoding="utf-8"))


def _check(common: Mapping[str, Any], written: Mapping[str, Any]) -> None:
    known = {name for spec in written.values() for name in spec["types"]}
    for spec in written.values():
        for name, entry in spec["types"].items():
            for other in _references(entry):
                if other not in known:
                    raise WhetstoneError(f"demo vocabulary: {name!r} refers to unknown product type {other!r}")
            for key, values in entry["has"].items():
                if isinstance(values, str) and values not in common["sets"]:
                    raise WhetstoneError(f"demo vocabulary: {name!r}, {key!r}: no set {values!r} in values.yml")
    missing = set(common["order"]) ^ set(written)
    if missing:
        raise WhetstoneError(f"demo vocabulary: `order` in values.yml and the category files differ in {missing}")


def _references(entry: Mapping[str, Any]) -> Iterator[str]:
    yield from entry.get("swap", [])
    yield from entry.get("with", [])
    if "part_of" in entry:
        yield entry["part_of"]


def _derive(spec: Mapping[str, Any], generation: int, lines: list[list[str]]) -> dict[str, Any]:
    """A later generation of a category: each type with the line's word before it, a substitute of the original."""
    name = f"{spec['name']} {generation + 1}"
    catalog, shopper = lines[generation - 1] if generation <= len(lines) else coin(f"line {generation}", 2)
    catalog = catalog.title()
    inside = spec["types"]
    types = {}
    for base, entry in inside.items():
        derived = f"{catalog} {base}"
        types[derived] = {
            **entry,
            "titles": [f"{catalog} {title}" for title in entry["titles"]],
            "ask": [f"{shopper} {term}" for term in entry["ask"]],
            "slang": list(coin(derived, len(entry["slang"]))),
            "swap": [base, *(f"{catalog} {other}" for other in entry.get("swap", []) if other in inside)],
            "with": [f"{catalog} {other}" if other in inside else other for other in entry.get("with", [])],
            **({"part_of": f"{catalog} {entry['part_of']}"} if "part_of" in entry else {}),
        }
    return {"name": name, "brands": [word.title() for word in coin(name, BRANDS_PER_CATEGORY)], "types": types}


def _closed(relation: Mapping[str, list[str]]) -> dict[str, set[str]]:
    """Symmetric closure over the names that the shop has."""
    closed: dict[str, set[str]] = {name: set() for name in relation}
    for name, others in relation.items():
        for other in others:
            if other in closed:
                closed[name].add(other)
                closed[other].add(name)
    return closed
