"""The demo shop's vocabulary: categories, product types, attributes, and two names for everything (catalog, shopper).

The hand-written part lies in `values.yml` and three files of categories. Categories beyond it are derived: generation g of a category
sells the same kinds of thing for another line of customers ("Marine Robot Vacuum"), with coined brands and slang of its own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

FILES = ("household.yml", "lifestyle.yml", "leisure.yml")
SYLLABLE = (
    ("br", "c", "d", "f", "gl", "h", "k", "l", "m", "n", "p", "qu", "r", "st", "t", "v", "w", "z"),
    ("a", "e", "i", "o", "u", "au", "ei", "ia"),
    ("", "l", "n", "r", "s", "x", "nd", "rt", "m", "ck"),
)
BRANDS_PER_CATEGORY = 8
LARGEST_SMALL_UNIT = 9_999.0  # nobody writes 200000 g


class ProductType(NamedTuple):
    """One kind of thing the shop sells; `attributes` maps a key to its values, `part_of` names what it is made for."""

    name: str
    category: str
    family: str
    titles: Sequence[str]
    ask: Sequence[str]
    slang: Sequence[str]
    brands: Sequence[str]
    attributes: Mapping[str, Sequence[str]]
    swaps: set[str]
    complements: set[str]
    part_of: str | None
    price: tuple[float, float]


class Vocabulary(NamedTuple):
    """A shop's product types in category order, and the forms of every attribute value."""

    types: Mapping[str, ProductType]
    marketing: Sequence[str]
    wrappers: Sequence[str]
    words: Mapping[str, Mapping[str, Sequence[str]]]
    units: Mapping[str, Mapping[str, Any]]

    def forms(self, value: str, side: str) -> Sequence[str]:
        """All ways to write a value such as "black" or "1.5 L" (in its smaller unit, too), on side "title" or "ask"."""
        if value in self.words:
            return self.words[value][side]
        number, _, unit = value.partition(" ")
        if unit in self.units:
            small = float(number) * self.units[unit]["factor"]
            forms = [form for form in self.units[unit][side] if "{1}" not in form or small <= LARGEST_SMALL_UNIT]
            return [form.format(number, f"{small:.6g}") for form in forms]
        return (value.lower(),) if side == "ask" else (value if value != value.lower() else value.title(),)


def coin(name: str, count: int) -> tuple[str, ...]:
    """Invent `count` distinct words that belong to `name`: the same name gives the same words, everywhere."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault("".join(rng.choice(part) for part in SYLLABLE * 2))
    return tuple(found)


@cache
def load_vocabulary(categories: int) -> Vocabulary:
    """The vocabulary of a shop with this many categories, without relations to types that it doesn't have."""
    common = _read("values.yml")
    written = {spec["name"]: spec for file in FILES for spec in _read(file)}
    places = [divmod(number, len(common["order"])) for number in range(categories)]
    specs = [_derive(written[common["order"][place]], generation, common["lines"]) for generation, place in places]
    entries = {name: entry for spec in specs for name, entry in spec["types"].items()}
    swaps = _closed({name: entry.get("swap", []) for name, entry in entries.items()})
    goes_with = _closed({name: [*entry.get("with", []), entry.get("part_of")] for name, entry in entries.items()})
    types = {}
    for spec in specs:
        for name, entry in spec["types"].items():
            has = {key: common["sets"][values] if isinstance(values, str) else values for key, values in entry["has"].items()}
            if "part_of" in entry:
                has["fits"] = spec["brands"]
            fields = {"name": name, "category": spec["name"], "brands": spec["brands"], "part_of": None, "attributes": has}
            fields |= {field: value for field, value in entry.items() if field in ProductType._fields}
            types[name] = ProductType(**fields, swaps=swaps[name], complements=goes_with[name] - swaps[name])
    return Vocabulary(types, common["marketing"], common["wrappers"], common["words"], common["units"])


@cache
def _read(file: str) -> Any:
    return yaml.safe_load((Path(__file__).parent / file).read_text(encoding="utf-8"))


def _derive(spec: Mapping[str, Any], generation: int, lines: list[list[str]]) -> dict[str, Any]:
    """A later generation of a category: each type with the line's word before it, a substitute of the original; 0 is the original."""
    if generation == 0:
        return dict(spec)
    name, inside = f"{spec['name']} {generation + 1}", spec["types"]
    catalog, shopper = lines[generation - 1] if generation <= len(lines) else coin(f"line {generation}", 2)
    catalog = catalog.title()
    types = {
        f"{catalog} {base}": {
            **entry,
            "titles": [f"{catalog} {title}" for title in entry["titles"]],
            "ask": [f"{shopper} {term}" for term in entry["ask"]],
            "slang": coin(f"{catalog} {base}", len(entry["slang"])),
            "swap": [base, *(f"{catalog} {other}" for other in entry.get("swap", []) if other in inside)],
            "with": [f"{catalog} {other}" if other in inside else other for other in entry.get("with", [])],
            **({"part_of": f"{catalog} {entry['part_of']}"} if "part_of" in entry else {}),
        }
        for base, entry in inside.items()
    }
    return {"name": name, "brands": [word.title() for word in coin(name, BRANDS_PER_CATEGORY)], "types": types}


def _closed(relation: Mapping[str, list[str | None]]) -> dict[str, set[str]]:
    """Symmetric closure over the names that the shop has."""
    closed: dict[str, set[str]] = {name: set() for name in relation}
    for name, others in relation.items():
        for other in others:
            if other in closed:
                closed[name].add(other)
                closed[other].add(name)
    return closed
