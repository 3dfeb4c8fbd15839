"""The ServingRuntime that the settings name is there."""

import os
import ssl
from pathlib import Path

import httpx

here = Path("/var/run/secrets/kubernetes.io/serviceaccount")
host = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
path = f"/apis/serving.kserve.io/v1alpha1/namespaces/{os.environ['SELFTAUGHT_NAMESPACE']}/servingruntimes"
answer = httpx.get(
    f"{host}{path}",
    headers={"Authorization": f"Bearer {(here / 'token').read_text()}"},
    verify=ssl.create_default_context(cafile=here / "ca.crt"),
    timeout=30,
    trust_env=False,
)
names = [item["metadata"]["name"] for item in answer.raise_for_status().json()["items"]]
print(f"runtimes: {', '.join(names)}")
assert os.environ["SELFTAUGHT_RUNTIME"] in names
