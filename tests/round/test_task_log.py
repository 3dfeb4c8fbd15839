"""A task's log under KFP's executor is the step's: libraries do not tell each of their requests in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPONENT = """
import contextlib, http.server, logging, os, threading
from selftaught.round.step import step

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

def task():
    import boto3, httpx, openai
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    with step("task") if os.environ["INSIDE"] == "yes" else contextlib.nullcontext():
        httpx.get(f"http://127.0.0.1:{server.server_port}/asked", trust_env=False)
        boto3.client("s3", region_name="eu-central-1")
        openai._base_client.log.info("Retrying request to the engine")
        for name in ("selftaught.round", "somebody.else"):
            logging.getLogger(name).info("a line of %s", name)
        logging.getLogger("botocore").warning("a warning of a library")
        print("the step's own")
"""


def log(tmp_path: Path, inside: str) -> str:
    """What KFP's own executor prints for a task that talks to a server and to S3's client."""
    (tmp_path / "component.py").write_text(COMPONENT)
    fields = {"inputs": {}, "outputs": {"outputFile": str(tmp_path / "output.json")}}
    arguments = ["--component_module_path", str(tmp_path / "component.py"), "--function_to_execute", "task"]
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "INSIDE": inside}
    done = subprocess.run(
        [sys.executable, "-m", "kfp.dsl.executor_main", *arguments, "--executor_input", json.dumps(fields)],
        env={**os.environ, **keys},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


LIBRARIES = ("HTTP Request: GET", "Found credentials in environment", "Retrying request to the engine")
OWN = ("a line of selftaught.round", "a line of somebody.else", "a warning of a library", "the step's own")


@pytest.mark.parametrize(("inside", "found"), [("no", True), ("yes", False)])
def test_libraries_are_quiet_inside_a_step(tmp_path: Path, inside: str, found: bool):
    """Outside of a step KFP's executor prints their lines, so the test would notice that a library's name changed."""
    printed = log(tmp_path, inside)
    assert [line in printed for line in LIBRARIES] == [found] * len(LIBRARIES), printed
    assert all(line in printed for line in OWN), printed
