"""Random products that stay the same when the catalog changes: a consistent-hash ring (Karger et al. 1997).

Products lie on a circle of 64-bit hashes. A draw starts where its key's hash falls and goes clockwise to the first eligible product. A
product that is added or removed only moves the draws that end in its own arc; a generator's n-th number would move them all. Arcs differ in
length, so some products are drawn more often than others, but independently of what they are.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from hashlib import blake2b


def stable_hash(*parts: object) -> int:
    """64 bits that are the same on every machine (Python's own `hash` of a string is salted per process)."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


class Ring:
    """The circle of a set of ids."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = sorted(ids, key=stable_hash)

    def clockwise(self, *key: object) -> Iterator[str]:
        """Every id once, beginning where the key falls."""
        start = bisect_left(self._ids, stable_hash(*key), key=stable_hash)
        return (self._ids[place % len(self._ids)] for place in range(start, start + len(self._ids)))
