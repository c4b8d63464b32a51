"""Checks run alone: what they find, what stops, and the JUnit XML that continuous integration reads."""

from xml.etree import ElementTree

import dagster as dg
import pytest

from whetstone.platform.artifacts import Artifacts
from whetstone.platform.asset import asset, key_of, result
from whetstone.platform.build import Builder
from whetstone.platform.checking import junit, run_checks
from whetstone.platform.partitions import CATEGORIES

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


class World:
    """raw.catalog[c] -> marts.a[c], and marts.never; checks whose answers the test decides."""

    def __init__(self, tmp_path) -> None:
        self.bad: dict[str, object] = {}
        self.ran: list[str] = []
        self.instance, self.artifacts = dg.DagsterInstance.ephemeral(), Artifacts(tmp_path)
        self.instance.add_dynamic_partitions("category", ["books", "toys"])
        for category in ("books", "toys"):
            tags = {"dagster/data_version": "1"}
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key_of("raw.catalog"), partition=category, tags=tags))

    def check(self, name: str, table: str, blocking: bool, severity: dg.AssetCheckSeverity, by_category: bool = True) -> object:
        world = self

        @dg.asset_check(asset=key_of(table), name=name, blocking=blocking, partitions_def=CATEGORIES if by_category else None)
        def made(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
            place = f"{name}[{context.partition_key}]" if by_category else name
            if isinstance(said := world.bad.get(place), Exception):
                raise said
            return dg.AssetCheckResult(passed=said is None, severity=severity, description=said, metadata={"count": 7})

        return made

    def builder(self) -> Builder:
        world = self

        @asset(schema="marts", group="g", kinds={"python"}, deps=["raw.catalog"])
        def a(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            """A toy."""
            world.ran.append(context.partition_key)
            return result(version="1")

        @asset(schema="marts", group="g", kinds={"python"}, deps=["marts.a"], by_category=False)
        def never(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            """A toy that isn't built."""
            return result(version="1")

        checks = [
            self.check("is_good", "marts.a", True, ERROR),
            self.check("is_usual", "marts.a", False, WARN),
            self.check("only_told", "marts.a", False, ERROR),
            self.check("is_fresh", "raw.catalog", False, WARN, by_category=False),
            self.check("is_there", "marts.never", True, ERROR, by_category=False),
        ]
        assets = [dg.AssetSpec(["raw", "catalog"], partitions_def=CATEGORIES), a, never]
        return Builder(dg.Definitions(assets, asset_checks=checks, executor=dg.in_process_executor), self.instance, self.artifacts)


@pytest.fixture
def world(tmp_path) -> World:
    world = World(tmp_path)
    world.builder().run("a")
    world.ran.clear()
    return world


def test_every_check_runs_once_for_each_category_and_no_asset_does(world) -> None:
    found = run_checks(world.builder())
    assert [(each.place[1], each.name, each.status) for each in found] == [
        ("books", "is_good", "passed"),
        ("books", "is_usual", "passed"),
        ("books", "only_told", "passed"),
        ("toys", "is_good", "passed"),
        ("toys", "is_usual", "passed"),
        ("toys", "only_told", "passed"),
        (None, "is_there", "skipped"),
        (None, "is_fresh", "passed"),
    ]
    assert world.ran == [] and not any(each.stops for each in found)
    assert found[0].said == "count 7" and found[-2].said == "never built"


def test_selections_are_those_of_a_build(world) -> None:
    assert {each.name for each in run_checks(world.builder(), "catalog")} == {"is_fresh"}
    assert {(each.name, each.place[1]) for each in run_checks(world.builder(), "a", ["toys"])} == {
        ("is_good", "toys"),
        ("is_usual", "toys"),
        ("only_told", "toys"),
    }


def test_only_a_blocking_error_stops(world) -> None:
    world.bad = {"is_usual[toys]": "odd", "only_told[toys]": "bad", "is_fresh": "old"}
    found = run_checks(world.builder())
    assert {each.name: each.severity for each in found if each.status == "failed"} == {
        "is_usual": "WARN",
        "only_told": "ERROR",
        "is_fresh": "WARN",
    }
    assert not any(each.stops for each in found)
    world.bad["is_good[books]"] = "3 rows break it"
    assert [(each.name, each.place[1], each.said) for each in run_checks(world.builder()) if each.stops] == [
        ("is_good", "books", "3 rows break it")
    ]
    assert any("is_good did not pass" in str(each) for each in world.builder().stale())  # it holds back what a build would make from it


def test_a_check_that_breaks_is_an_error_and_spares_the_others(world) -> None:
    world.bad = {"is_good[toys]": RuntimeError("no such column"), "is_usual[books]": RuntimeError("neither")}
    found = run_checks(world.builder())
    errors = {(each.name, each.place[1]): each for each in found if each.status == "error"}
    assert set(errors) == {("is_good", "toys"), ("is_usual", "books")}
    assert errors["is_good", "toys"].stops and not errors["is_usual", "books"].stops
    assert "no such column" in errors["is_good", "toys"].said
    assert [each.status for each in found if each.place[1] == "toys" and each.name != "is_good"] == ["passed", "passed"]


def test_junit_counts_and_says_what_the_checks_found(world) -> None:
    world.bad = {"is_good[toys]": "\x1b 2 < 3 & \ud800 rows", "is_good[books]": RuntimeError("broke"), "is_usual[toys]": "odd"}
    root = ElementTree.fromstring(junit(run_checks(world.builder())))
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == ["marts.a", "marts.never", "raw.catalog"]
    counts = [suites["marts.a"].get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["6", "1", "1", "0"] and suites["marts.never"].get("skipped") == "1"
    cases = {(case.get("classname"), case.get("name")): case for case in root.iter("testcase")}
    assert cases["marts.a[toys]", "is_good"].find("failure").get("message") == " 2 < 3 &  rows"
    assert "broke" in cases["marts.a[books]", "is_good"].find("error").get("message")
    assert cases["marts.a[toys]", "is_usual"].find("system-out").text == "failed, WARN: odd"
    assert len(cases["marts.a[books]", "is_usual"]) == 0
