"""Parsing of the store's claims into the records that were written."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from selftaught.core.errors import StoreError
from selftaught.state.store import Store

M = TypeVar("M", bound=BaseModel)


def parse_claim(store: Store, key: str, value: bytes, kind: type[M]) -> M:
    """What a claim says. Raises StoreError, naming it, where that is nothing that this version can read."""
    try:
        return kind.model_validate_json(value)
    except ValidationError as error:
        raise StoreError(
            f"{store.root}/claims/{key}: cannot be read as a {kind.__name__} ({error.error_count()} errors). Another "
            "version wrote it, with blocks that are not installed here, or none did: then remove it and run again."
        ) from None
