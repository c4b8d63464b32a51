"""The cascade on the demo catalog: agreement with the truth, cost against the large annotator alone, and calibration, by method.

    python tests/bench/bench_cascade.py                          trains the cross-encoder first (minutes)
    python tests/bench/bench_cascade.py --cross-encoder FOLDER   a trained one, of the same shop (default: that of `demo-catalog`)
    python tests/bench/bench_cascade.py --first simulated:0.7    a stand-in that is right so often (seconds)

Cascade: cross-encoder (free), simulated small (86 % right, $0.0001 a pair), simulated large (93 %, $0.002). Maps and thresholds come from
human judgments of dev queries, which err themselves (about one in twenty, so the maps are that much too modest); all figures but `dev`
(the choice's own agreement with humans) are measured on pairs of test queries against the truth. Goal: for `cost:0.5`, agreement at
least that of the large annotator alone minus 0.5 points, and per-class isotonic at least as good as the others. Simulated answers are
drawn anew for each seed; intervals (95 %) are a bootstrap over queries of the mean over seeds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from whetstone.catalog.demo.generate import generate
from whetstone.catalog.demo.truth import grade_pairs
from whetstone.grading.annotator import Annotator
from whetstone.grading.calibration import Calibration, Curve, fit_calibration, splits
from whetstone.grading.cascade import choose_thresholds, settle
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.grading.simulated import SimulatedAnnotator, confusion_of

SHARES = [f"cost:{share / 100:g}" for share in range(5, 75, 5)]
CHOSEN = ("cost:0.5", "agreement:0.9", "paper")
EQUAL_COSTS = (0.5, 0.25, 0.1)
SIMULATED = {"simulated_small": (0.86, 0.0001), "simulated_large": (0.93, 0.002)}  # share right, dollars a pair
METHODS = ("isotonic", "global_isotonic", "platt", "none")
LARGE = 2  # the place of the large annotator
DRAWS = 2_000


def read_shop(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Judged pairs (ids, split, texts, human grade) with their true grade, and the intents and products behind the truth."""
    queries, judgments, intents, products = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("queries", "judgments", "truth", "products")
    )
    pairs = judgments.merge(queries.rename(columns={"text": "query"}), on="query_id").merge(products, on="product_id")
    pairs["text"] = [f"{title} | {' > '.join(path[:2])}" for title, path in zip(pairs["title"], pairs["category_path"], strict=True)]
    pairs["truth"] = grade_pairs(pairs, intents, products)
    return pairs[["query_id", "product_id", "split", "query", "text", "grade", "truth"]]


def cross_encoder(folder: Path | None, pairs: pd.DataFrame, guideline: Guideline) -> Annotator:
    """The annotator in a folder; trained on the shop's train queries if there is none."""
    from whetstone.grading.cross_encoder import CrossEncoderAnnotator, train_cross_encoder
    from whetstone.platform.weights import encoder_folder

    if folder:
        return CrossEncoderAnnotator(folder, guideline, version="bench")
    train = pairs[pairs["split"] == "train"]
    with tempfile.TemporaryDirectory() as made:
        train_cross_encoder(Path(made), encoder_folder("all-MiniLM-L6-v2"), train, guideline, seed=0, epochs=2, runs=3, device="cpu")
        return CrossEncoderAnnotator(Path(made), guideline, version="bench")


def simulated(name: str, accuracy: float, cost_usd: float, seed: int, pairs: pd.DataFrame, guideline: Guideline) -> Annotator:
    """Errs from the truth in the pairs themselves."""
    return SimulatedAnnotator(
        name,
        lambda asked: asked["truth"].to_numpy(),
        guideline,
        confusion_of(accuracy, guideline),
        cost_usd=cost_usd,
        seed=seed,
        truth_version="bench",
    )


def calibration_error(confidence: np.ndarray, is_right: np.ndarray) -> float:
    """By definition: the gap of each of 15 bins, weighted by its pairs."""
    place = np.minimum((confidence * 15).astype(int), 14)
    return float(sum(abs((confidence - is_right)[place == each].sum()) for each in range(15)) / len(confidence))


