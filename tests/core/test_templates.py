"""Templates: slots are filled in once, and everything else stays."""

from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.templates import filled, slots


def test_what_is_filled_in_is_not_looked_at_again():
    assert filled(r"{one} \frac{a}{b} {other}", {"one": "{other}", "other": "x"}) == r"{other} \frac{a}{b} x"


@given(st.text("{}ab.$\\"), st.text())
def test_without_slots_a_text_stays(template: str, value: str):
    assert filled(template, dict.fromkeys({"a", "b"} - slots(template), value)) == template
