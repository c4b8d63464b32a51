"""What comes back: an answer is a legal grade or a failure of its pair, never a guess."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.grading.claude.hostile import PRODUCTS

from whetstone.grading.claude.prompt import CLOSE, OPEN, Answer, Prompt, read_grade
from whetstone.grading.guideline import Guideline, load_guideline

ESCI = load_guideline("esci")
PROMPT = Prompt(ESCI)
SHIPPED = ["esci", "three_level"]
FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
UNSEEN = {*"\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u3164\ufe00\ufe0f\uffa0", *map(chr, range(0xE0100, 0xE01F0))}

any_text = st.text(alphabet=st.characters(), max_size=400)
nasty = st.lists(st.sampled_from([OPEN, CLOSE, "<", ">", "&", "\\", '"', "\u200b", "\ud800", "＜", "\ufdfa", "\u0301", "\U000e0041", " "]))
hostile_text = st.one_of(any_text, nasty.map("".join), st.tuples(any_text, st.integers(1, 40)).map(lambda pair: pair[0] * pair[1]))


def message(text: str | None = None, stop_reason: str | None = "end_turn", **answer: Any) -> Any:
    """A message like the SDK's: a block of thinking, then the answer's text."""
    text = json.dumps({"rationale": "as asked", "grade": 4, "confidence": 90} | answer) if text is None else text
    blocks = [SimpleNamespace(type="thinking", thinking="{}"), SimpleNamespace(type="text", text=text)]
    return SimpleNamespace(stop_reason=stop_reason, content=blocks)


def check(answer: Answer, guideline: Guideline = ESCI) -> Answer:
    """A legal grade or a failure, each with what belongs to it."""
    if answer.failure is None:
        assert answer.grade in guideline.grades
        assert type(answer.grade) is int
        assert 0 <= answer.confidence <= 1
        assert answer.rationale is not None
        assert len(answer.rationale) <= 300
        assert answer.rationale.isprintable()
    else:
        assert (answer.grade, answer.confidence, answer.rationale) == (None, 0.0, None)
        assert 0 < len(answer.failure) <= 200
        assert answer.failure.isprintable()
    return answer


@pytest.mark.parametrize("grade", ESCI.grades)
@pytest.mark.parametrize("confidence", [0, 1, 87, 100])
def test_a_good_answer_is_read(grade: int, confidence: int) -> None:
    answer = check(read_grade(message(grade=grade, confidence=confidence), ESCI.grades))
    assert answer == (grade, confidence / 100, "as asked", None)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_guideline_says_which_grades_are_legal(name: str) -> None:
    guideline = load_guideline(name)
    read = {grade for grade in range(-2, 8) if read_grade(message(grade=grade), guideline.grades).failure is None}
    assert read == set(guideline.grades)


GOOD = '{"rationale": "r", "grade": 4, "confidence": 90}'


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("", "malformed: "),
        ("I give it grade 4.", "malformed: "),
        (f"```json\n{GOOD}\n```", "malformed: "),
        (f"{GOOD} {GOOD}", "malformed: "),
        (GOOD[:-1], "malformed: "),
        (f"[{GOOD}]", "malformed: "),
        ("4", "malformed: "),
        ("null", "malformed: "),
        ("[" * 100_000, "malformed: "),
        ('{"a":' * 100_000, "malformed: "),
        ("9" * 5000, "malformed: "),
        ('{"grade": 4, "confidence": 90}', "malformed: "),
        ('{"rationale": "r", "grade": 4, "confidence": 90, "more": 1}', "malformed: "),
        ('{"rationale": "r", "grade": 0, "grade": 4, "confidence": 90}', "malformed: a key twice"),
        ('{"rationale": "r", "grade": "4", "confidence": 90}', "malformed: "),
        ('{"rationale": "r", "grade": 4.0, "confidence": 90}', "malformed: "),
        ('{"rationale": "r", "grade": true, "confidence": 90}', "malformed: "),
        ('{"rationale": "r", "grade": 4, "confidence": true}', "malformed: "),
        ('{"rationale": "r", "grade": 4, "confidence": NaN}', "malformed: "),
        ('{"rationale": "r", "grade": 4, "confidence": 0.9}', "malformed: "),
        ('{"rationale": null, "grade": 4, "confidence": 90}', "malformed: "),
        ('{"rationale": "r", "grade": 3, "confidence": 90}', "grade out of range"),
        ('{"rationale": "r", "grade": -1, "confidence": 90}', "grade out of range"),
        ('{"rationale": "r", "grade": 4, "confidence": 101}', "confidence out of range"),
        ('{"rationale": "r", "grade": 4, "confidence": -1}', "confidence out of range"),
    ],
)
def test_what_is_not_an_answer_is_a_failure(text: str, failure: str) -> None:
    found = check(read_grade(message(text), ESCI.grades)).failure
    assert found is not None
    assert found.startswith(failure)


@pytest.mark.parametrize(
    ("stop_reason", "failure"),
    [
        ("refusal", "refusal"),
        ("max_tokens", "max_tokens"),
        ("tool_use", "malformed: stopped by tool_use"),
        ("model_context_window_exceeded", "malformed: stopped by model_context_window_exceeded"),
        (None, "malformed: stopped by None"),
    ],
)
def test_only_an_answer_that_came_to_its_end_counts(stop_reason: str | None, failure: str) -> None:
    assert check(read_grade(message(stop_reason=stop_reason), ESCI.grades)).failure == failure  # although its text is a good answer


@pytest.mark.parametrize("texts", [None, [], [GOOD, GOOD], [None]])
def test_there_is_one_text_or_a_failure(texts: list[str | None] | None) -> None:
    blocks = None if texts is None else [SimpleNamespace(type="text", text=text) for text in texts]
    failure = check(read_grade(SimpleNamespace(stop_reason="end_turn", content=blocks), ESCI.grades)).failure  # type: ignore[arg-type]
    assert failure is not None
    assert failure.startswith("malformed: ")


@pytest.mark.parametrize("name", PRODUCTS)
def test_an_answer_that_repeats_hostile_text_is_harmless(name: str) -> None:
    assert check(read_grade(message(rationale=PRODUCTS[name]), ESCI.grades)).grade == 4
    check(read_grade(message(PRODUCTS[name]), ESCI.grades))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-200, 200) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rationale", "grade", "confidence", "x"]), inner),
    max_leaves=6,
)


nearly_good = st.tuples(st.integers(0, len(GOOD)), st.text(max_size=3), st.integers(0, 3)).map(
    lambda edit: GOOD[: edit[0]] + edit[1] + GOOD[edit[0] + edit[2] :]
)


@given(st.one_of(st.text(), json_values.map(json.dumps), nearly_good))
def test_whatever_the_text_it_is_a_legal_grade_or_a_failure(text: str) -> None:
    answer = check(read_grade(message(text), ESCI.grades))
    assert (answer.grade is None) == (answer.failure is not None)


@given(json_values, json_values, json_values)
def test_whatever_the_fields_nothing_is_guessed(rationale: Any, grade: Any, confidence: Any) -> None:
    answer = check(read_grade(message(rationale=rationale, grade=grade, confidence=confidence), ESCI.grades))
    is_legal = type(rationale) is str and type(grade) is type(confidence) is int and grade in ESCI.grades and 0 <= confidence <= 100
    assert (answer.failure is None) == is_legal
    if is_legal:
        assert (answer.grade, answer.confidence) == (grade, confidence / 100)


def test_the_sdks_own_message_is_read() -> None:
    from anthropic.types import Message

    usage = {"input_tokens": 1, "output_tokens": 1}
    content = [{"type": "thinking", "thinking": "", "signature": ""}, {"type": "text", "text": GOOD}]
    fields = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "stop_sequence": None}
    assert read_grade(Message.model_validate({**fields, "content": content, "usage": usage}), ESCI.grades) == (4, 0.9, "r", None)
