"""Running asset checks alone, without making any asset: the engine of `whetstone check`, and its report as JUnit XML.

A check runs on the latest content of its asset (partition); what was never built is skipped. Its evaluation is recorded as that of a build
is: a blocking check that fails holds back what depends on the asset, and one that passes again lets it go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import dagster as dg

from whetstone.platform.asset import table_of
from whetstone.platform.build import QUIET, Builder
from whetstone.platform.staleness import Place, name_of


@dataclass(frozen=True)
class Checked:
    """One check of one asset (partition). `status` is passed, failed, error (it could not be run) or skipped."""

    name: str
    place: Place
    status: str
    severity: str  # ERROR or WARN
    blocking: bool
    said: str

    @property
    def stops(self) -> bool:
        """Whether a build and continuous integration must not go on."""
        return self.blocking and self.severity == "ERROR" and self.status in ("failed", "error")


def run_checks(builder: Builder, select: str | None = None, categories: list[str] | None = None) -> list[Checked]:
    """Run the checks of the selected places (as `Builder.selected`), one Dagster run a category; ordered by asset, category and check."""
    graph: Any = builder.job.asset_layer.asset_graph
    keys, known = builder.keys(select), builder.known(categories)
    places: dict[str | None, list[dg.AssetCheckKey]] = {}
    for key in sorted((key for key in graph.asset_check_keys if key.asset_key in keys), key=str):
        for partition in known if graph.get(key).partitions_def else [None]:
            places.setdefault(partition, []).append(key)
    found: list[Checked] = []
    for partition, checks in sorted(places.items(), key=str):
        latest = {check: builder.history.latest(check.asset_key) for check in checks}
        made = [check for check in checks if latest[check] and partition in {None, *latest[check]}]
        ran = _run(builder, made, partition) if made else {}
        for check in checks:
            status, severity, said = ran.get(check, ("skipped", "ERROR", "never built"))
            found.append(Checked(check.name, (check.asset_key, partition), status, severity, graph.get(check).blocking, said))
    return sorted(found, key=lambda each: (name_of(each.place), each.name))


def _run(builder: Builder, checks: list[dg.AssetCheckKey], partition: str | None) -> dict[dg.AssetCheckKey, tuple[str, str, str]]:
    """Status, severity and what was said of every check, in one run."""
    job = builder.job.get_subset(asset_selection=set(), asset_check_selection=set(checks))
    run = job.execute_in_process(QUIET, builder.instance, partition, raise_on_error=False)
    ran = {}
    for each in run.get_asset_check_evaluations():
        counted = ", ".join(f"{name} {value.value}" for name, value in each.metadata.items())
        ran[each.asset_check_key] = ("passed" if each.passed else "failed", each.severity.value, each.description or counted)
    errors = [event.step_failure_data.error for event in run.all_events if event.is_step_failure]
    said = "; ".join((error.cause or error).message.strip() for error in errors if error) or f"run {run.run_id} failed"
    return {check: ran.get(check, ("error", "ERROR", said)) for check in checks}


def junit(found: Sequence[Checked]) -> str:
    """The checks as JUnit XML, which continuous-integration systems show: a suite for each asset, a case for each check and category.

    What stops is a failure; a failed check that doesn't stop is a case that passed, with what it said as its output.
    """
    root = ElementTree.Element("testsuites", name="whetstone check")
    suites: dict[str, ElementTree.Element] = {}
    for each in found:
        table = table_of(each.place[0])
        suite = suites.setdefault(table, ElementTree.Element("testsuite", name=table))
        case = ElementTree.SubElement(suite, "testcase", classname=name_of(each.place), name=each.name)
        if each.stops:
            kind = "error" if each.status == "error" else "failure"
            ElementTree.SubElement(case, kind, message=_plain(each.said)).text = _plain(each.said)
        elif each.status == "skipped":
            ElementTree.SubElement(case, "skipped", message=each.said)
        elif each.status != "passed":
            ElementTree.SubElement(case, "system-out").text = _plain(f"{each.status}, {each.severity}: {each.said}")
    for suite in suites.values():
        counts = {"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error", "skipped": "testcase/skipped"}
        suite.attrib.update({name: str(len(suite.findall(path))) for name, path in counts.items()})
        root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _plain(text: str) -> str:
    """Text without the characters that XML 1.0 can't hold."""
    return "".join(c for c in text if c in "\t\n" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE or ord(c) >= 0x10000)
