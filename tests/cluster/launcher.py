"""What KFP's launcher does around a component, inside its container: inputs from S3, the command, outputs to S3.

The pod's TASK says what to fetch, run and keep. It is mounted into the component's own image, which has boto3.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3

S3 = boto3.client("s3")


def local(uri: str) -> Path:
    """Where KFP's executor looks for an artifact."""
    return Path("/s3") / uri.removeprefix("s3://")


def fetch(uri: str) -> None:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    for page in S3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            rest = item["Key"].removeprefix(prefix)
            if not rest or rest.startswith("/"):
                target = Path(f"{local(uri)}{rest}")
                target.parent.mkdir(parents=True, exist_ok=True)
                S3.download_file(bucket, item["Key"], str(target))


def keep(path: Path, uri: str) -> None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    for file in files:
        rest = "" if file == path else f"/{file.relative_to(path)}"
        S3.upload_file(str(file), bucket, f"{key}{rest}")


def main() -> None:
    task = json.loads(os.environ["TASK"])
    for uri in task["inputs"]:
        fetch(uri)
    for uri in task["outputs"]:
        local(uri).parent.mkdir(parents=True, exist_ok=True)
    Path(task["output_file"]).parent.mkdir(parents=True, exist_ok=True)
    code = subprocess.run(task["command"], check=False).returncode
    if code:
        sys.exit(code)
    for uri in task["outputs"]:
        if local(uri).exists():
            keep(local(uri), uri)
    keep(Path(task["output_file"]), task["output_uri"])


if __name__ == "__main__":
    main()
