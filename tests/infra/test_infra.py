"""infra/: what can be known of it without a cloud and without Docker.

Terraform's own tests (infra/aws/tests) run where Terraform and its provider are at hand; nothing is downloaded for
them. The scripts for kind are run against commands that only write down how they were called.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

ROOT = Path(__file__).parents[2]
AWS = ROOT / "infra" / "aws"
KIND = ROOT / "infra" / "kind"
CHART = ROOT / "charts" / "selftaught"
UP = (KIND / "up.sh").read_text()
MIRRORS = ("~/.terraform.d/plugins", "/usr/share/terraform/plugins", "/usr/local/share/terraform/plugins", "/opt/*")


def run(*words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=900, check=False)


# -- Terraform ---------------------------------------------------------------------------------------------------------


def terraform(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    if not shutil.which("terraform"):
        pytest.skip("terraform is not on PATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return run("terraform", f"-chdir={folder}", *words, env=environment)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """infra/aws, initialised with a provider that is on this machine, away from the checkout and its state."""
    version = re.search(r'version = "([\d.]+)"', (AWS / "versions.tf").read_text())
    assert version
    places = [AWS / ".terraform" / "providers", *(mirrored for mirror in MIRRORS for mirrored in _places(mirror))]
    found = [
        mirrored for mirrored in places if (mirrored / f"registry.terraform.io/hashicorp/aws/{version[1]}").is_dir()
    ]
    if not found:
        pytest.skip("the AWS provider is not at hand: run `terraform init` in infra/aws")
    root = tmp_path_factory.mktemp("terraform")
    (root / "charts").symlink_to(ROOT / "charts")
    folder = root / "infra" / "aws"
    shutil.copytree(AWS, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars"))
    done = terraform(folder, "init", "-backend=false", "-input=false", "-no-color", f"-plugin-dir={found[0]}")
    assert done.returncode == 0, done.stderr
    return folder


def _places(mirror: str) -> list[Path]:
    path = Path(mirror).expanduser()
    return sorted(path.parent.glob(path.name))


def test_terraform_is_formatted():
    done = terraform(AWS, "fmt", "-check", "-recursive", "-diff", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr


def test_terraform_is_valid(copy: Path):
    done = terraform(copy, "validate", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr


def test_terraform_makes_what_its_tests_say(copy: Path):
    done = terraform(copy, "test", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout


def block(file: str, kind: str, name: str) -> str:
    """The text of a top-level resource, with runs of spaces as one: enough to read a setting without Terraform."""
    found = re.search(rf'^resource "{kind}" "{name}" \{{\n(.*?)^\}}', (AWS / file).read_text(), re.M | re.S)
    assert found, f"{file} has no {kind}.{name}"
    return re.sub(r" +", " ", found[1])


@pytest.mark.parametrize(
    ("file", "kind", "said"),
    [
        ("storage.tf", "aws_s3_bucket_versioning", 'status = "Enabled"'),
        ("storage.tf", "aws_s3_bucket_server_side_encryption_configuration", 'sse_algorithm = "AES256"'),
        ("storage.tf", "aws_s3_bucket_public_access_block", "restrict_public_buckets = true"),
        ("storage.tf", "aws_s3_bucket_policy", '{ Bool = { "aws:SecureTransport" = "false" } }'),
        ("storage.tf", "aws_s3_bucket_lifecycle_configuration", "days_after_initiation = 7"),
        ("storage.tf", "aws_s3_bucket", "force_destroy = false"),
        ("registry.tf", "aws_ecr_repository", 'image_tag_mutability = "IMMUTABLE"'),
        ("registry.tf", "aws_ecr_repository", "scan_on_push = true"),
        ("cluster.tf", "aws_eks_node_group", 'effect = "NO_SCHEDULE"'),
    ],
)
def test_essentials_stand_in_the_files(file: str, kind: str, said: str):
    assert said in block(file, kind, "this")


def test_the_engine_reads_and_no_more():
    access = re.sub(r" +", " ", (AWS / "access.tf").read_text())
    assert 'engine = { keys = "models/", actions = local.read }' in access
    assert 'read = ["s3:GetObject"]' in access


def test_terraform_names_no_account_and_no_secret():
    for path in AWS.rglob("*.tf"):
        text = path.read_text()
        assert not re.search(r"\b\d{12}\b", text), path
        assert not re.search(r"AKIA|secret_key|password", text), path


# -- kind --------------------------------------------------------------------------------------------------------------


def merged(below: object, above: object) -> object:
    """Values as Helm lays them over each other."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {key: merged(below.get(key), above[key]) if key in above else below[key] for key in below | above}
    return above


