"""The one place through which maps over rows go (encode, score, grade): local by default, the seam for a cluster later."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_batches(
    function: Callable[[Sequence[Item]], Iterable[Result]], items: Sequence[Item], batch_size: int, describe: str | None = None
) -> list[Result]:
    """Apply `function` to consecutive batches of `items`; results come back flat and in the order of the items.

    `function` maps at most `batch_size` items (at least 1) to as many results. `describe` is the text of a progress bar; without it there
    is none. ValueError: a batch came back with another number of results than it had items.
    """
    results: list[Result] = []
    for start in tqdm(range(0, len(items), batch_size), desc=describe, disable=describe is None, leave=False):
        batch = items[start : start + batch_size]
        results.extend(function(batch))
        if len(results) != start + len(batch):
            raise ValueError(f"map_batches: {len(batch)} items gave {len(results) - start} results at item {start}")
    return results
