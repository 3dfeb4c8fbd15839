"""Dialogues: a task is attempted in several turns, by one model or by several roles, and may branch at each.

What most methods of self-correction, critique and debate have in common (SCoRe, arXiv 2409.12917; RISE, 2407.18219;
PAM, 2401.07301): a list of turns. Each leaf of the tree of turns is a rollout. It does not choose among leaves, and
what is trained on is a curator's business (`transcripts`).
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Annotated, Self

from pydantic import Field, model_validator

from selftaught.blocks import ChatModel, Completion, Context, Sampler, judged
from selftaught.core.errors import BadRecipe, NoAnswer
from selftaught.core.templates import slots
from selftaught.records import ANSWERS, Group, Message, Task, Turn, Verdict, asked_after, passes
from selftaught.sampling.dialogue_branch import Branch, Prompt, feedback_of, prompt_of, text_of
from selftaught.sampling.dialogue_tool import outputs
from selftaught.sampling.dialogue_turn import TELLING, DialogueTurn, Feedback, fill, is_feedback, problems

NONE: Feedback = {}
"""Where no verifier was asked."""
Answers = Iterator[tuple[Completion, bool]]
"""Answers, and whether each was sampled for the branch that takes it: one greedy answer serves several."""
Spoken = str | Answers | None
"""What is said in a branch: a text that no model was asked for, or answers; None where a model gave none."""


class Dialogue(Sampler, type="dialogue"):
    """Run `turns` in order. Equal prompts are asked once.

    A turn whose condition does not hold is left out, and so is one that quotes a turn that was left out.

    A prompt that gets no answer (it has become too long) ends its branch, with `length`; the task has none if it is the
    first. Tokens of a turn that branches share count in the first of them.
    """

    turns: Annotated[tuple[DialogueTurn, ...], Field(min_length=1, description="what is said, in order")]

    @property
    def asks_verifiers(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] (depends on the turns)
        """Whether a turn depends on what verifiers say."""
        return any(turn.asks_verifiers for turn in self.turns)

    @model_validator(mode="after")
    def _follow_one_another(self) -> Self:
        for problem in problems(self.turns):
            raise ValueError(f"turns: {problem}")
        return self

    async def sample(self, task: Task, context: Context) -> Group:
        """The leaves of the dialogue on `task`, with indexes from 0.

        Raises BadRecipe for a condition without verifiers, NoAnswer when the first turn gets none, else what
        `ChatModel.chat` raises.
        """
        branches = [Branch()]
        for turn in self.turns:
            branches = await _Asking(turn, task, context).run(branches)
        if not (begun := [branch for branch in branches if branch.turns]):
            raise NoAnswer(f"task {task.id}: nothing of what turn '{self.turns[0].name}' says can be made wrong")
        policy = context.model().digest
        return Group(task=task, rollouts=tuple(each.rollout(task, policy, at) for at, each in enumerate(begun)))

    @property
    def turn_names(self) -> tuple[str, ...]:
        """As in `turns`."""
        return tuple(turn.name for turn in self.turns)

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Those of an attempt or a refinement."""
        return tuple(turn.name for turn in self.turns if turn.kind in ANSWERS)

    @property
    def quoted_texts(self) -> frozenset[str]:
        """Those of the slots `{text.NAME}`."""
        return frozenset(self._named("text"))

    @property
    def verifiers(self) -> tuple[str, ...]:
        """Those of the slots `{feedback.VERIFIER}`."""
        return tuple(self._named("feedback"))

    def _named(self, kind: str) -> list[str]:
        """What follows the dot in the slots of that kind."""
        parted = (slot.partition(".") for turn in self.turns for slot in sorted(turn.slots()))
        return [name for first, _, name in parted if first == kind and name]

    @property
    def is_one_conversation(self) -> bool:
        """Whether no turn of the policy has a system message, or a prompt, that its other turns do not see."""
        own = [turn for turn in self.turns if turn.asks_model and turn.by == "policy"]
        thread = [turn for turn in own if turn.view == "thread"]
        answers = [turn for turn in own if turn.kind in ANSWERS]
        alone = bool(thread) and bool(answers) and answers[-1].view == "fresh"
        return not alone and (len(thread) < 2 or all(turn.system is None for turn in thread))

    def asked(self, task: Task) -> Sequence[Message]:
        """The prompt of the first turn, but for those that are said aside by nobody."""
        first = next((turn for turn in self.turns if turn.asks_model or turn.view == "thread"), self.turns[0])
        return prompt_of(first, Branch(), task, {})

    def prompts(self, task: Task) -> Mapping[str, Sequence[Message]]:
        """What each turn's model is asked with where every turn is said; `[attempt]` stands for what that turn says."""
        branch, prompts = Branch(), dict[str, Sequence[Message]]()
        for turn in self.turns:
            asking = _Asking(turn, task, Context())
            feedback = {slot: f"[{slot}]" for slot in turn.slots() if is_feedback(slot)}
            prompt = prompt_of(turn, branch, task, feedback)
            if turn.asks_model:
                prompts[turn.name] = prompt
            branch = asking.stand_in(branch, prompt, feedback)
        return prompts

    def roles(self) -> frozenset[str]:
        """The policy, and who else speaks."""
        return super().roles() | {turn.by for turn in self.turns if turn.asks_model}

    def cost(self) -> int:
        """New tokens a task at most: every turn in every branch."""
        tokens, branches = 0, 1
        for turn in self.turns:
            branches *= turn.n
            tokens += branches * turn.max_tokens if turn.asks_model else 0
        return tokens

    def longest(self) -> int:
        """New tokens of a whole branch: later prompts hold what earlier turns said."""
        return sum(turn.max_tokens for turn in self.turns if turn.asks_model)


