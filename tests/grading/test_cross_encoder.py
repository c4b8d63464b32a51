"""The cross-encoder learns a toy relevance from a tiny model; its runs keep their best checkpoints and answer together, always the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sentence_transformers.cross_encoder import CrossEncoder

from whetstone.grading import cross_encoder as module
from whetstone.grading.cross_encoder import ASIDE, PATIENCE, CrossEncoderAnnotator, train_cross_encoder
from whetstone.grading.guideline import Guideline, load_guideline
from whetstone.platform.errors import WhetstoneError

WORD_OF_GRADE = {4: "aaa", 2: "kkk", 1: "ppp", 0: "zzz"}


@pytest.fixture(autouse=True, scope="module")
def quick() -> Any:
    """So small a model learns from few pairs, at a rate that would ruin a real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEARNING_RATE", 5e-3)
        patch.setattr(module, "BATCH_SIZE", 8)
        yield


def toy(count: int, seed: int) -> pd.DataFrame:
    """Judged pairs, four a query, whose grade stands in the product's text as a word; half of them are of grade 4."""
    generator = np.random.default_rng(seed)
    grades = generator.choice([4, 2, 1, 0], size=count, p=[0.5, 0.2, 0.15, 0.15])
    fillers = generator.choice(list("bcdefgh"), size=(count, 2))
    return pd.DataFrame(
        {
            "query_id": [f"q{row // 4}" for row in range(count)],
            "product_id": [f"p{row}" for row in range(count)],
            "query": fillers[:, 0],
            "text": [f"{WORD_OF_GRADE[grade]} {filler}" for grade, filler in zip(grades, fillers[:, 1], strict=True)],
            "grade": grades,
        }
    )


def train(folder: Path, base: Path, guideline: Guideline, judged: pd.DataFrame, **changes: Any) -> dict[str, Any]:
    hyper: dict[str, Any] = {"seed": 3, "epochs": 1, "runs": 1, "device": "cpu", **changes}
    return train_cross_encoder(folder, base, judged, guideline, **hyper)


