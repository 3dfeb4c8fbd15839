"""Functions: references pass, what is nearly right fails, sets share no behaviour, and equal seeds give equal tasks."""

import ast
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from selftaught.blocks import Context, Draw
from selftaught.core.errors import BadInput
from selftaught.records import Split, Task
from selftaught.records.dataset import digest_of
from selftaught.sandbox.process import refusal
from selftaught.sandbox.values import same
from selftaught.tasks.contamination import PAIRS, overlaps
from selftaught.tasks.sources.function_operations import HELD_OUT, KINDS, TRAINED, Operation
from selftaught.tasks.sources.function_programs import PROBES, Composition, mutants, outputs, probes
from selftaught.tasks.sources.functions import MAX_CHARS, Functions
from selftaught.tasks.splits import pool, structure
from selftaught.testing.checks import check_block, group_of
from selftaught.verification.gold import gold_checks, require_gold
from selftaught.verification.task_check import TaskCheck
from selftaught.verification.unit_tests import UnitTests, cases_of

SEEDS = st.integers(0, 2**63 - 1)
FEW = settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
"""Each is a draw of some seconds, and a seed has nothing to shrink."""
SOURCE = Functions(train=24, gate=8, report=8, guard=8, depth=(1, 2, 3), kinds=("write", "repair"))
TYPES = {"list": list, "str": str, "int": int}


def of(tasks: list[Task], split: Split) -> list[Task]:
    return [task for task in tasks if task.split == split]


def defined(program: str) -> Callable[[Any], Any]:
    space = dict[str, Any]()
    exec(program, space)
    return space["solve"]


def right(function: Callable[[Any], Any], task: Task, *, hidden: bool = True) -> list[bool]:
    """Which cases of `task` the function passes, without any code of the verifier's own."""
    tests = cases_of(task)
    return [_same(function, *case[:2]) for case in (tests.hidden if hidden else tests.visible)]


def _same(function: Callable[[Any], Any], given: tuple[Any, ...], expected: Any) -> bool:
    try:
        return same(expected, function(*given))
    except Exception:  # noqa: BLE001 (a mistake may raise anything)
        return False


# Operations -----------------------------------------------------------------------------------------------------------

SINGLE = [Composition(((each, k),)) for each in (*TRAINED, *HELD_OUT) for k in each.constants]


@pytest.mark.parametrize("made", SINGLE, ids=[each.text for each in SINGLE])
def test_an_operation_has_a_value_of_its_type_for_every_probe(made: Composition):
    (operation, _), function = made.operations[0], defined(made.program)
    assert len(set(map(repr, probes(made.takes)))) == PROBES
    for probe in probes(made.takes):
        assert type(probe) is TYPES[operation.takes]
        assert type(function(probe)) is TYPES[operation.gives]


def test_there_are_forty_operations_and_no_two_do_the_same():
    assert len(TRAINED) >= 40
    by_behaviour = Counter((each.takes, outputs(each.program, each.takes)) for each in SINGLE)
    assert [each.text for each in SINGLE if by_behaviour[each.takes, outputs(each.program, each.takes)] > 1] == []


def test_operations_are_told_by_words_of_their_own():
    assert len({each.text for each in (*TRAINED, *HELD_OUT)}) == len((*TRAINED, *HELD_OUT))
    calls = "sorted reverse upper lower replace join split fromkeys swapcase len max min abs".split()
    assert not [each.text for each in (*TRAINED, *HELD_OUT) if set(calls) & set(each.text.split())]


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_has_held_out_operations_and_none_is_trained(kind: str):
    assert [each for each in HELD_OUT if each.takes == kind]
    assert not set(HELD_OUT) & set(TRAINED)


def test_mistakes_are_of_four_kinds_and_each_is_one_change():
    program = "def solve(x):\n    x = x[2:]\n    return [n + 3 for n in x if n % 2 == 0]\n"
    found = mutants(program)
    assert {kind for kind, _ in found} == {"operator", "constant", "index", "return"}
    assert len({made for _, made in found}) == len(found)
    assert program == ast.unparse(ast.parse(program)) + "\n"
    for _, made in found:
        changed = [new for old, new in zip(program.split("\n"), made.split("\n"), strict=True) if old != new]
        assert len(changed) == 1


# Test cases -----------------------------------------------------------------------------------------------------------


@FEW
@given(SEEDS)
def test_the_reference_alone_passes(seed: int):
    for task in SOURCE.draw(Draw(seed, seed)):
        reference, tests = task.texts["reference"], cases_of(task)
        assert all(right(defined(reference), task)) and all(right(defined(reference), task, hidden=False))
        assert not all(right(lambda x: x, task))
        for _, expected, _ in tests.cases:
            assert sum(right(lambda x, expected=expected: expected, task)) <= len(tests.hidden) // 2
        for _, mutant in mutants(reference):
            if outputs(mutant, task.operands[0]) != outputs(reference, task.operands[0]):  # pyright: ignore[reportArgumentType]
                assert not all(right(defined(mutant), task)), mutant


@FEW
@given(SEEDS)
def test_a_program_to_repair_fails_and_the_prompt_shows_how(seed: int):
    source = SOURCE.model_copy(update={"kinds": ("repair",)})
    for task in source.draw(Draw(seed, seed)):
        start = task.question.index("def solve")
        buggy = task.question[start : task.question.index("\n\n", start)]
        assert not all(right(defined(buggy), task))
        assert not right(defined(buggy), task, hidden=False)[0]


