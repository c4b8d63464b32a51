"""The command line, `whetstone`: builds, explains, searches and reports. Every command says what it does with `--help`."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_write, exclusive
from whetstone.platform.settings import PROJECT, Settings, load_settings

if TYPE_CHECKING:
    import dagster as dg

    from whetstone.platform.build import Builder

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
source_app = typer.Typer(no_args_is_help=True, help="Look at a source's files.")
app.add_typer(source_app, name="source")
OUT = Console(soft_wrap=True, highlight=False)
ERR = Console(stderr=True, soft_wrap=True, highlight=False)

Select = Annotated[str | None, typer.Option("--select", "-s", help="Assets: names separated by commas, `+name`, `name+`, `group:NAME`.")]
Categories = Annotated[list[str] | None, typer.Option("--category", "-c", help="Only this category (slug); may be repeated.")]


def main() -> None:
    """Entry point: errors that Whetstone raises on purpose are printed without a traceback, exit code 1."""
    try:
        app()
    except WhetstoneError as error:
        ERR.print(f"[bold red]error:[/] {_plain(str(error))}")
        sys.exit(1)


@app.command()
def build(
    select: Select = None,
    category: Categories = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be built, and why.")] = False,
) -> None:
    """Build what is stale, in order, in this process. Exit code 1 if a step or a blocking check fails."""
    from whetstone.platform.build import LOG

    settings = load_settings()
    builder = open_builder(settings)
    if dry_run:
        wanted = builder.selected(select, category)
        stale = [each for each in builder.stale() if each.place in wanted]
        for each in stale:
            OUT.print(_plain(str(each)))
        OUT.print(f"{len(stale)} to build now; what depends on them follows if their content changes")
        return
    LOG.addHandler(_Progress())
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    from whetstone.platform.staleness import name_of

    with exclusive(settings.root / "build.lock", f"another build of source {settings.source} is running"):
        outcome = builder.run(select, category)

    for place, message in outcome.failed.items():
        ERR.print(f"[bold red]failed[/] {_plain(name_of(place))}: {_plain(message)}")
    for place, reason in outcome.held_back.items():
        ERR.print(f"[yellow]not built[/] {_plain(name_of(place))}: waits for {_plain(reason)}")
    OUT.print(str(outcome))
    if outcome.failed or outcome.held_back:
        raise typer.Exit(1)


@app.command()
def status(select: Select = None, category: Categories = None) -> None:
    """Say which asset partitions are stale, and why."""
    builder = open_builder(load_settings())
    wanted = builder.selected(select, category)
    stale = [each for each in builder.stale() if each.place in wanted]
    for each in stale:
        OUT.print(_plain(str(each)))
    OUT.print(f"{len(stale)} stale, {len(wanted) - len(stale)} up to date")


@app.command()
def search(
    query: Annotated[str | None, typer.Argument(help="What a shopper types.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many products.")] = 10,
    category: Annotated[str | None, typer.Option("--category", "-c", help="Only this category (slug).")] = None,
    system: Annotated[str, typer.Option(help="champion, base, bm25 or hybrid.")] = "champion",
    queries: Annotated[Path | None, typer.Option(help="A file of queries, one a line, instead of one query.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a query and line.")] = False,
) -> None:
    """Search the built index, over all categories or one."""
    if (query is None) == (queries is None):
        raise WhetstoneError('give either a query, as in `whetstone search "usb c charger"`, or a file with --queries')
    from whetstone.index.render import render_jsonl, render_table
    from whetstone.index.serving import open_searcher
    from whetstone.platform.asset import artifact_names
    from whetstone.platform.warehouse import Warehouse

    texts = _lines(queries) if queries else [query or ""]
    settings = load_settings()
    names = {category: name for category, name in artifact_names(dagster_instance(settings), "models.search_index").items() if category}
    searcher = open_searcher(settings, Warehouse(database=str(settings.warehouse_path)).read, names)
    found = searcher.search(texts, k, system, category)
    lines = render_jsonl(texts, found) if as_jsonl or as_json else [render_table(texts, found)]
    sys.stdout.writelines(f"{line}\n" for line in lines)


@app.command()
def report(as_json: Annotated[bool, typer.Option("--json", help="Print report.json.")] = False) -> None:
    """Print the evaluation of the last build."""
    from whetstone.evaluation.pages import table_text
    from whetstone.platform.artifacts import Artifacts
    from whetstone.platform.asset import artifact_names

    settings = load_settings()
    folder = settings.root / "report"
    made = artifact_names(dagster_instance(settings), "reports.report").get(None)
    if made is None:
        raise WhetstoneError(f"there is no report of source {settings.source} yet; run `whetstone build`")
    content = (Artifacts(settings.root / "artifacts").open(made).path / "report.json").read_text(encoding="utf-8")
    sys.stdout.write(content if as_json else table_text(json.loads(content)))
    if as_json:
        return
    OUT.print(f"\nreport: {folder / 'report.html'} (also .md and .json)")


@source_app.command("check")
def source_check() -> None:
    """Check a source's files against the contract before anything is built; prints every problem with file, row and mend."""
    from whetstone.catalog.source import open_source
    from whetstone.catalog.source_check import check_source, render
    from whetstone.grading.guideline import load_guideline

    settings = load_settings()
    source = open_source(settings)
    problems = check_source(source, load_guideline(source.spec.guideline).grades)
    if problems:
        sys.stdout.write(render(problems) + "\n")
        raise typer.Exit(1)
    OUT.print(f"source {source.spec.name}: no problems in {source.data}")


