"""Sample data for the report's tests and pictures: three rounds of a word-problem line, promoted, refused, promoted.

Made from a seed, with the statistics that a real round would bring (normal intervals are enough here).
"""

import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from selftaught.evaluation.by_kind import by_kind
from selftaught.records import Group, Message, Rollout, Split, Task, TaskScore, Turn, Verdict
from selftaught.report.data import (
    DatasetRef,
    Funnel,
    Gain,
    GateCheck,
    GateReport,
    KindGain,
    ModelVersion,
    ReportData,
    RoundReport,
    StepTime,
    Summary,
    Training,
)
from selftaught.report.tally import Tally

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>"
NAMES = ("Ada", "Noor", "Kofi", "Mei", "Ivan", "Lucía", "Tomás", "Priya")
THINGS = ("apples", "marbles", "stamps", "pencils", "eggs", "shells")
RECIPE = """\
# Rejection-sampling fine-tuning. Yuan et al. 2023 (RFT).
name: rft
models: {policy: smollm2-135m-instruct}
tasks: {type: word_problems, train: 120, gate: 200, report: 200, guard: 60}
stages:
  - name: main
    rounds: 3
    sample: {type: iid, k: 8, temperature: 1.0, max_tokens: 96}
    verify: [{type: answer_match}]
    curate: [{type: accepted, per_task: 4}]
    train: [{type: sft, role: policy, epochs: 2, learning_rate: 5.0e-5}]
    evaluate: [{type: accuracy, greedy: true}, {type: pass_at_k, k: 8, tasks: 64}]
    gate: {type: paired_gain, metric: accuracy, min_gain: 0.05, confidence: 0.95}
"""


SETTINGS = {
    "models.policy": "smollm2-135m-instruct", "tasks.type": "word_problems", "tasks.train": "120", "sample.type": "iid",
    "sample.temperature": "1.0", "sample.max_tokens": "96", "verify.answer_match.type": "answer_match",
    "curate.accepted.per_task": "4", "train.sft.epochs": "2", "train.sft.role": "policy", "gate.min_gain": "0.05",
}  # fmt: skip
LEVELS = {"add": 1, "give_away": 1, "boxes": 2}


def digest(name: str) -> str:
    """A digest as long as a real one."""
    return hashlib.sha256(name.encode()).hexdigest()


MODELS = [
    ModelVersion(digest=digest("smollm2"), name="smollm2-135m-instruct", version="1"),
    ModelVersion(digest=digest("round 1"), name="word-problems", version="2"),
    ModelVersion(digest=digest("round 2"), name="word-problems", version="3"),
    ModelVersion(digest=digest("round 3"), name="word-problems", version="4"),
]
ACCURACY = (0.285, 0.61, 0.6, 0.755)
PASS_AT_8 = (0.609, 0.891, 0.875, 0.953)
GUARD = (0.35, 0.4, 0.366, 0.416)


def sample(rounds: int = 3) -> ReportData:
    """The line after its first one, two or three rounds."""
    reports = (
        played(1, champion=0, challenger=1, outcome="promoted"),
        played(2, champion=1, challenger=2, outcome="refused"),
        played(3, champion=1, challenger=3, outcome="promoted"),
    )[:rounds]
    last = reports[-1]
    assert last.challenger
    return ReportData(
        line="word-problems",
        recipe="rft",
        recipe_yaml=RECIPE,
        created=datetime(2026, 10, 3, 14, 20, tzinfo=UTC),
        rounds=reports,
        scores=tuple(scored := scores(last.champion, last.challenger, rounds)),
        groups=tuple(sampled := groups(last.champion)),
        sampled=Tally.of(sampled).sampled(),
        kinds=tuple(kinds(scored, last.champion, last.challenger)),
        levels={score.task: LEVELS[score.template or ""] for score in scored},
        command=f"selftaught run recipes/rft.yaml --rounds {rounds} --seed 7",
        mlflow="https://mlflow.example.com",
        experiment="7",
        versions={"selftaught": "0.1.0", "torch": "2.13.0", "trl": "1.16.0", "vllm": "0.32.0"},
    )


