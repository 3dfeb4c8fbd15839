"""The control of docs/recipes.md, as a package of one's own: B-STaR's balance score in one file of 60 lines at most."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
(CODE,) = (
    code
    for code in re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "recipes.md").read_text(), re.DOTALL)
    if "class Balance" in code
)
RECIPE = {
    "name": "balanced",
    "models": {"policy": "smollm2-135m-instruct"},
    "tasks": {"type": "word_problems", "train": 8, "gate": 8, "report": 8},
    "stages": [
        {
            "sample": {"type": "iid", "k": 4},
            "verify": {"type": "answer_match"},
            "curate": {"type": "accepted"},
            "train": {"type": "sft"},
            "control": {"type": "balance"},
        }
    ],
}
ROUNDS = """
import json, sys
from selftaught.blocks import Observed
from selftaught.recipe import Recipe
from selftaught.records import Group, Rollout, Turn, Verdict
from selftaught.testing import sums

(stage,) = Recipe.parse(sys.argv[1]).stages
(control,) = stage.control
state, temperatures = {}, []
for right in (1, 4, 2, 0):
    temperatures.append(control.begin(stage, state).sample.temperature)
    said = ["3", "2 + 1", "1 + 2", "it is 3"]
    rollouts = tuple(
        Rollout(task=sums(1)[0].id, index=at, model="m", turns=(Turn(content=text),), temperature=temperatures[-1])
        for at, text in enumerate(said)
    )
    verdicts = tuple((Verdict.of("gold", at < right),) for at in range(4))
    state = control.observe(state, Observed([Group(task=sums(1)[0], rollouts=rollouts, verdicts=verdicts)]))
print(json.dumps([temperatures, state]))
"""


def test_the_pages_control_is_found_by_its_entry_point_and_chooses_by_the_balance_score(tmp_path: Path) -> None:
    """1, 4 and 2 right of 4 with n* = 4 score 1/16, 1 and 1/4: the second temperature is due, and scored again."""
    assert len(CODE.splitlines()) <= 60
    (tmp_path / "balance_control.py").write_text(CODE)
    info = tmp_path / "balance-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: balance\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[selftaught.blocks]\nbalance = balance_control\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, "-c", ROUNDS, json.dumps(RECIPE)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[0.5, 0.7, 1.0, 0.7], {"0.5": 1 / 16, "0.7": 0.0, "1.0": 1 / 4}]
