"""Content-addressed store: models, data sets and reports under `<kind>/<digest>/`, in a directory or in S3.

A folder is complete or absent: its files come first and the marker `.complete.json`, which lists them with size and
SHA-256, comes last; without a marker a folder does not exist for readers. Files lie under a plain prefix, so that
KServe, MLflow and people can read them without this code. The store also keeps claims: small values of which the first
writer wins. It does not compute digests (`selftaught.records.dataset` and `selftaught.state.weights` do), keeps no
hidden files, and imports `boto3` only where a location is one in S3.
"""

from selftaught.state.store.base import Store, Stored
from selftaught.state.store.directory import DirectoryStore
from selftaught.state.store.files import (
    MARKER,
    Marker,
    StoredFile,
    checked,
    content_of,
    disk_errors,
    fingerprint,
    has_size,
    is_complete,
    locked,
    parsed,
    read_marker,
    sha256_of,
    stats_of,
    visible_files,
    write_marker,
)
from selftaught.state.store.location import open_store

__all__ = [
    "MARKER",
    "DirectoryStore",
    "Marker",
    "Store",
    "Stored",
    "StoredFile",
    "checked",
    "content_of",
    "disk_errors",
    "fingerprint",
    "has_size",
    "is_complete",
    "locked",
    "open_store",
    "parsed",
    "read_marker",
    "sha256_of",
    "stats_of",
    "visible_files",
    "write_marker",
]
