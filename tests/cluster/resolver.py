"""What KFP's driver makes of a task's parameters before a pod sees them: values of the types that are declared.

kfp.local hands values on as they are. The driver makes text of whatever goes through a STRING, a loop's item among it,
and refuses what its consumer does not take.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.back_end import Compiled
from pipelines.back_end.ir import Task
from pipelines.back_end.values import resolved


def driven(pipeline: Compiled, component: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` as the executor of `component` is given them. Raises TypeError where the driver refuses one."""
    task = next(task for task in pipeline.tasks() if task.component_name == f"comp-{component}")
    return {name: _driven(task, name, value) for name, value in values.items()}


def _driven(task: Task, name: str, value: Any) -> Any:
    for declared in _types(task, name):
        try:
            value = resolved(value, declared)
        except TypeError as error:
            raise TypeError(f"{task.location}: input parameter {name!r} {error}") from None
    return value


def _types(task: Task, name: str) -> Iterator[str]:
    """The types that a value goes through on its way to the task's input, the task's own last."""
    source = task.given("parameters").get(name, {}).get("componentInputParameter")
    if source and task.dag.name != "root":
        (group,) = (each for each in task.dag.pipeline.tasks() if each.component_name == task.dag.name)
        yield from _types(group, source)
    elif source:
        yield task.dag.component["inputDefinitions"]["parameters"][source]["parameterType"]
    yield task.takes("parameters")[name]["parameterType"]