def platt(confidence: np.ndarray, is_right: np.ndarray) -> Curve:
    """A logistic in logit(confidence), as knots."""
    logit = lambda told: np.log(told / (1.0 - told))  # noqa: E731
    knots = np.linspace(1e-4, 1 - 1e-4, 200)
    model = LogisticRegression(C=1e6).fit(logit(np.clip(confidence, 1e-4, 1 - 1e-4))[:, None], is_right)
    return tuple(knots), tuple(model.predict_proba(logit(knots)[:, None])[:, 1])


def fit(method: str, grades: np.ndarray, confidence: np.ndarray, is_right: np.ndarray) -> Calibration:
    """The product's map a predicted class, or one of its rivals."""
    if method == "isotonic":
        return fit_calibration(grades, confidence, is_right)
    if method == "global_isotonic":
        return Calibration({}, fit_calibration(np.zeros_like(grades), confidence, is_right).curves[0])
    if method == "platt":
        mixed = [grade for grade in np.unique(grades) if 0 < is_right[grades == grade].mean() < 1]
        curves = {int(grade): platt(confidence[grades == grade], is_right[grades == grade]) for grade in mixed}
        return Calibration(curves, platt(confidence, is_right))
    return Calibration({}, ((0.0, 1.0), (0.0, 1.0)))


def measure(method: str, grades: np.ndarray, raw: np.ndarray, pairs: pd.DataFrame, costs: list[float]) -> pd.DataFrame:
    """One method and one draw: for every test pair its rightness and cost by target, and each stage's calibrated confidence."""
    dev, test = (pairs["split"].to_numpy() == split for split in ("dev", "test"))
    human, stages = pairs["grade"].to_numpy(), range(len(costs))
    right = grades == human[:, None]
    group = pairs.loc[dev, "query_id"].to_numpy()
    fitted = [fit(method, grades[dev, s], raw[dev, s], right[dev, s]) for s in stages]
    held = np.zeros((len(group), len(costs)))
    for s, (others, own) in product(stages, list(splits(np.unique(group, return_inverse=True)[1]))):
        grade, told, is_right = (each[dev, s] for each in (grades, raw, right))
        held[own, s] = fit(method, grade[others], told[others], is_right[others]).apply(grade[own], told[own])
    confidence = np.column_stack([fitted[s].apply(grades[test, s], raw[test, s]) for s in stages])
    columns = {f"confidence_{s}": confidence[:, s] for s in stages}
    for target in dict.fromkeys([*SHARES, *CHOSEN]):
        choice = choose_thresholds(grades[dev], held, human[dev], costs, target)
        settled = settle(grades[test], confidence, choice.thresholds)
        columns[f"right {target}"] = settled.grade == pairs.loc[test, "truth"].to_numpy()
        columns[f"cost {target}"] = settled.asked(len(costs)) @ np.array(costs) / costs[LARGE]
        columns[f"sure {target}"] = settled.confidence
        columns[f"first {target}"] = settled.stage == 0
        columns[f"dev {target}"] = choice.agreement
    return pd.DataFrame(columns)


def interval(by_query: np.ndarray, weight: np.ndarray) -> str:
    """Mean of (queries,) sums over (queries,) pairs, in points, with its bootstrap interval over queries."""
    drawn = np.random.default_rng(0).integers(len(weight), size=(DRAWS, len(weight)))
    low, high = np.quantile(by_query[drawn].sum(axis=1) / weight[drawn].sum(axis=1), [0.025, 0.975])
    return f"{100 * by_query.sum() / weight.sum():6.2f} [{100 * low:6.2f}, {100 * high:6.2f}]"


