"""Size and start-up: `python tests/bench/bench_build.py` prints one JSON line a measurement, each a ratio or a peak of this run.

import     seconds of `import definitions` over those of `import dagster`, each in a process of its own (goal: under 2)
encode     texts a second of `whetstone.retrieval.encode` over plain SentenceTransformer.encode under bf16 autocast (goal: 0.9)
staging    peak memory of landing 200,000 products with ESCI-shaped descriptions and staging one category (goal: under 2 GiB)
rest       seconds of a build with nothing to do on ESCI, if WHETSTONE_BENCH_HOME names a home where it was built (goal: 20)
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from whetstone.platform.settings import PROJECT

PRODUCTS = 200_000
ROUNDS = 5


def say(name: str, **figures: object) -> None:
    sys.stdout.write(json.dumps({"bench": name, **figures}) + "\n")


def seconds(code: str) -> float:
    """Wall time of a Python process; the least of several, because only noise is added to it."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def bench_import() -> None:
    empty = seconds("pass")
    dagster, definitions = seconds("import dagster") - empty, seconds("import definitions") - empty
    say("import", dagster_s=round(dagster, 2), definitions_s=round(definitions, 2), ratio=round(definitions / dagster, 2))


def bench_staging() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "files"
        data.mkdir()
        connection = duckdb.connect()
        connection.execute(
            f"copy (select 'B' || lpad(i::varchar, 9, '0') as product_id, "
            "'Product ' || i || ' with a title of an ordinary length' as product_title, "
            "repeat('A long description of what it is and does, number ' || i || '. ', 12) as product_description, "
            "repeat('Point ' || i || ' ', 25) as product_bullet_point, 'Brand ' || i % 900 as product_brand, 'black' as product_color, "
            f"'us' as product_locale, ['Root ' || i % 30, 'Leaf ' || i % 400] as category from range({PRODUCTS}) t(i)) "
            f"to '{data}/shopping_queries_dataset_products.parquet' (format parquet)"
        )
        connection.execute(
            "copy (select i as example_id, 'query ' || i % 500 as query, i % 500 as query_id, "
            "'B' || lpad(i::varchar, 9, '0') as product_id, "
            "'us' as product_locale, 'E' as esci_label, 1 as small_version, 1 as large_version, "
            "if(i % 500 < 350, 'train', 'test') as split "
            f"from range(20000) t(i)) to '{data}/shopping_queries_dataset_examples.parquet' (format parquet)"
        )
        environment = {**os.environ, "WHETSTONE_SOURCE": "esci", "WHETSTONE_DATA": str(data), "WHETSTONE_HOME": f"{folder}/home"}
        command = [sys.executable, "-m", "whetstone.cli", "build", "--select", "products", "--category", "root-1"]
        start = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        say("staging", products=PRODUCTS, seconds=round(time.perf_counter() - start, 1), peak_mib=round(peak), said=done.stdout.strip())


def bench_rest() -> None:
    if home := os.environ.get("WHETSTONE_BENCH_HOME"):
        environment = {**os.environ, "WHETSTONE_SOURCE": "esci", "WHETSTONE_DATA": os.environ["WHETSTONE_ESCI_DIR"], "WHETSTONE_HOME": home}
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "whetstone.cli", "build"], env=environment, capture_output=True, text=True, check=False
        )
        say("rest", seconds=round(time.perf_counter() - start, 1), said=done.stdout.strip())


if __name__ == "__main__":
    bench_staging()  # first: the peak is that of the largest child so far
    bench_import()
    bench_rest()
