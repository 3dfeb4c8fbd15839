"""Which model `serve` and `chat` mean by a name."""

from pathlib import Path

import pytest

from selftaught.core.errors import BadInput
from selftaught.lines.serve import _meant
from selftaught.platform import Platform
from tests.registry_made import LINE, Registry, tiny_model

pytest_plugins = ["tests.registry_fixtures"]


def test_a_line_comes_before_a_folder_of_its_name(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model(tmp_path / LINE)
    monkeypatch.chdir(tmp_path)
    assert _meant(Platform.open(), LINE, "champion") == registry.second


def test_a_folder_is_kept_in_the_store_and_called_like_itself(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_model(tmp_path / "My model (2)", seed=3)
    monkeypatch.chdir(tmp_path)
    platform = Platform.open()
    meant = _meant(platform, "My model (2)", "champion")
    assert (meant.line, meant.version) == ("My-model-2", "")
    assert (platform.model(meant.digest) / "model.safetensors").read_bytes() == (
        tmp_path / "My model (2)" / "model.safetensors"
    ).read_bytes()
    assert platform.tracker.lines() == [LINE]


def test_what_is_neither_is_no_line(registry: Registry) -> None:
    with pytest.raises(BadInput, match=r"unknown model line 'math'\. Did you mean 'maths'"):
        _meant(Platform.open(), "math", "champion")
