"""What a dry run says besides its figures."""

from __future__ import annotations

from whetstone.grading.jobs import recipe_notes


def test_what_recipes_would_ask_is_named_where_they_are_in_the_graph() -> None:
    assert recipe_notes({"marts.grades", "models.encoder_bce"}, 25) == []
    (mined,) = recipe_notes({"marts.hard_samples"}, 25)
    assert mined.startswith("marts.hard_samples will ask besides: at most 50 pairs a train query") and "leave it out" in mined
    assert len(recipe_notes({"marts.hard_samples", "marts.synthetic_queries", "marts.synthetic_grades"}, 25)) == 2
