"""The inference strategies that metrics measure, looked up where samplers register: no step imports another."""

from collections.abc import Iterable

from selftaught.blocks import Drawn, Sampler, registered


def iid(k: int, temperature: float, max_tokens: int, drawn: Drawn) -> Sampler:
    """The `iid` sampler block: `k` independent samples a task, of at most `max_tokens` new tokens each.

    Greedy ones are the same whatever `drawn` says, and so are their samplers.
    """
    fields = {"k": k, "temperature": temperature, "max_tokens": max_tokens, **(drawn if temperature else {})}
    block = registered("sample")["iid"].model_validate(fields)
    assert isinstance(block, Sampler)
    return block


def require_turns(sample: Sampler, named: Iterable[str]) -> None:
    """Raise ValueError for the first of the turns `named` that `sample` does not have, as far as it says so before."""
    names = sample.turn_names
    for turn in named:
        if names is not None and turn not in names:
            raise ValueError(f"sample has no turn '{turn}'. It has {', '.join(names) or 'none: sample by dialogue'}.")


def require_answers(sample: Sampler, named: Iterable[str]) -> None:
    """Raise ValueError as `require_turns`, and for a turn that does not answer the task, so that nobody verifies it."""
    named = tuple(named)
    require_turns(sample, named)
    answers = sample.answer_names
    for turn in named:
        if answers is not None and turn not in answers:
            raise ValueError(
                f"sample's turn '{turn}' is no answer, so nobody verifies it. Name a turn of kind attempt or "
                f"refinement (it has {', '.join(answers) or 'none'}), or change its kind."
            )
