"""What a change costs, as a share of a full build: `make bench-incremental`.

    python tests/bench/bench_incremental.py                       20,000 products, 20 categories, MiniLM: an hour without a GPU
    python tests/bench/bench_incremental.py --encoder static      minutes (shares are of a much shorter full build, so larger)

    full          build of everything, training included
    nothing       build again: no step may run                                            goal: 1 % of full
    title         one product's title edited: one text encoded; graded are its pairs, and pairs that come up in their place   goal: 3 %
    price         every price edited: nothing downstream of the landing runs              goal: no step
    category      a new category of 1/20 of the products                                  goal: 10 %
    status, rest  `whetstone status` and a build with nothing to do, 200 categories of 24 products built whole    goals: 10 s, 30 s

A build is `whetstone build` in a process of its own. Counted are steps (asset partitions made), categories touched, texts encoded (once by
the encoder that mines, once by the champion) and requests to annotators. What was built is kept in `--home`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import pandas as pd
from quality_world import static_base

GRADERS = "simulated_small,simulated_large"


class Shop:
    """A demo shop in a home of its own, driven by the command line."""

    def __init__(self, home: Path, encoder: str, extra: dict[str, str]) -> None:
        self.root, self.full = home / "demo", 0.0
        self.products = self.root / "files" / "products.parquet"
        own = {"WHETSTONE_HOME": str(home), "WHETSTONE_SOURCE": "demo", "WHETSTONE_DATA": "", "WHETSTONE_CASCADE": GRADERS}
        self.environment = {**os.environ, **own, "WHETSTONE_ENCODER": encoder, **extra}

    def run(self, *arguments: str) -> tuple[float, str, str]:
        """Seconds, standard output and standard error of one command."""
        start = time.perf_counter()
        command = [sys.executable, "-m", "whetstone.cli", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return time.perf_counter() - start, done.stdout, done.stderr

    def counts(self) -> dict[str, int]:
        """Texts that were ever encoded, and pairs that were ever graded."""
        vectors, found = self.root / "vectors" / "vectors.sqlite", {"texts": 0, "graded": 0}
        if vectors.exists():
            with sqlite3.connect(vectors) as connection:
                found["texts"] = connection.execute("select count(*) from vectors").fetchone()[0]
            with duckdb.connect(str(self.root / "warehouse.duckdb"), read_only=True) as connection:
                found["graded"] = connection.execute("select count(*) from ledger.grades").fetchone()[0]
        return found

    def build(self, name: str, goal: str, *arguments: str) -> dict[str, object]:
        """One build and what it did; the first is what the others are a share of."""
        before = self.counts()
        seconds, said, progress = self.run("build", *arguments)
        self.full = self.full or seconds
        made = re.findall(r"^built (\S+?)(?:\[(.+?)\])? [\d.]+ s", progress, re.MULTILINE)
        after = {key: value - before[key] for key, value in self.counts().items()}
        categories = len({category for _, category in made if category})
        share = f"{seconds / self.full:.1%}"
        row = {"build": name, "seconds": round(seconds, 1), "share": share, "goal": goal, "steps": len(made), "categories": categories}
        print(json.dumps({**row, **after, "said": said.strip().splitlines()[-1]}), flush=True)
        return {**row, **after}

    def edit(self, select: str) -> None:
        """Replace the products file by a SELECT over `products`."""
        new = self.products.with_suffix(".tmp")
        duckdb.execute(f"copy (with products as (select * from read_parquet('{self.products}')) {select}) to '{new}' (format parquet)")
        new.replace(self.products)


def measure(home: Path, encoder: str, products: int, queries: int, categories: int) -> list[dict[str, object]]:
    """The table of one shop."""
    shop = Shop(home, encoder, {})
    sizes = ("--products", str(products), "--queries", str(queries), "--categories", str(categories))
    shop.run("demo-catalog", *sizes)
    held = shop.products.with_suffix(".all")  # one category comes later
    shop.products.replace(held)
    last = duckdb.execute(f"select max(category_path[1]) from read_parquet('{held}')").fetchone()[0]
    duckdb.execute(f"copy (select * from read_parquet('{held}') where category_path[1] <> $last) to '{shop.products}'", {"last": last})
    rows = [shop.build("full", ""), shop.build("nothing", "1 %, no step")]
    chosen = "(select min(product_id) from products)"
    shop.edit(f"select * replace (if(product_id = {chosen}, title || ' of 2027', title) as title) from products")
    rows.append(shop.build("title", "3 %, one text"))
    shop.edit("select * replace (price_cents + 1 as price_cents) from products")
    rows.append(shop.build("price", "no step"))
    shop.edit(f"select * from products union all by name select * from read_parquet('{held}') where category_path[1] = '{last}'")
    rows.append(shop.build("category", "10 %"))
    return rows


def many_categories(home: Path, encoder: str, categories: int) -> list[dict[str, object]]:
    """Seconds of `status` and of a build with nothing to do."""
    shop = Shop(home, encoder, {})
    shop.run("demo-catalog", "--products", str(24 * categories), "--queries", str(2 * categories), "--categories", "10")
    number = f"(row_number() over (order by product_id) % {categories})"
    shop.edit(f"select * replace (['Category ' || {number}, category_path[-1]] as category_path) from products")
    built = shop.build(f"{categories} categories", "")
    status, said, _ = shop.run("status")
    print(said.splitlines()[-1])
    return [built, {"build": "status", "seconds": round(status, 1), "goal": "10 s"}, shop.build("rest", "30 s, no step")]


def main() -> None:
    """Build, edit, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="a new folder (default: a temporary one)")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2", help="base: a name, a folder, or `static` (distilled from MiniLM)")
    parser.add_argument("--products", type=int, default=20_000, help="of the first shop; 0: only the second")
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--categories", type=int, default=20)
    parser.add_argument("--many", type=int, default=200, help="categories of the second shop; 0: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = options.home or Path(scratch)
        encoder = options.encoder
        if encoder == "static":
            encoder = str(static_base(home / "static", "all-MiniLM-L6-v2"))
        rows = measure(home / "shop", encoder, options.products, options.queries, options.categories) if options.products else []
        rows += many_categories(home / "many", encoder, options.many) if options.many else []
        print(pd.DataFrame(rows).to_string(index=False, na_rep=""))


if __name__ == "__main__":
    main()
