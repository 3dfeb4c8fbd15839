"""Promotion by commit: the line's pointer is a file in a repository, which a controller (Argo CD, Flux) applies.

The newest commit of the branch is the truth, the registry's alias follows it, and a person who reverts a promotion has
rolled back. In the repository:

    <folder>/lines/<line>/pointer.yaml                  the line's Service; its selector names the champion
    <folder>/lines/<line>/served/<line>-<digest8>.yaml  a version's InferenceService, never changed

No file lists the others, so a promotion changes one line and adds at most one file, and lines never conflict. What a
person writes into a pointer beside the version's name stays. The platform changes nothing in the cluster here: it waits
until the controller has.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import yaml

from selftaught.cluster.client import Cluster
from selftaught.cluster.naming import DIGEST, version_name
from selftaught.core.errors import BadInput, RoundFailed, Unavailable
from selftaught.serving.probe import wait_until_leads
from selftaught.serving.routes.repository import Head, Proposal, Repository
from selftaught.serving.routes.service import SELECTOR, WITHIN, ServiceRoute, stable_service

POINTER = """\
# The stable address of the line. Its selector is the champion.
"""
VERSION = """\
# One version, by the digest of its weights. Never changed once it is here: another version is another file.
"""
AFTER_THE_VERSIONS = {"argocd.argoproj.io/sync-wave": "1"}
"""Argo CD moves the pointer when the versions are healthy."""
_LED_TO = re.compile(rf"(?<={re.escape(SELECTOR)}: )[-a-z0-9]+")
_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """What a commit says of a line: the folder's files, and whom its pointer leads to."""

    name: str
    head: Head
    folder: str

    @property
    def pointer(self) -> str:
        """The pointer's path."""
        return f"{self.folder}/{self.name}/pointer.yaml"

    def version(self, name: str) -> str:
        """The path of a version's file."""
        return f"{self.folder}/{self.name}/served/{name}.yaml"

    @property
    def leads_to(self) -> str | None:
        """The name of the version that the pointer leads to; None without a pointer."""
        text = self.head.read(self.pointer)
        if text is None:
            return None
        named = _LED_TO.findall(text)
        if len(named) != 1:
            raise BadInput(f"{self.pointer}: has to say `{SELECTOR}: <version>` once, and says it {len(named)} times.")
        return named[0]

    @property
    def champion(self) -> str | None:
        """The digest of the version that the pointer leads to, as its file says; None without a pointer.

        Raises BadInput when that file is not there, or not an InferenceService of a version.
        """
        name = self.leads_to
        if name is None:
            return None
        text = self.head.read(self.version(name))
        if text is None:
            raise BadInput(
                f"{self.pointer}: leads to {name}, but there is no {self.version(name)}. "
                "Revert the commit that took it out, or have the pointer lead to a version that is there."
            )
        try:
            return str(yaml.safe_load(text)["metadata"]["annotations"][DIGEST])
        except (yaml.YAMLError, KeyError, TypeError):
            raise BadInput(f"{self.version(name)}: has no annotation {DIGEST}. Restore the file as it was.") from None


