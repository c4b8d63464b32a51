"""The guideline: what is shipped, what its version depends on, what is refused and how it says so."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from whetstone.grading.guideline import FOLDER, load_guideline
from whetstone.platform.errors import WhetstoneError


def write(folder: Path, content: Any, name: str = "mine") -> Path:
    (folder / f"{name}.yml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture
def content() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "esci.yml").read_text(encoding="utf-8"))
    return {**loaded, "name": "mine"}


def test_esci_maps_as_the_methods_say() -> None:
    guideline = load_guideline("esci")
    assert guideline.gains == {4: 1.0, 2: 0.1, 1: 0.01, 0: 0.0}
    assert guideline.labels == {4: 2, 2: 1, 1: 1, 0: 0}
    assert guideline.grades == (4, 2, 1, 0)
    assert guideline.top_grade == 4
    assert (guideline.relevant_grade, guideline.irrelevant_grade) == (3, 1)


def test_three_level_maps_as_the_methods_say() -> None:
    guideline = load_guideline("three_level")
    assert guideline.gains == {4: 1.0, 2: 0.5, 0: 0.0}
    assert guideline.labels == {4: 2, 2: 1, 0: 0}


@pytest.mark.parametrize("name", ["esci", "three_level"])
def test_shipped_levels_teach_by_examples(name: str) -> None:
    for level in load_guideline(name).levels:
        assert level.positive_examples, level.name
        assert level.negative_examples, level.name


def test_version_depends_on_content_alone(tmp_path: Path, content: dict[str, Any]) -> None:
    version = load_guideline("mine", write(tmp_path, content)).version
    assert len(version) == 16
    assert int(version, 16) >= 0
    text = (tmp_path / "mine.yml").read_text(encoding="utf-8")
    (tmp_path / "mine.yml").write_text(f"# a comment\n\n{text}", encoding="utf-8")
    assert load_guideline("mine", tmp_path).version == version
    assert load_guideline("mine", write(tmp_path, dict(reversed(content.items())))).version == version


@pytest.mark.parametrize("edit", ["definition", "example", "gain", "note"])
def test_any_edit_of_content_changes_the_version(tmp_path: Path, content: dict[str, Any], edit: str) -> None:
    version = load_guideline("mine", write(tmp_path, content)).version
    edited = deepcopy(content)
    if edit == "definition":
        edited["levels"][2]["definition"] += " Nearly."
    elif edit == "example":
        edited["levels"][1]["negative_examples"][0]["why"] = "because"
    elif edit == "gain":
        edited["levels"][1]["gain"] = 0.2
    else:
        edited["policy_notes"].append("one more")
    assert load_guideline("mine", write(tmp_path, edited)).version != version


@pytest.mark.parametrize("levels", [2, 5])
def test_two_to_five_levels_work(tmp_path: Path, content: dict[str, Any], levels: int) -> None:
    grades, labels, gains = [4, 3, 2, 1, 0], [2, 2, 1, 1, 0], [1.0, 0.7, 0.3, 0.1, 0.0]
    chosen = [0, 4] if levels == 2 else range(5)
    content["levels"] = [
        {"name": f"level {i}", "definition": "d", "grade": grades[i], "label": labels[i], "gain": gains[i]} for i in chosen
    ]
    assert len(load_guideline("mine", write(tmp_path, content)).levels) == levels


BAD = {
    "one level": (lambda c: c.update(levels=c["levels"][:1]), "levels"),
    "six levels": (lambda c: c.update(levels=c["levels"] + c["levels"][:2]), "levels"),
    "unknown field": (lambda c: c.update(colour="red"), "colour"),
    "unknown level field": (lambda c: c["levels"][0].update(weight=1), "levels[0].weight"),
    "missing definition": (lambda c: c["levels"][1].pop("definition"), "levels[1].definition"),
    "empty name": (lambda c: c["levels"][1].update(name=" "), "levels[1].name"),
    "grade too high": (lambda c: c["levels"][0].update(grade=5), "levels[0].grade"),
    "grade as text": (lambda c: c["levels"][0].update(grade="4"), "levels[0].grade"),
    "gain too high": (lambda c: c["levels"][0].update(gain=1.5), "levels[0].gain"),
    "grades rise": (lambda c: c["levels"].reverse(), "grade must fall"),
    "equal grades": (lambda c: c["levels"][1].update(grade=4), "grade must fall"),
    "label rises": (lambda c: c["levels"][3].update(label=2), "label must not rise"),
    "gain rises": (lambda c: c["levels"][2].update(gain=0.5), "gain must not rise"),
    "names alike": (lambda c: c["levels"][1].update(name="Exact"), "names must differ"),
    "cuts crossed": (lambda c: c.update(irrelevant_grade=3), "irrelevant_grade"),
    "nothing relevant": (lambda c: c["levels"].pop(0), "relevant_grade"),
    "nothing irrelevant": (lambda c: c.update(levels=c["levels"][:2]), "irrelevant_grade"),
    "name of another file": (lambda c: c.update(name="other"), "'other'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_content_is_refused_by_file_and_field(tmp_path: Path, content: dict[str, Any], case: str) -> None:
    spoil, named = BAD[case]
    spoil(content)
    with pytest.raises(WhetstoneError) as raised:
        load_guideline("mine", write(tmp_path, content))
    assert str(tmp_path / "mine.yml") in str(raised.value)
    assert named in str(raised.value)


@pytest.mark.parametrize("name", ["nothing", "../guidelines/esci", ""])
def test_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(WhetstoneError, match="known: esci, three_level"):
        load_guideline(name)


@pytest.mark.parametrize("data", [b"levels: [", b"- a\n- b\n", b"", b"name: \xff\xfe"])
def test_a_file_that_is_no_guideline_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "mine.yml").write_bytes(data)
    with pytest.raises(WhetstoneError, match=r"mine\.yml"):
        load_guideline("mine", tmp_path)
