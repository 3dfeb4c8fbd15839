"""Promotion by steps: the rule by which a version continues, and the shares of the requests, whatever happens."""

import bisect
import itertools
import math
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
import scipy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.bench_canary import days
from selftaught.cluster.client import Cluster
from selftaught.core.errors import RoundFailed, Unavailable
from selftaught.serving import probe as asking
from selftaught.serving.middleware.counting import HEADER
from selftaught.serving.routes import canary, gateway
from selftaught.serving.routes.canary import CHANCE, DOUBT, Answers, Both, Pair, Pod, Step, Trial, failing, shown
from selftaught.serving.routes.gateway import GatewayRoute, http_route
from selftaught.settings import Settings
from tests.serving.routes.canary_world import SPACE, World, said, world

OLD, NEW, UNCOUNTED = "a" * 64, "b" * 64, "c" * 64
CHAMPION, NEW_ONE = f"line-{OLD[:8]}", f"line-{NEW[:8]}"
MOST = Settings.model_fields["canary_max_errors"].default
HOST = "line.models.example.com"

some = st.integers(0, 3_000)
answers = st.builds(lambda given, share: Answers(given, round(given * share)), some, st.floats(0, 1))
fewer = answers.map(lambda a: Answers(a.given // 60, a.errors // 60))  # that exact fractions take no minute
allowed = st.floats(0, 0.99)
steps = st.lists(st.builds(Both, answers, answers), min_size=1, max_size=3)


# The rule -------------------------------------------------------------------------------------------------------------


def fails(new: Answers, champion: Answers, most: float = MOST) -> bool:
    """Whether a version fails that has had one step."""
    return failing([Both(new, champion)], most)


@given(new=answers, champion=answers, most=allowed)
def test_with_one_more_error_a_version_that_failed_fails(new: Answers, champion: Answers, most: float):
    assume(new.errors < new.given)
    worse = replace(new, errors=new.errors + 1)
    assert fails(worse, champion, most) or not fails(new, champion, most)


@given(new=answers, champion=answers, most=allowed)
def test_with_one_more_error_of_the_champion_a_version_that_was_good_is_good(
    new: Answers, champion: Answers, most: float
):
    assume(champion.errors < champion.given)
    worse = replace(champion, errors=champion.errors + 1)
    assert fails(new, champion, most) or not fails(new, worse, most)


@given(both=answers, times=st.integers(1, 20), most=allowed)
def test_the_champions_own_share_of_errors_is_never_held_against_a_version(both: Answers, times: int, most: float):
    assert not fails(Answers(both.given * times, both.errors * times), both, most)


@given(steps=steps, most=allowed)
def test_no_version_is_both_failing_and_shown_to_be_sound(steps: list[Both], most: float):
    assert not (failing(steps, most) and shown(steps, most))


@given(champion=answers, most=allowed)
def test_no_answers_show_nothing(champion: Answers, most: float):
    assert not fails(Answers(), champion, most)
    assert not shown([Both(Answers(), champion)], most)


@given(steps=steps, at=st.integers(0, 3), most=allowed)
def test_a_step_that_nobody_asked_in_changes_nothing(steps: list[Both], at: int, most: float):
    quiet = [*steps[:at], Both(Answers(), Answers()), *steps[at:]]
    assert failing(quiet, most) is failing(steps, most)
    assert shown(quiet, most) is shown(steps, most)


def test_a_version_that_fails_is_found_after_a_step_that_nobody_asked_in():
    quiet = Both(Answers(), Answers())
    assert failing([quiet, Both(Answers(26, 26), Answers(4, 0))], MOST)
    assert shown([quiet, Both(Answers(3000, 0), Answers(3000, 0))], MOST)


@given(given=some, champion=answers)
def test_one_error_alone_takes_no_version_back(given: int, champion: Answers):
    assert not fails(Answers(given, min(given, 1)), champion)


@pytest.mark.parametrize(("given", "errors", "beside"), [(5, 4, 95), (25, 9, 75), (50, 16, 50)])
def test_beside_a_champion_without_errors_it_takes_so_many(given: int, errors: int, beside: int):
    assert fails(Answers(given, errors), Answers(beside, 0))
    assert not fails(Answers(given, errors - 1), Answers(beside, 0))


@given(steps=st.lists(st.builds(Both, fewer, fewer), min_size=1, max_size=2))
def test_it_fails_when_the_exact_test_of_all_steps_says_so(steps: list[Both]):
    """Of all ways to deal each step's errors out to its answers, how many give the new version so many in all."""
    dealt = [dealing(step, math.ceil(MOST * step.champion.given)) for step in steps]
    errors = sum(step.new.errors for step in steps)
    ways = itertools.product(*(each.items() for each in dealt))
    chance = sum(math.prod(share for _, share in way) for way in ways if sum(got for got, _ in way) >= errors)
    assume(abs(float(chance) - 0.001) > 1e-9)
    assert failing(steps, MOST) is (chance < Fraction(1, 1000))


@given(steps=st.lists(st.builds(Both, fewer, fewer), min_size=1, max_size=2))
def test_it_is_shown_to_be_sound_when_the_exact_test_of_all_steps_says_so(steps: list[Both]):
    dealt = [dealing(step, math.floor(MOST * step.champion.given)) for step in steps]
    errors = sum(step.new.errors for step in steps)
    ways = itertools.product(*(each.items() for each in dealt))
    chance = sum(math.prod(share for _, share in way) for way in ways if sum(got for got, _ in way) <= errors)
    assume(abs(float(chance) - 0.01) > 1e-9)
    assert shown(steps, MOST) is (chance < Fraction(1, 100))


def dealing(step: Both, added: int) -> dict[int, Fraction]:
    """How likely each number of errors is to be the new version's."""
    errors = step.new.errors + min(step.champion.given, step.champion.errors + added)
    right = step.new.given + step.champion.given - errors
    ways = {k: math.comb(errors, k) * math.comb(right, step.new.given - k) for k in range(step.new.given + 1)}
    return {k: Fraction(count, math.comb(errors + right, step.new.given)) for k, count in ways.items() if count}


def test_what_chance_gave_two_equal_versions_takes_none_back():
    assert not fails(Answers(33, 14), Answers(31, 4))  # seen with 30 % of mistakes by the users of both


def test_an_hour_in_which_everybody_errs_more_is_not_held_against_a_version():
    """Each version errs as the other in each step; the new one has most of its answers from the bad one."""
    calm, bad = Both(Answers(15, 0), Answers(585, 3)), Both(Answers(200, 90), Answers(200, 91))
    together = Both(calm.new + bad.new, calm.champion + bad.champion)
    assert failing([together], MOST)
    assert not failing([calm, bad], MOST)


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.3])
@pytest.mark.parametrize(("given", "beside"), [(200, 200), (200, 600), (400, 300)])
def test_a_version_at_the_margin_is_shown_or_failing_as_seldom_as_is_said(rate: float, given: int, beside: int):
    """Over all outcomes of both versions, one look: exactly what the constants say, or less."""
    ours, theirs = (scipy.stats.binom.pmf(range(n + 1), n, p) for n, p in ((given, rate + MOST), (beside, rate)))
    rejected = {True: 0.0, False: 0.0}
    for errors, chance in enumerate(theirs):
        if chance < 1e-6:
            continue
        champion = Answers(beside, errors)
        fewest = bisect.bisect_left(range(given + 1), True, key=lambda k: fails(Answers(given, k), champion))
        most = bisect.bisect_left(
            range(given + 1), True, key=lambda k: not shown([Both(Answers(given, k), champion)], MOST)
        )
        rejected[True] += chance * ours[fewest:].sum()
        rejected[False] += chance * ours[:most].sum()
    assert rejected[True] <= CHANCE
    assert rejected[False] <= DOUBT


