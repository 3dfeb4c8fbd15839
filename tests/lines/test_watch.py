"""A champion that falls behind its predecessor is an alarm, and a step back only where later tasks prove it."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from selftaught.cli.main import app
from selftaught.cli.outcomes import FELL
from selftaught.core.canonical import canonical
from selftaught.core.errors import BadInput
from selftaught.core.statistics import change_of_gains
from selftaught.lines import watch as watching
from selftaught.lines.watch import Guard, Look, Pair, Watched, compared, watch
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage
from selftaught.records import Task, TaskScore, dataset
from selftaught.report.data import ModelVersion
from selftaught.round.intake import drawn, inbox, past
from selftaught.round.job import Plan
from selftaught.state.ledger import PlanEntry
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import Version
from tests.campaign.test_local import Desk, desk
from tests.plans import end_round, fixed
from tests.report.sample_report import sample
from tests.round.test_intake import bucket, put, riddles, run, tasks, word_problems
from tests.rounds import database, model, platform, recipe, recorded_blocks, requests, written

__all__ = ["bucket", "database", "desk", "model", "platform", "recorded_blocks", "requests"]

GUARD = Guard(margin=0.15, alpha=0.01)
Skill = dict[str, float]
"""The part of all tasks that a model gets right, by its digest."""
Values = Callable[[Sequence[str]], dict[str, float]]
"""What a model scores on tasks."""
ROLLING = Guard(0.15, 0.01, rolls_back=True)


@dataclass
class Line:
    """A line whose version 2 was promoted on inbox tasks, with what later measurements would say."""

    platform: Platform
    recipe: Recipe
    bucket: Path
    old: Version
    new: Version
    skill: Skill
    values: dict[str, Values]
    """Where a model's scores are not those of its skill."""

    def watch(self, guard: Guard = GUARD) -> Watched:
        return watch(self.platform, self.recipe, "line", "fresh", guard)

    @property
    def champion(self) -> str:
        found = self.platform.tracker.resolve("line", "champion")
        assert found is not None
        return found.version

    def fresh(self) -> Sequence[Task]:
        """The gate tasks that arrived since the promotion."""
        plan = self.platform.ledger.read(PlanEntry(RoundKey("line", "fresh")), Plan)
        assert plan is not None
        return inbox(self.recipe).held_out(past(self.platform, "line", "fresh", until=plan.started))

    def arrive(self, words: str = "ABCDEFGHIJKL") -> None:
        """Fresh tasks: a fifth of 26 a word are gate tasks."""
        for word in words:
            put(self.bucket, riddles(word))


