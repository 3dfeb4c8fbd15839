"""The gate, on models that are made up: how often does it promote and refuse, and what becomes of a line in a year?

Decisions are complete ones of `PairedGain` on scores of both models; only rounds whose gain is so small that the test
cannot show it (`hopeless`) count as refused without being asked. Made up are the rates at which a model answers a task
right: Beta(1, b) over tasks; what a challenger gains varies by .10 from task to task, and by `tau` from template to
template, around a mean that is exactly the gain that a table names. Everything is seeded; ± is one Monte-Carlo
standard error. Prints the tables of docs/statistics.md.
Usage: `python benchmarks/bench_gate.py [--runs 400]`, some three minutes of CPU.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from selftaught.blocks import Decision, Evidence
from selftaught.core.statistics import alpha_spending, smallest_detectable_gain, smallest_mean_gain
from selftaught.evaluation.guard import relative_margin
from selftaught.evaluation.paired_gain import PairedGain
from selftaught.records import Split, TaskScore

Floats = NDArray[np.float64]

K = 8
START = 1 / 3
"""What a model has right of the tasks, unless a table says otherwise: rates are Beta(1, 2)."""
SPREAD = 0.10
"""The standard deviation of a gain from task to task."""
TAU = 0.09
"""That from template to template, where there are any."""
CEILING = 0.85
"""Above which training gains nothing more."""
WEEKS, MARGIN, ALPHA = 52, 0.15, 0.025
CHAMPION, CHALLENGER, BASE = "champion", "challenger", "base"


# Models that are made up ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tasks:
    """Gate or guard tasks as drawn: the rate of a model that has `right` of all such tasks, and their templates."""

    rates: Floats
    right: float
    templates: NDArray[np.int_]

    def of(self, rng: np.random.Generator, right: float, spread: float = SPREAD, tau: float = 0.0) -> Floats:
        """The rates of another model, which has `right` of all such tasks."""
        moved = self.rates + _shift(self.right, math.hypot(spread, tau), right) + rng.normal(0, spread, len(self.rates))
        return np.clip(moved + rng.normal(0, tau, int(self.templates.max()) + 1)[self.templates], 0, 1)


def drawn(rng: np.random.Generator, count: int, right: float = START, templates: int = 0) -> Tasks:
    """`count` tasks, spread evenly over `templates`, or each of a template of its own."""
    which = np.arange(count) % (templates or count)
    return Tasks(rng.beta(1, 1 / right - 1, count), right, which)


def _shift(right: float, deviation: float, wanted: float) -> float:
    """What to add to rates, beside noise of that deviation and before they are cut to [0, 1], for a mean `wanted`."""
    return float(np.interp(wanted, _means(right, deviation), _SHIFTS))


_SHIFTS = np.linspace(-1.2, 1.2, 241)


@cache
def _means(right: float, deviation: float) -> Floats:
    """The mean of the rates for each of `_SHIFTS`: that of a normal cut to [0, 1], over the quantiles of Beta."""
    rates = 1 - (1 - (np.arange(300) + 0.5) / 300) ** (1 / (1 / right - 1))
    middle = rates[:, None] + _SHIFTS
    if deviation == 0:
        return np.clip(middle, 0, 1).mean(axis=0)
    low, high = -middle / deviation, (1 - middle) / deviation
    within = middle * (special.ndtr(high) - special.ndtr(low)) - deviation * (_density(high) - _density(low))
    return (within + special.ndtr(-high)).mean(axis=0)


def _density(deviates: Floats) -> Floats:
    return np.exp(-deviates * deviates / 2) / math.sqrt(2 * math.pi)


def means_of(rng: np.random.Generator, rates: Floats) -> Floats:
    """What eight samples a task score as mean@8."""
    return rng.binomial(K, rates) / K


def passes_of(rng: np.random.Generator, rates: Floats) -> Floats:
    """What they score as pass@8."""
    return (rng.binomial(K, rates) > 0).astype(float)


# What the gate makes of them ------------------------------------------------------------------------------------------


def hopeless(champion: Floats, challenger: Floats, alpha: float) -> bool:
    """Whether the test cannot have a p-value of `alpha`: its normal approximation is ten times that."""
    gains = challenger - champion
    size = math.sqrt(float(gains @ gains))
    return size == 0 or float(special.ndtr(-gains.sum() / size)) > 10 * alpha


def decided(gate: PairedGain, values: Mapping[tuple[str, Split], Floats], **fields: Any) -> Decision:
    """The gate's decision on the values of each model and split."""
    scores = [row for (model, split), each in values.items() for row in _rows(model, split, gate.metric, each)]
    fields = {"round": 1, "fresh": True, "anchor": BASE if (BASE, "guard") in values else ""} | fields
    return gate.decide(Evidence(champion=CHAMPION, challenger=CHALLENGER, scores=scores, **fields))