# The looks ------------------------------------------------------------------------------------------------------------


def alone(new: Answers, champion: Answers) -> Pair:
    """A pod of each version."""
    return Pair({"new": Pod(0, new)}, {"old": Pod(0, champion)})


def trial(*seen: tuple[Answers, Answers], least: int = 200, late: bool = False) -> Trial:
    """A trial of one step, at each of these moments."""
    made = Trial(MOST, least)
    made.begin(alone(Answers(), Answers()))
    for new, champion in seen:
        made.see(alone(new, champion), late)
    return made


def test_few_answers_show_nothing_however_good_they_are():
    assert not trial((Answers(199, 0), Answers(10_000, 0)), late=True).sound
    assert trial((Answers(200, 0), Answers(10_000, 0))).sound


def test_it_is_looked_at_when_the_answers_have_doubled_or_time_is_over():
    """Of 200 answers the looks are at 3.1, 6.3, 12.5 …: what is shown at 13 is not looked for again before 25."""
    good, bad = (Answers(13, 0), Answers(87, 0)), (Answers(24, 24), Answers(76, 0))
    assert not trial(good, bad).harm
    assert trial(good, bad, late=True).harm == "more than 5.0% more errors"
    assert trial(good, (Answers(25, 25), Answers(75, 0))).harm


