"""Checks whether schedules that were created by hand are older than the release."""

from typing import Any

from selftaught.cluster.naming import LINE
from selftaught.doctor.cluster.api import Api, unknown
from selftaught.doctor.machine import Finding
from selftaught.settings import Settings

NAME = "schedules"


def behind(api: Api, settings: Settings) -> Finding:
    """Whether each runs the release's own image `steps`; those of the chart's values move on by themselves."""
    jobs: Any = api.read(f"/apis/batch/v1/namespaces/{settings.namespace}/cronjobs") or {"items": []}
    made = {str(line): _image(job) for job in jobs["items"] if (line := _line(job))}
    if not made:
        return Finding(NAME, True, f"none in {settings.namespace} was made by hand")
    if not settings.image_steps:
        fix = "set SELFTAUGHT_IMAGE_STEPS to the release's image `steps`, as the ConfigMap selftaught-settings has it"
        return unknown(NAME, "SELFTAUGHT_IMAGE_STEPS is not set", fix)
    old = {line: image for line, image in made.items() if image != settings.image_steps}
    if not old:
        return Finding(NAME, True, f"those of {', '.join(sorted(made))} run {settings.image_steps}")
    detail = ", ".join(f"{line}'s runs {image}" for line, image in sorted(old.items()))
    fix = f"set them again: selftaught schedule RECIPE --line {min(old)} --cron …"
    return Finding(NAME, False, f"{detail}; the release has {settings.image_steps}", fix)


def _line(job: Any) -> str:
    """The line whose rounds it submits; empty for the chart's own CronJobs, which name none."""
    labels: Any = job["metadata"].get("labels") or {}
    return str(labels.get(LINE, ""))


def _image(job: Any) -> str:
    return str(job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"])
