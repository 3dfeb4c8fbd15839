"""The account of the steps reads what is served in its namespace, and nothing else of what is asked for here."""

import os
import ssl
from pathlib import Path

import httpx

here = Path("/var/run/secrets/kubernetes.io/serviceaccount")
host = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
verify = ssl.create_default_context(cafile=here / "ca.crt")
headers = {"Authorization": f"Bearer {(here / 'token').read_text()}"}
namespace = os.environ["SELFTAUGHT_NAMESPACE"]
serving = "/apis/serving.kserve.io/v1beta1"

for expected, path in (
    (200, f"{serving}/namespaces/{namespace}/inferenceservices"),
    (403, f"{serving}/inferenceservices"),
    (403, f"/api/v1/namespaces/{namespace}/secrets"),
    (403, f"/api/v1/namespaces/{namespace}/secrets/selftaught-s3"),
):
    got = httpx.get(f"{host}{path}", headers=headers, verify=verify, timeout=30, trust_env=False).status_code
    print(f"{path}: {got}")
    assert got == expected, f"{path}: {got}, not {expected}"
