import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from selftaught.core.errors import BadInput, StoreError, Unavailable
from selftaught.doctor.machine import checks
from selftaught.state.store import MARKER, Store, fingerprint, open_store
from selftaught.state.store.s3 import S3Store
from tests.s3_server import S3Server, free_ports
from tests.store_contract import StoreContract, folder_with, model

__all__ = ["model"]
pytest_plugins = ["tests.s3_fixtures"]

MIB = 2**20
PART = 5 * MIB  # the smallest that S3 takes

KILLED_IN_A_PART = """
import os, signal, sys
from pathlib import Path
from selftaught.state.store.s3 import S3Store

def kill_at_the_second_part(request, **_):
    if "partNumber=2" in request.url:
        os.kill(os.getpid(), signal.SIGKILL)

store = S3Store("selftaught", sys.argv[1], part_size=5 * 2**20)
store._client.meta.events.register("before-send.s3.UploadPart", kill_at_the_second_part)
store.put("models", "d", Path(sys.argv[2]))
"""


@pytest.fixture
def store(s3_prefix: str) -> S3Store:
    return S3Store("selftaught", s3_prefix, part_size=PART)


def key(store: S3Store, name: str) -> dict[str, str]:
    return {"Bucket": "selftaught", "Key": f"{store.prefix}/models/d/{name}"}


class TestS3Store(StoreContract):
    """The contract, on a real S3 server."""

    @pytest.fixture(autouse=True)
    def server(self, raw: Any) -> None:
        self.raw = raw

    def damage(self, store: Store, folder: str, content: bytes) -> None:
        assert isinstance(store, S3Store)
        self.raw.put_object(Bucket="selftaught", Key=f"{store.prefix}/{folder}/{MARKER}", Body=content)


def test_a_large_file_travels_in_parts(store: S3Store, raw: Any, tmp_path: Path) -> None:
    large = folder_with(tmp_path / "large", weights=os.urandom(2 * PART + MIB))
    store.put("models", "d", large)
    assert raw.head_object(**key(store, "weights"))["ETag"].endswith('-3"')  # three parts
    assert fingerprint(store.get("models", "d", tmp_path / "got")) == fingerprint(large)


def test_of_two_writers_of_a_large_file_the_first_to_complete_wins(
    store: S3Store, s3_prefix: str, tmp_path: Path
) -> None:
    """Both have sent their parts when one of them completes."""
    first, second = (folder_with(tmp_path / name, weights=os.urandom(2 * PART)) for name in ("first", "second"))
    other, turns = S3Store("selftaught", s3_prefix, part_size=PART), [first]

    def complete(**_: object) -> None:
        if turns:
            other.put("models", "d", turns.pop())

    store._client.meta.events.register("before-call.s3.CompleteMultipartUpload", complete)  # pyright: ignore[reportPrivateUsage]
    store.put("models", "d", second)
    assert turns == []
    for reader in (store, other):
        got = reader.get("models", "d", tmp_path / "got")
        assert fingerprint(got) == fingerprint(first)