def test_values_for_kind_pass_the_charts_schema():
    values: object = {}
    for file in (CHART / "values.yaml", CHART / "values-dev.yaml", KIND / "values.yaml"):
        values = merged(values, yaml.safe_load(file.read_text()))
    errors = list(Draft7Validator(json.loads((CHART / "values.schema.json").read_text())).iter_errors(values))
    assert not errors, errors[0]


def test_the_chart_renders_for_kind():
    if not shutil.which("helm"):
        pytest.skip("helm is not on PATH")
    files = [f"--values={CHART / 'values-dev.yaml'}", f"--values={KIND / 'values.yaml'}"]
    chart = ["selftaught", str(CHART), "--namespace=selftaught", "--kube-version=1.34.0"]
    done = run("helm", "template", *chart, *files)
    assert done.returncode == 0, done.stderr
    objects = [item for item in yaml.safe_load_all(done.stdout) if item]
    settings = [
        item for item in objects if item["kind"] == "ConfigMap" and item["metadata"]["name"].endswith("settings")
    ]
    assert {item["metadata"]["namespace"] for item in settings} == {"selftaught", "kubeflow"}
    launcher = yaml.safe_load(launcher_config()["providers"])["s3"]["default"]
    endpoint = settings[0]["data"]["AWS_ENDPOINT_URL_S3"]
    assert endpoint == f"http://{launcher['endpoint']}"


def launcher_config() -> dict[str, str]:
    return yaml.safe_load((KIND / "kfp-launcher.yaml").read_text())["data"]


def test_kfp_writes_where_the_platform_reads():
    """The bucket, the region and the Secret are those of the chart's embedded S3."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    default = yaml.safe_load(launcher_config()["providers"])["s3"]["default"]
    assert launcher_config()["defaultPipelineRoot"].startswith(f"s3://{values['s3']['bucket']}/")
    assert default["region"] == values["s3"]["region"]
    assert default["disableSSL"] is True
    assert default["credentials"]["secretRef"]["secretName"] == "selftaught-s3"


@pytest.mark.parametrize("script", ["up.sh", "down.sh"])
def test_scripts_parse(script: str):
    path = KIND / script
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_versions_are_those_of_the_documentation():
    install = (ROOT / "docs" / "cluster-install.md").read_text()
    readme = (KIND / "README.md").read_text()
    kfp = re.search(r"^KFP=([\d.]+)$", UP, re.M)
    kserve = re.search(r"/v([\d.]+)/kserve\.yaml", (KIND / "kserve" / "kustomization.yaml").read_text())
    node = re.search(r"kindest/node:v([\d.]+)@sha256:[0-9a-f]{64}$", (KIND / "cluster.yaml").read_text(), re.M)
    eks = re.search(r'"kubernetes_version".*?default\s*= "([\d.]+)"', (AWS / "variables.tf").read_text(), re.S)
    certificates = re.search(r"^CERT_MANAGER=v([\d.]+)", UP, re.M)
    assert kfp and kserve and node and eks and certificates
    assert f"| Kubeflow Pipelines | {minor(kfp[1])} |" in install
    assert f"| KServe | {minor(kserve[1])}, Standard mode" in install
    assert f"Tested on Kubernetes {minor(node[1])} " in install
    assert eks[1] == minor(node[1])
    for version in (kfp[1], kserve[1], node[1], certificates[1]):
        assert version in readme, f"infra/kind/README.md does not name {version}"
    pins = (ROOT / "pyproject.toml").read_text()
    assert f'"kfp==2.{kfp[1].split(".")[1]}.' in pins and f'"kserve=={kserve[1]}"' in pins
    chart = re.search(r'^version: "?([\d.]+)', (CHART / "Chart.yaml").read_text(), re.M)
    assert chart and f"\nVERSION={chart[1]}\n" in UP


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


STUB = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$(basename "$0") $*" in
    "kind get clusters") cat "$CLUSTERS" ;;
    "kind create"*) echo selftaught >"$CLUSTERS" ;;
    "kind delete"*) : >"$CLUSTERS" ;;
    "docker image inspect"*engine*) exit 1 ;;
    *"${FAILS:-nothing at all}"*) exit 1 ;;
esac
"""


