"""The charts, as plain plotly JSON. Colours are CSS variables, which the page resolves for light, dark and print.

`curve` is the line over rounds, `training` the loss, `calibration` a value model's word against what steps were worth.
What the first two show is also a table on the page. Scores of different tasks are on no common line: then `curve` is of
paired gains.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selftaught.records import Split
from selftaught.report.data import Gain, RoundReport, Summary, Training
from selftaught.report.formatting import metric_name, rate, signed

Figure = dict[str, Any]
METRIC_COLOURS = ("var(--accent)", "var(--second)", "var(--third)", "var(--soft)")
APART = 0.03
"""How far to the right of one metric the next is drawn, in rounds, so that intervals do not hide each other."""
OLDER_LOSSES = 4
"""How many earlier rounds' losses are drawn behind the last one's."""
IN_FORCE = ("start", "promoted")
"""What became of a model that was the champion from then on."""


@dataclass(frozen=True, slots=True)
class Point:
    """One model on the curve: its name there, what became of it, and its summary (None: not measured).

    `beside` is that of the champion that it was measured beside.
    """

    label: str
    outcome: str
    summary: Summary | None
    beside: Summary | None = None


def points(rounds: Sequence[RoundReport], metric: str, split: Split = "report") -> list[Point]:
    """The first champion, then every round's challenger."""
    first = rounds[0]
    start = Point("start", "start", first.summary(first.champion, metric, split))
    tried = (
        Point(round_label(r), r.outcome, *(r.summary(each, metric, split) for each in (r.challenger, r.champion)))
        for r in rounds
    )
    return [start, *tried]


def round_label(round: RoundReport) -> str:
    """`round 2`, or `round 2, try 3` when it was not the first attempt."""
    return f"round {round.round}" + (f", try {round.attempt}" if round.attempt > 1 else "")


def curve_split(rounds: Sequence[RoundReport]) -> Split:
    """The set that the curve is drawn over: the report set, or the gate set where no report set was measured."""
    return "report" if any(s.split == "report" for r in rounds for s in r.summaries) else "gate"


def curve_metrics(rounds: Sequence[RoundReport]) -> list[str]:
    """The metrics that the curve has a line for: rates, the deciding one first (the table has the others too)."""
    measured = [s for r in rounds for s in r.summaries if s.split == curve_split(rounds)]
    names = {s.metric for s in measured} - {s.metric for s in measured if s.mean > 1}
    decisive = next((r.metric for r in reversed(rounds) if r.metric), "")
    return sorted(names, key=lambda name: (name != decisive, name))[: len(METRIC_COLOURS)]


def same_tasks(rounds: Sequence[RoundReport]) -> bool:
    """Whether what the curve shows was measured on the same tasks in every round that measured any.

    Rounds of before tasks were noted are held to be alike among themselves where it is the report set, which most
    sources draw once; gate sets are redrawn.
    """
    split = curve_split(rounds)
    noted = {r.measured_on.get(split, "") for r in rounds if any(s.split == split for s in r.summaries)}
    return len(noted) < 2 and (split == "report" or noted != {""} or len(rounds) < 2)


def curve(rounds: Sequence[RoundReport]) -> Figure:
    """Each metric over rounds: scores on tasks that are the same, paired gains on others."""
    return _scores(rounds) if same_tasks(rounds) else _gains(rounds)


def _gains(rounds: Sequence[RoundReport]) -> Figure:
    """The paired gain of every round with its interval; a challenger that was refused is a cross."""
    split, traces = curve_split(rounds), list[Figure]()
    for i, (metric, colour) in enumerate(zip(curve_metrics(rounds), METRIC_COLOURS, strict=False)):
        gains = [(x + APART * i, r, gain) for x, r in enumerate(rounds) if (gain := r.gain(metric, split))]
        taken = [(x, gain) for x, r, gain in gains if r.outcome in IN_FORCE]
        others = [(x, gain) for x, r, gain in gains if r.outcome not in IN_FORCE]
        name = metric_name(metric)
        traces.append(_gain_marks(taken, name, colour, {"symbol": "circle", "size": 9}, legend=True))
        if others:
            traces.append(_gain_marks(others, f"{name}, {_fate(rounds)}", colour, _cross(colour)))
    labels = [f"{round_label(r)}<br>{r.outcome}" for r in rounds]
    layout = _layout(yaxis={"tickformat": "+.2f", "zeroline": True, "zerolinecolor": "var(--faint)"})
    layout["xaxis"] |= {"range": [-0.5, len(rounds) - 0.45]} | (_ticks(labels) if len(labels) <= 9 else {"dtick": 1})
    return {"data": traces, "layout": layout}


