"""promote: a challenger that passed the gate becomes what users get. The only step that moves the champion.

The champion that was evaluated is the one that is replaced: a promotion that finds another champion than the job's
refuses, so two campaigns on one line cannot overwrite each other's decision. What it tags the version with is the gain
that decided, which is too high on average: it was selected on. The gain on the report set is the report's to tag.
"""

import sys
from functools import partial
from pathlib import Path

from selftaught.evaluation.decision import decision_from_json
from selftaught.platform import Platform
from selftaught.round.abandon import require_kept
from selftaught.round.job import Job
from selftaught.round.patience import patient
from selftaught.serving.promotion import move
from selftaught.serving.upkeep import attend
from selftaught.state.tracking import Version


@patient
def run(job_path: str, challenger: str, decision: str) -> Version | None:
    """Make the challenger the champion, and the champion before it `previous`; None where the gate did not promote.

    A second call changes nothing, also where the challenger was rolled back since: the round is resumed, not undone.

    Raises RoundFailed when the champion is not the one that the challenger was measured against, or when the route
    tries the challenger on users and it fails them; BadInput when the round was given up.
    """
    platform, job = Platform.open(), Job.read(job_path)
    require_kept(platform, job)
    tracker = platform.tracker
    decided = decision_from_json(Path(decision).read_text(encoding="utf-8"))
    if decided.outcome != "promoted":
        print(f"promote: {decided.outcome}, so the champion stays", file=sys.stderr)
        return None
    new = next(version for version in tracker.versions(job.line) if version.digest == challenger)
    gain = f"{decided.gain:+.4f} [{decided.low:.4f}, {decided.high:.4f}]"
    tracker.tag_version(new, {"selftaught.gain_that_decided": gain})
    move(
        tracker,
        platform.serving(),
        new,
        expected=job.champion.digest,
        begun=partial(attend, platform.settings, job.line),
        sure=partial(require_kept, platform, job),
        again=new.run != job.run,
    )
    if tracker.resolve(job.line, "champion") != new:
        print(f"promote: version {new.version} was promoted in this round and replaced since", file=sys.stderr)
    return new
