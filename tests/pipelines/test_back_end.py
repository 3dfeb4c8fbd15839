"""Every compiled pipeline as the back end reads it, and every rule with slips that it catches.

A slip is one change of a compiled pipeline that takes nothing else with it, planted wherever it can be; each is found
by the rule that it breaks.
"""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from pipelines import round as pipeline
from pipelines.back_end import RULES, WHOLE, Compiled, broken
from pipelines.back_end.kubernetes import ARGUMENT
from pipelines.back_end.values import resolved, taken
from selftaught.core.errors import BadInput
from tests.documents import documents

FILES = sorted(pipeline.COMPILED.glob("*.yaml"))
WRITTEN = {path.name: documents(path) for path in FILES}
PICKLED = {name: pickle.dumps(documents) for name, documents in WRITTEN.items()}
CALLED = {rule.__name__: rule for rule in (*WHOLE, *RULES)}


@pytest.mark.parametrize("places", ["cpu", "gpu"])
def test_the_back_end_takes_every_pipeline(places: str, tmp_path: Path):
    pipeline.main(tmp_path, places)
    assert {path.name: broken(Compiled.read(path)) for path in tmp_path.iterdir()} == {path.name: {} for path in FILES}


# Slips ----------------------------------------------------------------------------------------------------------------

SLIPS: list[tuple[str, str, Callable[[Any, Any], Iterator[Callable[[], object]]]]] = []


def slip(rule: str) -> Callable[..., Any]:
    """Of a function that gives, for two documents, what changes them, one at a time: `rule` has to find it."""

    def keep(places: Callable[[Any, Any], Iterator[Callable[[], object]]]) -> Any:
        SLIPS.append((rule, places.__name__, places))
        return places

    return keep


def planted(file: str, places: Callable[[Any, Any], Iterator[Callable[[], object]]]) -> Iterator[Compiled]:
    """The pipeline with the slip in each of its places, one after the other."""
    for number, _ in enumerate(places(*WRITTEN[file])):
        spec, platform = pickle.loads(PICKLED[file])  # which copies faster than deepcopy
        list(places(spec, platform))[number]()
        yield Compiled.of(spec, platform)


def tasks(spec: Any) -> Iterator[tuple[Any, Any]]:
    """Each task with the tasks of its group."""
    for component in (spec["root"], *spec["components"].values()):
        if "dag" in component:
            for task in component["dag"]["tasks"].values():
                yield task, component["dag"]["tasks"]


def declared(spec: Any, task: Any, side: str, kind: str) -> Any:
    return spec["components"][task["componentRef"]["name"]].get(side, {}).get(kind, {})


def loop(spec: Any) -> Any:
    return spec["root"]["dag"]["tasks"]["for-loop-1"]


def kubernetes(platform: Any) -> Any:
    return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def setting(target: Any, key: str, value: Any) -> Callable[[], object]:
    return lambda: target.__setitem__(key, value)


def taking(target: Any, key: Any) -> Callable[[], object]:
    return lambda: target.pop(key)