def _gain_marks(
    at: Sequence[tuple[float, Gain]], name: str, colour: str, marker: Figure, legend: bool = False
) -> Figure:
    points = [(x, Summary(model="", mean=g.gain, **g.model_dump(exclude={"gain", "confidence"}))) for x, g in at]
    marks = _marks(points, name, colour, marker)
    return marks | {"showlegend": legend, "text": [f" {signed(gain.gain)}" for _, gain in at]}


def _scores(rounds: Sequence[RoundReport]) -> Figure:
    """A line of the champion in force, every challenger with its interval on or off it."""
    split, metrics = curve_split(rounds), curve_metrics(rounds)
    traces = [
        trace
        for i, (metric, colour) in enumerate(zip(metrics, METRIC_COLOURS, strict=False))
        for trace in _metric_traces(
            points(rounds, metric, split), metric_name(metric), colour, APART * i, _fate(rounds)
        )
    ]
    labels = ["start", *(f"{round_label(r)}<br>{r.outcome}" for r in rounds)]
    lowest = min((s.low for r in rounds for s in r.summaries if s.split == split and s.metric in metrics), default=0.0)
    layout = _layout(yaxis={"range": [min(lowest, 0.0) - 0.03, 1.03], "tickformat": ".1f", "dtick": 0.2})
    layout["xaxis"] |= {"range": [-0.25, len(rounds) + 0.55]} | (_ticks(labels) if len(labels) <= 9 else {"dtick": 1})
    return {"data": traces, "layout": layout}


def _fate(rounds: Sequence[RoundReport]) -> str:
    """What became of the challengers that are no champions."""
    return "not promoted" if any(each.outcome == "trained" for each in rounds) else "refused"


def _metric_traces(curve: Sequence[Point], name: str, colour: str, aside: float, fate: str) -> list[Figure]:
    measured = [(x + aside, point.outcome, point.summary) for x, point in enumerate(curve) if point.summary]
    champions = [(x, summary) for x, outcome, summary in measured if outcome in IN_FORCE]
    others = [(x, summary) for x, outcome, summary in measured if outcome not in IN_FORCE]
    line = {
        "type": "scatter",
        "name": name,
        "mode": "lines",
        "hoverinfo": "skip",
        "line": {"color": colour, "width": 2},
        **_in_force(curve, aside),
    }
    return [
        line,
        _marks(champions, name, colour, {"symbol": "circle", "size": 9}),
        *([_marks(others, f"{name}, {fate}", colour, _cross(colour))] if others else []),
    ]


def _cross(colour: str) -> Figure:
    return {"symbol": "x-thin", "size": 9, "line": {"width": 2.5, "color": colour}}


def _in_force(curve: Sequence[Point], aside: float) -> Figure:
    """The champion's value after each round: a refused or failed round leaves it where it was.

    That is where the round found it: a version may have been rolled back since the round that promoted it.
    """
    values: list[float | None] = [None]
    for point in curve:
        found = point.summary if point.outcome in IN_FORCE else point.beside
        values.append(found.mean if found else values[-1])
    return {"x": [x + aside for x in range(len(curve))], "y": values[1:]}


def _marks(at: Sequence[tuple[float, Summary]], name: str, colour: str, marker: Figure) -> Figure:
    return {
        "type": "scatter",
        "name": name,
        "showlegend": False,
        "mode": "markers+text",
        "cliponaxis": False,
        "x": [x for x, _ in at],
        "y": [s.mean for _, s in at],
        "text": [f" {rate(s.mean)}" for _, s in at],
        "textposition": "bottom right",
        "textfont": {"color": colour, "size": 12},
        "hovertext": [f"{name} {rate(s.mean)} ({rate(s.low)} to {rate(s.high)}), {s.n} tasks" for _, s in at],
        "hoverinfo": "text",
        "marker": {"color": colour, **marker},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [s.high - s.mean for _, s in at],
            "arrayminus": [s.mean - s.low for _, s in at],
            "color": colour,
            "thickness": 1.5,
            "width": 5,
        },
    }


