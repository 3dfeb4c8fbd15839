"""What KFP's cache does with a pipeline: a task is answered from it where its key has been seen.

The key (backend/src/v2/cacheutils/cache.go: GenerateCacheKey) has the values of parameters, the *ids* of artifacts, the
outputs' names and types, command, image and environment, under the pipeline's name and the namespace. A task that ran
gives its artifacts new ids, so what comes after it is not found either; secrets, settings and what a tag holds are not
in it.
"""

from collections.abc import Iterator

from pipelines.back_end.ir import Compiled, Task


def the_cache_answers_nothing_wrong(pipeline: Compiled) -> Iterator[str]:
    """What depends on parameters alone may not be cached: with equal ones the second run of a schedule does nothing."""
    for task in _cached(pipeline):
        if not task.producers() and not _handed(task):
            yield f"{task.location}: is cached and depends on parameters alone, so a second run would do nothing"


def the_cache_is_not_asked_in_vain(pipeline: Compiled) -> Iterator[str]:
    """Behind a task that always runs, no task is ever found."""
    for task in _cached(pipeline):
        always = [each for each in task.producers() if not _caches(task.dag.tasks[each])]
        if always or _handed(task):
            yield f"{task.location}: is cached behind {', '.join(always) or 'its group'}, which makes new ids each time"


def _cached(pipeline: Compiled) -> Iterator[Task]:
    return (task for task in pipeline.tasks() if _caches(task) and not task.group)


def _caches(task: Task) -> bool:
    if task.group:
        return all(_caches(inner) for inner in task.group.tasks.values())
    return bool(task.spec.get("cachingOptions", {}).get("enableCache"))


def _handed(task: Task) -> bool:
    """Whether a task in a group is given an artifact from outside."""
    return any("componentInputArtifact" in source for source in task.given("artifacts").values())
