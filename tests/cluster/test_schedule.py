"""The CronJob of a schedule, as the API server takes it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from selftaught.campaign import Order
from selftaught.recipe import Recipe
from selftaught.scheduling import Clock, cron_job
from selftaught.settings import Settings
from tests.cluster.kube import REPOSITORY, Kube

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("profile", ["", "team-a"])
def test_it_is_admitted_under_restricted_and_set_again(
    kube: Kube, namespaces: Callable[[str], str], tmp_path: Path, profile: str
) -> None:
    space = namespaces("schedule")
    told = Settings(
        home=tmp_path,
        store="s3://bucket",
        tracking_uri="http://mlflow",
        namespace=space,
        image_steps="steps:1",
        kfp_namespace=profile,
    )
    order = Order(Recipe.load(REPOSITORY / "recipes" / "rft.yaml"), "support", "weekly")
    for cron in ("0 3 * * 1", "@daily"):
        job = cron_job(told, order, Clock(cron, "Europe/Berlin"))
        done = kube.run("apply", "--validate=strict", "-f", "-", given=yaml.safe_dump(job))
        assert "Warning" not in done.stderr
    (kept,) = kube.get("cronjobs", "-n", space)["items"]
    assert (kept["spec"]["schedule"], kept["spec"]["timeZone"]) == ("@daily", "Europe/Berlin")