@pytest.fixture
def stubs(tmp_path: Path) -> dict[str, str]:
    """An environment in which the tools only write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("docker", "kind", "kubectl", "helm", "git", "sleep"):
        (folder / tool).write_text(STUB)
        (folder / tool).chmod(0o755)
    (tmp_path / "clusters").touch()
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CALLS": str(tmp_path / "calls"),
        "CLUSTERS": str(tmp_path / "clusters"),
    }


def called(script: str, stubs: dict[str, str], **more: str) -> tuple[int, list[str]]:
    log = Path(stubs["CALLS"])
    log.write_text("")
    done = run("bash", str(KIND / script), env=stubs | more)
    return done.returncode, log.read_text().splitlines()


def test_up_goes_on_and_down_takes_away(stubs: dict[str, str]):
    code, first = called("up.sh", stubs)
    assert code == 0
    assert any(call.startswith("kind create cluster --config") for call in first)
    assert first[-1].startswith("helm --kube-context kind-selftaught test selftaught")
    code, second = called("up.sh", stubs)
    assert code == 0
    assert not any(call.startswith("kind create") for call in second)
    assert len(second) == len(first) - 1
    assert called("down.sh", stubs)[1][-1] == "kind delete cluster --name selftaught"
    code, calls = called("down.sh", stubs)
    assert code == 0 and calls == ["kind get clusters"]


def test_up_builds_what_is_missing_and_loads_all(stubs: dict[str, str]):
    calls = called("up.sh", stubs, IMAGES="steps engine")[1]
    assert [call.split()[3] for call in calls if call.startswith("docker build")] == [
        "localhost/selftaught/engine:0.1.0"
    ]
    load = next(call for call in calls if call.startswith("kind load"))
    assert load.endswith("localhost/selftaught/steps:0.1.0 localhost/selftaught/engine:0.1.0")


def test_up_touches_no_other_cluster(stubs: dict[str, str]):
    for call in called("up.sh", stubs)[1]:
        if call.startswith("kubectl ") and not call.startswith("kubectl kustomize "):
            assert call.startswith("kubectl --context kind-selftaught ")
        if call.startswith("helm "):
            assert call.startswith("helm --kube-context kind-selftaught ")


def test_up_stops_at_what_fails(stubs: dict[str, str]):
    code, calls = called("up.sh", stubs, FAILS="apply --server-side")
    assert code != 0
    assert sum("apply --server-side" in call for call in calls) == 7
    assert not any(call.startswith("helm") for call in calls)


def test_up_names_the_tools_that_are_missing(stubs: dict[str, str], tmp_path: Path):
    (tmp_path / "few").mkdir()
    for tool in ("bash", "dirname", "mktemp", "rm"):
        (tmp_path / "few" / tool).symlink_to(shutil.which(tool) or tool)
    bash = shutil.which("bash")
    assert bash
    done = run(bash, str(KIND / "up.sh"), env={"PATH": str(tmp_path / "few")})
    assert done.returncode == 2
    assert "docker kind kubectl helm git" in done.stderr
