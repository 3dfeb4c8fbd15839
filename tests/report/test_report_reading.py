"""Which rollouts the page shows: some of each kind, those of several turns among them, and no more is kept."""

from selftaught.records import Group, Turn
from selftaught.report.page import render
from selftaught.report.reading import EACH, FIRST, ROLLOUTS, SEVERAL, Sample, to_read
from tests.curation.trees import grown
from tests.report.sample_report import HOSTILE, sample
from tests.report.test_report_tally import group


def reviewed(plain: Group, *indexes: int) -> Group:
    """`plain`, of which the rollouts at `indexes` were reviewed and refined."""
    said = (
        Turn(content="first try"),
        Turn(role="user", kind="feedback", content="Review it."),
        Turn(kind="refinement", content=f"better {HOSTILE}"),
    )
    rollouts = tuple(r.model_copy(update={"turns": said}) if r.index in indexes else r for r in plain.rollouts)
    return plain.model_copy(update={"rollouts": rollouts})


def kept(groups: list[Group]) -> tuple[Group, ...]:
    some = Sample()
    for each in groups:
        some.add(each)
    return some.groups


def test_of_a_task_the_rollout_with_most_turns_of_each_kind_is_shown():
    found = to_read([reviewed(group("+", "-", "-", "+", "!", "!"), 2, 3)])
    assert [(each.judgement, each.rollout.index, each.turns) for each in found] == [
        ("accepted", 3, 3), ("rejected", 2, 3), ("error", 4, 1),
    ]  # fmt: skip


def test_where_some_are_of_several_turns_half_of_the_places_are_theirs():
    groups = [group("+", number=n) for n in range(20)] + [reviewed(group("+", number=20 + n), 0) for n in range(6)]
    turns = [each.turns for each in to_read(groups)]
    assert turns == [1] * (EACH - SEVERAL) + [3] * SEVERAL


def test_where_few_are_of_several_turns_the_others_have_their_places():
    groups = [reviewed(group("+", number=0), 0)] + [group("+", number=1 + n) for n in range(20)]
    assert [each.turns for each in to_read(groups)] == [3] + [1] * (EACH - 1)


def test_the_sample_goes_on_until_it_has_some_of_every_kind():
    """Behind 300 failures, which are like one another, are the only right ones, reviews and solved trees."""
    failed = [group("-", number=n) for n in range(300)]
    rare = [reviewed(group("+", number=400), 0), group("!", number=401), grown({"a": True, "b": False})]
    some = kept([*failed, *rare, group("-", number=500)])
    assert [each.id for each in some] == [each.id for each in [*failed[:FIRST], *rare]]


def test_what_is_kept_of_any_number_of_groups_is_bounded():
    ways = ["+", "-", "!"]
    groups = [reviewed(group(ways[n % 3], number=n), *([0] if n % 2 else [])) for n in range(600)]
    assert len(kept(groups)) <= FIRST + EACH * 7


def test_a_group_is_kept_without_tokens_and_with_those_rollouts_that_are_shown():
    many = reviewed(group(*["-"] * 60, "+"), 50)
    ids = Turn(content="x", token_ids=(1, 2), logprobs=(-0.1, -0.2))
    found = many.rollouts[0].model_copy(update={"turns": (ids,)})
    many = many.model_copy(update={"rollouts": (found, *many.rollouts[1:])})
    (some,) = kept([many])
    assert len(some.rollouts) == len(some.verdicts) == ROLLOUTS
    assert {0, 50, 60} <= {rollout.index for rollout in some.rollouts}
    assert not any(turn.token_ids or turn.logprobs for rollout in some.rollouts for turn in rollout.turns)
    assert to_read([some]) == to_read([many])
    assert {rollout.id for rollout in some.rollouts} <= {rollout.id for rollout in many.rollouts}


def test_a_tree_is_kept_with_all_of_its_answers():
    tree = grown({f"step {n}": {f"end {n}": n % 2 == 0} for n in range(30)})
    (some,) = kept([tree])
    assert [r.id for r in some.rollouts] == [r.id for r in tree.rollouts]
    assert some.tree and not any(node.token_ids for node in some.tree.nodes)
    assert [node.text for node in some.tree.nodes] == [node.text for node in tree.tree.nodes]


def test_the_page_shows_every_turn_as_text():
    page = render(sample(1).model_copy(update={"groups": (reviewed(group("+", "-"), 1),)}))
    for words in ("first try", "user, feedback", "Review it.", "assistant, refinement", "better &lt;script&gt;"):
        assert words in page
