"""What a round costs beside generation and training: their share of the wall time of `selftaught run`.

Runs one round of a recipe in a home of its own and divides the time from the command's start to its end into the steps
that the round's report tells. Generation is sampling and evaluation from the moment an engine answers, training is the
trainer's loop; all else (starting engines and tasks, imports, verification, data, tracking, the report) is overhead.
Usage: `python benchmarks/bench_round.py [--recipe recipes/rft.yaml] [--set FIELD=VALUE ...]`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selftaught.recipe import Recipe
from selftaught.report.data import StepTime
from selftaught.round.history import newest
from selftaught.round.job import Workplace
from selftaught.starter import resolve

GENERATION = ("sample", "evaluate gate", "evaluate report")
AIM = 0.10


def main() -> None:
    """Run, divide, print."""
    args = _arguments()
    recipe = Recipe.load(args.recipe, args.overrides)
    model = resolve(recipe.models["policy"], Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")) / "models")
    with tempfile.TemporaryDirectory() as home:
        os.environ["SELFTAUGHT_HOME"] = home
        overrides = [f"--set={change}" for change in [*args.overrides, f"models.policy={model}"]]
        begin = time.monotonic()
        command = [sys.executable, "-m", "selftaught", "run", str(args.recipe), "--rounds=1", *overrides]
        code = subprocess.run(command, check=False).returncode
        seconds = time.monotonic() - begin
        if code not in (0, 3):
            raise SystemExit(f"the round ended with {code}")
        told = newest(Workplace.open(), recipe.name, recipe.name)
    assert told is not None
    _print({step.name: step for step in told.last.steps}, seconds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/rft.yaml"))
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    return parser.parse_args()


def _print(steps: dict[str, StepTime], seconds: float) -> None:
    parts = {name: steps[name].seconds for name in (*GENERATION, "train", "verify")}
    rest = seconds - sum(parts.values())
    for name, value in {**parts, "everything else": rest}.items():
        print(f"  {name:16} {value:7.1f} s  {value / seconds:6.1%}")
    overhead = (rest + parts["verify"]) / seconds
    print(f"ratio of what is neither generation nor training to {seconds:.0f} s: {overhead:.3f} (aim {AIM:.2f})")


if __name__ == "__main__":
    main()