def _rows(model: str, split: Split, metric: str, values: Floats) -> Iterator[TaskScore]:
    """Unvalidated, because simulations make millions."""
    for number, value in enumerate(values.tolist()):
        yield TaskScore.model_construct(model=model, metric=metric, split=split, task=f"{number:05}", value=value)


def gate_of(**fields: Any) -> PairedGain:
    """A gate on mean@8."""
    return PairedGain.model_validate({"type": "paired_gain", "metric": "mean@8"} | fields)


def clusters_of(tasks: Tasks) -> dict[str, str]:
    """The template of each task."""
    return {f"{number:05}": str(template) for number, template in enumerate(tasks.templates.tolist())}


def passed(decision: Decision, name: str) -> bool:
    """Whether all checks whose names begin so held."""
    return all(check.passed for check in decision.checks if check.name.startswith(name))


# 1. Null challengers --------------------------------------------------------------------------------------------------


def null(rng: np.random.Generator, count: int, templates: int = 0, metric: str = "mean@8", spread: float = 0.0) -> bool:
    """Whether a challenger that is equal on average is promoted where nothing guards."""
    tasks = drawn(rng, count, templates=templates)
    score = means_of if metric == "mean@8" else passes_of
    champion = score(rng, tasks.rates)
    challenger = score(rng, tasks.of(rng, START, spread, TAU if templates else 0.0) if spread else tasks.rates)
    if hopeless(champion, challenger, ALPHA):
        return False
    fields = {"over": "templates" if templates else "tasks", "clusters": clusters_of(tasks)}
    values: dict[tuple[str, Split], Floats] = {(CHAMPION, "gate"): champion, (CHALLENGER, "gate"): challenger}
    return decided(gate_of(metric=metric, guard="none"), values, **fields).outcome == "promoted"


def pool(rng: np.random.Generator, count: int, campaigns: int = 10, rounds: int = 10) -> int:
    """How many null challengers are promoted in campaigns on one pool, whose gate tasks and budget all share."""
    gate, tasks, spent, promoted = gate_of(guard="none"), drawn(rng, count), 0.0, 0
    champion = means_of(rng, tasks.rates)
    for number in list(range(1, rounds + 1)) * campaigns:
        challenger = means_of(rng, tasks.rates)
        if not hopeless(champion, challenger, alpha_spending(number, ALPHA)):
            values: dict[tuple[str, Split], Floats] = {(CHAMPION, "gate"): champion, (CHALLENGER, "gate"): challenger}
            if decided(gate, values, round=number, fresh=False, alpha_spent=spent).outcome == "promoted":
                champion, promoted = challenger, promoted + 1
        spent += alpha_spending(number, ALPHA, spent)
    return promoted


# 2. Challengers that gain ---------------------------------------------------------------------------------------------


def gaining(rng: np.random.Generator, count: int, gain: float = 0.05, templates: int = 0, **fields: Any) -> Decision:
    """On a challenger that gains so much on gate tasks, and is equal on average on 96 guard tasks."""
    tasks, guard = drawn(rng, count, templates=templates), drawn(rng, 96)
    values: dict[tuple[str, Split], Floats] = {
        (CHAMPION, "gate"): means_of(rng, tasks.rates),
        (CHALLENGER, "gate"): means_of(rng, tasks.of(rng, START + gain, tau=TAU if templates else 0.0)),
        (CHAMPION, "guard"): means_of(rng, guard.rates),
        (CHALLENGER, "guard"): means_of(rng, guard.of(rng, START)),
    }
    fields = {"over": "templates" if templates else "tasks", "clusters": clusters_of(tasks)} | fields
    return decided(gate_of(), values, **fields)


# 3. The guard ---------------------------------------------------------------------------------------------------------


def guarded(
    rng: np.random.Generator, count: int, right: float, change: float, spread: float = SPREAD, base: float | None = None
) -> bool:
    """Whether the guard passes a challenger that is clearly better on gate tasks and changes so much on guard tasks."""
    tasks = drawn(rng, count, right)
    values: dict[tuple[str, Split], Floats] = {
        (CHAMPION, "gate"): np.zeros(20),
        (CHALLENGER, "gate"): np.ones(20),
        (CHAMPION, "guard"): means_of(rng, tasks.rates),
        (CHALLENGER, "guard"): means_of(rng, tasks.of(rng, right + change, spread)),
    }
    if base is not None:
        values[BASE, "guard"] = means_of(rng, tasks.of(rng, base, spread))
    return decided(gate_of(), values).outcome == "promoted"


