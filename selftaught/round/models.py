"""The models of a job's roles, each behind an endpoint that is proven to serve its digest.

Asks whatever serves models here for one version each and hands out clients. Starting, keeping and stopping engines is
`selftaught.serving`'s business.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from pydantic import JsonValue

from selftaught.blocks import Context, Verifier
from selftaught.core.errors import BadInput
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.platform import Platform
from selftaught.round.job import Job, ModelRef
from selftaught.sampling.runner import CONCURRENCY
from selftaught.serving.weight_check import Reference, check_fresh
from selftaught.state.ledger import ReferenceEntry


@asynccontextmanager
async def context(platform: Platform, job: Job, policy: ModelRef, *, alone: bool = False) -> AsyncGenerator[Context]:
    """The context of the stage's blocks with `policy` as the policy and the other models in their roles.

    With `alone` those that only a search asks (trained beside the policy, not named by the recipe) are left out.
    Raises BadInput when there is room for one engine and the job needs more.
    """
    verifiers: tuple[Verifier, ...] = job.blocks.verify
    others = {role: ref for role, ref in job.roles.items() if not alone or role in job.recipe.models}
    if others and platform.settings.one_engine:
        raise BadInput(
            f"{job.recipe.name}: asks {', '.join(sorted(others))} beside the policy, but SELFTAUGHT_ONE_ENGINE says "
            "that there is room for one engine. Make room, or take a recipe with one model."
        )
    async with AsyncExitStack() as stack:
        models: Mapping[str, Endpoint] = {
            role: await stack.enter_async_context(
                await endpoint(platform, job.line, ref.digest, job.recipe.chat_template)
            )
            for role, ref in {**others, "policy": policy}.items()
        }
        yield Context(models=models, verifiers=verifiers, seed=job.seed)


def tasks_in_flight(models: Context) -> int:
    """As many tasks as the policy's engine has room for sequences, since a search has one or two at a time.

    What `selftaught.sampling.runner` keeps in flight at least: users at the engine may just have left little.
    """
    policy = models.model()
    return max(CONCURRENCY, policy.room if isinstance(policy, Endpoint) else 0)


async def endpoint(platform: Platform, line: str, digest: str, template: Mapping[str, JsonValue]) -> Endpoint:
    """A client of an engine that serves `digest` with the weights that the trainer had. Raises WrongModel if not.

    `template` are variables of the chat template that it asks with.
    """
    served = await asyncio.to_thread(platform.serving().deploy, line, digest)
    if (reference := platform.ledger.read(ReferenceEntry(digest), Reference)) is not None:
        await asyncio.to_thread(check_fresh, served, reference)
    policy = RetryPolicy(concurrency=128)
    return Endpoint(served.url, line, digest, policy=policy, key=served.key, template=template)
