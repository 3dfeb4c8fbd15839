"""Settings: the environment wins, then the profile, then the default; what is wrong is named with its location."""

import os
from pathlib import Path

import pytest

from selftaught.core.errors import BadInput
from selftaught.settings import Settings, variable
from selftaught.state.database import database_file

FILE = """
[profiles.cluster]
store = "s3://models/selftaught"
serving = "kserve"
grace = 30
environment = { AWS_REGION = "eu-central-1" }
"""


@pytest.fixture(autouse=True)
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile of a cluster, chosen, in an environment that says nothing else."""
    for name in (*map(variable, Settings.model_fields), "AWS_REGION"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    path = tmp_path / "selftaught.toml"
    path.write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFTAUGHT_PROFILE", "cluster")
    return path


def test_the_profile_says_what_the_environment_does_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFTAUGHT_GRACE", "7")
    found = Settings.load()
    assert (found.store, found.serving, found.grace) == ("s3://models/selftaught", "kserve", 7)


def test_without_a_profile_everything_is_below_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SELFTAUGHT_PROFILE")
    found = Settings.load()
    assert found.home == tmp_path / ".selftaught"
    assert (found.store, found.serving) == (str(found.home / "store"), "local")
    assert found.tracking_uri == f"sqlite:///{found.home}/mlflow.db"


def test_a_profile_sets_variables_that_are_not_set(monkeypatch: pytest.MonkeyPatch):
    import os

    Settings.load()
    assert os.environ["AWS_REGION"] == "eu-central-1"
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    Settings.load()
    assert os.environ["AWS_REGION"] == "us-east-1"


@pytest.mark.parametrize("in_file", [True, False])
def test_a_tilde_is_this_users_folder(
    profile: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_file: bool
) -> None:
    """Neither TOML nor a quoted variable expands it: a folder called ~ would be made in the working folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    if in_file:
        profile.write_text('[profiles.cluster]\nhome = "~/work"\nstore = "~/store"\n')
    else:
        profile.write_text("[profiles.cluster]\n")
        monkeypatch.setenv("SELFTAUGHT_HOME", "~/work")
        monkeypatch.setenv("SELFTAUGHT_STORE", "~/store")
    found = Settings.load()
    assert (found.home, found.store) == (tmp_path / "me" / "work", str(tmp_path / "me" / "store"))


