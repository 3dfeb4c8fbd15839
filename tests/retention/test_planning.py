"""The planner: what it never touches, whatever the world; what it removes; that it comes to an end."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.retention.inventory import Claim, Deployment, Folder, Journal, State
from selftaught.retention.planning import DAY, Fate, RetentionPlan, Scope, plan, with_roles
from selftaught.retention.policy import RetentionPolicy
from tests.retention_worlds import NOW, STEPS, Spec, World, applied, worlds

POLICIES = st.builds(
    RetentionPolicy,
    **{name: st.sampled_from([1, 10, 30, 90]) for name in RetentionPolicy.model_fields},
)
EAGER = RetentionPolicy(**dict.fromkeys(RetentionPolicy.model_fields, 1))


def gone(plan: RetentionPlan, kind: str = "") -> set[str]:
    return {fate.key for fate in plan.go if not kind or fate.kind == kind}


def why(plan: RetentionPlan, key: str) -> str:
    """The one reason given for `key`'s folder."""
    (fate,) = [fate for fate in (*plan.go, *plan.kept) if fate.key == key]
    return fate.why


def one_line(*specs: Spec) -> World:
    """`rft` with these rounds, all very old."""
    world = World()
    world.adopt("rft")
    for number, spec in enumerate(specs, start=1):
        world.round("rft", number, spec)
    return world


# Never touched --------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(world=worlds(), policy=POLICIES)
def test_nothing_that_a_champion_was_ever_made_of_goes(world: World, policy: RetentionPolicy) -> None:
    """By the world's own knowledge of what was made of what, which the planner has to find out."""
    removed = gone(plan(world.state, policy, NOW))
    promoted = {version.digest for version in world.versions if version.outcome == "promoted"}
    champions = {digest for (_, alias), digest in world.aliases.items() if alias in ("champion", "previous")}
    seen: set[str] = set()
    waiting = [*promoted, *champions]
    while waiting:
        digest = waiting.pop()
        if digest not in seen:
            seen.add(digest)
            waiting += world.made_of.get(digest, ())
    assert not seen & removed


@settings(max_examples=200)
@given(world=worlds(), policy=POLICIES)
def test_no_model_of_any_alias_goes(world: World, policy: RetentionPolicy) -> None:
    assert not set(world.aliases.values()) & gone(plan(world.state, policy, NOW))


@settings(max_examples=200)
@given(world=worlds(), policy=POLICIES)
def test_nothing_that_an_unfinished_round_made_or_refers_to_goes(world: World, policy: RetentionPolicy) -> None:
    """Nor the claims and journals of its steps."""
    state, removed = world.state, gone(plan(world.state, policy, NOW))
    for round in state.rounds:
        if round.ended:
            continue
        own = {round.tasks}
        for digest, parents in world.made_of.items():  # in the order of making
            if parents & own and digest not in {each.challenger for each in state.rounds if each.ended}:
                own.add(digest)
        assert not (own | round.refers) & removed
        used = {claim.key for claim in state.claims if own & set(claim.names)}
        assert not {key for key in used if not key.startswith("plans/")} & removed


@settings(max_examples=200)
@given(world=worlds(), policy=POLICIES)
def test_what_later_rounds_may_replay_stays(world: World, policy: RetentionPolicy) -> None:
    kept = {digest for round in world.rounds for digest in round.replayed}
    assert not kept & gone(plan(world.state, policy, NOW))


@settings(max_examples=200)
@given(world=worlds(), policy=POLICIES)
def test_nothing_younger_than_its_age_goes(world: World, policy: RetentionPolicy) -> None:
    ages = {"tasks": policy.rollouts, "groups": policy.rollouts, "examples": policy.rollouts}
    ages |= {"trees": policy.trees, "scores": policy.scores, "": policy.models}
    removed = gone(plan(world.state, policy, NOW))
    assert not {f.digest for f in world.folders if NOW - f.written < ages[f.holds] * DAY} & removed
    assert not {j.key for j in world.journals if NOW - j.written < policy.journals * DAY} & gone(
        plan(world.state, policy, NOW), "journal"
    )