def eroded(rng: np.random.Generator, right: float, anchored: bool, loss: float = 0.03, rounds: int = 10) -> float:
    """What a line has lost on new guard tasks every round after rounds that each lose so much and gain elsewhere."""
    promoted = 0
    for _ in range(rounds):
        base = right if anchored and promoted else None
        promoted += guarded(rng, 96, right - promoted * loss, -loss, base=base)
    return promoted * loss


# 4. A year ------------------------------------------------------------------------------------------------------------


def year(rng: np.random.Generator, drift: Callable[[np.random.Generator], float], count: int) -> dict[int, float]:
    """What the champion has right after each week that promoted one; all tasks, 96 guard tasks too, are new weekly."""
    right, promotions = START, dict[int, float]()
    for week in range(1, WEEKS + 1):
        new = float(np.clip(right + drift(rng), 0.02, CEILING))
        if _promoted(rng, right, new, count, anchored=bool(promotions)):
            right = promotions[week] = new
    return promotions


def _promoted(rng: np.random.Generator, right: float, new: float, count: int, anchored: bool) -> bool:
    tasks, guard = drawn(rng, count, right), drawn(rng, 96, right)
    champion, challenger = means_of(rng, tasks.rates), means_of(rng, tasks.of(rng, new))
    if hopeless(champion, challenger, ALPHA):
        return False
    values: dict[tuple[str, Split], Floats] = {
        (CHAMPION, "gate"): champion,
        (CHALLENGER, "gate"): challenger,
        (CHAMPION, "guard"): means_of(rng, guard.rates),
        (CHALLENGER, "guard"): means_of(rng, guard.of(rng, new)),
    }
    if anchored:
        values[BASE, "guard"] = means_of(rng, guard.of(rng, START))
    return decided(gate_of(), values).outcome == "promoted"


DRIFTS: Mapping[str, Callable[[np.random.Generator], float]] = {
    "nothing": lambda rng: 0.0,
    "+.05 a round, up to .85": lambda rng: 0.05,
    "-.02 a round, sd .03": lambda rng: rng.normal(-0.02, 0.03),
}


# What is printed ------------------------------------------------------------------------------------------------------


def many(runs: int, one: Callable[..., Any], *fields: Any, **named: Any) -> list[Any]:
    """`one`, so many times, each with a seed of its own."""
    return [one(np.random.default_rng([number, 17]), *fields, **named) for number in range(runs)]


def share(found: Sequence[bool]) -> str:
    """The share that holds, with its standard error."""
    mean = float(np.mean(found))
    return f"{mean:.3f} ± {math.sqrt(mean * (1 - mean) / len(found)):.3f}"


def mean(found: Sequence[float], digits: int = 2) -> str:
    """The mean with its standard error."""
    return f"{np.mean(found):.{digits}f} ± {np.std(found) / math.sqrt(len(found)):.{digits}f}"


def table(*cells: str) -> None:
    """A line of a table."""
    print("| " + " | ".join(cells) + " |", flush=True)


def heads(title: str, *names: str) -> None:
    """A table's beginning."""
    print(f"\n{title}\n")
    table(*names)
    print("|---" * len(names) + "|")


def shown() -> None:
    """What tasks can show, which is computed and not drawn."""
    sizes = (60, 96, 160, 400)
    heads("0. Smallest gain at 80 % power, one-sided .025 (exact)", "values", *(f"{size} tasks" for size in sizes))
    for name, apart in {"one answer, a fifth of the tasks change sides": 0.2, "one answer, two fifths": 0.4}.items():
        table(name, *(f"{smallest_detectable_gain(size, apart):.3f}" for size in sizes))
    table("mean@8, a task's difference varies by .23", *(f"{smallest_mean_gain(size, 0.052):.3f}" for size in sizes))


