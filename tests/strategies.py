"""Hypothesis strategies for the records: every field of each, in every shape that it may take."""

from typing import get_args

from hypothesis import strategies as st

from selftaught.records import (
    ChatRole,
    Control,
    Example,
    Function,
    Group,
    Imitate,
    Message,
    Node,
    Prefer,
    Record,
    Regress,
    Reinforce,
    Rollout,
    Segment,
    Spent,
    StopReason,
    Task,
    TaskScore,
    ToolCall,
    Tree,
    Turn,
    TurnKind,
    Verdict,
    named_set,
)

NO_INK = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters that show nothing: they are written by name wherever text of others is shown."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**31 - 1)
names = st.text("abcdef0123456789", min_size=1, max_size=16)


def some(strategy: st.SearchStrategy, **bounds: int) -> st.SearchStrategy:
    """A few of them, as records hold them."""
    return st.lists(strategy, **({"max_size": 3} | bounds)).map(tuple)


splits = st.sampled_from(["train", "gate", "report", "guard", named_set("ood")])
calls = some(st.builds(ToolCall, id=names, function=st.builds(Function, name=names, arguments=texts)), max_size=2)
messages = st.one_of(
    st.builds(Message, role=st.sampled_from(get_args(ChatRole)), content=texts),
    st.builds(Message, role=st.just("assistant"), content=texts, tool_calls=calls),
    st.builds(Message, role=st.just("tool"), content=texts, tool_call_id=names),
)
tasks = st.builds(
    Task,
    messages=some(messages, min_size=1),
    answer=st.none() | texts,
    source=texts,
    split=splits,
    template=st.none() | texts,
    operands=some(texts),
    level=counts,
    check=st.just({}) | st.fixed_dictionaries({"type": names, "cases": st.lists(st.integers(), max_size=2)}),
    texts=st.dictionaries(names, texts, max_size=2),
    parent=st.none() | names,
    environment=st.just({}) | st.fixed_dictionaries({"type": names, "number": counts}),
)
turns = st.builds(
    Turn,
    role=st.sampled_from(get_args(ChatRole)),
    kind=st.sampled_from(get_args(TurnKind)),
    content=texts,
    token_ids=some(counts),
    logprobs=some(floats),
    name=st.just("") | names,
    agent=st.just("") | names,
    asked=some(messages, max_size=2),
    finish_reason=st.sampled_from(["stop", "length"]),
    aside=st.booleans(),
    hinted=st.booleans(),
    prefill=st.just("") | texts,
)
calling = st.builds(Turn, role=st.just("assistant"), kind=st.just("action"), content=texts, tool_calls=calls)
answering = st.builds(Turn, role=st.just("tool"), kind=st.just("tool"), content=texts, tool_call_id=names)
rollouts = st.builds(
    Rollout,
    task=names,
    index=counts,
    model=names,
    turns=some(turns | calling | answering, min_size=1),
    temperature=floats,
    finish_reason=texts,
    prompt_tokens=counts,
    completion_tokens=counts,
    hinted=st.booleans(),
    path=some(counts),
    agents=st.dictionaries(names, names, max_size=2),
)
about = st.just("") | names
judged = st.builds(
    Verdict,
    verifier=names,
    score=st.floats(0, 1),
    passed=st.booleans(),
    reason=texts,
    turn=about,
    external=some(names),
)
verdicts = judged | st.builds(Verdict, verifier=names, error=texts, turn=about)
contexts = st.builds(Segment.context, messages=some(messages), token_ids=some(counts))


@st.composite
def answers(draw: st.DrawFn) -> Segment:
    """What is learnt: with one weight, or one each token; and advantages and log-probabilities, or none."""
    ids = draw(some(counts))
    each = some(floats, min_size=len(ids), max_size=len(ids)) if ids else st.just((1.0,))
    learnt = Segment.answer(draw(texts), ids, draw(each | st.just((0.5,)) | st.just(())))
    advantages, logprobs = draw(each | st.just(())), draw(each | st.just(())) if ids else ()
    return learnt.model_copy(update={"advantages": advantages, "logprobs": logprobs})


targets = (
    st.just(Imitate())
    | st.builds(Prefer, smoothing=st.floats(0, 1))
    | st.builds(Regress, label=floats, right=st.none() | st.booleans())
    | st.builds(Reinforce, mean_reward=floats)
)
sequences = st.builds(lambda prompt, rest: (prompt, *rest), contexts, some(contexts | answers()))
examples = st.builds(
    Example,
    role=st.none() | names,
    sequences=some(sequences, min_size=1),
    target=targets,
    weight=floats,
    task=names,
    rollout=names,
    drawn=st.none() | names,
)
scores = st.builds(
    TaskScore,
    model=names,
    metric=names,
    split=splits,
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
def trees(draw: st.DrawFn) -> Tree:
    """Trees of up to six nodes, every shape that they may have."""
    parents = [draw(st.integers(0, index)) for index in range(draw(st.integers(0, 5)))]
    fields = st.fixed_dictionaries(
        {
            "text": texts,
            "token_ids": some(counts),
            "visits": counts,
            "value": floats,
            "estimate": floats,
            "prior": floats,
            "terminal": st.booleans(),
            "hinted": st.booleans(),
        }
    )
    nodes = tuple(Node(index=i, parent=parent, **draw(fields)) for i, parent in enumerate([-1, *parents]))
    spent = st.builds(
        Spent, iterations=counts, tokens=counts, value_calls=counts, duplicates=counts, empty=counts, truncated=counts,
        seconds=floats, hint_tokens=counts, prefill_tokens=counts,
    )  # fmt: skip
    return Tree(
        prompt_ids=draw(some(counts)),
        nodes=nodes,
        answer=draw(st.integers(-1, len(nodes) - 1)),
        ended=draw(st.sampled_from(get_args(StopReason))),
        error=draw(texts),
        spent=draw(spent),
    )


@st.composite
def controls(draw: st.DrawFn) -> Control:
    """Controls, verified and not yet."""
    attempts = draw(some(rollouts, min_size=1))
    several = some(some(verdicts, min_size=1), min_size=len(attempts), max_size=len(attempts))
    return Control(
        budget=draw(counts), requests=draw(some(counts)), rollouts=attempts, verdicts=draw(st.just(()) | several)
    )


@st.composite
def groups(draw: st.DrawFn) -> Group:
    """Groups, verified and not yet."""
    attempts = draw(some(rollouts))
    several = some(some(verdicts), min_size=len(attempts), max_size=len(attempts))
    searched = draw(st.none() | trees())
    return Group(
        task=draw(tasks),
        rollouts=attempts,
        verdicts=draw(st.just(()) | several),
        tree=searched,
        control=draw(st.none() | controls()),
        minted=draw(some(tasks, max_size=2)),
    )


BY_KIND: dict[str, st.SearchStrategy[Record]] = {
    "tasks": tasks,
    "groups": groups(),
    "examples": examples,
    "scores": scores,
}
"""One strategy a kind of data set."""