def played(number: int, *, champion: int, challenger: int, outcome: str) -> RoundReport:
    """Round `number`, in which models `champion` and `challenger` (indices of `MODELS`) met."""
    pair = MODELS[champion], MODELS[challenger]
    return RoundReport(
        settings=SETTINGS | {"train.sft.learning_rate": f"{max(7 - 2 * number, 2)}e-05", "sample.k": str(4 * number)},
        round=number,
        outcome=outcome,  # pyright: ignore[reportArgumentType]
        champion=pair[0],
        challenger=pair[1],
        summaries=tuple(s for i in (champion, challenger) for s in summaries(i)),
        gains=(
            gain("accuracy", "gate", ACCURACY[challenger] - ACCURACY[champion] - 0.01, 200),
            gain("accuracy", "guard", GUARD[challenger] - GUARD[champion], 60),
            gain("accuracy", "report", ACCURACY[challenger] - ACCURACY[champion], 200),
            gain("pass@8", "report", PASS_AT_8[challenger] - PASS_AT_8[champion], 64),
        ),
        gate=gate(outcome, ACCURACY[challenger] - ACCURACY[champion] - 0.01),
        funnel=Funnel(
            tasks=120,
            solved=71 + 9 * number,
            rollouts=960,
            truncated=41,
            errors=3,
            accepted=260 + 90 * number,
            kept=151,
        ),
        training=Training(steps=38, tokens=38_400, trained_tokens=21_150, seconds=131.5, losses=losses(number)),
        steps=(
            StepTime(name="prepare", seconds=1.9),
            StepTime(name="sample", seconds=142.3, tokens=71_420),
            StepTime(name="verify", seconds=4.1),
            StepTime(name="curate", seconds=0.4),
            StepTime(name="train", seconds=131.5, tokens=38_400),
            StepTime(name="serve challenger", seconds=24.0),
            StepTime(name="evaluate gate set", seconds=88.2, tokens=39_900),
            StepTime(name="gate", seconds=1.1),
            StepTime(name="evaluate report set", seconds=61.0, tokens=30_300),
        ),
        datasets=tuple(
            DatasetRef(
                kind=kind,
                digest=(of := digest(f"{kind} {number}")),
                rows=rows,
                uri=f"s3://selftaught-prod/store/datasets/{of}",
            )
            for kind, rows in (("tasks", 580), ("groups", 120), ("verified", 120), ("examples", 151), ("scores", 1048))
        ),
        seeds={"campaign": 7, "round": 1000 + number},
        mlflow_run=digest(f"run {number}")[:32],
    )


def summaries(model: int) -> list[Summary]:
    """Everything that was measured of one model, in the order of a real round's: metric, then split."""
    return [
        summary(model, "accuracy", "gate", ACCURACY[model] - 0.01, 200),
        summary(model, "accuracy", "guard", GUARD[model], 60),
        summary(model, "accuracy", "report", ACCURACY[model], 200),
        summary(model, "pass@8", "report", PASS_AT_8[model], 64),
    ]


def summary(model: int, metric: str, split: Split, mean: float, n: int) -> Summary:
    half = 1.96 * math.sqrt(mean * (1 - mean) / n)
    low, high = max(0, mean - half), min(1, mean + half)
    return Summary(model=MODELS[model].digest, metric=metric, split=split, mean=mean, low=low, high=high, n=n)


def gain(metric: str, split: Split, value: float, n: int) -> Gain:
    half = 1.2 / math.sqrt(n)
    return Gain(metric=metric, split=split, gain=value, low=value - half, high=value + half, n=n)


def gate(outcome: str, value: float) -> GateReport:
    low, high = value - 0.085, value + 0.085
    held = outcome == "promoted"
    return GateReport(
        outcome=outcome,  # pyright: ignore[reportArgumentType]
        metric="accuracy",
        gain=value,
        low=low,
        high=high,
        p_value=1.3e-9 if held else 0.61,
        alpha=0.025,
        detectable_gain=0.098,
        checks=(
            GateCheck(name="new_model", passed=True, reason="the challenger is not the champion"),
            GateCheck(
                name="paired_gain",
                passed=held,
                reason=f"the lower limit of the gain, {low:+.3f}, is {'above' if held else 'not above'} zero",
                values={"gain": value, "low": low},
            ),
            GateCheck(
                name="min_gain", passed=held, reason=f"the gain, {value:+.3f}, against the {0.05:.3f} that is asked for"
            ),
            GateCheck(name="guard", passed=True, reason="the guard set is not worse by more than 0.100 (limit −0.089)"),
        ),
    )


def losses(number: int) -> tuple[tuple[int, float], ...]:
    draw = random.Random(number)
    return tuple((s, 0.35 + (1.1 - 0.2 * number) * math.exp(-s / 9) + draw.uniform(-0.03, 0.03)) for s in range(1, 39))


def problem(draw: random.Random) -> tuple[str, int, str]:
    """A one-step word problem: its text, its answer and its template."""
    name, thing = draw.choice(NAMES), draw.choice(THINGS)
    a, b = draw.randint(12, 90), draw.randint(3, 11)
    return draw.choice(
        (
            (f"{name} has {a} {thing} and finds {b} more. How many {thing} does {name} have now?", a + b, "add"),
            (f"{name} has {a} {thing} and gives {b} away. How many are left?", a - b, "give_away"),
            (f"{name} has {b} boxes with {a} {thing} each. How many {thing} are there in all?", a * b, "boxes"),
        )
    )


