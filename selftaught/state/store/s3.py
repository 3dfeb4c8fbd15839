"""The store in S3: `s3://bucket/prefix/<kind>/<digest>/…`, on AWS or any server with conditional writes.

Every object is written once: all writes carry `If-None-Match: *`, so the server decides which writer was first; one
that takes no notice of it is refused before this process writes anything else (`PROBE`). Large
files go in parts; each request carries a CRC-32 that the server verifies, and each object its complete SHA-256 as
metadata, by which a killed upload resumes. Parts of a killed upload stay until the bucket's lifecycle rule
(AbortIncompleteMultipartUpload) clears them. Its role needs s3:ListBucket, GetObject, PutObject and DeleteObject. It
does not make buckets and knows no other cloud.

How a bucket is addressed, for which AWS tools have no variable, is SELFTAUGHT_S3_ADDRESSING: `path`, `virtual`, or
`auto`, which is virtual on AWS and path on any other endpoint.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from s3transfer.exceptions import RetriesExceededError
from typing_extensions import override

from selftaught.core.errors import Away, BadInput, SelftaughtError, StoreError
from selftaught.state.store.base import Store, Stored
from selftaught.state.store.files import (
    MARKER,
    Marker,
    StoredFile,
    checked,
    disk_errors,
    fingerprint,
    is_complete,
    locked,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

PART_SIZE = 16 * 2**20
"""Bytes a part; S3 takes 5 MiB to 5 GiB and at most 10,000 parts, so 16 MiB is good for files up to 156 GiB."""

ATTEMPTS = 5
"""How often a request is tried, with back-off (some 10 s in all), unless AWS_MAX_ATTEMPTS says otherwise."""

_ANSWERS: Sequence[tuple[set[str | int], type[SelftaughtError], str]] = [
    ({"NoSuchBucket"}, StoreError, "no bucket '{bucket}' at {server}. Create it, or name another."),
    ({404}, StoreError, "missing though it was stored. Remove its folder and run the step again."),
    (
        {"RequestTimeTooSkewed", "RequestExpired"},
        StoreError,
        "{server} has another time than this machine ({code}): they differ by more than 15 minutes. Set the clock "
        "here or there (timedatectl set-ntp true).",
    ),
    (
        {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", 507},
        StoreError,
        "{server} has no room left for it ({code}). Free some, or have its quota raised.",
    ),
    (
        {401, 403},
        StoreError,
        "{server} refused the credentials ({code}). Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the role and the "
        "bucket's policy.",
    ),
    (
        {"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch"},
        StoreError,
        "arrived damaged at {server} ({code}); nothing was stored. Run it again.",
    ),
    (
        {"XAmzContentSHA256Mismatch", "MissingContentLength", 501},
        StoreError,
        "{server} does not take the checksum that follows each upload ({code}: {message}). It has to know S3's "
        "additional checksums (x-amz-checksum-crc32) and If-None-Match: use S3, or a newer version of the server.",
    ),
    (
        {"SlowDown", "RequestTimeout", "Throttling", "TooManyRequests", 408, 429, *range(500, 600)},
        Away,
        "{server} failed to answer ({code}). Try again later.",
    ),
    (set(), StoreError, "{server} refused the request ({code}: {message})."),
]
"""What codes and statuses of a server mean, the first that fits; the last fits all."""


PROBE = "probes/conditional-writes"
"""The object that each process asks the server to write, though it is there: a good one refuses."""
_PROVEN: set[tuple[str, str, str]] = set()
"""Where this process has seen that: server, bucket and prefix."""


class S3Store(Store):
    """A store under `s3://bucket/prefix`. `part_size` is in bytes."""

    def __init__(self, bucket: str, prefix: str = "", *, part_size: int = PART_SIZE) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.root = f"s3://{bucket}/{self.prefix}".rstrip("/")
        with self._errors():
            self._client = _client()
        self._transfer = TransferConfig(multipart_threshold=part_size, multipart_chunksize=part_size)

    @override
    def put(self, kind: str, digest: str, folder: Path) -> str:
        if not self._is_sound(kind, digest):
            self._require_conditional_writes()
            self._forget_damaged(kind, digest)
            stored = [self._upload(kind, digest, file, folder) for file in fingerprint(folder).files]
            marker = Marker(files=tuple(stored)).model_dump_json(indent=2) + "\n"
            self._create(self._key(kind, digest, MARKER), marker.encode())
        return self.uri(kind, digest)

    @override
    def local(self, kind: str, digest: str, cache: Path) -> Path:
        home = cache / checked(kind) / checked(digest)
        with disk_errors(cache), locked(home.parent):
            return home if is_complete(home) else self.get(kind, digest, home)

    @override
    def uri(self, kind: str, digest: str) -> str:
        return f"{self.root}/{checked(kind)}/{checked(digest)}"

    @override
    def list(self, kind: str) -> list[str]:
        root = self._key(checked(kind), "")
        parts = (key.removeprefix(root).split("/") for key in self._keys(root))
        return sorted(name for name, *rest in parts if rest == [MARKER])

    @override
    def stored(self, kind: str) -> "list[Stored]":
        root = self._key(checked(kind), "")
        folders: dict[str, list[ObjectTypeDef]] = {}
        for item in self._objects(root):
            name, slash, _ = item.get("Key", "").removeprefix(root).partition("/")
            if slash:
                folders.setdefault(name, []).append(item)
        return [_stored_folder(name, items) for name, items in sorted(folders.items())]

    @override
    def stored_claims(self, prefix: str) -> "list[Stored]":
        root = self._key("claims", "")
        found = {item.get("Key", "").removeprefix(root): item for item in self._objects(f"{self._claim_key(prefix)}/")}
        return [Stored(name=key, bytes=_size(found[key]), written=_written(found[key])) for key in sorted(found)]

    @override
    def read(self, kind: str, digest: str, path: str) -> bytes:
        content = self._read(self._key(checked(kind), checked(digest), path))
        if content is None:
            raise self._lost(kind, digest, path)
        return content

    @override
    def remove(self, kind: str, digest: str) -> None:
        home = self._key(checked(kind), checked(digest))
        self._delete(f"{home}/{MARKER}")
        for key in self._keys(f"{home}/"):
            self._delete(key)

    @override
    def claim(self, key: str, value: bytes) -> bytes:
        self._require_conditional_writes()
        while not self._create(self._claim_key(key), value):
            winner = self.claimed(key)
            if winner is not None:  # None: released since; try again
                return winner
        return value

    @override
    def claimed(self, key: str) -> bytes | None:
        return self._read(self._claim_key(key))

    @override
    def claims(self, prefix: str) -> "list[str]":
        root = self._key("claims", "")
        return sorted(key.removeprefix(root) for key in self._keys(f"{self._claim_key(prefix)}/"))

    @override
    def release(self, key: str) -> None:
        self._delete(self._claim_key(key))

    @override
    def _marking(self, kind: str, digest: str) -> bytes | None:
        return self._read(self._key(checked(kind), checked(digest), MARKER))

    @override
    def _fetch(self, kind: str, digest: str, path: str, target: Path) -> None:
        key = self._key(kind, digest, path)
        with self._errors(key), target.open("wb") as file:
            self._client.download_fileobj(self.bucket, key, file, Config=self._transfer)

    def _forget_damaged(self, kind: str, digest: str) -> None:
        """Remove a marker that cannot be read: nothing that is there is written over."""
        if self._marking(kind, digest) is not None:
            self._delete(self._key(kind, digest, MARKER))

    def _upload(self, kind: str, digest: str, file: StoredFile, folder: Path) -> StoredFile:
        """Send one file unless its object is there; returns what the store then has under its name."""
        key = self._key(kind, digest, file.path)
        return self._stored(key, file.path) or self._send(key, file, folder / file.path)

    def _send(self, key: str, file: StoredFile, source: Path) -> StoredFile:
        extra = {"ChecksumAlgorithm": "CRC32", "Metadata": {"sha256": file.sha256}}
        with self._errors(key), source.open("rb") as content:
            if _first(lambda: self._client.upload_fileobj(content, self.bucket, key, extra, Config=self._transfer)):
                return file
        return self._stored(key, file.path) or self._send(key, file, source)

    def _stored(self, key: str, path: str) -> StoredFile | None:
        """The object at `key`; it may differ in bytes from ours (another writer of one digest), and then it counts."""
        with self._errors(key):
            try:
                head = self._client.head_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if _is_missing(error):
                    return None
                raise
        if "sha256" not in head["Metadata"]:
            raise StoreError(f"s3://{self.bucket}/{key}: an object that was not put there by Selftaught. Remove it.")
        return StoredFile(path=path, size=head["ContentLength"], sha256=head["Metadata"]["sha256"])

    def _require_conditional_writes(self) -> None:
        """Raise StoreError when the second writer of an object wins: two rounds would then own one step."""
        address = (self._server, self.bucket, self.prefix)
        if address not in _PROVEN and self._create(self._key(PROBE), b"") and self._create(self._key(PROBE), b""):
            raise StoreError(
                f"{self.root}: {self._server} takes no notice of If-None-Match (conditional writes), so two rounds "
                "could own one step. Use S3 or a server that has them, in a version that does: docs/cluster-install.md."
            )
        _PROVEN.add(address)

    def _create(self, key: str, content: bytes) -> bool:
        """Write a small object if it is new; False when it was there."""
        with self._errors(key):
            return _first(
                lambda: self._client.put_object(Bucket=self.bucket, Key=key, Body=content, ChecksumAlgorithm="CRC32")
            )

    def _read(self, key: str) -> bytes | None:
        with self._errors(key):
            try:
                return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            except ClientError as error:
                if _is_missing(error):
                    return None
                raise

    def _delete(self, key: str) -> None:
        """Remove an object; nothing happens when it is not there, which S3 does not tell and others do."""
        with self._errors(key):
            try:
                self._client.delete_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if not _is_missing(error):
                    raise

    def _keys(self, prefix: str) -> Iterator[str]:
        return (item.get("Key", "") for item in self._objects(prefix))

    def _objects(self, prefix: str) -> "Iterator[ObjectTypeDef]":
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        with self._errors():
            for page in pages:
                yield from page.get("Contents", [])

    def _key(self, *parts: str) -> str:
        return "/".join((self.prefix, *parts) if self.prefix else parts)

    def _claim_key(self, key: str) -> str:
        return self._key("claims", *map(checked, key.split("/")))

    @contextmanager
    def _errors(self, key: str = "") -> Generator[None]:
        """Say what boto3 raises in the block in words that name the object, the server and the fix."""
        where = f"s3://{self.bucket}/{key}" if key else self.root
        try:
            yield
        except ClientError as error:
            raise self._server_error(error, where) from error
        except FlexibleChecksumError as error:
            raise StoreError(
                f"{where}: damaged, its checksum is not the stored one. Remove it and run again."
            ) from error
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
            raise StoreError(
                f"{where}: {error}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role."
            ) from error
        except SSLError as error:
            raise StoreError(
                f"{where}: no TLS with {self._server}: {error.kwargs['error']}. Check AWS_CA_BUNDLE, which has to hold "
                "the server's authority, and AWS_ENDPOINT_URL."
            ) from error
        except (NoConnectionError, HTTPClientError, IncompleteReadError, RetriesExceededError) as error:
            raise Away(
                f"{where}: no answer from {self._server} ({type(error).__name__}). Is the server up, and is "
                "AWS_ENDPOINT_URL right?"
            ) from error
        except (ParamValidationError, ValueError, BotoCoreError) as error:
            reason = " ".join(str(error).split())
            raise BadInput(f"{where}: {reason} Check the location and the AWS_* settings.") from error

    @property
    def _server(self) -> str:
        """Host and port of the endpoint, without any user information that its URL may carry."""
        return urlsplit(self._client.meta.endpoint_url).netloc.rpartition("@")[2]

    def _server_error(self, error: ClientError, where: str) -> SelftaughtError:
        code, status = _code(error), _status(error)
        kind, words = next((kind, words) for known, kind, words in _ANSWERS if known & {code, status} or not known)
        said = words.format(bucket=self.bucket, server=self._server, code=code, message=_message(error))
        return kind(f"{where}: {said}")


def _stored_folder(name: str, items: "Sequence[ObjectTypeDef]") -> Stored:
    marker = next((item for item in items if item.get("Key", "").endswith(f"/{name}/{MARKER}")), None)
    written = max(map(_written, [marker] if marker else items))
    return Stored(name=name, bytes=sum(map(_size, items)), written=written, complete=marker is not None)


def _size(item: "ObjectTypeDef") -> int:
    return item.get("Size", 0)


def _written(item: "ObjectTypeDef") -> float:
    stated = item.get("LastModified")
    return stated.timestamp() if stated else time.time()  # no server leaves it out; if one does, nothing of it is old


def _client() -> "S3Client":
    """The one S3 client configuration: time-outs, retries, and `If-None-Match: *` on everything that writes."""
    config = Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", ATTEMPTS))},
        s3={"addressing_style": os.environ.get("SELFTAUGHT_S3_ADDRESSING", "auto")},  # pyright: ignore[reportArgumentType]
    )
    # boto3 itself reads AWS_DEFAULT_REGION alone
    region = os.environ.get("AWS_REGION") or None
    client = boto3.session.Session(region_name=region).client("s3", config=config)  # pyright: ignore[reportUnknownMemberType]
    for operation in ("PutObject", "CompleteMultipartUpload"):
        # An event, because the transfer manager of boto3 1.44 passes no IfNoneMatch on.
        client.meta.events.register(f"provide-client-params.s3.{operation}", _only_if_new)
    return client


def _only_if_new(params: dict[str, Any], **_: object) -> None:
    params["IfNoneMatch"] = "*"


def _first(write: Callable[[], object]) -> bool:
    """Whether `write` created its object; False when another writer did, or is about to (S3 then answers 409)."""
    try:
        write()
    except ClientError as error:
        if _status(error) == 412 or _code(error) in ("ConditionalRequestConflict", "OperationAborted"):
            return False
        raise
    return True


def _is_missing(error: ClientError) -> bool:
    """Whether it says that there is no such object: servers other than S3, and every HEAD, give it no code of S3's."""
    return _status(error) == 404 and _code(error) != "NoSuchBucket"


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _message(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Message", "")
