"""What an image installs is what its program imports; how it is built is said, and how big it became."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.rounds import REPOSITORY

IMAGES = REPOSITORY / "components" / "images"
CONTAINERFILE = (IMAGES / "Containerfile").read_text()


def installed(stage: str) -> set[str]:
    """The packages that the Containerfile names for a stage, and those of the torch layer under it."""
    words: list[str] = []
    for name in ("torch", stage):
        steps = re.search(rf"^FROM \w+ AS {name}$(.*?)^FROM ", CONTAINERFILE, re.MULTILINE | re.DOTALL)
        assert steps
        (found,) = re.findall(r"install\.py (.*)$", steps.group(1), re.MULTILINE)
        words += found.replace('"$TORCH"', "torch").split()
    return set(words)


def with_what_they_need(packages: Iterable[str]) -> set[str]:
    """The packages and all that they require here, by their canonical names."""
    found, waiting = set[str](), [canonicalize_name(each) for each in packages]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needs = [Requirement(each) for each in requires(name) or ()]
        except PackageNotFoundError:
            continue  # wanted on another machine
        waiting += [canonicalize_name(n.name) for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]
    return found


LOCKED = re.compile(r"^([\w.-]+)==", re.MULTILINE)
ENGINE = [
    "selftaught.serving.engines.vllm_server",
    "selftaught.serving.middleware.connections",
    "selftaught.serving.middleware.counting",
]


@pytest.mark.parametrize(
    ("stage", "programs"),
    [("value-server", ["selftaught.serving.engines.transformers_server"]), ("vllm-cpu", ENGINE), ("vllm-cuda", ENGINE)],
)
def test_a_server_has_what_it_imports(stage: str, programs: list[str]):
    """It starts where nothing else of what is installed here can be imported. vLLM for GPUs is known by its lock."""
    has = with_what_they_need(installed(stage))
    if stage == "vllm-cuda":
        has |= {canonicalize_name(name) for name in LOCKED.findall((IMAGES / "engine-cuda.txt").read_text())}
    others = [
        name for name, of in packages_distributions().items() if not {canonicalize_name(each) for each in of} & has
    ]
    code = f"""
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(set(others) - {"selftaught"})!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import {", ".join(programs)}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_the_steps_image_can_count_tokens():
    """`prepare` runs there, without transformers."""
    words = " ".join(re.findall(r"^FROM base AS steps$(.*?)^FROM ", CONTAINERFILE, re.MULTILINE | re.DOTALL))
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [each for extra in re.findall(r"--extra (\S+)", words) for each in extras[extra]]
    assert "tokenizers" in {Requirement(each).name for each in named}


def test_no_image_has_a_compiler_but_the_one_whose_triton_compiles_as_it_runs():
    stages = re.split(r"^FROM (?=\S+ AS )", CONTAINERFILE, flags=re.MULTILINE)[1:]
    bring = {stage.split()[2] for stage in stages if re.search(r"\b(gcc|g\+\+|clang|cc|build-essential)\b", stage)}
    assert bring == {"tools", "vllm-cuda"}
    made_of = {stage.split()[2]: stage.split()[0] for stage in stages}
    assert [name for name, base in made_of.items() if base in bring] == ["code", "engine-cuda", "inventory"]


def make(*words: str) -> str:
    """What make would run for these images."""
    done = subprocess.run(["make", "-n", "images", *words], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.replace("\\\n", " ").split())


def test_build_arguments_reach_the_build_where_they_are_named():
    base = "docker.io/library/python@sha256:" + "0" * 64
    found = make("IMAGES=steps", f"BASE={base}", "TORCH_INDEX=")
    assert f'--build-arg TORCH_INDEX="" --build-arg BASE="{base}"' in found
    assert "--build-arg" not in make("IMAGES=steps").replace('"--build-arg TORCH=index"', "")


def sizes(tmp_path: Path, size: int, *names: str) -> str:
    inspect = tmp_path / "inspect"
    inspect.write_text(f"#!/bin/sh\n[ $1 = --format ] && echo {size}\n")
    inspect.chmod(0o755)
    command = [sys.executable, "scripts/image_sizes.py", str(inspect), *names]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def test_the_size_of_every_image_is_said(tmp_path: Path):
    assert sizes(tmp_path, 812_000_000, "r/steps:1", "r/trainer:1") == "r/steps:1: 0.8 GB\nr/trainer:1: 0.8 GB\n"


def test_an_image_for_cpus_of_more_than_3_gb_is_a_warning_with_the_fix(tmp_path: Path):
    assert "WARNING" not in sizes(tmp_path, 3_000_000_000, "r:5000/trainer:1")
    found = sizes(tmp_path, 5_500_000_000, "r:5000/trainer:1")
    assert found.startswith("r:5000/trainer:1: 5.5 GB\nWARNING: more than 3 GB")
    assert "make images TORCH_INDEX=" in found


def test_an_image_for_gpus_may_be_as_big_as_it_is(tmp_path: Path):
    assert sizes(tmp_path, 9_000_000_000, "r/engine-cuda:1") == "r/engine-cuda:1: 9.0 GB\n"