def test_steps_are_counted_together():
    made = Trial(MOST, 200)
    for _ in range(2):
        made.begin(alone(Answers(), Answers()))
        made.see(alone(Answers(100, 1), Answers(300, 3)), late=False)
    assert made.answers == Both(Answers(200, 2), Answers(600, 6))
    assert made.sound
    assert not made.short


# Pods -----------------------------------------------------------------------------------------------------------------


def pods(answers: st.SearchStrategy[Answers]) -> st.SearchStrategy[dict[str, Pod]]:
    made = st.builds(Pod, st.integers(0, 2), answers, st.sampled_from([True, True, False]))
    return st.dictionaries(st.sampled_from("abcdef"), made, max_size=4)


@given(before=pods(st.just(Answers())), now=pods(st.just(Answers())))
def test_a_version_stays_only_while_its_pods_are_as_they_were(before: dict[str, Pod], now: dict[str, Pod]):
    """Those that an autoscaler took away are not missed, as long as one is left."""
    step = Step(Pair(before, {}))
    step.see(Pair(now, {}))
    had = {name: pod for name, pod in before.items() if pod.ready}
    broken = [name for name, pod in had.items() if name in now and now[name] != pod]
    assert bool(step.loss) == (bool(broken) or not had or not any(pod.ready for pod in now.values()))
    assert not broken or f"pod {min(broken)} " in step.loss


@given(before=pods(answers), later=pods(answers), last=pods(answers))
def test_what_pods_have_answered_that_came_later_or_went_is_counted(
    before: dict[str, Pod], later: dict[str, Pod], last: dict[str, Pod]
):
    step, known = Step(Pair(before, before)), {}
    for now in (before, later, last):
        step.see(Pair(now, now))
        known |= {(name, pod.restarts): pod.answers for name, pod in now.items() if pod.ready}
    assert step.both.new == step.both.champion == sum(known.values(), Answers())


# Shares, on loopback --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        pytest.MonkeyPatch.context() as patch,
        world([CHAMPION, NEW_ONE, f"line-{UNCOUNTED[:8]}"], tmp_path_factory.mktemp("world")) as made,
    ):
        patch.setenv("KUBECONFIG", str(made.kubeconfig))
        patch.setattr(canary, "ENGINE_PORT", made.port)
        patch.setattr(asking, "_PAUSE", 0.01)
        patch.setattr(gateway, "LOOK", 0.1)
        yield made


@pytest.fixture
def line(loopback: World) -> World:
    """A line all of whose users are with its champion."""
    return begin(loopback)


def begin(made: World) -> World:
    for engine in made.engines:
        engine.wrong, engine.ready, engine.breaks_at, engine.restarts = 0, True, 0, 0
    made.kept.clear()
    made.says = said
    route(made).point("line", OLD)
    made.written.clear()
    return made


def route(made: World, *steps: int, say: Callable[[str], None] = print, **more: Any) -> GatewayRoute:
    """Its steps last as long as one look; a version that nobody asks is promoted, unless configured otherwise."""
    return GatewayRoute(Cluster(SPACE, "address"), settings_of(made.url, canary_steps=steps or (50,), **more), say)


def settings_of(url: str, **more: Any) -> Settings:
    unseen = {"canary_patience": 0.0, "canary_promote_unseen": True, "canary_seconds": 0.01}
    return Settings(
        home=Path(),
        store="store",
        tracking_uri="none",
        route="gateway",
        gateway="edge/main",
        gateway_url=url,
        domain="models.example.com",
        **unseen | more,
    )


