"""What the back end's compiler refuses: names that lead nowhere, groups without tasks, and what follows on a skip.

Read in backend/src/v2/compiler (visitor.go, argocompiler/dag.go, argocompiler/argo.go) of kubeflow/pipelines.
"""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from pipelines.back_end.ir import Compiled, Dag, Task

SCHEMA = "2.1.0"


def names_lead_somewhere(pipeline: Compiled) -> Iterator[str]:
    """Components, executors and producers are there (visitor.go: dfs; dag.go: addImplicitDependencies)."""
    if "root" in pipeline.spec["components"]:
        yield "component root: the name is the pipeline's own"
    labels = pipeline.spec["deploymentSpec"]["executors"]
    for task in pipeline.tasks():
        if not task.component:
            yield f"{task.location}: there is no component {task.component_name or '(none named)'}"
        elif not task.group and task.component.get("executorLabel") not in labels:
            yield f"{task.location}: there is no executor {task.component.get('executorLabel')}"
        for other in sorted(task.after() - set(task.dag.tasks)):
            yield f"{task.location}: comes after {other}, which is not a task of its group"


def order_ends(dag: Dag) -> str | None:
    """What goes round in circles in a group, if anything does (Argo refuses a DAG with a cycle)."""
    try:
        TopologicalSorter({key: task.after() for key, task in dag.tasks.items()}).prepare()
    except CycleError as error:
        return " → ".join(error.args[1])
    return None


def groups_can_run(pipeline: Compiled) -> Iterator[str]:
    """A group has tasks, in an order, and none is its own (dag.go: DAG; visitor.go: circular component references)."""
    for dag in pipeline.dags():
        if not dag.tasks:
            yield f"{dag.name}: has no tasks"
        elif circle := order_ends(dag):
            yield f"{dag.name}: {circle}: each comes after the other"


def runs_on_argo(pipeline: Compiled) -> Iterator[str]:
    """Only what is implemented there (dag.go: DAG, task; template/v2_template.go: NewV2SpecTemplate)."""
    if pipeline.spec.get("schemaVersion") != SCHEMA:
        yield f"schemaVersion {pipeline.spec.get('schemaVersion')}: the back end takes {SCHEMA}"
    for executor in pipeline.executors():
        if not {"container", "importer"} & set(executor.spec):
            yield f"{executor.label}: is neither a container nor an importer"
    for task in pipeline.tasks():
        if "artifactIterator" in task.spec:
            yield f"{task.location}: loops over artifacts, which Argo's compiler does not implement"
        if task.condition and task.executor and "importer" in task.executor.spec:
            yield f"{task.location}: an importer cannot have a condition"
        if "retryPolicy" in task.spec:
            yield f"{task.location}: asks for a retry, which the controller's own (OnError) replaces"


def nothing_follows_a_skip(pipeline: Compiled) -> Iterator[str]:
    """Every task waits for others to have *succeeded* (dag.go: depends); behind a skipped one all are left out.

    What leaves a condition is read through `dsl.OneOf`, over branches of which one always runs.
    """
    for task in pipeline.tasks():
        for other in sorted(task.after()):
            before = task.dag.tasks.get(other)
            if before and before.condition and not _exits(task):
                yield f"{task.location}: comes after {other}, and is left out where that is skipped"
    for dag in pipeline.dags():
        yield from _outputs_of_skips(dag)


def _exits(task: Task) -> bool:
    return task.spec.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"


def _outputs_of_skips(dag: Dag) -> Iterator[str]:
    for name, output in dag.outputs.get("parameters", {}).items():
        selected = output.get("valueFromParameter")
        if selected and dag.tasks[selected["producerSubtask"]].condition:
            yield f"{dag.name}: its output {name} comes from {selected['producerSubtask']}, which may be skipped"
    for name, output in dag.outputs.get("artifacts", {}).items():
        selectors = output["artifactSelectors"]
        if len(selectors) == 1 and dag.tasks[selectors[0]["producerSubtask"]].condition:
            yield f"{dag.name}: its output {name} comes from {selectors[0]['producerSubtask']}, which may be skipped"


def equal_containers_are_one_component(pipeline: Compiled) -> Iterator[str]:
    """The workflow keeps a component's specification under its container's digest, the first of equals alone.

    argo.go: hashComponentContainer, saveProtoToArguments. Another task of the same code and resources that declares
    other inputs would be driven by the first one's.
    """
    seen: list[tuple[object, str, object]] = []
    for task in pipeline.tasks():
        if not task.executor:
            continue
        declared = {side: task.component.get(side) for side in ("inputDefinitions", "outputDefinitions")}
        for container, other, others in seen:
            if container == task.executor.spec and others != declared:
                yield f"{task.location}: has the container of {other} and other inputs or outputs"
        seen.append((task.executor.spec, task.location, declared))