class GitRoute:
    """Implements `selftaught.serving.backend.Route`; the newest commit is the truth.

    `manifest` makes the InferenceService of a version from its line and digest. The cluster has `within` seconds
    to follow a commit.
    """

    def __init__(
        self,
        repository: Repository,
        folder: str,
        manifest: Callable[[str, str], Any],
        cluster: Cluster,
        within: float,
    ) -> None:
        self._repository, self._folder = repository, f"{folder}/lines".lstrip("/")
        self._manifest, self._cluster, self._within = manifest, cluster, within

    def recorded(self, line: str) -> str | None:
        """The digest that the newest commit leads to, or None while the line has no pointer there.

        Raises BadInput on a repository that is not laid out as this module says, and as `Repository.head` does.
        """
        with self._repository.head() as head:
            return self._line(head, line).champion

    def introduce(self, line: str, digest: str, champion: str | None) -> None:
        """Push one commit that adds the version and has the pointer lead to it; none when it does already."""
        self._repository.commit(partial(self._promotion, line, digest))

    def point(self, line: str, digest: str) -> None:
        """Wait until new connections to the line's address come to the version; the commit is made if need be.

        Raises RoundFailed when the pointer was moved to another version meanwhile, Unavailable when the cluster does
        not follow in time.
        """
        name = version_name(line, digest)
        commit = self._repository.commit(partial(self._completion, line, digest))
        if not self._followed(line, name):
            leads_to = ServiceRoute(self._cluster).pointed(line)
            raise Unavailable(
                f"{line}: commit {commit[:10]} of {self._repository.url} leads to {name}; after {self._within:.0f} s "
                f"the cluster leads to {leads_to or 'nothing'}. Does the controller sync? The commit stands: once the "
                f"cluster has followed, `selftaught reconcile {line}` or the same command again ends this. To take it "
                f"back: `git revert`, or `selftaught models rollback {line}`."
            )

    def retire(self, line: str, digest: str) -> None:
        """Push a commit that takes the version's file out; none when it is not there.

        Raises RoundFailed when the pointer leads to it.
        """
        self._repository.commit(partial(self._retirement, line, digest))

    def _line(self, head: Head, line: str) -> Line:
        if not head.has(self._folder):
            raise BadInput(
                f"{self._repository.url}, branch '{self._repository.branch}': no folder {self._folder}. "
                "Set SELFTAUGHT_GIT_PATH to the folder that holds lines, or make it (with a README in it)."
            )
        return Line(line, head, self._folder)

    def _promotion(self, line: str, digest: str, head: Head) -> Proposal | None:
        there, name = self._line(head, line), version_name(line, digest)
        if there.leads_to == name:
            return None
        pointer, version = head.read(there.pointer), head.read(there.version(name))
        files: dict[str, str | None] = {
            there.pointer: new_pointer(line, name) if pointer is None else _LED_TO.sub(name, pointer),
            there.version(name): version or VERSION + _yaml(self._manifest(line, digest)),
        }
        return Proposal(_promoted(line, there.champion, digest), files)

    def _completion(self, line: str, digest: str, head: Head) -> Proposal | None:
        """The promotion where nothing was promoted by a commit yet; what someone else promoted stays."""
        champion = self._line(head, line).champion
        if champion not in (None, digest):
            raise RoundFailed(f"{line}: its pointer was moved to {champion} meanwhile. Rerun the same command.")
        return self._promotion(line, digest, head)

    def _retirement(self, line: str, digest: str, head: Head) -> Proposal | None:
        there, name = self._line(head, line), version_name(line, digest)
        if there.leads_to == name:
            raise RoundFailed(f"{line}: its pointer leads to {name}, which therefore stays. Reconcile the line.")
        if head.read(there.version(name)) is None:
            return None
        return Proposal(_retired(line, digest), {there.version(name): None})

    def _followed(self, line: str, name: str) -> bool:
        """Whether the cluster leads users of `line` to the version `name`, in time."""
        service, until = ServiceRoute(self._cluster), time.monotonic() + self._within
        while service.pointed(line) != name:
            if time.monotonic() > until:
                return False
            time.sleep(_PAUSE)
        return wait_until_leads(f"{self._cluster.url(line)}/v1", name, max(WITHIN, until - time.monotonic()))


def new_pointer(line: str, name: str) -> str:
    """The file of the line's Service, leading to the version `name`."""
    service = stable_service(line, name)
    service["metadata"]["annotations"] = AFTER_THE_VERSIONS
    return POINTER + _yaml(service)


def _yaml(manifest: Any) -> str:
    return yaml.safe_dump(manifest, sort_keys=False)


def _promoted(line: str, old: str | None, new: str) -> str:
    return (
        f"{line}: {new[:8]} is the champion\n\n"
        f"Line: {line}\nFrom: {old or 'nobody'}\nTo: {new}\n\n"
        "Reverting this rolls back, as long as the version before is in served/; `selftaught models rollback` always "
        "does.\n"
    )


def _retired(line: str, digest: str) -> str:
    return f"{line}: {digest[:8]} is not served any more\n\nLine: {line}\nVersion: {digest}\n"
