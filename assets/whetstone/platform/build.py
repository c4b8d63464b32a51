"""Build what is stale, parents first, in this process: the engine of `whetstone build` and of the tests.

In rounds: of everything stale *now*, the partitions that wait for nothing outside their own category run, one Dagster run a
category with all its stale assets. Then staleness is read again; what got new inputs of the same content is up to date by
itself. A failed partition holds back what reads it, nothing else: assets further on keep to its last good content.
"""

import logging
import secrets
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import BUILD_TAG, table_of
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.history import History
from whetstone.platform.sql_contracts import check_step
from whetstone.platform.staleness import Graph, Place, Stale, name_of, stale_partitions
from whetstone.platform.warehouse import Warehouse

LOG = logging.getLogger("whetstone.build")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Outcome:
    """What a build did: places built, places that needed nothing, failures with their message, and what waits for what."""

    built: set[Place] = field(default_factory=set)
    up_to_date: set[Place] = field(default_factory=set)
    failed: dict[Place, str] = field(default_factory=dict)
    held_back: dict[Place, str] = field(default_factory=dict)
    attempted: set[Place] = field(default_factory=set)

    def __str__(self) -> str:
        """The last line of a build."""
        return f"built {len(self.built)}, up to date {len(self.up_to_date)}, failed {len(self.failed)}"


