"""Types as the driver holds values to them: of parameters, of a loop's items, of artifacts and their lists.

kfp's compiler and its local runner let much through that the driver refuses when the run has come that far. Read in
backend/src/v2/driver/resolver (parameters.go, artifacts.go) and backend/src/apiserver/template/v2_template.go of
kubeflow/pipelines.
"""

import json
from collections.abc import Iterator
from typing import Any, cast

from pipelines.back_end.ir import Compiled, Dag, Task, Tree

NUMBERS = {"NUMBER_INTEGER", "NUMBER_DOUBLE"}
ANYTHING = "anything"
"""Of a value that an expression selects, whose type is known when it is there."""


def kind(value: object) -> str:
    """The type of a value that stands in the pipeline. JSON, and so the driver, has one type of numbers."""
    for python, name in ((bool, "BOOLEAN"), (str, "STRING"), ((int, float), "NUMBER_DOUBLE"), (list, "LIST")):
        if isinstance(value, python):
            return name
    return "STRUCT" if isinstance(value, dict) else "null"


def taken(given: str, declared: str) -> bool:
    """Whether a value of type `given` is taken where `declared` is (parameters.go: normalizeResolvedParameterValue).

    A string takes anything, as text; nothing else is converted, a numeral in a string neither.
    """
    return declared == "STRING" or given in (declared, ANYTHING) or {given, declared} <= NUMBERS


def resolved(value: object, declared: str) -> Any:
    """`value` as the driver hands it to an input of type `declared`. Raises TypeError where it refuses it."""
    if not taken(kind(value), declared):
        raise TypeError(f"type mismatch: expect {declared}, got {kind(value)}")
    return json.dumps(value) if declared == "STRING" and not isinstance(value, str) else value


def parameters_fit(pipeline: Compiled) -> Iterator[str]:
    """Every parameter is of the type that its consumer declares (parameters.go: resolveParameters)."""
    for task in pipeline.tasks():
        for name, source in task.given("parameters").items():
            declared, given = task.takes("parameters").get(name), source_type(task, source)
            if declared is None:
                yield f"{task.location}: its component has no parameter {name}"
            elif given is None:
                yield f"{task.location}: {name} comes from nowhere: {_said(source)}"
            elif not taken(given, declared["parameterType"]):
                yield f"{task.location}: {name} is {given}, and {declared['parameterType']} is taken"


def source_type(task: Task, source: Tree) -> str | None:
    """The type that an input's source declares; None where there is no such source."""
    if "parameterExpressionSelector" in source:
        return ANYTHING
    if "runtimeValue" in source:
        return kind(source["runtimeValue"].get("constant"))
    if output := source.get("taskOutputParameter"):
        producer = task.dag.tasks.get(output["producerTask"])
        declared = producer.gives("parameters").get(output["outputParameterKey"]) if producer else None
    elif "taskFinalStatus" in source:
        return "TASK_FINAL_STATUS"
    else:
        declared = _inputs(task.dag, "parameters").get(source.get("componentInputParameter", ""))
    return declared["parameterType"] if declared else None


def _inputs(dag: Dag, kind: str) -> Tree:
    return dag.component.get("inputDefinitions", {}).get(kind, {})


def _said(source: Tree) -> str:
    return json.dumps(source)


def inputs_are_given(pipeline: Compiled) -> Iterator[str]:
    """What a component needs, it is given (the executor would miss it), and never by what may be null.

    parameters.go: an optional input that was left out is null (ErrResolvedParameterNull), which ends a run unless its
    consumer is optional too. A default counts where the input is optional, and nowhere else.
    """
    for task in pipeline.tasks():
        item = task.loops.get("itemInput")
        for side in ("parameters", "artifacts"):
            given = task.given(side)
            for name, declared in task.takes(side).items():
                if declared.get("isOptional") or name == item:
                    continue
                if name not in given:
                    yield f"{task.location}: needs {name}, and is not given it"
                elif absent := _may_be_null(task, given[name], side):
                    yield f"{task.location}: needs {name}, and {absent} may be left out"


def _may_be_null(task: Task, source: Tree, side: str) -> str:
    """The group's input that `source` is, where it is optional and has no default."""
    name = source.get("componentInputParameter") or source.get("componentInputArtifact") or ""
    declared = _inputs(task.dag, side).get(name, {})
    return name if declared.get("isOptional") and "defaultValue" not in declared else ""


def defaults_fit(pipeline: Compiled) -> Iterator[str]:
    """A default is of its parameter's type, for the pipeline's inputs as for components' (v2_template.go)."""
    components = {"root": pipeline.spec["root"], **pipeline.spec["components"]}
    for name, component in components.items():
        for key, declared in component.get("inputDefinitions", {}).get("parameters", {}).items():
            if "defaultValue" not in declared:
                continue
            given = declared["defaultValue"]
            if kind(given) != declared["parameterType"] and not {kind(given), declared["parameterType"]} <= NUMBERS:
                yield f"{name}: {key} is {declared['parameterType']}, and its default {given!r} is {kind(given)}"
            if not declared.get("isOptional"):
                yield f"{name}: {key} has a default and is not optional, so the default is never taken"


