"""What the first round would miss: the cluster profile of `selftaught doctor`, each fault with its fix."""

from selftaught.doctor import cluster
from selftaught.settings import Settings

MARKS = {True: "ok", False: "WRONG", None: "?"}

findings = cluster.checks(Settings.load())
for finding in findings:
    print(f"{MARKS[finding.ok]} {finding}")
wrong = [finding.name for finding in findings if finding.ok is False]
if wrong:
    raise SystemExit(f"a round would fail: {', '.join(wrong)}")
