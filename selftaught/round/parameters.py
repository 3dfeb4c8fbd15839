"""What a round is set to, flat: the names that MLflow's runs and the report compare rounds by.

Blocks of a list go by their types: `sample.k`, `train.sft.learning_rate`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from selftaught.round.job import Job, dump


def of_stage(job: Job) -> dict[str, str]:
    """The settings of the round's stage."""
    return dict(_flat(dump(job.blocks)))


def of_round(job: Job) -> dict[str, str]:
    """The settings of the round's stage, and those of its models and tasks."""
    recipe = dump(job.recipe)
    return dict(_flat({name: recipe[name] for name in ("models", "chat_template", "tasks")})) | of_stage(job)


def _flat(fields: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(cast(Mapping[str, Any], value), f"{within}{name}.")
        elif blocks := _blocks(value):
            for each in blocks:
                yield from _flat(each, f"{within}{name}.{each['type']}.")
        elif value is not None:
            yield f"{within}{name}", str(value)


def _blocks(value: Any) -> list[Mapping[str, Any]]:
    """The blocks in a list of them; none of anything else."""
    listed = cast(list[Any], value) if isinstance(value, list) else []
    return [each for each in listed if isinstance(each, Mapping) and "type" in each]
