"""Hypothesis strategies for the records: every field of each, in every shape that it may take."""

from typing import get_args

from hypothesis import strategies as st

from selftaught.records import (
    ChatRole,
    Example,
    Group,
    Message,
    Record,
    Rollout,
    Split,
    Task,
    TaskScore,
    Turn,
    TurnKind,
    Verdict,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**31 - 1)
names = st.text("abcdef0123456789", min_size=1, max_size=16)


def some(strategy: st.SearchStrategy, **bounds: int) -> st.SearchStrategy:
    """A few of them, as records hold them."""
    return st.lists(strategy, **({"max_size": 3} | bounds)).map(tuple)


messages = st.builds(Message, role=st.sampled_from(get_args(ChatRole)), content=texts)
tasks = st.builds(
    Task,
    messages=some(messages, min_size=1),
    answer=st.none() | texts,
    source=texts,
    split=st.sampled_from(get_args(Split)),
    template=st.none() | texts,
    operands=some(texts),
    level=counts,
)
turns = st.builds(
    Turn,
    role=st.sampled_from(get_args(ChatRole)),
    kind=st.sampled_from(get_args(TurnKind)),
    content=texts,
    token_ids=some(counts),
    logprobs=some(floats),
)
rollouts = st.builds(
    Rollout,
    task=names,
    index=counts,
    model=names,
    turns=some(turns, min_size=1),
    temperature=floats,
    finish_reason=texts,
    prompt_tokens=counts,
    completion_tokens=counts,
    hinted=st.booleans(),
)
judged = st.builds(Verdict, verifier=names, score=st.floats(0, 1), passed=st.booleans(), reason=texts)
verdicts = judged | st.builds(Verdict, verifier=names, error=texts)
examples = st.builds(
    Example, prompt=some(messages), completion=some(messages), task=names, rollout=names, weight=floats
)
scores = st.builds(
    TaskScore,
    model=names,
    metric=names,
    split=st.sampled_from(get_args(Split)),
    task=names,
    value=floats,
    question=texts,
    answer=st.none() | texts,
    source=texts,
    template=st.none() | texts,
    texts=some(texts),
    passed=some(st.booleans()),
    completion_tokens=counts,
)


@st.composite
def groups(draw: st.DrawFn) -> Group:
    """Groups, verified and not yet."""
    attempts = draw(some(rollouts))
    several = some(some(verdicts), min_size=len(attempts), max_size=len(attempts))
    return Group(task=draw(tasks), rollouts=attempts, verdicts=draw(st.just(()) | several))


BY_KIND: dict[str, st.SearchStrategy[Record]] = {
    "tasks": tasks,
    "groups": groups(),
    "examples": examples,
    "scores": scores,
}
"""One strategy a kind of data set."""
