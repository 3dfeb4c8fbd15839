"""Which models the unfinished rounds of a line ask for: those have to go on being served."""

from collections.abc import Iterator

from selftaught.round.history import record_key
from selftaught.round.job import Job, Workplace


def in_use(place: Workplace, line: str) -> set[str]:
    """The digests that an unfinished round of `line` names, and the newest challenger while there is such a round."""
    jobs = list(_open(place, line))
    refs = [ref for job in jobs for ref in (job.champion, job.sampler, job.trainee, *job.roles.values())]
    challenger = place.tracker.resolve(line, "challenger") if jobs else None
    return {ref.digest for ref in refs} | ({challenger.digest} if challenger else set())


def _open(place: Workplace, line: str) -> Iterator[Job]:
    for key in place.store.claims(f"plans/{line}"):
        if place.store.claimed(record_key(key.removeprefix("plans/"))) is not None:
            continue
        claimed = place.store.claimed(key)
        job = Job.model_validate_json(claimed) if claimed else None
        if job is not None and place.tracker.tags(job.run).get("selftaught.outcome") != "failed":
            yield job
