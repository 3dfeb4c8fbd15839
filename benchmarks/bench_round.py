"""What a round costs beside generation and training: its share of the round's wall time.

Runs one round of a recipe with `selftaught run --json` in a home of its own, and divides the time from the round's
first event to its outcome into the steps that it tells. Generation is sampling and evaluation from the moment an engine
answers, training is the trainer's loop; all else (starting engines and tasks, imports, verification, data, tracking,
the report) is overhead. What the command does before and after its round (the plan, adopting the model) is reported
separately. Usage: `python benchmarks/bench_round.py [--recipe recipes/rft.yaml] [--set FIELD=VALUE ...]`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from selftaught.recipe import Recipe
from selftaught.state.starter import resolve

PRODUCTIVE = ("sample", "evaluate gate", "evaluate report", "train")
AIM = 0.10


def main() -> None:
    """Run, divide, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/rft.yaml"))
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    args = parser.parse_args()
    recipe = Recipe.load(args.recipe, args.overrides)
    model = resolve(recipe.policy, Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")) / "models")
    changes = [f"--set={change}" for change in [*args.overrides, f"models.policy={model}"]]
    begin = time.monotonic()
    measured, seconds = _round(
        [sys.executable, "-m", "selftaught", "run", str(args.recipe), "--rounds=1", *changes, "--json"]
    )
    _print({step["name"]: step["seconds"] for step in measured["steps"]}, seconds, time.monotonic() - begin)


def _round(command: list[str]) -> tuple[dict[str, Any], float]:
    """What the round's last line tells, and the seconds from the round's start to it."""
    began, seconds = 0.0, 0.0
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"SELFTAUGHT_HOME": home}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                said = json.loads(line)
                if said.get("event", {}).get("step") == "round":
                    began = time.monotonic()
                if "outcome" in said:
                    result, seconds = said, time.monotonic() - began
    if not result:
        raise SystemExit(f"the round ended with {process.returncode}")
    return result, seconds


def _print(steps: dict[str, float], seconds: float, command: float) -> None:
    parts = {name: steps[name] for name in PRODUCTIVE}
    overhead = seconds - sum(parts.values())
    for name, value in {**parts, "overhead": overhead}.items():
        print(f"  {name:16} {value:7.1f} s  {value / seconds:6.1%}")
    print(f"ratio of overhead to the round's {seconds:.0f} s: {overhead / seconds:.3f} (aim: at most {AIM:.2f})")
    print(f"the command took {command:.0f} s, {command - seconds:.0f} of them before and after its round")


if __name__ == "__main__":
    main()
