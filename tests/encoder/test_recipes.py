"""Recipes: the shipped one is the paper's, mistakes are named with file and field, versions follow what changes weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from whetstone.encoder.recipes import FOLDER, load_recipe, load_recipes
from whetstone.platform.errors import WhetstoneError

LISTS = {"name": "encoder_lists", "loss": "supcon"}
BASELINE = {"name": "encoder_baseline", "loss": "mnr_baseline", "positives": ["graded"]}


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
    assert (mnr.positives[0], mnr.negatives[0]) == ("hard_positive", "hard_negative")
    assert (triplet.margin, triplet.negatives) == (0.3, ("token_similar_negative",))
    assert set(triplet.positives) == {"hard_positive", "easy_positive"}


def test_supcon_circle_is_the_papers() -> None:
    recipe = load_recipe("supcon_circle")
    assert [(stage.name, stage.loss, stage.lists) for stage in recipe.stages] == [
        ("encoder_supcon", "supcon", "graded"),
        ("encoder_circle", "circle", "union"),  # the mined alone make it forget
    ]
    supcon, circle = recipe.stages
    assert (supcon.temperature, circle.gamma) == (0.05, 32)
    assert all(stage.spelling == "additive" and 0.3 <= stage.spelling_share <= 0.5 for stage in recipe.stages)
    assert 100 <= recipe.mining_depth <= 200
    assert recipe.miner == "encoder_supcon"


def test_mixed_is_one_stage_of_all_tiers() -> None:
    recipe = load_recipe("mixed")
    (mixed,) = recipe.stages
    assert {*mixed.positives, *mixed.negatives} == {
        "easy_positive",
        "hard_positive",
        "hard_negative",
        "near_miss",
        "token_similar_negative",
        "random",
    }
    assert mixed.loss == "mnr" and recipe.miner is None


def test_the_baseline_is_the_librarys_loss_on_every_pair_graded_relevant() -> None:
    (baseline,) = load_recipe("mnr_baseline").stages
    assert (baseline.loss, baseline.positives, baseline.negatives, baseline.spelling) == ("mnr_baseline", ("graded",), (), "none")
    (mixed,) = load_recipe("mixed").stages  # what it is compared with has the same sizes
    for setting in ("positive_grade", "batch_size", "epochs", "max_steps", "learning_rate", "evaluations"):
        assert getattr(baseline, setting) == getattr(mixed, setting)


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
        (lambda r: r["stages"][0].pop("positives"), r"stages\[0\]: positives: loss 'mnr' needs at least one"),
        (lambda r: r["stages"][0].update(lists="union"), r"stages\[0\]: lists: loss 'mnr' does not read it \(only supcon, circle\)"),
        (lambda r: r["stages"][0].update(list_size=4), r"stages\[0\]: list_size: loss 'mnr' does not read it"),
        (lambda r: r["stages"][1].update(batches="shuffled"), r"stages\[1\]: batches: loss 'triplet' does not read it \(only mnr\)"),
        (lambda r: r["stages"].__setitem__(0, {**LISTS, "positives": ["graded"]}), r"stages\[0\]: positives: loss 'supcon' does not"),
        (lambda r: r["stages"].__setitem__(0, {**LISTS, "list_size": 2}), r"stages\[0\]\.list_size: .*greater than or equal to 3"),
        (lambda r: r["stages"].__setitem__(0, {**LISTS, "gamma": 32}), r"stages\[0\]: gamma: loss 'supcon' does not read it"),
        (lambda r: r["stages"].__setitem__(0, {**LISTS, "lists": "mined"}), r"stages\[0\]: hard samples are mined with the stage"),
        (lambda r: r["stages"].__setitem__(0, {**LISTS, "lists": "union"}), r"stages\[0\]: hard samples are mined with the stage"),
        (lambda r: r["stages"].__setitem__(0, {**BASELINE, "negatives": ["random"]}), r"stages\[0\]: negatives: loss 'mnr_baseline'"),
        (lambda r: r["stages"].__setitem__(0, {**BASELINE, "negatives_per_positive": 0}), r"stages\[0\]: negatives_per_positive"),
        (lambda r: r.update(towers={"kind": "three"}), r"towers\.kind"),
        (lambda r: r.update(towers={"dimensions": 1}), r"towers\.dimensions"),
        (lambda r: r["stages"][0].update(spelling_share=0.4), r"stages\[0\]: spelling_share: spelling 'none' does not read it"),
        (lambda r: r.update(synthetic={"share": 0}), r"synthetic\.share"),
        (lambda r: r.update(synthetic={}), "synthetic: no stage reads it"),
        (lambda r: r.update(mining_depth=100), "mining_depth: no stage reads it"),
        (lambda r: r.update(mining_depth=1), "mining_depth"),
        (lambda r: r.update(stages=[]), "stages"),
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


@pytest.mark.parametrize(
    "stages",
    [
        [LISTS],
        [BASELINE],
        [{**BASELINE, "loss": "mnr", "positives": ["easy_positive", "graded"], "negatives_per_positive": 0}],
        [{**content()["stages"][0]}, {**LISTS, "lists": "union"}],
    ],
)
def test_a_stage_that_reads_graded_pairs_reads_synthetic_queries(tmp_path: Path, stages: list[dict[str, Any]]) -> None:
    write(tmp_path, {**content(), "stages": stages, "synthetic": {"share": 0.1}})
    assert load_recipe("mine", tmp_path).synthetic
    write(tmp_path, {**content(), "stages": [content()["stages"][0], {**LISTS, "lists": "mined"}], "synthetic": {}})
    with pytest.raises(WhetstoneError, match="synthetic: no stage reads it"):
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
    lists = version(lambda r: r["stages"].append({**LISTS, "temperature": 0.05}))
    assert lists[:2] == plain and lists == version(lambda r: r["stages"].append(LISTS))
    assert lists != version(lambda r: r["stages"].append({**LISTS, "temperature": 0.1}))


def test_the_miner_is_the_stage_before_the_first_that_learns_from_hard_samples(tmp_path: Path) -> None:
    recipe = content()
    write(tmp_path, recipe)
    assert load_recipe("mine", tmp_path).miner is None
    recipe["stages"] += [LISTS, {"name": "encoder_last", "loss": "circle", "lists": "union"}]
    write(tmp_path, recipe)
    loaded = load_recipe("mine", tmp_path)
    assert loaded.miner == "encoder_lists"
    assert [stage.needs_hard_samples for stage in loaded.stages] == [False, False, False, True]


def test_recipes_are_trained_side_by_side(tmp_path: Path) -> None:
    def other(**changes: Any) -> None:
        stages = [{**LISTS, "name": "encoder_a"}, {**LISTS, "name": "encoder_b", "lists": "mined"}]
        write(tmp_path, {**content(), "name": "other", "stages": stages, **changes}, "other")

    write(tmp_path, content())
    other()
    assert [recipe.name for recipe in load_recipes("mine, other", tmp_path)] == ["mine", "other"]
    assert [recipe.name for recipe in load_recipes("other", tmp_path)] == ["other"]
    for names in ("mine,mine", "mine,nobody", "mine,", ""):
        with pytest.raises(WhetstoneError):
            load_recipes(names, tmp_path)
    other(stages=content()["stages"][1:])
    with pytest.raises(WhetstoneError, match="WHETSTONE_RECIPE=mine,other: the stage encoder_two is in it twice"):
        load_recipes("mine,other", tmp_path)


@pytest.mark.parametrize("what", ["miner", "synthetic"])
def test_two_recipes_that_make_the_same_table_are_refused(what: str, tmp_path: Path) -> None:
    for name in ("mine", "other"):
        stages = [{**LISTS, "name": f"encoder_{name}_a"}, {**LISTS, "name": f"encoder_{name}_b", "lists": "union"}]
        more = {"synthetic": {}, "stages": stages[:1]} if what == "synthetic" else {"stages": stages}
        recipe = {**content(), "name": name, "stages": [{**stage, "name": f"{stage['name']}_{name}"} for stage in content()["stages"]]}
        write(tmp_path, {**recipe, **more}, name)
    with pytest.raises(WhetstoneError, match=f"mine and other both have a {what}"):
        load_recipes("mine,other", tmp_path)
    assert len(load_recipes("mine", tmp_path)) == len(load_recipes("other", tmp_path)) == 1


def test_shipped_recipes_can_be_trained_side_by_side_but_for_two_that_mine() -> None:
    names = sorted(path.stem for path in FOLDER.glob("*.yml"))
    assert len(load_recipes(",".join(name for name in names if name != "supcon_circle"))) == len(names) - 1
    with pytest.raises(WhetstoneError, match="both have a miner"):
        load_recipes("mine_and_refine,supcon_circle")


def test_mine_and_refine_learns_from_the_union_with_the_originals() -> None:
    recipe = load_recipe("mine_and_refine")
    first, second = recipe.stages
    assert recipe.miner == first.name and not first.needs_hard_samples and second.needs_hard_samples
    assert set(first.positives) <= set(second.positives) and {"near_miss", "mined_negative"} <= set(second.negatives)
    assert 100 <= recipe.mining_depth <= 200
