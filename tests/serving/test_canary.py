"""Promotion by steps: the rule by which a version goes on, and the shares of the requests, whatever happens."""

import math
import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from selftaught.errors import RoundFailed, Unavailable
from selftaught.serving import answers as asking
from selftaught.serving import canary
from selftaught.serving.canary import Answers, Pair, Pod, compare, failing
from selftaught.serving.cluster import Cluster
from selftaught.serving.routes import gateway
from selftaught.serving.routes.gateway import GatewayRoute, http_route
from selftaught.settings import Settings
from tests.serving.canary_world import SPACE, World, world

OLD, NEW = "a" * 64, "b" * 64
CHAMPION, NEW_ONE = f"line-{OLD[:8]}", f"line-{NEW[:8]}"
MOST = Settings.model_fields["canary_max_errors"].default
HOST = "line.models.example.com"

some = st.integers(0, 10_000)
answers = st.builds(lambda given, share: Answers(given, round(given * share)), some, st.floats(0, 1))
fewer = answers.map(lambda a: Answers(a.given // 20, a.errors // 20))  # that exact fractions take no minute
allowed = st.floats(0, 0.99)


# The rule -------------------------------------------------------------------------------------------------------------


@given(new=answers, champion=answers, most=allowed)
def test_with_one_more_error_a_version_that_failed_fails(new: Answers, champion: Answers, most: float):
    assume(new.errors < new.given)
    worse = replace(new, errors=new.errors + 1)
    assert failing(worse, champion, most) or not failing(new, champion, most)


@given(new=answers, champion=answers, most=allowed)
def test_with_one_more_error_of_the_champion_a_version_that_was_good_is_good(
    new: Answers, champion: Answers, most: float
):
    assume(champion.errors < champion.given)
    worse = replace(champion, errors=champion.errors + 1)
    assert failing(new, champion, most) or not failing(new, worse, most)


@given(both=answers, times=st.integers(1, 20), most=allowed)
def test_the_champions_own_share_of_errors_is_never_held_against_a_version(both: Answers, times: int, most: float):
    assert not failing(Answers(both.given * times, both.errors * times), both, most)


@given(champion=answers, most=allowed)
def test_no_answers_show_nothing(champion: Answers, most: float):
    assert not failing(Answers(), champion, most)


@given(given=some, champion=answers)
def test_one_error_alone_takes_no_version_back(given: int, champion: Answers):
    assert not failing(Answers(given, min(given, 1)), champion, MOST)


@given(new=fewer, champion=fewer)
def test_it_fails_when_fishers_exact_test_says_so(new: Answers, champion: Answers):
    """Of all ways to deal the errors out to the answers, how many give the new version so many."""
    errors = new.errors + min(champion.given, champion.errors + math.ceil(MOST * champion.given))
    right = new.given + champion.given - errors
    ways = sum(
        math.comb(errors, k) * math.comb(right, new.given - k) for k in range(new.errors, min(errors, new.given) + 1)
    )
    chance = Fraction(ways, math.comb(errors + right, new.given))
    assume(abs(float(chance) - 0.001) > 1e-9)
    assert failing(new, champion, MOST) is (chance < Fraction(1, 1000))


def test_what_chance_gave_two_equal_versions_takes_none_back():
    assert not failing(Answers(33, 14), Answers(31, 4), MOST)  # seen with 30 % of mistakes by the users of both


# Pods -----------------------------------------------------------------------------------------------------------------


def pods(answers: st.SearchStrategy[Answers]) -> st.SearchStrategy[dict[str, Pod]]:
    return st.dictionaries(st.sampled_from("abcdef"), st.builds(Pod, st.integers(0, 2), answers), max_size=4)


@given(before=pods(st.just(Answers())), now=pods(st.just(Answers())))
def test_a_version_stays_only_with_every_pod_that_it_had(before: dict[str, Pod], now: dict[str, Pod]):
    harm = compare(Pair({}, before), Pair({}, now), MOST).harm
    left = [name for name, pod in before.items() if name not in now or now[name].restarts != pod.restarts]
    assert bool(harm) == (bool(left) or not before)
    assert not left or f"pod {min(left)} " in harm


@given(before=pods(answers), grown=answers, later=pods(answers))
def test_what_was_answered_before_and_by_pods_that_came_later_is_not_counted(
    before: dict[str, Pod], grown: Answers, later: dict[str, Pod]
):
    now = later | {name: replace(pod, answers=pod.answers + grown) for name, pod in before.items()}
    seen = compare(Pair(before, before), Pair(now, now), MOST)
    assert seen.new == seen.champion == Answers(len(before) * grown.given, len(before) * grown.errors)


# Shares, on loopback --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch, world([CHAMPION, NEW_ONE], tmp_path_factory.mktemp("world")) as made:
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
        engine.wrong, engine.ready, engine.breaks_at = False, True, 0
    made.kept.clear()
    route(made).point("line", OLD)
    made.written.clear()
    return made


def route(made: World, *steps: int, seconds: float = 0.01, say: Callable[[str], None] = print) -> GatewayRoute:
    return GatewayRoute(Cluster(SPACE, "address"), told(made.url, steps or (50,), seconds), say)


def told(url: str, steps: tuple[int, ...] = (50,), seconds: float = 0.01) -> Settings:
    return Settings(
        home=Path(),
        store="",
        tracking_uri="",
        route="gateway",
        gateway="edge/main",
        gateway_url=url,
        domain="models.example.com",
        canary_steps=steps,
        canary_seconds=seconds,
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


def test_the_first_version_of_a_line_and_a_roll_back_are_not_tried(line: World):
    route(line, 5, 50).introduce("line", NEW, None)
    assert line.written == []


def test_no_step_is_so_short_that_nobody_looks(line: World):
    line.engines[1].breaks_at = 50
    with pytest.raises(RoundFailed, match="restarted"):
        route(line, 50, seconds=1e-9).introduce("line", NEW, OLD)


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
    half = http_route("line", told(line.url), {CHAMPION: 50, NEW_ONE: 50})
    line.route("line")["spec"]["rules"] = half["spec"]["rules"]
    route(line).point("line", OLD)
    assert line.written == [shares(0)]
    assert asked(line.url, HOST) == {CHAMPION}


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
    stuck = GatewayRoute(Cluster(SPACE, "address"), told("http://127.0.0.1:9"), print)
    with pytest.raises(Unavailable, match=rf"{HOST} at http://127.0.0.1:9 does not lead to {NEW_ONE} .*edge/main"):
        stuck.point("line", NEW)


# Users, on loopback ---------------------------------------------------------------------------------------------------


@contextmanager
def users(url: str, bad: float = 0.0) -> Iterator[list[httpx.Response]]:
    """Users all the time, `bad` of whose requests are mistakes; what they are answered."""
    over, got, drawing = threading.Event(), list[httpx.Response](), random.Random(0)

    def use() -> None:
        with httpx.Client(base_url=url, headers={"Host": HOST}, timeout=60, trust_env=False) as client:
            while not over.wait(0.01):
                got.append(client.post("/v1/completions", json={"bad": drawing.random() < bad}))

    threads = [threading.Thread(target=use, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield got
    over.set()
    for thread in threads:
        thread.join(10)


def test_a_version_that_fails_its_users_is_taken_back_with_the_counts_said(line: World):
    line.engines[1].wrong = True
    with users(line.url) as got, pytest.raises(RoundFailed) as refused:
        route(line, 40, 60, seconds=20).introduce("line", NEW, OLD)
    given, errors, rate = re.search(
        rf"{NEW_ONE} with \d+ % of the requests answered (\d+) requests, (\d+) of them with an error \((\S+)\); "
        rf"{CHAMPION} \d+ requests, 0 of them with an error \(0\.0%\)\. It is taken back: more than 5\.0% more errors",
        str(refused.value),
    ).groups()
    assert given == errors and rate == "100.0%"
    assert 3 <= int(errors) <= sum(answer.status_code == 500 for answer in got)
    assert line.written[-1] == shares(0)
    assert asked(line.url, HOST) == {CHAMPION}


def test_mistakes_of_the_users_take_no_version_back(line: World, monkeypatch: pytest.MonkeyPatch):
    """At every look but one in a billion: that chance alone takes one of a thousand back is the rule's own."""
    monkeypatch.setattr(canary, "CHANCE", 1e-9)
    said: list[str] = []
    with users(line.url, bad=0.3) as got:
        route(line, 20, 50, seconds=2, say=said.append).introduce("line", NEW, OLD)
    assert {answer.status_code for answer in got} == {200, 400}
    assert line.written == [shares(20), shares(50)]
    assert len(said) == 2


def asked(url: str, host: str = "") -> set[str]:
    """The versions that answer at `url`."""
    with httpx.Client(headers={"Host": host} if host else {}, timeout=60, trust_env=False) as client:
        return {client.post(f"{url}/v1/completions", json={}).json()["model"] for _ in range(20)}