def shares(new: int) -> dict[str, int]:
    given = {CHAMPION: 100 - new, NEW_ONE: new}
    return {f"{name}-predictor": share for name, share in given.items() if share}


@settings(max_examples=10)
@given(steps=st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True).map(sorted), data=st.data())
def test_shares_rise_by_the_steps_and_go_back_from_any(loopback: World, steps: list[int], data: st.DataObject):
    """A pod of the new version restarts in one of the steps, or in none."""
    made, good = begin(loopback), data.draw(st.integers(0, len(steps)), label="good steps")
    made.engines[1].breaks_at = steps[good] if good < len(steps) else 0
    with pytest.raises(RoundFailed, match="restarted") if good < len(steps) else nullcontext():
        route(made, *steps).introduce("line", NEW, OLD)
    taken = [shares(step) for step in steps[: good + 1]]
    assert made.written == (taken if good == len(steps) else [*taken, shares(0)])
    assert all(sum(each.values()) == 100 for each in made.written)


def test_a_champion_gets_all_requests_through_both_addresses(line: World):
    route(line).point("line", NEW)
    assert line.written == [shares(100)]
    assert asked(line.url, HOST) == asked(f"http://{line.stable}") == {NEW_ONE}


def test_requests_are_marked_while_a_version_is_tried_again_in_every_step(line: World):
    marks: list[dict[str, Any]] = []
    route(line, 5, 50, say=lambda words: marks.extend(line.route("line")["spec"]["rules"])).introduce("line", NEW, OLD)
    values = [header["value"] for rule in marks for header in marked(rule)]
    assert len(values) == len(set(values)) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in values)
    route(line).point("line", NEW)
    assert [marked(rule) for rule in line.route("line")["spec"]["rules"]] == [[]]


def marked(rule: dict[str, Any]) -> list[dict[str, str]]:
    """The headers that a rule sets."""
    return [header for each in rule["filters"] for header in each.get("requestHeaderModifier", {}).get("set", [])]


def test_headers_and_filters_of_others_are_kept_while_a_version_is_tried(line: World):
    theirs = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-team", "value": "a"}]}},
        {"type": "URLRewrite", "urlRewrite": {"hostname": "inside"}},
    ]
    line.route("line")["spec"]["rules"][0]["filters"] = theirs
    seen: list[Any] = []
    route(line, 50, say=lambda words: seen.extend(line.route("line")["spec"]["rules"])).introduce("line", NEW, OLD)
    assert [header["name"] for header in marked(seen[0])] == ["x-team", HEADER]
    assert [each["type"] for each in seen[0]["filters"]] == ["URLRewrite", "RequestHeaderModifier"]
    route(line).point("line", OLD)
    (rule,) = line.route("line")["spec"]["rules"]
    assert sorted(rule["filters"], key=lambda each: each["type"]) == theirs


def test_an_engine_that_does_not_count_is_told_of_and_nobody_is_tried_beside_it(line: World):
    with pytest.raises(
        RoundFailed, match=r"its engine does not count what comes through a gateway .* serve its version"
    ):
        GatewayRoute(Cluster(SPACE, "address"), settings_of(line.url), print).introduce("line", NEW, UNCOUNTED)
    assert line.written[-1] == {f"line-{UNCOUNTED[:8]}-predictor": 100}


def test_the_first_version_of_a_line_and_a_roll_back_are_not_tried(line: World):
    route(line, 5, 50).introduce("line", NEW, None)
    assert line.written == []


def test_no_step_is_so_short_that_nobody_looks(line: World):
    line.engines[1].breaks_at = 50
    with pytest.raises(RoundFailed, match="restarted"):
        route(line, 50, canary_seconds=1e-9).introduce("line", NEW, OLD)


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, SystemExit, OSError])
def test_whatever_stops_it_the_champion_has_all_requests_again(line: World, stopped: type[BaseException]):
    def say(words: str) -> None:
        raise stopped

    with pytest.raises(stopped):
        route(line, 5, 50, say=say).introduce("line", NEW, OLD)
    assert line.written == [shares(5), shares(0)]


