"""Process reward models from elsewhere as node values: asked in words, with their own tokenizers.

Two kinds are published: classifiers of a tag after each step, and models that reply to each step with a word.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, NonNegativeInt

from selftaught.blocks import Context, TokenModel
from selftaught.core.errors import BadInput
from selftaught.records import Message
from selftaught.search.parts import NodeValue
from selftaught.search.tree import SearchNode, SearchTree
from selftaught.search.values import share

Role = Annotated[str, Field(description="the role whose model is used; `models` has to name it")]
System = Annotated[
    str | None, Field(description="the system message that the model knows; null is the task's own, empty is none")
]


class ProcessReward(NodeValue, type="process_reward"):
    """The probability that the last step of the partial solution is right, as a process reward model says.

    A model of `models` that was trained elsewhere (Qwen2.5-Math-PRM, arXiv 2501.07301): task and solution are put to
    it as a chat in its own template, the tag after every step, and the class `positive` is read at the last tag. So
    its tokenizer may be any. A step is a node's text without the white space around it. A request for each
    partial solution brings it through the model again: what siblings share is not kept by the engine.

    With `chat: false` there is no template, as for the token classifiers that TRL's PRMTrainer made: the
    model reads the question and the steps, the tag after each; each of these parts is tokenized by
    itself, and the class is read at the last token. So the tag may be several tokens.
    """

    role: Role = "reward"
    tag: Annotated[str, Field(min_length=1, description="follows each step: one token of the model")] = "<extra_0>"
    positive: Annotated[NonNegativeInt, Field(description="the class of right steps, of the model's from 0 on")] = 1
    system: System = None
    chat: Annotated[bool, Field(description="ask through the model's chat template; false is plain text")] = True

    @property
    def in_chat(self) -> bool:
        """Whether the model has to have a chat template."""
        return self.chat

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        model = _served(context, self.role, self.name)
        tree.valued(nodes)
        if self.chat:
            given = await model.rewards([self.as_chat(tree, node) for node in nodes], self.tag)
        else:
            given = [[last] for last in await model.text_rewards([self.as_text(tree, node) for node in nodes])]
        return [self._last(rows) for rows in given]

    def as_text(self, tree: SearchTree, node: SearchNode) -> list[str]:
        """The text that a model without a template reads, in parts: the question, and each step with its tag."""
        return [_question(tree, self.system), *(part for step in _steps(node) for part in (step, self.tag))]

    def as_chat(self, tree: SearchTree, node: SearchNode) -> list[Message]:
        """The task and the solution up to `node`, as the model is asked."""
        said = "".join(step + self.tag for step in _steps(node))
        return [*_asked(tree, self.system), Message(role="assistant", content=said)]

    def _last(self, rows: Sequence[Sequence[float]]) -> float:
        if not rows:
            raise BadInput(
                f"value.tag: {self.tag!r} is not in what the chat template of the {self.role} model makes of an "
                "answer. Name the tag that the model was trained with."
            )
        if self.positive >= len(rows[-1]):
            raise BadInput(
                f"value.positive: {self.positive}: the {self.role} model has {len(rows[-1])} classes, from 0 on."
            )
        return rows[-1][self.positive]


class ReplyReward(NodeValue, type="reply_reward"):
    """The probability of `right`, beside that of `wrong`, as a process reward model's reply to the last step.

    A causal model of `models` that was trained elsewhere, as RLHFlow's Llama3.1-8B-PRM is, and asked as its authors do
    (github.com/RLHFlow/RLHF-Reward-Modeling, math-rm): the first message is the task with the first step, each further
    one a step, and to those before the last the model has replied `right`. All nodes are one request, and siblings
    share everything but their last step in the engine's prefix cache. Where neither word is among the 20 likeliest
    tokens, the node is worth 0.5.

    With a `tag` there is no chat template, as for Math-Shepherd's model (arXiv 2312.08935; the tag of
    peiyi9979/math-shepherd-mistral-7b-prm is `ки`): it reads question and steps as plain text, a line for each step
    with the tag at its end, and its reply is the token after the last tag. The share is of the probabilities of `right`
    and `wrong` themselves, a token each, however unlikely they are.
    """

    role: Role = "reward"
    right: Annotated[str, Field(min_length=1, description="the reply to a right step, a token of the model's")] = "+"
    wrong: Annotated[str, Field(min_length=1, description="the reply to a wrong step, a token of the model's")] = "-"
    system: System = ""
    tag: Annotated[
        str | None, Field(min_length=1, description="ask in plain text, this token after each step; null is a chat")
    ] = None

    @property
    def in_chat(self) -> bool:
        """Whether the model has to have a chat template."""
        return self.tag is None

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        model, words = _served(context, self.role, self.name), [self.right, self.wrong]
        tree.valued(nodes)
        if self.tag is None:
            given = await model.odds([self.chat(tree, node) for node in nodes], words)
        else:
            given = await model.text_odds([self.as_text(tree, node, self.tag) for node in nodes], words)
        return [share(self.role, *odds) for odds in given]

    def as_text(self, tree: SearchTree, node: SearchNode, tag: str) -> str:
        """The task and the solution up to `node`, as a model without a template reads them."""
        return f"{_question(tree, self.system)} " + "\n".join(f"{step} {tag}" for step in _steps(node))

    def chat(self, tree: SearchTree, node: SearchNode) -> list[Message]:
        """The task and the solution up to `node`, as the model is asked."""
        *before, task = _asked(tree, self.system)
        first, *others = _steps(node)
        chat = [*before, Message(role=task.role, content=f"{task.content} {first}")]
        for step in others:
            chat += [Message(role="assistant", content=self.right), Message(role="user", content=step)]
        return chat


def _served(context: Context, role: str, asking: str) -> TokenModel:
    """The model that plays `role`; the policy does not stand in for it. Raises BadInput where there is none."""
    if role not in context.models:
        raise BadInput(f"{asking}: there is no {role} model here, and the policy does not play it. Name one in models.")
    return context.tokens(role)


def _asked(tree: SearchTree, system: str | None) -> list[Message]:
    """The task's messages, with `system` as the system message unless it is None."""
    if system is None:
        return list(tree.task.messages)
    own = [Message(role="system", content=system)] if system else []
    return [*own, *(message for message in tree.task.messages if message.role != "system")]


def _question(tree: SearchTree, system: str | None) -> str:
    """The task in plain text."""
    return "\n".join(message.content for message in _asked(tree, system))


def _steps(node: SearchNode) -> list[str]:
    """The texts of the path to `node`, without white space around them; one at least."""
    return [step for each in node.path() if (step := each.text.strip())] or [""]
