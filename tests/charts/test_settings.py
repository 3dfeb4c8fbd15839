"""A setting has one name: in the library, in the chart's ConfigMap, and in what the pipeline gives its tasks of it."""

import re
from pathlib import Path

from pipelines import cluster
from selftaught.settings import Settings, variable

TEMPLATE = Path(__file__).parents[2] / "charts" / "selftaught" / "templates" / "settings.yaml"
WRITTEN = set(re.findall(r"^  ([A-Z][A-Z0-9_]*):", TEMPLATE.read_text(), re.MULTILINE))
GIVEN = {*cluster.REQUIRED, *cluster.OPTIONAL, *cluster.ROUTE}
NOT_THE_LIBRARYS = {
    "MLFLOW_WORKSPACE",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_CA_BUNDLE",
    "SELFTAUGHT_S3_ADDRESSING",
}
OUTSIDE_OF_TASKS = {
    "SELFTAUGHT_PROFILE",  # a task has all of the profile as variables
    "SELFTAUGHT_KFP",
    "SELFTAUGHT_KFP_NAMESPACE",
    "SELFTAUGHT_IMAGE_STEPS",
    "SELFTAUGHT_IMAGE_TRAINER",
    "SELFTAUGHT_PULL_SECRETS",
}
"""What submits rounds reads it, and they are submitted by the chart's CronJobs."""


def test_the_chart_writes_settings_that_there_are():
    there = {variable(field) for field in Settings.model_fields} | NOT_THE_LIBRARYS | {"SELFTAUGHT_PROFILE"}
    assert WRITTEN - there == set()


def test_tasks_are_given_all_that_the_chart_writes_for_them():
    assert GIVEN == WRITTEN - OUTSIDE_OF_TASKS