def test_a_gateway_that_does_not_follow_hides_nothing_of_why_a_version_is_taken_back(
    line: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gateway, "wait_until_leads", lambda *_: False)
    line.engines[1].breaks_at, said = 50, list[str]()
    with pytest.raises(RoundFailed, match="restarted"):
        route(line, 50, say=said.append).introduce("line", NEW, OLD)
    assert line.written == [shares(50), shares(0)]
    assert "does not lead to" in said[-1]


def test_what_a_kill_left_is_brought_back_to_the_champion(line: World):
    half = http_route("line", settings_of(line.url), {CHAMPION: 50, NEW_ONE: 50}, "ab" * 16)
    line.route("line")["spec"]["rules"] = half["spec"]["rules"]
    route(line).point("line", OLD)
    assert line.written == [shares(0)]
    assert asked(line.url, HOST) == {CHAMPION}
    assert marked(line.route("line")["spec"]["rules"][0]) == []


def test_what_others_put_into_the_route_is_kept_also_when_they_write_at_the_same_time(line: World):
    def limit(kept: dict[str, Any]) -> None:
        kept["spec"]["rules"][0]["timeouts"] = {"request": "0s"}
        kept["metadata"]["resourceVersion"] += "1"

    line.meanwhile.append(limit)
    route(line).point("line", NEW)
    (rule,) = line.route("line")["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s"}
    assert [backend["name"] for backend in rule["backendRefs"]] == [f"{NEW_ONE}-predictor"]


def test_a_gateway_that_does_not_follow_is_told(line: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gateway, "WITHIN", 0.2)
    stuck = GatewayRoute(Cluster(SPACE, "address"), settings_of("http://127.0.0.1:9"), print)
    with pytest.raises(
        Unavailable, match=rf"{HOST} at http://127.0.0.1:9 does not lead to {NEW_ONE} .*though .* edge/main has"
    ):
        stuck.point("line", NEW)


NO_SERVICE = {"status": "False", "reason": "BackendNotFound", "message": "no endpoints"}


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (lambda now: said(now, ResolvedRefs=NO_SERVICE), "not ResolvedRefs: BackendNotFound: no endpoints"),
        (lambda now: said(now, Accepted={"status": "False"}), "not Accepted: Good: "),
        (lambda now: said(now - 1), "it has not said Accepted of it yet"),
        (lambda now: said(now, ResolvedRefs={"observedGeneration": now - 1}), "it has not said ResolvedRefs of it yet"),
        (lambda now: [], "it has said nothing of it"),
        (lambda now: [{**said(now)[0], "parentRef": {"name": "other", "namespace": "edge"}}], "it has said nothing"),
    ],
    ids=["no Service", "not accepted", "an older one", "half of an older one", "nothing", "another gateway"],
)
def test_a_step_that_the_gateway_does_not_take_goes_back_in_its_own_words(
    line: World, monkeypatch: pytest.MonkeyPatch, says: Callable[[int], list[dict[str, Any]]], words: str
):
    for patience in ("SETTLES", "WITHIN"):
        monkeypatch.setattr(gateway, patience, 0.2)
    monkeypatch.setattr(gateway, "wait_until_leads", lambda *_: True)
    line.says = lambda now: says(now) if line.written[-1:] == [shares(50)] else said(now)
    with pytest.raises(Unavailable, match=re.escape(f"the gateway edge/main does not take it ({words}")):
        route(line, 50).introduce("line", NEW, OLD)
    assert line.written == [shares(50), shares(0)]


def test_a_gateway_may_be_late_and_is_not_the_only_one(line: World):
    """It hears of a Service after the route; and another one, which refuses the route, has its say beside it."""
    heard = itertools.count()
    other = {**said(0)[0], "controllerName": "example.com/old"}

    def says(now: int) -> list[dict[str, Any]]:
        return [other, *(said(now) if next(heard) > 3 else said(now, ResolvedRefs=NO_SERVICE))]

    line.says = says
    route(line).point("line", NEW)
    assert asked(line.url, HOST) == {NEW_ONE}


# Users, on loopback ---------------------------------------------------------------------------------------------------


