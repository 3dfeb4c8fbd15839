"""A complete round on the cluster, every task a Pod of its image, while pods are deleted at random.

The compiled pipeline, KFP's own executor, artifacts in S3, MLflow in the cluster, champion and challenger served as
InferenceServices. On the same recorded rollouts the deterministic steps give equal digests through kfp.local here.
"""

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from pipelines.round import COMPILED
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Group, dataset
from selftaught.round.adopt import adopt
from selftaught.round.job import Job
from tests.cluster.installation import Installation, pointed, serving
from tests.cluster.kube import REPOSITORY
from tests.cluster.pods import Pods

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("room"), pytest.mark.model, pytest.mark.timeout(2400)]

LINE, OUTSIDE = "pods", "outside"
CHANGES = [
    *("tasks.train=32", "tasks.gate=16", "tasks.report=8", "tasks.guard=8", "stages.main.sample.k=4"),
    *("stages.main.evaluate.0.k=2", "stages.main.evaluate.1.k=2", "stages.main.gate.metric=mean@2"),
    *("stages.main.curate.minimum=4", "stages.main.gate.guard=none"),
    # Any gain is one here: the round has to reach its promotion.
    *("stages.main.gate.confidence=0.01", "stages.main.gate.min_gain=0"),
]


@dataclass
class Monkey:
    """Deletes the first pod of every task by force, a random moment after it has begun to run."""

    namespace: str
    seed: int
    killed: Counter[str] = field(default_factory=Counter)

    def __call__(self, task: str, pod: str) -> None:
        if not self.killed[task]:
            threading.Thread(target=self._kill, args=(task, pod), daemon=True).start()

    def _kill(self, task: str, pod: str) -> None:
        # The others have done their work two seconds after they have begun.
        longest = 15 if task in ("sample", "train", "evaluate") else 1
        core, wait = client.CoreV1Api(), random.Random(f"{self.seed} {task}").uniform(0, longest)
        try:
            while core.read_namespaced_pod(pod, self.namespace).status.phase == "Pending":
                time.sleep(0.2)
            time.sleep(wait)
            core.delete_namespaced_pod(pod, self.namespace, grace_period_seconds=0)
            self.killed[task] += 1
        except ApiException:
            return  # it had ended before its moment came


@dataclass(frozen=True)
class Ran:
    """A round that was run in pods: where kfp.local has its artifacts, and who was deleted."""

    folder: Path
    trained: int
    """Trainings that the store knew of before."""
    monkey: Monkey
    pods: Pods
    seconds: float


def artifact(folder: Path, task: str, name: str) -> Path:
    """An artifact of a task; of several tasks of one name, the first."""
    return sorted(folder.glob(f"*/{task}*/{name}"))[0]


def arguments(recipe: Recipe) -> dict[str, Any]:
    """What the pipeline is given."""
    fields = {"recipe": recipe.model_dump_json(), "line": LINE, "campaign": LINE}
    return {**fields, "number": 0, "attempt": 0, "shards": [0, 1]}


