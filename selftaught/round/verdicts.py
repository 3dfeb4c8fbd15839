"""The journal of a step's verdicts: a resumed attempt asks no model about a group again."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from selftaught.blocks import Verifier
from selftaught.core.runner import Forgetful, Journal
from selftaught.platform import Platform
from selftaught.records import Judged
from selftaught.round.job import Job
from selftaught.state.journal import open_journal


@contextmanager
def kept(platform: Platform, job: Job, key: str, verifiers: Sequence[Verifier]) -> Generator[Journal[Judged]]:
    """The journal of the step under `key`; one that keeps nothing where no model is asked, which is soon done again."""
    if not any(verifier.roles() for verifier in verifiers):
        yield Forgetful()
        return
    with open_journal(platform.store, job.scoped(key), Judged) as journal:
        yield journal
