"""The project as the command line and the tests open it: its definitions, Dagster's instance of a source, and the builder of both."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import sqlite3
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_write, exclusive
from whetstone.platform.settings import PROJECT, Settings
from whetstone.platform.sqlite import without_waiting

if TYPE_CHECKING:
    import dagster as dg

    from whetstone.platform.build import Builder

ERR = Console(stderr=True, soft_wrap=True, highlight=False)
UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOSPC, errno.EDQUOT}
plain = escape  # text without rich's markup, so that a category called `[red]` is printed as it is


def open_builder(values: Settings, look_at_feed: bool = True) -> Builder:
    """The builder of the project's definitions, after the feed was looked at, unless what is there is all that matters."""
    from whetstone.catalog.jobs import Feed, apply, refresh
    from whetstone.evaluation.jobs import hear_of_rollback
    from whetstone.platform.artifacts import Artifacts
    from whetstone.platform.build import Builder
    from whetstone.platform.warehouse import Warehouse

    definitions = load_definitions(values)
    instance = dagster_instance(values)
    warehouse = Warehouse(database=str(values.warehouse_path))
    feed = refresh(values, warehouse, instance) if look_at_feed else Feed()
    apply(feed, instance)
    artifacts = Artifacts(values.root / "artifacts")
    hear_of_rollback(values, instance, warehouse, artifacts)  # a kill may have come between
    for what, count in feed.dropped.items():
        ERR.print(f"[yellow]left out[/] {count} {what}; `whetstone source check` lists them")
    return Builder(definitions, instance, artifacts, warehouse)


def load_definitions(values: Settings) -> dg.Definitions:
    """The project's definitions, from its `definitions.py`; WhetstoneError: it is missing."""
    spec = importlib.util.spec_from_file_location("definitions", PROJECT / "definitions.py")
    if spec is None or spec.loader is None:
        where = "whetstone runs in a clone of its repository, installed with pip install -e"
        raise WhetstoneError(f"{PROJECT / 'definitions.py'} is missing: {where}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    built: dg.Definitions = module.build(values)
    return built


def dagster_instance(values: Settings) -> dg.DagsterInstance:
    """Dagster's instance of the source: the same history as the UI and the daemon. DAGSTER_HOME names it, with the project's dagster.yaml.

    The output of steps goes to the terminal, not to files: capturing it costs two processes a step.
    """
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    config, target = (PROJECT / "dagster.yaml").read_text(), values.dagster_home / "dagster.yaml"
    if not target.exists() or target.read_text() != config:
        atomic_write(target, config)
    os.environ["DAGSTER_HOME"] = str(values.dagster_home)
    without_waiting(values.dagster_home)
    no_capture = {"compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}}
    with exclusive(values.root / "dagster.lock"):  # two processes that made its tables at once would spoil them for ever
        return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(values.dagster_home), overrides=no_capture))


def mend_of(error: Exception) -> str | None:
    """What to say of an error that the user can mend: one that Whetstone raises on purpose, or one of the disk; None of any other."""
    mend = "make it writable, free its disk, or name another home in WHETSTONE_HOME"
    if isinstance(error, WhetstoneError):
        return str(error)
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return f"{error}; {mend}"
    if isinstance(cause := getattr(error, "orig", None), sqlite3.Error):  # of SQLAlchemy
        lost = "If it is damaged, move it away: all is built anew then, but nothing is bought again"
        return f"Dagster's history in {os.environ['DAGSTER_HOME']} can't be used: {cause}; {mend}. {lost}"
    return None


class Progress(logging.Handler):
    """Prints an asset partition when it is made, with the time that it took, and what grading says while it works."""

    def __init__(self) -> None:
        super().__init__()
        self._since: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Print the end of a step, or a line of grading (a warning in yellow); failures are told when the build ends."""
        said, event = record.getMessage(), getattr(record, "event", None)
        if event == "start":
            self._since[said] = time.perf_counter()
        elif event == "end":
            ERR.print(f"[green]built[/] {plain(said)} [dim]{time.perf_counter() - self._since.pop(said, time.perf_counter()):.1f} s[/]")
        elif record.name == "whetstone.grading":
            style = "yellow" if record.levelno >= logging.WARNING else "dim"
            ERR.print(f"[{style}]{record.levelname.lower()}[/] {plain(said)}")
