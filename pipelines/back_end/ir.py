"""A compiled pipeline as it is read here: its tasks with their components and executors, however deep they are.

It reads the two documents that kfp's compiler writes, the pipeline and its Kubernetes part. Nothing is judged here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The pipeline's document and its platform part's (empty: it has none)."""

    spec: Tree
    platform: Tree

    @classmethod
    def read(cls, path: Path) -> Self:
        """What kfp's compiler has written to `path`."""
        return cls.of(*yaml.safe_load_all(path.read_text(encoding="utf-8")))

    @classmethod
    def of(cls, spec: Tree, platform: Tree | None = None) -> Self:
        """The documents as they were parsed."""
        return cls(spec, platform or {})

    @property
    def name(self) -> str:
        """What the pipeline is called."""
        return self.spec["pipelineInfo"]["name"]

    @property
    def root(self) -> "Dag":
        """The outermost tasks."""
        return Dag(self, "root", self.spec["root"])

    def dags(self) -> Iterator["Dag"]:
        """The outermost tasks and every group of tasks below, each before those that are in it."""
        yield from self.root.nested()

    def tasks(self) -> Iterator["Task"]:
        """Every task and group, however deep."""
        for dag in self.dags():
            yield from dag.tasks.values()

    def executors(self) -> Iterator["Executor"]:
        """Every executor with its platform part."""
        executors = self.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
        for label, executor in self.spec["deploymentSpec"]["executors"].items():
            yield Executor(label, executor, executors.get("executors", {}).get(label, {}))


@dataclass(frozen=True, slots=True)
class Executor:
    """What runs a component: `spec` of the pipeline, `kubernetes` of its platform part."""

    label: str
    spec: Tree
    kubernetes: Tree

    @property
    def container(self) -> Tree:
        """The container, empty for an importer."""
        return self.spec.get("container", {})


@dataclass(frozen=True, slots=True)
class Dag:
    """Tasks that belong together: the pipeline, a loop's body or a condition's."""

    pipeline: Compiled
    name: str
    component: Tree

    @property
    def tasks(self) -> dict[str, "Task"]:
        """The tasks by their key."""
        return {key: Task(self, key, spec) for key, spec in self.component["dag"]["tasks"].items()}

    @property
    def outputs(self) -> Tree:
        """What leaves the group: selectors by kind (`artifacts`, `parameters`) and name."""
        return self.component["dag"].get("outputs", {})

    def nested(self) -> Iterator["Dag"]:
        """This group and all within."""
        yield self
        for task in self.tasks.values():
            if task.group:
                yield from task.group.nested()


@dataclass(frozen=True, slots=True)
class Task:
    """One task or group of tasks, in the group that it stands in."""

    dag: Dag
    key: str
    spec: Tree

    @property
    def location(self) -> str:
        """Where it stands, for messages."""
        return self.key if self.dag.name == "root" else f"{self.dag.name}/{self.key}"

    @property
    def component(self) -> Tree:
        """The component that it refers to, empty where there is none of that name."""
        return self.dag.pipeline.spec["components"].get(self.component_name, {})

    @property
    def component_name(self) -> str:
        """The name that it refers to."""
        return self.spec.get("componentRef", {}).get("name", "")

    @property
    def group(self) -> Dag | None:
        """The tasks within; None for a task that runs something itself."""
        return Dag(self.dag.pipeline, self.component_name, self.component) if "dag" in self.component else None

    @property
    def executor(self) -> Executor | None:
        """What runs it; None for a group."""
        label = self.component.get("executorLabel")
        return next((each for each in self.dag.pipeline.executors() if each.label == label), None)

    @property
    def condition(self) -> str:
        """The condition of its group, empty where it always runs."""
        return self.spec.get("triggerPolicy", {}).get("condition", "")

    @property
    def loops(self) -> Tree:
        """What it is run for each of, empty where it is no loop."""
        return self.spec.get("parameterIterator", {})

    def given(self, kind: str) -> Tree:
        """What its inputs of a kind (`parameters`, `artifacts`) are said to be, by name."""
        return self.spec.get("inputs", {}).get(kind, {})

    def takes(self, kind: str) -> Tree:
        """What its component declares as inputs of a kind, by name."""
        return self.component.get("inputDefinitions", {}).get(kind, {})

    def gives(self, kind: str) -> Tree:
        """What its component declares as outputs of a kind, by name."""
        return self.component.get("outputDefinitions", {}).get(kind, {})

    def producers(self) -> set[str]:
        """The tasks of its group that its inputs come from."""
        said = (each for kind in ("parameters", "artifacts") for each in self.given(kind).values())
        outputs = (each.get("taskOutputParameter") or each.get("taskOutputArtifact") for each in said)
        return {each["producerTask"] for each in outputs if each}

    def after(self) -> set[str]:
        """The tasks of its group that have to succeed before it (dag.go: addImplicitDependencies)."""
        return {*self.spec.get("dependentTasks", ()), *self.producers()}