@pytest.fixture
def line(platform: Platform, model: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    parsed = Recipe.parse(canonical(recipe(model, tasks=tasks(bucket))).decode())
    put(bucket, riddles("Promoted", 26))
    put(bucket, riddles("Also", 26))
    old, new = promote(platform, parsed)
    skill, values = {old.digest: 0.3, new.digest: 0.8}, dict[str, Values]()

    def measured(
        platform: Platform, recipe: Recipe, stage: Stage, line: str, digest: str, tasks: Sequence[Task]
    ) -> list[TaskScore]:
        asked = [task.id for task in tasks]
        return valued(digest, values[digest](asked)) if digest in values else scored(digest, asked, skill[digest])

    monkeypatch.setattr("selftaught.lines.watch.scores", measured)
    return Line(platform, parsed, bucket, old, new, skill, values)


def scored(digest: str, questions: Sequence[str], skill: float, split: Any = "report") -> list[TaskScore]:
    """Scores of which the first `skill` are right."""
    right = round(skill * len(questions))
    return valued(digest, {question: float(number < right) for number, question in enumerate(questions)}, split)


def valued(digest: str, values: Mapping[str, float], split: Any = "report") -> list[TaskScore]:
    common = {"model": digest, "metric": "accuracy", "split": split, "source": "dropped/x"}
    return [TaskScore(task=question, value=value, **common) for question, value in values.items()]


def promote(platform: Platform, parsed: Recipe) -> tuple[Version, Version]:
    """Version 2, as `prepare`, `train`, `promote` and `report` leave it: right on .8 of 100 report tasks to 1's .3."""
    tracker, key = platform.tracker, RoundKey("line", "fresh")
    old = tracker.resolve("line", "champion")
    assert old is not None
    found = sample(1)
    digest = found.last.challenger.digest if found.last.challenger else ""
    taken = drawn(platform, parsed, key)
    made = dataset.write(platform.settings.home / "tasks", taken.tasks, "tasks")
    platform.store.put("datasets", made.digest, platform.settings.home / "tasks")
    platform.store.claim(PlanEntry(key).key, fixed(key, made.digest, drops=taken.drops))
    questions = [str(n) for n in range(100)]
    scores = (*scored(digest, questions, 0.8), *scored(old.digest, questions, 0.3))
    last = found.last.model_copy(update={"champion": ModelVersion(digest=old.digest)})
    found = found.model_copy(update={"scores": scores, "rounds": (last,)})
    end_round(platform.store, key, found)
    round = tracker.round_run(key, "main")
    tracker.finish(round, "promoted")
    new = tracker.register("line", digest, "file:///new", round, {"selftaught.campaign": "fresh"})
    tracker.point("previous", old)
    tracker.point("champion", new)
    return old, new


def test_without_fresh_tasks_there_is_nothing_to_say(line: Line):
    found = line.watch()
    assert (found.outcome, found.champion) == ("nothing new", "2")
    assert "selftaught.watch" not in line.platform.tracker.version_tags(line.new)


def test_an_adopted_champion_has_nothing_to_be_compared_with(line: Line):
    line.arrive()
    line.platform.tracker.point("champion", line.old)
    assert line.watch().outcome == "no promotion"


def halves(skill: float, count: int) -> list[float]:
    """Scores of which `skill` are right, spread evenly."""
    return [float(int((i + 1) * skill) > int(i * skill)) for i in range(count)]


def test_the_fresh_tasks_are_the_gates_and_none_of_them_was_there_at_the_promotion(
    line: Line, monkeypatch: pytest.MonkeyPatch
):
    line.arrive()
    asked: list[Task] = []

    def measured(*given: Any) -> list[TaskScore]:
        asked.extend(given[-1] if given[4] == line.new.digest else [])
        return scored(given[4], [task.id for task in given[-1]], 0.8)

    monkeypatch.setattr("selftaught.lines.watch.scores", measured)
    assert line.watch().tasks_after == len(asked) > 30
    assert {task.split for task in asked} == {"gate"}
    assert not any(task.question.startswith(("Promoted", "Also")) for task in asked)


class OneEngine(Platform):
    """Room for one engine, and who holds the line."""

    held = False

    def serving(self) -> Any:
        return self

    @contextmanager
    def lease(self, line: str) -> Iterator[None]:
        OneEngine.held = True
        yield
        OneEngine.held = False


def test_where_one_engine_fits_the_line_is_held_and_the_champion_is_measured_last(
    line: Line, monkeypatch: pytest.MonkeyPatch
):
    """`reconcile` would bring the champion back while its predecessor answers."""
    line.arrive()
    asked = list[tuple[str, bool]]()

    def measured(*given: Any) -> list[TaskScore]:
        asked.append((given[4], OneEngine.held))
        return scored(given[4], [task.id for task in given[-1]], 0.8)

    monkeypatch.setattr("selftaught.lines.watch.scores", measured)
    there = line.platform
    settings = there.settings.model_copy(update={"one_engine": True})
    line.platform = OneEngine(settings, there.store, there.tracker)
    line.watch()
    assert asked == [(line.old.digest, True), (line.new.digest, True)]
    assert not OneEngine.held


def test_where_one_engine_fits_an_unfinished_round_keeps_it(line: Line, monkeypatch: pytest.MonkeyPatch):
    line.arrive()
    monkeypatch.setattr("selftaught.lines.watch.scores", pytest.fail)
    monkeypatch.setattr("selftaught.lines.watch.in_use", lambda *_: {line.new.digest})
    there = line.platform
    line.platform = OneEngine(there.settings.model_copy(update={"one_engine": True}), there.store, there.tracker)
    assert line.watch().outcome == "busy"


def test_a_champion_that_is_as_good_holds(line: Line):
    line.arrive()
    found = line.watch()
    assert (found.outcome, found.before, line.champion) == ("held", 0.8, "2")
    assert found.change is not None
    assert abs(found.change.change) < 0.05


def test_a_fall_beyond_the_guard_is_an_alarm_on_the_version_and_in_its_run(line: Line):
    line.arrive()
    line.skill[line.new.digest] = 0.4
    found = line.watch()
    assert (found.outcome, found.rolled_back_to, line.champion) == ("fell", "", "2")
    tags = line.platform.tracker.version_tags(line.new)
    assert (tags["selftaught.watch"], tags["selftaught.watch.looks"]) == ("fell", "1")
    metrics = line.platform.tracker.client.get_run(line.new.run).data.metrics
    assert found.change is not None
    assert metrics["watch.change"] == found.change.change
    assert metrics["watch.accuracy"] == found.after


@pytest.mark.parametrize(("skill", "guard"), [(0.6, Guard(0.3, 0.01)), (0.6, Guard(0.15, 1e-6))])
def test_a_fall_within_the_margin_or_the_error_probability_is_none(line: Line, skill: float, guard: Guard):
    line.arrive()
    line.skill[line.new.digest] = skill
    assert line.watch(guard).outcome == "held"


def scored_alike(champion: Sequence[float], anchor: Sequence[float]) -> list[Pair]:
    return [Pair(str(n), *values) for n, values in enumerate(zip(champion, anchor, strict=True))]


def test_a_fall_that_has_just_begun_is_seen_on_the_newest_tasks():
    """The champion is as good as at its promotion on 180 tasks, and falls to its predecessor on the last 60."""
    anchor = halves(0.3, 240)
    before = scored_alike(halves(0.6, 100), halves(0.3, 100))
    after = scored_alike([*halves(0.6, 180), *anchor[180:]], anchor)
    found = compared(Watched("", "", "", "held", ""), before, after, GUARD)
    assert (found.outcome, found.tasks_after) == ("fell", 60)
    assert found.change is not None
    assert found.change.p_value == pytest.approx(3 * change_of_gains(gains(before), gains(after[-60:])).p_value), (
        "three windows share the error probability"
    )
    assert compared(found, before, after[:180], GUARD).outcome == "held"


def test_the_newest_tasks_are_those_that_arrived_last_in_whatever_order_they_are_scored(line: Line):
    """Scores come sorted by id: the champion falls to its predecessor on the last 52 of some 200 arrivals."""
    line.arrive("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn")
    anchor = lambda tasks: dict(sorted(zip(tasks, halves(0.3, len(tasks)), strict=True)))  # noqa: E731

    def fallen(tasks: Sequence[str]) -> dict[str, float]:
        better, last = halves(0.6, len(tasks) - 52), [anchor(tasks)[task] for task in tasks[-52:]]
        return dict(sorted(zip(tasks, [*better, *last], strict=True)))

    line.values |= {line.old.digest: anchor, line.new.digest: fallen}
    found = line.watch()
    assert (found.outcome, found.tasks_after < 70) == ("fell", True), found.reason


def test_answers_that_nobody_could_judge_are_no_fall(line: Line, monkeypatch: pytest.MonkeyPatch):
    line.arrive()
    broken = {line.new.digest}

    def measured(*given: Any) -> list[TaskScore]:
        found = scored(given[4], [task.id for task in given[-1]], 0.8 if given[4] in broken else 0.3)
        unjudged = [score.model_copy(update={"errors": 1, "value": 0.0}) for score in found[:20]]
        return [*unjudged, *found[20:]] if given[4] in broken else found

    monkeypatch.setattr("selftaught.lines.watch.scores", measured)
    found = line.watch()
    assert (found.outcome, found.tasks_after) == ("held", len(line.fresh()) - 20)


@pytest.mark.parametrize("left", [0, 1])
def test_of_one_fresh_task_nothing_is_said(line: Line, monkeypatch: pytest.MonkeyPatch, left: int):
    line.arrive("A")
    few = line.fresh()[:left]
    monkeypatch.setattr(type(line.recipe.tasks), "held_out", lambda *_: few)
    found = line.watch()
    assert (found.outcome, found.change) == ("nothing new", None)
    assert "fewer than two gate tasks arrived" in found.reason


def gains(pairs: Sequence[Pair]) -> list[float]:
    return [pair.champion - pair.anchor for pair in pairs]


def test_tasks_that_are_harder_for_both_are_no_alarm(line: Line):
    """Both fall from .6 to .4, with the same answers."""
    line.arrive()
    line.skill |= {line.new.digest: 0.55, line.old.digest: 0.05}
    found = line.watch(Guard(0.15, 0.01, rolls_back=True))
    assert (found.outcome, line.champion) == ("held", "2")
    assert (found.before, found.anchor_before) == (0.8, 0.3)
    assert found.after < 0.6


@pytest.mark.parametrize("alpha", [0.01, 5e-5])
def test_fractions_that_fall_are_an_alarm_at_any_alpha(line: Line, alpha: float):
    line.arrive()
    line.values[line.new.digest] = lambda tasks: dict.fromkeys(tasks, 0.125)
    line.values[line.old.digest] = lambda tasks: dict.fromkeys(tasks, 0.25)
    assert line.watch(Guard(0.15, alpha)).outcome == "fell"


# After an alarm -------------------------------------------------------------------------------------------------------


def alarm(line: Line, guard: Guard = ROLLING) -> Watched:
    """Version 2 falls far behind its predecessor."""
    line.arrive()
    line.skill |= {line.new.digest: 0.1, line.old.digest: 0.9}
    return line.watch(guard)


def parted(line: Line, only_old: int, only_new: int) -> None:
    """From now on so many of the tasks that are new are answered by one of the two alone, and no other task by any."""
    known = {task for look in claims(line) for task in look.tasks}

    def right(among: slice) -> Values:
        def values(tasks: Sequence[str]) -> dict[str, float]:
            answered = {*[task for task in tasks if task not in known][among]}
            return {task: float(task in answered) for task in tasks}

        return values

    line.values[line.new.digest] = right(slice(only_new))
    line.values[line.old.digest] = right(slice(only_new, only_new + only_old))


def claims(line: Line) -> list[Look]:
    keys = line.platform.store.claims(f"watch/line/{line.new.run}")
    return [Look.model_validate_json(line.platform.store.claimed(key) or b"") for key in keys]


def test_the_tasks_that_raised_an_alarm_roll_nothing_back(line: Line):
    found = alarm(line)
    assert (found.outcome, found.better, line.champion) == ("fell", None, "2")
    assert "the tasks that arrive from now on will tell whether version 1 is better" in found.reason
    again = line.watch(ROLLING)
    assert (again.outcome, again.better, line.champion) == ("fell", None, "2")
    assert "nothing has arrived since the last look" in again.reason


def test_later_tasks_that_the_predecessor_answers_better_roll_back(line: Line):
    """14 only the predecessor has right, 2 only the champion."""
    alarm(line)
    line.arrive("MNOPQRSTUVWX")
    parted(line, only_old=14, only_new=2)
    found = line.watch(ROLLING)
    assert found.better is not None
    assert (found.better.gained, found.better.lost, found.confirmed) == (14, 2, True)
    assert found.better.p_value == pytest.approx(0.00118, rel=0.01)  # mid-p; the exact test has .0021
    assert (found.outcome, found.rolled_back_to, line.champion) == ("fell", "1", "1")
    assert line.watch().outcome == "no promotion"


def test_later_tasks_on_which_the_two_are_even_do_not(line: Line):
    """10 only the predecessor has right, 9 only the champion: 31 of 60 and 30 of 60, say."""
    alarm(line)
    line.arrive("MNOPQRSTUVWX")
    parted(line, only_old=10, only_new=9)
    found = line.watch(ROLLING)
    assert found.better is not None
    assert (found.better.gained, found.better.lost, found.confirmed) == (10, 9, False)
    assert found.better.p_value == pytest.approx(0.41, abs=0.02)
    assert (found.rolled_back_to, line.champion) == ("", "2")


def test_each_later_look_may_err_half_as_often(line: Line):
    alarm(line)
    levels: list[str] = []
    for words in ("MNOPQR", "STUVWX", "YZabcd"):
        line.arrive(words)
        parted(line, only_old=0, only_new=0)
        levels += re.findall(r"\(at (.*?)\)", line.watch(ROLLING).reason)
    assert levels == ["0.05", "0.025", "0.013"]


def test_what_is_confirmed_is_not_rolled_back_unless_that_is_asked_for(line: Line):
    alarm(line)
    line.arrive("MNOPQRSTUVWX")
    parted(line, only_old=14, only_new=2)
    found = line.watch(GUARD)
    assert (found.confirmed, found.rolled_back_to, line.champion) == (True, "", "2")


def test_nothing_is_rolled_back_to_a_version_that_fell_itself(line: Line):
    alarm(line)
    line.arrive("MNOPQRSTUVWX")
    parted(line, only_old=14, only_new=2)
    line.platform.tracker.tag_version(line.old, {"selftaught.watch": "fell"})
    assert "not rolled back: version 1 fell as well" in line.watch(ROLLING).reason
    assert line.champion == "2"


def test_a_champion_that_came_meanwhile_is_nobodys_to_roll_back(line: Line, monkeypatch: pytest.MonkeyPatch):
    """A round promotes version 3 while version 1 is measured."""
    alarm(line)
    line.arrive("MNOPQRSTUVWX")
    parted(line, only_old=14, only_new=2)
    measured, tracker = watching.scores, line.platform.tracker

    def promoting(
        platform: Platform, recipe: Recipe, stage: Stage, name: str, digest: str, tasks: Sequence[Task]
    ) -> list[TaskScore]:
        if digest == line.old.digest:
            tracker.point("previous", line.new)
            tracker.point("champion", tracker.register("line", "3" * 64, "file:///3", "", {}))
        return measured(platform, recipe, stage, name, digest, tasks)

    monkeypatch.setattr(watching, "scores", promoting)
    found = line.watch(ROLLING)
    assert "not rolled back: another version is the champion by now" in found.reason
    assert (found.rolled_back_to, line.champion) == ("", "3")


def test_without_the_files_of_its_predecessor_there_is_nothing_to_compare_with(line: Line):
    line.arrive()
    line.platform.tracker.tag_version(line.old, {"selftaught.removed": "2026-11-28"})
    assert line.watch().outcome == "no promotion"


# What it watches ------------------------------------------------------------------------------------------------------


def test_another_metric_or_another_source_of_tasks_is_refused(line: Line, model: Path):
    line.arrive()
    other = Recipe.parse(canonical(recipe(model)).decode())
    with pytest.raises(BadInput, match=r"tasks\.type is 'word_problems', so it has no inbox"):
        watch(line.platform, other, "line", "fresh", GUARD)
    measures = recipe(model, tasks=tasks(line.bucket), evaluate={"type": "pass_at_k", "k": 2}, gate=None)
    unlike = Recipe.parse(canonical(measures | {"stages": [untrained(measures)]}).decode())
    with pytest.raises(BadInput, match="measures pass@2, but the champion was promoted on accuracy"):
        watch(line.platform, unlike, "line", "fresh", GUARD)


def untrained(given: Any) -> dict[str, Any]:
    return {key: value for key, value in given["stages"][0].items() if key not in ("train", "curate", "gate")}


# The command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that keeps what is posted to it, and its URL."""
    heard: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/broken" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()


@pytest.fixture
def ran(line: Line) -> Callable[..., Any]:
    path = written(line.bucket.with_name("recipe.yaml"), line.recipe.model_dump(mode="json"))
    return lambda *more: CliRunner().invoke(app, ["watch", "line", str(path), "--campaign", "fresh", *more])


def test_the_command_ends_with_0_without_news_and_with_4_on_a_fall(
    line: Line, ran: Callable[..., Any], hook: tuple[str, list[dict[str, Any]]]
):
    url, heard = hook
    quiet = ran("--webhook", url, "--json")
    assert (quiet.exit_code, json.loads(quiet.stdout)["outcome"], heard) == (0, "nothing new", [])
    line.arrive()
    assert ran("--webhook", url).exit_code == 0
    line.skill[line.new.digest] = 0.4
    fallen = ran("--webhook", url, "--json")
    assert (fallen.exit_code, heard) == (FELL, [json.loads(fallen.stdout)])
    assert fallen.stderr.startswith("ALARM line version 2: fell. accuracy 0.800 on 100 tasks at its promotion")


def test_a_webhook_that_fails_does_not_hide_the_alarm(line: Line, ran: Callable[..., Any], hook: tuple[str, Any]):
    line.arrive()
    line.skill[line.new.digest] = 0.4
    done = ran("--webhook", f"{hook[0].replace('127', 'user:secret@127')}/broken")
    assert done.exit_code == FELL
    assert "webhook at 127.0.0.1: not notified (status 500)" in done.stderr
    assert "secret" not in done.stderr


# For real -------------------------------------------------------------------------------------------------------------


def test_a_champion_of_a_real_round_is_watched_on_a_recorded_engine(desk: Desk, bucket: Path, requests: Path):
    """Its model solves word problems; the fresh ones are marked wrongly, which it cannot know."""
    put(bucket, word_problems(1, 300))
    assert run(desk, bucket) == [(1, 0, "promoted")]
    parsed = desk.campaign(tasks=tasks(bucket)).order.recipe
    for name in ("SELFTAUGHT_ENGINES", "SELFTAUGHT_EVENTS", "SELFTAUGHT_ERRORS"):
        pytest.MonkeyPatch().delenv(name, raising=False)
    put(bucket, [{**row, "answer": "-1"} for row in word_problems(2, 300)])
    found = watch(Platform.open(), parsed, "line", "campaign", GUARD)
    assert (found.outcome, found.after) == ("fell", 0.0)
    assert found.before > 0.9