@pytest.mark.parametrize("variable", ["SELFTAUGHT_STORE", "MLFLOW_TRACKING_URI"])
def test_an_empty_place_is_told(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder would be the store."""
    monkeypatch.setenv(variable, "")
    with pytest.raises(BadInput, match=rf"{variable} .*: '': .*at least 1 character"):
        Settings.load()


@pytest.mark.parametrize("field", ["patience", "replicas", "engine_memory_share", "canary_steps", "namespace"])
def test_true_is_no_other_setting(field: str, profile: Path) -> None:
    profile.write_text(f"[profiles.cluster]\n{field} = true\n")
    with pytest.raises(BadInput, match=rf"profiles.cluster.{field}.*: 'True': it is true or false"):
        Settings.load()


@pytest.mark.parametrize("most", [0, 1, 2])
def test_a_fixed_number_of_servers_needs_no_prometheus(most: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFTAUGHT_REPLICAS", "2")
    monkeypatch.setenv("SELFTAUGHT_MAX_REPLICAS", str(most))
    assert Settings.load().replicas == 2


def test_the_registry_of_an_oddly_named_home_is_in_that_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SELFTAUGHT_HOME", str(tmp_path / "my project %2F? é#"))
    assert database_file(Settings.load().tracking_uri) == tmp_path / "my project %2F? é#" / "mlflow.db"


def test_another_process_that_is_told_the_environment_has_the_same_settings(monkeypatch: pytest.MonkeyPatch):
    found = Settings.load()
    monkeypatch.delenv("SELFTAUGHT_PROFILE")
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings.load() == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "[profiles.cluster]\nserveing = 'kserve'",
            r"profiles.cluster.serveing: no such setting. Did you mean 'serving'",
        ),
        ("[profiles.cluster]\nserving = 'knative'", r"SELFTAUGHT_SERVING .*profiles.cluster.serving.*'knative'"),
        ("[profiles.cluster]\ngrace = -1", r"SELFTAUGHT_GRACE .*'-1'.*greater than 0"),
        (
            "[profiles.cluster]\ncanary_steps = [5, 5]",
            r"SELFTAUGHT_CANARY_STEPS .*'\[5, 5\]': .*more than the one before",
        ),
        (
            "[profiles.cluster]\nroute = 'gateway'\ndomain = 'ai'",
            r"SELFTAUGHT_GATEWAY .*profiles.cluster.gateway.*: '': route 'gateway' needs it",
        ),
        (
            "[profiles.cluster]\nroute='gateway'\ngateway='a/b'\ngateway_url='http://c'\ndomain='d'\none_engine=true",
            r"SELFTAUGHT_ONE_ENGINE .*needs room for two",
        ),
        (
            "[profiles.cluster]\nreport_to = ['wandb', 'comet']",
            r"SELFTAUGHT_REPORT_TO .*report_to\): 'comet': Input should be 'tensorboard' or 'wandb'",
        ),
        ("[profiles.cluster]\nreplicas = 2\nmax_replicas = 3", r"SELFTAUGHT_PROMETHEUS .*: '': max_replicas is above"),
        ("[profiles.cluster]\nreach = 'proxy'", r"SELFTAUGHT_REACH .*'proxy': it is 'name', 'address', or the URL"),
        ("[profiles.clutser]\n", r"no profile 'cluster'. Did you mean 'clutser'"),
        ("[profiles.cluster", r"selftaught.toml: not valid TOML"),
        ("profiles = 5", r"selftaught.toml: profiles: 5: should be a table"),
        ("profiles = {cluster = 5}", r"selftaught.toml: profiles.cluster: 5: should be a table"),
        ("[profiles.cluster]\nenvironment = 'x'", r"profiles.cluster.environment: 'x': should be a table"),
        (
            "[profiles.cluster]\nenvironment = {AWS_A = 5}",
            r"profiles.cluster.environment.AWS_A: 5: should be text",
        ),
        (
            "[profiles.cluster]\nenvironment = {AWS_A = '\\u0000'}".replace("'", '"'),
            r"environment.AWS_A: '\\x00'",
        ),
        ("[profiles.cluster]\nhome = 5", r"SELFTAUGHT_HOME .*profiles.cluster.home\): 5: should be text"),
        ("[profiles.cluster]\ngrace = inf", r"SELFTAUGHT_GRACE .*'inf': Input should be a finite number"),
        (f"a = {'9' * 5000}", r"selftaught.toml: not valid TOML \(Exceeds the limit"),
        (f"a = {'[' * 100_000}", r"selftaught.toml: not valid TOML \("),
    ],
    ids=[
        "unknown",
        "no choice",
        "negative",
        "not rising",
        "no gateway",
        "one engine",
        "no such tracker for curves",
        "nothing to scale by",
        "no way",
        "no profile",
        "no TOML",
        "no profiles",
        "a number for a profile",
        "text for variables",
        "a number for a variable",
        "a variable with NUL",
        "a number for a folder",
        "no finite number",
        "digits",
        "brackets",
    ],
)
def test_a_mistake_is_named_with_its_place(profile: Path, text: str, words: str):
    profile.write_text(text)
    with pytest.raises(BadInput, match=words):
        Settings.load()


def test_settings_are_utf_8_whatever_the_locale(profile: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("locale.getencoding", lambda: "iso-8859-1")
    profile.write_bytes("\ufeff[profiles.cluster]\ngit_author = 'J\u00fcrgen <j@x.de>'".encode())
    assert Settings.load().git_author == "J\u00fcrgen <j@x.de>"


@pytest.mark.parametrize("content", [b"\xff", None], ids=["no text", "a folder"])
def test_a_file_that_cannot_be_read_is_named(profile: Path, content: bytes | None):
    profile.unlink()
    profile.write_bytes(content) if content else profile.mkdir()
    with pytest.raises(BadInput, match=r"selftaught.toml: (not valid TOML|cannot be read \(Is a directory)"):
        Settings.load()


@pytest.mark.parametrize(
    "name",
    "LD_PRELOAD PYTHONPATH PATH BASH_ENV KUBECONFIG AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE "
    "VLLM_LOGGING_CONFIG_PATH SELFTAUGHT_ENGINES XAWS_REGION aws_region "
    "AWS_DATA_PATH HF_MODULES_CACHE MLFLOW_AUTH_CONFIG_PATH MLFLOW_CONDA_CREATE_ENV_CMD MLFLOW_ENABLE_REMOTE_ASSISTANT "
    "HF_ENDPOINT HF_HOME HF_HUB_CACHE HF_DATASETS_CACHE HF_TOKEN_PATH SSL_CERT_FILE REQUESTS_CA_BUNDLE".split(),
)
def test_a_file_of_settings_loads_no_code_and_leads_no_download_elsewhere(profile: Path, name: str):
    """Entering a folder and typing a command must not run what the folder's author wants."""
    profile.write_text(f"[profiles.cluster]\nenvironment = {{{name} = '/tmp/x'}}")
    with pytest.raises(BadInput, match=rf"profiles.cluster.environment.{name}: a variable that a file of settings may"):
        Settings.load()
    assert os.environ.get(name) != "/tmp/x"


@pytest.mark.parametrize(
    "name",
    "AWS_ENDPOINT_URL_S3 AWS_CA_BUNDLE MLFLOW_TRACKING_USERNAME MLFLOW_WORKSPACE MLFLOW_TRACKING_SERVER_CERT_PATH "
    "HF_TOKEN HF_HUB_DISABLE_XET HF_HUB_DOWNLOAD_TIMEOUT https_proxy".split(),
)
def test_a_file_of_settings_names_servers(profile: Path, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "")
    monkeypatch.delenv(name)
    profile.write_text(f"[profiles.cluster]\nenvironment = {{{name} = 'x'}}")
    Settings.load()
    assert os.environ[name] == "x"
