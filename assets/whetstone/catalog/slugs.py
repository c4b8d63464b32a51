"""Category names to partition keys: safe everywhere (file names, SQL, URLs), the same in every run, never two names to one key.

A slug is `[a-z0-9-]`, 1 to 60 characters. Names whose slugs collide *all* get a suffix, so that a slug depends on the set of
names and not on their order.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

UNCATEGORISED = "uncategorised"  # name and slug of the category of products without a path; no other category gets this slug
MAX_LENGTH = 60


def slugify(name: str) -> str:
    """The slug of a name on its own: folded to ASCII, lower case, runs of anything else to one `-`, cut to 60 characters.

    A name of which nothing is left (emoji, other scripts, empty) gets `c-` and 12 hex digits of its hash.
    """
    folded = unicodedata.normalize("NFKD", name).casefold()
    slug = re.sub(r"[^a-z0-9]+", "-", "".join(c for c in folded if not unicodedata.combining(c)))
    return slug.strip("-")[:MAX_LENGTH].rstrip("-") or f"c-{_digest(name)[:12]}"


def assign_slugs(names: Iterable[str | None]) -> dict[str, str]:
    """Name -> slug, sorted by name, no slug shared; None and blank names are left to `uncategorised`."""
    wanted = sorted({name if name and name.strip() else UNCATEGORISED for name in names})
    slugs = {name: slugify(name) for name in wanted}
    # A suffixed slug may meet another name's plain one, hence longer suffixes for what still collides.
    for digits in (6, 12, 24, 48):
        taken = Counter([UNCATEGORISED, *(slug for name, slug in slugs.items() if name != UNCATEGORISED)])
        for name, slug in slugs.items():
            if taken[slug] > 1 and name != UNCATEGORISED:
                slugs[name] = f"{slugify(name)[: MAX_LENGTH - 1 - digits].rstrip('-')}-{_digest(name)[:digits]}"
    return slugs


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
