"""The demo shop's vocabulary: whole, symmetric, distinct, and endless."""

from pathlib import Path

import pytest
import yaml

from whetstone.catalog import demo
from whetstone.catalog.demo.vocabulary import coin, load_vocabulary


def categories_of(vocabulary):
    return list(dict.fromkeys(kind.category for kind in vocabulary.types.values()))


@pytest.mark.parametrize("categories", [1, 6, 14, 15, 200])
def test_any_number_of_categories_gives_a_whole_vocabulary(categories):
    vocabulary = load_vocabulary(categories)
    assert len(categories_of(vocabulary)) == categories
    for kind in vocabulary.types.values():
        assert kind.titles and kind.ask and kind.slang and len(kind.brands) == 8
        assert all(len(values) >= 2 for values in kind.attributes.values()), kind.name
        assert kind.part_of is None or kind.part_of in kind.complements
        assert not kind.swaps & kind.complements
        for other in kind.swaps:
            assert kind.name in vocabulary.types[other].swaps
        for other in kind.complements:
            assert kind.name in vocabulary.types[other].complements


def test_fewer_categories_are_a_prefix_of_more():
    assert categories_of(load_vocabulary(30))[:7] == categories_of(load_vocabulary(7))


def test_derived_line_has_brands_and_slang_of_its_own_and_stands_in_for_the_original():
    vocabulary = load_vocabulary(15)
    original, derived = vocabulary.types["Robot Vacuum"], vocabulary.types["Marine Robot Vacuum"]
    assert derived.category == "Home Appliances 2"
    assert not set(original.brands) & set(derived.brands)
    assert not set(original.slang) & set(derived.slang)
    assert original.name in derived.swaps


def test_every_type_is_called_by_words_that_its_own_titles_lack():
    for kind in load_vocabulary(14).types.values():
        in_titles = {word for title in kind.titles for word in title.lower().split()}
        assert any(not set(name.lower().split()) & in_titles for name in kind.slang), kind.name


def test_forms_of_values():
    vocabulary = load_vocabulary(1)
    assert "dark blue" in vocabulary.forms("navy", "ask")
    assert set(vocabulary.forms("1.5 L", "title")) == {"1.5 L", "1.5L", "1500 ml"}
    assert "200000g" not in vocabulary.forms("200 kg", "ask")
    assert vocabulary.forms("slim fit", "title") == ("Slim Fit",)
    assert vocabulary.forms("45 Ah", "ask") == ("45 ah",)


def test_coined_words_belong_to_their_name():
    assert coin("a", 8) == coin("a", 8)
    assert len(set(coin("a", 8))) == 8
    assert coin("a", 3) != coin("b", 3)


def test_written_types_refer_to_written_types_and_hold_texts():
    vocabulary = load_vocabulary(14)
    files = [yaml.safe_load(path.read_text()) for path in Path(demo.__file__).parent.glob("*.yml") if path.stem != "values"]
    for name, entry in ((name, entry) for file in files for spec in file for name, entry in spec["types"].items()):
        assert {*entry.get("swap", []), *entry.get("with", []), *filter(None, [entry.get("part_of")])} <= set(vocabulary.types), name
        values = vocabulary.types[name].attributes.values()
        assert all(isinstance(form, str) for options in values for v in options for form in vocabulary.forms(v, "title"))