def nulls(runs: int) -> None:
    """Table 1."""
    heads(f"1. Equal challengers, no guard, {runs} rounds each", "gate tasks", "promoted a round")
    for name, options in {
        "160, mean@8, equal on every task": {"count": 160},
        "160, mean@8, equal on average": {"count": 160, "spread": SPREAD},
        "96, mean@8, equal on average": {"count": 96, "spread": SPREAD},
        "160, pass@8, equal on every task": {"count": 160, "metric": "pass@8"},
        **{
            f"160 of {number} templates that part by .09, over templates": {
                "count": 160,
                "spread": SPREAD,
                "templates": number,
            }
            for number in (6, 8, 16, 40)
        },
    }.items():
        table(name, share(many(runs, null, **options)))
    pools = many(runs // 20, pool, 96)
    rounds = f"{share([promoted > 0 for promoted in pools])} in all 100 rounds"
    table(f"96, mean@8, ten campaigns of ten rounds on one pool ({len(pools)} pools)", rounds)


def gains(runs: int) -> None:
    """Table 2: `min_gain` only compares the estimate, so one decision without it tells of every one."""
    heads(
        f"2. Challengers that gain .05 on mean@8 and are equal on 96 guard tasks, {runs} rounds each",
        "gate tasks", "gain shown", "promoted", "with min_gain .02", "with .05",
    )  # fmt: skip
    pooled = {"templates": 40, "fresh": False}
    for name, options in {
        "96 new ones, over tasks": {"count": 96},
        "160 new ones, over tasks": {"count": 160},
        "60 new ones of 40 templates, over templates": {"count": 60, "templates": 40},
        "96 new ones of 40 templates, over templates": {"count": 96, "templates": 40},
        "160 new ones of 40 templates, over templates": {"count": 160, "templates": 40},
        "240 new ones of 80 templates, over templates": {"count": 240, "templates": 80},
        "160 of a pool, 40 templates, round 1": {"count": 160, "round": 1} | pooled,
        "160 of a pool, 40 templates, round 5": {"count": 160, "round": 5, "alpha_spent": ALPHA * 0.8} | pooled,
    }.items():
        found = many(runs, gaining, **options)
        over = [passed(one, "gain") and passed(one, "templates") for one in found]
        least = [[one.outcome == "promoted" and one.gain > gain for one in found] for gain in (0.0, 0.02, 0.05)]
        table(name, share(over), *(share(each) for each in least))


def guards(runs: int) -> None:
    """Table 3, and what becomes of a line that loses a little every round."""
    heads(
        f"3. Passed by 96 guard tasks on mean@8, {runs} challengers each",
        "champion has right", "margin", "equal on every task", "equal on average", "lost the margin", "lost half",
    )  # fmt: skip
    for right in (0.08, 0.146, 0.3, 0.6):
        margin = relative_margin(MARGIN, [right])
        worlds = [(0.0, 0.0), (0.0, SPREAD), (-margin, SPREAD), (-right / 2, SPREAD)]
        table(f"{right:g}", f"{margin:.3g}", *(share(many(runs, guarded, 96, right, *world)) for world in worlds))
    heads("Equal on average, more guard tasks", "champion has right", "128", "160", "240")
    for right in (0.08, 0.146):
        table(f"{right:g}", *(share(many(runs, guarded, count, right, 0.0)) for count in (128, 160, 240)))
    lines = runs // 4
    heads(
        f"Ten rounds that each lose .03 on guard tasks, {lines} lines each",
        "base has right, margin", "references", "lost in all", "more than the margin", "more than the margin + .03",
    )  # fmt: skip
    for right in (0.3, 0.6):
        for anchored in (True, False):
            lost = many(lines, eroded, right, anchored)
            beyond = [[each > MARGIN + more + 1e-9 for each in lost] for more in (0, 0.03)]
            references = "champion and base" if anchored else "champion alone"
            table(f"{right:g}, .15", references, mean(lost, 3), *map(share, beyond))


def years(runs: int) -> None:
    """Table 4."""
    heads(
        f"4. A year of weekly rounds on new tasks, {runs} lines each, at first .333 right",
        "true change a round", "gate tasks", "promotions", "one or more", "true change after 13 weeks", "after 52",
    )  # fmt: skip
    for name, drift in DRIFTS.items():
        for count in (96, 160):
            found = many(runs, year, drift, count)
            after = [
                [max((w, r) for w, r in {0: START, **one}.items() if w <= week)[1] - START for one in found]
                for week in (13, WEEKS)
            ]
            promoted = mean([len(one) for one in found]), share([len(one) > 0 for one in found])
            table(name, str(count), *promoted, *(mean(each, 3) for each in after))


def main() -> None:
    """Print the figures that docs/statistics.md gives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    shown()
    nulls(10 * runs)
    gains(runs)
    guards(runs)
    years(runs // 6)


if __name__ == "__main__":
    main()