@slip("loops_fit")
def items_of_a_bare_list(spec: Any, platform: Any):
    """What kfp makes of `shards: list`: strings, where `sample` takes numbers."""
    yield setting(spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"][ITEM], *STRING)


@slip("parameters_fit")
def the_same_seen_by_the_task_that_takes_an_item(spec: Any, platform: Any):
    yield setting(spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"][ITEM], *STRING)


ITEM, STRING = "pipelinechannel--shards-loop-item", ("parameterType", "STRING")


@slip("parameters_fit")
def a_consumer_of_another_type(spec: Any, platform: Any):
    for task, _ in tasks(spec):
        for name in task.get("inputs", {}).get("parameters", {}):
            takes = declared(spec, task, "inputDefinitions", "parameters")[name]
            for other in ("NUMBER_INTEGER", "BOOLEAN", "LIST", "STRUCT"):
                if not taken(takes["parameterType"], other) or takes["parameterType"] == "STRING":
                    yield setting(takes, "parameterType", other)


@slip("parameters_fit")
def a_source_that_is_not_there(spec: Any, platform: Any):
    for task, _ in tasks(spec):
        for source in task.get("inputs", {}).get("parameters", {}).values():
            if "componentInputParameter" in source:
                yield setting(source, "componentInputParameter", "nobody")
            elif "taskOutputParameter" in source:
                yield setting(source["taskOutputParameter"], "outputParameterKey", "nothing")


@slip("parameters_fit")
def a_number_as_text(spec: Any, platform: Any):
    for task, _ in tasks(spec):
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if declared(spec, task, "inputDefinitions", "parameters")[name]["parameterType"] == "NUMBER_INTEGER":
                yield lambda source=source: (source.clear(), source.update(runtimeValue={"constant": "0"}))


@slip("inputs_are_given")
def an_input_that_nobody_gives(spec: Any, platform: Any):
    for task, _ in tasks(spec):
        for given in task.get("inputs", {}).values():
            yield from (taking(given, name) for name in given)


@slip("inputs_are_given")
def what_may_be_null(spec: Any, platform: Any):
    """The pipeline's own input, made optional without a default."""
    for name in ("recipe", "line", "campaign"):
        yield setting(spec["root"]["inputDefinitions"]["parameters"][name], "isOptional", True)


@slip("defaults_fit")
def a_default_of_another_type(spec: Any, platform: Any):
    for each in spec["root"]["inputDefinitions"]["parameters"].values():
        if "defaultValue" in each:
            yield setting(each, "defaultValue", "0")
            yield taking(each, "isOptional")


@slip("loops_fit")
def text_among_the_items(spec: Any, platform: Any):
    if "for-loop-1" in spec["root"]["dag"]["tasks"]:
        yield setting(spec["root"]["inputDefinitions"]["parameters"]["shards"], "defaultValue", [0, "1"])


@slip("loops_fit")
def raw_items_of_text(spec: Any, platform: Any):
    yield setting(loop(spec)["parameterIterator"], "items", {"raw": '["0", "1"]'})


@slip("loops_fit")
def items_that_are_called_otherwise(spec: Any, platform: Any):
    yield setting(loop(spec)["parameterIterator"], "itemInput", "shard")


@slip("nothing_else_is_called_a_loop_item")
def an_input_that_is_called_like_an_item(spec: Any, platform: Any):
    for task, _ in tasks(spec):
        parameters = declared(spec, task, "inputDefinitions", "parameters")
        if parameters and "parameterIterator" not in task:
            yield setting(parameters, "the-loop-item", {"parameterType": "STRING", "isOptional": True})


@slip("artifacts_fit")
def one_artifact_for_a_list(spec: Any, platform: Any):
    for task, _ in tasks(spec):
        for artifact in declared(spec, task, "inputDefinitions", "artifacts").values():
            yield setting(artifact, "isArtifactList", not artifact.get("isArtifactList"))


@slip("artifacts_fit")
def an_artifact_of_another_type(spec: Any, platform: Any):
    for task, _ in tasks(spec):
        for artifact in declared(spec, task, "inputDefinitions", "artifacts").values():
            yield setting(artifact, "artifactType", {"schemaTitle": "system.ClassificationMetrics"})


@slip("artifacts_fit")
def an_output_that_is_not_there(spec: Any, platform: Any):
    for task, _ in tasks(spec):
        for source in task.get("inputs", {}).get("artifacts", {}).values():
            if "taskOutputArtifact" in source:
                yield setting(source["taskOutputArtifact"], "outputArtifactKey", "nothing")


@slip("what_leaves_a_loop_is_collected")
def a_loop_over_nothing(spec: Any, platform: Any):
    yield setting(spec["root"]["inputDefinitions"]["parameters"]["shards"], "defaultValue", [])
    yield setting(loop(spec)["parameterIterator"], "items", {"raw": "[]"})


@slip("what_leaves_a_loop_is_collected")
def what_leaves_it_as_one(spec: Any, platform: Any):
    for artifact in spec["components"]["comp-for-loop-1"]["outputDefinitions"]["artifacts"].values():
        yield taking(artifact, "isArtifactList")


@slip("conditions_hold")
def a_condition_on_another_type(spec: Any, platform: Any):
    promote = spec["root"]["dag"]["tasks"]["promote"]
    for slip in (
        CONDITION.replace("'promoted'", "1"),
        CONDITION.replace("'promoted'", "true"),
        CONDITION.replace("challenger", "outcome"),
        CONDITION.replace("==", "="),
        "size(inputs.parameters)",
    ):
        yield setting(promote, "triggerPolicy", {"condition": slip})


CONDITION = "inputs.parameter_values['challenger'] == 'promoted'"
"""One that the task promote could have."""


@slip("nothing_follows_a_skip")
def a_task_behind_the_promotion(spec: Any, platform: Any):
    """The report, which waits for it: it would be skipped with it."""
    yield setting(spec["root"]["dag"]["tasks"]["promote"], "triggerPolicy", {"condition": CONDITION})


@slip("nothing_follows_a_skip")
def an_output_of_what_may_be_skipped(spec: Any, platform: Any):
    root, skipped = spec["root"]["dag"], {"triggerPolicy": {"condition": CONDITION}}
    selectors = {"artifactSelectors": [{"producerSubtask": "report", "outputArtifactKey": "page"}]}
    parameter = {"valueFromParameter": {"producerSubtask": "report", "outputParameterKey": "x"}}
    for outputs in ({"artifacts": {"out": selectors}}, {"parameters": {"out": parameter}}):
        yield lambda outputs=outputs: (root.update(outputs=outputs), root["tasks"]["report"].update(skipped))


@slip("equal_containers_are_one_component")
def a_second_evaluation_with_one_more_input(spec: Any, platform: Any):
    for name in ("comp-evaluate", "comp-evaluate-2"):
        optional = {"parameterType": "STRING", "isOptional": True}
        yield setting(spec["components"][name]["inputDefinitions"]["parameters"], "more", optional)


@slip("runs_on_argo")
def what_argo_has_not(spec: Any, platform: Any):
    yield setting(spec, "schemaVersion", "2.0.0")
    yield setting(spec["root"]["dag"]["tasks"]["train"], "artifactIterator", {"itemInput": "x"})
    for task, _ in tasks(spec):
        yield setting(task, "retryPolicy", {"maxRetryCount": 3})
    for executor in spec["deploymentSpec"]["executors"].values():
        yield lambda executor=executor: executor.update(resolver=executor.pop("container"))


@slip("runs_on_argo")
def an_importer_with_a_condition(spec: Any, platform: Any):
    report, executor = spec["root"]["dag"]["tasks"]["report"], spec["deploymentSpec"]["executors"]["exec-report"]
    policy = {"condition": "inputs.parameter_values['x'] == 'y'"}
    yield lambda: (executor.update(importer=executor.pop("container")), report.update(triggerPolicy=policy))


@slip("names_lead_somewhere")
def a_name_that_leads_nowhere(spec: Any, platform: Any):
    yield from (taking(spec["components"], name) for name in spec["components"])
    yield from (taking(spec["deploymentSpec"]["executors"], name) for name in spec["deploymentSpec"]["executors"])
    yield setting(spec["components"], "root", {})
    for task, _ in tasks(spec):
        yield lambda task=task: task.setdefault("dependentTasks", []).append("nobody")


@slip("groups_can_run")
def circles_and_empty_groups(spec: Any, platform: Any):
    root = spec["root"]["dag"]["tasks"]
    yield lambda: root["prepare"].setdefault("dependentTasks", []).append("report")
    for name, component in spec["components"].items():
        if "dag" in component:
            yield setting(spec["components"][name]["dag"], "tasks", {})


@slip("names_are_accepted")
def names_that_are_not_taken(spec: Any, platform: Any):
    for name in ("Round", "a_b", "round-", "-round", "selftaught round", "r" * 58, ""):
        yield setting(spec["pipelineInfo"], "name", name)
    for task, _ in tasks(spec):
        for name in ("", "x" * 256):
            yield setting(task["taskInfo"], "name", name)
    root = spec["root"]["dag"]["tasks"]
    yield setting(root["evaluate-2"]["taskInfo"], "name", root["evaluate"]["taskInfo"]["name"])
    for name in ("r" * 122, "re_port", "re port", "re.port"):
        yield lambda name=name: root.update({name: root.pop("report")})


@slip("sizes_are_accepted")
def what_no_argument_holds(spec: Any, platform: Any):
    for executor in spec["deploymentSpec"]["executors"].values():
        yield setting(executor["container"]["command"], -1, "x" * ARGUMENT)
    labels = kubernetes(platform)["exec-prepare"]["podMetadata"]["labels"]
    yield setting(labels, "x", "x" * ARGUMENT)
    yield setting(spec["pipelineInfo"], "description", "x" * 2**20)


@slip("texts_come_through_as_they_are")
def what_argo_or_kubernetes_take_for_their_own(spec: Any, platform: Any):
    for executor in spec["deploymentSpec"]["executors"].values():
        command = executor["container"]["command"]
        yield setting(command, -1, command[-1] + '\n    f"{{done}}"\n')
        yield setting(command, -1, command[-1] + '\n    "$$"\n')
    for task, _ in tasks(spec):
        for name in ("split", "line"):
            if name in (given := task.get("inputs", {}).get("parameters", {})):
                yield setting(given, name, {"runtimeValue": {"constant": "Answer {{question}}."}})


@slip("resources_are_asked_for")
def resources_that_are_missing(spec: Any, platform: Any):
    for executor in spec["deploymentSpec"]["executors"].values():
        resources = executor["container"]["resources"]
        for name in ("resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"):
            yield taking(resources, name)
            yield setting(resources, name, "a lot")
            yield setting(resources, name, "0")
        yield setting(resources, "resourceMemoryRequest", "1Ti")
        yield taking(executor["container"], "resources")


@slip("pod_security_takes_them")
def a_container_that_may_be_root(spec: Any, platform: Any):
    for executor in kubernetes(platform).values():
        yield taking(executor, "securityContext")
        yield setting(executor["securityContext"], "runAsNonRoot", False)
        yield setting(executor["securityContext"], "runAsUser", 0)
    yield from (taking(kubernetes(platform), name) for name in kubernetes(platform))


@slip("environments_are_accepted")
def variables_and_mounts_that_are_not_taken(spec: Any, platform: Any):
    for executor in kubernetes(platform).values():
        pairs = executor["secretAsEnv"][0]["keyToEnv"]
        yield lambda pairs=pairs: pairs.append(pairs[0])
        yield setting(pairs[0], "envVar", "1ST")
    (volume,) = kubernetes(platform)["exec-promote"]["secretAsVolume"]
    for name in ("promoter.token", "Promoter", "p" * 64):
        yield setting(volume, "secretName", name)
    yield setting(volume, "mountPath", "promoter")
    volumes = kubernetes(platform)["exec-promote"]["secretAsVolume"]
    yield lambda: volumes.append({**volume, "secretName": "another"})


@slip("nothing_secret_is_in_it")
def a_credential(spec: Any, platform: Any):
    for executor in spec["deploymentSpec"]["executors"].values():
        for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "API_KEY", "HF_TOKEN"):
            yield setting(executor["container"], "env", [{"name": name, "value": "abc"}])
        url = {"name": "URL", "value": "https://somebody:word@example.com"}
        yield setting(executor["container"], "env", [url])
    yield setting(spec["root"]["inputDefinitions"]["parameters"]["line"], "description", "s3://me:word@store")


@slip("images_run_as_they_are")
def images_that_change(spec: Any, platform: Any):
    for executor in spec["deploymentSpec"]["executors"].values():
        for image in ("selftaught/steps", "selftaught/steps:latest", "registry:5000/selftaught/steps", ""):
            yield setting(executor["container"], "image", image)
        command = executor["container"]["command"]
        yield setting(command, 2, "python3 -m pip install kfp && " + command[2])


@slip("the_cache_answers_nothing_wrong")
def which_round_is_due_from_the_cache(spec: Any, platform: Any):
    yield setting(spec["root"]["dag"]["tasks"]["prepare"], "cachingOptions", {"enableCache": True})


@slip("the_cache_is_not_asked_in_vain")
def a_cached_task_behind_one_that_always_runs(spec: Any, platform: Any):
    for task, _ in tasks(spec):
        executes = "executorLabel" in spec["components"][task["componentRef"]["name"]]
        if executes and task is not spec["root"]["dag"]["tasks"]["prepare"]:
            yield setting(task, "cachingOptions", {"enableCache": True})


LOOPED = {"items_of_a_bare_list", "the_same_seen_by_the_task_that_takes_an_item", "raw_items_of_text"}
LOOPED |= {"items_that_are_called_otherwise", "a_loop_over_nothing", "what_leaves_it_as_one", "text_among_the_items"}
"""Those that need a loop."""
CASES = [
    pytest.param(file, rule, places, id=f"{file}-{name}")
    for file in WRITTEN
    for rule, name, places in SLIPS
    if ("one-shard" not in file and "online" not in file) or name not in LOOPED
]


@pytest.mark.parametrize(("file", "rule", "places"), CASES)
def test_a_slip_is_told(file: str, rule: str, places: Callable[[Any, Any], Iterator[Callable[[], object]]]):
    slips = list(planted(file, places))
    assert slips
    assert [number for number, slip in enumerate(slips) if not list(CALLED[rule](slip))] == []


def test_every_rule_has_a_slip():
    assert set(CALLED) == {rule for rule, _, _ in SLIPS}


# Pipelines as people write them ---------------------------------------------------------------------------------------


@dsl.component(base_image="image:1", install_kfp_package=False)
def number() -> int:
    return 1


@dsl.component(base_image="image:1", install_kfp_package=False)
def text() -> str:
    return "a"


@dsl.component(base_image="image:1", install_kfp_package=False)
def listed() -> list:
    return [0]


@dsl.component(base_image="image:1", install_kfp_package=False)
def numbers() -> list[int]:
    return [0]


@dsl.component(base_image="image:1", install_kfp_package=False)
def flag() -> bool:
    return True


@dsl.component(base_image="image:1", install_kfp_package=False)
def takes(value: int = 0) -> int:
    return value


@dsl.component(base_image="image:1", install_kfp_package=False)
def sums(values: list[int]) -> int:
    return sum(values)


@dsl.component(base_image="image:1", install_kfp_package=False)
def writes(data: dsl.Output[dsl.Dataset], value: int = 0) -> None:
    pass


@dsl.component(base_image="image:1", install_kfp_package=False)
def reads(data: dsl.Input[list[dsl.Dataset]]) -> None:
    pass


def bare_list(shards: list = [0]):  # noqa: B006
    with dsl.ParallelFor(shards) as shard:
        takes(value=shard)


def bare_list_of_a_task():
    with dsl.ParallelFor(listed().output) as shard:
        takes(value=shard)


def list_of_numbers(shards: list[int] = [0, 1]):  # noqa: B006
    with dsl.ParallelFor(shards) as shard:
        made = writes(value=shard)
    reads(data=dsl.Collected(made.outputs["data"]))


def list_of_a_task():
    with dsl.ParallelFor(numbers().output) as shard:
        takes(value=shard)


def collected_from_what_may_be_empty():
    with dsl.ParallelFor(numbers().output) as shard:
        made = writes(value=shard)
    reads(data=dsl.Collected(made.outputs["data"]))


def collected_parameters():
    with dsl.ParallelFor([1, 2]) as item:
        made = takes(value=item)
    sums(values=dsl.Collected(made.output))


def conditions(word: str = "a"):
    with dsl.If(number().output == 1):
        takes()
    with dsl.If(flag().output == True):  # noqa: E712
        takes()
    with dsl.If(text().output == word):
        takes()
    with dsl.Elif(text().output != "b"):
        takes()
    with dsl.Else():
        takes()


def one_of():
    with dsl.If(text().output == "a"):
        one = number()
    with dsl.Else():
        other = number()
    takes(value=dsl.OneOf(one.output, other.output))


@pytest.mark.parametrize(
    ("written", "rules"),
    [
        (bare_list, {"loops_fit", "parameters_fit"}),
        (bare_list_of_a_task, {"parameters_fit"}),
        (list_of_numbers, set()),
        (list_of_a_task, set()),
        (collected_from_what_may_be_empty, {"what_leaves_a_loop_is_collected"}),
        (collected_parameters, {"what_leaves_a_loop_is_collected"}),
        (conditions, set()),
        (one_of, set()),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_kfp_compiles_of_it(written: Callable[..., None], rules: set[str], tmp_path: Path):
    """kfp compiles them all. Their tasks ask for no resources and are cached, which is not what this is about."""
    compiler.Compiler().compile(dsl.pipeline(name="written")(written), str(tmp_path / "written.yaml"))
    here = {rule.__name__ for rule in (*WHOLE, *RULES[:11])}
    assert set(broken(Compiled.read(tmp_path / "written.yaml"))) & here == rules


def test_compiling_refuses_it_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline, "built", lambda places: {"bad.yaml": dsl.pipeline(name="bad")(bare_list)})
    with pytest.raises(BadInput, match=r"bad\.yaml: Kubeflow Pipelines would not run it") as refused:
        pipeline.main(tmp_path / "into")
    assert "for-loop-1/takes: value is STRING, and NUMBER_INTEGER is taken" in str(refused.value)
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize(
    ("value", "declared", "given"),
    [
        (3, "STRING", "3"),
        ([0, 1], "STRING", "[0, 1]"),
        ("a", "STRING", "a"),
        (3, "NUMBER_INTEGER", 3),
        ([], "LIST", []),
    ],
)
def test_a_value_is_handed_on_as_its_type_says(value: object, declared: str, given: object):
    assert resolved(value, declared) == given


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        ("3", "NUMBER_INTEGER"),
        (True, "NUMBER_INTEGER"),
        (1, "BOOLEAN"),
        ([0], "STRUCT"),
        ("[0]", "LIST"),
        (None, "LIST"),
    ],
)
def test_a_value_of_another_type_is_refused(value: object, declared: str):
    with pytest.raises(TypeError, match=f"type mismatch: expect {declared}"):
        resolved(value, declared)