class Builder:
    """Builds one set of definitions on one Dagster instance."""

    def __init__(
        self, definitions: dg.Definitions, instance: dg.DagsterInstance, artifacts: Artifacts, warehouse: Warehouse | None = None
    ) -> None:
        self.job = definitions.resolve_implicit_global_asset_job_def()
        self.graph, self.history = Graph(definitions.resolve_asset_graph()), History(instance)
        self.instance, self.artifacts, self.warehouse = instance, artifacts, warehouse
        self.name = f"build-{secrets.token_hex(6)}"  # whose budget its runs spend

    def stale(self) -> list[Stale]:
        """Everything stale now."""
        return stale_partitions(self.graph, self.history, self.artifacts.damage, self.warehouse.written() if self.warehouse else None)

    def selected(self, select: str | None, categories: list[str] | None) -> set[Place]:
        """The places that a selection names.

        `select` are comma-separated asset names, each with an optional `+` before (its ancestors) or behind (its descendants), or
        `group:NAME`; None for everything. `categories` are the only partitions wanted; unpartitioned assets stay in.
        """
        self.known(categories)
        keys = self.keys(select)
        places = [p for node in self.graph.nodes.values() if node.key in keys for p in self.graph.places(node, self.history.categories)]
        return {p for p in places if not categories or p[1] is None or p[1] in categories}

    def known(self, categories: list[str] | None) -> list[str]:
        """These categories, by default all; WhetstoneError: the catalog doesn't have one of them."""
        if unknown := sorted(set(categories or []) - set(self.history.categories)):
            known = ", ".join(self.history.categories) or "none yet"
            raise WhetstoneError(f"unknown category {', '.join(unknown)}; the catalog has {known}")
        return categories or self.history.categories

    def keys(self, select: str | None) -> set[dg.AssetKey]:
        """The assets that a selection (as in `selected`) names, those that the feed lands too; WhetstoneError: a term names nothing."""
        graph = self.job.asset_layer.asset_graph
        everything = [*set(graph.get_all_asset_keys()).difference(self.graph.nodes), *self.graph.nodes]  # of two of one name, what is made
        if select is None:
            return set(everything)
        named = {name: {key} for key in everything for name in (key.path[-1], table_of(key), key.to_user_string())}
        for key in everything:
            named.setdefault(f"group:{graph.get(key).group_name}", set()).add(key)
        for maker, reported in self.graph.reports.items():
            for key in reported:
                named[key.path[-1]] = named[table_of(key)] = {key, maker}
        chosen: set[dg.AssetKey] = set()
        terms = [term.strip() for term in select.split(",") if term.strip()]
        for term in terms or [select]:
            if (name := term.strip("+")) not in named:
                known = ", ".join(sorted(key.path[-1] for key in self.graph.nodes))
                raise WhetstoneError(f"--select {term!r} names nothing: no asset or group is called so; assets are {known}")
            chosen |= named[name]
            chosen |= self._related(named[name], up=True) if term.startswith("+") else set()
            chosen |= self._related(named[name], up=False) if term.endswith("+") else set()
        return chosen

    def _related(self, keys: set[dg.AssetKey], up: bool) -> set[dg.AssetKey]:
        found = set(keys)
        nodes = list(self.graph.nodes.values())
        for node in reversed(nodes) if up else nodes:  # parents come first in nodes
            if up and node.key in found:
                found |= set(node.makers)
            elif not up and found & {*node.parents, *node.makers}:
                found.add(node.key)
        return found

    def run(self, select: str | None = None, categories: list[str] | None = None) -> Outcome:
        """Build the selected places until none of them is stale or all that are left are held back."""
        for dead in self.instance.get_runs(dg.RunsFilter(statuses=list(IN_PROGRESS_RUN_STATUSES))):
            if BUILD_TAG in dead.tags:  # of a build that was killed: it would be under way, and hold up the daemon, for ever
                self.history.end(dead)
        wanted, outcome = self.selected(select, categories), Outcome()
        while True:
            stale = {s.place for s in self.stale()}
            todo = (stale & wanted) - outcome.attempted
            groups = self._ready(todo, stale, outcome, patient=True) or self._ready(todo, stale, outcome, patient=False)
            if not groups:
                break
            # What belongs to no category goes first and alone: more can run in one go once it is there.
            for partition in [None] if None in groups else sorted(groups, key=str):
                self._execute(partition, groups[partition], outcome)
        left = (stale & wanted) - set(outcome.failed)
        for place in sorted(left, key=name_of):
            inputs = self.graph.inputs(place, self.history.categories)
            outcome.held_back[place] = ", ".join(name_of(each) for each in inputs if each in stale)
        outcome.up_to_date = wanted - outcome.built - set(outcome.failed) - set(outcome.held_back)
        return outcome

    def _ready(self, todo: set[Place], stale: set[Place], outcome: Outcome, patient: bool) -> dict[str | None, list[dg.AssetKey]]:
        """Groups of places that can run in one Dagster run now: every stale input is made earlier in the same run.

        Inputs that are stale but not selected are taken as they are, if they were ever built and no category is left out of an
        asset that reads them all. A patient place also waits for inputs that are up to date only until something that they are made from
        is made anew: it would run twice, and perhaps pay twice.
        """
        groups: dict[str | None, list[dg.AssetKey]] = {}
        ready: set[Place] = set()
        changing: set[Place] = set()  # not stale, but something that they are made from is about to be made
        for node in self.graph.nodes.values():
            for place in self.graph.places(node, self.history.categories):
                inputs = self.graph.inputs(place, self.history.categories)
                if place not in todo:
                    if any(i in todo or i in changing for i in inputs):
                        changing.add(place)
                    continue
                waits = [i for i in inputs if i in stale and not (i in ready and i[1] == place[1])]
                outside = [i for i in waits if i not in todo and i not in outcome.failed and i[1] == place[1] and self._was_built(i)]
                if len(outside) == len(waits) and not (patient and any(i in changing for i in inputs)):
                    ready.add(place)
                    groups.setdefault(place[1], []).append(place[0])
        return groups

    def _was_built(self, place: Place) -> bool:
        return place[1] in self.history.latest(place[0])

    def _execute(self, partition: str | None, keys: list[dg.AssetKey], outcome: Outcome) -> None:
        job, tags = self.job.get_subset(asset_selection=set(keys)), {BUILD_TAG: self.name}
        run = job.execute_in_process(QUIET, self.instance, partition, raise_on_error=False, tags=tags)
        for key in keys:
            for changed in (key, *self.graph.reports.get(key, ())):
                self.history.forget(changed)
        if not run.success:
            outcome.attempted |= {(key, partition) for key in keys}  # tried again by the next build, not by this one
        made = {event.asset_key for event in run.get_asset_materialization_events() if event.asset_key}
        outcome.built |= {(key, partition) for key in made}
        for evaluation in run.get_asset_check_evaluations():
            if evaluation.blocking and not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
                said = f"check {evaluation.check_name}: {evaluation.description or 'did not pass'}"
                self._fail((evaluation.asset_key, partition), said, outcome)
        steps = {handle: key for key in keys for handle in ("__".join(key.path), check_step(table_of(key)))}
        for event in run.all_events:
            if event.is_step_failure and (failed := steps.get(event.step_key or "")):
                error = event.step_failure_data.error
                message = ((error.cause or error).message if error else "failed").strip()
                message = message.removeprefix(f"{WhetstoneError.__module__}.{WhetstoneError.__name__}: ")
                if "DagsterAssetCheckFailedError" not in message:
                    self._fail((failed, partition), message, outcome)
        if not run.success and not outcome.attempted & set(outcome.failed):
            self._fail((keys[0], partition), f"run {run.run_id} failed; the Dagster UI shows why", outcome)

    def _fail(self, place: Place, message: str, outcome: Outcome) -> None:
        outcome.built.discard(place)
        outcome.failed[place] = message if place not in outcome.failed else f"{outcome.failed[place]}\n{message}"
        LOG.error("%s failed: %s", name_of(place), message)