def test_the_marker_tells_what_the_store_holds_whoever_wrote_it(
    store: S3Store, s3_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first writer is killed before its marker; the second, whose bytes differ, marks the first one's files."""
    first, second = (folder_with(tmp_path / name, data=name.encode()) for name in ("first", "second"))
    store.claim("steps/other", b"")
    with monkeypatch.context() as killed:
        killed.setattr(store, "_create", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.put("datasets", "d", first)
    other = S3Store("selftaught", s3_prefix)
    other.put("datasets", "d", second)
    for reader in (store, other):
        assert (reader.get("datasets", "d", tmp_path / "got") / "data").read_bytes() == b"first"


def test_a_write_that_another_one_overtakes_is_a_lost_race(
    store: S3Store, s3_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 answers 409 while another conditional write of the same key is under way. The test server gives none."""
    store.claim("steps/other", b"")

    def overtaken(**_: object) -> None:
        S3Store("selftaught", s3_prefix).claim("steps/a", b"theirs")
        answer: Any = {"Error": {"Code": "ConditionalRequestConflict"}, "ResponseMetadata": {"HTTPStatusCode": 409}}
        raise ClientError(answer, "PutObject")

    monkeypatch.setattr(store._client, "put_object", overtaken)  # pyright: ignore[reportPrivateUsage]
    assert store.claim("steps/a", b"ours") == b"theirs"


def test_files_lie_under_a_plain_prefix(store: S3Store, raw: Any, model: Path) -> None:
    """As KServe's storage initialiser reads them."""
    assert store.put("models", "d", model) == f"s3://selftaught/{store.prefix}/models/d"
    assert raw.get_object(**key(store, "sub/more"))["Body"].read() == b"more"


@pytest.mark.parametrize("content", [b"other bytes, same le", b"shorter"])
def test_a_corrupted_object_is_found_and_named(store: S3Store, raw: Any, tmp_path: Path, content: bytes) -> None:
    store.put("models", "d", folder_with(tmp_path / "m", weights=b"these are the weights"[:20]))
    raw.put_object(**key(store, "weights"), Body=content)
    with pytest.raises(StoreError, match=r"models/d/weights: damaged.*Remove s3://.*/models/d and run the step"):
        store.get("models", "d", tmp_path / "got")
    assert not (tmp_path / "got").exists()
    store.remove("models", "d")
    store.put("models", "d", tmp_path / "m")  # and the advice helps
    assert (store.get("models", "d", tmp_path / "got") / "weights").read_bytes() == b"these are the weight"


def test_a_lost_object_and_a_damaged_marker_are_named(store: S3Store, raw: Any, model: Path, tmp_path: Path) -> None:
    store.put("models", "d", model)
    raw.delete_object(**key(store, "weights"))
    with pytest.raises(StoreError, match=r"models/d/weights: missing though it was stored"):
        store.get("models", "d", tmp_path / "got")
    raw.put_object(**key(store, ".complete.json"), Body=b"{")
    with pytest.raises(StoreError, match=r"models/d/.complete.json: damaged"):
        store.has("models", "d")


def test_the_server_refuses_what_was_damaged_on_the_way(store: S3Store, model: Path) -> None:
    def damage(request: Any, **_: object) -> None:
        request.headers.replace_header("x-amz-checksum-crc32", "AAAAAA==")

    store._client.meta.events.register("before-sign.s3.PutObject", damage)
    with pytest.raises(StoreError, match=r"models/d/config: arrived damaged at 127.0.0.1"):
        store.put("models", "d", model)
    assert not store.has("models", "d")


def test_a_killed_upload_is_never_seen_and_continues(store: S3Store, raw: Any, tmp_path: Path) -> None:
    large = folder_with(tmp_path / "large", a_config=b"{}", weights=os.urandom(4 * PART))
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_A_PART, store.prefix, str(large)], check=False)
    assert killed.returncode == -9
    before = raw.head_object(**key(store, "a_config"))["LastModified"]
    assert (store.has("models", "d"), store.list("models")) == (False, [])
    with pytest.raises(StoreError, match="not in the store"):
        store.get("models", "d", tmp_path / "got")
    store.put("models", "d", large)
    assert fingerprint(store.get("models", "d", tmp_path / "got")) == fingerprint(large)
    assert raw.head_object(**key(store, "a_config"))["LastModified"] == before  # sent once


def test_what_is_not_whole_is_told_as_that(store: S3Store, raw: Any, model: Path) -> None:
    """An upload or a removal that was killed, and an object of someone else."""
    store.put("models", "d", model)
    raw.delete_object(**key(store, ".complete.json"))
    raw.put_object(Bucket="selftaught", Key=f"{store.prefix}/models/notes.txt", Body=b"mine")
    (found,) = store.stored("models")
    assert (found.name, found.complete, found.bytes) == ("d", False, sum(f.size for f in fingerprint(model).files))
    assert found.written == max(
        raw.head_object(**key(store, name))["LastModified"].timestamp() for name in ("config", "weights", "sub/more")
    )
    store.remove("models", "d")
    assert store.stored("models") == []


def test_an_object_of_somebody_else_is_not_overwritten(store: S3Store, raw: Any, model: Path) -> None:
    raw.put_object(**key(store, "weights"), Body=b"theirs")
    with pytest.raises(StoreError, match=r"models/d/weights: an object that was not put there by Selftaught"):
        store.put("models", "d", model)


def test_a_damaged_cache_is_fetched_again(store: S3Store, model: Path, tmp_path: Path) -> None:
    store.put("models", "d", model)
    cached = store.local("models", "d", tmp_path / "cache")
    (cached / "weights").write_bytes(b"torn")
    assert fingerprint(store.local("models", "d", tmp_path / "cache")) == fingerprint(model)


def test_a_cache_that_cannot_be_written_is_named(store: S3Store, model: Path, tmp_path: Path) -> None:
    store.put("models", "d", model)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*: Not a directory"):
        store.local("models", "d", tmp_path / "file" / "cache")


def use(store: S3Store, work: str, model: Path) -> object:
    return {
        "has": lambda: store.has("models", "d"),
        "put": lambda: store.put("models", "d", model),
        "claim": lambda: store.claim("key", b"value"),
        "list": lambda: store.list("models"),
        "remove": lambda: store.remove("models", "d"),
    }[work]()


@pytest.mark.parametrize("work", ["has", "put", "claim", "list", "remove"])
@pytest.mark.parametrize(
    ("variable", "code"),
    [("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"), ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId")],
)
def test_wrong_credentials_are_said_and_not_shown(
    s3_prefix: str, monkeypatch: pytest.MonkeyPatch, model: Path, work: str, variable: str, code: str
) -> None:
    monkeypatch.setenv(variable, "wrong-and-secret")
    with pytest.raises(StoreError, match=rf"refused the credentials \({code}\). Check AWS_ACCESS_KEY_ID") as caught:
        use(S3Store("selftaught", s3_prefix), work, model)
    assert "wrong-and-secret" not in str(caught.value)


@pytest.mark.parametrize("work", ["has", "put", "claim", "list"])
def test_a_missing_bucket_is_said(s3_prefix: str, model: Path, work: str) -> None:
    with pytest.raises(StoreError, match=r"s3://no-such-bucket.*: no bucket 'no-such-bucket' at 127.0.0.1:\d+. Create"):
        use(S3Store("no-such-bucket", s3_prefix), work, model)


@pytest.mark.parametrize("work", ["has", "put", "claim", "list"])
def test_a_dead_endpoint_is_unavailable(
    s3_prefix: str, monkeypatch: pytest.MonkeyPatch, model: Path, work: str
) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://user:hidden@127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unavailable, match=rf"no answer from 127.0.0.1:{port} .*AWS_ENDPOINT_URL right") as caught:
        use(S3Store("selftaught", s3_prefix), work, model)
    assert "hidden" not in str(caught.value)


def test_a_server_that_hangs_up_in_an_upload_is_unavailable(
    s3_prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        hang_up(listener)
        with pytest.raises(Unavailable, match=r"no answer from 127\.0\.0\.1"):
            S3Store("selftaught", s3_prefix).claim("key", b"value")


@pytest.fixture
def heedless(s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A store on a server that takes no notice of If-None-Match: this process asks it for the first time."""
    monkeypatch.setattr("selftaught.state.store.s3._only_if_new", lambda params, **_: None)
    return S3Store("selftaught", s3_prefix)


@pytest.mark.parametrize("work", ["put", "claim"])
def test_a_server_without_conditional_writes_is_refused(heedless: S3Store, work: str, model: Path) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match=r"takes no notice of If-None-Match .* so two rounds could own one step"):
            use(heedless, work, model)
    assert (heedless.claimed("key"), heedless.stored("models")) == (None, [])


def test_the_doctor_finds_a_server_without_conditional_writes(
    heedless: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFTAUGHT_STORE", heedless.root)
    (found,) = (finding for finding in checks() if finding.name == "store")
    assert (found.ok, "takes no notice of If-None-Match" in found.detail) == (False, True)


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (400, "XAmzContentSHA256Mismatch", "does not take the checksum that follows each upload"),
        (411, "MissingContentLength", "does not take the checksum that follows each upload"),
        (501, "NotImplemented", "does not take the checksum that follows each upload"),
        (403, "RequestTimeTooSkewed", "has another time than this machine .* Set the clock"),
        (400, "BadDigest", "arrived damaged"),
        (503, "SlowDown", "Try again later"),
        (429, "429", "Try again later"),
        (403, "QuotaExceeded", "no room left for it .* have its quota raised"),
        (507, "XMinioStorageFull", "no room left for it .* have its quota raised"),
    ],
)
def test_what_a_server_lacks_is_said(
    s3_prefix: str, monkeypatch: pytest.MonkeyPatch, status: int, code: str, says: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = S3Store("selftaught", s3_prefix)

    def refused(**_: object) -> None:
        answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, "PutObject")

    monkeypatch.setattr(store._client, "put_object", refused)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises((StoreError, Unavailable), match=says):
        store.claim("key", b"value")


@pytest.mark.parametrize("code", ["404", "NotFound", "ObjectNotFound"])
def test_what_is_not_there_is_so_in_any_servers_words(
    s3_prefix: str, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """S3 says NoSuchKey to who reads, and nothing to who removes; others, and proxies before them, say 404."""
    store = S3Store("selftaught", s3_prefix)
    monkeypatch.setattr(store, "_client", Answering(404, code, store._client))  # pyright: ignore[reportPrivateUsage]
    assert (store.claimed("key"), store.has("models", "d")) == (None, False)
    store.release("key")
    store.remove("models", "d")


@pytest.mark.parametrize(("status", "code"), [(412, "412"), (412, "Precondition Failed"), (409, "OperationAborted")])
def test_a_lost_race_is_one_in_any_servers_words(
    s3_prefix: str, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    S3Store("selftaught", s3_prefix).claim("key", b"theirs")
    store = S3Store("selftaught", s3_prefix)
    answering = Answering(status, code, store._client, only="put_object")  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(store, "_client", answering)
    assert store.claim("key", b"ours") == b"theirs"


class Answering:
    """A client whose server answers with one status and code, whatever is asked, or to one operation `only`."""

    def __init__(self, status: int, code: str, client: Any, only: str = "") -> None:
        self.answer: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
        self.client, self.only = client, only

    def __getattr__(self, name: str) -> Any:
        objects = name in ("get_object", "head_object", "delete_object", "put_object")
        return self.refuse if name == self.only or (objects and not self.only) else getattr(self.client, name)

    def refuse(self, **_: object) -> None:
        raise ClientError(self.answer, "Operation")


def hang_up(listener: socket.socket) -> None:
    """Accept each connection and close it without an answer."""

    def serve() -> None:
        while True:
            try:
                listener.accept()[0].close()
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()


def test_no_credentials_at_all_are_asked_for(s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(StoreError, match=r"Unable to locate credentials.*Set AWS_ACCESS_KEY_ID"):
        S3Store("selftaught", s3_prefix).has("models", "d")


@pytest.mark.parametrize("location", ["s3://", "s3://not a bucket/x", "s3://UPPER_case!/x"])
def test_a_bucket_that_cannot_be_is_bad_input(s3_prefix: str, location: str) -> None:
    with pytest.raises((BadInput, StoreError), match=location):
        open_store(location).has("models", "d")


def test_an_endpoint_that_is_no_url_is_bad_input(s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "localhost without a scheme")
    with pytest.raises(BadInput, match="Invalid endpoint"):
        S3Store("selftaught", s3_prefix)


def test_a_server_of_a_private_authority_is_used_as_any_other(
    s3: S3Server, s3_prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.secure_endpoint)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(s3.authority))
    store = S3Store("selftaught", s3_prefix, part_size=PART)
    large = folder_with(tmp_path / "large", weights=os.urandom(PART + MIB))
    store.put("models", "d", large)
    assert fingerprint(store.get("models", "d", tmp_path / "got")) == fingerprint(large)


@pytest.mark.parametrize("bundle", [None, "nowhere.pem", "empty.pem"])
def test_a_server_that_is_not_trusted_is_told_with_the_fix(
    s3: S3Server, s3_prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: str | None
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.secure_endpoint.replace("//", "//user:hidden@"))
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    (tmp_path / "empty.pem").touch()
    if bundle:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / bundle))
    with pytest.raises(StoreError, match=r"no TLS with 127\.0\.0\.1:\d+: .* Check AWS_CA_BUNDLE") as caught:
        S3Store("selftaught", s3_prefix).has("models", "d")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("style", "url"),
    [
        (None, "http://s3.example.com/selftaught/claims/key"),
        ("path", "http://s3.example.com/selftaught/claims/key"),
        ("virtual", "http://selftaught.s3.example.com/claims/key"),
    ],
)
def test_a_bucket_is_addressed_as_the_server_wants_it(
    s3_prefix: str, monkeypatch: pytest.MonkeyPatch, style: str | None, url: str
) -> None:
    """What goes over the wire, as a proxy sees it."""
    monkeypatch.delenv("SELFTAUGHT_S3_ADDRESSING", raising=False)
    if style:
        monkeypatch.setenv("SELFTAUGHT_S3_ADDRESSING", style)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3.example.com")
    with noting_proxy() as (proxy, asked):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert S3Store("selftaught").claimed("key") is None
    assert asked == [url]


@contextmanager
def noting_proxy() -> Iterator[tuple[str, list[str]]]:
    """An HTTP proxy that notes the URLs it is asked for and says that no object is there."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = b"<Error><Code>NoSuchKey</Code></Error>"
            self.send_response(404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def test_an_addressing_style_that_is_none_is_bad_input(s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFTAUGHT_S3_ADDRESSING", "paht")
    with pytest.raises(BadInput, match=r"addressing style paht is invalid.*'path'"):
        S3Store("selftaught", s3_prefix)


def test_the_server_dies_with_the_process_that_started_it(s3: S3Server) -> None:
    """However that process ends: here it is killed with -9."""
    code = """
import os, signal
from tests.s3_server import s3_server
with s3_server() as server:
    print(server.endpoint, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    started = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    host, port = started.stdout.strip().removeprefix("http://").split(":")
    deadline = time.monotonic() + 10
    while is_open(host, int(port)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_open(host, int(port))


def is_open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
