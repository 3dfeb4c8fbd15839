"""Whether served weights are the trained ones: as near as noise is, and nothing that is not a number."""

import math

import pytest

from selftaught.core.errors import WrongModel
from selftaught.serving.backend import Served
from selftaught.serving.weight_check import TOLERANCE, Reference, Scored, fresh
from tests.inference.test_endpoint import DIGEST, Reply, answer, serving, valued

NO_NUMBER: Reply = lambda _, body: (400, {"error": {"message": "Out of range float values are not JSON compliant"}})  # noqa: E731


def said(*logprobs: float) -> Reply:
    """An engine that says this of the tokens 2, 3 … of a prompt, of which 1 is the first."""
    rows = [None, *({str(token): {"logprob": value}} for token, value in enumerate(logprobs, start=2))]
    return lambda _, body: (200, answer(body, prompt_logprobs=rows))


def text(*logprobs: float) -> Reference:
    ids = tuple(range(1, len(logprobs) + 2))
    return Reference(prompts=(Scored(token_ids=ids, logprobs=logprobs),))


def value(*values: float) -> Reference:
    return Reference(prompts=tuple(Scored(token_ids=(1, 2), value=each) for each in values))


async def apart(reply: Reply, reference: Reference) -> float:
    with serving(reply) as server:
        return await fresh(Served(server.url, "rft", DIGEST), reference)


@pytest.mark.parametrize(
    ("reply", "reference", "distance"),
    [
        (said(-1.0, -2.0), text(-1.0, -2.0), 0.0),
        (said(-1.0, -2.0), text(-1.1, -1.95), 0.075),
        (valued(0.25, 0.75), value(0.25, 0.75), 0.0),
        (valued(0.25, 0.75), value(0.30, 0.70), 0.05),
    ],
    ids=["equal", "of opposite signs", "equal values", "values"],
)
async def test_what_is_near_is_fresh_and_its_distance_is_told(reply: Reply, reference: Reference, distance: float):
    assert await apart(reply, reference) == pytest.approx(distance)


@pytest.mark.parametrize(
    ("reply", "reference"),
    [
        (said(-1.0, -2.0), text(-1.0 - 3 * TOLERANCE, -2.0)),
        (said(-1.0, -2.0), text(math.nan, -2.0)),
        (said(-1.0, -2.0), text(-math.inf, -2.0)),
        (valued(0.25, 0.75), value(0.25, 0.75 - 3 * TOLERANCE)),
        (valued(0.25, 0.75), value(0.25, math.nan)),
        (NO_NUMBER, value(0.25, 0.75)),
    ],
    ids=["far", "no number", "infinite", "far values", "a value that is no number", "an engine of no numbers"],
)
async def test_what_is_far_or_no_number_is_another_model(reply: Reply, reference: Reference):
    with pytest.raises(WrongModel, match=f"does not compute with the weights.*at most {TOLERANCE} is noise"):
        await apart(reply, reference)
