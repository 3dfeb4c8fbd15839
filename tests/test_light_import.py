"""The light image reads every recipe and runs every light step without torch."""

import pkgutil
import subprocess
import sys

import selftaught

HEAVY = {"torch", "transformers", "trl", "peft", "vllm", "datasets", "mlflow", "kfp", "reasoning_gym", "math_verify"}
PROGRAMS = {"selftaught.serving.engines.transformers_server"}
"""Run as processes of their own, never imported; training loops (`loops` packages) are those of the trainer image."""


def light_modules() -> list[str]:
    """Every module of the library but what runs in images of its own."""
    walked = (module.name for module in pkgutil.walk_packages(selftaught.__path__, "selftaught."))
    return [name for name in walked if name not in PROGRAMS and ".loops" not in name]


def test_no_module_loads_a_heavy_library_when_it_is_imported():
    """One process imports them all; if it fails, importing them one by one tells which."""
    code = f"import sys, {', '.join(light_modules())}; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
