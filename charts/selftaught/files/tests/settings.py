"""The settings are those of a cluster, and the library reads them."""

import os

from selftaught.settings import Settings

settings = Settings.load()
assert settings.store.startswith("s3://"), settings.store
assert settings.tracking_uri.startswith("http"), settings.tracking_uri
assert os.environ["SELFTAUGHT_PROFILE"] == "cluster"
assert os.environ["SELFTAUGHT_SERVING"] == "kserve"
print(f"store {settings.store}, MLflow {settings.tracking_uri}, namespace {os.environ['SELFTAUGHT_NAMESPACE']}")