def main() -> None:
    """Run the bench and write its tables to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cross-encoder", type=Path, help="folder of a trained cross-encoder")
    parser.add_argument("--first", help="stand-in for the cross-encoder: simulated:SHARE_RIGHT")
    parser.add_argument("--seeds", type=int, default=10, help="draws of the simulated answers")
    for name, default in (("products", 2_000), ("queries", 400), ("categories", 5), ("shop-seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    guideline = load_guideline("esci")
    with tempfile.TemporaryDirectory() as folder:
        shop = {name: getattr(options, name) for name in ("products", "queries", "categories")}
        generate(Path(folder), **shop, seed=options.shop_seed)
        pairs = read_shop(Path(folder))
    say = lambda line: sys.stdout.write(line + "\n")  # noqa: E731
    trained = None if options.first else cross_encoder(options.cross_encoder, pairs, guideline)
    pairs = pairs[pairs["split"] != "train"].reset_index(drop=True)
    local = trained.annotate(pairs) if trained else None
    test = pairs["split"].to_numpy() == "test"
    query, truth = pairs.loc[test, "query_id"], pairs.loc[test, "truth"].to_numpy()
    say(f"{(~test).sum():,} judged pairs of dev queries, {test.sum():,} pairs of {query.nunique()} test queries, {options.seeds} seeds")

    costs = [0.0, *(cost for _, cost in SIMULATED.values())]
    alone: list[np.ndarray] = []
    runs: dict[str, list[pd.DataFrame]] = {method: [] for method in METHODS}
    ece: dict[str, list[list[float]]] = {method: [] for method in METHODS}
    for seed in range(options.seeds):
        share = float(options.first.partition(":")[2]) if options.first else 0.0
        first = local if local is not None else simulated("stand_in", share, 0.0, seed, pairs, guideline).annotate(pairs)
        paid = [simulated(name, *figures, seed, pairs, guideline).annotate(pairs) for name, figures in SIMULATED.items()]
        answers = [first, *paid]
        grades, raw = (np.column_stack([answer[column].to_numpy() for answer in answers]) for column in ("grade", "confidence"))
        grades = grades.astype(int)
        right = grades[test] == truth[:, None]
        alone.append(right)
        for method in METHODS:
            run = measure(method, grades, raw, pairs, costs)
            runs[method].append(run)
            stages = [calibration_error(run[f"confidence_{s}"], right[:, s]) for s in range(len(costs))]
            ece[method].append([*stages, calibration_error(run[f"sure {CHOSEN[0]}"], run[f"right {CHOSEN[0]}"])])

    codes = pd.factorize(query)[0]
    by_query = lambda values: np.bincount(codes, np.mean(values, axis=0))  # noqa: E731
    weight = np.bincount(codes).astype(float)
    for place, name in enumerate(["first", *SIMULATED]):
        say(f"{name + ' alone':24} agreement {interval(by_query([right[:, place] for right in alone]), weight)}")
    large = by_query([right[:, LARGE] for right in alone])
    mean = lambda method, what, target: float(np.mean([run[f"{what} {target}"] for run in runs[method]]))  # noqa: E731
    rights = lambda method, target: by_query([run[f"right {target}"] for run in runs[method]])  # noqa: E731
    say(f"\n{'target':14} {'method':16} {'cost %':>7} {'agreement, test':26} {'minus large alone':26} {'dev':6} first %")
    for target in CHOSEN:
        for method in METHODS:
            cost, dev, settled = (100 * mean(method, what, target) for what in ("cost", "dev", "first"))
            gaps = "".join(f" {interval(each, weight):26}" for each in (rights(method, target), rights(method, target) - large))
            say(f"{target:14} {method:16} {cost:7.2f}{gaps} {dev:6.2f} {settled:7.1f}")

    say(f"\n{'equal cost %':14} {'method':16} {'agreement, test':26} {'minus large alone':26} isotonic minus this")
    for cost in EQUAL_COSTS:
        equal = {}
        for method in METHODS:  # a mixture of the two targets between whose costs it lies costs just as much
            place = np.interp(cost, np.maximum.accumulate([mean(method, "cost", share) for share in SHARES]), np.arange(len(SHARES)))
            low, high = SHARES[int(place)], SHARES[min(int(place) + 1, len(SHARES) - 1)]
            equal[method] = (1 - place % 1) * rights(method, low) + place % 1 * rights(method, high)
        for method, right in equal.items():
            gaps = "".join(f" {interval(each, weight):26}" for each in (right, right - large, equal["isotonic"] - right))
            say(f"{100 * cost:<14g} {method:16}{gaps}")

    say(f"\nECE on test pairs: {'first':>8} {'small':>8} {'large':>8} {'settled, ' + CHOSEN[0]:>18}")
    for method in METHODS:
        say(f"{method:18} " + " ".join(f"{value:8.4f}" for value in np.mean(ece[method], axis=0)))


if __name__ == "__main__":
    main()
