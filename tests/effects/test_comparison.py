"""What the runs of an effect come to, and the table of docs/effects.md."""

import datetime
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts.effects_page import PAGE, RESULTS
from selftaught.core.errors import BadInput
from selftaught.effects.comparison import comparisons, verdict
from selftaught.effects.effect import Effect
from selftaught.effects.results import Results, Run
from selftaught.effects.table import few_seeds, page, stored

EFFECT = Effect.model_validate(
    {
        "system": "rft",
        "claim": "verified | samples teach",
        "recipe": "rft",
        "arms": [{"name": "verified"}, {"name": "unfiltered", "recipe": "unfiltered"}],
        "control": "unfiltered",
        "metric": "mean@8",
        "smallest": 0.05,
    }
)
GOLDEN = """\
## Results

Results with fewer seeds than their effect asks for: 1 of 1.

| system | claim | metric | control → arm | difference (95 % interval) | seeds | tasks | smallest visible | verdict | \
recipes | minutes | measured |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| rft | verified \\| samples teach | mean@8 | unfiltered .250 → verified .500 | +.250 (.222 to .278) | 2 | 80 | .028 | \
shown | `cccccccc` `aaaaaaaa` | 48 | 2026-11-30 |
"""


def run(arm: str, seed: int, scores: Mapping[str, float]) -> Run:
    return Run(
        arm=arm,
        seed=seed,
        recipe=("a" if arm == "verified" else "c") * 64,
        metric="mean@8",
        model="b" * 64,
        outcome="trained",
        date=datetime.date(2026, 11, 28 + seed),
        minutes=12.0,
        versions={},
        scores=scores,
    )


def values(first: float, second: float, offset: int = 0) -> dict[str, float]:
    """Those of 40 tasks, by turns."""
    return {f"{task + offset:016x}": first if task % 2 else second for task in range(40)}


MEASURED = Results(
    effect=EFFECT,
    runs=(
        *(run("verified", seed, values(0.375, 0.625)) for seed in (1, 2)),
        *(run("unfiltered", seed, values(0.25, 0.25)) for seed in (1, 2)),
    ),
)


def test_arms_are_paired_by_seed_and_task():
    """Another seed has other tasks, and a task that one arm has no value of counts for neither."""
    one, other = values(0.0, 1.0), values(0.0, 1.0, offset=100)
    control, extra = {task: value / 2 for task, value in one.items()}, {"f" * 16: 1.0}
    runs = (run("verified", 1, one | extra), run("unfiltered", 1, control), run("verified", 2, other))
    (found,) = comparisons(Results(effect=EFFECT, runs=runs))
    assert (found.seeds, found.tasks) == (1, 40)
    assert (found.mean, found.control_mean, found.difference) == (0.5, 0.25, 0.25)


def test_there_is_nothing_to_compare_without_the_control():
    assert not list(comparisons(Results(effect=EFFECT, runs=(run("verified", 1, values(0.0, 1.0)),))))


@pytest.mark.parametrize(
    ("difference", "low", "high", "rises", "falls"),
    [
        (0.1, 0.02, 0.18, "shown", "reversed"),
        (0.04, 0.02, 0.06, "not shown", "reversed"),
        (0.1, -0.02, 0.22, "not shown", "not shown"),
        (-0.1, -0.18, -0.02, "reversed", "shown"),
        (-0.04, -0.06, -0.02, "reversed", "not shown"),
    ],
)
def test_the_verdict_goes_by_direction_interval_and_what_is_worth_showing(
    difference: float, low: float, high: float, rises: str, falls: str
):
    other = EFFECT.model_copy(update={"direction": "falls"})
    assert verdict(EFFECT, difference, low, high) == rises
    assert verdict(other, difference, low, high) == falls


def test_results_come_back_from_their_file_and_a_run_is_a_line(tmp_path: Path):
    MEASURED.write(tmp_path / "results" / "rft.json")
    assert stored(tmp_path / "results") == [MEASURED]
    assert sum('"arm":' in line for line in (tmp_path / "results" / "rft.json").read_text().splitlines()) == 4


def test_a_damaged_file_of_results_is_named(tmp_path: Path):
    (tmp_path / "rft.json").write_text("{}")
    with pytest.raises(BadInput, match=r"rft\.json: no results of an effect .* Restore the file, or remove it"):
        Results.read(tmp_path / "rft.json")


def test_the_table_is_what_it_was():
    assert page("# Head\n\n## Results\n\nold\n", [MEASURED]) == f"# Head\n\n{GOLDEN}"


def test_few_seeds_are_said_and_of_one_that_its_interval_is_of_tasks_alone():
    one = MEASURED.model_copy(update={"runs": [each for each in MEASURED.runs if each.seed == 1]})
    as_asked = MEASURED.model_copy(update={"effect": EFFECT.model_copy(update={"seeds": 2})})
    (said,) = few_seeds([one, MEASURED, as_asked])
    assert " ".join(said.split()) == (
        "Results with fewer seeds than their effect asks for: 2 of 3. "
        "Where there is one seed (1 of 3), the interval covers tasks, not another training run."
    )
    assert not list(few_seeds([as_asked]))


def test_what_was_not_measured_has_no_row():
    assert "|" not in page("## Results\n", [Results(effect=EFFECT)])


def test_the_page_has_the_results_that_are_stored():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, stored(RESULTS)), "run python scripts/effects_page.py"
