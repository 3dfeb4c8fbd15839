"""The interface of serving back ends: deploy a digest, wait until it answers, route traffic to it, remove it.

A served version is immutable: one endpoint per model digest. Which version users get is a pointer, and moving it is
promotion. The pointer has one source of truth: the registry's `champion` alias (`selftaught.state.tracking`), or what
the route keeps a record of itself (a git repository). The other is brought into line with it, under the line's lease,
so that a kill between the two heals (`selftaught.serving.promotion`).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from selftaught.inference.endpoint import served_name


@dataclass(frozen=True, slots=True)
class Served:
    """An endpoint that has proved which model it serves. `url` ends in `/v1`; `key` is what it asks for, if any."""

    url: str
    line: str
    digest: str
    key: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """`<line>-<digest8>`, the model name that requests ask for and answers carry."""
        return served_name(self.line, self.digest)


class Route(Protocol):
    """Where users of a line are led. Moved under the line's lease, to versions that are served already."""

    def recorded(self, line: str) -> str | None:
        """The digest that the route's own record names, or None: then the registry's alias is the truth."""
        ...

    def introduce(self, line: str, digest: str, champion: str | None) -> None:
        """What comes before a version is the champion: trying it on a part of the users, or recording it.

        `champion` is the version that it is compared with; None where no version is champion, or where it was champion
        before, because a roll-back is wanted at once. Whatever this raises, the champion stays who it was.
        """
        ...

    def point(self, line: str, digest: str) -> None:
        """Have the line's stable address, where there is one, lead to the champion."""
        ...

    def retire(self, line: str, digest: str) -> None:
        """Keep nothing of a version that is about to be removed."""
        ...


class Backend(Protocol):
    """What serves models: `remote.RemoteEngines` on one machine, `kserve.KServe` on a cluster."""

    @property
    def route(self) -> Route:
        """Where users are led."""
        ...

    def deploy(self, line: str, digest: str) -> Served:
        """Serve the model as `<line>-<digest8>` and wait until that very version answers.

        Deploying what is already served costs nothing. Raises BadInput on a model that cannot be served, Unavailable
        when it does not answer in time, WrongModel when something else answers.
        """
        ...

    def ready(self, line: str, digest: str) -> None:
        """Have this version answer before users are led to it. Raises as `deploy` does."""
        ...

    def remove(self, line: str, digest: str) -> None:
        """Stop serving this version; nothing happens when it is not served."""
        ...

    def served(self, line: str) -> dict[str, float]:
        """The digests that are served for `line`, with their age in seconds."""
        ...

    def lease(self, line: str) -> AbstractContextManager[Callable[[], None]]:
        """Hold what moves the line's pointer. Raises Busy when another process does not give it back.

        What it gives raises Busy where another process has taken it since.
        """
        ...


class Engines(Protocol):
    """What starts engines for models in folders of this machine: `local.LocalEngines`."""

    def deploy(self, line: str, digest: str, folder: Path) -> Served:
        """As `Backend.deploy`, of the model in `folder`."""
        ...
