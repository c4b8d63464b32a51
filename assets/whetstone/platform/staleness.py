"""Which asset partitions are stale, and why, in words: one function for `whetstone build`, `whetstone status` and the sweep.

An asset partition is stale when it was never made, when its code or a setting it uses changed, when an input's content version
is not the one it was made from, when it was made from an input that it no longer reads, when one of its blocking checks did not
pass, or when its artifact is damaged. Nothing is stale because of a clock, or because a parent ran again with the same content.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from whetstone.platform.artifacts import fingerprint
from whetstone.platform.asset import ARTIFACT_TAG, INPUT_TAG, WAITS_TAG, table_of
from whetstone.platform.history import NEVER, TAG_LENGTH, History, Materialized
from whetstone.platform.warehouse import Step

Written = Mapping[tuple[str, str | None], Sequence[Step]]
"""The contents that partitions of the warehouse had, by table and category (`Warehouse.written`)."""
Place = tuple[dg.AssetKey, str | None]
"""An asset and its partition (None where it has none)."""


NAMED = 3  # categories that are named as changed; more are counted


@dataclass(frozen=True)
class Stale:
    """An asset partition to be made, with the reasons."""

    key: dg.AssetKey
    partition: str | None
    reasons: tuple[str, ...]

    @property
    def place(self) -> Place:
        """Asset and partition."""
        return (self.key, self.partition)

    def __str__(self) -> str:
        """`marts.bm25_run[garden]: staging.products changed, 3 of 812 rows`."""
        return f"{name_of(self.place)}: {'; '.join(self.reasons)}"


def name_of(place: Place) -> str:
    """`marts.bm25_run[garden]`."""
    key, partition = place
    return f"{table_of(key)}[{partition}]" if partition is not None else table_of(key)


@dataclass(frozen=True)
class Node:
    """One asset that Whetstone makes."""

    key: dg.AssetKey
    parents: tuple[dg.AssetKey, ...]
    makers: tuple[dg.AssetKey, ...]  # parents that Whetstone makes, or what reports a parent (query_routes its categories' routes)
    code_version: str | None
    by_category: bool
    blocking_checks: tuple[dg.AssetCheckKey, ...]


class Graph:
    """The assets of a set of definitions, parents first."""

    def __init__(self, graph: Any) -> None:
        """Read Dagster's asset graph (of definitions or of a repository)."""
        self.nodes: dict[dg.AssetKey, Node] = {}
        self.reports: dict[dg.AssetKey, list[dg.AssetKey]] = {}  # what isn't made by a step of its own: a node's run reports it
        for key in graph.toposorted_asset_keys:
            if not (node := graph.get(key)).is_materializable:
                for maker in node.parent_keys:
                    self.reports.setdefault(maker, []).append(key)
                continue
            makers = {maker for maker in self.nodes if node.parent_keys & {maker, *self.reports.get(maker, ())}}
            checks = tuple(sorted((k for k in node.check_keys if graph.get_check_spec(k).blocking), key=str))
            parents = tuple(sorted(node.parent_keys))
            self.nodes[key] = Node(key, parents, tuple(sorted(makers)), node.code_version, node.is_partitioned, checks)

    def places(self, node: Node, categories: list[str]) -> list[Place]:
        """The asset's partitions."""
        return [(node.key, category) for category in categories] if node.by_category else [(node.key, None)]

    def inputs(self, place: Place, categories: list[str]) -> list[Place]:
        """The partitions of the makers that this partition reads."""
        key, partition = place
        found: list[Place] = []
        for maker in self.nodes[key].makers:
            same = partition is not None and self.nodes[maker].by_category
            found += [(maker, partition)] if same else self.places(self.nodes[maker], categories)
        return found

    def state_of(self, stale: Stale, history: History) -> str:
        """What the partition would be made from now: the same state is never requested twice, even if it keeps failing."""
        node = self.nodes[stale.key]
        inputs = [history.seen_by(parent, stale.partition) for parent in node.parents]
        made = history.latest(stale.key).get(stale.partition)
        return f"{name_of(stale.place)}|{fingerprint(node.code_version, inputs, stale.reasons, made.storage_id if made else 0)}"