@contextmanager
def users(url: str, host: str = HOST, clients: int = 2, bad: float = 0.0) -> Iterator[list[httpx.Response]]:
    """Clients all the time, `bad` of whose requests are mistakes; what they are answered."""
    over, got, drawing = threading.Event(), list[httpx.Response](), random.Random(0)

    def use() -> None:
        with httpx.Client(base_url=url, headers={"Host": host}, timeout=60, trust_env=False) as client:
            while not over.wait(0.01):
                got.append(client.post("/v1/completions", json={"bad": drawing.random() < bad}))

    threads = [threading.Thread(target=use, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    yield got
    over.set()
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize("status", [500, 400])
def test_a_version_that_fails_its_users_is_taken_back_with_the_counts_said(line: World, status: int):
    """Also where it refuses what the champion takes."""
    line.engines[1].wrong = status
    with users(line.url) as got, pytest.raises(RoundFailed) as refused:
        route(line, 40, 60, canary_seconds=20, canary_promote_unseen=False).introduce("line", NEW, OLD)
    given, errors, rate = re.search(
        rf"{NEW_ONE} with up to \d+ % of the requests answered (\d+) requests, (\d+) of them with an error \((\S+)\); "
        rf"{CHAMPION} \d+ requests, 0 of them with an error \(0\.0%\)\. It is rolled back: more than 5\.0% more errors",
        str(refused.value),
    ).groups()
    assert given == errors and rate == "100.0%"
    assert 3 <= int(errors) <= sum(answer.status_code == status for answer in got)
    assert line.written[-1] == shares(0)
    assert asked(line.url, HOST) == {CHAMPION}


def test_mistakes_of_the_users_take_no_version_back_and_who_asks_inside_is_not_counted(
    line: World, monkeypatch: pytest.MonkeyPatch
):
    """At every look but one in a billion: that chance alone takes one of a thousand back is the rule's own."""
    monkeypatch.setattr(canary, "CHANCE", 1e-9)
    said: list[str] = []
    steps = route(line, 20, 50, say=said.append, canary_answers=100, canary_max_errors=0.3, canary_patience=500)
    with users(line.url, bad=0.3) as got, users(f"http://{line.stable}", clients=2) as inside:
        steps.introduce("line", NEW, OLD)
    assert {answer.status_code for answer in got} == {200, 400}
    assert line.written == [shares(20), shares(50)]
    assert len(said) == 2
    counted = sum(int(count) for count in re.findall(r"(\d+) requests", said[-1]))
    assert 100 <= counted <= len(got)
    assert inside


def test_too_few_answers_within_its_patience_take_it_back(line: World):
    tried = route(line, 40, 60, canary_promote_unseen=False, canary_seconds=0.2)
    with pytest.raises(Unavailable, match=r"time is over, and it takes 200 answers to decide\. The same command"):
        tried.introduce("line", NEW, OLD)
    assert line.written == [shares(40), shares(0)]


def asked(url: str, host: str = "") -> set[str]:
    """The versions that answer at `url`."""
    with httpx.Client(headers={"Host": host} if host else {}, timeout=60, trust_env=False) as client:
        return {client.post(f"{url}/v1/completions", json={}).json()["model"] for _ in range(20)}


# With a clock that is put forward -------------------------------------------------------------------------------------


def ends(count: int, **world: Any) -> Counter[str]:
    """What became of so many versions."""
    return Counter(end for end, _ in days(count, **world))


def test_a_version_that_fails_three_in_ten_of_few_users_is_taken_back_whoever_else_asks_the_champion():
    assert ends(30, rate=60, new=0.3, champion=0.01, inside=600) == {"failing": 30}


def test_an_equal_version_comes_through_whoever_else_asks_the_champion():
    assert ends(20, rate=60, new=0.01, champion=0.01, inside=600) == {"promoted": 20}


def test_a_version_that_fails_half_of_a_handful_of_users_reaches_nobody_else():
    assert ends(20, rate=20, new=0.5, champion=0.0) == {"failing": 20}


def test_three_answers_do_not_end_a_step():
    """20 requests a minute, of which a step of 5 % gets one: it lasts until a sixteenth of 200 have come."""
    ((end, day),) = days(1, rate=20, new=0.0, champion=0.0)
    assert end == "promoted"
    assert [came >= needed for came, needed in zip(day.came, (0, 12.5, 75), strict=True)] == [True] * 3