@settings(max_examples=200)
@given(world=worlds())
def test_another_line_and_a_line_that_is_run_are_left_alone(world: World) -> None:
    state = world.state
    complete, rft = plan(state, EAGER, NOW), plan(state, EAGER, NOW, Scope(frozenset(["rft"])))
    star = plan(state, EAGER, NOW, Scope(busy=frozenset(["rft"])))
    folders = {folder.digest for folder in state.folders}
    assert gone(rft) & folders <= gone(complete)
    assert not gone(rft) & gone(star) & folders
    models = {version.digest for version in state.versions if version.line == "star"}
    assert not models & gone(rft)


def test_a_champions_tags_lead_to_its_lineage_where_no_round_tells_of_it() -> None:
    """As for a champion of another store's rounds, or one whose claims somebody removed."""
    world = one_line(Spec("promoted"), Spec("refused", from_head=True))
    made, grandparent = world.rounds[0], world.versions[0].digest
    world.rounds.clear()
    world.claims.clear()
    world.aliases = {("rft", "champion"): made.challenger}
    lineage = {made.challenger, grandparent, *made.recorded} - {d for d in made.recorded if is_scores(world, d)}
    assert len(lineage) == 5  # champion, its parent, tasks, verified, examples
    assert not lineage & gone(plan(world.state, EAGER, NOW))


def is_scores(world: World, digest: str) -> bool:
    return next(folder for folder in world.folders if folder.digest == digest).holds == "scores"


@pytest.mark.parametrize("registered", [True, False])
def test_what_an_unfinished_round_has_trained_stays_without_an_alias(registered: bool) -> None:
    """Another campaign's challenger has the alias by now; or the step was killed before it registered the models."""
    world = one_line()
    made = world.round("rft", 1, Spec(came=5, open=True))
    value = world.model()
    world.claims[-1] = replace(world.claims[-1], names=(made.get("model"), value))
    del world.aliases["rft", "challenger"]
    if not registered:
        world.versions.pop()
    assert not {made.get("model"), value} & gone(plan(world.state, EAGER, NOW))


def test_without_a_registry_that_knows_the_plans_every_round_is_open() -> None:
    """A store with another registry's champions: a wrong MLFLOW_TRACKING_URI must cost nothing that rounds made."""
    world = one_line(Spec("promoted"), Spec())
    world.versions.clear()
    world.rounds = [replace(round, ended=False) for round in world.rounds]
    world.claims = [claim for claim in world.claims if not claim.key.startswith("plans/")]
    assert plan(world.state, EAGER, NOW).go == ()


# What goes ------------------------------------------------------------------------------------------------------------


def test_of_a_refused_round_rollouts_scores_and_weights_go_and_training_data_stays() -> None:
    world = one_line(Spec("refused"), Spec("refused"), Spec("promoted"))
    first = world.rounds[0]
    planned = plan(world.state, RetentionPolicy(), NOW)
    assert first.challenger in gone(planned, "models")
    assert why(planned, first.challenger) == "rft version 2, refused, 1000 days old"
    stays = {first.tasks, *first.replayed}
    groups_and_scores = {f.digest for f in world.folders if first.tasks in reach_back(world, f.digest)} - stays
    groups_and_scores -= {first.challenger}
    assert len(groups_and_scores) == 5  # rollouts, verified, two parts of scores and both
    assert groups_and_scores <= gone(planned, "datasets")
    assert not stays & gone(planned)
    assert all(why(planned, digest) == "later rounds may train on it (replay)" for digest in stays)


def reach_back(world: World, digest: str) -> set[str]:
    found, waiting = set(), [digest]
    while waiting:
        each = waiting.pop()
        if each not in found and world.made_of.get(each) is not None:
            found.add(each)
            folder = next(f for f in world.folders if f.digest == each)
            waiting += [] if folder.kind == "models" else world.made_of[each]
    return found


def test_of_a_failed_round_everything_goes_with_its_plan() -> None:
    world = one_line(Spec("failed", came=4), Spec("refused"))
    planned = plan(world.state, RetentionPolicy(), NOW)
    made = {folder.digest for folder in world.folders if world.rounds[0].tasks in reach_back(world, folder.digest)}
    assert len(made) == 4
    assert made <= gone(planned, "datasets")
    assert "plans/rft/weekly/1-0" in gone(planned, "claim")
    assert "plans/rft/weekly/2-0" not in gone(planned)