def stale_partitions(graph: Graph, history: History, damage: Callable[[str], str | None], written: Written | None = None) -> list[Stale]:
    """Every stale asset partition, parents before children; `history` must `forget` what a build has just made.

    `damage` says what is wrong with the artifact `kind/version`, or None. `written` holds the contents of every partition in the warehouse,
    to notice rows that are gone and to count those that changed; None where there is no warehouse.
    """
    for parent in {parent for node in graph.nodes.values() for parent in node.parents}:
        history.latest(parent)  # of all partitions at once, also of what the feed lands
    unpassed = history.unpassed_checks([check for node in graph.nodes.values() for check in node.blocking_checks])

    kept = None if written is None else {place: steps[-1].version for place, steps in written.items()}

    def reasons(node: Node, partition: str | None) -> Iterator[str]:
        made = history.latest(node.key).get(partition)
        if made is None:
            yield "never built"
            return
        if made.code_version != node.code_version:
            yield "code or settings changed"
        for parent in node.parents:
            if (seen := made.tags.get(f"{INPUT_TAG}{table_of(parent)}")) != history.seen_by(parent, partition):
                is_whole = partition is None and None not in history.latest(parent)
                changes = (
                    _changes(parent, made, history, written or {}) if is_whole else _rows(table_of(parent), partition, seen, written or {})
                )
                yield f"{table_of(parent)} changed{changes}"
        # a table's name has a dot: that tells an input from Whetstone's other tags
        recorded = {tag.removeprefix(INPUT_TAG) for tag in made.tags if tag.startswith(INPUT_TAG) and "." in tag}
        for name in sorted(recorded - {table_of(parent) for parent in node.parents}):
            yield f"no longer reads {name}"
        if (artifact := made.tags.get(ARTIFACT_TAG)) and (problem := damage(artifact.replace(".", "/", 1))):
            yield problem
        tables: dict[tuple[str, str | None], str | None] = {}
        if node.key.path[0] in ("staging", "marts"):
            tables[table_of(node.key), partition] = made.data_version
        for key in graph.reports.get(node.key, ()):
            told = history.latest(key)
            tables |= {(table_of(key), c): told[c].data_version if c in told else None for c in history.categories}
        if kept is not None and any(kept.get(place) != version for place, version in tables.items()):
            yield "its rows in the warehouse are not those of its last build"
        for name in unpassed.get((node.key, partition), []):
            yield f"check {name} did not pass"

    places = [(node, place) for node in graph.nodes.values() for place in graph.places(node, history.categories)]
    return [Stale(*place, why) for node, place in places if (why := tuple(reasons(node, place[1])))]


def held_back(history: History, keys: Iterable[dg.AssetKey]) -> list[str]:
    """A line for each table that a share of changed rows holds as it was: how many had changed at its last build."""
    made = {key: history.latest(key).get(None) for key in keys}
    counts = {table_of(key): int(each.tags[WAITS_TAG]) for key, each in made.items() if each and WAITS_TAG in each.tags}
    return [f"{table} is held by WHETSTONE_RETRAIN_SHARE; changed rows that wait: {n:,}" for table, n in counts.items()]


def _changes(parent: dg.AssetKey, made: Materialized, history: History, written: Written) -> str:
    """What changed in a parent with categories since something was made from all of them, in words."""
    table, changed = table_of(parent), history.changed_since(parent, made.storage_id)
    if not changed:
        return ", a category left"
    if len(changed) > NAMED:
        return f" in {len(changed)} categories"
    said = {c: "new" if then == NEVER else _rows(table, c, then, written).removeprefix(", ") for c, then in sorted(changed.items())}
    return f" in {', '.join(f'{c} ({how})' if how else c for c, how in said.items())}"


def _rows(table: str, partition: str | None, seen: str | None, written: Written) -> str:
    """How many rows of a table (partition) changed since the content `seen`, in words; nothing where that isn't remembered."""
    steps = written.get((table, partition)) or written.get((table, None)) or ()
    at = max((at for at, step in enumerate(steps) if step.version[:TAG_LENGTH] == (seen or "")[:TAG_LENGTH]), default=None)
    if at is None or not (since := steps[at + 1 :]):
        return ""
    rows = max(steps[at].count_rows, steps[-1].count_rows)
    most = "at most " if len(since) > 1 else ""
    return f", {most}{min(sum(step.count_changed for step in since), rows):,} of {rows:,} rows"
