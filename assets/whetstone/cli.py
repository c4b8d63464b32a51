"""The command line, `whetstone`: builds, explains, searches and reports. Every command says what it does with `--help`."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from whetstone.platform.errors import WhetstoneError
from whetstone.platform.files import atomic_write, exclusive
from whetstone.platform.settings import PROJECT, Settings, load_settings
from whetstone.project import ERR, Progress, dagster_instance, mend_of, open_builder, plain

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
source_app = typer.Typer(no_args_is_help=True, help="Look at a source's files.")
app.add_typer(source_app, name="source")
OUT = Console(soft_wrap=True, highlight=False)

Select = Annotated[str | None, typer.Option("--select", "-s", help="Assets: names separated by commas, `+name`, `name+`, `group:NAME`.")]
Categories = Annotated[list[str] | None, typer.Option("--category", "-c", help="Only this category (slug); may be repeated.")]


def main() -> None:
    """Entry point: errors that the user can mend are printed without a traceback, exit code 1."""
    try:
        app()
    except Exception as error:
        if (said := mend_of(error)) is None:
            raise
        ERR.print(f"[bold red]error:[/] {plain(said)}")
        sys.exit(1)


@app.command()
def build(
    select: Select = None,
    category: Categories = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be built, and why.")] = False,
) -> None:
    """Build what is stale, in order, in this process. Exit code 1 if a step or a blocking check fails."""
    from whetstone.platform.staleness import name_of

    if dry_run:
        stale, _ = _print_stale(select, category)
        OUT.print(f"{stale} to build now; what depends on them follows if their content changes")
        return
    settings = load_settings()
    builder = open_builder(settings)
    said, log = Progress(), logging.getLogger("whetstone.build")
    log.propagate = False
    for each in (log, logging.getLogger("whetstone.grading")):
        each.addHandler(said)
        each.setLevel(logging.INFO)
    with exclusive(settings.root / "build.lock", f"another build of source {settings.source} is running"):
        outcome = builder.run(select, category)

    for place, message in outcome.failed.items():
        ERR.print(f"[bold red]failed[/] {plain(name_of(place))}: {plain(message)}")
    for place, reason in outcome.held_back.items():
        ERR.print(f"[yellow]not built[/] {plain(name_of(place))}: waits for {plain(reason)}")
    OUT.print(str(outcome))
    if outcome.failed or outcome.held_back:
        raise typer.Exit(1)


@app.command()
def status(select: Select = None, category: Categories = None) -> None:
    """Say which asset partitions are stale, and why, and which tables wait for more changed rows."""
    stale, others = _print_stale(select, category)
    OUT.print(f"{stale} stale, {others} up to date")


@app.command()
def check(
    select: Select = None,
    category: Categories = None,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML to this file, for continuous integration.")] = None,
) -> None:
    """Run asset checks on what is built, and make nothing. Exit code 1 if a blocking check fails with severity ERROR."""
    from whetstone.platform import checking
    from whetstone.platform.staleness import name_of

    found = checking.run_checks(open_builder(load_settings(), look_at_feed=False), select, category)
    table = Table("check", "asset", "status", "severity", "blocking", "said", box=None)
    for each in found:
        blocks = "blocking" if each.blocking else ""
        table.add_row(*map(plain, (each.name, name_of(each.place), each.status, each.severity, blocks, each.said)))
    Console(width=200 if not sys.stdout.isatty() else None, highlight=False).print(table)
    if junit:
        atomic_write(junit, checking.junit(found))
    counts = [f"{sum(each.status == status for each in found)} {status}" for status in ("passed", "failed", "error", "skipped")]
    stops = sum(each.stops for each in found)
    OUT.print(f"{', '.join(counts)}; {stops} stop what depends on them")
    if stops:
        raise typer.Exit(1)


@app.command()
def rollback(
    to: Annotated[str | None, typer.Option("--to", "-n", help="Name or version of a previous champion (default: the last).")] = None,
    show: Annotated[bool, typer.Option("--list", help="Only list the champion and those before it.")] = False,
) -> None:
    """Let the previous champion serve again at once; the one after it is not promoted again."""
    from whetstone.evaluation.jobs import list_champions, roll_back
    from whetstone.platform.checking import run_checks
    from whetstone.platform.registry import registry_of

    values = load_settings()
    state = registry_of(values).require_state()
    builder = None if show else open_builder(values, look_at_feed=False)
    for line in roll_back(builder, values, to) if builder else list_champions(state):
        OUT.print(plain(line))
    for checked in run_checks(builder, "champion") if builder else ():  # else the next build would ask the gate again to run them
        OUT.print(plain(f"check {checked.name} {checked.status}: {checked.said}"))


@app.command()
def gc(dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False) -> None:
    """Remove artifacts and cached vectors that neither the last build, nor what serves or may serve again, needs."""
    from whetstone.index.jobs import collect_garbage

    values = load_settings()
    with exclusive(values.root / "build.lock", f"a build of source {values.source} is running"):
        found = collect_garbage(open_builder(values, look_at_feed=False), values, dry_run)
    total = sum(count for _, count, _ in found), sum(size for *_, size in found)
    for kind, count, size in [*found, ("would remove" if dry_run else "removed", *total)]:
        OUT.print(f"{kind}: {count:,}, {size / 2**20:,.1f} MiB")


@app.command()
def grade(
    category: Categories = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Buy nothing; say what each stage would be asked, and for how much.")] = False,
) -> None:
    """Grade what mining proposes, and audit it: builds `grades` and `grade_audit` with all that they need.

    A dry run lets the free stages answer, looks up what was bought before, and estimates the rest.
    """
    if not dry_run:
        build("+grade_audit", category, False)
        return
    from whetstone.grading.jobs import plan_grading

    settings = load_settings()
    builder = open_builder(settings)
    builder.selected(None, category)  # an unknown category is an error
    notes, planned = plan_grading(settings, builder, category)
    for line in notes:
        ERR.print(f"[yellow]note[/] {plain(line)}")
    OUT.print(plain(planned))


@app.command()
def search(
    query: Annotated[str | None, typer.Argument(help="What a shopper types.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many products.")] = 10,
    category: Annotated[str | None, typer.Option("--category", "-c", help="Only this category (slug).")] = None,
    system: Annotated[str, typer.Option(help="champion, base, bm25, hybrid (blend) or rrf (by ranks).")] = "champion",
    queries: Annotated[Path | None, typer.Option(help="A file of queries, one a line, instead of one query.")] = None,
    as_json: Annotated[bool, typer.Option("--json", "--jsonl", help="Print one JSON object a query and line instead of a table.")] = False,
) -> None:
    """Search the published set of shards, over all categories or one, for a query or (never both) a file of --queries."""
    if (query is None) == (queries is None):
        raise WhetstoneError('give either a query, as in `whetstone search "usb c charger"`, or a file with --queries')
    from whetstone.index.render import render_jsonl, render_table
    from whetstone.index.serving import open_searcher
    from whetstone.platform.warehouse import Warehouse

    try:
        texts = queries.read_text(encoding="utf-8").removesuffix("\n").split("\n") if queries else [query or ""]
    except (OSError, UnicodeDecodeError) as error:
        raise WhetstoneError(f"--queries {queries}: {error}; give a UTF-8 text file with one query a line") from None
    settings = load_settings()
    searcher = open_searcher(settings, Warehouse(database=str(settings.warehouse_path)).read)
    found = searcher.search(texts, k, system, category)
    lines = render_jsonl(texts, found) if as_json else [render_table(texts, found)]
    sys.stdout.writelines(f"{line}\n" for line in lines)


@app.command()
def report(as_json: Annotated[bool, typer.Option("--json", help="Print report.json.")] = False) -> None:
    """Print the evaluation of the last build; before there is one, that is an error."""
    from whetstone.evaluation.pages import table_text
    from whetstone.platform.artifacts import Artifacts
    from whetstone.platform.asset import artifact_names, key_of
    from whetstone.platform.history import History
    from whetstone.platform.staleness import held_back

    settings = load_settings()
    instance = dagster_instance(settings)
    made = artifact_names(instance, "reports.report").get(None)
    if made is None:
        raise WhetstoneError(f"there is no report of source {settings.source} yet; run `whetstone build`")
    content = (Artifacts(settings.root / "artifacts").open(made).path / "report.json").read_text(encoding="utf-8")
    sys.stdout.write(content if as_json else table_text(json.loads(content)))
    if not as_json:
        for line in held_back(History(instance), [key_of("staging.judged_pairs")]):
            OUT.print(line)
        OUT.print(f"\nreport: {settings.root / 'report' / 'report.html'} (also .md and .json)")


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
    products: Annotated[int, typer.Option(min=1, max=9_999_999, help="Products.")] = 2000,
    queries: Annotated[int, typer.Option(min=1, max=999_999, help="Queries.")] = 400,
    categories: Annotated[int, typer.Option(min=1, max=1_000, help="Root categories.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Folder to write (default: where the source `demo` looks).")] = None,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing if the folder is there.")] = False,
) -> None:
    """Generate a shop whose relevance is known by construction. The same seed gives the same bytes."""
    from whetstone.catalog.demo.generate import generate

    folder = out or load_settings().home / "demo" / "files"  # never where another source's files lie
    if if_missing and (folder / "products.parquet").exists():  # the generator puts it in place last
        OUT.print(f"{folder} is there already")
        return
    generate(folder, products=products, queries=queries, categories=categories, seed=seed)
    OUT.print(f"{plain(str(folder))}: {products:,} products in {categories} categories, {queries:,} queries")


@app.command()
def settings(get: Annotated[str | None, typer.Option(help="Print only this value, e.g. dagster_home.")] = None) -> None:
    """Print every setting with its value and what it means, or one value; an unknown name is an error."""
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
def cycle(build_now: Annotated[bool, typer.Option("--build/--no-build", help="Build the new cycle at once.")] = True) -> None:
    """Start the next round: the champion becomes the encoder that mines."""
    from whetstone.platform.registry import registry_of

    values = load_settings()
    pointers = registry_of(values).next_cycle()
    OUT.print(f"cycle {pointers.cycle}: {pointers.incumbent.name} ({pointers.incumbent.version}) mines from now on")
    if build_now:
        build(None, None, False)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def dev(context: typer.Context) -> None:
    """Start the Dagster UI and daemon on the same history as the command line; further options go to `dagster dev`."""
    dagster_instance(load_settings())  # makes its tables: two processes of `dagster dev` at once would spoil them
    os.chdir(PROJECT)
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", *context.args])


def _print_stale(select: str | None, category: list[str] | None) -> tuple[int, int]:
    """Say what is stale and why, and what is held; how many of the selected places are stale, and how many are not."""
    from whetstone.platform.staleness import held_back

    builder = open_builder(load_settings())
    wanted = builder.selected(select, category)
    stale = [each for each in builder.stale() if each.place in wanted]
    for each in stale:
        OUT.print(plain(str(each)))
    for line in held_back(builder.history, sorted(key for key, c in wanted.difference(each.place for each in stale) if c is None)):
        OUT.print(line)
    return len(stale), len(wanted) - len(stale)


if __name__ == "__main__":
    main()
