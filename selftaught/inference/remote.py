"""A model behind somebody else's OpenAI-compatible URL: a hosted API, or a server that this platform did not start.

It is known by the name that it is asked by. Nobody proves which weights answer, so it may be asked and measured, and
never trained, gated or promoted; its digest says so wherever it is recorded.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from typing_extensions import override

from selftaught.core.errors import BadInput, NoAnswer, WrongModel
from selftaught.core.unproven import unproven
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.inference.limiter import USERS


class RemoteModel(Endpoint):
    """`model` behind `url` (`https://api.example.com/v1`); `api_key_env` names the variable that holds the key.

    A chat asks for text alone, which every such server gives: rollouts have no tokens and log-probabilities, and the
    tokens used are in `usage`. A search asks for tokens too, which vLLM gives. `concurrency` bounds the requests in
    flight. Entering asks it nothing.
    """

    DETAILS: ClassVar[Mapping[str, bool]] = {}

    def __init__(self, url: str, model: str, *, api_key_env: str | None = None, concurrency: int = 16) -> None:
        policy = RetryPolicy(concurrency=concurrency, priority=USERS)
        super().__init__(url, model, unproven(model, url), policy=policy, api_key_env=api_key_env)
        self.name = model

    @override
    async def verify_served(self) -> None:
        """Nothing can be proven; a server that is not there or does not have the model says so when it is asked."""

    @override
    def _require_own(self, answered: str) -> None:
        """An alias answers under the name of what it stands for."""

    @override
    async def _tokens(self, body: dict[str, Any]) -> tuple[int, ...]:
        """Raises BadInput where the server, as most hosted ones, has no `/tokenize`."""
        try:
            return await super()._tokens(body)
        except (NoAnswer, WrongModel) as refused:
            raise BadInput(
                f"{self.url}: does not say what {self.name}'s tokens are, which `prefill` and process rewards need "
                f"({refused}). Leave them out, or serve the model with vLLM."
            ) from None
