"""Recipes: the shipped one is the paper's, mistakes are named with file and field, versions follow what changes weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from whetstone.encoder.recipes import FOLDER, load_recipe
from whetstone.platform.errors import WhetstoneError


def content() -> dict[str, Any]:
    return {
        "name": "mine",
        "description": "A test.",
        "seed": 7,
        "stages": [
            {"name": "encoder_one", "loss": "mnr", "positives": ["hard_positive"], "negatives": ["hard_negative"]},
            {"name": "encoder_two", "loss": "triplet", "positives": ["hard_positive"], "negatives": ["token_similar_negative"]},
        ],
    }


def write(folder: Path, recipe: dict[str, Any], name: str = "mine") -> None:
    (folder / f"{name}.yml").write_text(yaml.safe_dump(recipe), encoding="utf-8")


def test_curriculum_is_the_papers_three_stages() -> None:
    recipe = load_recipe("curriculum")
    assert [(stage.name, stage.loss) for stage in recipe.stages] == [
        ("encoder_bce", "bce"),
        ("encoder_mnr", "mnr"),
        ("encoder_triplet", "triplet"),
    ]
    bce, mnr, triplet = recipe.stages
    assert (bce.scale, bce.positives, bce.positive_grade, bce.negatives) == (20, ("easy_positive",), 4, ("random",))
    assert (mnr.positives, mnr.negatives[0]) == (("hard_positive",), "hard_negative")
    assert (triplet.margin, triplet.negatives) == (0.3, ("token_similar_negative",))
    assert set(triplet.positives) == {"hard_positive", "easy_positive"}


def test_every_shipped_recipe_loads() -> None:
    for path in FOLDER.glob("*.yml"):
        assert load_recipe(path.stem).name == path.stem


def test_a_recipe_is_added_by_adding_a_file(tmp_path: Path) -> None:
    write(tmp_path, content())
    assert load_recipe("mine", tmp_path).stages[1].margin == 0.3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda r: r["stages"][1].update(learning_rat=1), r"stages\[1\]\.learning_rat: .*not permitted"),
        (lambda r: r["stages"][0].update(loss="hinge"), r"stages\[0\]\.loss: .*'bce', 'mnr'"),
        (lambda r: r["stages"][0].update(positives=["hard_negative"]), r"stages\[0\]\.positives\[0\]"),
        (lambda r: r["stages"][0].update(margin=0.2), r"stages\[0\]: margin: loss 'mnr' does not read it"),
        (lambda r: r["stages"][0].update(weight_averaging=1.5), r"stages\[0\]\.weight_averaging"),
        (lambda r: r["stages"][1].update(negatives=[]), r"stages\[1\]: negatives"),
        (lambda r: r["stages"][1].update(name="encoder_one"), "names must differ"),
        (lambda r: r.pop("seed"), "seed: Field required"),
        (lambda r: r.update(name="yours"), "name: the file is called 'mine'"),
    ],
)
def test_a_mistake_is_named_with_file_and_field(tmp_path: Path, change: Any, named: str) -> None:
    recipe = content()
    change(recipe)
    write(tmp_path, recipe)
    with pytest.raises(WhetstoneError, match=rf"mine\.yml: .*{named}"):
        load_recipe("mine", tmp_path)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, content())
    with pytest.raises(WhetstoneError, match=r"'other' is not in .* known: mine"):
        load_recipe("other", tmp_path)


@pytest.mark.parametrize("content", ["- a list", "", "a: [", b"\xff\xfe\xff"])
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: str | bytes) -> None:
    (tmp_path / "mine.yml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(WhetstoneError, match=r"mine\.yml: (not a readable YAML file|Input should be a valid dictionary)"):
        load_recipe("mine", tmp_path)


@pytest.mark.parametrize("text", ["a: [", "- a list", "\ufeff\x00"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yml").write_text(text, encoding="utf-8")
    with pytest.raises(WhetstoneError, match=r"mine\.yml"):
        load_recipe("mine", tmp_path)


def test_fingerprints_follow_what_changes_the_weights(tmp_path: Path) -> None:
    def version(change: Any) -> tuple[str, ...]:
        recipe = content()
        change(recipe)
        write(tmp_path, recipe)
        return tuple(stage.fingerprint for stage in load_recipe("mine", tmp_path).stages)

    plain = version(lambda r: None)
    assert plain == version(lambda r: r.update(description="Other words."))
    assert plain == version(lambda r: r["stages"][0].update(learning_rate=2e-5))  # the default, spelt out
    others = [
        version(lambda r: r["stages"][0].update(learning_rate=1e-5)),
        version(lambda r: r["stages"][1].update(margin=0.4)),
        version(lambda r: r["stages"].reverse()),
    ]
    assert len({plain, *others}) == 4
