"""The page of shipped recipes is what the files say, and an effect that was measured shows there with its verdict."""

from scripts import recipes_page
from selftaught.effects.table import stored
from tests.effects.test_comparison import EFFECT, MEASURED


def test_the_page_is_what_the_recipes_and_the_results_say() -> None:
    results = stored(recipes_page.EFFECTS / "results")
    written = recipes_page.page(recipes_page.shipped(), recipes_page.effects(), results)
    assert recipes_page.PAGE.read_text(encoding="utf-8") == written, "run python scripts/recipes_page.py"


def test_a_measured_effect_is_shown_with_its_verdict_and_interval() -> None:
    (recipe,) = (each for each in recipes_page.shipped() if each.name == "unfiltered")
    assert recipes_page.effect(recipe, [EFFECT], []).endswith("[rft](../effects/rft.yaml): not measured yet.")
    assert recipes_page.effect(recipe, [EFFECT], [MEASURED]).endswith("verified shown, +.250 (.222 to .278).")