def training(rounds: Sequence[RoundReport]) -> Figure:
    """The loss of the last round over steps, earlier rounds faint behind it."""
    trained = [(round_label(r), r.training) for r in rounds if r.training]
    traces = [_loss(label, run, "var(--faint)", 1.2) for label, run in trained[-1 - OLDER_LOSSES : -1]]
    traces += [_loss(label, run, "var(--accent)", 2) for label, run in trained[-1:]]
    layout = _layout(yaxis={"rangemode": "tozero", "title": {"text": "loss (nats per trained token)"}})
    layout["xaxis"] |= {"title": {"text": "step"}, "rangemode": "tozero"}
    return {"data": traces, "layout": layout}


def _loss(label: str, run: Training, colour: str, width: float) -> Figure:
    losses = thinned(run.losses, 800)
    return {
        "type": "scatter",
        "name": label,
        "mode": "lines+markers" if len(losses) < 10 else "lines",
        "x": [step for step, _ in losses],
        "y": [round(loss, 4) for _, loss in losses],
        "hovertemplate": "step %{x}: %{y:.3f}<extra>" + label + "</extra>",
        "line": {"color": colour, "width": width},
    }


def thinned(losses: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At most `most` of `losses`, evenly spread, the first and the last among them."""
    if len(losses) <= most:
        return list(losses)
    return [losses[i * (len(losses) - 1) // (most - 1)] for i in range(most)]


def _ticks(labels: Iterable[str]) -> Figure:
    return {"tickmode": "array", "tickvals": list(range(len(labels := list(labels)))), "ticktext": labels}


def _layout(yaxis: Figure) -> Figure:
    axis: Figure = {
        "gridcolor": "var(--rule)",
        "linecolor": "var(--rule)",
        "zeroline": False,
        "tickfont": {"color": "var(--soft)"},
        "fixedrange": True,
        "automargin": True,
    }
    return {
        "height": 340,
        "margin": {"l": 44, "r": 12, "t": 34, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "var(--soft)"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": "var(--ink)"}},
        "hoverlabel": {"bgcolor": "var(--panel)", "bordercolor": "var(--rule)", "font": {"color": "var(--ink)"}},
        "xaxis": axis | {"showgrid": False},
        "yaxis": axis | yaxis,
        "showlegend": True,
    }


def calibration(rounds: Sequence[RoundReport]) -> Figure:
    """What value models said against what steps were worth, a line a round, over the line of those that are right."""
    measured = [(r, other.figures) for r in rounds for other in r.others if "value.calibration_error" in other.figures]
    traces = [_bins(round_label(r), f, c) for (r, f), c in zip(measured[::-1], METRIC_COLOURS, strict=False)][::-1]
    right = {
        "type": "scatter",
        "mode": "lines",
        "name": "right on average",
        "hoverinfo": "skip",
        "x": [0, 1],
        "y": [0, 1],
        "line": {"color": "var(--faint)", "width": 1, "dash": "dot"},
    }
    layout = _layout(yaxis={"range": [-0.03, 1.03], "title": {"text": "what the steps were worth"}})
    layout["xaxis"] |= {"range": [-0.03, 1.03], "title": {"text": "what the value model said"}}
    return {"data": [right, *traces], "layout": layout}


def _bins(name: str, figures: Mapping[str, float], colour: str) -> Figure:
    bins = [key.removesuffix(".n") for key in figures if key.startswith("value.calibration.") and key.endswith(".n")]
    counts = [figures[f"{each}.n"] for each in bins]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [figures[f"{each}.predicted"] for each in bins],
        "y": [figures[f"{each}.label"] for each in bins],
        "hovertext": [f"{name}: {n:.0f} steps" for n in counts],
        "hoverinfo": "text",
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": 8},
    }
