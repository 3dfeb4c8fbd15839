"""The store at a directory or a URL."""

import re
from pathlib import Path

from selftaught.core.errors import BadInput
from selftaught.state.store.base import Store
from selftaught.state.store.directory import DirectoryStore


def open_store(location: str) -> Store:
    """The store at `location`: a directory, or `s3://bucket/prefix`.

    `minio://` is what Kubeflow Pipelines calls the same thing; the store's own URIs are `s3://`, because KServe knows
    no other. S3 endpoint, region and credentials come from where every AWS tool takes them (AWS_ENDPOINT_URL_S3,
    AWS_REGION, AWS_CA_BUNDLE, AWS_ACCESS_KEY_ID … or the instance's role). Nothing is contacted yet. Raises BadInput
    on any other scheme.
    """
    scheme, separator, rest = location.partition("://")
    if not separator and re.match(r"(s3|minio|file):", location):
        meant = re.sub(r"^(\w+):/*", r"\1://", location)
        raise BadInput(f"{location}: neither a directory nor a URL. Is {meant} meant?")
    if not separator or scheme == "file":
        return DirectoryStore(Path(rest or location))
    if scheme in ("s3", "minio"):
        from selftaught.state.store.s3 import S3Store

        bucket, _, prefix = rest.partition("/")
        return S3Store(bucket, prefix)
    raise BadInput(f"{location}: no store that is known here. Accepted: a directory, or s3://bucket/prefix.")
