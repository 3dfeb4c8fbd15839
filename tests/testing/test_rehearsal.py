"""A rehearsal shows what a stage asks and learns, as the round's own runners do it."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from selftaught.core.errors import BadInput
from selftaught.recipe import Recipe
from selftaught.testing import rehearse, sums

RECIPE = """\
name: planned
models: {policy: smollm2-135m-instruct}
tasks: {type: word_problems, train: 8, gate: 8, report: 8}
stages:
  - name: main
    sample:
      type: dialogue
      turns:
        - {name: plan, kind: action, ask: "{task} First plan.", n: 2}
        - {name: solution, ask: Now solve it., n: 1}
    verify: {type: answer_match}
    curate: {type: transcripts, keep: passed, train: all, prompt: as_sampled}
    train: {type: sft}
    evaluate: {type: accuracy}
    gate: {type: paired_gain, guard: none}
"""


def test_what_is_asked_judged_and_learnt_is_seen_at_once():
    stage = Recipe.parse(RECIPE).stages[0]
    (task,) = sums(1)
    found = rehearse(stage, "Add both.", "Guess.", f"The answer is {task.answer}.", "No idea.", task=task)
    assert str(found) == dedent(f"""\
        prompt 1
          user: '{task.question} First plan.'
        prompt 2
          user: '{task.question} First plan.'
          assistant: 'Add both.'
          user: 'Now solve it.'
        prompt 3
          user: '{task.question} First plan.'
          assistant: 'Guess.'
          user: 'Now solve it.'
        rollout 0: 'The answer is {task.answer}.'
          answer, answer_match: passed
        rollout 1: 'No idea.'
          answer, answer_match: failed
        1 example
          imitate, weight 1
          read   user: '{task.question} First plan.'
          learnt assistant: 'Add both.'
          read   user: 'Now solve it.'
          learnt assistant: 'The answer is {task.answer}.'""")


def test_a_pair_has_a_better_and_a_worse_side():
    pairs = RECIPE.replace("{type: transcripts, keep: passed, train: all, prompt: as_sampled}", "{type: pairs}")
    stage = Recipe.parse(pairs.replace("{type: sft}", "{type: dpo}")).stages[0]
    said = str(rehearse(stage, "Add both.", "Guess.", "The answer is 5.", "No idea."))
    assert "  better assistant: 'The answer is 5.'" in said and "  worse  assistant: 'No idea.'" in said


def test_earlier_answers_are_judged_and_every_curator_has_its_say():
    stage = Recipe.load("isc-pam").stages[-1]
    (task,) = sums(1)
    found = rehearse(stage, "6", f"The answer is {task.answer}.", task=task)
    assert found.group.verdicts_on(0, "attempt") and found.examples


def test_the_example_of_the_guide_shows_a_plan_and_a_right_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    pages = {name: (Path(__file__).parents[2] / "docs" / f"{name}.md").read_text() for name in ("recipes", "blocks")}
    (plan,) = (each for each in re.findall(r"```yaml\n(.*?)```", pages["recipes"], re.DOTALL) if "name: plan" in each)
    (code,) = (each for each in re.findall(r"```python\n(.*?)```", pages["blocks"], re.DOTALL) if "rehearse(" in each)
    monkeypatch.chdir(tmp_path)
    Path("planned.yaml").write_text(
        f"extends: rft\nname: planned\nstages:\n  - name: main\n{plan}profiles: {{paper: null}}\n"
    )
    exec(compile(code, "guide.py", "exec", dont_inherit=True), {})
    assert "answer, answer_match: passed" in (said := capsys.readouterr().out)
    assert "learnt assistant: 'Add both.'" in said and "failed" not in said


async def test_it_runs_where_an_event_loop_runs_already():
    assert rehearse(Recipe.load("isc-pam").stages[-1], "6").group.rollouts


def test_what_reads_tokens_has_no_rehearsal():
    with pytest.raises(BadInput, match="reads a model's tokens"):
        rehearse(Recipe.load("tot-baseline").stages[0], "5")