@pytest.fixture(scope="module")
def at_hand(platform: Platform, starter_model: Path) -> None:
    """The starter model where a line that begins looks for it."""
    models = platform.settings.home / "models"
    models.mkdir(parents=True, exist_ok=True)
    shutil.copytree(starter_model, models / starter_model.name, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def ran(installation: Installation, platform: Platform, at_hand: None, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One round of `rft`, made small, in pods."""
    config.load_kube_config(installation.kube.config)
    recipe = Recipe.load(REPOSITORY / "recipes" / "rft.yaml", CHANGES)
    adopt(platform, recipe, LINE)
    monkey = Monkey(installation.namespace, seed=random.randrange(10**6))
    print(f"seed of the deletions: {monkey.seed}")
    pods = Pods(installation.namespace, "s3://selftaught/pipelines", installation.image, started=monkey)
    trained = len(platform.store.claims("steps/train"))
    folder, begin = tmp_path_factory.mktemp("pipeline"), time.monotonic()
    pods.run(COMPILED / "round.yaml", arguments(recipe), folder)
    return Ran(folder, trained, monkey, pods, time.monotonic() - begin)


def test_the_round_ends_though_every_step_lost_a_pod(ran: Ran, platform: Platform):
    print(f"the round took {ran.seconds:.0f} s; pods deleted: {dict(ran.monkey.killed)}")
    (round,) = platform.tracker.rounds(LINE, LINE)
    assert round.outcome in ("promoted", "refused")
    steps = {"prepare", "sample", "verify", "train", "evaluate", "gate", "report"}
    assert set(ran.monkey.killed) - {"promote"} == steps


def test_nothing_is_doubled_and_nothing_lost(ran: Ran, platform: Platform):
    job = Job.read(str(artifact(ran.folder, "prepare", "job")))
    groups = dataset.read(artifact(ran.folder, "verify", "verified"), Group)
    assert len(groups) == job.recipe.tasks.sizes()["train"] == len({group.task.id for group in groups})
    assert all(len({rollout.id for rollout in group.rollouts}) == 4 for group in groups)
    versions = platform.tracker.versions(LINE)
    assert len(versions) == 2
    assert len(platform.tracker.rounds(LINE, LINE)) == 1
    assert len(platform.store.claims("steps/train")) == ran.trained + 1


def test_the_champion_that_the_gate_chose_is_what_users_reach(ran: Ran, platform: Platform):
    _settled(platform, LINE)


def test_verify_curate_and_gate_give_the_same_digests_from_outside(ran: Ran, platform: Platform, tmp_path: Path):
    """The same pipeline once more, through kfp.local: what was sampled, trained and scored is taken, the rest made."""
    for step in ("verify", "curate"):
        for key in platform.store.claims(f"steps/{step}"):
            platform.store.release(key)
    job = Job.read(str(artifact(ran.folder, "prepare", "job")))
    found = json.dumps({**arguments(job.recipe), "number": job.round, "attempt": job.attempt})
    command = [
        sys.executable,
        "-m",
        "selftaught.campaign.local_pipeline",
        str(COMPILED / "round.yaml"),
        str(tmp_path),
        found,
    ]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    for task, name in (("verify", "verified"), ("verify", "examples")):
        made, before = (dataset.manifest(artifact(folder, task, name)) for folder in (tmp_path, ran.folder))
        assert made.rows
        assert made.digest == before.digest
    decisions = {artifact(folder, "gate", "decision").read_bytes() for folder in (tmp_path, ran.folder)}
    assert len(decisions) == 1
    assert len(platform.tracker.versions(LINE)) == 2


@pytest.fixture
def proxy() -> Iterator[str]:
    """The URL of a `kubectl proxy`."""
    with subprocess.Popen(["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline() if process.stdout else ""
        yield f"http://{said.split()[-1]}"
        process.terminate()


def test_a_round_from_outside(platform: Platform, at_hand: None, proxy: str, monkeypatch: pytest.MonkeyPatch):
    """Every step here, by kfp.local: the store, the registry and what serves each version are the cluster's.

    Engines are reached through the API server, as where no address of the cluster is routed.
    """
    monkeypatch.setenv("SELFTAUGHT_REACH", proxy)
    items = [word for change in CHANGES for word in ("--set", change)]
    command = [sys.executable, "-m", "selftaught", "run", "recipes/rft.yaml", "--rounds", "1", "--line", OUTSIDE]
    begin = time.monotonic()
    done = subprocess.run([*command, "--campaign", OUTSIDE, *items], check=False, cwd=REPOSITORY)
    print(f"the round took {time.monotonic() - begin:.0f} s")
    assert done.returncode in (0, 3)
    _settled(platform, OUTSIDE)
    assert len(platform.tracker.versions(OUTSIDE)) == 2


def _settled(platform: Platform, line: str) -> None:
    """The line's one round is over, and users are led to whom it made or left the champion."""
    (round,) = platform.tracker.rounds(line, line)
    base, champion = (platform.tracker.resolve(line, alias) for alias in ("base", "champion"))
    assert (champion.digest != base.digest) == (round.outcome == "promoted")
    if round.outcome == "promoted":
        assert pointed(serving(platform), line) == f"{line}-{champion.digest[:8]}"
