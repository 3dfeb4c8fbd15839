"""What a child process gets: no credential that it has no use for, and everything that it needs."""

import pytest

from selftaught.core.environment import inherited, without_secrets

SECRETS = (
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_ENDPOINT_URL_S3 MLFLOW_TRACKING_URI "
    "MLFLOW_TRACKING_PASSWORD GIT_PASSWORD KUBECONFIG HF_TOKEN OPENAI_API_KEY DATABASE_PASSWORD my_token VLLM_API_KEY"
).split()
NEEDED = "PATH HOME LANG CUDA_VISIBLE_DEVICES OMP_NUM_THREADS TOKENIZERS_PARALLELISM HF_HOME TMPDIR PYTHONPATH".split()


@pytest.mark.parametrize("name", SECRETS)
def test_a_credential_is_not_handed_on(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "x")
    assert name not in without_secrets()


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_no_credential_is_handed_on(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "x")
    assert without_secrets()[name] == "x"


def test_threads_make_way_for_others_unless_the_user_says_how_long_they_spin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert (inherited()["GOMP_SPINCOUNT"], without_secrets()["GOMP_SPINCOUNT"]) == ("1000", "1000")
    monkeypatch.setenv("GOMP_SPINCOUNT", "300000")
    assert (inherited()["GOMP_SPINCOUNT"], without_secrets()["GOMP_SPINCOUNT"]) == ("300000", "300000")
