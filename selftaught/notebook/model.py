"""Opening a model, and asking it from code that waits."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from pydantic import TypeAdapter

from selftaught.blocks import Context, Sampler, Verifier, silent
from selftaught.blocks.loading import OnAxis
from selftaught.core.errors import BadInput
from selftaught.core.runner import Forgetful
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.inference.limiter import USERS
from selftaught.inference.remote import RemoteModel
from selftaught.records import Group, Message, Task
from selftaught.sampling.runner import sample
from selftaught.serving.engines.pool import LocalEngines
from selftaught.settings import Settings
from selftaught.state.starter import resolve
from selftaught.state.weights import model_digest
from selftaught.verification.runner import verify

Given = Mapping[str, Any]
"""A block as a recipe has it: its `type` and its fields."""


class Model:
    """A model that answers. `endpoint` is the client, with what it has `usage` of."""

    def __init__(self, endpoint: Endpoint, portal: BlockingPortal) -> None:
        self.endpoint = endpoint
        self._portal = portal

    def ask(self, question: str, *, n: int = 1, temperature: float = 0.0, max_tokens: int = 256) -> list[str]:
        """`n` answers to `question`."""
        asked = (Message(role="user", content=question),)

        async def answers() -> list[str]:
            said = await self.endpoint.chat(asked, n=n, temperature=temperature, max_tokens=max_tokens)
            return [each.text for each in said]

        return self._portal.call(answers)

    def sample(
        self, tasks: Sequence[Task], sampler: Sampler | Given, *verifiers: Verifier | Given, seed: int = 0
    ) -> list[Group]:
        """A group a task, in their order; a task without an answer has none, and is named on stderr.

        A search may ask `verifiers` on its way. Raises RoundFailed when more than a tenth of the tasks get no answer,
        BadInput where a search needs tokens that the server does not tell, and pydantic's ValidationError for a block
        that is none.
        """
        made = _sampler(sampler)
        context = self._context(verifiers, seed)
        return self._portal.call(lambda: sample(tasks, made, context, Forgetful[Group](), silent))

    def verify(self, groups: Sequence[Group], *verifiers: Verifier | Given) -> list[Group]:
        """`groups` with a verdict of each verifier on each rollout; one that asks a model asks this one."""
        context = self._context(verifiers, 0)
        return self._portal.call(lambda: verify(groups, context.verifiers, context, silent))

    def _context(self, verifiers: Sequence[Verifier | Given], seed: int) -> Context:
        made = tuple(_verifier(each) for each in verifiers)
        return Context(models={"policy": self.endpoint}, verifiers=made, seed=seed)


@contextmanager
def open_model(name: str, *, served_as: str = "", api_key_env: str | None = None) -> Generator[Model]:
    """The model `name`: a folder, a starter model's name, `owner/name` on the hub, or a server's URL.

    The first three are served here, by an engine that ends with the block; the URL (`http://localhost:8000/v1`) is
    asked for the model `served_as`, with the key in the variable `api_key_env`. Raises BadInput for a name that is
    none of these or a URL without `served_as`, Unavailable when the engine does not start.
    """
    with ExitStack() as stack:
        endpoint = _remote(name, served_as, api_key_env) if "://" in name else _local(name, stack)
        portal = stack.enter_context(start_blocking_portal())
        yield Model(stack.enter_context(portal.wrap_async_context_manager(endpoint)), portal)


def _remote(url: str, served_as: str, api_key_env: str | None) -> Endpoint:
    if not served_as:
        raise BadInput(f"{url}: which of its models? Say served_as=…, the name that requests ask for.")
    return RemoteModel(url, served_as, api_key_env=api_key_env)


def _local(name: str, stack: ExitStack) -> Endpoint:
    home = Settings.load().home
    folder = resolve(name, home / "models")
    engines = stack.enter_context(LocalEngines(home))
    served = engines.deploy("notebook", model_digest(folder), folder)
    return Endpoint(served.url, served.line, served.digest, key=served.key, policy=RetryPolicy(priority=USERS))


def _sampler(given: Sampler | Given) -> Sampler:
    """`given`, or the sampler that it describes."""
    if isinstance(given, Sampler):
        return given
    return TypeAdapter[Sampler](Annotated[Sampler, OnAxis("sample")]).validate_python(given)


def _verifier(given: Verifier | Given) -> Verifier:
    """`given`, or the verifier that it describes."""
    if isinstance(given, Verifier):
        return given
    return TypeAdapter[Verifier](Annotated[Verifier, OnAxis("verify")]).validate_python(given)
