"""The report page: `ReportData` in, one self-contained HTML file out.

Nothing is loaded from anywhere: style, script and plotly are in the file. What models wrote is hostile text: Jinja
escapes it, and a content security policy allows the page's own scripts alone, by their hashes. Equal data give equal
pages.
"""

import base64
import gzip
import hashlib
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from selftaught.core.files import write_atomically
from selftaught.records import in_words
from selftaught.report import figures, formatting
from selftaught.report.changes import CHANGES, changes
from selftaught.report.cost import cost
from selftaught.report.data import KindGain, ReportData, SampledKind
from selftaught.report.downloads import downloads
from selftaught.report.outcome import comparisons, consequence, deciding_sets, gain_scale, headline, numbers, reasons
from selftaught.report.parameter_changes import by_round
from selftaught.report.reading import EACH, to_read
from selftaught.report.trees import to_show

TEMPLATES = Path(__file__).parent / "templates"
FILTERS = tuple("rate signed count percent duration metric_name short sentence visible web size".split())
NAMES: dict[str, Any] = {
    "words": formatting,
    "figures": figures,
    "numbers": numbers,
    "in_words": in_words,
    "CHANGES": CHANGES,
    "EACH": EACH,
}
"""What the templates may use beside the data: functions of `formatting` as filters, and these."""


def render(data: ReportData) -> str:
    """The complete page as HTML."""
    return _templates().get_template("page.html").render(**_assets(), **_content(data))


def write(data: ReportData, path: Path) -> None:
    """Write the page to `path` atomically.

    Raises OSError when it cannot be written.
    """
    write_atomically(path, render(data))


def _content(data: ReportData) -> dict[str, Any]:
    rows = comparisons(data.last)
    return {
        "data": data,
        "round": data.last,
        "headline": headline(data.last),
        "consequence": consequence(data),
        "cost": cost(data.last),
        "costs": [cost(each) for each in data.rounds],
        "settings": by_round(data.rounds),
        "kinds": _by_kind(data.kinds),
        "sampled_kinds": _by_kind(data.sampled.kinds if data.sampled else ()),
        "downloads": downloads(data),
        "reasons": list(reasons(data.last)),
        "comparisons": rows,
        "deciding_sets": deciding_sets(data.last),
        "scale": gain_scale(rows),
        "changes": changes(data.scores, data.last),
        "reading": to_read(data.groups),
        "trees": to_show(data.groups, set(data.trained)),
        "plots": {
            "curve": figures.curve(data.rounds),
            "training": figures.training(data.rounds),
            "calibration": figures.calibration(data.rounds),
        },
    }


K = TypeVar("K", KindGain, SampledKind)


def _by_kind(kinds: Sequence[K]) -> dict[str, list[K]]:
    """Levels, templates and sources apart, where there is more than one to be compared."""
    apart = {by: list(some) for by, some in groupby(kinds, key=lambda kind: kind.by)}
    return {by: some for by, some in apart.items() if len(some) > 1}


@cache
def _templates() -> Environment:
    """Jinja's environment: it escapes all but what a template marks as safe, the page's own assets."""
    environment = Environment(
        loader=PackageLoader("selftaught.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(formatting, name) for name in FILTERS})
    environment.globals.update(NAMES)
    return environment


@cache
def _assets() -> dict[str, str]:
    """Style, script and plotly (compressed: a third of its 4.8 MB), and the hashes of what may run."""
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    plotly = str(get_plotlyjs())
    packed = base64.b64encode(gzip.compress(plotly.encode(), mtime=0)).decode()
    allowed = " ".join(f"'sha256-{_sha256(text)}'" for text in (script, plotly))
    return {"style": style, "script": script, "plotly": packed, "allowed": allowed}


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
