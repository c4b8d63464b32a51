"""Training rows of listwise losses: one query with several products of each label ([B] arXiv 2602.17654, Mine and Refine).

    (query, item_1 .. item_m, label)        label (m,): 2 relevant, 1 moderately relevant, 0 irrelevant, -1 no such item

An instance has one of the shapes (2, 1, 0), (2, 0), (1, 0), (2, 1): every label that the query's graded products have, each with an equal
share of the m places, and the lowest one also what the others can't fill. A query whose products all have one label makes no instance.
A product whose text equals that of a better-labelled one of the query is a second listing of it and is left out.

A query with many products makes several instances, each with the next products in an order that is a hash of (seed, query, product): it is
random, and stays the same for a pair whatever else is graded. In a union the hard samples come first: they are few among the originals.
"""

from collections import Counter

import pandas as pd

from whetstone.curriculum.instances import Instances
from whetstone.curriculum.material import Material
from whetstone.curriculum.ring import stable_hash

ABSENT = -1


def list_instances(material: Material, *, seed: int, lists: str, list_size: int, lists_per_query: int) -> Instances:
    """Instances over a query's `graded` pairs, its `mined` hard samples, or their `union` (a pair in both counts once).

    Columns: query_id, product_ids, query, item_1 .. item_m, label; ordered by query_id and instance.
    """
    sources = {"graded": [material.graded], "mined": [material.mined], "union": [material.mined, material.graded]}[lists]
    pairs = pd.concat([frame[["query_id", "product_id", "label"]].assign(turn=turn) for turn, frame in enumerate(sources)])
    known = pairs[pairs["query_id"].isin(material.query_text.keys()) & pairs["product_id"].isin(material.product_text.keys())]
    distinct = known.drop_duplicates(["query_id", "product_id"])
    counts = Counter(query_or_product_without_text=len(pairs) - len(known))
    rows: list[tuple[str, list[str], list[int]]] = []
    for key, group in distinct.groupby("query_id"):
        query = str(key)
        pools, twins = _pools(material, seed, query, group)
        counts["same_text_as_a_better_product"] += twins
        if len(pools) < 2:
            counts["query_with_one_label"] += 1
            continue
        rooms = _rooms(pools, list_size)
        wanted = max(-(-len(pool) // rooms[label]) for label, pool in pools.items())  # until every product had its turn
        for number in range(min(wanted, lists_per_query)):
            chosen = _fill(pools, rooms, number)
            rows.append((query, [product for product, _ in chosen], [label for _, label in chosen]))
    frame = pd.DataFrame(rows, columns=["query_id", "product_ids", "label"])
    frame["query"] = frame["query_id"].map(material.query_text)
    for place in range(list_size):
        # the place of an absent item is a text too: the shortest there is
        frame[f"item_{place + 1}"] = [material.product_text[ids[place]] if place < len(ids) else "-" for ids in frame["product_ids"]]
    frame["label"] = [labels + [ABSENT] * (list_size - len(labels)) for labels in frame["label"]]
    return Instances(frame, dict(+counts))


def _pools(material: Material, seed: int, query: str, group: pd.DataFrame) -> tuple[dict[int, list[str]], int]:
    """Products by label, best label first, each in the order of its draw; and how many second listings were left out."""
    pools: dict[int, list[str]] = {}
    better: set[str] = set()
    twins = 0
    for label in sorted(group["label"].unique().tolist(), reverse=True):
        own = group[group["label"] == label]
        turns = dict(zip(own["product_id"], own["turn"], strict=True))
        texts = {product: material.product_text[product] for product in turns}
        fresh = [product for product in texts if texts[product] not in better]
        twins += len(texts) - len(fresh)
        better |= set(texts.values())
        if fresh:
            pools[label] = sorted(fresh, key=lambda product: (turns[product], stable_hash(seed, query, product), product))
    return pools, twins


def _rooms(pools: dict[int, list[str]], size: int) -> dict[int, int]:
    """Places of an instance for each label: an equal share, and what the better labels can't fill for the lowest."""
    share = size // len(pools)
    *better, lowest = pools
    return {**dict.fromkeys(better, share), lowest: size - sum(min(share, len(pools[label])) for label in better)}


def _fill(pools: dict[int, list[str]], rooms: dict[int, int], number: int) -> list[tuple[str, int]]:
    """The `number`-th instance: from every label as many products as have room, going around."""
    around = {label: pool[number * rooms[label] % len(pool) :] + pool[: number * rooms[label] % len(pool)] for label, pool in pools.items()}
    return [(product, label) for label, pool in around.items() for product in pool[: rooms[label]]]
