"""How many pods a run of a compiled pipeline is, and how many of them follow one another.

By the back end's rules (backend/src/v2/compiler/argocompiler/dag.go: DAG, task, iteratorTask): the pipeline has a
driver; a task has a driver and an executor, an importer is one pod; a group has a driver; a loop has a driver, and one
more for each turn. A task that is answered from the cache is its driver alone. Exit handlers are not counted.

Pods that follow one another say what the back end's scheduling costs, which is about `SECONDS` for each at its stock
requeue: Argo looks at a workflow again after 10 s (DEFAULT_REQUEUE_TIME).
"""

from dataclasses import dataclass

from pipelines.back_end.ir import Compiled, Dag, Task

SECONDS = 10


@dataclass(frozen=True, slots=True)
class Pods:
    """A run's pods: `count` of them, `in_a_row` on the longest way through it."""

    count: int
    in_a_row: int

    @property
    def seconds(self) -> int:
        """What their scheduling takes at the stock requeue, without what they do."""
        return self.in_a_row * SECONDS


def pods(pipeline: Compiled, turns: int = 1, *, taken: frozenset[str] = frozenset()) -> Pods:
    """The pods of a run in which each loop has `turns` and the conditions of the groups `taken` hold."""
    below = _dag(pipeline.root, turns, taken)
    return Pods(1 + below.count, 1 + below.in_a_row)


def before(pipeline: Compiled, component: str) -> int:
    """How many pods follow one another before the first executor of the component called `component` starts."""
    found = _until(pipeline.root, component)
    assert found is not None, f"{pipeline.name}: no task of {component}"
    return 1 + found


def _dag(dag: Dag, turns: int, taken: frozenset[str]) -> Pods:
    each = {key: _task(task, turns, taken) for key, task in dag.tasks.items()}

    def until(key: str) -> int:
        return each[key].in_a_row + max(map(until, dag.tasks[key].after()), default=0)

    return Pods(sum(pods.count for pods in each.values()), max(map(until, each)))


def _task(task: Task, turns: int, taken: frozenset[str]) -> Pods:
    if not task.group:
        own = 1 if task.executor and "importer" in task.executor.spec else 2
        return Pods(own, own)
    if task.condition and task.key not in taken:
        return Pods(1, 1)
    body = _dag(task.group, turns, taken)
    if not task.loops:
        return Pods(1 + body.count, 1 + body.in_a_row)
    return Pods(1 + turns * (1 + body.count), 2 + body.in_a_row)


def _until(dag: Dag, component: str) -> int | None:
    """Pods in a row from the start of `dag` to the executor of `component`, its own not among them."""
    for task in dag.tasks.values():
        if task.group and (found := _until(task.group, component)) is not None:
            return _earlier(dag, task) + (2 if task.loops else 1) + found
        if task.component_name == f"comp-{component}":
            return _earlier(dag, task) + 1
    return None


def _earlier(dag: Dag, task: Task) -> int:
    def until(key: str) -> int:
        return _task(dag.tasks[key], 1, frozenset()).in_a_row + max(map(until, dag.tasks[key].after()), default=0)

    return max(map(until, task.after()), default=0)
