"""The plan of a run and its estimated cost: printed before every run, and by a dry run.

Token counts are upper bounds from the blocks, as the stage's controls set them; the rate is the one of the line's last
round where there is one, else what was measured on two CPU cores. The tasks are drawn once, so that a source that
cannot give them is found out here, and so is a verifier that their own gold answers fail. What training will take is
not estimated: it only gives how long the last round took. It starts nothing.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from selftaught.blocks import Block, Control, Metric, Outlook, Sampler, State
from selftaught.campaign.order import CampaignOrder
from selftaught.core.errors import BadInput, NothingNew
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage
from selftaught.recipe.models import externals
from selftaught.records import Message, Split, Task, named_set
from selftaught.report.data import StepTime
from selftaught.round.checks.context_length import require_room
from selftaught.round.checks.external import require_asked_in_words, require_keys
from selftaught.round.checks.gold_answers import require_passed
from selftaught.round.checks.roles import require_named
from selftaught.round.checks.texts import require_texts
from selftaught.round.controls import chosen, controlled, state_before
from selftaught.round.error_budget import pool_of, spent
from selftaught.round.history import detail, due, newest, recorded
from selftaught.round.intake import drawn, stage_of
from selftaught.round.role_models import of_other_lines
from selftaught.state.round_key import RoundKey
from selftaught.state.starter import require_findable
from selftaught.state.tracking import Version
from selftaught.tasks.inbox.source import Batch
from selftaught.tasks.past import TaskDraw
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.gold import gold_checks, require_gold

ASSUMED_RATE = 300.0
"""New tokens a second of the starter model on two CPU cores, until a round of this line has been measured."""


GATED: Sequence[Split] = ("gate", "report", "guard")
"""The sets that a stage with a gate is measured on."""
UNGATED = "none, so the head moves and nobody is promoted"
SHOWN = 600
"""Characters of a message that the plan shows, from its beginning and its end."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One task of a set as a model is sent it: the messages (role, content), and the gold answer.

    `turns` are the prompts of a dialogue's turns by name, in which `[attempt]` stands for what that turn will say.
    """

    split: Split
    messages: tuple[tuple[str, str], ...]
    answer: str | None
    turns: Mapping[str, tuple[tuple[str, str], ...]]

    def text(self) -> str:
        """One line a message, whatever is not a letter spelt out."""
        named = len(self.turns) > 1
        prompts = [
            (f"\n      turn {name}:" if named else "") + _lines(said, 8 if named else 6)
            for name, said in self.turns.items()
        ]
        gold = "none" if self.answer is None else _quoted(self.answer)
        return f"    {self.split}{''.join(prompts)}\n      gold answer: {gold}"


def _lines(messages: Iterable[tuple[str, str]], indent: int) -> str:
    return "".join(f"\n{' ' * indent}{role}: {_quoted(content)}" for role, content in messages)


def _quoted(text: str) -> str:
    half = SHOWN // 2
    shown = text if len(text) <= SHOWN else f"{text[:half]} […] {text[-half:]}"
    return json.dumps(shown, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The plan of a run: what is drawn, sampled and measured a round, in tasks and at most so many tokens."""

    recipe: str
    digest: str
    line: str
    champion: str
    rounds: int
    train_tasks: int
    gate_tasks: int
    report_tasks: int
    guard_tasks: int
    sampled_tokens: int
    evaluated_tokens: int
    tokens_per_second: float
    measured_rate: bool
    power: str
    nothing_new: str = ""
    """Why there is nothing to run yet, where tasks are uploaded and too few were."""
    alike: str = ""
    """Which held-out tasks read much like training tasks without being the same, in words."""
    broken: tuple[str, ...] = ()
    """What is wrong with batches that are set aside."""
    gold: tuple[str, ...] = ()
    """What each verifier makes of the tasks' own gold answers."""
    sent: tuple[Sent, ...] = ()
    """One task of each set."""
    models: tuple[str, ...] = ()
    """Who plays each role that the stage asks, and on which axes it is asked."""
    set_tasks: Mapping[str, int] = field(default_factory=dict[str, int])
    """Tasks of named sets, by name."""
    controls: tuple[str, ...] = ()
    """The stage's controls, and what they do by what they remember."""
    control_tokens: int = 0
    """Those of the sampled tokens that a search is held against."""
    last_round: Mapping[str, float] = field(default_factory=dict[str, float])
    """Seconds of each step of the campaign's last round, training included, which the tokens do not tell."""

    @property
    def minutes(self) -> float:
        """At most so many minutes of generation in a round."""
        return (self.sampled_tokens + self.evaluated_tokens) / self.tokens_per_second / 60

    def as_dict(self) -> dict[str, object]:
        """The plan for machines."""
        return {"plan": {**asdict(self), "generation_minutes_at_most": round(self.minutes, 1)}}

    def _of_control(self) -> str:
        held = f"{self.control_tokens:,} of them to hold the search against"
        return f" ({held})" if self.control_tokens else ""

    def _took(self) -> str:
        """How long the last round took, in minutes; nothing where there was none."""
        if not self.last_round:
            return ""
        steps = ", ".join(f"{name} {seconds / 60:.0f}" for name, seconds in self.last_round.items() if seconds >= 30)
        return f"  the last round took {sum(self.last_round.values()) / 60:.0f} min{f': {steps}' if steps else ''}\n"

    def text(self) -> str:
        """The plan for people."""
        if self.nothing_new:
            return f"{self.recipe} ({self.digest[:8]}) on line {self.line}: nothing new.\n  {self.nothing_new}"
        rate = "measured in the last round" if self.measured_rate else "assumed until a round was measured"
        return (
            f"{self.recipe} ({self.digest[:8]}) on line {self.line}, champion {self.champion}, {self.rounds} round(s)\n"
            f"  tasks a round: {self.train_tasks} train, {self.gate_tasks} gate, {self.report_tasks} report, "
            f"{self.guard_tasks} guard{''.join(f', {count} {name}' for name, count in self.set_tasks.items())}\n"
            f"  new tokens a round, at most: {self.sampled_tokens:,} sampled{self._of_control()}, "
            f"{self.evaluated_tokens:,} evaluated; "
            f"{self.minutes:.0f} min of generation at {self.tokens_per_second:.0f} tokens/s ({rate})\n"
            f"{self._took()}"
            f"  models: {'; '.join(self.models)}\n"
            + "".join(f"  control: {each}\n" for each in self.controls)
            + f"  verify: {'; '.join(self.gold)}\n"
            f"  gate: {self.power}"
            + (f"\n  note: {self.alike}" if self.alike else "")
            + "".join(f"\n  set aside: {message}" for message in self.broken)
            + "\n  one task of each set, as it is sent:\n"
            + "\n".join(sent.text() for sent in self.sent)
        )