@app.command("demo-catalog")
def demo_catalog(
    products: Annotated[int, typer.Option(min=1, help="Products.")] = 2000,
    queries: Annotated[int, typer.Option(min=1, help="Queries.")] = 400,
    categories: Annotated[int, typer.Option(min=1, help="Root categories.")] = 5,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write (default: where the source `demo` looks).")] = None,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing if the folder is there.")] = False,
) -> None:
    """Generate a shop whose relevance is known by construction. The same seed gives the same bytes."""
    from whetstone.catalog.demo.generate import generate

    folder = out or load_settings().home / "demo" / "files"  # never where another source's files lie
    if if_missing and (folder / "products.parquet").exists():  # the generator puts it in place last
        OUT.print(f"{folder} is there already")
        return
    summary = generate(folder, products=products, queries=queries, categories=categories, seed=seed)
    counts = f"{summary.products:,} products in {summary.categories} categories, {sum(summary.queries.values()):,} queries"
    OUT.print(f"{_plain(str(folder))}: {counts}, {summary.judgments:,} judgments")


@app.command()
def settings(
    get: Annotated[str | None, typer.Option(help="Print only this value, e.g. dagster_home.")] = None,
) -> None:
    """Print every setting with its value and what it means."""
    values = load_settings()
    if get:
        if get not in {*Settings.model_fields, "root", "data_dir", "warehouse_path", "dagster_home"}:
            raise WhetstoneError(f"there is no setting {get!r}; `whetstone settings` lists them")
        OUT.print(str(getattr(values, get)))
        return
    table = Table("variable", "value", "meaning", box=None)
    for name, field in Settings.model_fields.items():
        value = getattr(values, name)
        table.add_row(f"WHETSTONE_{name.upper()}", "" if value is None else str(value), field.description or "")
    Console(width=200 if not sys.stdout.isatty() else None, highlight=False).print(table)


@app.command()
def cycle(
    build_now: Annotated[bool, typer.Option("--build/--no-build", help="Build the new cycle at once.")] = True,
) -> None:
    """Start the next round: the champion becomes the encoder that mines."""
    from whetstone.platform.registry import registry_of

    values = load_settings()
    pointers = registry_of(values).next_cycle()
    OUT.print(f"cycle {pointers.cycle}: {pointers.incumbent.name} ({pointers.incumbent.version}) mines from now on")
    if build_now:
        build(None, None, False)


class _Progress(logging.Handler):
    """Prints an asset partition when it is made, with the time that it took."""

    def __init__(self) -> None:
        super().__init__()
        self._since: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        place, event = record.getMessage(), getattr(record, "event", None)
        if event == "start":
            self._since[place] = time.perf_counter()
        elif event == "end":
            ERR.print(f"[green]built[/] {_plain(place)} [dim]{time.perf_counter() - self._since.pop(place, time.perf_counter()):.1f} s[/]")


def open_builder(values: Settings) -> Builder:
    """The builder of the project's definitions, after the feed was looked at."""
    from whetstone.catalog.jobs import apply, refresh
    from whetstone.platform.artifacts import Artifacts
    from whetstone.platform.build import Builder
    from whetstone.platform.warehouse import Warehouse

    definitions = load_definitions(values)
    instance = dagster_instance(values)
    warehouse = Warehouse(database=str(values.warehouse_path))
    feed = refresh(values, warehouse, instance)
    apply(feed, instance)
    for what, count in feed.dropped.items():
        ERR.print(f"[yellow]left out[/] {count} {what}; `whetstone source check` lists them")
    return Builder(definitions, instance, Artifacts(values.root / "artifacts"), warehouse)


def load_definitions(values: Settings) -> dg.Definitions:
    """The project's definitions, from its `definitions.py`."""
    spec = importlib.util.spec_from_file_location("definitions", PROJECT / "definitions.py")
    if spec is None or spec.loader is None:
        raise WhetstoneError(
            f"{PROJECT / 'definitions.py'} is missing: whetstone runs in a clone of its repository, installed with pip install -e"
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    built: dg.Definitions = module.build(values)
    return built


def dagster_instance(values: Settings) -> dg.DagsterInstance:
    """Dagster's instance of the source: the same history as the UI and the daemon.

    The output of steps goes to the terminal, not to files: capturing it costs two processes a step.
    """
    import dagster as dg
    from dagster._core.instance.ref import InstanceRef

    prepare_dagster_home(values)
    no_capture = {"compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}}
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(values.dagster_home), overrides=no_capture))


def prepare_dagster_home(values: Settings) -> None:
    """Make DAGSTER_HOME of the source, with the project's dagster.yaml in it, and point this process to it."""
    config, target = (PROJECT / "dagster.yaml").read_text(), values.dagster_home / "dagster.yaml"
    if not target.exists() or target.read_text() != config:
        atomic_write(target, config)
    os.environ["DAGSTER_HOME"] = str(values.dagster_home)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def dev(context: typer.Context) -> None:
    """Start the Dagster UI and daemon on the same history as the command line; further options go to `dagster dev`."""
    values = load_settings()
    prepare_dagster_home(values)
    os.chdir(PROJECT)
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", *context.args])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WhetstoneError(f"--queries {path}: {error}; give a UTF-8 text file with one query a line") from None


def _plain(text: str) -> str:
    """Text without rich's markup, so that a category called `[red]` is printed as it is."""
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