@pytest.fixture(scope="module")
def trained(mini_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained") / "model"
    return folder, train(folder, mini_encoder, load_guideline("esci"), toy(240, seed=1), epochs=4, runs=2)


def test_learns_and_tells(trained: tuple[Path, dict[str, Any]]) -> None:
    _, facts = trained
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert [run["seed"] for run in facts["runs"]] == [3, 4]
    assert facts["pairs"] == 240
    for run in facts["runs"]:
        assert run["held_out"]["accuracy"] > 0.75 > run["held_out"]["majority_accuracy"]
        assert run["held_out"]["pairs"] == 4 * (60 // ASIDE)
        losses = [row["loss"] for row in run["loss"]]
        assert losses[-1] < losses[0]
        assert {"epoch", "loss", "accuracy", "macro_f1"} == set(run["curve"][0])
    for name in ("accuracy", "macro_f1"):
        each = [run["held_out"][name] for run in facts["runs"]]
        assert facts["spread"][name] == [min(each), max(each)]


def test_reloads_and_answers(trained: tuple[Path, dict[str, Any]], esci: Guideline) -> None:
    folder, _ = trained
    annotator = CrossEncoderAnnotator(folder, esci, "abc")
    others = toy(48, seed=2)
    answers = annotator.annotate(others)
    assert (answers["grade"] == others["grade"]).mean() > 0.85
    assert answers["confidence"].between(1 / 4, 1).all()
    assert answers["cost_usd"].eq(0).all()
    assert (annotator.name, annotator.version) == ("cross_encoder", "abc")
    pd.testing.assert_frame_equal(annotator.annotate(others), answers)
    shuffled = others.sample(frac=1, random_state=0)
    again = annotator.annotate(shuffled).set_index("product_id").loc[others["product_id"]]
    assert again["grade"].tolist() == answers["grade"].tolist()
    np.testing.assert_allclose(again["confidence"], answers["confidence"], atol=0.02)


def test_the_runs_answer_together_by_their_mean_probability(trained: tuple[Path, dict[str, Any]], esci: Guideline) -> None:
    others = toy(48, seed=2)
    texts = list(zip(others["query"], others["text"], strict=True))
    runs = [CrossEncoder(str(trained[0] / run), device="cpu").predict(texts, apply_softmax=True) for run in "01"]
    assert np.abs(runs[0] - runs[1]).max() > 0.1
    answers = CrossEncoderAnnotator(trained[0], esci, "v").annotate(others)
    mean = np.mean(runs, axis=0)
    np.testing.assert_allclose(answers["confidence"], mean.max(axis=1), atol=0.03)
    assert (answers["grade"] == np.array(esci.grades)[mean.argmax(axis=1)]).mean() > 0.95  # rounding may tip a tie


def test_hostile_texts_are_graded(trained: tuple[Path, dict[str, Any]], esci: Guideline, hostile_texts: list[str]) -> None:
    pairs = pd.DataFrame([{"query": query, "text": text} for query in hostile_texts for text in hostile_texts])
    pairs = pairs.assign(query_id=pairs["query"], product_id=pairs["text"])
    annotator = CrossEncoderAnnotator(trained[0], esci, "v")
    answers = annotator.annotate(pairs)
    assert answers["grade"].isin(esci.grades).all() and len(answers) == len(pairs)
    assert annotator.annotate(pairs.iloc[:0]).empty


Seen = list[tuple[int, pd.DataFrame, pd.DataFrame]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Instead of training, note each run's seed, its train pairs and its pairs set aside."""
    seen: Seen = []

    def note(folder: Path, base: Any, train: pd.DataFrame, held_out: pd.DataFrame, levels: int, *, seed: int, **_: Any) -> dict[str, Any]:
        seen.append((seed, train, held_out))
        return {"seed": seed, "held_out": {"accuracy": 1 / seed, "macro_f1": seed}}

    monkeypatch.setattr(module, "_train_one", note)
    return seen


def test_queries_set_aside_are_never_trained_on_and_each_run_has_its_own(runs: Seen, tmp_path: Path, esci: Guideline) -> None:
    judged = toy(280, seed=1)
    facts = train(tmp_path / "model", tmp_path, esci, judged, runs=3)
    assert [seed for seed, *_ in runs] == [3, 4, 5]
    assert facts["spread"] == {"accuracy": [1 / 5, 1 / 3], "macro_f1": [3, 5]}
    for _, rows, aside in runs:
        assert set(rows["query_id"]).isdisjoint(aside["query_id"])
        assert sorted([*rows["product_id"], *aside["product_id"]]) == sorted(judged["product_id"])
        assert aside["query_id"].nunique() == 70 // ASIDE
    drawn = [frozenset(aside["query_id"]) for *_, aside in runs]
    assert len(set(drawn)) == 3
    runs.clear()
    train(tmp_path / "again", tmp_path, esci, judged.iloc[::-1], runs=3)
    assert [frozenset(aside["query_id"]) for *_, aside in runs] == drawn  # whatever order they come in


@pytest.mark.parametrize("judged", [toy(8, 0).iloc[:0], toy(8, 0).iloc[:4]])
def test_without_judgments_of_two_queries_nothing_is_trained(runs: Seen, tmp_path: Path, esci: Guideline, judged: pd.DataFrame) -> None:
    facts = train(tmp_path / "model", tmp_path, esci, judged)
    assert runs == [] and list(facts) == ["absent"]
    assert "human judgments" in facts["absent"]
    train(tmp_path / "model", tmp_path, esci, toy(8, 0))
    assert [(len(rows), len(aside)) for _, rows, aside in runs] == [(4, 4)]


def test_a_grade_of_another_guideline_is_refused(mini_encoder: Path, esci: Guideline, tmp_path: Path) -> None:
    with pytest.raises(WhetstoneError, match=r"grades \[3\]"):
        train(tmp_path / "model", mini_encoder, esci, toy(8, 0).assign(grade=3))


def test_the_best_checkpoint_is_kept(mini_encoder: Path, esci: Guideline, tmp_path: Path) -> None:
    judged = toy(280, seed=1)
    aside = np.random.default_rng(3).permutation(np.sort(judged["query_id"].unique()))[: 70 // ASIDE]
    # aside every word means another grade, so the better the words are learnt, the worse it gets
    is_aside = judged["query_id"].isin(aside)
    judged.loc[is_aside, "grade"] = judged.loc[is_aside, "grade"].map({4: 2, 2: 1, 1: 0, 0: 4})
    run = train(tmp_path / "model", mini_encoder, esci, judged, epochs=4)["runs"][0]
    losses = [row["loss"] for row in run["curve"]]
    assert losses[-1] > min(losses) + 0.1
    rows = judged[is_aside]
    texts = list(zip(rows["query"], rows["text"], strict=True))
    saved = CrossEncoder(str(tmp_path / "model" / "0"), device="cpu").predict(texts, apply_softmax=True)
    right = saved[np.arange(len(rows)), esci.places(rows["grade"], "toy")]
    assert -np.log(right).mean() == pytest.approx(min(losses), abs=0.03)


def test_stops_when_nothing_improves(mini_encoder: Path, esci: Guideline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEARNING_RATE", 0.0)
    run = train(tmp_path / "still", mini_encoder, esci, toy(56, 1), epochs=20)["runs"][0]
    assert len(run["curve"]) <= PATIENCE + 1


def test_the_same_seed_trains_the_same_model_and_writes_nowhere_else(
    mini_encoder: Path, esci: Guideline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    first, second = (train(tmp_path / name, mini_encoder, esci, toy(56, 1), runs=2) for name in "ab")
    assert first == second
    assert first["runs"][0]["loss"] != first["runs"][1]["loss"]  # the runs differ in their seed
    assert list((tmp_path / "here").iterdir()) == []