def plan(platform: Platform, order: CampaignOrder) -> Estimate:
    """The plan of `order`, for the stage of the round that is due.

    Raises BadRecipe when its requests do not fit the engines or a role of it has no model, BadInput when the tasks
    cannot be drawn or a verifier fails their gold answers, RoundFailed when their sets overlap.
    """
    recipe, key = order.recipe, due(platform, order.line, order.campaign)
    number, state = key.number, state_before(platform, key)
    stage = controlled(stage_of(recipe, number), state)
    require_room(recipe, platform.settings)
    require_named(recipe)
    require_asked_in_words(recipe)
    require_keys(externals(recipe.models))
    champion = platform.tracker.resolve(order.line, "champion")
    if champion is None and stage.train:
        require_findable(recipe.policy)
    taken, nothing_new = _drawn(platform, order)
    tasks = () if nothing_new else chosen(stage, taken, state, key.seed).tasks
    require_texts(tasks, recipe.stages)
    tried, sizes = gold(tasks, recipe), Counter[Split](task.split for task in tasks)
    rounds = order.rounds or sum(each.rounds for each in recipe.stages)
    steps = _last_steps(platform, order)
    rate = _measured_rate(steps)
    attempts = stage.online.steps * stage.online.tasks if stage.online else sizes["train"]
    return Estimate(
        recipe=recipe.name,
        digest=recipe.digest,
        line=order.line,
        champion=f"version {champion.version} ({champion.digest[:8]})" if champion else recipe.policy,
        rounds=rounds,
        train_tasks=sizes["train"],
        gate_tasks=sizes["gate"],
        report_tasks=sizes["report"],
        guard_tasks=sizes["guard"],
        set_tasks={name: sizes[named_set(name)] for name in recipe.sets},
        sampled_tokens=attempts * stage.sample.cost() + (control := stage.sample.control_cost(attempts)),
        control_tokens=control,
        evaluated_tokens=2 * _evaluated_tokens(recipe, stage, sizes),
        tokens_per_second=rate or ASSUMED_RATE,
        measured_rate=rate is not None,
        last_round={step.name: step.seconds for step in steps},
        power=_power(platform, order, stage, number, sizes, rounds) if stage.gate and sizes["gate"] else UNGATED,
        nothing_new=nothing_new,
        alike=taken.alike,
        broken=taken.broken,
        gold=tried,
        controls=tuple(_control(each, state.of(stage, each)) for each in stage.control),
        models=tuple(_players(recipe, recipe.with_sets(stage), of_other_lines(platform, recipe, order.line))),
        sent=tuple(_sent(tasks, stage)),
    )


def _control(control: Control, state: State) -> str:
    explained = control.explain(state)
    return f"{control.name}: {explained.text if explained else 'has seen no round yet'}"


