"""Which models the unfinished rounds of a line ask for, and what is served brought into line with that."""

from collections.abc import Iterator

from selftaught.round.history import record_key
from selftaught.round.job import Job, Workplace
from selftaught.serving.pointer import reconcile


def tidy(place: Workplace, line: str) -> list[str]:
    """Reconcile what is served for `line`, unless its round has the only engine; returns what was done."""
    used = in_use(place, line)
    if used and place.settings.one_engine:
        return [f"{line}: left alone, an unfinished round has the only engine"]
    return reconcile(place.tracker, place.serving(), line, place.settings.grace, used)


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