@dataclass(frozen=True, slots=True)
class _Asking:
    """One turn of the dialogue, in all branches."""

    turn: DialogueTurn
    task: Task
    context: Context

    async def run(self, branches: Sequence[Branch]) -> list[Branch]:
        """The branches after the turn, each followed by those that it split into."""
        verdicts = await self._verdicts(branches) if self.turn.asks_verifiers else [()] * len(branches)
        firing = self._firing(branches, verdicts)
        feedback = [feedback_of(self.turn, each) if at in firing else NONE for at, each in enumerate(verdicts)]
        prompts = {
            at: prompt_of(self.turn, branch, self.task, feedback[at])
            for at, branch in enumerate(branches)
            if at in firing
        }
        said = await self._spoken({at: branches[at] for at in prompts}, prompts, feedback)
        return [
            each
            for at, branch in enumerate(branches)
            for each in (
                self._after(branch, prompts[at], feedback[at], said[at])
                if at in said
                else (branch.without(self.turn.name),)
            )
        ]

    # Conditions -------------------------------------------------------------------------------------------------------

    async def _verdicts(self, branches: Sequence[Branch]) -> list[tuple[Verdict, ...]]:
        """What the verifiers say of each branch's last answer; nothing where none was given."""
        if not self.context.verifiers:
            raise BadRecipe(
                f"sample: turn '{self.turn.name}' depends on which answers are wrong (when, {{feedback}}). "
                "Add a block under verify."
            )
        rollouts = tuple(each.rollout(self.task, "", at) for at, each in enumerate(branches) if each.turns)
        group = Group(task=self.task, rollouts=rollouts)
        found = iter(await judged(group, self.context.verifiers, self.context) if rollouts else ())
        return [next(found) if each.turns else () for each in branches]

    def _firing(self, branches: Sequence[Branch], verdicts: Sequence[tuple[Verdict, ...]]) -> set[int]:
        """The branches in which the turn is said. A verifier that could not run has neither passed nor failed."""
        answered = {at for at, branch in enumerate(branches) if branch.turns}
        live = {at for at, branch in enumerate(branches) if branch.continues_with(self.turn)}
        if self.turn.asks_verifiers:
            live &= answered
        failed = {at for at in answered if any(each.fails for each in verdicts[at])}
        match self.turn.when:
            case "failed":
                return live & failed
            case "passed":
                return {at for at in live if passes(verdicts[at])}
            case "all_failed":  # also those in which the turn cannot be said
                return live if failed == answered else set()
            case _:
                return live

    # Asking -----------------------------------------------------------------------------------------------------------

    async def _spoken(
        self, branches: Mapping[int, Branch], prompts: Mapping[int, Prompt], feedback: Sequence[Feedback]
    ) -> Mapping[int, Spoken]:
        """What is said next in each of `branches` where something can be: by the recipe, by a tool, or by a model."""
        if self.turn.say is not None:
            texts = {at: text_of(self.turn, each, self.task, feedback[at]) for at, each in branches.items()}
            return {at: text for at, text in texts.items() if text is not None}
        if self.turn.run is not None:
            sources = {at: branch.said[self.turn.run] for at, branch in branches.items()}
            printed = await outputs(sources.values())
            return {at: printed[source] for at, source in sources.items()}
        begun = any(branch.turns for branch in branches.values())
        answers = await self._answers(list(prompts.values()), begun)
        return {at: answers[prompt] for at, prompt in prompts.items()}

    async def _answers(self, prompts: Sequence[Prompt], begun: bool) -> Mapping[Prompt, Answers | None]:
        """Completions of each different prompt, as many as its branches need; None where it got no answer.

        Raises NoAnswer for a dialogue that has not `begun`: nothing of it is there to keep.
        """
        model, distinct = self.context.model(self.turn.by), dict.fromkeys(prompts)
        made = await asyncio.gather(*(self._asked(model, each, prompts.count(each), begun) for each in distinct))
        return dict(zip(distinct, made, strict=True))

    async def _asked(self, model: ChatModel, prompt: Prompt, branches: int, begun: bool) -> Answers | None:
        turn = self.turn
        greedy = turn.temperature == 0  # all branches get one answer: vLLM gives no more of them
        try:
            said = await model.chat(
                prompt,
                n=1 if greedy else turn.n * branches,
                temperature=turn.temperature,
                max_tokens=turn.max_tokens,
                stop=turn.stop,
                **turn.drawn(),
            )
        except NoAnswer:
            if begun:
                return None
            raise
        return chain([(said[0], True)], repeat((said[0], False))) if greedy else zip(said, repeat(True))

    # Branching --------------------------------------------------------------------------------------------------------

    def _after(self, branch: Branch, prompt: Prompt, feedback: Feedback, said: Spoken) -> Iterator[Branch]:
        """The branch with what is said, or with each of its next `n` answers; ended where there are none."""
        if isinstance(said, str):
            yield self._scripted(branch, prompt, said, feedback)
        elif said is None:
            yield replace(branch, ended=True)
        else:
            yield from (self._said(branch, prompt, feedback, *next(said), n) for n in range(self.turn.n))

    def _said(
        self, branch: Branch, prompt: Prompt, feedback: Feedback, answer: Completion, sampled: bool, number: int
    ) -> Branch:
        turn, (asked, prefill) = self.turn, self._begun(prompt)
        own = Turn(
            kind=turn.kind,
            content=prefill + answer.text,
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            name=turn.name,
            agent=self._agent,
            asked=() if asked == self._own_prompt(branch, feedback) else asked,
            aside=turn.view == "fresh",
            finish_reason=answer.finish_reason,
            hinted=self._tells(branch, feedback),
            prefill=prefill,
        )
        earlier = branch if number == 0 else replace(branch, prompt_tokens=0, tokens=0)
        after = replace(
            earlier.then(*self._question(branch, feedback), own, branch=number),
            prompt_tokens=earlier.prompt_tokens + sampled * answer.prompt_tokens,
            tokens=earlier.tokens + sampled * len(answer.token_ids),
            temperature=turn.temperature,
            hinted=branch.hinted or (turn.by == "policy" and self._tells(branch, feedback)),
        )
        if turn.by == "policy":
            return after
        return replace(after, agents={**after.agents, turn.by: self.context.model(turn.by).digest})

    def stand_in(self, branch: Branch, prompt: Prompt, feedback: Feedback) -> Branch:
        """The branch as if the turn had been said: its own text, where nobody is asked for it, or its name."""
        asked, prefill = self._begun(prompt)
        text = text_of(self.turn, branch, self.task, feedback) if self.turn.say is not None else None
        return self._scripted(branch, asked, prefill + (text or f"[{self.turn.name}]"), feedback)

    def _begun(self, prompt: Prompt) -> tuple[Prompt, str]:
        """What the turn is asked with, and what its answer begins with."""
        return (prompt, "") if self.turn.prefill is None else (prompt[:-1], prompt[-1].content)

    def _own_prompt(self, branch: Branch, feedback: Feedback) -> Prompt | None:
        """What the policy is asked with in the thread of the task and the turns before; what it is not is recorded."""
        if self.turn.by != "policy" or self.turn.view == "fresh":
            return None
        return asked_after(self.task.messages, [*branch.turns, *self._question(branch, feedback)])

    def _scripted(self, branch: Branch, prompt: Prompt, text: str, feedback: Feedback) -> Branch:
        tells = self._says_it(branch, feedback)
        begins = self.turn.ask is not None and self.turn.view == "thread" and not branch.turns
        own = Turn(
            kind=self.turn.kind,
            content=text,
            name=self.turn.name,
            agent=self._agent,
            asked=prompt if begins else (),
            aside=self.turn.view == "fresh",
            # what the policy is made to say is what it learns to say, and no hint
            hinted=tells and self.turn.view == "thread" and self.turn.by != "policy",
            scripted=True,
        )
        hinted = own.hinted or (begins and self.turn.by == "policy" and self._tells(branch, feedback))
        after = replace(branch.then(*self._question(branch, feedback), own), hinted=branch.hinted or hinted)
        return replace(after, telling=branch.telling | {self.turn.name}) if tells else after

    def _question(self, branch: Branch, feedback: Feedback) -> Iterator[Turn]:
        """The user's message before the turn, where the thread has one that is not the task's own."""
        if self.turn.ask is not None and self.turn.view == "thread" and branch.turns:
            text = fill(self.turn.ask, branch.said, self.task, feedback)
            yield Turn(role="user", kind="question", content=text, hinted=self._tells(branch, feedback))

    def _tells(self, branch: Branch, feedback: Feedback) -> bool:
        """Whether the prompt gives the right answer away, be it in a verifier's reason, or in a turn that it quotes."""
        shown = self.turn.shown()
        return self.turn.tells or self._names_it(feedback, shown) or not branch.telling.isdisjoint(shown)

    def _says_it(self, branch: Branch, feedback: Feedback) -> bool:
        """Whether what the recipe says here has the right answer in it, and not as an answer or with an error."""
        said = slots(self.turn.say)
        if self.turn.kind in ANSWERS or self.turn.inject_error:
            return False
        return not said.isdisjoint(branch.telling | set(TELLING)) or self._names_it(feedback, said)

    def _names_it(self, feedback: Feedback, shown: AbstractSet[str]) -> bool:
        """Whether one of the reasons `shown` has the gold answer in it."""
        reasons = [text for slot, text in feedback.items() if slot in shown]
        return any(self.task.answer in text for text in reasons if self.task.answer)

    @property
    def _agent(self) -> str:
        return "" if self.turn.speaker == "policy" else self.turn.speaker
