"""The quality table: every recipe and ablation of papers [A] (arXiv 2606.23911) and [B] (arXiv 2602.17654), beside what a user would write.

    python tests/bench/bench_quality.py                                        the demo world at 20 k products, all rows, three seeds
    python tests/bench/bench_quality.py --source esci --data FOLDER --rows key real products, the main rows
    python tests/bench/bench_quality.py --encoder static --rate-factor 100     a StaticEmbedding base: the whole table in minutes
    python tests/bench/bench_quality.py --device cuda                          the same on a GPU

All rows of one source share its grades, judgments and number of optimiser steps (`--steps`), of which each stage gets its part by the
recipe's `max_steps`; recipes that grade more (hard samples, synthetic queries) do so with the build's own cascade. Each
checkpoint is chosen on dev, the baseline's too. Figures are of dev and test queries, full catalog: the mean over seeds, their spread
(standard deviation of the seeds' means), and the paired difference to `--against`, with a 95 % bootstrap interval over queries of the
per-query mean over seeds. Below it stand the orderings that the papers report, reproduced or not. What is done already is read from
`--home`: a bench that was killed goes on, and processes share the work.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from quality_rows import KEY, ORDERINGS, ROWS, Row
from quality_world import RUNS, World, build, facts_of, static_base

from whetstone.curriculum.material import Material
from whetstone.encoder.recipes import Stage
from whetstone.platform.settings import load_settings

SHOWN = ["ndcg@10", "recall@10", "recall@100", "judged:ndcg@10", "misspelt:ndcg@10", "hybrid:ndcg@10", "rrf:ndcg@10", "margin"]
UNTRAINED = ("random", "bm25", "base")
EVALUATIONS = 3  # of a stage on dev


def train(world: World, row: Row, seed: int, steps: int, batch: int, rate_factor: float, folder: Path) -> Path:
    """Train a row's stages one after the other in `folder`; the last checkpoint."""
    from whetstone.encoder.stages import stage_instances, train_stage

    recipe, material, start = row.recipe(), row.material(world), world.base
    if row.synthetic is not None:
        material = with_synthetic(world, material, row.synthetic)
    for number, stage in enumerate(recipe.stages):
        if stage.needs_hard_samples:
            hard = mined(world, material, start, recipe.mining_depth)
            is_relevant = hard["grade"] >= world.guideline.relevant_grade
            material = replace(
                material, mined=hard, relevant=pd.concat([material.relevant, hard.loc[is_relevant, ["query_id", "product_id"]]])
            )
        part = (stage.max_steps or 1) / sum(each.max_steps or 1 for each in recipe.stages)
        stage = sized(stage, round(steps * part), batch, rate_factor)
        instances, _ = stage_instances(stage, material, seed)
        out = folder / f"{number}-{stage.name}"
        catalog = world.products["text"].tolist()
        train_stage(out, start, stage, instances, world.dev, seed=seed, catalog=catalog, device=world.device, progress=True)
        start = out
    return start


