"""A process that has imported everything and computed nothing: builds are forked from it, so that a kill costs no new start of Python.

    python -m tests.faults.mother build=HOME kill=HOME meet=HOME      with all other settings in WHETSTONE_*

- build: one build
- kill: one build that is killed at the first write of an asset, and begun again, until every asset was met
- meet: two builds at once, and builds that come while another one is stopped, with and without the warehouse in its hands

Prints a line of JSON for each process that ended or was stopped: plan, name and exit code (negative: the signal).
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import pkgutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory

import whetstone
from whetstone import cli, project
from whetstone.platform import sql_models, warehouse
from whetstone.platform.settings import load_settings

PLAN: list[str] = []
Moment = Callable[[str], None]  # told "before marts.grades" and "after marts.grades" at each of an asset's writes


def prepare() -> None:
    """Import what builds need, with nothing that a fork breaks: no thread, no open file."""
    for each in pkgutil.walk_packages(whetstone.__path__, "whetstone."):
        importlib.import_module(each.name)
    importlib.import_module("matplotlib.pyplot")
    scripts, read = dict[str | None, ScriptDirectory](), ScriptDirectory.from_config  # Dagster's migrations, read once for all processes

    def read_once(config: Config) -> ScriptDirectory:
        return scripts.setdefault(config.get_main_option("script_location"), read(config))

    ScriptDirectory.from_config = read_once  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        project.dagster_instance(load_settings().model_copy(update={"home": Path(folder)})).dispose()
    sql_models.column_lineage = lambda *_: sql_models.dg.TableColumnLineage({})  # a second in each process


def watch_writes(moment: Moment) -> None:
    """Call `moment` before and after each rename and each commit of the warehouse that an asset does."""
    asset, replace, transaction = [""], os.replace, warehouse.Warehouse.transaction

    class Current(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if event := getattr(record, "event", None):
                asset[0] = record.getMessage().split("[")[0] if event == "start" else ""

    def watched_replace(*args: Any) -> None:
        moment(f"before {asset[0]}")
        replace(*args)
        moment(f"after {asset[0]}")

    @contextmanager
    def watched_transaction(self: warehouse.Warehouse) -> Iterator[Any]:
        with transaction(self) as connection:
            yield connection
            moment(f"before {asset[0]}")
        moment(f"after {asset[0]}")

    logging.getLogger("whetstone.build").addHandler(Current())
    os.replace, warehouse.Warehouse.transaction = watched_replace, watched_transaction  # type: ignore[method-assign]


def start(moment: Moment | None, *arguments: str) -> int:
    """The process of a `whetstone build`."""
    if child := os.fork():
        return child
    try:
        if moment:
            watch_writes(moment)
        sys.argv = ["whetstone", "build", *arguments]
        cli.main()
    except SystemExit as ended:
        sys.stdout.flush()
        os._exit(int(ended.code or 0))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(3)


def end(name: str, child: int) -> int:
    """Wait until a process has ended or is stopped; its exit code, or the signal."""
    status = os.waitpid(child, os.WUNTRACED)[1]
    code = -signal.SIGSTOP if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
    sys.stdout.write(f"{json.dumps({'plan': PLAN[-1], 'name': name, 'code': code})}\n")
    sys.stdout.flush()
    return code


def kill() -> None:
    """Kill at every asset once, before or after its first write, by turns; the champion after its second one, the promotion."""
    path = load_settings().home / "killed"
    while True:
        met = path.read_text().split() if path.exists() else []
        passed: list[str] = []

        def moment(place: str, met: list[str] = met, passed: list[str] = passed) -> None:
            when, asset = place.split(" ")
            passed.append(place)
            wanted = "before" if len(met) % 2 and asset != "models.champion" else "after"
            if asset and asset not in met and when == wanted and passed.count(place) == 1 + (asset == "models.champion"):
                path.open("a").write(f"{asset}\n")
                os.kill(os.getpid(), signal.SIGKILL)

        if end("build", start(moment)) != -signal.SIGKILL:
            return


def meet() -> None:
    """Builds of one home that meet."""
    for twin in [start(None, "--select", "staging.products") for _ in range(2)]:
        end("twin", twin)

    def stop(place: str) -> None:
        if place.endswith("marts.bm25_run"):
            os.kill(os.getpid(), signal.SIGSTOP)

    first = start(stop, "--select", "+bm25_run")
    end("first, in the middle of a write", first)
    warehouse.LOCK_PATIENCE_S = 0.3
    end("second", start(None))
    os.kill(first, signal.SIGCONT)
    end("first, after the write", first)
    end("third", start(None))
    os.kill(first, signal.SIGCONT)
    end("first", first)


def run(plan: str, home: str) -> None:
    """One plan in one home."""
    PLAN.append(plan)
    os.environ["WHETSTONE_HOME"] = home
    definitions = project.load_definitions(load_settings())
    definitions.resolve_implicit_global_asset_job_def()
    project.load_definitions, load = lambda values: definitions, project.load_definitions
    {"build": lambda: end("build", start(None)), "kill": kill, "meet": meet}[plan]()
    project.load_definitions = load


if __name__ == "__main__":
    prepare()
    for argument in sys.argv[1:]:
        run(*argument.split("=", 1))
