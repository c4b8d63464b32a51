"""The champion gate: who passes, who doesn't, ties, untested segments, and the reason in words."""

from __future__ import annotations

import numpy as np
import pytest

from whetstone.evaluation.gate import decide
from whetstone.platform.errors import WhetstoneError

SEGMENTS = ["head"] * 8 + ["torso"] * 8 + ["tail"] * 8
BASE = [0.5] * 24


def shifted(head: float, torso: float, tail: float) -> list[float]:
    return [0.5 + head] * 8 + [0.5 + torso] * 8 + [0.5 + tail] * 8


def test_better_everywhere_is_promoted(results):
    decision = decide(results({"base": BASE, "encoder_mnr": shifted(0.1, 0.1, 0.1)}, SEGMENTS), ["encoder_mnr"], "base")
    assert (decision.promoted, decision.champion, decision.before) == (True, "encoder_mnr", "base")
    assert decision.reason.startswith("encoder_mnr becomes the champion in place of base on the ndcg@10 of the dev queries")
    assert "0.6000 against 0.5000, +0.1000 [+0.1000, +0.1000], p = 0.0001, 24 queries" in decision.reason


def test_better_but_significantly_worse_on_a_segment_is_not(results):
    table = results({"base": BASE, "encoder_bce": shifted(0.3, 0.3, -0.01)}, SEGMENTS)
    decision = decide(table, ["encoder_bce"], "base")
    assert (decision.promoted, decision.champion) == (False, "base")
    assert "encoder_bce is significantly worse (alpha 0.05) on tail" in decision.reason
    # The same loss is no reason where it could be chance at the level asked for: 8 of 8 worse has p = 2 / 2^8.
    assert decide(table, ["encoder_bce"], "base", alpha=2 / 2**8).promoted
    assert not decide(table, ["encoder_bce"], "base", alpha=2 / 2**8 + 1e-6).promoted


def test_significantly_better_on_a_segment_is_no_harm(results):
    assert decide(results({"base": BASE, "e": shifted(0.2, -0.0, 0.0)}, SEGMENTS), ["e"], "base").promoted


def test_equal_or_worse_is_not_promoted(results):
    table = results({"base": BASE, "same": BASE, "worse": shifted(0, 0, -0.001)}, SEGMENTS)
    decision = decide(table, ["same", "worse"], "base")
    assert (decision.promoted, decision.champion) == (False, "base")
    assert "dev queries: same is not better" in decision.reason  # the nearest to a promotion first
    assert "worse is significantly worse (alpha 0.05) on tail" in decision.reason


def test_best_of_those_that_pass_is_promoted(results):
    values = {"base": BASE, "good": shifted(0.1, 0, 0), "best": shifted(0.2, 0, 0), "harmful": shifted(0.9, 0.9, -0.1)}
    decision = decide(results(values, SEGMENTS), ["good", "best", "harmful"], "base")
    assert decision.champion == "best"
    assert [decision.reason.index(name) for name in ("best is better", "good is better", "harmful is significantly worse")] == sorted(
        decision.reason.index(name) for name in ("best is better", "good is better", "harmful is significantly worse")
    )


@pytest.mark.parametrize("order", [["one", "two"], ["two", "one"]])
def test_ties_go_to_the_earlier_in_the_list(results, order):
    table = results({"base": BASE, "one": shifted(0.1, 0, 0), "two": shifted(0, 0, 0.1)}, SEGMENTS)
    assert decide(table, order, "base").champion == order[0]


def test_segments_with_fewer_than_two_scored_queries_are_skipped_and_named(results):
    segments = ["head"] * 8 + ["tail"]
    table = results({"base": [0.5] * 9, "e": [0.6] * 8 + [0.0]}, segments)
    decision = decide(table, ["e"], "base")
    assert decision.promoted
    assert "not tested for want of 2 scored queries: torso and tail" in decision.reason
    assert "(head +0.1000, p = 0.0078; not tested" in decision.reason
    undefined = results({"base": [0.5] * 9 + [np.nan], "e": [0.6] * 8 + [0.0, np.nan]}, [*segments, "tail"])
    assert "torso and tail" in decide(undefined, ["e"], "base").reason
    one_sided = results({"base": [0.5] * 8 + [0.5, np.nan], "e": [0.6] * 8 + [np.nan, 0.0]}, [*segments, "tail"])
    assert "torso and tail" in decide(one_sided, ["e"], "base").reason


def test_without_candidates_the_champion_stays(results):
    decision = decide(results({"base": BASE}, SEGMENTS), [], "base")
    assert (decision.promoted, decision.champion, decision.before) == (False, "base", "base")
    assert decision.reason == "base stays the champion: no checkpoint challenged it."
    nothing = decide(results({"base": []}, []), [], "base")
    assert not nothing.promoted and "no dev query has a human judgment" in nothing.reason


def test_a_candidate_that_shares_no_scored_query_is_not_promoted(results):
    table = results({"base": [0.5, np.nan], "e": [np.nan, 0.9], "f": [0.4, 0.4]}, ["head", "tail"])
    decision = decide(table, ["e", "f"], "base")
    assert not decision.promoted
    assert decision.reason.index("f is not better") < decision.reason.index("e has no query")
    assert "e has no query on which both it and base are scored" in decision.reason


def test_reads_dev_alone(results):
    with pytest.raises(WhetstoneError, match="results of the split test; the gate reads dev queries alone"):
        decide(results({"base": BASE, "e": BASE}, SEGMENTS, "test"), ["e"], "base")
