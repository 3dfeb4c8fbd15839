"""Format rules: does the rollout have the required format?

Length, ending, patterns and the box, all on the rollout's text. Whether the answer is right is another verifier's
business.
"""

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from selftaught.blocks import RolloutVerifier
from selftaught.records import Rollout, Task, Verdict


class Rules(RolloutVerifier, type="rules"):
    """Pass a rollout that breaks none of the rules; the reason lists those that it breaks.

    Patterns are Python regular expressions, searched for anywhere in the text (anchor with ^ and $).
    """

    reads_answer: ClassVar[bool] = False

    min_chars: Annotated[NonNegativeInt, Field(description="characters of the text at least")] = 0
    max_chars: Annotated[PositiveInt | None, Field(description="characters of the text at most")] = None
    finished: Annotated[bool, Field(description="the engine stopped by itself, not at max_tokens")] = True
    pattern: Annotated[re.Pattern[str] | None, Field(description="must be found")] = None
    forbid: Annotated[tuple[re.Pattern[str], ...], Field(description="none of these may be found")] = ()
    require_boxed: Annotated[bool, Field(description="\\boxed{ has to be in the text")] = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.max_chars is not None and self.min_chars > self.max_chars:
            raise ValueError(
                f"min_chars: {self.min_chars} is above max_chars: {self.max_chars}; no text can be both; "
                "lower the one or raise the other"
            )
        return self

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        """Passed, or failed with every broken rule in the reason."""
        broken = list(self._broken(rollout))
        return Verdict.of(self.name, not broken, "; ".join(broken))

    def _broken(self, rollout: Rollout) -> Iterator[str]:
        text = rollout.text
        if len(text) < self.min_chars:
            yield f"{len(text)} characters, fewer than min_chars: {self.min_chars}"
        if self.max_chars is not None and len(text) > self.max_chars:
            yield f"{len(text)} characters, more than max_chars: {self.max_chars}"
        if self.finished and rollout.finish_reason != "stop":
            yield f"ended by {rollout.finish_reason}, not stop"
        if self.pattern and not self.pattern.search(text):
            yield f"no match of {self.pattern.pattern!r}"
        if self.require_boxed and "\\boxed{" not in text:
            yield "no \\boxed{...}"
        yield from (f"match of {found.pattern!r}" for found in self.forbid if found.search(text))