def sized(stage: Stage, steps: int, batch: int, rate_factor: float) -> Stage:
    """The stage with so many steps of about as many texts a batch, and dev looks evenly spread over them."""
    size = max(2, batch * 4 // (1 + stage.list_size)) if stage.loss in ("supcon", "circle") else batch  # a row of four texts: two negatives
    # however few rows there are: `max_steps` ends it
    update = {"batch_size": size, "max_steps": steps, "learning_rate": stage.learning_rate * rate_factor, "epochs": steps}
    return stage.model_copy(update={**update, "evaluations": EVALUATIONS})


def mined(world: World, material: Material, encoder: Path, depth: int) -> pd.DataFrame:
    """The hard samples of an encoder, never-graded pairs through the build's own cascade."""
    from whetstone.encoder.hard_samples import mine_hard_samples

    embed = world.vectors(encoder)
    known = world.warehouse.read("select * from marts.corrected_grades where split = 'train'")
    samples, _ = mine_hard_samples(
        world.material.queries,  # not the synthetic ones: those are graded with their likely negatives already
        world.products,
        lambda texts: embed(list(texts), "query"),
        lambda: embed(world.products["text"].tolist(), "product"),
        known[["query_id", "product_id", "grade", "label", "confidence", "settled_by"]],
        world.grader(),
        k=depth,
        cap=world.settings.candidates_per_rule,
        confidence=world.settings.tier_confidence,
    )
    return samples[["query_id", "product_id", "grade", "label"]]


def with_synthetic(world: World, material: Material, restricted: bool) -> Material:
    """The material with template queries as further train queries, their pairs graded by the build's own cascade."""
    from whetstone.curriculum.synthetic import choose_products, pairs_to_grade, synthetic_queries
    from whetstone.retrieval.dense import exact_search

    products = world.products.assign(kind=[path[-1] for path in world.products["category_path"]])
    products["attributes"] = [dict(pairs) for pairs in products["attributes"]]
    chosen = choose_products(products, set(material.relevant["product_id"]), 0.05, 0, restricted)
    queries = synthetic_queries(chosen, 0, {}, set(world.warehouse.read("select lower(text) as text from raw.queries")["text"]))
    asked = queries.drop_duplicates("query_id")[["query_id", "text"]]
    embed, ids = world.vectors(world.base), products["product_id"].tolist()
    vectors = embed(asked["text"].tolist(), "query"), embed(products["text"].tolist(), "product")
    run = exact_search(*vectors, asked["query_id"].tolist(), ids, 20)
    pairs = pairs_to_grade(queries, [run]).merge(asked.rename(columns={"text": "query"}))
    pairs = pairs.merge(products[["product_id", "category", "text"]])
    graded = world.grader(queries)(pairs)
    graded = graded[graded["confidence"] >= world.settings.tier_confidence]
    relevant = graded[graded["grade"] >= world.guideline.relevant_grade]
    both = {
        "queries": asked,
        "graded": graded[["query_id", "product_id", "grade", "label"]],
        "relevant": relevant[["query_id", "product_id"]],
    }
    return replace(material, **{name: pd.concat([getattr(material, name), frame], ignore_index=True) for name, frame in both.items()})


def untrained(world: World, name: str) -> pd.DataFrame:
    """random, bm25 or base by query."""
    from whetstone.evaluation.contestants import random_run

    if name == "base":
        return world.evaluate(world.vectors(world.base))
    ids = world.asked["query_id"].tolist()
    return world.score(random_run(ids, world.products["product_id"].tolist(), 100, 0) if name == "random" else world.words)


def table(results: pd.DataFrame, against: str) -> pd.DataFrame:
    """One line a row: mean, spread over seeds, and the paired difference of NDCG@10 and recall@100 to `against` with its interval."""
    shown = [name for name in SHOWN if name in results]
    per_query = results.groupby(["row", "query_id"], sort=False, observed=True)[shown].mean()
    seeds = results.groupby(["row", "seed"], sort=False, observed=True)[shown].mean()
    lines = []
    for row in dict.fromkeys(results["row"]):
        own = seeds.loc[row]
        line = {"row": row, "seeds": len(own), **own.mean().round(4), "spread": round(float(own["ndcg@10"].std(ddof=0)), 4)}
        for metric in ("ndcg@10", "recall@100"):
            mean, low, high = paired(per_query.loc[row][metric], per_query.loc[against][metric])
            line[f"{metric} - {against}"] = f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
        lines.append(line)
    return pd.DataFrame(lines)


def paired(one: pd.Series, other: pd.Series, draws: int = 2000) -> tuple[float, float, float]:
    """Mean difference by query, and its 95 % bootstrap interval over queries."""
    difference = (one - other).dropna().to_numpy()
    picks = np.random.default_rng(0).integers(len(difference), size=(draws, len(difference)))
    low, high = np.quantile(difference[picks].mean(axis=1), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def orderings(results: pd.DataFrame) -> pd.DataFrame:
    """What the papers say of one row and another, beside what was measured; those with rows that were not run are left out."""
    lines, done = [], set(results["row"])
    for each in ORDERINGS:
        if {each.better, each.worse} <= done:
            better, worse = (results[results["row"] == row].groupby("query_id")[each.metric].mean() for row in (each.better, each.worse))
            mean, low, high = paired(better, worse)
            verdict = "reproduced" if low > 0 else "reversed" if high < 0 else "not shown"
            share = f"{mean / abs(worse.mean()):+.1%}"
            measured = {"difference": f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]", "share": share, "verdict": verdict}
            lines.append({"paper": each.paper, "claim": each.claim, "metric": each.metric, **measured})
    return pd.DataFrame(lines)


def main() -> None:
    """Do what is not done yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "whetstone-quality", help="world and results")
    parser.add_argument("--source", default="demo")
    parser.add_argument("--data", type=Path, help="folder of the source's files (not for the demo)")
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--categories", type=int, default=20)
    parser.add_argument("--world-seed", type=int, default=1, help="of the demo's catalog")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2", help="base: a name, a folder, or `static` (distilled from MiniLM)")
    parser.add_argument("--rate-factor", type=float, default=1.0, help="on every learning rate")
    parser.add_argument("--rows", default="all", help="all, key, or names with semicolons")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps of a row, shared by its stages")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--dev-queries", type=int, default=40)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--against", default="mnr_baseline", help="the row that all are compared with")
    parser.add_argument("--built", action="store_true", help="the world is built already, whatever changed since")
    parser.add_argument("--report", action="store_true", help="only print what is done")
    options = parser.parse_args()
    world_name = f"{options.source}-{options.world_seed}-{options.products}" if options.source == "demo" else options.source
    home = options.home / world_name
    sizes = {"products": options.products, "queries": options.queries, "categories": options.categories, "seed": options.world_seed}
    done = home / f"quality-{Path(options.encoder).name}-{options.steps}-{options.batch}-{options.rate_factor:g}"
    done.mkdir(parents=True, exist_ok=True)
    if not options.report:
        build(home, options.source, options.data, sizes, options.built)
        encoder = options.encoder
        if encoder == "static":
            encoder = str(static_base(home / "static", "all-MiniLM-L6-v2"))
        world = World(load_settings(), options.dev_queries, encoder, options.device)
        print({"runs": RUNS, **facts_of(world)})
        rows = {"all": list(ROWS), "key": list(KEY)}.get(options.rows) or options.rows.split(";")
        work = [(name, 0) for name in UNTRAINED] + [(name, seed) for seed in range(options.seeds) for name in rows]
        for name, seed in work:
            place = re.sub(r"\W+", "-", name)
            claim(done / f"{place}-{seed}", name, seed, world, options)
    found = pd.concat([pd.read_parquet(path) for path in sorted(done.glob("*.parquet"))], ignore_index=True)
    found = found[found["row"].isin([*UNTRAINED, *ROWS])]  # results of rows that there were once stay where they are
    found["row"] = pd.Categorical(found["row"], [*UNTRAINED, *ROWS])
    for split in ("dev", "test"):
        print(split, table(found[found["split"] == split].sort_values(["row", "seed"]), options.against).to_string(index=False), sep="\n")
    print("the papers' orderings, on test", orderings(found[found["split"] == "test"]).to_string(index=False), sep="\n")


def claim(place: Path, name: str, seed: int, world: World, options: argparse.Namespace) -> None:
    """Do one (row, seed) unless it is done or another process is at it."""
    with suppress(FileExistsError):
        os.close(os.open(f"{place}.claim", os.O_CREAT | os.O_EXCL))
        try:
            if name in UNTRAINED:
                found = untrained(world, name)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    last = train(world, ROWS[name], seed, options.steps, options.batch, options.rate_factor, Path(folder))
                    found = world.evaluate(world.vectors(last))
        except BaseException:
            os.unlink(f"{place}.claim")
            raise
        found.assign(row=name, seed=seed).to_parquet(f"{place}.parquet", index=False)
        print(name, seed, found.groupby("split")["ndcg@10"].mean().round(4).to_dict(), flush=True)


if __name__ == "__main__":
    main()