def answer_text(answer: int, right: bool, draw: random.Random) -> str:
    """What a small model says when it is right, and when it is wrong."""
    if right:
        return f"We work this out step by step.\nThe result is {answer}.\n\nThe answer is \\boxed{{{answer}}}."
    wrong = answer + draw.choice((-10, -2, 1, 7, 30))
    return draw.choice(
        (
            f"To find the total, we multiply and then add.\nSo there are {wrong} of them.\n\nThe answer is {wrong}.",
            f"Let x be the number we look for. x = {wrong}, therefore the answer is {wrong}.",
            f"{HOSTILE} The answer is {wrong}.",
        )
    )


def scores(champion: ModelVersion, challenger: ModelVersion, seed: int) -> list[TaskScore]:
    """Greedy accuracy of both models on 200 report and 200 gate tasks."""
    draw = random.Random(seed)
    rates = {model.digest: ACCURACY[i] for i, model in enumerate(MODELS)}
    return [
        score
        for split in ("report", "gate")
        for _ in range(200)
        for score in _pair(split, champion, challenger, rates, draw)
    ]


def _pair(
    split: Split, champion: ModelVersion, challenger: ModelVersion, rates: dict[str, float], draw: random.Random
) -> Sequence[TaskScore]:
    question, answer, template = problem(draw)
    luck = draw.random()
    task = digest(f"{split}{question}{luck}")[:16]
    scored: list[TaskScore] = []
    for model in (champion, challenger):
        right = min(max(luck + draw.uniform(-0.12, 0.12), 0), 1) < rates[model.digest]
        scored.append(
            TaskScore(
                model=model.digest,
                metric="accuracy",
                split=split,
                task=task,
                value=float(right),
                question=question,
                answer=str(answer),
                source="word_problems",
                template=template,
                texts=(answer_text(answer, right, draw),),
                passed=(right,),
                completion_tokens=41,
            )
        )
    return scored


def kinds(scored: Sequence[TaskScore], champion: ModelVersion, challenger: ModelVersion) -> Iterator[KindGain]:
    """The report set by level and template."""
    levels = {score.task: LEVELS[score.template or ""] for score in scored}
    for each in by_kind(scored, "accuracy", "report", (champion.digest, challenger.digest), levels):
        low, high = each.interval or (None, None)
        means = {"champion": each.champion, "challenger": each.challenger, "gain": each.gain}
        yield KindGain(by=each.by, name=each.name, n=each.n, **means, low=low, high=high)


def groups(model: ModelVersion, n: int = 20) -> list[Group]:
    """Verified training groups of four rollouts; the verifier could not run on the last of every seventh."""
    draw = random.Random(3)
    return [_group(model, i, draw) for i in range(n)]


def _group(model: ModelVersion, number: int, draw: random.Random) -> Group:
    question, answer, template = problem(draw)
    task = Task(
        messages=(Message(role="user", content=question),),
        answer=str(answer),
        source="word_problems",
        template=template,
        level=LEVELS[template],
    )
    rights = [draw.random() < 0.5 for _ in range(4)]
    texts = [answer_text(answer, right, draw) for right in rights]
    rollouts = tuple(
        Rollout(
            task=task.id,
            index=i,
            model=model.digest,
            turns=(Turn(content=text),),
            temperature=1.0,
            finish_reason="length" if i == 3 and number % 5 == 0 else "stop",
            completion_tokens=40 + i,
        )
        for i, text in enumerate(texts)
    )
    verdicts = [
        (Verdict.of("answer_match", right, f"{'equal to' if right else 'another number than'} {answer}"),)
        for right in rights
    ]
    if number % 7 == 0:
        verdicts[3] = (Verdict.errored("answer_match", "the expression took longer than 5 s to compare"),)
    if number % 6 == 2:
        rollouts = (*rollouts[:2], rollouts[2].model_copy(update={"turns": reviewed(texts[2])}), rollouts[3])
    items = [(*on_one, Verdict.of("format", index + number % 3 > 0)) for index, on_one in enumerate(verdicts)]
    return Group(task=task, rollouts=rollouts, verdicts=tuple(items))


def reviewed(text: str) -> tuple[Turn, ...]:
    """An attempt, what was said of it, and the answer that it became."""
    return (
        Turn(content="Let us see. The answer is 7."),
        Turn(role="user", kind="feedback", content="Review your answer."),
        Turn(kind="refinement", content=text),
    )
