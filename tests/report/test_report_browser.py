"""The page in a real browser: charts are drawn, nothing asks the network, it fits a phone, the filter filters."""

import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftaught.report.downloads import rollout_lines, scores_csv
from selftaught.report.page import write
from tests.report.browser import Page, chromium, opened
from tests.report.sample_report import sample

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not chromium() and not os.environ.get("CI"),
        reason="no chromium, chromium-browser or google-chrome on PATH (`apt-get install chromium`)",
    ),
]
CHARTS = "document.querySelectorAll('[data-plot] .main-svg').length >= 2"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(sample(), path)
    return path


@pytest.fixture(scope="module")
def page(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with opened(file, tmp_path_factory.mktemp("chromium"), width=1280) as page:
        page.wait(CHARTS)
        yield page


def test_charts_are_drawn_without_a_word_on_the_console(page: Page):
    assert page.value("document.querySelectorAll('[data-plot] .scatterlayer .trace').length") >= 5
    assert page.value("document.querySelectorAll('.undrawn').length") == 0
    assert page.errors() == []


def test_nothing_is_asked_of_the_network(page: Page, file: Path):
    assert [address for address in page.requests() if address != file.as_uri()] == []


@pytest.mark.parametrize("width", [360, 390, 768, 1280, 1440])
def test_the_page_never_scrolls_sideways(page: Page, width: int):
    page.resize(width)
    page.value("document.querySelectorAll('details').forEach((details) => (details.open = true))")
    page.wait(
        f"document.querySelector('[data-plot] .main-svg').clientWidth <= {width}"
    )  # plotly follows a little later
    assert page.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 390])
def test_every_round_of_the_chart_is_seen_on_a_phone(page: Page, width: int):
    """The newest with its figures above all: it is what the page is about."""
    page.resize(width)
    page.wait(f"document.querySelector('[data-plot=curve] .main-svg').clientWidth <= {width}")
    drawn = "[...document.querySelectorAll('[data-plot=curve] :is(.xtick, .textpoint, .point)')]"
    inside = f"{drawn}.filter((each) => each.getBoundingClientRect().right <= {width})"
    page.wait(f"{inside}.length === {drawn}.length")
    rounds = page.value("[...document.querySelectorAll('[data-plot=curve] .xtick')].map((each) => each.textContent)")
    assert rounds[-1].startswith(f"round {len(rounds) - 1}")


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_the_contrast_that_wcag_asks_for(page: Page, dark: bool):
    """Every pair of text and ground that the style uses: 4.5 to 1 at least (WCAG 2.1, AA)."""
    page.dark(dark)
    grounds = {"ink": "paper panel wash", "soft": "paper panel wash", "accent": "paper", "paper": "accent"}
    grounds |= {"good": "paper panel goodwash", "bad": "paper panel badwash", "second": "paper", "third": "paper"}
    for text, names in grounds.items():
        for ground in names.split():
            assert contrast(colour(page, text), colour(page, ground)) >= 4.5, (text, ground)


def test_charts_follow_the_colour_scheme(page: Page):
    stroke = "getComputedStyle(document.querySelector('[data-plot=curve] .js-line')).stroke"
    page.dark(False)
    page.wait(f"{stroke} === 'rgb(31, 95, 191)'")
    page.dark(True)
    page.wait(f"{stroke} === 'rgb(127, 176, 245)'")


def test_the_filter_leaves_what_was_asked_for(page: Page):
    shown = "[...document.querySelectorAll('#changes .task')].filter((task) => !task.hidden)"
    everything = page.value(f"{shown}.length")
    page.value("document.querySelector('#filter [value=lost]').click()")
    assert page.value(f"{shown}.every((task) => task.dataset.change === 'lost')")
    assert 0 < page.value(f"{shown}.length") < everything
    page.value("document.querySelector('#filter [value=all]').click()")
    search(page, "<script> eggs")
    assert page.value(f"{shown}.every((task) => /<script>/.test(task.textContent) && /eggs/.test(task.textContent))")
    assert 0 < page.value(f"{shown}.length") < everything
    search(page, "")
    assert page.value(f"{shown}.length") == everything


def test_it_prints_in_light_colours_even_where_the_screen_is_dark(page: Page, tmp_path: Path):
    page.dark(True)
    page.value(
        "globalThis.printed = []; addEventListener('beforeprint', () => printed.push(getComputedStyle("
        "document.documentElement).getPropertyValue('--paper').trim()))"
    )
    page.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert page.value("printed") == ["#fcfcfb"]


def test_scores_and_rollouts_are_saved_by_a_click(page: Page, tmp_path: Path):
    """The page's own policy forbids all but its scripts, and not this."""
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    for name in ("scores.csv", "rollouts.jsonl.gz"):
        page.value(f"document.querySelector('[download=\"{name}\"]').click()")
        end = time.monotonic() + 60
        while not (tmp_path / name).exists() or not (tmp_path / name).stat().st_size:
            assert time.monotonic() < end, f"{name} was not saved: {list(tmp_path.iterdir())}"
            time.sleep(0.05)
    assert (tmp_path / "scores.csv").read_bytes().decode() == scores_csv(sample())
    assert gzip.decompress((tmp_path / "rollouts.jsonl.gz").read_bytes()).decode() == "".join(
        rollout_lines(sample().groups)
    )


def search(page: Page, words: str) -> None:
    page.value(
        f"(() => {{ const box = document.querySelector('#filter [type=search]'); box.value = '{words}'; "
        "box.dispatchEvent(new Event('input', {bubbles: true})) })()"
    )


def colour(page: Page, name: str) -> tuple[int, ...]:
    text = page.value(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(rgb: tuple[int, ...]) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