def loops_fit(pipeline: Compiled) -> Iterator[str]:
    """A loop's items are of the type that it declares for them (parameters.go: resolveParameterIterator).

    Of the `list` that stands without a type kfp makes strings, which no consumer of numbers takes.
    """
    for task in pipeline.tasks():
        if not task.loops:
            continue
        item, declared = task.loops["itemInput"], task.takes("parameters").get(task.loops["itemInput"])
        if declared is None:
            yield f"{task.location}: its items are {item}, which it does not declare"
        elif not is_loop_item(item):
            yield f"{task.location}: its items are {item}: the driver tells them by a name with 'loop-item' at its end"
        else:
            yield from _items_fit(task, item, declared["parameterType"])


def is_loop_item(name: str) -> bool:
    """Whether the driver takes a parameter for a loop's item, by its name alone (driver/common: IsLoopArgument)."""
    bare = name.removeprefix("pipelinechannel--")
    return bare.startswith("loop-item") or bare.endswith("loop-item")


def _items_fit(task: Task, item: str, declared: str) -> Iterator[str]:
    items = _items(task)
    if items is None:
        source = task.takes("parameters").get(task.loops["items"].get("inputParameter"), {})
        if source.get("parameterType") not in ("LIST", "STRING"):
            yield f"{task.location}: loops over {source.get('parameterType')}, which cannot be iterated"
        return
    for value in items:
        if kind(value) != declared and not {kind(value), declared} <= NUMBERS:
            yield f"{task.location}: {item} is {declared}, and {value!r} is {kind(value)}"


def _items(task: Task) -> list[object] | None:
    """What a loop goes over where the pipeline says it: items that stand there, or its parameter's default."""
    items = task.loops["items"]
    if "raw" in items:
        return json.loads(items["raw"])
    source = task.given("parameters").get(items["inputParameter"], {})
    declared = _inputs(task.dag, "parameters").get(source.get("componentInputParameter"), {})
    default: object = declared.get("defaultValue")
    return cast("list[object]", default) if isinstance(default, list) else None


def nothing_else_is_called_a_loop_item(pipeline: Compiled) -> Iterator[str]:
    """A parameter that has such a name is looked for among a loop's items, and found null."""
    for task in pipeline.tasks():
        for name in task.takes("parameters"):
            if is_loop_item(name) and name != task.loops.get("itemInput") and not _handed_on(task, name):
                yield f"{task.location}: {name} is not a loop item, but the driver takes it for one"


def _handed_on(task: Task, name: str) -> bool:
    return is_loop_item(task.given("parameters").get(name, {}).get("componentInputParameter", ""))


def artifacts_fit(pipeline: Compiled) -> Iterator[str]:
    """An artifact is of the type that its consumer declares, and a list where it declares one.

    The driver hands on whatever is there; of a list that is taken for one artifact the executor sees the first.
    """
    for task in pipeline.tasks():
        for name, source in task.given("artifacts").items():
            declared, given = task.takes("artifacts").get(name), _artifact(task, source)
            if declared is None:
                yield f"{task.location}: its component has no artifact {name}"
            elif given is None:
                yield f"{task.location}: {name} comes from nowhere: {_said(source)}"
            elif _list(given) != _list(declared):
                yield f"{task.location}: {name} is {_listed(given)}, and {_listed(declared)} is taken"
            elif _title(declared) not in ("system.Artifact", _title(given)):
                yield f"{task.location}: {name} is {_title(given)}, and {_title(declared)} is taken"


def _artifact(task: Task, source: Tree) -> Tree | None:
    if output := source.get("taskOutputArtifact"):
        producer = task.dag.tasks.get(output["producerTask"])
        return producer.gives("artifacts").get(output["outputArtifactKey"]) if producer else None
    return _inputs(task.dag, "artifacts").get(source.get("componentInputArtifact", ""))


def _list(artifact: Tree) -> bool:
    return bool(artifact.get("isArtifactList"))


def _listed(artifact: Tree) -> str:
    return "a list" if _list(artifact) else "one artifact"


def _title(artifact: Tree) -> str:
    return artifact["artifactType"].get("schemaTitle", "")


def what_leaves_a_loop_is_collected(pipeline: Compiled) -> Iterator[str]:
    """As lists of artifacts, from at least one turn.

    Of one turn the driver makes no list of a parameter (parameters.go: findParameterByProducerKeyInList), and of none
    it finds no output at all: the run fails.
    """
    for task in pipeline.tasks():
        if not task.loops:
            continue
        for name in task.gives("parameters"):
            yield (
                f"{task.location}: {name} is a parameter of each turn, and one turn cannot collect it; write an "
                "artifact"
            )
        for name, artifact in task.gives("artifacts").items():
            if not _list(artifact):
                yield f"{task.location}: {name} leaves a loop, and is said to be one artifact"
        if task.gives("artifacts") and not (_items(task) or _asked(task)):
            yield f"{task.location}: goes over what may be empty, and what it collects would not be found"


def _asked(task: Task) -> bool:
    """Whether whoever starts the pipeline says what the loop goes over."""
    source = task.given("parameters").get(task.loops["items"].get("inputParameter"), {})
    name = source.get("componentInputParameter")
    return task.dag.name == "root" and name in _inputs(task.dag, "parameters") and _items(task) != []
