"""The models of a job's roles, each behind an endpoint that is proven to serve its digest, or behind a URL.

Asks whatever serves models here for one version each and hands out clients. Starting, keeping and stopping engines is
`selftaught.serving`'s business.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from pydantic import JsonValue

from selftaught.blocks import ChatModel, Context
from selftaught.core.errors import BadInput
from selftaught.core.unproven import is_unproven
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.inference.remote import RemoteModel
from selftaught.platform import Platform
from selftaught.recipe.models import ExternalModel, externals
from selftaught.round.inputs import Inputs
from selftaught.round.job import Job, ModelRef
from selftaught.sampling.runner import CONCURRENCY
from selftaught.serving.weight_check import Reference, check_fresh
from selftaught.state.ledger import ReferenceEntry


@asynccontextmanager
async def context(platform: Platform, inputs: Inputs, policy: ChatModel | None = None) -> AsyncGenerator[Context]:
    """The context of a step's blocks, with the models of the roles that these ask and no others.

    `policy` is a model that plays the policy in place of one that is served.

    Raises BadInput when there is room for one engine and they need more.
    """
    job, live = inputs.job, {"policy": policy} if policy else {}
    served = {role: ref for role, ref in inputs.served().items() if role not in live}
    proven = {ref.digest for ref in served.values() if not is_unproven(ref.digest)}
    if platform.settings.one_engine and len(proven) > 1:
        raise BadInput(
            f"{job.recipe.name}: asks the models of {', '.join(sorted(served))} in one step, but SELFTAUGHT_ONE_ENGINE "
            "says that there is room for one engine. Make room, or take a recipe with one model."
        )
    async with AsyncExitStack() as stack:
        models = {
            role: await stack.enter_async_context(await _opened(platform, job, role, ref))
            for role, ref in served.items()
        }
        yield Context(models={**models, **live}, verifiers=inputs.verifiers, seed=inputs.seed, asked=inputs.roles)


async def _opened(platform: Platform, job: Job, role: str, ref: ModelRef) -> Endpoint:
    """The client of the model that plays `role` of `job`."""
    if (model := externals(job.recipe.models).get(role)) is not None:
        return external(model)
    return await endpoint(platform, job.line, ref.digest, job.recipe.chat_template)


def external(model: ExternalModel) -> RemoteModel:
    """A client of a model behind a URL. Raises BadInput where the variable that holds its key is not set."""
    return RemoteModel(model.url, model.model, api_key_env=model.api_key_env)


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
