"""promote: the champion alias moves to the challenger. The only step that moves it.

The champion that was evaluated is the one that is replaced: a promotion that finds another champion than the job's
refuses, so two campaigns on one line cannot overwrite each other's decision.
"""

from pathlib import Path

from selftaught.errors import RoundFailed
from selftaught.evaluation.decision import decision_from_json
from selftaught.round.job import Job, Workplace
from selftaught.tracking import Version


def run(job_path: str, challenger: str, decision: str) -> Version:
    """Point `champion` at the challenger and `previous` at the champion before it; a second call changes nothing.

    Raises RoundFailed when the champion is not the one that the challenger was measured against.
    """
    place, job = Workplace.open(), Job.read(job_path)
    tracker = place.tracker
    versions = {version.digest: version for version in tracker.versions(job.line)}
    new, old = versions[challenger], tracker.resolve(job.line, "champion")
    if old == new:
        return new
    if old is None or old.digest != job.champion.digest:
        raise RoundFailed(
            f"{job.line}: the champion is {old.digest[:8] if old else 'nobody'} now, but the challenger was measured "
            f"against {job.champion.digest[:8]}. Run the round again."
        )
    decided = decision_from_json(Path(decision).read_text())
    tracker.tag_version(new, {"selftaught.gain": f"{decided.gain:+.4f} [{decided.low:.4f}, {decided.high:.4f}]"})
    tracker.point("previous", old)
    tracker.point("champion", new)
    return new