@pytest.mark.parametrize(("age", "name"), [(29, "trees"), (31, "trees"), (89, "groups"), (91, "groups")])
def test_trees_go_before_plain_rollouts(age: int, name: str) -> None:
    world = one_line(Spec("refused", searched=name == "trees"), Spec("refused"))
    world.folders = [replace(f, written=NOW - age * DAY) if f.holds == name else f for f in world.folders]
    rollouts = {folder.digest for folder in world.folders if folder.holds == name}
    assert bool(rollouts & gone(plan(world.state, RetentionPolicy(), NOW))) == (age in (31, 91))


def test_a_claim_goes_exactly_when_something_that_it_names_goes_or_is_gone() -> None:
    world = one_line(Spec("refused"), Spec("promoted"))
    world.step("verify", "f" * 64)
    planned = plan(world.state, RetentionPolicy(), NOW)
    left = {folder.digest for folder in world.folders} - gone(planned)
    for claim in world.claims:
        assert (claim.key in gone(planned, "claim")) == (not left.issuperset(claim.names)), claim


def test_a_training_goes_when_one_of_its_models_does() -> None:
    world = one_line(Spec("refused"), Spec("refused"))
    value, key = world.model(), "steps/train/both"
    world.register("rft-value", value)
    world.aliases["rft-value", "head"] = value
    world.claims.append(Claim(key, (world.rounds[0].challenger, value), "e" * 64))
    planned = plan(world.state, RetentionPolicy(), NOW)
    assert key in gone(planned, "claim")
    assert value not in gone(planned)


def test_the_model_that_a_refused_head_was_trained_from_stays_and_its_data_goes() -> None:
    """Recipes call it `{iterate: previous}`."""
    world = one_line(Spec("refused"))
    parent, examples = world.model(), world.data("examples")
    head = world.model()
    world.register("rft", parent, outcome="refused")
    world.register("rft", head, [parent, examples], "refused")
    world.aliases["rft", "head"] = head
    planned = plan(world.state, RetentionPolicy(), NOW)
    assert why(planned, parent) == "the model that the head of rft was trained from"
    assert examples in gone(planned)


def test_a_version_is_marked_and_its_mark_comes_off_when_the_files_are_there() -> None:
    world = one_line(Spec("refused"), Spec("refused"))
    refused = world.versions[1]
    assert gone(plan(world.state, RetentionPolicy(), NOW), "mark") == {"rft/2"}
    world.versions[1] = replace(refused, removed="2026-01-31")
    world.aliases["rft", "previous"] = refused.digest  # a person took it back before its files went
    assert gone(plan(world.state, RetentionPolicy(), NOW), "unmark") == {"rft/2"}
    world.folders = [folder for folder in world.folders if folder.digest != refused.digest]
    assert gone(plan(world.state, RetentionPolicy(), NOW), "unmark") == set()


@pytest.mark.parametrize(("age", "goes"), [(6, False), (8, True)])
def test_what_a_killed_upload_left_goes_after_its_age(age: int, goes: bool) -> None:
    torn = Folder("models", "a" * 64, 7, NOW - age * DAY, complete=False)
    assert (gone(plan(State(folders=(torn,)), RetentionPolicy(), NOW)) == {torn.digest}) == goes


def test_a_journal_of_a_step_that_is_not_done_goes_when_no_open_round_can_be_its() -> None:
    old = Journal("steps/sample/x", "steps/sample/x", 5, NOW - 100 * DAY)
    world = one_line(Spec("refused"))
    world.journals = [old]
    assert "its step was given up, 100 days old" in why(plan(world.state, RetentionPolicy(), NOW), old.key)
    world.round("rft", 2, Spec(came=1, open=True))
    world.rounds[-1] = replace(world.rounds[-1], started=old.written - DAY)
    assert "may resume" in why(plan(world.state, RetentionPolicy(), NOW), old.key)
    world.rounds[-1] = replace(world.rounds[-1], started=old.written + DAY)
    assert old.key in gone(plan(world.state, RetentionPolicy(), NOW))


def test_journals_go_before_the_rollouts_that_were_made_of_them() -> None:
    world = one_line(Spec("refused"))
    world.folders = [replace(folder, written=NOW - 20 * DAY) for folder in world.folders]
    world.journals = [replace(journal, written=NOW - 20 * DAY) for journal in world.journals]
    assert [fate.kind for fate in plan(world.state, RetentionPolicy(), NOW).go] == ["journal"]


# What is served -------------------------------------------------------------------------------------------------------


