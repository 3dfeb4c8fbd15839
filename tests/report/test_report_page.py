"""The page: every section, the data's own numbers, nothing from outside, and nothing that a model wrote comes alive."""

import base64
import gzip
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from selftaught.blocks import Explanation
from selftaught.report.data import ControlReport, ModelVersion, ReportData, RoundReport
from selftaught.report.formatting import rate, signed
from selftaught.report.outcome import comparisons
from selftaught.report.page import render, write
from tests.report.sample_report import HOSTILE, MODELS, sample

SECTIONS = (  # in reading order
    "verdict rounds gate-section funnel changes reading training time lineage downloads reproduce words"
).split()


class Document(HTMLParser):
    """What a browser would see: tags with their attributes, the text, and the content of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def ids(self) -> list[str]:
        return [attrs["id"] or "" for _, attrs in self.tags if "id" in attrs]


def stopped(**fields: object) -> ReportData:
    """A round that failed after what `fields` say it reached."""
    failed = RoundReport(
        round=1,
        outcome="failed",
        failure="only 3 examples were kept, and the recipe asks for 32",
        champion=ModelVersion(digest="c" * 64),
        **fields,  # pyright: ignore[reportArgumentType]
    )
    return sample(1).model_copy(update={"rounds": (failed,), "scores": (), "groups": ()})


ADAPTED = ControlReport(
    control="adapt",
    chosen=Explanation(
        text="Temperature 0.9, whose balance score was best.",
        columns=("balance score",),
        rows={"temperature 0.7": (0.25,), "temperature 0.9": (0.375,)},
    ),
    ended="it has learnt enough",
)


def with_controls(*controls: ControlReport) -> ReportData:
    data = sample(1)
    return data.model_copy(update={"rounds": (data.last.model_copy(update={"controls": controls}),)})


def test_what_a_control_chose_is_on_the_page_with_its_figures():
    shown = Document(render(with_controls(ADAPTED)))
    assert "control" in shown.ids()
    assert "Temperature 0.9, whose balance score was best." in shown.text
    assert re.search(r"Balance score temperature 0.7 .250 temperature 0.9 .375", shown.text)
    assert "The campaign ends here: it has learnt enough." in shown.text


def test_of_a_first_round_the_page_says_that_the_recipe_chose():
    first = ADAPTED.model_copy(update={"chosen": None, "ended": ""})
    assert "As the recipe says" in Document(render(with_controls(first))).text


def test_a_page_without_controls_has_no_section_of_them(page: Document):
    assert "control" not in page.ids()


def test_a_record_without_controls_is_written_as_it_was_before_there_were_any():
    assert "controls" not in sample(1).last.model_dump_json()


@pytest.fixture(scope="module")
def page() -> Document:
    return Document(render(sample()))


@pytest.mark.parametrize(
    "data", [sample(1), sample(2), sample(3), stopped()], ids=["one", "refused", "three", "failed"]
)
def test_every_section_is_there_in_order_and_the_list_of_sections_leads_to_it(data: ReportData):
    document = Document(render(data))
    assert [name for name in document.ids() if name in SECTIONS] == SECTIONS
    links = [attrs["href"] for tag, attrs in document.tags if tag == "a"]
    assert [link for link in links if link in {f"#{name}" for name in SECTIONS}][: len(SECTIONS)] == [
        f"#{name}" for name in SECTIONS
    ]


def test_the_headline_says_what_was_decided_and_what_was_measured(page: Document):
    assert "Round 3: promoted" in page.text.replace(" :", ":")
    assert "Accuracy on 200 new problems: .610 → .755 (+.145, 95 % interval .060 to .230)." in page.text


def test_a_refusal_says_why_in_the_gates_own_words():
    data = sample(2)
    text = Document(render(data)).text
    assert data.last.gate
    failed = [check.reason for check in data.last.gate.checks if not check.passed]
    assert len(failed) == 2
    because = text[text.index("Refused because:") : text.index("Training data")]
    assert all(reason[1:] in because for reason in failed)
    assert "guard set is not worse" not in because


def test_a_failed_round_says_what_it_failed_of_and_which_parts_it_never_reached():
    text = Document(render(stopped())).text
    assert "Only 3 examples were kept, and the recipe asks for 32." in text
    for missing in ("ended before the gate", "ended before training", "ended before anything was verified"):
        assert missing in text


def test_a_round_that_trained_on_worked_solutions_says_so_and_no_other_does(page: Document):
    data = sample()
    last = data.last.model_copy(update={"references": True})
    shown = Document(render(data.model_copy(update={"rounds": (*data.rounds[:-1], last)}))).text
    assert "trains on worked solutions that came with its tasks" in shown
    assert "worked solutions" not in page.text


def test_every_number_of_the_metrics_table_is_the_datas(page: Document):
    for row in comparisons(sample().last):
        assert row.champion and row.challenger and row.gain
        for one in (row.champion, row.challenger):
            assert f"{rate(one.mean)} {rate(one.low)}–{rate(one.high)}" in page.text
        assert f"{signed(row.gain.gain)} {rate(row.gain.low)} to {rate(row.gain.high)}" in page.text


def test_digests_are_there_in_full_to_be_copied(page: Document):
    copied = {attrs["data-copy"] for tag, attrs in page.tags if attrs.get("class") == "digest"}
    data = sample()
    assert {model.digest for model in MODELS} <= copied
    assert {part.digest for played in data.rounds for part in played.datasets} <= copied


def test_what_a_model_wrote_stays_text(page: Document):
    assert HOSTILE in page.text
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "embed", "link", "base")]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_hostile_text_is_harmless_wherever_it_comes_in():
    data = sample(1)
    gate = data.last.gate
    assert gate
    checks = tuple(check.model_copy(update={"name": HOSTILE, "reason": HOSTILE}) for check in gate.checks)
    last = data.last.model_copy(
        update={
            "failure": HOSTILE,
            "gate": gate.model_copy(update={"checks": checks, "metric": "</script>" + HOSTILE}),
            "champion": ModelVersion(digest='"><script>', name=HOSTILE, version=HOSTILE),
            "mlflow_run": HOSTILE,
            "summaries": tuple(s.model_copy(update={"metric": "</script>" + HOSTILE}) for s in data.last.summaries),
        }
    )
    everywhere = {"line": HOSTILE, "recipe": HOSTILE, "recipe_yaml": HOSTILE, "command": HOSTILE, "rounds": (last,)}
    document = Document(render(data.model_copy(update=everywhere)))
    assert sum(tag == "script" for tag, _ in document.tags) == 3
    assert not [tag for tag, _ in document.tags if tag == "img"]


def test_the_page_asks_for_nothing_from_outside(page: Document):
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            given = attrs.get(name) or "#"
            link = tag == "a" and given.startswith("https://mlflow.example.com/#/")  # asked for by a click alone
            assert link or given.startswith(("#", "data:text/yaml", "data:text/csv", "data:application/gzip")), attrs
    html = render(sample())
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_lets_the_pages_own_scripts_run_and_no_other(page: Document):
    policy = next(attrs["content"] or "" for tag, attrs in page.tags if "http-equiv" in attrs)
    plotly = gzip.decompress(base64.b64decode(page.scripts[1])).decode()
    assert plotly == get_plotlyjs()
    hashes = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (page.scripts[2], plotly)}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy


def test_equal_data_give_equal_pages_and_json_changes_nothing():
    data = sample()
    assert render(data) == render(sample()) == render(ReportData.model_validate_json(data.model_dump_json()))


def test_the_page_is_small_enough_to_send():
    assert len(render(sample()).encode()) < 2_500_000


@pytest.mark.parametrize("absent", ["gate", "training", "funnel", "gains", "steps", "datasets", "challenger", "seeds"])
def test_each_part_may_be_missing(absent: str):
    data = sample(1)
    empty = RoundReport(round=1, outcome="failed", champion=MODELS[0])
    last = data.last.model_copy(update={absent: getattr(empty, absent)})
    assert "Round 1" in Document(render(data.model_copy(update={"rounds": (last,)}))).text


def test_without_guard_and_report_sets_the_gate_set_leads():
    data = sample(1)
    last = data.last
    gate_alone = {
        "summaries": tuple(s for s in last.summaries if s.split == "gate"),
        "gains": tuple(g for g in last.gains if g.split == "gate"),
    }
    text = Document(render(data.model_copy(update={"rounds": (last.model_copy(update=gate_alone),)}))).text
    assert "Accuracy on 200 held-out problems: .275 → .600" in text
    assert "which no decision sees" not in text


def test_rounds_with_tasks_of_their_own_show_gains_and_say_why():
    data = sample(3)
    rounds = tuple(r.model_copy(update={"measured_on": {"report": str(r.round)}}) for r in data.rounds)
    text = Document(render(data.model_copy(update={"rounds": rounds}))).text
    assert "Rounds have report sets of their own" in text
    assert "Every point is measured on the same" not in text
    table = text[text.index("Round Outcome accuracy, paired gain") : text.index("Gate The gate")]
    for r in data.rounds:
        gain = r.gain("accuracy", "report")
        assert gain
        assert f"{signed(gain.gain)} {rate(gain.low)} to {rate(gain.high)}" in table


def test_reused_gate_tasks_say_what_is_left_of_the_error_budget():
    data = sample(1)
    assert data.last.gate
    reused = data.last.model_copy(update={"gate": data.last.gate.model_copy(update={"budget_left": 0.0125})})
    assert "new in this round" in Document(render(data)).text
    text = Document(render(data.model_copy(update={"rounds": (reused,)}))).text
    assert "0.0125 of the error budget is left" in text
    assert "new in this round" not in text


def test_a_page_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = tmp_path / "report.html"
    write(sample(1), target)
    before = target.read_text()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write(sample(2), target)
    assert target.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_promotion_says_in_a_sentence_what_users_get(page: Document):
    assert (
        "Users get word-problems v4 instead of word-problems v2. Of 100 new problems it gets about 76 right, "
        "where users had about 61. Its answers are as long." in page.text
    )


def test_a_promotion_says_how_it_is_taken_back():
    assert "selftaught models rollback word-problems" in Document(render(sample(3))).text
    assert "models rollback" not in Document(render(sample(2))).text


@pytest.mark.parametrize(("tokens", "said"), [(41, "as long"), (82, "100 % longer in tokens"), (20, "51 % shorter")])
def test_it_says_how_much_longer_answers_have_become(tokens: int, said: str):
    data = sample(3)
    scores = tuple(
        s.model_copy(update={"completion_tokens": tokens}) if s.model == MODELS[3].digest else s for s in data.scores
    )
    text = Document(render(data.model_copy(update={"scores": scores}))).text
    assert f"Its answers are {said}" in text


@pytest.mark.parametrize("data", [sample(2), stopped()], ids=["refused", "failed"])
def test_a_round_without_a_promotion_changes_nothing_for_users(data: ReportData):
    assert "Nothing changes for users: " in Document(render(data)).text


def test_other_metrics_than_accuracies_are_not_told_as_problems_solved():
    data = sample(1)
    assert data.last.gate
    gate = data.last.gate.model_copy(update={"metric": "pass@8"})
    text = Document(render(data.model_copy(update={"rounds": (data.last.model_copy(update={"gate": gate}),)}))).text
    assert "Users get word-problems v2" in text
    assert "Of 100 new problems" not in text


def test_verifiers_lengths_and_kinds_of_tasks_are_told(page: Document):
    data = sample()
    assert data.sampled
    answers, form = data.sampled.verifiers
    assert f"answer match {answers.passed}" in page.text
    assert f"format {form.passed}" in page.text
    (pair,) = data.sampled.agreements
    assert f"{pair.both} {pair.neither} {pair.only_one} {pair.only_other} Of the rollouts that both judged" in page.text
    right = data.sampled.lengths[0]
    assert f"right {right.rollouts} {right.mean:.0f} {right.median:.0f} {right.high:.0f} {right.truncated}" in page.text
    for kind in data.kinds:
        row = f"{kind.name} {kind.n} {rate(kind.champion)} {rate(kind.challenger)} {signed(kind.gain)}"
        assert (row in page.text) == (kind.by != "source")


def test_settings_stand_beside_what_came_of_them(page: Document):
    table = page.text[page.text.index("What was changed, and what came of it") : page.text.index("Gate The gate")]
    assert "round 1 promoted +.325 .240 to .410 the campaign's first" in table
    assert "round 2 refused −.010 −.095 to .075 sample.k 4 → 8" in table
    assert "train.sft.learning_rate 3e-05 → 2e-05" in table
    assert "Changed since round 2: sample.k 8 → 12, train.sft.learning_rate" in page.text


def test_runs_are_links_where_the_registry_is_a_server():
    data = sample(1)
    run = data.last.mlflow_run
    assert f'href="https://mlflow.example.com/#/experiments/7/runs/{run}"' in render(data)
    assert 'href="https://mlflow.example.com/#/models/word-problems/versions/2"' in render(data)
    for address in ("", "javascript:alert(1)", "file:///etc"):
        page = render(data.model_copy(update={"mlflow": address}))
        assert f"<code>{run}</code>" in page
        assert not address or address not in page


def test_data_sets_say_where_they_lie(page: Document):
    assert all(kept.uri in page.text for kept in sample().last.datasets)


def test_hostile_names_of_all_that_is_counted_stay_text():
    data = sample(1)
    sampled = data.sampled
    assert sampled
    evil = {
        "verifiers": tuple(each.model_copy(update={"verifier": HOSTILE}) for each in sampled.verifiers),
        "agreements": tuple(each.model_copy(update={"one": HOSTILE, "other": HOSTILE}) for each in sampled.agreements),
        "kinds": tuple(each.model_copy(update={"name": HOSTILE}) for each in sampled.kinds),
    }
    kinds = tuple(each.model_copy(update={"name": HOSTILE}) for each in data.kinds)
    sets = tuple(each.model_copy(update={"uri": HOSTILE, "kind": HOSTILE}) for each in data.last.datasets)
    first = data.last.model_copy(update={"settings": {"a": "b"}})
    last = data.last.model_copy(update={"round": 2, "settings": {HOSTILE: HOSTILE}, "datasets": sets})
    fields = {
        "sampled": sampled.model_copy(update=evil),
        "kinds": kinds,
        "rounds": (first, last),
        "experiment": HOSTILE,
    }
    document = Document(render(data.model_copy(update=fields)))
    assert sum(tag == "script" for tag, _ in document.tags) == 3
    assert not [tag for tag, _ in document.tags if tag == "img"]


def test_a_record_of_before_any_of_this_is_shown_as_it_was():
    data = sample(1)
    bare = {"sampled": None, "kinds": (), "levels": {}, "mlflow": "", "experiment": ""}
    last = data.last.model_copy(update={"settings": {}, "measured_on": {}})
    text = Document(render(data.model_copy(update={**bare, "rounds": (last,)}))).text
    for heading in (
        "What each verifier said",
        "Lengths",
        "Training tasks by",
        "Settings",
        "The artifacts of MLflow run",
    ):
        assert heading not in text
