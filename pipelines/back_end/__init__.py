"""Compiled pipelines as the Kubeflow Pipelines back end reads them: what it refuses, and how many pods they are.

kfp's compiler and its local runner take much that the back end refuses, at submission or when a run has come so far, or
that it takes and does otherwise. Each rule is a function of the pipeline that tells what breaks it; its docstring names
the source in kubeflow/pipelines (2.17) that it was read in. `selftaught compile` writes nothing that breaks one.
"""

from collections.abc import Callable, Iterator

from pipelines.back_end.caching import the_cache_answers_nothing_wrong, the_cache_is_not_asked_in_vain
from pipelines.back_end.conditions import conditions_hold
from pipelines.back_end.ir import Compiled
from pipelines.back_end.kubernetes import (
    environments_are_accepted,
    images_run_as_they_are,
    names_are_accepted,
    nothing_secret_is_in_it,
    pod_security_takes_them,
    resources_are_asked_for,
    sizes_are_accepted,
    texts_come_through_as_they_are,
)
from pipelines.back_end.structure import (
    equal_containers_are_one_component,
    groups_can_run,
    names_lead_somewhere,
    nothing_follows_a_skip,
    runs_on_argo,
)
from pipelines.back_end.values import (
    artifacts_fit,
    defaults_fit,
    inputs_are_given,
    loops_fit,
    nothing_else_is_called_a_loop_item,
    parameters_fit,
    what_leaves_a_loop_is_collected,
)

Rule = Callable[[Compiled], Iterator[str]]
WHOLE: tuple[Rule, ...] = (names_lead_somewhere, groups_can_run)
"""What the other rules take for granted."""
RULES: tuple[Rule, ...] = (
    runs_on_argo,
    nothing_follows_a_skip,
    equal_containers_are_one_component,
    parameters_fit,
    inputs_are_given,
    defaults_fit,
    loops_fit,
    nothing_else_is_called_a_loop_item,
    artifacts_fit,
    what_leaves_a_loop_is_collected,
    conditions_hold,
    names_are_accepted,
    sizes_are_accepted,
    texts_come_through_as_they_are,
    resources_are_asked_for,
    pod_security_takes_them,
    environments_are_accepted,
    nothing_secret_is_in_it,
    images_run_as_they_are,
    the_cache_answers_nothing_wrong,
    the_cache_is_not_asked_in_vain,
)


def broken(pipeline: Compiled) -> dict[str, list[str]]:
    """What breaks a rule, by the rule's name; of a pipeline that leads nowhere only that."""
    rules = WHOLE if any(list(rule(pipeline)) for rule in WHOLE) else RULES
    by_rule = {rule.__name__: list(rule(pipeline)) for rule in rules}
    return {name: findings for name, findings in by_rule.items() if findings}
