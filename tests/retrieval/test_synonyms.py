from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from whetstone.platform.errors import WhetstoneError
from whetstone.retrieval.lexicon import harvest
from whetstone.retrieval.synonyms import LEARNED, combine, learn, log_likelihood_ratio, parse_solr, query_phrases


def test_equivalent_terms_stand_for_each_other() -> None:
    table = parse_solr(["# furniture", "", "Sofa, couches ,settee"])
    assert table["couch"] == {"sofa": 1.0, "couch": 1.0, "sette": 1.0}
    assert table.keys() == {"sofa", "couch", "sette"}


def test_an_arrow_replaces_and_rules_add_up() -> None:
    table = parse_solr(["tv, telly => television", "tv => smart display"])
    assert table == {"tv": {"televis": 1.0, "smart display": 1.0}, "telli": {"televis": 1.0}}


def test_escaped_separators_are_part_of_the_term() -> None:
    assert parse_solr([r"a\,b => c\=>d"]) == {"a b": {"c d": 1.0}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a => b => c", "no rule"),
        ("alone", "no rule"),
        ("a, , b", "term '' has no word"),
        ("a =>", "term '' has no word"),
        ("=> b", "term '' has no word"),
        ("🦄, unicorn", "term '🦄' has no word"),
    ],
)
def test_a_broken_rule_is_named_with_file_and_line(line: str, message: str) -> None:
    with pytest.raises(WhetstoneError, match=f"^shop/synonyms.txt, line 2: .*{message}"):
        parse_solr(["a, b", line], "shop/synonyms.txt")


def test_llr_is_the_likelihood_ratio_of_the_contingency_table() -> None:
    together, total = np.array([9.0, 5.0, 0.0, 12.0]), np.array([20.0, 25.0, 10.0, 12.0])
    for each, k, kk in zip(log_likelihood_ratio(together, np.full(4, 12), total, 60), together, total, strict=True):
        table = [[k, 12 - k], [kk - k, 60 - 12 - kk + k]]
        assert each == pytest.approx(chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic)


def test_independence_has_no_llr() -> None:
    assert log_likelihood_ratio(np.array([5.0]), np.array([10]), np.array([30.0]), 60) == pytest.approx([0.0], abs=1e-9)


def test_query_phrases_do_not_begin_or_end_with_stop_words() -> None:
    assert query_phrases(["case", "for", "phone"]) == ["case", "case for phone", "phone"]
    assert query_phrases([]) == []


Gap = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture
def gap(make_products: Callable[..., pd.DataFrame]) -> Gap:
    """Shoppers say couch, the catalog says sofa; everybody says red."""
    nouns = ["sofa", "lamp", "desk", "shelf"]
    products = make_products(
        *({"title": f"{colour} {noun}"} for noun in nouns for colour in ("red", "blue", "green", "grey", "pink", "teal"))
    )
    said = {"sofa": "couch", "lamp": "lamp", "desk": "desk", "shelf": "shelf"}
    rows = []
    for number, title in enumerate(products["title"]):
        colour, noun = title.split()
        rows.append((f"q{number}", f"{colour} {said[noun]}", f"p{number}", 4))
        rows.append((f"q{number}", f"{colour} {said[noun]}", f"p{(number + 6) % 24}", 0))
    return products, pd.DataFrame(rows, columns=["query_id", "text", "product_id", "grade"])


def test_the_words_that_the_catalog_does_not_use_are_learned(gap: Gap) -> None:
    products, judgments = gap
    learned = learn(judgments, products, harvest(products))
    assert list(zip(learned["phrase"], learned["entry"], strict=True)) == [("couch", "sofa")]
    assert learned["credit"].tolist() == [1.0]
    assert learned["count_queries"].tolist() == [6]


def test_irrelevant_and_unknown_products_teach_nothing(gap: Gap) -> None:
    products, judgments = gap
    lexicon = harvest(products)
    assert learn(judgments.replace({"grade": {4: 2}}), products, lexicon).empty
    assert learn(judgments.assign(product_id="elsewhere"), products, lexicon).empty
    assert learn(judgments[:0], products, lexicon).empty


def test_one_query_with_many_products_is_one_trial(gap: Gap) -> None:
    products, judgments = gap
    judgments = judgments.copy()
    couches = judgments["text"].str.contains("couch")
    judgments.loc[couches, ["query_id", "text"]] = ["q0", "red couch"]
    assert learn(judgments, products, harvest(products)).empty


def test_two_queries_are_too_few_however_sure_the_association(gap: Gap) -> None:
    products, judgments = gap
    colours = judgments["text"].str.split().str[0]
    few = judgments[~judgments["text"].str.contains("couch") | colours.isin(["red", "blue"])]
    # The others say their noun twice over, so that two couches stand against many queries.
    more = [few.assign(query_id=few["query_id"] + suffix)[~few["text"].str.contains("couch")] for suffix in "abc"]
    assert learn(pd.concat([few, *more]), products, harvest(products)).empty


def test_what_the_query_says_itself_is_not_its_synonym(gap: Gap) -> None:
    products, judgments = gap
    coloured = products.assign(attributes=[{"colour": title.split()[0]} for title in products["title"]])
    colour = judgments["text"].str.split().str[0]
    others = judgments[~judgments["text"].str.contains("couch") & (colour != "red") & (judgments["grade"] == 4)]
    couches = [("x", "red couch", "p0", 4), ("y", "red couch bed", "p0", 4), ("z", "couch in red", "p0", 4)]  # p0 is the red sofa
    learned = learn(pd.concat([others, pd.DataFrame(couches, columns=others.columns)]), coloured, harvest(coloured))
    assert list(zip(learned["phrase"], learned["entry"], strict=True)) == [("couch", "sofa")]


def test_a_word_that_the_catalog_uses_needs_no_synonym(gap: Gap) -> None:
    products, judgments = gap
    lit = products.assign(attributes=[{"kind": "lighting"} if "lamp" in title else {} for title in products["title"]])
    assert learn(judgments, lit, harvest(lit))["phrase"].tolist() == ["couch"]


def test_what_nearly_everything_holds_is_no_synonym(gap: Gap) -> None:
    products, judgments = gap
    nearly = products.assign(category_path=[["Interior"]] * 23 + [[]])
    assert learn(judgments, nearly, harvest(nearly))["entry"].tolist() == ["sofa"]


def test_what_goes_with_a_phrase_less_often_than_by_chance_is_no_synonym(gap: Gap) -> None:
    products, judgments = gap
    indoors = products.assign(category_path=[[] if number < 2 else ["Interior"] for number in range(24)])  # all but two sofas
    often = pd.concat([judgments.assign(query_id=judgments["query_id"] + copy) for copy in "abcd"])
    learned = learn(often, indoors, harvest(indoors))
    assert "interior" not in set(learned.loc[learned["phrase"] == "couch", "entry"])
    assert ("couch", "sofa") in set(zip(learned["phrase"], learned["entry"], strict=True))


def test_judgments_without_the_querys_text_are_refused(gap: Gap) -> None:
    products, judgments = gap
    with pytest.raises(WhetstoneError, match="lack the column 'text'"):
        learn(judgments.drop(columns="text"), products, harvest(products))


def test_learned_synonyms_stand_beside_the_declared() -> None:
    learned = pd.DataFrame([("tv", "monitor", 0.6, 20.0, 4), ("couch", "sofa", 0.8, 20.0, 4)], columns=LEARNED)
    table = combine({"tv": {"televis": 1.0}}, learned)
    assert table == {"tv": {"televis": 1.0, "monitor": 0.6}, "couch": {"couch": 1.0, "sofa": 0.8}}
