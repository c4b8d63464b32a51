"""The guideline: the one declaration of what a grade means.

A level has a name, a definition with examples, a `grade` (0-4, [A] arXiv 2606.23911), a `label` (0-2, [B] arXiv 2602.17654) and a `gain`
(0-1, for NDCG). Nothing else hard-codes a grade. The version is a hash of the content and part of the ledger's key: any edit re-grades.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from whetstone.platform.declared import Declared, load_named
from whetstone.platform.errors import WhetstoneError

FOLDER = Path(__file__).resolve().parent.parent / "guidelines"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Grade = Annotated[int, Field(ge=0, le=4, strict=True)]


class Example(Declared):
    """A query with a product, and why the pair does (or does not) belong to a level."""

    query: Text
    product: Text
    why: Text


class Level(Declared):
    """One level of relevance; `negative_examples` look like the level and belong to another."""

    name: Text
    definition: Text
    positive_examples: tuple[Example, ...] = ()
    negative_examples: tuple[Example, ...] = ()
    grade: Grade
    label: int = Field(ge=0, le=2, strict=True)
    gain: float = Field(ge=0, le=1, strict=True)


class Guideline(Declared):
    """Two to five levels from best to worst, the notes that settle hard cases, and where relevant ends and irrelevant begins."""

    name: Text
    description: Text
    levels: tuple[Level, ...] = Field(min_length=2, max_length=5)
    policy_notes: tuple[Text, ...] = ()
    relevant_grade: Grade  # the lowest of a positive
    irrelevant_grade: Grade  # the highest of what may serve as a negative

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if len({level.name.casefold() for level in self.levels}) < len(self.levels):
            raise ValueError(f"levels: names must differ, got {[level.name for level in self.levels]}")
        for better, worse in pairwise(self.levels):
            for name, rule in (("grade", "must fall (best level first)"), ("label", "must not rise"), ("gain", "must not rise")):
                high, low = getattr(better, name), getattr(worse, name)
                if low > high or (name == "grade" and low == high):
                    raise ValueError(f"levels: from '{better.name}' to '{worse.name}' the {name} {rule}, got {high} then {low}")
        if not self.grades[-1] <= self.irrelevant_grade < self.relevant_grade <= self.top_grade:
            wanted = f"the worst grade {self.grades[-1]} <= irrelevant_grade < relevant_grade <= the best grade {self.top_grade}"
            raise ValueError(f"need {wanted}, got irrelevant_grade {self.irrelevant_grade} and relevant_grade {self.relevant_grade}")
        return self

    @property
    def grades(self) -> tuple[int, ...]:
        """The grades of the levels, best first."""
        return tuple(level.grade for level in self.levels)

    @property
    def top_grade(self) -> int:
        """The grade of the best level."""
        return self.grades[0]

    @property
    def gains(self) -> dict[int, float]:
        """Gain (0-1) of each grade."""
        return {level.grade: level.gain for level in self.levels}

    @property
    def labels(self) -> dict[int, int]:
        """Label (0-2) of each grade."""
        return {level.grade: level.label for level in self.levels}

    @cached_property
    def version(self) -> str:
        """First 16 hex digits of the SHA-256 of the content; white space, comments and key order of the file don't count."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def places(self, grades: Iterable[int], whose: str) -> list[int]:
        """Position in `levels` (0 = best) of each grade; WhetstoneError says `whose` grades are none of them."""
        place = {grade: index for index, grade in enumerate(self.grades)}
        wanted = [int(grade) for grade in grades]
        if strange := sorted(set(wanted) - set(place)):
            raise WhetstoneError(f"{whose} have grades {strange}, guideline '{self.name}' has {self.grades}")
        return [place[grade] for grade in wanted]


def load_guideline(name: str, folder: Path = FOLDER) -> Guideline:
    """The guideline in the file `name`.yml of a folder, by default of those that are shipped; WhetstoneError: as in `load_named`."""
    return load_named(Guideline, "guideline", name, folder)
