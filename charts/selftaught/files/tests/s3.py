"""The store takes an object as rounds write it, gives it back, refuses to have it overwritten, and forgets it."""

import os
import uuid

from selftaught.state.store import open_store

store, key = open_store(os.environ["SELFTAUGHT_STORE"]), f"helm-test/{uuid.uuid4().hex}"
store.claim(key, b"first")
kept = store.claim(key, b"second")
store.release(key)
if kept != b"first":
    raise SystemExit("the server lets a conditional write overwrite: Selftaught cannot work with it")
assert store.claimed(key) is None
print(f"{store.root}, {key}: written once, read, deleted")