@FEW
@given(SEEDS)
def test_prompts_show_the_visible_cases_and_no_hidden_one(seed: int):
    for task in SOURCE.draw(Draw(seed, seed)):
        tests, lines = cases_of(task), task.question.split("\n")
        assert len(tests.visible) == SOURCE.visible and len(tests.hidden) == SOURCE.hidden
        shown = [f"solve({given!r}) == {expected!r}" for (given,), expected, _ in tests.visible]
        assert [line for line in lines if line.startswith("solve(")] == shown
        assert not any(f"solve({given!r})" in task.question for (given,), *_ in tests.hidden)
        assert all(len(repr(expected)) <= MAX_CHARS for _, expected, _ in tests.cases)


def test_no_operation_of_a_function_changes_nothing():
    for task in SOURCE.draw(Draw(5, 6)):
        lines = task.texts["reference"].splitlines(keepends=True)
        for at in range(1, len(lines) - 1):
            shorter = "".join(lines[:at] + lines[at + 1 :])
            assert not all(right(defined(shorter), task)), shorter


# Sets -----------------------------------------------------------------------------------------------------------------


@FEW
@given(SEEDS, SEEDS, SEEDS)
def test_sets_share_no_behaviour_even_across_rounds(campaign: int, one: int, other: int):
    first, second = SOURCE.draw(Draw(campaign, one)), SOURCE.draw(Draw(campaign, other))
    for left, right_ in [*PAIRS, ("gate", "guard"), ("report", "guard")]:
        assert not {structure(t) for t in of(first, left)} & {structure(t) for t in of(second, right_)}
        assert overlaps(of(first, left), of(second, right_)) == []


def test_the_same_function_composed_in_another_way_is_the_same_problem():
    total, around = _operation("sum(x)"), _operation("x[::-1]")
    plain, twice = Composition(((total, 0),)), Composition(((around, 0), (total, 0)))
    assert outputs(plain.program, "list") == outputs(twice.program, "list")


def _operation(code: str) -> Operation:
    return next(each for each in TRAINED if each.code == code and each.takes == "list")


def test_guard_functions_have_an_operation_that_no_other_set_has():
    tasks = Functions(train=200, gate=60, report=60, guard=40, depth=(2, 3)).draw(Draw(3, 4))
    held_out = [each.text.format(k=k) for each in HELD_OUT for k in each.constants]
    for task in tasks:
        has = any(f"It {text}," in task.question or f"then {text}," in task.question for text in held_out)
        assert has is (task.split == "guard")
    assert {pool(structure(task)) for task in of(tasks, "guard")} == {"report"}


@FEW
@given(SEEDS, SEEDS, SEEDS)
def test_the_report_set_stays_and_the_others_change_with_the_round(campaign: int, one: int, other: int):
    first, second = SOURCE.draw(Draw(campaign, one)), SOURCE.draw(Draw(campaign, other))
    assert of(first, "report") == of(second, "report")
    if one != other:
        assert all(of(first, split) != of(second, split) for split in ("train", "gate"))


def test_equal_draws_give_equal_lists_on_every_machine():
    tasks = SOURCE.draw(Draw(1, 2))
    assert tasks == SOURCE.draw(Draw(1, 2))
    assert digest_of(tasks) == "b2ce4da5d36fdeb11637d358a418a6263e736bbefce506ce39f7be5a4573898e"


def test_each_set_has_the_size_asked_for_and_no_problem_twice():
    tasks = SOURCE.draw(Draw(1, 2))
    for split, size in SOURCE.sizes().items():
        assert len({structure(task) for task in of(tasks, split)}) == len(of(tasks, split)) == size


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kind", ["write", "repair"])
def test_a_depth_and_a_kind_give_such_problems_only(depth: int, kind: str):
    tasks = Functions.model_validate(
        {"type": "functions", "train": 9, "gate": 5, "report": 5, "depth": [depth], "kinds": [kind]}
    ).draw(Draw(1, 2))
    assert {task.level for task in tasks} == {depth}
    assert {"one mistake" in task.question for task in tasks} == {kind == "repair"}
    assert {len(ast.parse(task.texts["reference"]).body[0].body) for task in tasks} == {depth}  # pyright: ignore[reportAttributeAccessIssue]


def test_more_functions_than_there_are_are_refused_with_their_number():
    with pytest.raises(BadInput, match=r"tasks\.gate: 400 different problems .* only about"):
        Functions(train=8, gate=400, report=8, depth=(1,)).draw(Draw(1, 2))


# With the verifier ----------------------------------------------------------------------------------------------------


@pytest.fixture
def _held() -> None:
    if said := refusal():
        pytest.skip(said)


@pytest.mark.usefixtures("_held")
async def test_a_plan_s_gold_check_passes_every_reference():
    (check,) = await gold_checks(SOURCE.draw(Draw(7, 8)), [TaskCheck()])
    require_gold([check])
    assert (check.tasks, check.failed) == (48, 0)


@pytest.mark.usefixtures("_held")
async def test_what_the_verifier_says_is_what_the_cases_say():
    for task in SOURCE.draw(Draw(7, 8))[:10]:
        programs = [task.texts["reference"], *(made for _, made in mutants(task.texts["reference"]))]
        said = await UnitTests().judge(group_of(task, programs), Context())
        expected = [right(defined(program), task) for program in programs]
        assert [each.score for each in said] == [sum(each) / len(each) for each in expected]


@pytest.mark.usefixtures("_held")
def test_the_verifier_passes_what_holds_for_every_verifier():
    assert check_block(UnitTests(), SOURCE.draw(Draw(7, 8))[:6]) == []