def _power(
    platform: Platform, order: CampaignOrder, stage: Stage, number: int, sizes: Mapping[Split, int], rounds: int
) -> str:
    """What the gate of `stage` can show, with the tasks that its metric has and the noise that the last round had."""
    assert stage.gate is not None
    metric = next((each for each in stage.evaluate if each.name == getattr(stage.gate, "metric", "")), None)
    gate, guard = (
        min(metric.tasks or sizes[split], sizes[split]) if metric else sizes[split] for split in ("gate", "guard")
    )
    last, source = newest(platform, order.line, order.campaign), order.recipe.tasks
    record = recorded(platform, last) if last else None
    return stage.gate.plan(
        Outlook(
            gate=gate,
            guard=guard,
            fresh=source.resamples_gate,
            over=source.over,
            number=number,
            rounds=rounds,
            spent=spent(platform, pool_of(source)),
            variance=metric.variance if metric else None,
            bounds=metric.bounds if metric else None,
            last=detail(platform, last).scores if last else (),
            champion=record.round.champion.digest if record else "",
            challenger=record.round.challenger.digest if record and record.round.challenger else "",
        )
    )


def _players(recipe: Recipe, stage: Stage, others: Mapping[str, Version]) -> Iterator[str]:
    """Each role that a block of `stage` asks: who plays it, and on which axes it is asked.

    `others` are the versions of other lines that play roles.
    """
    axes: Mapping[str, Sequence[Block]] = {"sample": [stage.sample], "verify": stage.verify, "evaluate": stage.evaluate}
    asking = {axis: {role for block in blocks for role in block.roles()} for axis, blocks in axes.items()}
    for role in sorted(set[str]().union(*asking.values())):
        player = "the newest that this line trained" if role in stage.trained_roles else "the policy"
        digest = f" ({others[role].digest[:8]})" if role in others else ""
        named = "" if role == "policy" else f": {recipe.models.get(role, player)}{digest}"
        yield f"{role}{named} ({', '.join(axis for axis, roles in asking.items() if role in roles)})"


def _drawn(platform: Platform, order: CampaignOrder) -> tuple[TaskDraw, str]:
    """What the first round takes, and why that is nothing where nothing new was uploaded."""
    try:
        return drawn(platform, order.recipe, RoundKey(order.line, order.campaign)), ""
    except NothingNew as nothing:
        return TaskDraw(()), str(nothing)


def _sent(tasks: Sequence[Task], stage: Stage) -> Iterator[Sent]:
    """The first task of each set: one to train on as it is sampled, the others as the first metric asks them."""
    first = {task.split: task for task in reversed(tasks)}
    for task in reversed(first.values()):
        held_out = task.split != "train" and stage.evaluate
        sampler = stage.evaluate[0].sampler() if held_out else stage.sample
        asked = _pairs(sampler.asked(task))
        turns = {name: _pairs(prompt) for name, prompt in sampler.prompts(task).items()}
        gold = task.answer if task.answer is not None else task.texts.get("reference")
        yield Sent(task.split, asked, gold, turns)


def _pairs(messages: Iterable[Message]) -> tuple[tuple[str, str], ...]:
    return tuple((message.role, message.content) for message in messages)


def gold(tasks: Sequence[Task], recipe: Recipe) -> tuple[str, ...]:
    """What the verifiers of all stages make of the gold answers. Raises BadInput where one fails too many of them."""
    return require_passed(tasks, recipe, recipe.stages)


def worked(batch: Batch, recipe: Recipe | None) -> str:
    """What is to be said of a batch's gold answers where no recipe is given: that `answer_match` fails them.

    Raises BadInput where a verifier of `recipe` does.
    """
    tasks = [row.task.full() for row in batch.rows]
    if recipe is not None:
        gold(tasks, recipe)
        return ""
    try:
        require_gold(asyncio.run(gold_checks(tasks, [AnswerMatch()])))
    except BadInput as failed:
        return str(failed)
    return ""


def _evaluated_tokens(recipe: Recipe, stage: Stage, sizes: Mapping[Split, int]) -> int:
    """At most so many new tokens for one model in a round of `stage`."""
    own = _evaluated(stage.evaluate, [sizes[split] for split in (GATED if stage.gate else ("report",))])
    named = (_evaluated(each.measured(stage), [sizes[named_set(name)]]) for name, each in recipe.sets.items())
    return own + sum(named if stage.evaluate else ())


def _evaluated(metrics: Sequence[Metric], sets: list[int]) -> int:
    """At most so many new tokens for one model on `sets`; metrics with equal samplers share rollouts."""
    shared: dict[str, tuple[Sampler, int]] = {}
    for metric in metrics:
        sampler = metric.sampler()
        tasks = sum(min(metric.tasks or size, size) for size in sets)
        shared[sampler.model_dump_json()] = (
            sampler,
            max(tasks, shared.get(sampler.model_dump_json(), (sampler, 0))[1]),
        )
    return sum(sampler.cost() * tasks for sampler, tasks in shared.values())


def _last_steps(platform: Platform, order: CampaignOrder) -> tuple[StepTime, ...]:
    """The steps of the campaign's last round, the first of which samples; none where there was none."""
    last = newest(platform, order.line, order.campaign)
    record = recorded(platform, last) if last else None
    return record.round.steps if record else ()


def _measured_rate(steps: Sequence[StepTime]) -> float | None:
    return (steps[0].tokens or 0) / steps[0].seconds if steps and steps[0].seconds > 1 else None
