"""The table of measured effects in docs/effects.md, made of the result files alone.

A row is one arm against its control. What was not measured has no row.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from textwrap import fill

from selftaught.effects.comparison import Comparison, comparisons
from selftaught.effects.effect import Effect
from selftaught.effects.results import Results
from selftaught.report.formatting import rate, signed

COLUMNS = (
    "system",
    "claim",
    "metric",
    "control → arm",
    "difference (95 % interval)",
    "seeds",
    "tasks",
    "smallest visible",
    "verdict",
    "recipes",
    "minutes",
    "measured",
)

HEADING = "## Results"
"""What the table follows, up to the end of the page."""

NONE = "No effect has been measured with this version's files yet."


def page(text: str, results: Sequence[Results]) -> str:
    """The page `text` with its table as `results` have it."""
    head, heading, _ = text.partition(HEADING)
    rows = [row for each in results for row in _rows(each)]
    lines = table(COLUMNS, rows) if rows else [NONE]
    return "\n".join([f"{head}{heading}", "", *(f"{said}\n" for said in few_seeds(results)), *lines, ""])


def few_seeds(results: Iterable[Results]) -> Iterator[str]:
    """What a reader of intervals should know where there are fewer seeds than the effects ask for; else nothing."""
    found = [(each.seeds, of.effect.seeds) for of in results for each in comparisons(of)]
    fewer, one = sum(seeds < asked for seeds, asked in found), sum(seeds == 1 for seeds, _ in found)
    if fewer:
        said = f"Results with fewer seeds than their effect asks for: {fewer} of {len(found)}."
        more = f" Where there is one seed ({one} of {len(found)}), the interval covers tasks, not another training run."
        yield fill(said + more * bool(one), 120)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def stored(folder: Path) -> list[Results]:
    """The results in `folder`, by name. Raises BadInput where a file holds none."""
    return [Results.read(file) for file in sorted(folder.glob("*.json"))]


def _rows(results: Results) -> Iterator[list[str]]:
    for each in comparisons(results):
        yield _row(results.effect, results, each)


def _row(effect: Effect, results: Results, found: Comparison) -> list[str]:
    runs = [*results.of(found.arm.arm).values(), *results.of(found.control.arm).values()]
    return [
        f"{effect.system} ({effect.profile})" if effect.profile else effect.system,
        effect.claim,
        _metrics(found),
        sides(found),
        difference(found),
        str(found.seeds),
        str(found.tasks),
        rate(found.visible),
        found.verdict,
        " ".join(dict.fromkeys(f"`{run.recipe[:8]}`" for run in (found.control, found.arm))),
        f"{sum(run.minutes for run in runs):.0f}",
        str(max(run.date for run in runs)),
    ]


def sides(found: Comparison) -> str:
    """The means of both arms: `unfiltered .287 → verified .562`."""
    return f"{found.control.arm} {rate(found.control_mean)} → {found.arm.arm} {rate(found.mean)}"


def difference(found: Comparison) -> str:
    """The difference with its interval: `+.045 (.012 to .081)`."""
    return f"{signed(found.difference)} ({rate(found.low)} to {rate(found.high)})"


def _metrics(found: Comparison) -> str:
    return " against ".join(dict.fromkeys((found.arm.metric, found.control.metric)))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
