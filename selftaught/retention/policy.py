"""How long things are kept: ages in days, and nothing else. What is needed whatever its age is `lineage`'s."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Days = Annotated[int, Field(ge=1)]
"""At least one: a running step may need for hours what nothing refers to yet."""


class RetentionPolicy(BaseModel):
    """Ages in days. Claims have none of their own: one is released with what it names, neither before nor after."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rollouts: Annotated[Days, Field(description="rollouts; tasks and examples of failed rounds")] = 90
    trees: Annotated[Days, Field(description="rollouts with their search trees, many times as large")] = 30
    scores: Annotated[Days, Field(description="evaluation scores, a few kilobytes each")] = 365
    models: Annotated[Days, Field(description="weights of models without alias that were never champion")] = 30
    journals: Annotated[Days, Field(description="journals of steps that are done")] = 7
    served: Annotated[Days, Field(description="endpoints whose model has no alias any more")] = 1
    pipelines: Annotated[Days, Field(description="versions of pipelines that no run and no champion is of")] = 30
    torn: Annotated[Days, Field(description="what killed uploads left; until then an upload resumes from it")] = 7
