"""The one interface to whatever serves models: deploy this digest, wait until it answers, remove it.

A served version is immutable: one endpoint per model digest. Which version users get is a pointer, and moving it is
promotion. For the local backend the pointer is the registry's `champion` alias alone (`selftaught.tracking`), so this
interface has no move of its own for it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from selftaught.models import served_name


@dataclass(frozen=True, slots=True)
class Served:
    """An endpoint that has proved which model it serves. `url` ends in `/v1`."""

    url: str
    line: str
    digest: str

    @property
    def name(self) -> str:
        """`<line>-<digest8>`, the model name that requests ask for and answers carry."""
        return served_name(self.line, self.digest)


class Backend(Protocol):
    """What serves models. `selftaught.serving.local.LocalEngines` is the one for a single machine."""

    def deploy(self, line: str, digest: str, folder: Path) -> Served:
        """Serve the model in `folder` as `<line>-<digest8>` and wait until that very version answers.

        Deploying what is already served costs nothing. Raises BadInput on a model that cannot be served, Unavailable
        when it does not answer in time, WrongModel when something else answers.
        """
        ...

    def remove(self, line: str, digest: str) -> None:
        """Stop serving this version; nothing happens when it is not served."""
        ...
