"""A key for each team (docs/cluster-install.md): it opens the team's prefix of the bucket and nothing else.

Asked of a real S3 server with the policy as it is documented, word by word. A store does all that it does with such a
key.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from selftaught.core.errors import StoreError
from selftaught.state.store import MARKER, Store
from selftaught.state.store.s3 import S3Store
from tests.s3_server import S3Server, s3_server
from tests.store_contract import StoreContract, model

__all__ = ["model"]

INSTALL = Path(__file__).parents[2] / "docs" / "cluster-install.md"
BUCKET = "selftaught"
TEAMS = ("support", "sales")
OBJECTS = ("models/d/weights", "claims/plans/x")
NOBODYS = ("models/d/weights", "mlflow/1/model", "supportive/models/d/weights", "salesforce/models/d/weights")
"""What is not a team's: the release's own, MLflow's, and those whose names begin as a team's does."""


def policy(team: str) -> str:
    """The documented policy, for this team instead of the document's."""
    (found,) = (each for each in re.findall(r"```json\n(.*?)```", INSTALL.read_text(), re.DOTALL) if "s3:" in each)
    return json.dumps(json.loads(found.replace("support", team)))


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server({team: policy(team) for team in TEAMS}) as server:
        administrator = server.client()
        administrator.create_bucket(Bucket=BUCKET)
        for key in (*NOBODYS, *(f"{team}/{name}" for team in TEAMS for name in OBJECTS)):
            administrator.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
        yield server


Attempt = Callable[[], Any]


def at_an_object(client: Any, key: str, own: str, upload: str) -> Iterator[Attempt]:
    """All that can be done to the object `key`; `own` is an object of the client's, `upload` its upload to `own`."""
    there, mine = {"Bucket": BUCKET, "Key": key}, {"Bucket": BUCKET, "Key": own}
    yield lambda: client.head_object(**there)
    yield lambda: client.get_object(**there)
    yield lambda: client.get_object(**there, Range="bytes=0-0")
    yield lambda: client.copy_object(**mine | {"Key": f"{own}-taken"}, CopySource=there)
    yield lambda: client.upload_part_copy(**mine, UploadId=upload, PartNumber=1, CopySource=there)
    yield lambda: client.put_object(**there, Body=b"other")
    yield lambda: client.put_object(Bucket=BUCKET, Key=f"{key}-new", Body=b"other", IfNoneMatch="*")
    yield lambda: client.copy_object(**there, CopySource=mine)
    yield lambda: client.create_multipart_upload(**there)
    yield lambda: deleted(client, key)
    yield lambda: client.delete_object(**there)


def deleted(client: Any, key: str) -> None:
    """Remove it in a batch, whose answer is 200 whatever it says of each."""
    found = client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key}]})
    if not found.get("Deleted"):
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "DeleteObjects")


def at_the_bucket(client: Any, prefixes: list[str]) -> Iterator[Attempt]:
    for prefix in prefixes:
        for listing in (client.list_objects_v2, client.list_objects, client.list_object_versions):
            yield lambda listing=listing, prefix=prefix: listing(Bucket=BUCKET, Prefix=prefix)
        yield lambda prefix=prefix: client.list_objects_v2(Bucket=BUCKET, Prefix=prefix, Delimiter="/")
    yield lambda: client.list_multipart_uploads(Bucket=BUCKET)
    yield lambda: client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": []}))
    yield lambda: client.delete_bucket(Bucket=BUCKET)


def went_through(attempts: Iterator[Attempt]) -> list[bool]:
    return [succeeds(attempt) for attempt in attempts]


def succeeds(attempt: Attempt) -> bool:
    with suppress(ClientError):
        attempt()
        return True
    return False


def contents(server: S3Server) -> dict[str, bytes]:
    client = server.client()
    keys = [each["Key"] for each in client.list_objects_v2(Bucket=BUCKET)["Contents"]]
    return {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


@pytest.mark.parametrize(("team", "other"), [TEAMS, TEAMS[::-1]])
def test_a_teams_key_opens_nothing_of_anybody_elses(server: S3Server, team: str, other: str) -> None:
    client, own = server.client(team), f"{team}/{OBJECTS[0]}"
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=own)["UploadId"]
    theirs = server.client(other).create_multipart_upload(Bucket=BUCKET, Key=f"{other}/{OBJECTS[0]}")["UploadId"]
    before, tried = contents(server), list[bool]()
    for key in (*NOBODYS, *(f"{other}/{name}" for name in OBJECTS), f"{team}/../{other}/{OBJECTS[0]}"):
        tried += went_through(at_an_object(client, key, own, upload))
    tried += went_through(at_the_bucket(client, ["", other, f"{other}/", f"{other}/models/", team[:2], team]))
    foreign = {"Bucket": BUCKET, "Key": f"{other}/{OBJECTS[0]}", "UploadId": theirs}
    tried += went_through(
        iter([lambda: client.upload_part(**foreign, PartNumber=1), lambda: client.abort_multipart_upload(**foreign)])
    )
    assert (len(tried) > 100, sum(tried)) == (True, 0)
    assert contents(server) == before


@pytest.mark.parametrize("team", TEAMS)
def test_it_opens_all_of_its_own(server: S3Server, team: str) -> None:
    """The same attempts, so that none of them is refused for what it asks in a wrong manner."""
    client, own, key = server.client(team), f"{team}/mine", f"{team}/all"
    for name in (own, key):
        client.put_object(Bucket=BUCKET, Key=name, Body=b"mine")
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=own)["UploadId"]
    assert all(went_through(at_an_object(client, key, own, upload)))
    assert succeeds(lambda: client.list_objects_v2(Bucket=BUCKET, Prefix=f"{team}/"))


@pytest.fixture
def key_of_the_team(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (server.environment | {"AWS_ACCESS_KEY_ID": TEAMS[0]}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.mark.usefixtures("key_of_the_team")
class TestStoreWithATeamsKey(StoreContract):
    """The contract, with a key that opens the team's prefix alone."""

    @pytest.fixture
    def store(self, server: S3Server) -> S3Store:
        self.client = server.client(TEAMS[0])
        return S3Store(BUCKET, f"{TEAMS[0]}/{uuid.uuid4().hex}", part_size=5 * 2**20)

    def damage(self, store: Store, folder: str, content: bytes) -> None:
        assert isinstance(store, S3Store)
        self.client.put_object(Bucket=BUCKET, Key=f"{store.prefix}/{folder}/{MARKER}", Body=content)


@pytest.mark.usefixtures("key_of_the_team")
@pytest.mark.parametrize("work", ["has", "put", "get", "list", "claim", "claimed", "claims"])
def test_another_teams_store_says_that_the_key_is_refused(model: Path, tmp_path: Path, work: str) -> None:
    other = S3Store(BUCKET, TEAMS[1])
    works: dict[str, Attempt] = {
        "has": lambda: other.has("models", "d"),
        "put": lambda: other.put("models", "e", model),
        "get": lambda: other.get("models", "d", tmp_path / "got"),
        "list": lambda: other.list("models"),
        "claim": lambda: other.claim("plans/y", b"1"),
        "claimed": lambda: other.claimed("plans/x"),
        "claims": lambda: other.claims("plans"),
    }
    with pytest.raises(StoreError, match=rf"s3://{BUCKET}/{TEAMS[1]}.*refused the credentials \(AccessDenied\)"):
        works[work]()