def test_only_an_old_endpoint_without_alias_or_open_round_is_removed() -> None:
    world = one_line(Spec("refused"), Spec("refused"), Spec("refused"))
    world.round("rft", 4, replace(Spec(from_head=True), came=2, open=True))
    world.aliases["rft", "head"] = world.rounds[1].challenger  # so that the third is the open round's alone
    first, second, third = (round.challenger for round in world.rounds[:3])
    world.aliases["rft", "challenger"] = first
    served = [(first, 9), (second, 9), (third, 9), ("d" * 64, 9), ("e" * 64, 0.5)]
    state = replace(
        world.state, deployments=tuple(Deployment("rft", digest, NOW - days * DAY) for digest, days in served)
    )
    planned = plan(state, RetentionPolicy(), NOW)
    assert gone(planned, "served") == {f"rft/{'d' * 64}"}
    assert [fate.kind for fate in planned.kept[:4]] == ["served"] * 4


def test_a_model_that_is_served_keeps_its_files_until_its_endpoint_goes() -> None:
    world = one_line(Spec("refused"), Spec("refused"))
    model = world.rounds[0].challenger
    young = replace(world.state, deployments=(Deployment("rft", model, NOW),))
    assert why(plan(young, RetentionPolicy(), NOW), model) == "served for rft"
    old = replace(world.state, deployments=(Deployment("rft", model, NOW - 3 * DAY),))
    kinds = [fate.kind for fate in plan(old, RetentionPolicy(), NOW).go if model in fate.key]
    assert kinds == ["served", "claim", "models"]


# The plan entirely --------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(world=worlds(), policy=POLICIES)
def test_after_the_plan_there_is_nothing_to_do(world: World, policy: RetentionPolicy) -> None:
    first = plan(world.state, policy, NOW)
    assert plan(applied(world.state, first), policy, NOW).go == ()


@settings(max_examples=200)
@given(world=worlds(), policy=POLICIES, part=st.floats(0, 1))
def test_killed_between_any_two_moves_no_claim_names_what_is_gone_and_the_rest_is_done_later(
    world: World, policy: RetentionPolicy, part: float
) -> None:
    state, complete = world.state, plan(world.state, policy, NOW)
    middle = applied(state, RetentionPlan(complete.go[: round(part * len(complete.go))], ()))
    removed = {folder.digest for folder in state.folders} - {folder.digest for folder in middle.folders}
    assert not [claim for claim in middle.claims if removed & set(claim.names)]
    assert not [version for version in middle.versions if version.digest in removed and not version.removed]
    rest = plan(middle, policy, NOW)
    assert applied(middle, rest) == applied(state, complete)


@settings(max_examples=100)
@given(world=worlds(), policy=POLICIES)
def test_everything_is_told_once_with_its_bytes(world: World, policy: RetentionPolicy) -> None:
    state, planned = world.state, plan(world.state, policy, NOW)
    items = [fate for fate in (*planned.go, *planned.kept) if fate.kind in ("models", "datasets", "journal")]
    assert sorted(fate.key for fate in items) == sorted(
        [f.digest for f in state.folders] + [j.key for j in state.journals]
    )
    assert sum(fate.bytes for fate in items) == sum(f.bytes for f in state.folders) + sum(
        j.bytes for j in state.journals
    )
    assert planned.bytes == sum(fate.bytes for fate in planned.go)
    assert all(fate.why for fate in items)


def test_a_line_has_its_roles_lines() -> None:
    world = one_line(Spec())
    world.rounds[0] = replace(world.rounds[0], lines=frozenset(["rft", "rft-value"]))
    assert with_roles(world.state, frozenset(["rft"])) == {"rft", "rft-value"}
    assert with_roles(world.state, frozenset(["star"])) == {"star"}
    assert with_roles(world.state, frozenset()) == frozenset()


def test_the_worlds_of_these_tests_are_no_simpler_than_rounds_are() -> None:
    world = one_line(Spec("promoted", replays=True), Spec("promoted", searched=True, replays=True))
    assert len(STEPS) == 7
    assert {folder.holds for folder in world.folders} == {"", "tasks", "groups", "trees", "examples", "scores"}
    assert world.made_of[world.rounds[1].challenger] >= {world.rounds[0].challenger, *world.rounds[0].replayed}
    assert isinstance(plan(world.state, RetentionPolicy(), NOW).kept[0], Fate)
