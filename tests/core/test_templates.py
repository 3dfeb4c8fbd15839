"""Templates: slots are filled in once, and everything else stays."""

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from selftaught.blocks import registered
from selftaught.blocks.loading import load_blocks
from selftaught.core.templates import filled, slots
from selftaught.recipe.axes import AXES


def test_what_is_filled_in_is_not_looked_at_again():
    assert filled(r"{one} \frac{a}{b} {other}", {"one": "{other}", "other": "x"}) == r"{other} \frac{a}{b} x"


@given(st.text("{}ab.$\\"), st.text())
def test_without_slots_a_text_stays(template: str, value: str):
    assert filled(template, dict.fromkeys({"a", "b"} - slots(template), value)) == template


@pytest.mark.parametrize(
    ("axis", "block", "field", "text"),
    [
        ("sample", "self_play", "ask", "Write one like {taks}"),
        ("sample", "rationalise", "hint", "It is {answer}, {question}"),
        ("curate", "tagged", "ask", "{tags} {task}"),
        ("curate", "tagged", "again", "{task}"),
        ("curate", "tagged", "feedback", "{reasons}"),
        ("curate", "linearised", "back", "From {steps} on:"),
    ],
)
def test_what_is_nearly_a_slot_is_refused(axis: str, block: str, field: str, text: str):
    load_blocks()
    of_field = registered(axis)[block].model_fields[field]
    with pytest.raises(ValidationError, match=r"is not a slot\."):
        TypeAdapter(Annotated[of_field.annotation, of_field]).validate_python(text)


def test_the_texts_that_blocks_have_of_themselves_have_their_slots():
    load_blocks()
    blocks = [block for axis in AXES for block in registered(axis).values()]
    for field in (field for block in blocks for field in block.model_fields.values() if isinstance(field.default, str)):
        assert TypeAdapter(Annotated[field.annotation, field]).validate_python(field.default) == field.default
